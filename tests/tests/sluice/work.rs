//! Work: lease, ack, nack and extend over one stream.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_proto::v1::work_request::Message as Ask;
use sluice_proto::v1::work_response::Message as Tell;
use sluice_proto::v1::{JobState, LeasedJob, NackReason, WorkStart};
use sluice_tests::cable::Cable;
use sluice_tests::{Queue, Sluiced, Worker, spec, status};
use tonic::Code;

/// A worker with leases that no test waits for.
async fn start(queue: &Queue, credit: u32) -> Worker {
    let lease_duration = Some(spec::span(Duration::from_secs(600)));
    let start = WorkStart { lease_duration, credit, ..WorkStart::default() };
    Worker::start_as(queue, start).await
}

/// Acks one job; the reason why it is refused, or nothing.
async fn ack(worker: &mut Worker, job: &LeasedJob) -> Option<String> {
    worker.try_ack(vec![spec::ack(job)]).await.remove(0).error.map(|error| error.reason)
}

/// Nacks one job; the reason why it is refused, or nothing.
async fn nack(worker: &mut Worker, job: &LeasedJob, reason: NackReason) -> Option<String> {
    worker.try_nack(spec::nack(job, reason)).await.error.map(|error| error.reason)
}

fn with_other_token(job: &LeasedJob) -> LeasedJob {
    LeasedJob { lease_token: job.lease_token + 1, ..job.clone() }
}

#[tokio::test]
async fn worker_never_holds_more_than_its_credit() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    queue.enqueue(spec::jobs("x", 10)).await;
    let mut worker = start(&queue, 3).await;
    let first = worker.jobs(3).await;
    assert_eq!(spec::texts(&first), ["x-0", "x-1", "x-2"]);
    worker.ask(Ask::Credit(2));
    let second = worker.jobs(2).await;
    assert_eq!(queue.status().await.counts.unwrap().leased, 5);
    assert_eq!(ack(&mut worker, &first[0]).await, None);
    assert_eq!(spec::texts(&worker.jobs(1).await), ["x-5"], "an acked job's credit is used again");
    assert_eq!(nack(&mut worker, &second[0], NackReason::Rejected).await, None);
    assert_eq!(spec::texts(&worker.jobs(1).await), ["x-6"]);
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.leased, counts.completed, counts.dead, counts.ready), (5, 1, 1, 3));
}

#[tokio::test]
async fn what_a_worker_holds_goes_back_untouched_when_it_closes_its_side() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    let mut worker = start(&queue, 3).await;
    worker.jobs(3).await;
    worker.close().await;
    queue.until(|status| status.counts.as_ref().is_some_and(|counts| counts.ready == 3)).await;
    for id in &ids {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Ready, 0));
    }
}

#[tokio::test]
async fn what_a_worker_holds_goes_back_with_an_attempt_spent_when_its_stream_breaks() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let cable = Cable::to(&server).await;
    let mut worker = start(&Queue::new("work", cable.channel()), 1).await;
    worker.jobs(1).await;
    cable.cut();
    queue.until(|status| status.counts.as_ref().is_some_and(|counts| counts.ready == 1)).await;
    assert_eq!(queue.job(&id).await.attempts, 1);
}

#[tokio::test]
async fn wrong_token_settles_nothing_and_the_job_stays_in_its_workers_hands() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    queue.enqueue(spec::jobs("x", 2)).await;
    let mut worker = start(&queue, 2).await;
    let jobs = worker.jobs(2).await;
    let lost = Some("LEASE_LOST".to_owned());
    assert_eq!(ack(&mut worker, &with_other_token(&jobs[0])).await, lost);
    assert_eq!(nack(&mut worker, &with_other_token(&jobs[1]), NackReason::Failed).await, lost);
    assert_eq!(queue.status().await.counts.unwrap().leased, 2);
    // Had the server forgotten them, they would stay leased for ten minutes.
    worker.close().await;
    queue.until(|status| status.counts.as_ref().is_some_and(|counts| counts.ready == 2)).await;
}

#[tokio::test]
async fn worker_hears_of_jobs_to_give_up_and_of_lost_ones() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let mut worker = start(&queue, 2).await;
    let jobs = worker.jobs(2).await;
    queue.try_cancel(&ids[0]).await.unwrap();
    assert_eq!(worker.notice().await.cancelled, [ids[0].clone()]);
    // Settled on another way, it is the worker's no more.
    queue.ack(&jobs[1..]).await;
    assert_eq!(worker.notice().await.lost, [ids[1].clone()]);
    assert_eq!(nack(&mut worker, &jobs[0], NackReason::Failed).await, None);
    assert_eq!(queue.state(&ids[0]).await, JobState::Cancelled);
}

#[tokio::test]
async fn stream_out_of_turn_is_refused_with_the_fields_name() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("work");
    let mut early = Worker::open(&queue).await;
    early.ask(Ask::Credit(1));
    let refused = early.try_told().await;
    assert_eq!(status::fields(&refused.unwrap_err()), ["start"]);
    let mut twice = start(&queue, 0).await;
    twice.ask(Ask::Start(WorkStart { queue: "work".to_owned(), ..WorkStart::default() }));
    assert_eq!(status::fields(&twice.try_told().await.unwrap_err()), ["start"]);
    let mut greedy = start(&queue, 1_000).await;
    greedy.ask(Ask::Credit(1));
    assert_eq!(status::fields(&greedy.try_told().await.unwrap_err()), ["credit"]);
}

#[tokio::test]
async fn worker_of_a_server_that_stops_is_told_and_may_ack_when_it_is_back() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("work");
    queue.enqueue(spec::jobs("x", 1)).await;
    let mut worker = start(&queue, 5).await;
    let jobs = worker.jobs(1).await;
    server.terminate();
    assert!(worker.notice().await.going_away);
    let end = loop {
        if let Err(end) = worker.try_told().await {
            break end;
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(server.stopped().await.code(), Some(0));
    server.start().await;
    server.queue("work").ack(&jobs).await;
}

#[tokio::test]
async fn kill_loses_and_doubles_nothing_that_a_stream_acked() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("work");
    let ids = queue.enqueue(spec::jobs("x", 200)).await;
    let mut worker = start(&queue, 50).await;
    let mut acked = BTreeSet::new();
    for job in worker.jobs(50).await.iter().take(20) {
        worker.ask_acks(vec![spec::ack(job)]);
    }
    while acked.len() < 20 {
        if let Tell::Acks(answer) = worker.told().await {
            acked.extend(answer.results.into_iter().inspect(|r| assert_eq!(r.error, None)).map(|r| r.job_id));
        }
    }
    server.kill_and_start().await;
    let queue = server.queue("work");
    let completed = queue.list(&[JobState::Completed], 1_000).await;
    assert_eq!(completed.into_iter().map(|job| job.job_id).collect::<BTreeSet<_>>(), acked);
    assert_eq!(queue.list(&[], 1_000).await.len(), ids.len());
}
