//! Single calls: deadlines, repetitions, credentials.

use std::time::Duration;

use sluice_client::{
    Client, Code, JobBuilder,
    proto::{
        AckRequest, BatchGetJobsRequest, GetBatchRequest, Job, JobState, LeaseRequest, RequeueJobsRequest,
    },
};
use tonic::Status;

use crate::fake::{Fake, overloaded};

fn order(fake: &Fake, call: &'static str, failures: impl IntoIterator<Item = Status>) {
    fake.state().failures.insert(call, failures.into_iter().collect());
}

#[tokio::test]
async fn lost_answer_to_an_enqueue_is_asked_for_again_and_adds_nothing_twice() {
    let fake = Fake::start().await;
    order(&fake, "enqueue", [Status::unavailable("lost"), overloaded()]);
    let job_id = fake.client().producer("q").enqueue(JobBuilder::new("a")).await.unwrap();
    let state = fake.state();
    assert_eq!((job_id.as_str(), state.ready.len(), state.enqueues.len()), ("j1", 1, 3));
    let ids: Vec<_> = state.enqueues.iter().map(|request| request.request_id.as_str()).collect();
    assert!(ids[0].len() == 36 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn lease_is_repeated_only_when_the_server_says_that_it_gave_none() {
    let fake = Fake::start().await;
    let request = || LeaseRequest { queue: "q".to_owned(), ..LeaseRequest::default() };
    order(&fake, "lease", [overloaded()]);
    assert!(fake.client().lease(request()).await.is_ok());
    order(&fake, "lease", [Status::unavailable("lost")]);
    assert_eq!(fake.client().lease(request()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn ack_is_repeated_when_its_answer_was_lost() {
    let fake = Fake::start().await;
    order(&fake, "ack", [Status::unavailable("lost"), Status::unavailable("lost")]);
    assert!(fake.client().ack(AckRequest::default()).await.is_ok());
}

#[tokio::test]
async fn call_that_is_never_answered_ends_at_its_deadline() {
    let fake = Fake::start().await;
    fake.state().silent.push("get_job");
    let client = Client::builder(fake.url()).call_timeout(Duration::from_millis(50)).build().unwrap();
    assert_eq!(client.get_job("j1", false).await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn server_that_is_not_there_is_unavailable() {
    let addr = {
        let fake = Fake::start().await;
        fake.url()
    };
    // The fake ends in the background: only its port matters, and nobody else listens there.
    let client = Client::builder(addr).retry(sluice_client::RetryPolicy::never()).build().unwrap();
    let error = loop {
        match client.requeue_jobs(RequeueJobsRequest::default()).await {
            Err(error) if error.code() == Code::Unavailable => break error,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(error.is_transient() && !error.is_not_applied());
}

#[tokio::test]
async fn token_goes_with_every_call() {
    let fake = Fake::start().await;
    let client = Client::builder(fake.url()).token("secret\n").build().unwrap();
    client.producer("q").enqueue(JobBuilder::new("a")).await.unwrap();
    client.queue_status("q").await.unwrap();
    assert_eq!(fake.state().tokens, ["Bearer secret", "Bearer secret"]);
}

#[tokio::test]
async fn safe_order_is_repeated_only_when_the_server_says_that_nothing_was_applied() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a"]);
    order(&fake, "cancel_job", [overloaded(), Status::unavailable("lost")]);
    assert_eq!(fake.client().cancel_job("j1").await.unwrap_err().code(), Code::Unavailable);
    order(&fake, "cancel_job", [overloaded()]);
    assert_eq!(fake.client().cancel_job("j1").await.unwrap().state(), JobState::Cancelled);
    assert_eq!(fake.client().cancel_job("j9").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn job_is_awaited_until_it_is_at_rest_or_the_wait_is_over() {
    let fake = Fake::start().await;
    let job = |state: JobState| Job { job_id: "j1".to_owned(), state: state.into(), ..Job::default() };
    fake.state().known.insert("j1".to_owned(), job(JobState::Leased));
    let waited = fake.client().wait_job("j1", false, Duration::from_millis(20)).await.unwrap();
    assert_eq!(waited.state(), JobState::Leased);
    fake.state().known.insert("j1".to_owned(), job(JobState::Dead));
    let waited = fake.client().wait_job("j1", false, Duration::from_secs(60)).await.unwrap();
    assert_eq!(waited.state(), JobState::Dead);
}

#[tokio::test]
async fn many_jobs_are_read_at_once_with_what_is_missing() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a", "b", "c"]);
    let job_ids = ["j3", "nothing", "j1", "j2"].map(str::to_owned).to_vec();
    let request = BatchGetJobsRequest { job_ids, ..BatchGetJobsRequest::default() };
    let answer = fake.client().batch_get_jobs(request).await.unwrap();
    let ids: Vec<_> = answer.jobs.iter().map(|job| job.job_id.as_str()).collect();
    assert_eq!(ids, ["j3", "j1"]);
    assert_eq!((answer.missing_job_ids, answer.unread_job_ids), (vec!["nothing".into()], vec!["j2".into()]));
}

#[tokio::test]
async fn batch_that_nobody_named_is_not_found() {
    let fake = Fake::start().await;
    let request = GetBatchRequest { queue: "q".to_owned(), ..GetBatchRequest::default() };
    assert_eq!(fake.client().get_batch(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn queue_is_deleted_paused_and_resumed() {
    let fake = Fake::start().await;
    let client = fake.client();
    assert!(client.pause_queue("q").await.unwrap().paused);
    assert!(!client.resume_queue("q").await.unwrap().paused);
    client.delete_queue("q", true).await.unwrap();
    assert_eq!(fake.state().orders, ["pause q", "resume q", "force q"]);
}
