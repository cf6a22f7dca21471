//! How a queue stands.

use tokio_stream::StreamExt as _;

use super::*;

fn watch() -> v1::WatchQueueRequest {
    let min_interval = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    v1::WatchQueueRequest { queue: "q".to_owned(), min_interval }
}

#[tokio::test]
async fn watcher_sees_a_queue_come_into_being_and_fill() {
    let mut server = Server::start().await;
    let mut messages = server.queues.watch_queue(watch()).await.unwrap().into_inner();
    let first = messages.next().await.unwrap().unwrap().status.unwrap();
    assert_eq!((&*first.queue, first.jobs), ("q", 0));
    server.put_in(vec![spec("a"), spec("b")]).await;
    let second = messages.next().await.unwrap().unwrap().status.unwrap();
    assert_eq!((second.jobs, second.counts.unwrap().ready), (2, 2));
    assert!(second.status_time.is_some());
}

#[tokio::test]
async fn watch_ends_when_the_server_stops() {
    let mut server = Server::start().await;
    let mut messages = server.queues.watch_queue(watch()).await.unwrap().into_inner();
    messages.next().await.unwrap().unwrap();
    server.shutdown.cancel();
    let end = messages.next().await.unwrap();
    assert_eq!(reason(end), (Code::Unavailable, "STOPPING".to_owned()));
    assert!(messages.next().await.is_none());
}

#[tokio::test]
async fn status_counts_what_is_there() {
    let mut server = Server::start().await;
    let delayed = v1::JobSpec { delay: Some(prost_types::Duration { seconds: 60, nanos: 0 }), ..spec("c") };
    server.put_in(vec![spec("a"), v1::JobSpec { priority: Some(9), ..spec("b") }, delayed]).await;
    let status = server.status().await;
    let counts = status.counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled, status.jobs, status.bytes), (2, 1, 3, 3));
    assert_eq!(status.ready_by_priority, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!(status.totals.unwrap().enqueued, 3);
    assert!(status.oldest_ready_age.is_some());
}

#[tokio::test]
async fn queue_that_is_not_there_is_empty_unless_we_are_strict() {
    let mut server = Server::start().await;
    assert_eq!(server.status().await.jobs, 0);
    let strict = RpcSettings { strict_queues: true, ..RpcSettings::default() };
    let mut server = Server::start_with(strict).await;
    let not_found = (Code::NotFound, "QUEUE_NOT_FOUND".to_owned());
    let status = v1::GetQueueStatusRequest { queue: "q".to_owned(), ..Default::default() };
    assert_eq!(reason(server.queues.get_queue_status(status).await), not_found);
    assert_eq!(reason(server.queues.watch_queue(watch()).await), not_found);
    assert_eq!(reason(server.queues.lease(lease(1)).await), not_found);
    let drain = v1::DrainRequest { queue: "q".to_owned(), request_id: "r".to_owned(), ..Default::default() };
    assert_eq!(reason(server.queues.drain(drain).await), not_found);
}
