//! An inbox with back-pressure, from empty to full and back: its monitor, its senders, urgent ones among them, and the
//! worker that empties it no faster than its downstream takes.

use std::time::{Duration, Instant};

use sluice_proto::v1::{JobState, OverflowPolicy, Queue, QueueLevel};
use sluice_tests::downstream::{Answer, Downstream};
use sluice_tests::{Sluiced, cli, http, spec};

const CAPACITY: u64 = 1_000;

#[tokio::test]
async fn s4_inbox_warns_fills_holds_its_senders_back_and_empties_as_fast_as_it_may() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    let put =
        ["queue", "put", "inbox", "--max-jobs", "1000", "--overflow", "reject", "--limits", "rate=200/1s/10"];
    assert_eq!(cli::run(&server, &put).await.code, 0);
    let settings: Queue = queue.try_settings().await.unwrap();
    assert_eq!((settings.max_jobs, settings.overflow_policy()), (Some(CAPACITY), OverflowPolicy::Reject));

    // S4.1, S4.3: how full it is, and whether there is room.
    let mut sent = 0;
    for (jobs, level, has_room) in
        [(800, QueueLevel::Ok, true), (1, QueueLevel::Warning, true), (199, QueueLevel::Critical, false)]
    {
        queue.enqueue(spec::jobs("x", jobs)).await;
        sent += jobs;
        let status = queue.status().await;
        // It fills so fast that it will be full within a minute: the level below that is warned of too.
        let is_told = status.level() == level || status.level() == QueueLevel::Warning && has_room;
        assert!(is_told && status.utilization == Some(sent as f64 / CAPACITY as f64), "{status:?}");
        let check = cli::run(&server, &["queue", "capacity", "inbox"]).await;
        assert_eq!(check.code, i32::from(!has_room), "{}{}", check.stdout, check.stderr);
    }

    // S4.2: without a worker the sender gives up after 5 s, and says so.
    let began = Instant::now();
    let late = cli::run(&server, &["enqueue", "--queue", "inbox", "--payload", "too late"]).await;
    assert_eq!(late.code, 64 + 8, "RESOURCE_EXHAUSTED: {}", late.stderr);
    assert!(began.elapsed() >= Duration::from_secs(3), "it waited: {:?}", began.elapsed());

    // With one it gets in.
    let downstream = Downstream::start(|_| Answer::new(200)).await;
    let url = downstream.url();
    let log = server.data().parent().unwrap().join("worker");
    let work = ["work", "--queue", "inbox", "--http", &url, "--concurrency", "16"];
    let _worker = cli::start(&server, &work, &log);
    let began = Instant::now();
    let send = ["enqueue", "--queue", "inbox", "--payload", "in time", "--priority", "9"];
    let in_time = cli::run(&server, &send).await;
    assert_eq!(in_time.code, 0, "{}", in_time.stderr);
    queue.until(|status| status.jobs == 0).await;
    let took = began.elapsed().as_secs_f64();
    let most = 10.0 + 200.0 * (took + 0.5);
    assert!(CAPACITY as f64 <= most, "{CAPACITY} within {took:.2} s are too many");
    let calls = downstream.calls();
    assert_eq!(calls.len() as u64, CAPACITY + 1);
    let place = calls.iter().position(|call| call.body == b"in time").unwrap();
    assert!(place < 900, "the urgent one does not go last: {place}");

    // S4.5, S4.6: all of it is there as numbers.
    let status = queue.status().await;
    assert_eq!((status.level(), status.utilization), (QueueLevel::Ok, Some(0.0)));
    let page = http::json(server.http(), "/stats?queue=inbox").await;
    assert_eq!((&page["queues"][0]["total_queued"], &page["queues"][0]["retry"]), (&1_001.into(), &0.into()));
    let stats = cli::run(&server, &["stats", "-q", "inbox", "-o", "json"]).await.ok();
    assert!(stats.contains("\"utilization\""), "{stats}");
    assert_eq!(queue.list(&[JobState::Completed], 1_000).await.len() as u64, CAPACITY + 1);
}
