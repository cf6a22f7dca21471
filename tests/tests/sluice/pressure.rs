//! Sending to a full queue: how long the command line and the library wait, when they fail, and what they tell of it;
//! and what operators are shown of a queue that fills.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sluice_client::{BackPressure, Client, Code, JobBuilder};
use sluice_proto::v1::{LeasedJob, OverflowPolicy};
use sluice_tests::{Queue, Sluiced, binary, cli, spec};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// 64 and RESOURCE_EXHAUSTED.
const FULL: i32 = 72;
const PATIENCE: Duration = Duration::from_secs(60);

/// A queue that is full, and the job that fills it.
async fn full(server: &Sluiced, name: &str, overflow: OverflowPolicy) -> (Queue, Vec<LeasedJob>) {
    let queue = server.queue(name);
    let settings = sluice_proto::v1::Queue {
        max_jobs: Some(1),
        overflow_policy: overflow.into(),
        lease_duration: Some(spec::millis(3_600_000)),
        ..Default::default()
    };
    queue.put(settings).await;
    queue.enqueue_one(spec::job("first")).await;
    let out = queue.lease(1).await;
    (queue, out)
}

/// `sluice enqueue` with a log of all it does.
fn enqueue(server: &Sluiced, queue: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(binary::sluice())
        .args(["--addr", &server.url(), "enqueue", "--queue", queue, "--payload", "second"])
        .env("RUST_LOG", "sluice_client=debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    (child, log)
}

/// Reads the log until it says that the queue is full, and how long is waited.
async fn until_it_waits(log: &mut BufReader<ChildStderr>) -> Duration {
    let mut line = String::new();
    loop {
        line.clear();
        let read = tokio::time::timeout(PATIENCE, log.read_line(&mut line)).await.expect("it is told");
        assert!(read.unwrap() > 0, "it ends without a word");
        if line.contains("waiting for room") {
            return wait_in(&line);
        }
    }
}

/// The wait in a line of the log such as `… wait=112.5ms`.
fn wait_in(line: &str) -> Duration {
    let (_, wait) = line.split_once("wait=").expect("it says how long");
    let wait = wait.split_whitespace().next().unwrap();
    let digits = wait.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = match &wait[digits.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        other => panic!("{other} in {line}"),
    };
    Duration::from_secs_f64(digits.parse::<f64>().unwrap() * unit)
}

#[tokio::test]
async fn s4_2_command_line_waits_for_room_at_most_5_s_then_fails_with_an_alert() {
    let server = Sluiced::fresh().await;
    let (queue, _held) = full(&server, "full", OverflowPolicy::Reject).await;
    let began = Instant::now();
    let said = cli::run(&server, &["enqueue", "--queue", "full", "--payload", "second"]).await;
    let took = began.elapsed();
    assert_eq!((said.code, said.stdout.as_str()), (FULL, ""), "{}", said.stderr);
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(15), "{took:?}");
    assert!(said.stderr.contains("WARN back-pressure: jobs could not be sent"), "{}", said.stderr);
    assert!(said.stderr.contains("sluice: RESOURCE_EXHAUSTED: the queue is full"), "{}", said.stderr);
    let told = said.stderr.lines().find(|line| line.contains("sends succeeded after waiting")).unwrap();
    let waits: u32 = told.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((2..=50).contains(&waits), "{told}");
    assert!(told.ends_with(&format!("{waits} waits, 0 sends succeeded after waiting, 1 failed")), "{told}");
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 1, "nothing came in");
}

#[tokio::test]
async fn s4_2_room_that_comes_meanwhile_is_used() {
    let server = Sluiced::fresh().await;
    let (queue, held) = full(&server, "full", OverflowPolicy::Reject).await;
    let (child, mut log) = enqueue(&server, "full");
    until_it_waits(&mut log).await;
    queue.ack(&held).await;
    let mut rest = String::new();
    log.read_to_string(&mut rest).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{rest}");
    let id = String::from_utf8(output.stdout).unwrap();
    assert_eq!(queue.job(id.trim()).await.payload.unwrap(), "second");
    assert!(rest.contains("waits, 1 sends succeeded after waiting, 0 failed"), "{rest}");
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 2, "once");
}

#[tokio::test]
async fn s4_2_waits_begin_with_100_ms_and_grow() {
    let server = Sluiced::fresh().await;
    let (_queue, _held) = full(&server, "full", OverflowPolicy::Reject).await;
    let (_child, mut log) = enqueue(&server, "full");
    let first = until_it_waits(&mut log).await;
    let second = until_it_waits(&mut log).await;
    assert!(first >= Duration::from_millis(100) && first < Duration::from_millis(200), "{first:?}");
    assert!(second > first, "{first:?}, then {second:?}");
}

#[tokio::test]
async fn s4_2_call_waits_in_the_server_where_the_queue_lets_it() {
    let server = Sluiced::fresh().await;
    let (queue, held) = full(&server, "waits", OverflowPolicy::Wait).await;
    let (child, mut log) = enqueue(&server, "waits");
    queue.until(|status| status.waiting_enqueues == 1).await;
    queue.ack(&held).await;
    let output = child.wait_with_output().await.unwrap();
    let mut said = String::new();
    log.read_to_string(&mut said).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let status = queue.status().await;
    assert_eq!((status.jobs, status.waiting_enqueues, status.totals.unwrap().enqueued), (1, 0, 2));
}

#[tokio::test]
async fn command_line_that_is_not_to_wait_fails_at_once_and_tells_what_is_in() {
    let server = Sluiced::fresh().await;
    let (queue, _held) = full(&server, "full", OverflowPolicy::Reject).await;
    let arguments = ["enqueue", "--queue", "full", "--wait-room", "0s", "--payload", "x"];
    let said = cli::run(&server, &arguments).await;
    assert_eq!(said.code, FULL);
    assert!(said.stderr.contains("back-pressure: 0 waits, 0 sends succeeded after waiting, 1 failed"));

    let settings = sluice_proto::v1::Queue { max_jobs: Some(6), ..Default::default() };
    queue.put(settings).await;
    let arguments =
        ["enqueue", "-q", "full", "--wait-room", "0s", "--batch-size", "2", "--in-flight", "1", "-f", "-"];
    let lines = (0..8).map(|n| format!("{{\"payload\":\"{n}\"}}\n")).collect::<String>();
    let said = cli::run_with(&server, &arguments, lines.as_bytes()).await;
    assert_eq!(said.code, FULL, "{}", said.stderr);
    assert!(said.stderr.contains("lines 5 to 6"), "which lines did not go: {}", said.stderr);
    assert!(said.stderr.contains("4 jobs of other batches are enqueued"), "{}", said.stderr);
    assert_eq!(queue.status().await.jobs, 5);
}

#[tokio::test]
async fn s4_2_library_waits_retries_and_counts() {
    let server = Sluiced::fresh().await;
    let (queue, held) = full(&server, "full", OverflowPolicy::Reject).await;
    let producer = Client::builder(server.url()).build().unwrap().producer("full");
    let sending = tokio::spawn({
        let producer = producer.clone();
        async move { producer.enqueue(JobBuilder::new("second")).await }
    });
    // Once it has waited it has been refused.
    let waits = async {
        while producer.statistics().waits == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it waits");
    assert!(!sending.is_finished());
    queue.ack(&held).await;
    let id = sending.await.unwrap().unwrap();
    assert_eq!(queue.job(&id).await.payload.unwrap(), "second");
    let statistics = producer.statistics();
    assert_eq!((statistics.succeeded_after_wait, statistics.failed_after_wait), (1, 0));

    // It is full again, and stays so: two more tries are all that this one makes.
    let millis = Duration::from_millis;
    let policy = BackPressure::try_new(millis(100), millis(200), 2, Duration::from_secs(30)).unwrap();
    let producer = producer.back_pressure(policy);
    let began = Instant::now();
    let error = producer.enqueue(JobBuilder::new("third")).await.unwrap_err();
    assert!(began.elapsed() >= millis(300), "{:?}", began.elapsed());
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "QUEUE_FULL"));
    let after = producer.statistics();
    assert_eq!((after.waits - statistics.waits, after.failed_after_wait), (2, 1));
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 2);
}

#[tokio::test]
async fn s4_6_capacity_size_and_utilisation_are_told_with_an_exit_code() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    queue.put(sluice_proto::v1::Queue { max_jobs: Some(1_000), ..Default::default() }).await;
    let capacity = async || {
        let said = cli::run(&server, &["queue", "capacity", "inbox", "-o", "json"]).await;
        let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!((&told["queue"], &told["max_jobs"]), (&"inbox".into(), &1_000.into()));
        let number = |name: &str| told[name].as_f64().unwrap();
        (said.code, number("jobs"), number("utilization"), told["has_room"].as_bool().unwrap())
    };
    assert_eq!(capacity().await, (0, 0.0, 0.0, true));
    queue.enqueue(spec::jobs("x", 750)).await;
    assert_eq!(capacity().await, (0, 750.0, 0.75, true));
    queue.enqueue(spec::jobs("x", 249)).await;
    assert_eq!(capacity().await, (0, 999.0, 0.999, true));
    queue.enqueue(spec::jobs("x", 1)).await;
    assert_eq!(capacity().await, (1, 1_000.0, 1.0, false));
    let table = cli::run(&server, &["queue", "capacity", "inbox"]).await;
    assert_eq!(table.code, 1);
    let row: Vec<&str> = table.stdout.lines().last().unwrap().split_whitespace().collect();
    assert!(row.contains(&"100%") && row.contains(&"CRITICAL") && row.last() == Some(&"no"), "{row:?}");
    let out = queue.lease(1).await;
    queue.ack(&out).await;
    assert_eq!(capacity().await, (0, 999.0, 0.999, true));
    let absent = cli::run(&server, &["queue", "capacity", "absent"]).await;
    assert_eq!(absent.code, 0, "a queue that is not there is empty: {}", absent.stderr);
}

#[tokio::test]
async fn s4_6_monitor_tells_each_change_of_level() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    queue.put(sluice_proto::v1::Queue { max_jobs: Some(100), ..Default::default() }).await;
    server.queue("other").put(sluice_proto::v1::Queue::default()).await;
    let once = async |queue: &str| {
        cli::run(&server, &["queue", "monitor", "--once", "--queue", queue, "-o", "jsonl"]).await
    };
    assert_eq!(once("inbox").await.code, 0);
    let mut child = Command::new(binary::sluice())
        .args(["--addr", &server.url(), "queue", "monitor", "--interval", "50ms", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> (String, u64) {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a change is told");
        let told: serde_json::Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        assert_eq!(told["queue"], "inbox", "nothing changed elsewhere");
        (told["level"].as_str().unwrap().to_owned(), told["jobs"].as_u64().unwrap())
    };
    queue.enqueue(spec::jobs("x", 81)).await;
    assert_eq!(next().await, ("WARNING".to_owned(), 81));
    assert_eq!(once("inbox").await.code, 4);
    queue.enqueue(spec::jobs("x", 19)).await;
    assert_eq!(next().await, ("CRITICAL".to_owned(), 100));
    let said = once("*").await;
    assert_eq!((said.code, said.stdout.lines().count()), (5, 2), "the worst of all queues: {}", said.stdout);
    let out = queue.lease(100).await;
    queue.ack(&out).await;
    let (level, jobs) = next().await;
    assert_eq!((level.as_str(), jobs), ("OK", 0));
    assert_eq!(once("inbox").await.code, 0);
}

#[tokio::test]
async fn s4_6_all_statistics_are_told_as_json() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    let settings = sluice_proto::v1::Queue { max_jobs: Some(10), ..spec::retrying(5, Duration::ZERO) };
    queue.put(settings).await;
    server.queue("other").enqueue_one(spec::job("x")).await;
    queue.enqueue((0..5).map(|n| spec::urgent(n, "x")).collect()).await;
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    let said = cli::run(&server, &["stats", "-o", "json"]).await.ok();
    let all: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    let names: Vec<_> = all.iter().map(|stats| stats["queue"].as_str().unwrap()).collect();
    assert_eq!(names, ["inbox", "other"], "by name");
    let (stats, status) = (&all[0], queue.status().await);
    let counts = ["scheduled", "ready", "leased", "retrying", "completed", "dead"];
    let told = counts.map(|state| stats["counts"][state].as_u64().unwrap());
    assert_eq!(told, [0, 3, 1, 0, 1, 0]);
    assert_eq!(stats["ready_by_priority"], serde_json::json!([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!((&stats["jobs"], &stats["utilization"]), (&4.into(), &0.4.into()));
    assert_eq!(stats["bytes"], status.bytes);
    assert_eq!((&stats["totals"]["enqueued"], &stats["totals"]["completed"]), (&5.into(), &1.into()));
    assert!(stats["rates"]["enqueued"].as_f64().unwrap() > 0.0, "{}", stats["rates"]);
    for name in ["level", "paused", "oldest_ready_age", "waiting_enqueues", "waiting_leases", "status_time"] {
        assert!(!stats[name].is_null(), "{name} is missing in {stats}");
    }
}
