//! What becomes of jobs that fail: retried by their policy, dead when it is spent, requeued or purged
//! by an operator.

use std::time::Duration;

use sluice_proto::v1::{JobSpec, JobState, Nack, NackReason, RequeueJobsRequest, RetryPolicy};
use sluice_tests::{Queue, Sluiced, spec};

/// Fails the next delivery; where the job stands then, and when it is to run again.
async fn fail_next(queue: &Queue) -> (JobState, Option<prost_types::Timestamp>) {
    let leased = queue.lease_next().await;
    let nack = Nack {
        error: "HTTP 500".to_owned(),
        error_code: "http_500".to_owned(),
        ..spec::nack(&leased, NackReason::Failed)
    };
    let result = queue.try_nack(nack).await;
    assert_eq!(result.error, None);
    (result.state(), result.run_time)
}

#[tokio::test]
async fn s3_5_job_is_dead_at_exactly_max_attempts() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("attempts");
    for max_attempts in [1, 2, 5] {
        let retry_policy = Some(spec::retry(max_attempts, Duration::from_millis(1)));
        let id = queue.enqueue_one(JobSpec { retry_policy, ..spec::job("x") }).await;
        for attempt in 1..max_attempts {
            assert_eq!(fail_next(&queue).await.0, JobState::Retrying);
            assert_eq!(queue.job(&id).await.attempts, attempt);
        }
        assert_eq!(fail_next(&queue).await.0, JobState::Dead);
        let job = queue.job(&id).await;
        assert_eq!(
            (job.attempts, job.max_attempts, job.deliveries),
            (max_attempts, max_attempts, max_attempts)
        );
        let error = job.last_error.unwrap();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("http_500", "HTTP 500"));
        assert!(queue.lease(1).await.is_empty(), "nobody is given a dead job");
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.failed_attempts, totals.dead), (8, 3));
    assert_eq!(totals.failed_by_code["http_500"], 8);
}

#[tokio::test]
async fn s3_5_waits_double_up_to_their_maximum() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("backoff");
    let policy = RetryPolicy {
        max_attempts: Some(6),
        initial_backoff: Some(spec::millis(40)),
        multiplier: Some(2.0),
        max_backoff: Some(spec::millis(250)),
        jitter: Some(0.0),
    };
    let id = queue.enqueue_one(JobSpec { retry_policy: Some(policy), ..spec::job("x") }).await;
    for wait in [40, 80, 160, 250, 250] {
        let before = spec::moment(queue.status().await.status_time);
        let (state, run_time) = fail_next(&queue).await;
        let after = spec::moment(queue.status().await.status_time);
        assert_eq!(state, JobState::Retrying);
        let run_time = spec::moment(run_time);
        let wait = Duration::from_millis(wait);
        assert!(run_time + spec::TICK >= before + wait, "not sooner than {wait:?}");
        assert!(run_time <= after + wait + spec::TICK, "not later than {wait:?}");
        let next = queue.until(|status| status.counts.as_ref().unwrap().ready == 1).await;
        assert!(spec::moment(next.status_time) + spec::TICK >= run_time, "not delivered before its time");
    }
    assert_eq!(fail_next(&queue).await.0, JobState::Dead);
    assert_eq!(queue.state(&id).await, JobState::Dead);
}

#[tokio::test]
async fn s3_5_policy_comes_from_the_queue_where_the_job_does_not_say() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("policy");
    let plain = queue.enqueue_one(spec::job("defaults")).await;
    let policy = queue.job(&plain).await.retry_policy.unwrap();
    assert_eq!((policy.max_attempts, policy.multiplier, policy.jitter), (Some(5), Some(2.0), Some(0.2)));
    assert_eq!(policy.initial_backoff, Some(spec::millis(1_000)));
    assert_eq!(policy.max_backoff, Some(spec::millis(60_000)));

    let own = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
    let id = queue.enqueue_one(JobSpec { retry_policy: Some(own), ..spec::job("own") }).await;
    queue.put(spec::retrying(9, Duration::from_millis(70))).await;
    let policy = queue.job(&id).await.retry_policy.unwrap();
    assert_eq!(policy.max_attempts, Some(3), "the job's own");
    assert_eq!(policy.initial_backoff, Some(spec::millis(70)), "the queue's, as it is now");
    assert_eq!(queue.job(&plain).await.max_attempts, 9);
}

#[tokio::test]
async fn worker_may_name_the_wait_after_a_failure() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("named-wait");
    let id = queue.enqueue_one(spec::job("x")).await;
    let leased = queue.lease_next().await;
    let before = spec::moment(queue.status().await.status_time);
    let nack = Nack { retry_after: Some(spec::millis(3_600_000)), ..spec::nack(&leased, NackReason::Failed) };
    let run_time = spec::moment(queue.try_nack(nack).await.run_time);
    assert!(run_time + spec::TICK >= before + Duration::from_secs(3_600));
    assert_eq!(queue.job(&id).await.attempts, 1);
}

#[tokio::test]
async fn long_error_is_cut_and_stays_text() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("long-error");
    let id = queue.enqueue_one(spec::job("x")).await;
    let leased = queue.lease_next().await;
    let nack = Nack { error: "é".repeat(4_000), ..spec::nack(&leased, NackReason::Rejected) };
    assert_eq!(queue.try_nack(nack).await.error, None);
    let message = queue.job(&id).await.last_error.unwrap().message;
    assert!(message.len() <= 4_096 && message.len() > 4_000, "{} bytes", message.len());
    assert!(message.starts_with("éé"));
}

#[tokio::test]
async fn requeue_begins_a_new_life_under_the_same_id() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("requeue");
    queue.put(spec::retrying(1, Duration::ZERO)).await;
    let spec = JobSpec { priority: Some(7), key: "k".to_owned(), ..spec::job("x") };
    let id = queue.enqueue_one(spec).await;
    for requeues in 1..=3 {
        assert_eq!(fail_next(&queue).await.0, JobState::Dead);
        assert_eq!(queue.requeue(&[]).await, 1, "DEAD is what requeue means unless told otherwise");
        let job = queue.job(&id).await;
        assert_eq!((job.state(), job.attempts, job.requeues), (JobState::Ready, 0, requeues));
        assert_eq!((job.deliveries, job.priority, job.key.as_str()), (requeues, 7, "k"));
        assert_eq!(job.end_time, None);
        assert_eq!(queue.requeue(&[JobState::Dead]).await, 0, "a repeat finds nothing to do");
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.requeued, totals.dead), (3, 3));
    let last = queue.lease_next().await;
    assert_eq!(spec::text(&last), "x");
    queue.ack(&[last]).await;
}

#[tokio::test]
async fn requeued_jobs_stand_behind_those_that_wait() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("behind");
    queue.enqueue_one(spec::job("was dead")).await;
    let out = queue.lease(1).await;
    queue.nack(&out[0], NackReason::Rejected).await;
    queue.enqueue_one(spec::job("waits")).await;
    queue.requeue(&[JobState::Dead]).await;
    assert_eq!(spec::texts(&queue.lease(2).await), ["waits", "was dead"]);
}

#[tokio::test]
async fn requeue_takes_no_more_than_it_is_told_and_the_oldest_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("some");
    let ids = queue.enqueue(spec::jobs("x", 5)).await;
    for leased in queue.lease(5).await {
        queue.nack(&leased, NackReason::Rejected).await;
    }
    let request = RequeueJobsRequest {
        filter: Some(queue.filter(&[JobState::Dead])),
        max_jobs: Some(2),
        ..Default::default()
    };
    let answer = queue.admin.clone().requeue_jobs(request).await.unwrap().into_inner();
    assert_eq!(answer.requeued_jobs, 2);
    let ready: Vec<String> = queue.list(&[JobState::Ready], 10).await.into_iter().map(|j| j.job_id).collect();
    assert_eq!(ready, ids[..2]);
}

#[tokio::test]
async fn purged_jobs_are_gone_and_counted() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("purge");
    let ids = queue.enqueue(spec::jobs("x", 6)).await;
    let out = queue.lease(3).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;

    assert_eq!(queue.purge(&[JobState::Dead]).await, 1);
    assert_eq!(queue.try_job(&ids[1]).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(queue.purge(&[JobState::Ready, JobState::Completed]).await, 4);
    let status = queue.status().await;
    assert_eq!(status.totals.unwrap().removed, 5);
    assert_eq!((status.jobs, status.counts.unwrap().leased), (1, 1), "a leased job is left alone");
    queue.ack(&out[2..]).await;
}
