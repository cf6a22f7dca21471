//! WAIT: callers of a full queue wait for room, in order of arrival, and come in wholly or not at all.

use std::time::{Duration, Instant};

use sluice_proto::v1::enqueue_stream_response::Outcome;
use sluice_proto::v1::{
    CapacityReserve, EnqueueRequest, EnqueueResponse, EnqueueStreamRequest, JobSpec, JobState, KeyRule,
    NackReason, NodeSettings, OverflowPolicy,
};
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

type Answer = Result<EnqueueResponse, Status>;

pub(crate) fn waiting(max_jobs: u64) -> sluice_proto::v1::Queue {
    spec::bounded(max_jobs, OverflowPolicy::Wait)
}

fn patient(queue: &Queue, jobs: Vec<JobSpec>, wait: u64) -> EnqueueRequest {
    EnqueueRequest { wait_timeout: Some(spec::millis(wait)), ..queue.enqueue_request(jobs) }
}

async fn caller(queue: &Queue, jobs: Vec<JobSpec>) -> JoinHandle<Answer> {
    queue.caller(queue.enqueue_request(jobs)).await
}

/// The ids of a caller that came in.
async fn served(caller: JoinHandle<Answer>) -> Vec<String> {
    let answer = tokio::time::timeout(Duration::from_secs(30), caller).await.expect("it is served");
    answer.unwrap().unwrap().jobs.into_iter().map(|job| job.job_id).collect()
}

/// How many jobs there are, and how many callers wait.
pub(crate) async fn counts(queue: &Queue) -> (u64, u64) {
    let status = queue.status().await;
    (status.jobs, status.waiting_enqueues)
}

async fn refused_at_once(queue: &Queue) {
    let refused = queue.try_enqueue(spec::jobs("hasty", 1), "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
}

#[tokio::test]
async fn s4_2_callers_come_in_in_order_of_arrival_and_nobody_overtakes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("line");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let large = caller(&queue, spec::jobs("large", 2)).await;
    let small = caller(&queue, spec::jobs("small", 1)).await;
    let last = caller(&queue, spec::jobs("last", 1)).await;

    assert_eq!(queue.finish(1).await, ["old-0"]);
    assert_eq!(counts(&queue).await, (1, 3), "a small one does not slip past a large one");
    refused_at_once(&queue).await;
    assert_eq!(queue.finish(1).await, ["old-1"]);
    assert_eq!(served(large).await.len(), 2);
    assert_eq!(counts(&queue).await, (2, 2));
    assert_eq!(queue.finish(1).await, ["large-0"]);
    served(small).await;
    assert_eq!(queue.finish(2).await, ["large-1", "small-0"]);
    served(last).await;
    assert_eq!(queue.finish(2).await, ["last-0"]);
    assert_eq!(counts(&queue).await, (0, 0));
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 6);
}

#[tokio::test]
async fn s4_2_wait_ends_with_queue_full_and_nothing_comes_in_later() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("patience");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    refused_at_once(&queue).await;

    let began = Instant::now();
    let refused = queue.enqueue_by(patient(&queue, spec::jobs("x", 1), 300)).await;
    let refused = status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());

    // Nor does a wait outlast the call's own deadline.
    let mut request = Request::new(patient(&queue, spec::jobs("y", 1), 60_000));
    request.set_timeout(Duration::from_millis(300));
    let began = Instant::now();
    queue.rpc.clone().enqueue(request).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30));
    queue.until(|status| status.waiting_enqueues == 0).await;

    assert_eq!(queue.finish(2).await, ["old-0"]);
    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().enqueued), (0, 1));
}

#[tokio::test]
async fn s4_2_time_that_runs_out_for_the_first_lets_in_who_stands_behind() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("behind");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let large = tokio::spawn({
        let queue = queue.clone();
        let request = patient(&queue, spec::jobs("large", 2), 2_000);
        async move { queue.enqueue_by(request).await }
    });
    queue.until(|status| status.waiting_enqueues == 1).await;
    let small = caller(&queue, spec::jobs("small", 1)).await;
    status::refused(large.await.unwrap(), Code::ResourceExhausted, "QUEUE_FULL");
    served(small).await;
    assert_eq!(queue.finish(10).await, ["old-0", "small-0"]);
}

#[tokio::test]
async fn s4_2_caller_that_goes_away_leaves_no_trace() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("gone");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let gone = caller(&queue, spec::jobs("gone", 2)).await;
    let middle = caller(&queue, spec::jobs("middle", 2)).await;
    let stays = caller(&queue, spec::jobs("stays", 1)).await;
    middle.abort();
    queue.until(|status| status.waiting_enqueues == 2).await;
    assert_eq!(counts(&queue).await, (1, 2), "one in the middle makes nobody first");
    gone.abort();
    served(stays).await;
    assert_eq!(counts(&queue).await, (2, 0));
    assert_eq!(queue.finish(10).await, ["old-0", "stays-0"]);
    assert_eq!(queue.list(&[], 100).await.len(), 2);
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 2);
}

#[tokio::test]
async fn s4_2_whatever_makes_room_lets_the_next_in() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("ways");
    queue.put(waiting(1)).await;
    let mut held = queue.enqueue(spec::jobs("old", 1)).await;
    for way in ["reject", "cancel", "drain", "purge", "capacity", "no capacity"] {
        let next = caller(&queue, spec::jobs(way, 1)).await;
        match way {
            "reject" => {
                let out = queue.lease(1).await;
                queue.nack(&out[0], NackReason::Rejected).await;
            }
            "cancel" => drop(queue.try_cancel(&held[0]).await.unwrap()),
            "drain" => assert_eq!(queue.drain_all("all").await.len(), 1),
            "purge" => assert_eq!(queue.purge(&[JobState::Ready]).await, 1),
            "capacity" => drop(queue.put(waiting(2)).await),
            _ => drop(queue.put(sluice_proto::v1::Queue::default()).await),
        }
        held = served(next).await;
        assert_eq!(queue.job(&held[0]).await.payload.unwrap(), format!("{way}-0"));
    }
    queue.put(waiting(3)).await;
    assert_eq!(queue.finish(10).await.len(), 3);

    let soon = JobSpec { ttl: Some(spec::millis(500)), ..spec::job("expires") };
    queue.put(waiting(1)).await;
    let soon = queue.enqueue_one(soon).await;
    served(caller(&queue, spec::jobs("expiry", 1)).await).await;
    assert_eq!(queue.state(&soon).await, JobState::Expired);
}

#[tokio::test]
async fn s4_2_raised_capacity_lets_in_as_many_as_fit() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("raised");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let mut callers = Vec::new();
    for name in ["a", "b", "c"] {
        callers.push(caller(&queue, spec::jobs(name, 2)).await);
    }
    // Room for the first two, and one job over: it stays free.
    queue.put(waiting(7)).await;
    for caller in callers.drain(..2) {
        assert_eq!(served(caller).await.len(), 2);
    }
    assert_eq!(counts(&queue).await, (6, 1));
    queue.put(waiting(8)).await;
    served(callers.remove(0)).await;
    let expected = ["old-0", "old-1", "a-0", "a-1", "b-0", "b-1", "c-0", "c-1"];
    assert_eq!(queue.finish(10).await, expected);
}

#[tokio::test]
async fn s4_7_reserve_takes_urgent_jobs_beyond_the_capacity_and_no_further() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("reserve");
    let five = NodeSettings { max_jobs: Some(5), ..NodeSettings::default() };
    queue
        .put(sluice_proto::v1::Queue {
            reserve: Some(CapacityReserve { min_priority: Some(7), percent: Some(20) }),
            key_rules: vec![KeyRule { key_pattern: "a".to_owned(), settings: Some(five) }],
            ..spec::bounded(10, OverflowPolicy::Reject)
        })
        .await;
    let of_key = |priority| JobSpec { key: "a".to_owned(), ..spec::urgent(priority, "key") };
    queue.enqueue(vec![of_key(4); 5]).await;
    queue.enqueue(vec![spec::urgent(6, "x"); 5]).await;
    let full = async |jobs: Vec<JobSpec>| {
        status::refused(queue.try_enqueue(jobs, "").await, Code::ResourceExhausted, "QUEUE_FULL");
    };
    full(vec![spec::urgent(6, "x")]).await;
    full(vec![spec::urgent(9, "x"), spec::urgent(6, "x")]).await;
    queue.enqueue_one(of_key(7)).await;
    full(vec![of_key(9)]).await;
    full(vec![spec::urgent(9, "x"); 2]).await;
    queue.enqueue_one(spec::urgent(9, "first")).await;
    full(vec![spec::urgent(9, "x")]).await;
    let status = queue.status().await;
    assert_eq!((status.jobs, status.utilization), (12, Some(1.2)));

    // What is done beyond the capacity makes no room for ordinary jobs.
    assert_eq!(queue.finish(2).await, ["first", "key"]);
    full(vec![spec::urgent(6, "x")]).await;
    queue.enqueue(vec![spec::urgent(8, "x"); 2]).await;
}

#[tokio::test]
async fn s4_7_urgent_caller_waits_only_when_the_reserve_is_full_too() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("urgent");
    let reserve = Some(CapacityReserve { min_priority: None, percent: Some(50) });
    queue.put(sluice_proto::v1::Queue { reserve, ..waiting(2) }).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let ordinary = caller(&queue, spec::jobs("ordinary", 1)).await;
    queue.enqueue_one(spec::urgent(9, "urgent-0")).await;
    let urgent = caller(&queue, vec![spec::urgent(9, "urgent-1")]).await;
    assert_eq!(counts(&queue).await, (3, 2));
    assert_eq!(queue.finish(1).await, ["urgent-0"]);
    served(urgent).await;
    assert_eq!(counts(&queue).await, (3, 1), "what was the reserve's stays the reserve's");
    assert_eq!(queue.finish(2).await, ["urgent-1", "old-0"]);
    served(ordinary).await;
    assert_eq!(queue.finish(9).await, ["old-1", "ordinary-0"]);
}

#[tokio::test]
async fn s4_2_who_waits_for_a_key_is_in_nobody_elses_way() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("keys");
    let one = NodeSettings { max_jobs: Some(1), ..NodeSettings::default() };
    let rule = |pattern: &str| KeyRule { key_pattern: pattern.to_owned(), settings: Some(one) };
    queue.put(sluice_proto::v1::Queue { key_rules: vec![rule("bot*/*")], ..waiting(100) }).await;
    queue.enqueue(vec![spec::keyed("bot1/a", "1a"), spec::keyed("bot1/b", "1b")]).await;
    let first = caller(&queue, vec![spec::keyed("bot1/a", "2a")]).await;
    let second = caller(&queue, vec![spec::keyed("bot1/b", "2b"), spec::keyed("bot3/a", "3a")]).await;
    for free in ["bot2/a", "bot3/a", "bot1", ""] {
        queue.enqueue_one(spec::keyed(free, "free")).await;
    }
    let out = queue.lease(100).await;
    let of = |text: &str| out.iter().find(|job| spec::text(job) == text).unwrap().clone();
    queue.ack(&[of("1b")]).await;
    assert_eq!(counts(&queue).await, (5, 2), "bot3/a is taken now");
    let bot3 = out.iter().find(|job| job.job.as_ref().unwrap().key == "bot3/a").unwrap().clone();
    queue.ack(&[bot3]).await;
    assert_eq!(served(second).await.len(), 2);
    assert_eq!(counts(&queue).await, (6, 1));
    queue.ack(&[of("1a")]).await;
    served(first).await;
    assert_eq!(counts(&queue).await, (6, 0));
}

#[tokio::test]
async fn s4_2_stream_never_waits_for_room() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("stream");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let (requests, outgoing) = tokio::sync::mpsc::channel(8);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = queue.rpc.clone().enqueue_stream(outgoing).await.unwrap().into_inner();
    let mut ask = async |sequence, request| {
        requests.send(EnqueueStreamRequest { sequence, request: Some(request) }).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.message()).await;
        let answer = answer.expect("it does not wait").unwrap().unwrap();
        assert_eq!(answer.sequence, sequence);
        answer.outcome.unwrap()
    };
    let Outcome::Error(full) = ask(1, queue.enqueue_request(spec::jobs("x", 1))).await else { panic!() };
    assert_eq!((full.code, &*full.reason), (Code::ResourceExhausted as i32, "QUEUE_FULL"));
    assert!(full.retry_after.is_some());
    let Outcome::Error(wrong) = ask(2, patient(&queue, spec::jobs("x", 1), 60_000)).await else { panic!() };
    assert_eq!((wrong.code, &*wrong.reason), (Code::InvalidArgument as i32, "INVALID_FIELDS"));
    assert!(wrong.message.contains("wait_timeout"), "{wrong:?}");
    assert_eq!(counts(&queue).await, (1, 0));
    queue.finish(1).await;
    let outcome = ask(3, queue.enqueue_request(spec::jobs("x", 1))).await;
    assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
}

#[tokio::test]
async fn s4_2_deleted_queue_turns_its_callers_away_and_no_others() {
    let server = Sluiced::fresh().await;
    let (queue, other) = (server.queue("deleted"), server.queue("other"));
    let mut callers = Vec::new();
    for queue in [&queue, &other] {
        queue.put(waiting(1)).await;
        queue.enqueue(spec::jobs("old", 1)).await;
        callers.push(caller(queue, spec::jobs("x", 1)).await);
    }
    queue.try_delete(true).await.unwrap();
    status::refused(callers.remove(0).await.unwrap(), Code::NotFound, "QUEUE_NOT_FOUND");
    assert_eq!(counts(&queue).await, (0, 0));
    queue.enqueue(spec::jobs("new", 2)).await;
    assert_eq!(counts(&other).await, (1, 1));
    other.finish(1).await;
    served(callers.remove(0)).await;
}

#[tokio::test]
async fn s4_2_server_that_stops_turns_callers_away_and_puts_nothing_in() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("stop");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let callers = [caller(&queue, spec::jobs("x", 1)).await, caller(&queue, spec::jobs("y", 1)).await];
    server.stop().await;
    for caller in callers {
        let refused = status::refused(caller.await.unwrap(), Code::Unavailable, "STOPPING");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    server.start().await;
    assert_eq!(counts(&queue).await, (1, 0));
    assert_eq!(queue.finish(10).await, ["old-0"]);
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 1);
}

#[tokio::test]
async fn s4_2_kill_9_ends_every_wait_and_leaves_nothing_half_done() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("killed");
    queue.put(waiting(3)).await;
    queue.enqueue(spec::jobs("old", 3)).await;
    let first = caller(&queue, spec::jobs("first", 1)).await;
    let callers = [caller(&queue, spec::jobs("x", 3)).await, caller(&queue, spec::jobs("y", 2)).await];
    assert_eq!(queue.finish(1).await, ["old-0"]);
    served(first).await;
    let before = queue.status().await;
    server.kill().await;
    for caller in callers {
        let broken = caller.await.unwrap().unwrap_err();
        assert!(matches!(broken.code(), Code::Unavailable | Code::Unknown), "{broken:?}");
        assert!(broken.get_details_error_info().is_none(), "nobody can promise that nothing was applied");
    }
    server.start().await;
    let after = queue.status().await;
    assert_eq!((after.counts, after.totals), (before.counts, before.totals));
    assert_eq!(after.waiting_enqueues, 0);
    refused_at_once(&queue).await;
    assert_eq!(queue.finish(10).await, ["old-1", "old-2", "first-0"]);
    assert_eq!(queue.status().await.jobs, 0);
}
