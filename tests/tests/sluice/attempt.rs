//! What a job tells of its deliveries: each that failed, by whom, when and why; and what came of the last.

use std::time::Duration;

use bytes::Bytes;
use sluice_proto::v1::{
    Ack, AckRequest, Attempt, AttemptOutcome, GetServerInfoRequest, JobState, LeaseRequest, LeasedJob, Nack,
    NackReason, Queue,
};
use sluice_tests::{Queue as Client, Setup, Sluiced, spec, status};
use tonic::Code;

/// Leases the next job as `worker_id`.
async fn lease_as(queue: &Client, worker_id: &str, lease_duration: Duration) -> LeasedJob {
    let request = LeaseRequest {
        worker_id: worker_id.to_owned(),
        lease_duration: Some(spec::span(lease_duration)),
        wait_timeout: Some(spec::millis(30_000)),
        ..queue.lease_request(1)
    };
    queue.lease_by(request).await.pop().expect("a job comes within 30 s")
}

/// A delivery that a worker gave back with an error of its own.
async fn fail(queue: &Client, worker_id: &str, reason: NackReason, code: &str) -> LeasedJob {
    let leased = lease_as(queue, worker_id, Duration::from_secs(60)).await;
    let retry_after = matches!(reason, NackReason::Failed | NackReason::Throttled).then(|| spec::millis(0));
    let nack = Nack {
        error: format!("{code} it said"),
        error_code: code.to_owned(),
        retry_after,
        ..spec::nack(&leased, reason)
    };
    assert_eq!(queue.try_nack(nack).await.error, None);
    leased
}

fn told(attempt: &Attempt) -> (u64, &str, AttemptOutcome, &str, &str) {
    let error = attempt.error.as_ref();
    let (code, message) = error.map_or(("", ""), |error| (&*error.code, &*error.message));
    (attempt.lease_token, &attempt.worker_id, attempt.outcome(), code, message)
}

fn assert_times(history: &[Attempt]) {
    for attempt in history {
        assert!(spec::moment(attempt.end_time) + spec::TICK >= spec::moment(attempt.start_time));
    }
    for pair in history.windows(2) {
        assert!(spec::moment(pair[1].start_time) + spec::TICK >= spec::moment(pair[0].end_time));
    }
}

#[tokio::test]
async fn history_tells_each_delivery_that_was_not_acknowledged_and_survives_kill_9() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("history");
    let id = queue.enqueue_one(spec::job("x")).await;
    assert!(queue.job(&id).await.attempt_history.is_empty());

    let failed = fail(&queue, "ann", NackReason::Failed, "http_500").await;
    let throttled = fail(&queue, "ben", NackReason::Throttled, "http_429").await;
    let released = lease_as(&queue, "cat", Duration::from_secs(60)).await;
    queue.nack(&released, NackReason::Released).await;
    let lost = lease_as(&queue, "dan", Duration::from_secs(1)).await;
    let rejected = fail(&queue, "eve", NackReason::Rejected, "invalid").await;

    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.deliveries), (JobState::Dead, 5));
    assert_eq!(job.attempts, 3, "THROTTLED and RELEASED spend none");
    let history = &job.attempt_history;
    let expected = [
        (failed.lease_token, "ann", AttemptOutcome::Failed, "http_500", "http_500 it said"),
        (throttled.lease_token, "ben", AttemptOutcome::Throttled, "http_429", "http_429 it said"),
        (released.lease_token, "cat", AttemptOutcome::Released, "", ""),
        (
            lost.lease_token,
            "dan",
            AttemptOutcome::Expired,
            "LEASE_EXPIRED",
            &*history[3].error.as_ref().unwrap().message,
        ),
        (rejected.lease_token, "eve", AttemptOutcome::Rejected, "invalid", "invalid it said"),
    ];
    assert_eq!(history.iter().map(told).collect::<Vec<_>>(), expected);
    assert_times(history);
    for (attempt, leased) in history.iter().zip([&failed, &throttled, &released, &lost, &rejected]) {
        let began = leased.job.as_ref().unwrap().start_time;
        assert!(spec::same_moment(attempt.start_time, began), "{attempt:?}");
    }
    let held = spec::moment(history[3].end_time).duration_since(spec::moment(history[3].start_time));
    assert!(held.unwrap() + spec::TICK >= Duration::from_secs(1), "the whole lease");

    for _ in 0..2 {
        server.kill_and_start().await;
        assert_eq!(server.queue("history").job(&id).await, job);
    }
}

#[tokio::test]
async fn history_keeps_the_last_10_deliveries_of_a_life() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bounded");
    let id = queue.enqueue_one(spec::job("x")).await;
    let mut tokens = Vec::new();
    for n in 0..13 {
        let leased = fail(&queue, &format!("worker-{n}"), NackReason::Throttled, &format!("code-{n}")).await;
        tokens.push(leased.lease_token);
        let job = queue.job(&id).await;
        let kept: Vec<u64> = job.attempt_history.iter().map(|attempt| attempt.lease_token).collect();
        assert_eq!(kept, tokens[tokens.len().saturating_sub(10)..], "after {} deliveries", n + 1);
    }
    let history = queue.job(&id).await.attempt_history;
    assert_eq!((&*history[0].worker_id, &*history[9].worker_id), ("worker-3", "worker-12"));
    assert_eq!(history[0].error.as_ref().unwrap().code, "code-3");
    let info = queue.admin.clone().get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.bounds.unwrap().max_attempt_history, 10);
}

#[tokio::test]
async fn message_in_the_history_is_cut_to_256_bytes_and_stays_text() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cut");
    let id = queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    // No character ends at 256 bytes.
    let error = format!("x{}", "é".repeat(1_000));
    let nack = Nack { error: error.clone(), ..spec::nack(&out[0], NackReason::Rejected) };
    assert_eq!(queue.try_nack(nack).await.error, None);
    let job = queue.job(&id).await;
    let cut = job.attempt_history[0].error.clone().unwrap().message;
    assert!((250..=256).contains(&cut.len()), "{} bytes", cut.len());
    assert!(error.starts_with(cut.trim_end_matches('…')), "{cut}");
    assert_eq!(job.last_error.unwrap().message, error, "which has room for more");
}

#[tokio::test]
async fn history_is_told_to_the_next_worker_and_stays_with_a_completed_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("next");
    let id = queue.enqueue_one(spec::job("x")).await;
    let first = fail(&queue, "ann", NackReason::Failed, "http_500").await;
    let second = lease_as(&queue, "ben", Duration::from_secs(60)).await;
    let history = second.job.as_ref().unwrap().attempt_history.clone();
    let expected = (first.lease_token, "ann", AttemptOutcome::Failed, "http_500", "http_500 it said");
    assert_eq!(history.iter().map(told).collect::<Vec<_>>(), [expected]);
    queue.ack(&[second]).await;
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Completed, 1, 2));
    assert_eq!(job.attempt_history, history, "the delivery that was acknowledged is not in it");
    assert_eq!(job.worker_id, "ben");
}

#[tokio::test]
async fn new_life_begins_with_an_empty_history_and_greater_tokens() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lives");
    let id = queue.enqueue_one(spec::job("x")).await;
    let first = fail(&queue, "ann", NackReason::Rejected, "invalid").await;
    assert_eq!(queue.requeue(&[]).await, 1);
    let job = queue.job(&id).await;
    assert_eq!((job.attempt_history.len(), job.attempts, job.last_error), (0, 0, None));
    let second = fail(&queue, "ben", NackReason::Failed, "http_500").await;
    assert!(second.lease_token > first.lease_token);
    let job = queue.job(&id).await;
    assert_eq!(job.attempt_history.len(), 1, "the last life is not told");
    assert_eq!((&*job.attempt_history[0].worker_id, job.deliveries), ("ben", 2));
}

#[tokio::test]
async fn result_is_readable_across_kill_9_until_retention_has_passed() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("results");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let out = queue.lease(2).await;
    let result = Some(Bytes::from_static(b"\x00\xff result"));
    let acks = vec![Ack { result: result.clone(), ..spec::ack(&out[0]) }, spec::ack(&out[1])];
    assert!(queue.try_ack(acks).await.iter().all(|result| result.error.is_none()));
    server.kill_and_start().await;
    let queue = server.queue("results");
    assert_eq!(queue.job(&ids[0]).await.result, result);
    assert_eq!(queue.job(&ids[1]).await.result, None);

    queue.put(Queue { retention: Some(spec::millis(200)), ..Queue::default() }).await;
    queue.until(|status| status.counts.as_ref().unwrap().completed == 0).await;
    assert_eq!(queue.try_job(&ids[0]).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn result_beyond_64_kib_is_refused_with_all_of_its_call() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("large");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let out = queue.lease(2).await;
    let large = Some(Bytes::from(vec![7; (64 << 10) + 1]));
    let acks = vec![spec::ack(&out[0]), Ack { result: large, ..spec::ack(&out[1]) }];
    let refused = queue.rpc.clone().ack(AckRequest { acks }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(status::fields(&refused), ["acks[1].result"]);
    for id in &ids {
        assert_eq!(queue.state(id).await, JobState::Leased);
    }
    queue.ack(&out).await;
}
