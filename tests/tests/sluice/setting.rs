//! Settings of a queue: their defaults, their masks, their etags.

use sluice_proto::v1::{GetQueueRequest, PutQueueRequest, Queue, RetryPolicy};
use sluice_tests::{Sluiced, spec, status};
use tonic::{Code, Status};

async fn put(server: &Sluiced, queue: Queue, mask: Option<&[&str]>) -> Result<Queue, Status> {
    let update_mask =
        mask.map(|paths| prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let request = PutQueueRequest { queue: Some(queue), update_mask };
    Ok(server.admin().put_queue(request).await?.into_inner().queue.unwrap())
}

async fn get(server: &Sluiced, name: &str) -> Result<Queue, Status> {
    let request = GetQueueRequest { name: name.to_owned() };
    Ok(server.admin().get_queue(request).await?.into_inner().queue.unwrap())
}

fn named(name: &str) -> Queue {
    Queue { name: name.to_owned(), ..Queue::default() }
}

#[tokio::test]
async fn queue_is_answered_with_every_default_filled_in() {
    let server = Sluiced::fresh().await;
    status::refused(get(&server, "q").await, Code::NotFound, "QUEUE_NOT_FOUND");
    let queue = put(&server, named("q"), None).await.unwrap();
    assert_eq!(queue.lease_duration, Some(spec::millis(30_000)));
    assert_eq!(queue.retention, Some(spec::millis(3_600_000)));
    assert_eq!(queue.retention_bytes, Some(64 << 20));
    assert_eq!(queue.dead_retention, Some(spec::millis(30 * 86_400_000)));
    assert_eq!(queue.priority_ageing, Some(spec::millis(60_000)));
    let policy = RetryPolicy {
        max_attempts: Some(5),
        initial_backoff: Some(spec::millis(1_000)),
        multiplier: Some(2.0),
        max_backoff: Some(spec::millis(60_000)),
        jitter: Some(0.2),
    };
    assert_eq!(queue.retry_policy, Some(policy));
    assert!(!queue.etag.is_empty());
    assert!(queue.create_time.is_some());
    assert_eq!(get(&server, "q").await.unwrap(), queue);
}

#[tokio::test]
async fn enqueue_brings_a_queue_into_being_and_reading_does_not() {
    let server = Sluiced::fresh().await;
    server.queue("unused").status().await;
    server.queue("unused").lease(1).await;
    status::refused(get(&server, "unused").await, Code::NotFound, "QUEUE_NOT_FOUND");
    server.queue("used").enqueue_one(spec::job("x")).await;
    get(&server, "used").await.unwrap();
}

#[tokio::test]
async fn strict_queues_make_unused_names_unknown() {
    let server = sluice_tests::Setup::default().argument("--strict-queues").start().await;
    let mut queue = server.queue("unused");
    let lease = queue.lease_request(1);
    status::refused(queue.rpc.lease(lease).await, Code::NotFound, "QUEUE_NOT_FOUND");
    let request =
        sluice_proto::v1::GetQueueStatusRequest { queue: "unused".to_owned(), ..Default::default() };
    status::refused(queue.rpc.get_queue_status(request).await, Code::NotFound, "QUEUE_NOT_FOUND");
    let request = sluice_proto::v1::WatchQueueRequest { queue: "unused".to_owned(), min_interval: None };
    status::refused(queue.rpc.watch_queue(request).await.map(drop), Code::NotFound, "QUEUE_NOT_FOUND");
    put(&server, named("unused"), None).await.unwrap();
    assert!(queue.lease(1).await.is_empty());
}

#[tokio::test]
async fn update_mask_changes_what_it_names_and_nothing_else() {
    let server = Sluiced::fresh().await;
    let first = Queue {
        lease_duration: Some(spec::millis(9_000)),
        retention_bytes: Some(7),
        retry_policy: Some(RetryPolicy {
            max_attempts: Some(8),
            jitter: Some(0.5),
            ..RetryPolicy::default()
        }),
        ..named("q")
    };
    put(&server, first, None).await.unwrap();
    let change = Queue {
        lease_duration: Some(spec::millis(1_000)),
        retention: Some(spec::millis(1)),
        retry_policy: Some(RetryPolicy {
            max_attempts: Some(3),
            jitter: Some(0.9),
            ..RetryPolicy::default()
        }),
        ..named("q")
    };
    let mask = ["lease_duration", "retry_policy.max_attempts"];
    let queue = put(&server, change, Some(&mask)).await.unwrap();
    assert_eq!(queue.lease_duration, Some(spec::millis(1_000)));
    assert_eq!(queue.retention, Some(spec::millis(3_600_000)), "not in the mask");
    assert_eq!(queue.retention_bytes, Some(7));
    let policy = queue.retry_policy.unwrap();
    assert_eq!((policy.max_attempts, policy.jitter), (Some(3), Some(0.5)));

    // Named in the mask and not said: back to its default.
    let queue = put(&server, named("q"), Some(&["retention_bytes"])).await.unwrap();
    assert_eq!(queue.retention_bytes, Some(64 << 20));
    assert_eq!(queue.lease_duration, Some(spec::millis(1_000)));
    // Without a mask all that is not said goes back.
    let queue = put(&server, named("q"), None).await.unwrap();
    assert_eq!(queue.lease_duration, Some(spec::millis(30_000)));
    assert_eq!(queue.retry_policy.unwrap().max_attempts, Some(5));
}

#[tokio::test]
async fn stale_etag_is_aborted_and_changes_nothing() {
    let server = Sluiced::fresh().await;
    let first = put(&server, named("q"), None).await.unwrap();
    let change = |etag: &str, seconds: u64| Queue {
        etag: etag.to_owned(),
        lease_duration: Some(spec::millis(seconds * 1_000)),
        ..named("q")
    };
    let second = put(&server, change(&first.etag, 2), None).await.unwrap();
    assert_ne!(second.etag, first.etag);
    let result = put(&server, change(&first.etag, 3), None).await;
    status::refused(result, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(get(&server, "q").await.unwrap(), second);
    let result = put(&server, Queue { name: "new".to_owned(), ..change(&first.etag, 3) }, None).await;
    assert_eq!(result.unwrap_err().code(), Code::Aborted, "a queue that is not there has no etag");
    put(&server, change(&second.etag, 3), None).await.unwrap();
    put(&server, change("", 4), None).await.unwrap();
}

#[tokio::test]
async fn settings_survive_kill_9() {
    let mut server = Sluiced::fresh().await;
    let settings = Queue { lease_duration: Some(spec::millis(9_000)), ..named("q") };
    let queue = put(&server, settings, None).await.unwrap();
    server.kill_and_start().await;
    assert_eq!(get(&server, "q").await.unwrap(), queue);
}
