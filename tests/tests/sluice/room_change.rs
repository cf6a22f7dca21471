//! What becomes of calls that wait for room while something else happens: to their queue, to another call, to
//! their connection.

use std::time::{Duration, SystemTime};

use sluice_proto::v1::{
    CapacityReserve, EnqueueRequest, EnqueueResponse, JobSpec, JobState, KeyRule, NackReason, NodeSettings,
    OverflowPolicy, Queue as Settings,
};
use sluice_tests::cable::Cable;
use sluice_tests::{Queue, Setup, Sluiced, spec, status};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::room::{counts, waiting};

type Answer = Result<EnqueueResponse, Status>;

async fn caller(queue: &Queue, jobs: Vec<JobSpec>, request_id: &str) -> JoinHandle<Answer> {
    queue.caller(EnqueueRequest { request_id: request_id.to_owned(), ..queue.enqueue_request(jobs) }).await
}

async fn answered(caller: JoinHandle<Answer>) -> Answer {
    tokio::time::timeout(Duration::from_secs(30), caller).await.expect("it is answered").unwrap()
}

#[tokio::test]
async fn s4_2_call_that_is_repeated_while_it_waits_comes_in_once() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("repeated");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let first = caller(&queue, spec::jobs("x", 1), "once").await;
    let again = caller(&queue, spec::jobs("x", 1), "once").await;
    let other = caller(&queue, spec::jobs("y", 1), "once").await;
    let behind = caller(&queue, spec::jobs("behind", 1), "").await;

    assert_eq!(queue.finish(1).await, ["old-0"]);
    let first = answered(first).await.unwrap();
    assert_eq!(answered(again).await.unwrap(), first, "the same call has the same answer");
    status::refused(answered(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(counts(&queue).await, (2, 1), "they take no room from who stands behind them");
    assert_eq!(queue.finish(1).await, ["old-1"]);
    answered(behind).await.unwrap();

    server.kill_and_start().await;
    let ids = queue.try_enqueue(spec::jobs("x", 1), "once").await.unwrap();
    assert_eq!(ids, [first.jobs[0].job_id.as_str()], "a full queue does not matter to what is in already");
    assert_eq!(queue.finish(10).await, ["x-0", "behind-0"]);
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 4);
}

#[tokio::test]
async fn s4_2_caller_whose_connection_breaks_leaves_no_trace() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("broken");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let cable = Cable::to(&server).await;
    caller(&Queue::new("broken", cable.channel()), spec::jobs("broken", 1), "").await;
    let stays = caller(&queue, spec::jobs("stays", 1), "").await;
    cable.cut();
    queue.until(|status| status.waiting_enqueues == 1).await;
    assert_eq!(queue.finish(10).await, ["old-0"]);
    answered(stays).await.unwrap();
    assert_eq!(queue.finish(10).await, ["stays-0"]);
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 2);
}

#[tokio::test]
async fn s4_2_change_of_policy_or_capacity_answers_those_who_wait_by_the_new_one() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("changed");
    queue.put(waiting(3)).await;
    let old = queue.enqueue(spec::jobs("old", 3)).await;

    let refused = caller(&queue, spec::jobs("refused", 1), "").await;
    queue.put(spec::bounded(3, OverflowPolicy::Reject)).await;
    status::refused(answered(refused).await, Code::ResourceExhausted, "QUEUE_FULL");

    queue.put(waiting(3)).await;
    let large = caller(&queue, spec::jobs("large", 3), "").await;
    let small = caller(&queue, spec::jobs("small", 2), "").await;
    queue.put(waiting(2)).await;
    status::refused(answered(large).await, Code::InvalidArgument, "NEVER_FITS");
    assert_eq!(counts(&queue).await, (3, 1), "two still may fit one day");

    queue.put(spec::bounded(3, OverflowPolicy::DropOldest)).await;
    let answer = answered(small).await.unwrap();
    assert_eq!(answer.dropped_job_ids, old[..2]);
    assert_eq!(counts(&queue).await, (3, 0));
    assert_eq!(queue.finish(10).await, ["old-2", "small-0", "small-1"]);
}

#[tokio::test]
async fn s4_2_requeued_jobs_go_before_those_who_wait_and_make_them_wait_longer() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("requeued");
    queue.put(waiting(2)).await;
    queue.enqueue(spec::jobs("dead", 1)).await;
    let out = queue.lease(1).await;
    queue.nack(&out[0], NackReason::Rejected).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let waits = caller(&queue, spec::jobs("waits", 1), "").await;

    assert_eq!(queue.requeue(&[JobState::Dead]).await, 1);
    assert_eq!((counts(&queue).await, queue.status().await.utilization), ((3, 1), Some(1.5)));
    assert_eq!(queue.finish(1).await, ["old-0"]);
    assert_eq!(counts(&queue).await, (2, 1), "it is full still");
    assert_eq!(queue.finish(1).await, ["old-1"]);
    answered(waits).await.unwrap();
    assert_eq!(queue.finish(10).await, ["dead-0", "waits-0"]);
}

#[tokio::test]
async fn s4_2_job_that_waited_for_room_is_accepted_when_it_comes_in() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("young");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let ttl = Duration::from_secs(3_600);
    let job = JobSpec { ttl: Some(spec::span(ttl)), ..spec::job("young") };
    let waits = caller(&queue, vec![job], "").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let room = SystemTime::now();
    queue.finish(1).await;
    let id = answered(waits).await.unwrap().jobs.remove(0).job_id;
    let job = queue.job(&id).await;
    assert!(spec::moment(job.create_time) + spec::TICK >= room, "it was not there before: {job:?}");
    let expires = spec::time(spec::moment(job.create_time) + ttl);
    assert!(spec::same_moment(job.expire_time, Some(expires)), "its time runs from then on: {job:?}");
}

#[tokio::test]
async fn s4_2_worker_that_waits_gets_what_waited_for_room() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("both");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let held = queue.lease(1).await;
    let waits = caller(&queue, spec::jobs("new", 1), "").await;
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    let status = queue.until(|status| status.waiting_leases == 1).await;
    assert_eq!((status.waiting_enqueues, status.jobs), (1, 1), "who is held makes no room");
    queue.ack(&held).await;
    let job = worker.await.unwrap();
    assert_eq!(answered(waits).await.unwrap().jobs[0].job_id, spec::id(&job));
}

#[tokio::test]
async fn s4_2_calls_that_wait_take_no_place_of_calls_at_work() {
    let server = Setup::default().environment("SLUICED_MAX_IN_FLIGHT", "3").start().await;
    let queue = server.queue("waiting");
    queue.put(waiting(1)).await;
    queue.enqueue(spec::jobs("old", 1)).await;
    let mut callers = Vec::new();
    for _ in 0..12 {
        callers.push(caller(&queue, spec::jobs("x", 1), "").await);
    }
    server.queue("another").enqueue(spec::jobs("x", 1)).await;
    for (n, caller) in callers.into_iter().enumerate() {
        assert_eq!(queue.finish(1).await.len(), 1);
        answered(caller).await.unwrap();
        assert_eq!(counts(&queue).await, (1, 11 - n as u64));
    }
}

#[tokio::test]
async fn s4_2_call_that_waits_for_a_key_stands_in_the_queues_line_too() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lines");
    let one = NodeSettings { max_jobs: Some(1), ..NodeSettings::default() };
    let key_rules = vec![KeyRule { key_pattern: "x".to_owned(), settings: Some(one) }];
    queue.put(Settings { key_rules, ..waiting(2) }).await;
    queue.enqueue(vec![spec::keyed("x", "old"), spec::job("old")]).await;
    let held = queue.lease(2).await;
    let of_key = held.iter().position(|job| job.job.as_ref().unwrap().key == "x").unwrap();
    let at_key = caller(&queue, vec![spec::keyed("x", "at-key")], "").await;
    let at_queue = caller(&queue, spec::jobs("at-queue", 1), "").await;
    // The one place is for who came first, though the other could have it as well.
    queue.ack(&held[of_key..=of_key]).await;
    answered(at_key).await.unwrap();
    assert_eq!(counts(&queue).await, (2, 1));
    queue.ack(&held[1 - of_key..=1 - of_key]).await;
    answered(at_queue).await.unwrap();
    assert_eq!(queue.finish(10).await, ["at-key", "at-queue-0"]);
}

#[tokio::test]
async fn s4_7_ordinary_calls_do_not_pass_an_urgent_one_that_came_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("passed");
    let reserve = Some(CapacityReserve { min_priority: None, percent: Some(50) });
    queue.put(Settings { reserve, ..waiting(2) }).await;
    queue.enqueue(spec::jobs("old", 2)).await;
    let urgent = caller(&queue, vec![spec::urgent(9, "urgent"); 3], "").await;
    assert_eq!(queue.finish(1).await, ["old-0"]);
    assert_eq!(counts(&queue).await, (1, 1), "three more than one do not fit");
    let refused = queue.try_enqueue(spec::jobs("ordinary", 1), "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    assert_eq!(queue.finish(1).await, ["old-1"]);
    assert_eq!(answered(urgent).await.unwrap().jobs.len(), 3);
}
