//! What answers of the downstream do: rates are cut and found, and what fails all the time is left alone.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sluice_proto::v1::{
    CircuitBreaker, GateKind, JobState, LeasedJob, Nack, NackReason, NodeSettings, Queue as Settings,
    ResetNodeRequest, Window,
};
use sluice_tests::downstream::{Answer, Downstream};
use sluice_tests::{Queue, Sluiced, cli, spec};

/// Longer than any of these tests.
const LONG: u64 = 3_600_000;

fn rate(amount: u32, burst: u32) -> NodeSettings {
    let period = Some(spec::millis(1_000));
    let window = Window { amount, period, burst: Some(burst), ..Window::default() };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

/// A queue with these limits whose retries wait longer than any test.
fn settings(settings: NodeSettings, rules: &[(&str, NodeSettings)]) -> Settings {
    let retry_policy = Some(spec::retry(9, Duration::from_secs(1_000)));
    Settings { retry_policy, ..spec::limited(settings, rules) }
}

async fn throttle(queue: &Queue, job: &LeasedJob, retry_after: Option<u64>) {
    let retry_after = retry_after.map(spec::millis);
    let nack = Nack { retry_after, ..spec::nack(job, NackReason::Throttled) };
    let result = queue.try_nack(nack).await;
    assert_eq!((result.error.clone(), result.state()), (None, JobState::Ready));
}

/// How long so many jobs take, each done as soon as it comes.
async fn takes(queue: &Queue, jobs: usize) -> Duration {
    let began = Instant::now();
    for _ in 0..jobs {
        let job = queue.lease_next().await;
        queue.ack(&[job]).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn s3_9_n4_each_429_cuts_the_rate_and_what_was_learned_survives_kill() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("cut");
    queue.put(settings(rate(50, 2), &[])).await;
    let ids = queue.enqueue(spec::jobs("x", 100)).await;
    for _ in 0..10 {
        let job = queue.lease_next().await;
        throttle(&queue, &job, Some(0)).await;
    }
    // 50/s, ten times less by 15 %: 9.8/s.
    let slow = takes(&queue, 12).await;
    assert!((900..5_000).contains(&slow.as_millis()), "{slow:?}");
    let job = queue.job(&ids[50]).await;
    assert!(spec::blocks(&job).iter().all(|block| *block == (GateKind::Adapted, "")), "{job:?}");
    server.kill_and_start().await;
    let queue = server.queue("cut");
    let slow = takes(&queue, 12).await;
    assert!((900..5_000).contains(&slow.as_millis()), "{slow:?}");
    let job = queue.lease_next().await;
    throttle(&queue, &job, Some(LONG)).await;
    assert_eq!(spec::blocks(&queue.job(&ids[99]).await), [(GateKind::Frozen, "")]);
    let reset = ResetNodeRequest { queue: "cut".to_owned(), ..ResetNodeRequest::default() };
    server.admin().reset_node(reset).await.unwrap();
    let fast = takes(&queue, 12).await;
    assert!(fast.as_millis() < 900, "at 50/s: {fast:?}");
    let status = queue.status().await.totals.unwrap();
    assert_eq!((status.throttled, status.failed_attempts, status.completed), (11, 0, 36));
    assert!(server.log().contains("downstream throttles: rate cut"), "{}", server.log());
}

#[tokio::test]
async fn n4_429s_of_several_keys_at_once_are_the_queues() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("blame");
    queue.put(settings(NodeSettings::default(), &[])).await;
    let keys = ["a", "b", "c"];
    let ids = queue.enqueue((0..9).map(|n| spec::keyed(keys[n % 3], &n.to_string())).collect()).await;
    queue.ack(&queue.lease(3).await).await;
    let out = queue.lease(3).await;
    throttle(&queue, &out[0], None).await;
    throttle(&queue, &out[1], None).await;
    // Of the first it is not known yet, the second makes it sure.
    assert_eq!(spec::blocks(&queue.job(&ids[6]).await), [(GateKind::Frozen, "a"), (GateKind::Frozen, "")]);
    assert_eq!(spec::blocks(&queue.job(&ids[7]).await), [(GateKind::Frozen, "")]);
    assert_eq!(spec::blocks(&queue.job(&ids[8]).await), [(GateKind::Frozen, "")]);
}

#[tokio::test]
async fn s3_9_n4_rate_that_nobody_said_is_found_and_no_attempt_is_spent() {
    const MESSAGES: usize = 250;
    let server = Sluiced::fresh().await;
    let queue = server.queue("search");
    queue.put(settings(NodeSettings::default(), &[])).await;
    // Takes 20 a second, 5 at once.
    let bucket = Mutex::new((Instant::now(), 5.0_f64));
    let downstream = Downstream::start(move |_| {
        let mut bucket = bucket.lock().unwrap();
        let now = Instant::now();
        let filled = (bucket.1 + (now - bucket.0).as_secs_f64() * 20.0).min(5.0);
        *bucket = (now, if filled >= 1.0 { filled - 1.0 } else { filled });
        Answer::new(if filled >= 1.0 { 200 } else { 429 })
    })
    .await;
    let ids = queue.enqueue(spec::jobs("x", MESSAGES)).await;
    let began = Instant::now();
    let url = downstream.url();
    let arguments = ["work", "--queue", "search", "--http", &url, "--concurrency", "8", "--until-empty"];
    let said = cli::run(&server, &arguments).await;
    assert_eq!(said.code, 0, "{said:?}");
    let (took, calls) = (began.elapsed(), downstream.calls().len());
    let refused = calls - MESSAGES;
    eprintln!("{calls} calls in {took:?}, {refused} answered 429");
    assert!(refused >= 3 && refused <= calls / 8, "{refused} of {calls} answered 429");
    for id in [&ids[0], &ids[MESSAGES / 2], &ids[MESSAGES - 1]] {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Completed, 0));
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.completed, totals.failed_attempts), (MESSAGES as u64, 0));
}

#[tokio::test]
async fn n6_s4_7_breaker_opens_is_probed_by_one_job_and_closes() {
    const OPEN: u64 = 3_000;
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("breaker");
    let breaker = CircuitBreaker { consecutive_failures: 3, open_duration: Some(spec::millis(OPEN)) };
    let broken = NodeSettings { breaker: Some(breaker), ..NodeSettings::default() };
    queue.put(settings(NodeSettings::default(), &[("a", broken)])).await;
    let ids = queue.enqueue((0..9).map(|n| spec::keyed("a/x", &format!("a{n}"))).collect()).await;
    let out = queue.lease(4).await;
    for job in &out[..3] {
        queue.nack(job, NackReason::Failed).await;
    }
    let opened = Instant::now();
    let job = queue.job(&ids[8]).await;
    assert_eq!((spec::blocks(&job), job.attempts), (vec![(GateKind::Breaker, "a")], 0));
    assert!(job.blocked_by[0].until_time.is_some() && !job.blocked_by[0].message.is_empty());
    queue.enqueue_one(spec::keyed("b", "b0")).await;
    assert_eq!(spec::texts(&queue.lease(9).await), ["b0"], "another key goes on");

    // Open over kill -9, and what went before it opened decides nothing.
    server.kill_and_start().await;
    let queue = server.queue("breaker");
    queue.ack(&out[3..]).await;
    let probe = queue.lease_next().await;
    assert!(opened.elapsed() > Duration::from_millis(OPEN - 200), "{:?}", opened.elapsed());
    assert_eq!(spec::texts(&queue.lease(9).await), [""; 0], "one at a time");
    let job = queue.job(&ids[8]).await;
    assert_eq!((spec::blocks(&job), job.blocked_by[0].until_time), (vec![(GateKind::Breaker, "a")], None));
    server.kill_and_start().await;
    let queue = server.queue("breaker");
    assert_eq!(spec::texts(&queue.lease(9).await), [""; 0], "the probe is out over kill -9");
    queue.nack(&probe, NackReason::Failed).await;

    let began = Instant::now();
    let probe = queue.lease_next().await;
    assert!(began.elapsed() > Duration::from_millis(OPEN - 200), "open again: {:?}", began.elapsed());
    queue.ack(&[probe]).await;
    let rest = queue.lease(9).await;
    assert_eq!(rest.len(), 3, "closed");
    let job = queue.job(&ids[8]).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Leased, 0, 1));
    server.stop().await;
    let told = |message: &str| server.log().matches(message).count();
    // Of this life of the server's.
    assert_eq!((told("circuit breaker open"), told("circuit breaker closed")), (1, 1), "{}", server.log());
}

#[tokio::test]
async fn adaptation_and_breakers_are_put_and_shown_by_the_command_line() {
    let server = Sluiced::fresh().await;
    let put = [
        "-o",
        "json",
        "queue",
        "put",
        "cli",
        "--limits",
        "adaptive=false",
        "--key-rule",
        "bot*:breaker=5/30s",
    ];
    let shown: serde_json::Value = serde_json::from_str(&cli::run(&server, &put).await.ok()).unwrap();
    assert_eq!(shown["limits"]["adaptive"], false, "{shown}");
    let breaker = serde_json::json!({ "consecutive_failures": 5, "open_duration": "30s" });
    assert_eq!(shown["key_rules"][0]["limits"]["breaker"], breaker, "{shown}");
    let refused = cli::run(&server, &["queue", "put", "cli", "--limits", "breaker=0/30s"]).await;
    assert!(refused.stderr.contains("settings.breaker.consecutive_failures"), "{refused:?}");
    let cleared = cli::run(&server, &["-o", "json", "queue", "put", "cli", "--limits", "none"]).await.ok();
    let cleared: serde_json::Value = serde_json::from_str(&cleared).unwrap();
    assert_eq!(cleared.get("limits"), None, "{cleared}");
}
