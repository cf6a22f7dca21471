//! A queue that was deleted is told to its watchers as any change is: soon, whatever else goes on.

use std::time::{Duration, Instant};

use sluice_proto::v1::WatchQueuesRequest;
use sluice_tests::{Sluiced, spec};

/// Before this much silence no watch repeats itself: what comes sooner comes because of a change.
const SILENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn deleted_queue_is_told_to_its_watcher_before_the_silence_is_over() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("gone");
    queue.enqueue(spec::jobs("x", 3)).await;
    let mut watch = queue.watch().await;
    let first = watch.message().await.unwrap().unwrap().status.unwrap();
    assert_eq!(first.jobs, 3);
    let began = Instant::now();
    queue.try_delete(true).await.unwrap();
    while watch.message().await.unwrap().unwrap().status.unwrap().jobs > 0 {}
    assert!(began.elapsed() < SILENCE - Duration::from_millis(500), "told after {:?}", began.elapsed());
}

#[tokio::test]
async fn deleted_queue_is_told_to_who_watches_many_though_others_are_never_silent() {
    let server = Sluiced::fresh().await;
    let (gone, busy) = (server.queue("gone"), server.queue("busy"));
    gone.enqueue(spec::jobs("x", 3)).await;
    let min_interval = Some(spec::millis(50));
    let request = WatchQueuesRequest { min_interval, ..WatchQueuesRequest::default() };
    let mut watch = server.client().watch_queues(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    gone.try_delete(true).await.unwrap();
    // Each message answers a change, so the watch has no silence in which to look for what it missed.
    let mut deleted = Vec::new();
    for _ in 0..20 {
        busy.enqueue_one(spec::job("x")).await;
        let message = tokio::time::timeout(SILENCE, watch.message()).await.expect("a change is told");
        deleted.extend(message.unwrap().unwrap().deleted_queues);
    }
    assert_eq!(deleted, ["gone"]);
}
