//! The worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use sluice_client::{
    Code, Delivery, Failure, Outcome, Summary, Worker,
    proto::{FlowHint, Job, LeaseResponse, LeasedJob, NackReason, WorkNotice, work_response::Message},
    span_to_proto,
};
use tokio::sync::Notify;
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

/// A fake with a stream of work.
async fn streaming() -> Arc<Fake> {
    let fake = Fake::start().await;
    fake.state().streams = true;
    Arc::new(fake)
}

/// A handler that says when it has begun, and ends when its job is to be given up.
fn until_cancelled() -> (Arc<Notify>, impl Fn(Delivery) -> BoxFuture<'static, Outcome> + Send + Sync + 'static)
{
    let begun = Arc::new(Notify::new());
    let tell = Arc::clone(&begun);
    let handler = move |delivery: Delivery| {
        let tell = Arc::clone(&tell);
        async move {
            tell.notify_one();
            delivery.cancelled.cancelled().await;
            assert!(delivery.is_cancelled());
            Outcome::Failed(Failure::new("told to stop").code("CANCELLED"))
        }
        .boxed()
    };
    (begun, handler)
}

#[tokio::test]
async fn jobs_come_over_one_stream_and_outcomes_go_over_it() {
    let fake = streaming().await;
    fake.state().add_jobs(["one", "fail", "two", "throttle", "reject", "panic", "three"]);
    let summary =
        worker(&fake).concurrency(2).worker_id("me").run(obey, CancellationToken::new()).await.unwrap();
    assert_eq!(summary, Summary { done: 3, failed: 2, throttled: 1, rejected: 1, ..Summary::default() });
    fake.until(|state| state.streams_closed == 1).await;
    let state = fake.state();
    assert_eq!(
        (state.starts.len(), state.starts[0].credit, state.starts[0].worker_id.as_str()),
        (1, 2, "me")
    );
    assert_eq!((state.streamed, state.leases.len()), (7, 0));
}

#[tokio::test]
async fn no_more_handlers_run_than_there_is_credit_for() {
    let fake = streaming().await;
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
}

#[tokio::test]
async fn worker_asks_for_jobs_where_there_is_no_stream_or_when_told_to() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["one"]);
    assert_eq!(worker(&fake).run(obey, CancellationToken::new()).await.unwrap().done, 1);
    assert!(!fake.state().leases.is_empty());

    let fake = streaming().await;
    fake.state().add_jobs(["one"]);
    let summary = worker(&fake).streaming(false).run(obey, CancellationToken::new()).await.unwrap();
    assert_eq!((summary.done, fake.state().starts.len()), (1, 0));
}

#[tokio::test]
async fn handler_is_told_over_the_stream_that_its_job_is_cancelled() {
    let fake = streaming().await;
    fake.state().add_jobs(["x"]);
    let (begun, handler) = until_cancelled();
    let run = tokio::spawn(worker(&fake).run(handler, CancellationToken::new()));
    begun.notified().await;
    let notice = WorkNotice { cancelled: vec!["j1".to_owned()], ..WorkNotice::default() };
    fake.say(Message::Notice(notice)).await;
    assert_eq!(run.await.unwrap().unwrap(), Summary { failed: 1, ..Summary::default() });
    assert_eq!(fake.state().nacks[0].error_code, "CANCELLED");
}

#[tokio::test]
async fn handler_is_told_by_an_extension_that_its_job_is_cancelled() {
    for streams in [true, false] {
        let fake = Fake::start().await;
        fake.state().streams = streams;
        fake.state().cancel_requested = true;
        fake.state().add_jobs(["x"]);
        let run = worker(&fake).lease_duration(SHORT).run(until_cancelled().1, CancellationToken::new());
        assert_eq!(run.await.unwrap(), Summary { failed: 1, ..Summary::default() });
    }
}

#[tokio::test]
async fn lease_that_is_lost_cancels_its_handler_and_its_outcome_does_not_count() {
    let fake = streaming().await;
    fake.state().add_jobs(["x"]);
    let (begun, handler) = until_cancelled();
    let stop = CancellationToken::new();
    let run = tokio::spawn(Worker::new(fake.client(), "q").run(handler, stop.clone()));
    begun.notified().await;
    let notice = WorkNotice { lost: vec!["j1".to_owned()], ..WorkNotice::default() };
    fake.say(Message::Notice(notice)).await;
    stop.cancel();
    assert_eq!(run.await.unwrap().unwrap(), Summary { lost: 1, ..Summary::default() });
    assert!(fake.state().acks.is_empty());
}

#[tokio::test]
async fn job_that_is_cancelled_before_it_begins_goes_back_unbegun() {
    let fake = streaming().await;
    fake.state().add_jobs(["x", "y"]);
    let (begun, handler) = until_cancelled();
    // Another stream's worth of jobs than there are handlers: the second waits for the first.
    let run = tokio::spawn(worker(&fake).concurrency(1).run(handler, CancellationToken::new()));
    begun.notified().await;
    let more = LeasedJob {
        job: Some(Job { job_id: "j2".to_owned(), ..Job::default() }),
        lease_token: 1,
        ..LeasedJob::default()
    };
    fake.state().ready.clear();
    fake.say(Message::Jobs(LeaseResponse { jobs: vec![more], ..LeaseResponse::default() })).await;
    let cancelled = |job_id: &str| WorkNotice { cancelled: vec![job_id.to_owned()], ..WorkNotice::default() };
    fake.say(Message::Notice(cancelled("j2"))).await;
    fake.until(|state| state.nacks.iter().any(|nack| nack.reason() == NackReason::Released)).await;
    fake.say(Message::Notice(cancelled("j1"))).await;
    assert_eq!(run.await.unwrap().unwrap().failed, 1);
}

#[tokio::test]
async fn worker_opens_another_stream_when_one_breaks() {
    let fake = streaming().await;
    fake.state().add_jobs(["one", "two", "three", "four"]);
    fake.state().work_breaks.extend([0, 2]);
    let summary = worker(&fake).concurrency(1).run(obey, CancellationToken::new()).await.unwrap();
    // An outcome that met the break counts, or its lease is lost: the job is done all the same.
    assert!(summary.done == 4 && summary.failed == 0, "{summary:?}");
    let state = fake.state();
    assert!(state.streams_opened >= 3 && state.ready.is_empty());
}

#[tokio::test]
async fn worker_finishes_what_it_holds_and_comes_back_when_the_server_goes_away() {
    let fake = streaming().await;
    fake.state().add_jobs(["x"]);
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let handler = move |_| {
        let told = Arc::clone(&told);
        async move {
            told.notified().await;
            Outcome::Done(None)
        }
    };
    let stop = CancellationToken::new();
    let run = tokio::spawn(Worker::new(fake.client(), "q").run(handler, stop.clone()));
    fake.until(|state| !state.leased.is_empty()).await;
    fake.say(Message::Notice(WorkNotice { going_away: true, ..WorkNotice::default() })).await;
    assert_eq!(fake.state().streams_closed, 0);
    go.notify_one();
    fake.until(|state| state.streams_closed == 1 && state.streams_opened == 2).await;
    assert_eq!(fake.state().streamed, 1);
    stop.cancel();
    assert_eq!(run.await.unwrap().unwrap().done, 1);
}

#[tokio::test]
async fn stopped_worker_closes_its_stream_when_all_is_settled_and_begins_nothing_more() {
    let fake = streaming().await;
    fake.state().add_jobs(["x", "y", "z"]);
    let stop = CancellationToken::new();
    let (told, begun) = (stop.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&begun);
    let handler = move |_| {
        let told = told.clone();
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            told.cancel();
            tokio::task::yield_now().await;
            Outcome::Done(None)
        }
    };
    let summary = Worker::new(fake.client(), "q").concurrency(1).run(handler, stop).await.unwrap();
    assert_eq!((summary.done, begun.load(Ordering::SeqCst)), (1, 1));
    fake.until(|state| state.streams_closed == 1).await;
    let state = fake.state();
    assert_eq!((state.ready.len(), state.leased.len()), (2, 0));
}

#[tokio::test]
async fn refusal_over_the_stream_that_no_wait_mends_ends_the_worker() {
    let fake = streaming().await;
    let run = tokio::spawn(Worker::new(fake.client(), "q").run(obey, CancellationToken::new()));
    fake.until(|state| state.streams_opened == 1).await;
    fake.break_work(Status::permission_denied("not yours")).await;
    assert_eq!(run.await.unwrap().unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn flow_hint_makes_leases_small() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"; 9]);
    let wait = Some(span_to_proto(Duration::from_millis(1)));
    fake.state().flow_hint = Some(FlowHint { batch_size: 2, wait, ..FlowHint::default() });
    let summary = worker(&fake).concurrency(4).run(obey, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.done, 9);
    let state = fake.state();
    assert!(state.leases[1..].iter().all(|lease| lease.max_jobs.unwrap() <= 2));
}

#[tokio::test]
async fn flow_hint_makes_messages_of_a_stream_small() {
    let fake = streaming().await;
    fake.state().add_jobs(["x"; 9]);
    let wait = Some(span_to_proto(Duration::from_millis(1)));
    fake.state().flow_hint = Some(FlowHint { batch_size: 2, wait, ..FlowHint::default() });
    let summary = worker(&fake).concurrency(4).run(obey, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.done, 9);
    // What was under way before the first hint may be more.
    assert!(fake.state().acks[1..].iter().all(|acks| acks.len() <= 2));
}
