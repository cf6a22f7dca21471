//! Single calls: deadlines, repetitions, credentials.

use std::time::Duration;

use sluice_client::{
    Client, Code, JobBuilder,
    proto::{AckRequest, LeaseRequest, RequeueJobsRequest},
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
