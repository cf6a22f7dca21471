//! Jobs that bypass limits, as clients see them.

use sluice_proto::v1::{GateKind, JobSpec, JobState, NackReason, NodeSettings, UpdateJobRequest, Window};
use sluice_tests::{Queue, Sluiced, cli, spec};

const HOUR: u64 = 3_600_000;

/// So many at once, and then one in 30 s: none while a test runs.
fn at_once(jobs: u32) -> NodeSettings {
    let window =
        Window { amount: 2, period: Some(spec::millis(60_000)), burst: Some(jobs), ..Window::default() };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

fn emergency(key: &str, text: &str) -> JobSpec {
    JobSpec { bypass_limits: true, ..spec::keyed(key, text) }
}

async fn goes(queue: &Queue) -> Vec<String> {
    spec::texts(&queue.lease(1_000).await)
}

#[tokio::test]
async fn s3_1_emergency_passes_the_limits_of_every_level_and_is_repaid_first() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("urgent");
    queue.put(spec::limited(at_once(2), &[("bot*", at_once(1))])).await;
    queue.enqueue((0..4).map(|n| spec::keyed("bot1", &format!("x{n}"))).collect()).await;
    assert_eq!(goes(&queue).await, ["x0"]);
    let id = queue.enqueue_one(emergency("bot1", "fire")).await;
    let job = queue.job(&id).await;
    assert_eq!((job.bypass_limits, job.priority, job.queue_position), (true, 9, Some(1)));
    assert_eq!(job.blocked_by, []);
    assert_eq!(goes(&queue).await, ["fire"], "the others wait");

    // It is charged: another key finds the queue's own limit used.
    queue.enqueue_one(spec::keyed("bot2", "y")).await;
    assert_eq!(goes(&queue).await, [""; 0]);
    let blocked = queue.list(&[JobState::Ready], 9).await.into_iter().find(|job| job.key == "bot2").unwrap();
    assert_eq!(blocked.blocked_by[0].kind(), GateKind::Rate);

    // It is as urgent after kill -9.
    queue.enqueue_one(emergency("bot1", "flood")).await;
    server.kill_and_start().await;
    assert_eq!(goes(&server.queue("urgent")).await, ["flood"]);
}

#[tokio::test]
async fn s3_1_emergency_waits_for_a_slot_a_freeze_and_a_pause() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("caps");
    let one = NodeSettings { max_in_flight: Some(1), ..at_once(1) };
    queue.put(spec::limited(NodeSettings::default(), &[("a", one)])).await;
    queue.enqueue(vec![spec::keyed("a", "a0")]).await;
    let held = queue.lease(1).await;
    let id = queue.enqueue_one(emergency("a", "fire")).await;
    assert_eq!(goes(&queue).await, [""; 0]);
    let gates =
        |job: sluice_proto::v1::Job| job.blocked_by.iter().map(|gate| gate.kind()).collect::<Vec<_>>();
    assert_eq!(gates(queue.job(&id).await), [GateKind::InFlight]);

    let throttled = sluice_proto::v1::Nack {
        retry_after: Some(spec::millis(HOUR)),
        ..spec::nack(&held[0], NackReason::Throttled)
    };
    queue.try_nack(throttled).await;
    assert_eq!(goes(&queue).await, [""; 0]);
    assert_eq!(gates(queue.job(&id).await), [GateKind::Frozen]);

    drop(cli::run(&server, &["queue", "thaw", "caps", "--key", "a"]).await.ok());
    queue.pause().await;
    assert_eq!(goes(&queue).await, [""; 0]);
    queue.resume().await;
    assert_eq!(goes(&queue).await, ["fire"]);
}

#[tokio::test]
async fn emergencies_beyond_60_s_of_rate_wait_as_priority_9() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bounded");
    // 60 s are 3 jobs.
    let window =
        Window { amount: 1, period: Some(spec::millis(20_000)), burst: Some(1), ..Window::default() };
    queue.put(spec::limited(NodeSettings { windows: vec![window], ..NodeSettings::default() }, &[])).await;
    queue.enqueue((0..9).map(|n| emergency("a", &format!("fire{n}"))).collect()).await;
    // The burst, those of 60 s, and the one that goes beyond.
    assert_eq!(goes(&queue).await, ["fire0", "fire1", "fire2", "fire3", "fire4"]);
    let next = queue.list(&[JobState::Ready], 1).await.remove(0);
    assert_eq!(next.blocked_by[0].kind(), GateKind::Rate);
    let update = UpdateJobRequest { job_id: next.job_id, priority: Some(1), ..Default::default() };
    assert_eq!(queue.try_update(update).await.unwrap().priority, 9);
}

#[tokio::test]
async fn emergency_is_put_in_by_command_line_alone_and_in_bulk() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    queue.put(spec::limited(at_once(1), &[])).await;
    queue.enqueue_one(spec::job("first")).await;
    assert_eq!(goes(&queue).await, ["first"]);
    let arguments = ["enqueue", "--queue", "cli", "--payload", "one", "--bypass-limits"];
    let id = cli::run(&server, &arguments).await.ok();
    let shown = cli::run(&server, &["get", id.trim(), "-o", "jsonl"]).await.lines();
    assert_eq!(shown[0]["bypass_limits"], true, "{shown:?}");
    let file = server.data().parent().unwrap().join("jobs.ndjson");
    std::fs::write(&file, "{\"payload\": \"two\", \"bypass_limits\": true}\n{\"payload\": \"late\"}\n")
        .unwrap();
    drop(cli::run(&server, &["enqueue", "--queue", "cli", "-f", file.to_str().unwrap()]).await.ok());
    assert_eq!(goes(&queue).await, ["one", "two"]);
}
