//! Numbers about a queue, over gRPC and over HTTP.

use std::time::Duration;

use sluice_proto::v1::{JobSpec, NackReason};
use sluice_tests::{Queue, Sluiced, http, spec};

async fn some_of_everything(queue: &Queue) {
    queue.put(spec::retrying(2, Duration::from_secs(3_600))).await;
    let jobs = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map(|priority| spec::urgent(priority, "waits"));
    queue.enqueue_one(spec::urgent(9, "dies")).await;
    queue.enqueue_one(spec::urgent(9, "is retried")).await;
    queue.enqueue_one(spec::urgent(9, "is done")).await;
    let out = queue.lease(3).await;
    queue.nack(&out[0], NackReason::Rejected).await;
    queue.nack(&out[1], NackReason::Failed).await;
    queue.ack(&out[2..]).await;
    queue.enqueue(jobs.to_vec()).await;
    queue.enqueue_one(JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") }).await;
}

/// What a gateway shows of its queue: depth, messages a second, pending, being sent, how long the oldest has waited, and
/// when all will have left.
#[tokio::test]
async fn s1_4_status_tells_depth_rates_and_how_long_the_oldest_has_waited() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("sms");
    let waited = Duration::from_millis(300);
    queue.enqueue(spec::jobs("x", 30)).await;
    tokio::time::sleep(waited).await;
    let sent = queue.lease(5).await;
    queue.ack(&sent).await;
    queue.lease(5).await;

    let status = queue.status().await;
    let counts = status.counts.unwrap();
    assert_eq!((status.jobs, counts.ready, counts.leased, counts.completed), (25, 20, 5, 5));
    let oldest = Duration::try_from(status.oldest_ready_age.unwrap()).unwrap();
    assert!((waited..Duration::from_secs(30)).contains(&oldest), "{oldest:?}");
    let rates = status.rates.unwrap();
    assert!(rates.enqueued > rates.dispatched && rates.dispatched > rates.acked, "{rates:?}");
    assert!(rates.acked > 0.0, "{rates:?}");
    assert_eq!(status.time_to_empty, None, "more comes than goes");

    queue.lease(20).await;
    let status = queue.status().await;
    assert_eq!((status.jobs, status.oldest_ready_age), (25, None));
    assert_eq!(status.time_to_empty, Some(spec::span(Duration::ZERO)), "all have left");
}

#[tokio::test]
async fn s3_6_statistics_are_there_over_grpc() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("numbers");
    some_of_everything(&queue).await;
    let status = queue.status().await;
    let counts = status.counts.unwrap();
    assert_eq!((counts.ready, counts.retrying, counts.dead, counts.completed), (10, 1, 1, 1));
    assert_eq!((counts.scheduled, counts.leased, counts.drained), (1, 0, 0));
    assert_eq!(status.ready_by_priority, [1; 10]);
    assert_eq!(status.jobs, 12);
    assert!(status.bytes >= 12 * 5, "{} bytes", status.bytes);
    assert!(status.oldest_ready_age.is_some());
    let totals = status.totals.unwrap();
    assert_eq!((totals.enqueued, totals.completed, totals.dead), (14, 1, 1));
    assert_eq!(totals.failed_attempts, 2, "one failed, one was rejected");
    let rates = status.rates.unwrap();
    assert!(rates.enqueued > 0.0 && rates.dispatched > 0.0 && rates.acked > 0.0 && rates.failed > 0.0);
}

#[tokio::test]
async fn s3_6_statistics_are_there_as_json_over_http() {
    let server = Sluiced::fresh().await;
    some_of_everything(&server.queue("numbers")).await;
    server.queue("other").enqueue_one(spec::job("x")).await;

    let page = http::json(server.http(), "/stats").await;
    let queues = page["queues"].as_array().unwrap();
    assert_eq!(queues.len(), 2);
    assert_eq!(queues[0]["queue"], "numbers");
    for (name, number) in [
        ("high", 3),
        ("normal", 4),
        ("low", 3),
        ("retry", 1),
        ("dead_letter", 1),
        ("total_queued", 14),
        ("total_failed", 2),
    ] {
        assert_eq!(queues[0][name], number, "{name}");
    }
    let one = http::json(server.http(), "/stats?queue=other").await;
    assert_eq!(one["queues"][0]["normal"], 1);
    let (status, _) = http::get(server.http(), "/stats?queue=a%20b").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn codes_beyond_64_are_counted_together() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("codes");
    queue.enqueue(spec::jobs("x", 70)).await;
    for (n, leased) in queue.lease(70).await.iter().enumerate() {
        let error_code = format!("code-{n}");
        let nack = sluice_proto::v1::Nack { error_code, ..spec::nack(leased, NackReason::Failed) };
        assert_eq!(queue.try_nack(nack).await.error, None);
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!(totals.failed_attempts, 70);
    assert_eq!(totals.failed_by_code.values().sum::<u64>(), 70);
    assert!(totals.failed_by_code.len() <= 65, "{}", totals.failed_by_code.len());
    assert!(totals.failed_by_code["other"] >= 5);
}
