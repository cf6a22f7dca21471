//! Work: a worker gets as much as it has credit for, is answered in its order, and is told what it should know.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message as _;
use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use sluice_proto::v1::{
    Ack, AckRequest, ExtendLeaseRequest, JobSpec, JobState, LeaseExtension, LeasedJob, NackReason,
    NackRequest, Queue, QueueStatus, WorkRequest, WorkResponse, WorkStart,
};
use sluice_tests::{Setup, Sluiced, Worker, spec, status};
use tonic::Code;

/// A lease so long that nothing in these tests comes back because it ended.
const LONG: Duration = Duration::from_secs(3_600);
/// The most bytes of one message.
const MAX_MESSAGE_BYTES: usize = 3_670_016;

fn long() -> Queue {
    Queue { lease_duration: Some(spec::span(LONG)), ..spec::retrying(5, Duration::ZERO) }
}

fn extension(job: &LeasedJob, duration: Duration) -> LeaseExtension {
    LeaseExtension {
        job_id: spec::id(job),
        lease_token: job.lease_token,
        lease_duration: Some(spec::span(duration)),
    }
}

fn ids(jobs: &[LeasedJob]) -> BTreeSet<String> {
    jobs.iter().map(spec::id).collect()
}

/// The fields for which the server ends the stream, with no word before.
async fn refused(worker: &mut Worker) -> Vec<String> {
    let status = status::refused(worker.try_told().await, Code::InvalidArgument, "INVALID_FIELDS");
    status::fields(&status)
}

#[tokio::test]
async fn whatever_comes_before_start_is_refused_and_gets_no_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("turns");
    let id = queue.enqueue_one(spec::job("x")).await;
    for first in [
        Some(Asked::Credit(1)),
        Some(Asked::Acks(AckRequest::default())),
        Some(Asked::Nacks(NackRequest::default())),
        Some(Asked::Extends(ExtendLeaseRequest::default())),
        None,
    ] {
        let mut worker = Worker::open(&queue).await;
        worker.say(WorkRequest { message: first.clone() });
        assert_eq!(refused(&mut worker).await, ["start"], "{first:?}");
    }
    let mut worker = Worker::start(&queue, 0).await;
    worker.say(WorkRequest { message: None });
    assert_eq!(refused(&mut worker).await, ["message"]);
    let mut worker = Worker::open(&queue).await;
    worker.ask(Asked::Start(WorkStart { queue: "a/b".to_owned(), ..WorkStart::default() }));
    assert_eq!(refused(&mut worker).await, ["start.queue"]);
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.deliveries), (JobState::Ready, 0));
}

#[tokio::test]
async fn without_free_credit_nothing_comes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("credit");
    queue.put(long()).await;
    queue.enqueue(spec::jobs("x", 12)).await;
    let held = async || queue.status().await.counts.unwrap().leased;
    let mut worker = Worker::start(&queue, 0).await;
    worker.nothing_more_comes().await;
    assert_eq!(held().await, 0, "no credit yet");
    worker.ask(Asked::Credit(2));
    let out = worker.jobs(2).await;
    worker.nothing_more_comes().await;
    assert_eq!(held().await, 2);
    let acks = || out.iter().map(spec::ack).collect::<Vec<_>>();
    assert!(worker.try_ack(acks()).await.iter().all(|result| result.error.is_none()));
    worker.jobs(2).await;
    // Acks that are repeated are accepted again, and make no more room.
    assert!(worker.try_ack(acks()).await.iter().all(|result| result.error.is_none()));
    worker.nothing_more_comes().await;
    assert_eq!(held().await, 2);
}

#[tokio::test]
async fn credit_is_at_most_a_thousand_in_all() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bounds");
    queue.put(long()).await;
    for first in [1_001, u32::MAX] {
        let mut worker = Worker::start(&queue, first).await;
        assert_eq!(refused(&mut worker).await, ["start.credit"], "{first}");
    }
    for (first, more) in [(1_000, 1), (1, u32::MAX), (1, 1_000)] {
        let mut worker = Worker::start(&queue, first).await;
        worker.ask(Asked::Credit(more));
        assert_eq!(refused(&mut worker).await, ["credit"], "{first} and {more}");
    }
    queue.enqueue(spec::jobs("x", 1_003)).await;
    let mut worker = Worker::start(&queue, 999).await;
    worker.ask(Asked::Credit(1));
    worker.ask(Asked::Credit(0));
    assert_eq!(ids(&worker.jobs(1_000).await).len(), 1_000);
    worker.nothing_more_comes().await;
    assert_eq!(queue.status().await.counts.unwrap().leased, 1_000);
}

#[tokio::test]
async fn all_that_is_asked_is_answered_in_its_order() {
    const ROUNDS: usize = 60;
    let server = Sluiced::fresh().await;
    let queue = server.queue("order");
    queue.put(long()).await;
    queue.enqueue(spec::jobs("x", ROUNDS * 3)).await;
    let mut worker = Worker::start(&queue, 1_000).await;
    let out = worker.jobs(ROUNDS * 3).await;
    for jobs in out.chunks(3) {
        worker.ask_extends(vec![extension(&jobs[0], LONG), extension(&jobs[1], LONG)]);
        let wrong = Ack { lease_token: jobs[1].lease_token + 7, ..spec::ack(&jobs[1]) };
        worker.ask_acks(vec![spec::ack(&jobs[0]), wrong]);
        worker.ask_nacks(vec![spec::nack(&jobs[2], NackReason::Rejected)]);
        worker.ask_acks(vec![spec::ack(&jobs[1])]);
    }
    for jobs in out.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|n: usize| spec::id(&jobs[n]));
        let Told::Extends(extends) = worker.told().await else { panic!("extensions come first") };
        let extended: Vec<_> = extends.results.iter().map(|r| (&r.job_id, r.error.is_none())).collect();
        assert_eq!(extended, [(&a, true), (&b, true)]);
        let Told::Acks(acks) = worker.told().await else { panic!("then acks") };
        let acked: Vec<_> = acks.results.iter().map(|r| (&r.job_id, r.error.is_none())).collect();
        assert_eq!(acked, [(&a, true), (&b, false)]);
        assert_eq!(acks.results[1].error.as_ref().unwrap().reason, "LEASE_LOST");
        let Told::Nacks(nacks) = worker.told().await else { panic!("then nacks") };
        assert_eq!((&nacks.results[0].job_id, nacks.results[0].state()), (&c, JobState::Dead));
        let Told::Acks(acks) = worker.told().await else { panic!("then acks again") };
        assert_eq!((&acks.results[0].job_id, acks.results[0].error.clone()), (&b, None));
    }
    worker.close().await;
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.completed, totals.dead), (2 * ROUNDS as u64, ROUNDS as u64));
}

#[tokio::test]
async fn two_workers_wait_for_jobs_and_share_them_without_doubling() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("shared");
    queue.put(long()).await;
    let mut one = Worker::start(&queue, 50).await;
    let mut other = Worker::start(&server.queue("shared"), 50).await;
    queue.until(|status| status.waiting_leases == 2).await;
    queue.enqueue(spec::jobs("x", 100)).await;
    let (mut out, more) = tokio::join!(one.jobs(50), other.jobs(50));
    out.extend(more);
    assert_eq!(ids(&out).len(), 100);
    assert!(out.iter().all(|leased| leased.job.as_ref().unwrap().deliveries == 1));
}

#[tokio::test]
async fn start_says_who_works_and_how_long_it_may_hold_a_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("start");
    let id = queue.enqueue_one(spec::job("x")).await;
    let start = WorkStart {
        worker_id: "worker-7".to_owned(),
        lease_duration: Some(spec::millis(90_000)),
        credit: 1,
        ..WorkStart::default()
    };
    let mut worker = Worker::start_as(&queue, start).await;
    let leased = worker.jobs(1).await.remove(0);
    assert_eq!(leased.lease_duration, Some(spec::millis(90_000)));
    let job = queue.job(&id).await;
    assert_eq!((job.worker_id.as_str(), job.state()), ("worker-7", JobState::Leased));
    let held = spec::moment(job.lease_expire_time).duration_since(spec::moment(job.start_time)).unwrap();
    assert!(held.abs_diff(Duration::from_secs(90)) <= spec::TICK, "{held:?}");
}

#[tokio::test]
async fn message_with_jobs_is_never_too_large_for_a_client() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("large");
    queue.put(long()).await;
    let payload = "x".repeat(1_000_000);
    for _ in 0..8 {
        queue.enqueue_one(spec::job(&payload)).await;
    }
    let mut worker = Worker::start(&queue, 8).await;
    let mut came = 0;
    while came < 8 {
        let response = WorkResponse { message: Some(worker.told().await) };
        assert!(response.encoded_len() <= MAX_MESSAGE_BYTES, "{} bytes", response.encoded_len());
        let Some(Told::Jobs(jobs)) = response.message else { panic!("not jobs") };
        assert!(!jobs.jobs.is_empty());
        came += jobs.jobs.len();
    }
    assert_eq!(came, 8);
}

#[tokio::test]
async fn lost_lease_is_told_and_its_credit_is_free_while_an_extended_one_is_kept() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lost");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    queue.enqueue(vec![spec::keyed("a", "lost"), spec::keyed("b", "extended")]).await;
    let lease_duration = Some(spec::millis(1_000));
    let start = WorkStart { credit: 2, lease_duration, ..WorkStart::default() };
    let mut worker = Worker::start_as(&queue, start).await;
    let out = worker.jobs(2).await;
    let (lost, kept) = (&out[0], &out[1]);
    assert_eq!((spec::text(lost).as_str(), spec::text(kept).as_str()), ("lost", "extended"));
    assert_eq!(worker.extend(extension(kept, LONG)).await.error, None);

    let notice = worker.notice().await;
    assert_eq!((notice.lost, notice.cancelled, notice.going_away), (vec![spec::id(lost)], vec![], false));
    let again = worker.jobs(1).await.remove(0);
    assert_eq!(spec::id(&again), spec::id(lost));
    assert!(again.lease_token > lost.lease_token);
    let job = again.job.as_ref().unwrap();
    assert_eq!((job.attempts, job.last_error.as_ref().unwrap().code.as_str()), (1, "LEASE_EXPIRED"));
    assert_eq!(worker.extend(extension(&again, LONG)).await.error, None);
    let late = worker.try_ack(vec![spec::ack(lost)]).await.remove(0).error.unwrap();
    assert_eq!((late.code, late.reason.as_str()), (Code::FailedPrecondition as i32, "LEASE_LOST"));
    let results = worker.try_ack(vec![spec::ack(&again), spec::ack(kept)]).await;
    assert!(results.iter().all(|result| result.error.is_none()), "{results:?}");
}

#[tokio::test]
async fn cancelled_job_is_told_once_and_what_its_worker_does_then_decides() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cancelled");
    queue.put(long()).await;
    queue.enqueue(spec::jobs("x", 4)).await;
    let mut worker = Worker::start(&queue, 3).await;
    let out = worker.jobs(3).await;
    for job in &out {
        queue.try_cancel(&spec::id(job)).await.unwrap();
        let notice = worker.notice().await;
        assert_eq!((notice.cancelled, notice.lost), (vec![spec::id(job)], vec![]), "each is told once");
    }
    let extended = worker.extend(extension(&out[0], LONG)).await;
    assert!(extended.error.is_none() && extended.cancel_requested);
    // Done all the same; given back; and given back by closing.
    assert_eq!(worker.try_ack(vec![spec::ack(&out[0])]).await[0].error, None);
    worker.jobs(1).await;
    let result = worker.try_nack(spec::nack(&out[1], NackReason::Failed)).await;
    assert_eq!(result.state(), JobState::Cancelled);
    worker.close().await;
    let counts = |status: &QueueStatus| {
        let counts = status.counts.as_ref().unwrap();
        (counts.completed, counts.cancelled, counts.ready, counts.leased)
    };
    queue.until(|status| counts(status) == (1, 2, 1, 0)).await;
    assert_eq!(queue.state(&spec::id(&out[2])).await, JobState::Cancelled);
}

#[tokio::test]
async fn worker_of_a_deleted_queue_loses_its_jobs_and_works_on_for_the_next_of_its_name() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("deleted");
    queue.put(long()).await;
    queue.enqueue_one(spec::job("of the first")).await;
    let mut worker = Worker::start(&queue, 1).await;
    let out = worker.jobs(1).await;
    queue.try_delete(true).await.unwrap();
    assert_eq!(worker.notice().await.lost, [spec::id(&out[0])]);
    queue.enqueue_one(spec::job("of the second")).await;
    let out = worker.jobs(1).await;
    assert_eq!(spec::text(&out[0]), "of the second");
    assert_eq!(worker.try_ack(vec![spec::ack(&out[0])]).await[0].error, None);
}

#[tokio::test]
async fn paused_queue_gives_nothing_over_a_stream_until_it_is_resumed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("paused");
    queue.put(long()).await;
    queue.enqueue(spec::jobs("x", 2)).await;
    let mut worker = Worker::start(&queue, 1).await;
    let out = worker.jobs(1).await;
    queue.pause().await;
    assert_eq!(worker.try_ack(vec![spec::ack(&out[0])]).await[0].error, None, "it may settle");
    worker.nothing_more_comes().await;
    queue.resume().await;
    assert_eq!(spec::text(&worker.jobs(1).await[0]), "x-1");
}

#[tokio::test]
async fn strict_queues_make_unused_names_unknown_to_a_worker() {
    let server = Setup::default().argument("--strict-queues").start().await;
    let queue = server.queue("unused");
    let mut worker = Worker::start(&queue, 1).await;
    status::refused(worker.try_told().await, Code::NotFound, "QUEUE_NOT_FOUND");
    queue.put(Queue::default()).await;
    queue.enqueue_one(JobSpec::default()).await;
    Worker::start(&queue, 1).await.jobs(1).await;
}
