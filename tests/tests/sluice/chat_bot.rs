//! A chat bot's outgoing messages, from its settings to the last message: ten times as fast as the bot's downstream
//! would have it, and otherwise as its team wrote it down.

use std::time::Duration;

use sluice_proto::v1::JobState;
use sluice_tests::downstream::{Answer, Call, Downstream};
use sluice_tests::{Setup, cli};

/// Messages that are kept while the downstream does not take them.
const BUFFER: usize = 30;
/// Those that come are more.
const MESSAGES: usize = 34;
/// 30 in 6 s, and so many at once.
const BURST: usize = 5;
const A_SECOND: f64 = 5.0;
/// The message for which the downstream says slow down, twice.
const UNWELCOME: usize = 12;
/// What lies between a request's leaving and its arrival, at most.
const JITTER: f64 = 0.2;

fn seconds(calls: &[Call]) -> Vec<f64> {
    calls.iter().map(|call| call.time.duration_since(calls[0].time).unwrap().as_secs_f64()).collect()
}

fn text(call: &Call) -> String {
    String::from_utf8(call.body.clone()).unwrap()
}

#[tokio::test]
async fn s0_messages_leave_in_order_within_the_bucket_and_wait_when_the_downstream_says_413() {
    let mut server = Setup::default().environment("SLUICED_LOG_FORMAT", "json").start().await;
    let put = [
        "queue",
        "put",
        "signal",
        "--max-jobs",
        "30",
        "--overflow",
        "drop-oldest",
        "--limits",
        "rate=30/6s/5,adaptive=false",
    ];
    assert_eq!(cli::run(&server, &put).await.code, 0);

    // S0.1, S0.4: all come before anybody sends; the oldest go, and it is told which.
    let mut dropped = 0;
    for n in 0..MESSAGES {
        let payload = format!("message {n}");
        let said = cli::run(&server, &["enqueue", "--queue", "signal", "--payload", &payload]).await;
        dropped += usize::from(said.stderr.contains("dropped to make room: "));
        assert_eq!(said.code, 0, "{}", said.stderr);
    }
    assert_eq!(dropped, MESSAGES - BUFFER);
    let queue = server.queue("signal");
    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().dropped), (BUFFER as u64, (MESSAGES - BUFFER) as u64));

    // S0.2, S0.3, S0.6: what the downstream says when it throttles is a setting of the worker.
    let downstream = Downstream::start(|call| match call.before {
        0 | 1 if text(call) == format!("message {UNWELCOME}") => Answer::new(413),
        _ => Answer::new(200),
    })
    .await;
    let url = downstream.url();
    let work = ["work", "--queue", "signal", "--http", &url, "--throttled-status", "413", "--until-empty"];
    let said = cli::run(&server, &work).await.ok();
    assert!(said.starts_with("30 done, 0 failed, 2 throttled, 0 rejected"), "{said}");

    let calls = downstream.calls();
    let mut expected: Vec<String> = (MESSAGES - BUFFER..MESSAGES).map(|n| format!("message {n}")).collect();
    let unwelcome = UNWELCOME - (MESSAGES - BUFFER);
    expected.splice(unwelcome..=unwelcome, vec![format!("message {UNWELCOME}"); 3]);
    assert_eq!(calls.iter().map(text).collect::<Vec<_>>(), expected, "in order, and the one again");
    let times = seconds(&calls);
    for first in 0..times.len() {
        for last in first..times.len() {
            let allowed = BURST as f64 + (times[last] - times[first] + JITTER) * A_SECOND;
            assert!((last - first + 1) as f64 <= allowed, "too many between {first} and {last}: {times:?}");
        }
    }
    let waits = [times[unwelcome + 1] - times[unwelcome], times[unwelcome + 2] - times[unwelcome + 1]];
    assert!((1.0..1.9).contains(&waits[0]) && (2.0..3.9).contains(&waits[1]), "1 s, then 2 s: {waits:?}");
    for job in queue.list(&[JobState::Completed], 100).await {
        assert_eq!(job.attempts, 0, "no attempt is spent: {job:?}");
    }

    // S0.5
    let begun = std::time::Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let log = server.log();
    let events: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |message: &str| events.iter().any(|event| event["message"] == message);
    assert!(
        has("queue put") && has("jobs dropped to make room") && has("downstream throttles: frozen"),
        "{log}"
    );
}
