//! A bounded queue: what it refuses, how full it says it is, and that a kill changes none of it.

use std::time::Duration;

use serde::Deserialize;
use sluice_proto::v1::{
    EnqueueRequest, JobSpec, JobState, OverflowPolicy, Queue, QueueLevel, QueueStatus, WatchQueueResponse,
};
use sluice_tests::{Setup, Sluiced, cli, spec, status};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

/// A job of so many bytes.
fn sized(bytes: usize) -> JobSpec {
    spec::job(&"x".repeat(bytes))
}

/// A queue for so many bytes, without a limit of jobs.
fn bytes(max_bytes: u64, policy: OverflowPolicy) -> Queue {
    Queue { max_bytes: Some(max_bytes), overflow_policy: policy.into(), ..Queue::default() }
}

fn level(part: Option<f64>, level: QueueLevel, status: &QueueStatus) {
    assert_eq!((status.utilization, status.level()), (part, level), "{status:?}");
}

/// Reads on until a message shows `level`; every level that is shown on the way goes to `seen`, once.
async fn until_level(
    watch: &mut Streaming<WatchQueueResponse>,
    level: QueueLevel,
    seen: &mut Vec<QueueLevel>,
) {
    let read = async {
        while seen.last() != Some(&level) {
            let shown = watch.message().await.unwrap().expect("a watch goes on").status.unwrap().level();
            if seen.last() != Some(&shown) {
                seen.push(shown);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("a change of level is told");
}

#[tokio::test]
async fn s4_1_full_queue_refuses_all_of_a_request_and_says_when_to_come_again() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("full");
    queue.put(spec::bounded(5, OverflowPolicy::Reject)).await;
    queue.enqueue(spec::jobs("first", 3)).await;
    let before = queue.status().await;

    let refused = queue.try_enqueue(spec::jobs("three", 3), "again").await;
    let refused = status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60), "{wait:?}");
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert_eq!(pushback.parse::<u128>().unwrap(), wait.as_millis());
    let quota = refused.get_details_quota_failure().unwrap().violations;
    assert_eq!(quota.iter().map(|v| v.subject.as_str()).collect::<Vec<_>>(), ["full"]);

    let after = queue.status().await;
    assert_eq!((after.jobs, after.bytes, &after.totals), (3, before.bytes, &before.totals));
    assert_eq!(queue.list(&[], 100).await.len(), 3, "nothing of it was applied");
    queue.enqueue(spec::jobs("two", 2)).await;
    level(Some(1.0), QueueLevel::Critical, &queue.status().await);
    status::refused(queue.try_enqueue(vec![sized(1)], "").await, Code::ResourceExhausted, "QUEUE_FULL");

    // Refused was not answered: the same request is done once there is room.
    let out = queue.lease(3).await;
    status::refused(
        queue.try_enqueue(spec::jobs("three", 3), "again").await,
        Code::ResourceExhausted,
        "QUEUE_FULL",
    );
    queue.ack(&out).await;
    let ids = queue.try_enqueue(spec::jobs("three", 3), "again").await.unwrap();
    assert_eq!(queue.try_enqueue(spec::jobs("three", 3), "again").await.unwrap(), ids);
    assert_eq!(queue.status().await.jobs, 5);
}

#[tokio::test]
async fn s4_1_bytes_are_bounded_with_attributes_and_without_keys() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bytes");
    queue.put(bytes(100, OverflowPolicy::Reject)).await;
    let attributes = JobSpec {
        key: "not/counted".to_owned(),
        content_type: "text/plain".to_owned(),
        labels: [("name".to_owned(), "value".to_owned())].into(),
        idempotency_key: "1234567".to_owned(),
        ..sized(34)
    };
    queue.enqueue_one(attributes).await;
    let status = queue.status().await;
    assert_eq!((status.bytes, status.utilization), (34 + 10 + 9 + 7, Some(0.6)));

    for too_much in [vec![sized(41)], vec![sized(20), sized(20), sized(1)]] {
        status::refused(queue.try_enqueue(too_much, "").await, Code::ResourceExhausted, "QUEUE_FULL");
    }
    assert_eq!(queue.status().await.bytes, 60);
    queue.enqueue(vec![sized(20), sized(20)]).await;
    queue.enqueue_one(sized(0)).await;
    assert_eq!(queue.status().await.utilization, Some(1.0), "what has no bytes needs no room");

    // The larger part counts.
    queue.put(Queue { max_jobs: Some(6), ..bytes(1_000, OverflowPolicy::Reject) }).await;
    assert_eq!(queue.status().await.utilization, Some(4.0 / 6.0));
}

#[tokio::test]
async fn what_never_fits_is_refused_as_such_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("never");
    for policy in [OverflowPolicy::Reject, OverflowPolicy::Wait, OverflowPolicy::DropOldest] {
        queue.put(Queue { max_jobs: Some(3), ..bytes(100, policy) }).await;
        let mut never = vec![vec![sized(101)]];
        if policy != OverflowPolicy::DropOldest {
            never.extend([spec::jobs("x", 4), vec![sized(50), sized(51)]]);
        }
        for jobs in never {
            let request =
                EnqueueRequest { wait_timeout: Some(spec::millis(60_000)), ..queue.enqueue_request(jobs) };
            let refused = queue.enqueue_by(request).await;
            let refused = status::refused(refused, Code::InvalidArgument, "NEVER_FITS");
            assert_eq!(status::fields(&refused), ["jobs"]);
            assert!(refused.get_details_retry_info().is_none(), "trying again is of no use");
        }
        assert_eq!(queue.list(&[], 10).await, []);
    }
}

#[tokio::test]
async fn s4_1_capacity_of_an_inbox_can_be_read_and_a_check_says_whether_there_is_room() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("inbox");
    level(None, QueueLevel::Ok, &queue.status().await);
    queue.put(spec::bounded(1_000, OverflowPolicy::Reject)).await;
    let check = async |queue: &str| cli::run(&server, &["-o", "json", "queue", "capacity", queue]).await;
    for (jobs, part, code) in [(0, 0.0, 0), (250, 0.25, 0), (749, 0.999, 0), (1, 1.0, 1)] {
        if jobs > 0 {
            queue.enqueue(spec::jobs("x", jobs)).await;
        }
        assert_eq!(queue.status().await.utilization, Some(part));
        let said = check("inbox").await;
        assert_eq!(said.code, code, "{said:?}");
        let shown: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(shown["utilization"], part);
        assert_eq!((&shown["max_jobs"], &shown["has_room"]), (&1_000.into(), &(code == 0).into()));
    }
    assert_eq!(check("unbounded").await.code, 0, "what has no limit has room");
}

#[tokio::test]
async fn s4_3_level_is_told_to_watchers_and_in_the_log_and_does_not_flicker() {
    use QueueLevel::{Critical, Ok, Warning};
    let server = Sluiced::fresh().await;
    let queue = server.queue("levels");
    queue.put(bytes(100, OverflowPolicy::Reject)).await;
    // Jobs without bytes make the average small: at no rate of this test the queue would be full within a minute.
    for _ in 0..10 {
        queue.enqueue(vec![JobSpec { priority: Some(0), ..sized(0) }; 10_000]).await;
    }
    queue.until(|status| status.rates.is_none_or(|rates| rates.enqueued <= 0.0)).await;
    let mut watch = queue.watch().await;
    let mut seen = Vec::new();
    let mut full = 0_i32;
    for (change, expected) in [
        (80_i32, Ok),
        (1, Warning),
        (-11, Warning), // 70: not below it
        (-1, Ok),
        (11, Ok), // 80: not above it
        (20, Critical),
        (-5, Critical), // 95
        (-1, Warning),  // 94
        (6, Critical),
        (-31, Ok), // 69
    ] {
        if change > 0 {
            queue.enqueue(vec![sized(1); usize::try_from(change).unwrap()]).await;
        } else {
            let out = queue.lease(change.unsigned_abs()).await;
            queue.ack(&out).await;
        }
        full += change;
        level(Some(f64::from(full) / 100.0), expected, &queue.status().await);
        until_level(&mut watch, expected, &mut seen).await;
    }
    assert_eq!(seen, [Ok, Warning, Ok, Critical, Warning, Critical, Ok]);

    let log = server.log();
    let told = log.lines().filter(|line| line.contains("queue=\"levels\" queue_level=\""));
    let told: Vec<&str> = told.map(|line| line.rsplit_once("queue_level=").unwrap().1).collect();
    let expected = ["WARNING", "OK", "CRITICAL", "WARNING", "CRITICAL", "OK"].map(|l| format!("\"{l}\""));
    assert_eq!(told, expected, "{log}");
}

#[tokio::test]
async fn s4_3_change_of_level_is_one_line_for_programs_with_one_level_each() {
    /// serde refuses a field that comes twice.
    #[derive(Deserialize)]
    struct Line {
        level: String,
        message: String,
    }
    let server = Setup::default().environment("SLUICED_LOG_FORMAT", "json").start().await;
    let queue = server.queue("levels");
    queue.put(spec::bounded(1, OverflowPolicy::Reject)).await;
    queue.enqueue_one(sized(1)).await;
    queue.status().await;
    let log = server.log();
    let lines: Vec<Line> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let full: Vec<&str> =
        lines.iter().filter(|line| line.message == "queue is full").map(|line| &*line.level).collect();
    assert_eq!(full, ["WARN"]);
}

#[tokio::test]
async fn s4_3_queue_that_will_soon_be_full_is_warned_of() {
    let server = Sluiced::fresh().await;
    for (max_jobs, expected) in [(1_000, QueueLevel::Warning), (100_000_000, QueueLevel::Ok)] {
        let queue = server.queue(&format!("of-{max_jobs}"));
        queue.put(spec::bounded(max_jobs, OverflowPolicy::Reject)).await;
        queue.enqueue(spec::jobs("x", 500)).await;
        level(Some(500.0 / max_jobs as f64), expected, &queue.status().await);
    }
}

#[tokio::test]
async fn lower_capacity_than_what_is_held_loses_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lower");
    let ids = queue.enqueue(spec::jobs("x", 10)).await;
    let out = queue.lease(2).await;
    for policy in [OverflowPolicy::Reject, OverflowPolicy::Wait, OverflowPolicy::DropOldest] {
        queue.put(spec::bounded(4, policy)).await;
        let status = queue.status().await;
        assert_eq!((status.jobs, status.totals.as_ref().unwrap().dropped), (10, 0));
        level(Some(2.5), QueueLevel::Critical, &status);
    }
    queue.put(spec::bounded(4, OverflowPolicy::Reject)).await;
    for left in (4..10).rev() {
        status::refused(
            queue.try_enqueue(spec::jobs("y", 1), "").await,
            Code::ResourceExhausted,
            "QUEUE_FULL",
        );
        let next = if left >= 8 { vec![out[9 - left].clone()] } else { queue.lease(1).await };
        queue.ack(&next).await;
        assert_eq!(queue.status().await.jobs, left as u64);
    }
    status::refused(queue.try_enqueue(spec::jobs("y", 1), "").await, Code::ResourceExhausted, "QUEUE_FULL");
    let rest = queue.lease(10).await;
    assert_eq!(rest.iter().map(spec::id).collect::<Vec<_>>(), ids[6..], "all that was there came out");
    queue.ack(&rest[..1]).await;
    queue.enqueue_one(spec::job("y")).await;
}

#[tokio::test]
async fn s4_1_counts_and_capacity_hold_right_after_kill_9() {
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("killed");
    let settings = Queue { max_bytes: Some(20_000), ..spec::bounded(20, OverflowPolicy::DropOldest) };
    queue.put(settings).await;
    let later = JobSpec { delay: Some(spec::millis(3_600_000)), ..sized(3_000) };
    let ids = queue.enqueue(vec![sized(100), sized(200), later, sized(400), sized(500)]).await;
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    queue.enqueue(vec![sized(1_000); 18]).await;
    let before = queue.status().await;
    let counts = before.counts.unwrap();
    assert_eq!((counts.leased, counts.completed, counts.dropped, before.jobs), (1, 1, 2, 20));
    level(Some(1.0), QueueLevel::Critical, &before);

    server.kill_and_start().await;
    let after = queue.status().await;
    assert_eq!((after.counts, after.jobs, after.bytes), (before.counts, before.jobs, before.bytes));
    assert_eq!((&after.totals, &after.ready_by_priority), (&before.totals, &before.ready_by_priority));
    level(Some(1.0), QueueLevel::Critical, &after);
    for (dropped, bytes) in [(&ids[2], 3_000), (&ids[3], 400)] {
        let job = queue.job(dropped).await;
        assert_eq!((job.state(), job.payload.unwrap().len()), (JobState::Dropped, bytes));
    }
    let answer = queue.enqueue_by(queue.enqueue_request(vec![sized(1)])).await.unwrap();
    assert_eq!(answer.dropped_job_ids, ids[4..], "the same job is the next to go");
    assert_eq!(queue.status().await.jobs, 20);

    queue.put(spec::bounded(20, OverflowPolicy::Reject)).await;
    server.kill_and_start().await;
    status::refused(queue.try_enqueue(spec::jobs("y", 1), "").await, Code::ResourceExhausted, "QUEUE_FULL");
    queue.ack(&out[1..]).await;
    queue.enqueue_one(spec::job("y")).await;
    assert_eq!(queue.status().await.jobs, 20);
}
