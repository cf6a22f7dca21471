//! The worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_client::{Code, Delivery, Failure, Outcome, Summary, Worker, proto::NackReason};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fake::{Fake, lease_lost};

/// A lease so short that its renewal is seen soon.
const SHORT: Duration = Duration::from_secs(1);

fn worker(fake: &Fake) -> Worker {
    Worker::new(fake.client(), "q").until_empty(true)
}

/// Does what the payload says.
async fn obey(delivery: Delivery) -> Outcome {
    match std::str::from_utf8(delivery.payload()).unwrap() {
        "fail" => Outcome::Failed(Failure::new("bad luck").code("luck").retry_after(SHORT)),
        "throttle" => Outcome::Throttled { retry_after: Some(SHORT), failure: Failure::new("slow down") },
        "reject" => Outcome::Rejected(Failure::new("never")),
        "panic" => panic!("the handler's fault"),
        result => Outcome::Done(Some(result.to_owned().into())),
    }
}

#[tokio::test]
async fn every_outcome_reaches_the_server() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["one", "fail", "two", "throttle", "reject", "panic", "three"]);
    let summary = worker(&fake).run(obey, CancellationToken::new()).await.unwrap();
    let expected = Summary { done: 3, failed: 2, throttled: 1, rejected: 1, ..Summary::default() };
    assert_eq!(summary, expected);

    let state = fake.state();
    let mut results: Vec<_> = state.acks.iter().flatten().map(|ack| ack.result.clone().unwrap()).collect();
    results.sort();
    assert_eq!(results, ["one", "three", "two"]);
    let nack = |job_id: &str| state.nacks.iter().find(|nack| nack.job_id == job_id).unwrap();
    assert_eq!((nack("j2").reason(), nack("j2").error_code.as_str()), (NackReason::Failed, "luck"));
    assert_eq!(nack("j2").retry_after.unwrap().seconds, 1);
    assert_eq!((nack("j4").reason(), nack("j4").error.as_str()), (NackReason::Throttled, "slow down"));
    assert_eq!(nack("j5").reason(), NackReason::Rejected);
    assert_eq!((nack("j6").reason(), nack("j6").error_code.as_str()), (NackReason::Failed, "PANIC"));
    assert!(nack("j6").error.contains("the handler's fault"));
}

#[tokio::test]
async fn worker_leases_only_what_it_can_start() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"; 40]);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let handler = move |_| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Outcome::Done(None)
        }
    };
    let summary = worker(&fake).concurrency(3).run(handler, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.done, 40);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert!(fake.state().leases.iter().all(|lease| (1..=3).contains(&lease.max_jobs.unwrap())));
}

#[tokio::test]
async fn lease_is_extended_while_its_handler_runs() {
    let fake = Arc::new(Fake::start().await);
    fake.state().add_jobs(["x"]);
    let seen = Arc::clone(&fake);
    let handler = move |_| {
        let seen = Arc::clone(&seen);
        async move {
            seen.until(|state| state.extensions.len() >= 2).await;
            Outcome::Done(None)
        }
    };
    let summary = worker(&fake).lease_duration(SHORT).run(handler, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.done, 1);
    let state = fake.state();
    assert_eq!((state.extensions[0].job_id.as_str(), state.extensions[0].lease_token), ("j1", 1));
    assert_eq!(state.extensions[0].lease_duration.unwrap().seconds, 1);
}

#[tokio::test]
async fn handler_is_told_when_its_lease_is_lost_and_its_outcome_does_not_count() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"]);
    fake.state().refuse_extensions = Some(lease_lost());
    let stop = CancellationToken::new();
    let done = stop.clone();
    let handler = move |delivery: Delivery| {
        let done = done.clone();
        async move {
            delivery.lost.cancelled().await;
            done.cancel();
            Outcome::Done(None)
        }
    };
    let worker = Worker::new(fake.client(), "q").lease_duration(SHORT).poll(Duration::ZERO);
    let summary = worker.run(handler, stop).await.unwrap();
    assert_eq!(summary, Summary { lost: 1, ..Summary::default() });
    assert!(fake.state().acks.is_empty());
}

#[tokio::test]
async fn stopped_worker_finishes_what_runs() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"]);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let handler = move |_| {
        let told = told.clone();
        async move {
            told.cancel();
            tokio::task::yield_now().await;
            Outcome::Done(None)
        }
    };
    let summary = Worker::new(fake.client(), "q").run(handler, stop).await.unwrap();
    assert_eq!((summary.done, fake.state().acks.len()), (1, 1));
}

#[tokio::test]
async fn stopped_worker_gives_back_what_has_not_begun() {
    let fake = Fake::start().await;
    let stop = CancellationToken::new();
    fake.state().add_jobs(["x", "y"]);
    fake.state().stop_at_lease = Some(stop.clone());
    let handler = |_| async { panic!("nothing may begin") };
    let summary = Worker::new(fake.client(), "q").run(handler, stop).await.unwrap();
    assert_eq!(summary, Summary { released: 2, ..Summary::default() });
    assert!(fake.state().nacks.iter().all(|nack| nack.reason() == NackReason::Released));
}

#[tokio::test]
async fn handler_that_does_not_end_is_abandoned_and_has_failed() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"]);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let handler = move |_| {
        told.cancel();
        std::future::pending()
    };
    let worker = Worker::new(fake.client(), "q").stop_timeout(Duration::from_millis(10));
    let summary = worker.run(handler, stop).await.unwrap();
    assert_eq!(summary, Summary { failed: 1, ..Summary::default() });
    assert_eq!(fake.state().nacks[0].error_code, "STOPPED");
}

#[tokio::test]
async fn worker_goes_on_when_the_server_comes_back() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["one", "two"]);
    let gone = || Status::unavailable("gone");
    fake.state().failures.insert("lease", (0..10).map(|_| gone()).collect());
    // More than a call's own repetitions.
    fake.state().failures.insert("ack", (0..10).map(|_| gone()).collect());
    let summary = worker(&fake).run(obey, CancellationToken::new()).await.unwrap();
    assert_eq!(summary, Summary { done: 2, ..Summary::default() });
}

#[tokio::test]
async fn outcome_that_is_refused_does_not_stop_those_beside_it() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["good", "bad", "fine"]);
    fake.state().poison = Some("bad");
    let stop = CancellationToken::new();
    let left = Arc::new(AtomicUsize::new(3));
    let told = stop.clone();
    let handler = move |delivery| {
        let (left, told) = (Arc::clone(&left), told.clone());
        async move {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                told.cancel();
            }
            obey(delivery).await
        }
    };
    let summary = Worker::new(fake.client(), "q").run(handler, stop).await.unwrap();
    assert_eq!(summary, Summary { done: 2, lost: 1, ..Summary::default() });
}

#[tokio::test]
async fn refusal_that_no_wait_mends_ends_the_worker() {
    let fake = Fake::start().await;
    let denied = Status::permission_denied("not yours");
    fake.state().failures.insert("lease", [denied].into());
    let error = worker(&fake).run(obey, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
}
