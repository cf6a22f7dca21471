//! Jobs that expire, are given up, changed, waited for, or came before.

use super::*;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn cancel(job_id: &str) -> v1::CancelJobRequest {
    v1::CancelJobRequest { job_id: job_id.to_owned() }
}

fn ack(leased: &v1::LeasedJob) -> v1::AckRequest {
    let job_id = leased.job.as_ref().unwrap().job_id.clone();
    v1::AckRequest {
        acks: vec![v1::Ack { job_id, lease_token: leased.lease_token, result: None, actual_cost: None }],
    }
}

#[tokio::test]
async fn waiting_job_is_cancelled_at_once_and_again() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a")]).await;
    for _ in 0..2 {
        let job = server.queues.cancel_job(cancel(&ids[0])).await.unwrap().into_inner().job.unwrap();
        assert_eq!((state(&job), job.end_time.is_some()), (v1::JobState::Cancelled, true));
    }
    assert!(server.take(1).await.is_empty());
}

#[tokio::test]
async fn leased_job_that_is_cancelled_is_completed_by_an_ack_and_given_up_by_anything_else() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a"), spec("b")]).await;
    let jobs = server.take(2).await;
    for id in &ids {
        let job = server.queues.cancel_job(cancel(id)).await.unwrap().into_inner().job.unwrap();
        assert_eq!((state(&job), job.cancel_requested), (v1::JobState::Leased, true));
    }
    let lease = v1::LeaseExtension { job_id: ids[0].clone(), lease_token: 1, lease_duration: None };
    let extend = v1::ExtendLeaseRequest { leases: vec![lease] };
    assert!(server.queues.extend_lease(extend).await.unwrap().into_inner().results[0].cancel_requested);
    server.queues.ack(ack(&jobs[0])).await.unwrap();
    let nacked = server.nack(&jobs[1], v1::NackReason::Failed).await;
    assert_eq!(nacked.state(), v1::JobState::Cancelled);
    assert_eq!(state(&server.job(&ids[0]).await), v1::JobState::Completed);
    let refused = server.queues.cancel_job(cancel(&ids[0])).await;
    assert_eq!(reason(refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    let refused = server.queues.cancel_job(cancel("nobody")).await;
    assert_eq!(reason(refused), (Code::NotFound, "JOB_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn waiting_job_gets_another_priority_and_another_time() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a"), spec("b")]).await;
    let urgent = v1::UpdateJobRequest { job_id: ids[1].clone(), priority: Some(9), ..Default::default() };
    let job = server.queues.update_job(urgent).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.priority, job.queue_position), (9, Some(1)));
    let later = v1::UpdateJobRequest { job_id: ids[0].clone(), delay: seconds(60), ..Default::default() };
    let job = server.queues.update_job(later).await.unwrap().into_inner().job.unwrap();
    assert_eq!((state(&job), job.run_time.is_some()), (v1::JobState::Scheduled, true));
    let now = v1::UpdateJobRequest { job_id: ids[0].clone(), delay: seconds(0), ..Default::default() };
    let job = server.queues.update_job(now).await.unwrap().into_inner().job.unwrap();
    assert_eq!((state(&job), job.queue_position), (v1::JobState::Ready, Some(2)));
}

#[tokio::test]
async fn job_past_its_time_to_live_is_not_retried() {
    let mut server = Server::start().await;
    let ttl = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let ids = server.put_in(vec![v1::JobSpec { ttl, ..spec("a") }, v1::JobSpec { ttl, ..spec("b") }]).await;
    let held = server.take(1).await;
    let wait = v1::GetJobRequest { job_id: ids[1].clone(), wait_timeout: seconds(30), ..Default::default() };
    let job = server.queues.get_job(wait).await.unwrap().into_inner().job.unwrap();
    assert_eq!(state(&job), v1::JobState::Expired);
    let nacked = server.nack(&held[0], v1::NackReason::Failed).await;
    assert_eq!(nacked.state(), v1::JobState::Expired);
}

#[tokio::test]
async fn read_waits_for_the_result() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a"), spec("b")]).await;
    let jobs = server.take(2).await;
    let request = v1::BatchGetJobsRequest {
        job_ids: vec![ids[0].clone(), "nobody".to_owned(), ids[1].clone()],
        wait_timeout: seconds(30),
        ..Default::default()
    };
    let mut reader = server.queues.clone();
    let reading = tokio::spawn(async move { reader.batch_get_jobs(request).await });
    server.queues.ack(ack(&jobs[0])).await.unwrap();
    server.nack(&jobs[1], v1::NackReason::Rejected).await;
    let answer = reading.await.unwrap().unwrap().into_inner();
    let states: Vec<v1::JobState> = answer.jobs.iter().map(state).collect();
    assert_eq!(states, [v1::JobState::Completed, v1::JobState::Dead]);
    assert_eq!(answer.missing_job_ids, ["nobody"]);
}

#[tokio::test]
async fn second_job_with_an_idempotency_key_is_a_duplicate() {
    let mut server = Server::start().await;
    let once = |key: &str| v1::JobSpec { idempotency_key: key.to_owned(), ..spec("a") };
    let first = server.put_in(vec![once("k")]).await;
    let jobs = vec![spec("x"), once("k"), once("l"), once("l")];
    let answer = server.queues.enqueue(enqueue(jobs)).await.unwrap().into_inner().jobs;
    let duplicates: Vec<bool> = answer.iter().map(|job| job.duplicate).collect();
    assert_eq!(duplicates, [false, true, false, true]);
    assert_eq!((&answer[1].job_id, &answer[3].job_id), (&first[0], &answer[2].job_id));
    assert_eq!(server.status().await.jobs, 3);
    assert_eq!(server.job(&first[0]).await.idempotency_key, "k");
}

#[tokio::test]
async fn history_tells_of_each_delivery_that_failed() {
    let mut server = Server::start().await;
    let policy = v1::RetryPolicy { initial_backoff: seconds(0), ..Default::default() };
    let ids = server.put_in(vec![v1::JobSpec { retry_policy: Some(policy), ..spec("a") }]).await;
    for why in [v1::NackReason::Failed, v1::NackReason::Released, v1::NackReason::Rejected] {
        let jobs = server.take(1).await;
        server.nack(&jobs[0], why).await;
    }
    let history = server.job(&ids[0]).await.attempt_history;
    let told: Vec<_> = history.iter().map(|attempt| (attempt.lease_token, attempt.outcome())).collect();
    let expected = [
        (1, v1::AttemptOutcome::Failed),
        (2, v1::AttemptOutcome::Released),
        (3, v1::AttemptOutcome::Rejected),
    ];
    assert_eq!(told, expected);
    assert_eq!(history[0].error.as_ref().unwrap().code, "http_500");
}

#[tokio::test]
async fn batch_is_partial_when_one_of_its_jobs_fails() {
    let mut server = Server::start().await;
    let job = || v1::JobSpec { batch_id: "b".to_owned(), ..spec("a") };
    let batch_totals = [("b".to_owned(), 3)].into();
    let request = v1::EnqueueRequest { batch_totals, ..enqueue(vec![job(), job()]) };
    server.queues.enqueue(request).await.unwrap();
    let get = |wait| v1::GetBatchRequest {
        queue: "q".to_owned(),
        batch_id: "b".to_owned(),
        wait_timeout: seconds(wait),
    };
    let batch = server.queues.get_batch(get(0)).await.unwrap().into_inner();
    assert_eq!((batch.state(), batch.jobs, batch.total_jobs), (v1::BatchState::Pending, 2, Some(3)));
    let mut reader = server.queues.clone();
    let reading = tokio::spawn(async move { reader.get_batch(get(30)).await });
    let jobs = server.take(2).await;
    server.queues.ack(ack(&jobs[0])).await.unwrap();
    server.nack(&jobs[1], v1::NackReason::Rejected).await;
    let batch = server.queues.get_batch(get(0)).await.unwrap().into_inner();
    assert_eq!(batch.state(), v1::BatchState::Running, "one is still to come");
    server.put_in(vec![job()]).await;
    let jobs = server.take(1).await;
    server.queues.ack(ack(&jobs[0])).await.unwrap();
    let batch = reading.await.unwrap().unwrap().into_inner();
    let counts = batch.counts.as_ref().unwrap();
    assert_eq!((batch.state(), counts.completed, counts.dead), (v1::BatchState::Partial, 2, 1));
    let unknown = v1::GetBatchRequest { batch_id: "c".to_owned(), ..get(0) };
    assert_eq!(
        reason(server.queues.get_batch(unknown).await),
        (Code::NotFound, "BATCH_NOT_FOUND".to_owned())
    );
}
