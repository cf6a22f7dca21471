//! Sending to a full inbox with the command line, as a person or a script does.

use std::time::{Duration, Instant};

use sluice_proto::v1::OverflowPolicy;
use sluice_tests::{Sluiced, cli, spec};

#[tokio::test]
async fn s4_2_send_to_a_full_inbox_waits_tries_again_and_fails_after_5_s() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    queue.put(spec::bounded(1, OverflowPolicy::Reject)).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let began = Instant::now();
    let said = cli::run(&server, &["enqueue", "-q", "inbox", "--payload", "y"]).await;
    assert_eq!((said.code, &*said.stdout), (72, ""), "{}", said.stderr);
    assert!(began.elapsed() > Duration::from_secs(3), "it waited");
    assert!(said.stderr.contains("wait"), "{}", said.stderr);
    assert_eq!(queue.status().await.jobs, 1);
}

#[tokio::test]
async fn s4_2_send_succeeds_when_room_comes_meanwhile() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    queue.put(spec::bounded(1, OverflowPolicy::Reject)).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let send = ["enqueue", "-q", "inbox", "--payload", "y", "--wait-room", "60s"];
    let (said, ()) = tokio::join!(cli::run(&server, &send), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let leased = queue.lease(1).await;
        queue.ack(&leased).await;
    });
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(spec::text(&queue.lease_next().await), "y");
}

#[tokio::test]
async fn s4_6_capacity_is_checked_and_all_numbers_are_there_as_json() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    queue.put(spec::bounded(4, OverflowPolicy::Reject)).await;
    queue.enqueue(spec::jobs("x", 3)).await;
    let check = ["queue", "capacity", "inbox", "-o", "json"];
    let said = cli::run(&server, &check).await;
    assert_eq!(said.code, 0, "there is room: {}", said.stderr);
    assert!(said.stdout.contains("0.75"), "{}", said.stdout);
    queue.enqueue(spec::jobs("y", 1)).await;
    assert_eq!(cli::run(&server, &check).await.code, 1, "it is full");
    let stats = cli::run(&server, &["stats", "-q", "inbox", "-o", "json"]).await.ok();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let text = stats.to_string();
    assert!(text.contains("utilization") && text.contains("CRITICAL"), "{text}");
    let once = cli::run(&server, &["watch", "-q", "inbox", "--once", "-o", "jsonl"]).await.lines();
    assert!(once[0].to_string().contains("CRITICAL"), "{once:?}");
}
