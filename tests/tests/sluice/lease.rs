//! Leases: who holds a job, for how long, and how it is given back.

use std::time::Duration;

use sluice_proto::v1::{JobState, LeaseRequest, Nack, NackReason, Queue, RetryPolicy};
use sluice_tests::{Sluiced, spec};
use tonic::Code;

#[tokio::test]
async fn s3_4_lease_waits_for_a_job_and_returns_when_one_comes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("waiting");
    queue.put(Queue::default()).await;
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    queue.enqueue_one(spec::job("at last")).await;
    assert_eq!(spec::text(&waiting.await.unwrap()), "at last");
    assert_eq!(queue.status().await.waiting_leases, 0);
}

#[tokio::test]
async fn s3_4_lease_of_nothing_is_ok_after_its_wait() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nothing");
    let wait = Duration::from_millis(200);
    let began = std::time::Instant::now();
    let request = LeaseRequest { wait_timeout: Some(spec::span(wait)), ..queue.lease_request(1) };
    let answer = queue.rpc.clone().lease(request).await.unwrap().into_inner();
    assert!(answer.jobs.is_empty());
    assert!(began.elapsed() >= wait);
}

#[tokio::test]
async fn s3_4_acked_job_is_completed_and_never_comes_back() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("acked");
    let id = queue.enqueue_one(spec::job("once")).await;
    let out = queue.lease(1).await;
    queue.ack(&out).await;

    let job = queue.job(&id).await;
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!((job.deliveries, job.attempts), (1, 0));
    assert!(spec::moment(job.end_time) >= spec::moment(job.start_time));
    assert!(queue.lease(1).await.is_empty());
    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().completed), (0, 1));
}

#[tokio::test]
async fn leased_job_shows_who_holds_it_and_until_when() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("held");
    let id = queue.enqueue_one(spec::job("x")).await;
    let request = LeaseRequest {
        lease_duration: Some(spec::millis(90_000)),
        worker_id: "worker-7".to_owned(),
        ..queue.lease_request(1)
    };
    let leased = queue.lease_by(request).await.remove(0);
    assert_eq!(leased.lease_duration, Some(spec::millis(90_000)));

    let job = queue.job(&id).await;
    assert_eq!(job.state(), JobState::Leased);
    assert_eq!(job.worker_id, "worker-7");
    assert_eq!(job.deliveries, 1);
    assert!(spec::same_moment(job.lease_expire_time, leased.lease_expire_time));
    let held = spec::moment(job.lease_expire_time).duration_since(spec::moment(job.start_time)).unwrap();
    assert!(held.abs_diff(Duration::from_secs(90)) <= spec::TICK, "{held:?}");
}

#[tokio::test]
async fn queue_says_how_long_a_lease_lasts_when_the_worker_does_not() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("default-lease");
    queue.enqueue(spec::jobs("x", 2)).await;
    assert_eq!(queue.lease(1).await[0].lease_duration, Some(spec::millis(30_000)));
    let settings = sluice_proto::v1::Queue {
        lease_duration: Some(spec::millis(5_000)),
        ..sluice_proto::v1::Queue::default()
    };
    queue.put(settings).await;
    assert_eq!(queue.lease(1).await[0].lease_duration, Some(spec::millis(5_000)));
}

#[tokio::test]
async fn expired_lease_spends_an_attempt_and_returns_the_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("expired");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let request = LeaseRequest { lease_duration: Some(spec::millis(1_000)), ..queue.lease_request(1) };
    let first = queue.lease_by(request).await.remove(0);

    let second = queue.lease_next().await;
    assert_eq!(spec::id(&second), id);
    assert!(second.lease_token > first.lease_token);
    let job = second.job.as_ref().unwrap();
    assert_eq!((job.attempts, job.deliveries), (1, 2));
    assert_eq!(job.last_error.as_ref().unwrap().code, "LEASE_EXPIRED");
    assert!(spec::moment(job.start_time) + spec::TICK >= spec::moment(first.lease_expire_time));

    // The first worker wakes up too late: its token no longer does anything.
    let late = queue.try_ack(vec![spec::ack(&first)]).await.remove(0).error.unwrap();
    assert_eq!((late.code, late.reason.as_str()), (Code::FailedPrecondition as i32, "LEASE_LOST"));
    let late = queue.try_nack(spec::nack(&first, NackReason::Failed)).await.error.unwrap();
    assert_eq!(late.reason, "LEASE_LOST");
    let late = queue.extend(&first, Duration::from_secs(60)).await.error.unwrap();
    assert_eq!(late.reason, "LEASE_LOST");
    assert_eq!(queue.state(&id).await, JobState::Leased);
    queue.ack(&[second]).await;
}

#[tokio::test]
async fn extended_lease_outlives_its_first_end() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("extended");
    queue.enqueue(vec![spec::keyed("a", "extended"), spec::keyed("b", "left alone")]).await;
    let request = LeaseRequest { lease_duration: Some(spec::millis(1_000)), ..queue.lease_request(2) };
    let out = queue.lease_by(request).await;
    let extended = queue.extend(&out[0], Duration::from_secs(60)).await;
    assert_eq!(extended.error, None);
    assert!(spec::moment(extended.lease_expire_time) > spec::moment(out[0].lease_expire_time));

    // The other lease was as long; when it has expired, this one would have too.
    let gone = queue.until(|status| status.counts.as_ref().unwrap().leased == 1).await;
    assert_eq!(gone.totals.unwrap().failed_attempts, 1);
    queue.ack(&out[..1]).await;
}

#[tokio::test]
async fn lease_can_be_cut_short() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cut");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    queue.enqueue_one(spec::job("x")).await;
    let request = LeaseRequest { lease_duration: Some(spec::millis(3_600_000)), ..queue.lease_request(1) };
    let out = queue.lease_by(request).await;
    assert_eq!(queue.extend(&out[0], Duration::from_secs(1)).await.error, None);
    assert_eq!(queue.lease_next().await.job.unwrap().attempts, 1);
}

#[tokio::test]
async fn released_job_is_ready_again_with_nothing_spent() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("released");
    let id = queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    let result = queue.nack(&out[0], NackReason::Released).await;
    assert_eq!(result.state(), JobState::Ready);
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Ready, 0, 1));
    assert_eq!(job.last_error, None);
    assert_eq!(queue.status().await.totals.unwrap().failed_attempts, 0);
}

#[tokio::test]
async fn throttled_job_waits_as_told_and_spends_no_attempt() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("throttled");
    let policy = RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() };
    let id =
        queue.enqueue_one(sluice_proto::v1::JobSpec { retry_policy: Some(policy), ..spec::job("x") }).await;
    let wait = Duration::from_millis(300);
    for round in 1..=3 {
        let leased = queue.lease_next().await;
        let nack = Nack {
            retry_after: Some(spec::span(wait)),
            error: "slow down".to_owned(),
            error_code: "http_429".to_owned(),
            ..spec::nack(&leased, NackReason::Throttled)
        };
        let before = spec::moment(queue.status().await.status_time);
        let result = queue.try_nack(nack).await;
        assert_eq!((result.error.clone(), result.state()), (None, JobState::Ready));
        let job = queue.job(&id).await;
        let [gate] = &job.blocked_by[..] else { panic!("{job:?}") };
        assert!(spec::moment(gate.until_time) + spec::TICK >= before + wait);
        assert_eq!((job.attempts, job.deliveries), (0, round), "of one attempt none is spent");
        assert_eq!(job.last_error.unwrap().code, "http_429");
    }
    let status = queue.status().await;
    assert_eq!(status.totals.as_ref().unwrap().throttled, 3);
    assert_eq!(status.totals.unwrap().failed_attempts, 0);
    let last = queue.lease_next().await;
    queue.ack(&[last]).await;
}

#[tokio::test]
async fn rejected_job_is_dead_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rejected");
    let id = queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    let nack = Nack {
        error: "no such number".to_owned(),
        error_code: "invalid_recipient".to_owned(),
        ..spec::nack(&out[0], NackReason::Rejected)
    };
    assert_eq!(queue.try_nack(nack).await.state(), JobState::Dead);
    let job = queue.job(&id).await;
    let error = job.last_error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("invalid_recipient", "no such number"));
    assert_eq!(job.state(), JobState::Dead);
    assert!(queue.lease(1).await.is_empty());
}

#[tokio::test]
async fn repeated_ack_or_nack_with_the_token_that_did_it_is_ok() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("again");
    queue.enqueue(spec::jobs("x", 3)).await;
    let out = queue.lease(3).await;
    for _ in 0..3 {
        queue.ack(&out[..1]).await;
        queue.nack(&out[1], NackReason::Failed).await;
        queue.nack(&out[2], NackReason::Rejected).await;
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.completed, totals.dead), (1, 1), "each counts once");
}

#[tokio::test]
async fn items_succeed_and_fail_each_by_itself() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("items");
    queue.enqueue(spec::jobs("x", 2)).await;
    let out = queue.lease(2).await;
    let mut acks: Vec<_> = out.iter().map(spec::ack).collect();
    acks[0].lease_token += 1_000_000;
    let results = queue.try_ack(acks).await;
    assert_eq!(results[0].job_id, spec::id(&out[0]));
    assert_eq!(results[0].error.as_ref().unwrap().reason, "LEASE_LOST");
    assert_eq!((results[1].job_id.clone(), results[1].error.clone()), (spec::id(&out[1]), None));
}

#[tokio::test]
async fn caller_that_has_gone_is_given_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("gone");
    queue.put(Queue::default()).await;
    for _ in 0..20 {
        let other = server.queue("gone");
        let call = tokio::spawn(async move { other.lease_next().await });
        queue.until(|status| status.waiting_leases == 1).await;
        call.abort();
        queue.until(|status| status.waiting_leases == 0).await;
        queue.enqueue_one(spec::job("x")).await;
        let out = queue.lease(1).await;
        assert_eq!(out[0].job.as_ref().unwrap().deliveries, 1);
        queue.ack(&out).await;
    }
}
