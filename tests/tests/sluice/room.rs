//! Calls that wait for room, and what is kept for urgent jobs.

use std::time::{Duration, Instant};

use sluice_proto::v1::{
    CapacityReserve, DeleteQueueRequest, EnqueueRequest, EnqueueStreamRequest, JobSpec, KeyRule,
    NodeSettings, OverflowPolicy, PutQueueRequest, Queue as Settings, QueueLevel, enqueue_stream_response,
};
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

fn waits(max_jobs: u64) -> Settings {
    Settings { max_jobs: Some(max_jobs), overflow_policy: OverflowPolicy::Wait.into(), ..Settings::default() }
}

/// A call that waits for room, begun when those before it wait.
async fn caller(queue: &Queue, jobs: Vec<JobSpec>, wait: Duration) -> JoinHandle<Result<(), Status>> {
    let before = queue.status().await.waiting_enqueues;
    let request = EnqueueRequest {
        queue: queue.name().to_owned(),
        jobs,
        wait_timeout: Some(spec::span(wait)),
        ..EnqueueRequest::default()
    };
    let mut rpc = queue.rpc.clone();
    let call = tokio::spawn(async move { rpc.enqueue(request).await.map(drop) });
    queue.until(|status| status.waiting_enqueues == before + 1).await;
    call
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn s4_1_call_waits_in_its_turn_and_is_refused_when_its_time_has_passed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    queue.put(waits(1)).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let began = Instant::now();
    let short = caller(&queue, spec::jobs("short", 1), Duration::from_millis(500)).await;
    let first = caller(&queue, spec::jobs("first", 1), LONG).await;
    let second = caller(&queue, spec::jobs("second", 1), LONG).await;
    status::refused(short.await.unwrap(), Code::ResourceExhausted, "QUEUE_FULL");
    assert!(began.elapsed() >= Duration::from_millis(500));
    for expected in ["x-0", "first-0", "second-0"] {
        let leased = queue.lease_next().await;
        assert_eq!(spec::text(&leased), expected);
        queue.ack(&[leased]).await;
    }
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn call_that_does_not_wait_and_a_stream_are_refused_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    queue.put(waits(1)).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    status::refused(queue.try_enqueue(spec::jobs("y", 1), "").await, Code::ResourceExhausted, "QUEUE_FULL");
    let request =
        EnqueueRequest { queue: "room".to_owned(), jobs: spec::jobs("y", 1), ..EnqueueRequest::default() };
    let asks = tokio_stream::iter([EnqueueStreamRequest { sequence: 1, request: Some(request) }]);
    let mut answers = queue.rpc.clone().enqueue_stream(asks).await.unwrap().into_inner();
    let Some(enqueue_stream_response::Outcome::Error(error)) =
        answers.message().await.unwrap().unwrap().outcome
    else {
        panic!("there is no room");
    };
    assert_eq!((error.code, &*error.reason), (Code::ResourceExhausted as i32, "QUEUE_FULL"));
    assert!(error.retry_after.is_some());
}

#[tokio::test]
async fn larger_capacity_lets_in_who_waits_and_a_deleted_queue_turns_them_away() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    queue.put(waits(1)).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let first = caller(&queue, spec::jobs("first", 1), LONG).await;
    let second = caller(&queue, spec::jobs("second", 1), LONG).await;
    queue.put(waits(2)).await;
    first.await.unwrap().unwrap();
    let request =
        DeleteQueueRequest { name: "room".to_owned(), force: true, ..DeleteQueueRequest::default() };
    queue.admin.clone().delete_queue(request).await.unwrap();
    assert_eq!(second.await.unwrap().unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn n9_who_waits_at_one_key_holds_up_nobody_at_another() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    let settings = NodeSettings {
        max_jobs: Some(1),
        overflow_policy: OverflowPolicy::Wait.into(),
        ..NodeSettings::default()
    };
    let key_rules = vec![KeyRule { key_pattern: "*".to_owned(), settings: Some(settings) }];
    queue.put(Settings { key_rules, ..Settings::default() }).await;
    queue.enqueue(vec![spec::keyed("a", "1")]).await;
    let waiting = caller(&queue, vec![spec::keyed("a", "2")], LONG).await;
    queue.enqueue(vec![spec::keyed("b", "3")]).await;
    assert!(!waiting.is_finished());
    let leased = queue.lease(1).await;
    queue.ack(&leased).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn s4_7_urgent_jobs_bypass_a_full_queue_as_far_as_their_reserve_goes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    let reserve = CapacityReserve { min_priority: Some(8), percent: Some(20) };
    queue.put(Settings { reserve: Some(reserve), ..waits(10) }).await;
    queue.enqueue(spec::jobs("x", 10)).await;
    let ordinary = caller(&queue, vec![spec::urgent(7, "ordinary")], LONG).await;
    queue.enqueue(vec![spec::urgent(8, "u"), spec::urgent(9, "v")]).await;
    let status = queue.status().await;
    assert_eq!((status.jobs, status.utilization), (12, Some(1.2)));
    let full = queue.try_enqueue(vec![spec::urgent(9, "w")], "").await;
    status::refused(full, Code::ResourceExhausted, "QUEUE_FULL");
    assert!(!ordinary.is_finished());
}

#[tokio::test]
async fn s4_7_queue_that_fills_fast_is_warned_of_before_it_is_full() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    let settings = Settings { max_jobs: Some(10_000), ..Settings::default() };
    let request =
        PutQueueRequest { queue: Some(Settings { name: "room".to_owned(), ..settings }), update_mask: None };
    queue.admin.clone().put_queue(request).await.unwrap();
    assert_eq!(queue.status().await.level(), QueueLevel::Ok);
    // So fast that it would be full long before a minute is over, and not half full yet.
    let mut sent = 0;
    while queue.status().await.level() == QueueLevel::Ok {
        assert!(sent < 5_000, "half full, and still no warning");
        queue.enqueue(spec::jobs("x", 100)).await;
        sent += 100;
    }
    let status = queue.status().await;
    assert_eq!(status.level(), QueueLevel::Warning);
    assert!(status.utilization.unwrap() <= 0.5, "{status:?}");
}
