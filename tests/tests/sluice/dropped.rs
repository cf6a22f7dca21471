//! For how long a job that made room for others can still be read.

use std::time::{Duration, Instant};

use sluice_proto::v1::{JobState, OverflowPolicy, Queue as Settings};
use sluice_tests::{Sluiced, spec, status};
use tonic::Code;

#[tokio::test]
async fn s0_4_dropped_job_is_readable_for_the_retention_and_then_removed() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("retained");
    let retention = Duration::from_millis(1_500);
    let bounded = spec::bounded(1, OverflowPolicy::DropOldest);
    queue.put(Settings { retention: Some(spec::span(retention)), ..bounded }).await;
    let began = Instant::now();
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    assert_eq!(queue.job(&ids[0]).await.payload.unwrap(), "x-0");

    server.kill_and_start().await;
    queue.until(|status| status.counts.as_ref().unwrap().dropped == 0).await;
    assert!(began.elapsed() >= retention, "gone after {:?}", began.elapsed());
    for gone in &ids[..2] {
        status::refused(queue.try_job(gone).await, Code::NotFound, "JOB_NOT_FOUND");
    }
    assert_eq!(queue.requeue(&[JobState::Dropped]).await, 0);
    let status = queue.status().await;
    let totals = status.totals.unwrap();
    assert_eq!((status.jobs, totals.dropped, totals.removed), (1, 2, 2));
    assert_eq!(spec::texts(&queue.lease(10).await), ["x-2"], "what waits stays");
}

#[tokio::test]
async fn s0_4_dropped_jobs_stay_as_long_as_their_payloads_find_room_in_the_retention_bytes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bytes");
    let bounded = spec::bounded(1, OverflowPolicy::DropOldest);
    // A job counts as 128 bytes and its payload: two of these fit, three do not.
    queue.put(Settings { retention_bytes: Some(1_000), ..bounded }).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.extend(queue.enqueue(vec![spec::job(&"x".repeat(300))]).await);
    }
    queue.until(|status| status.counts.as_ref().unwrap().dropped == 2).await;
    let dropped: Vec<String> =
        queue.list(&[JobState::Dropped], 10).await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(dropped, ids[3..5], "the oldest go first");
    status::refused(queue.try_job(&ids[2]).await, Code::NotFound, "JOB_NOT_FOUND");
    assert_eq!(queue.state(&ids[5]).await, JobState::Ready);
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.dropped, totals.removed), (5, 3));
}
