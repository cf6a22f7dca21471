//! Settings that are changed while the queue is in use: what is named changes and nothing else, at once, for the jobs
//! that are there too, and for good.

use std::time::Duration;

use sluice_proto::v1::{
    CapacityReserve, CircuitBreaker, JobSpec, JobState, KeyRule, LeaseRequest, NackReason, NodeSettings,
    OverflowPolicy, PutQueueRequest, Queue, RetryPolicy, Window, WindowKind, WindowUnit,
};
use sluice_tests::{Sluiced, cli, spec, status};
use tonic::{Code, Status};

/// Changes what `paths` name.
async fn patch(queue: &sluice_tests::Queue, change: Queue, paths: &[&str]) -> Result<Queue, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = PutQueueRequest {
        queue: Some(Queue { name: queue.name().to_owned(), ..change }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    Ok(queue.admin.clone().put_queue(request).await?.into_inner().queue.unwrap())
}

/// Settings of which none is the default, so that one that goes back to it is seen.
fn unusual() -> Queue {
    Queue {
        max_jobs: Some(77),
        max_bytes: Some(7_777),
        overflow_policy: OverflowPolicy::Wait.into(),
        retry_policy: Some(RetryPolicy {
            max_attempts: Some(7),
            initial_backoff: Some(spec::millis(70)),
            multiplier: Some(7.0),
            max_backoff: Some(spec::millis(7_000)),
            jitter: Some(0.7),
        }),
        lease_duration: Some(spec::millis(70_000)),
        retention: Some(spec::millis(71_000)),
        retention_bytes: Some(70),
        dead_retention: Some(spec::millis(72_000)),
        priority_ageing: Some(spec::millis(7_300)),
        key_rules: vec![KeyRule {
            key_pattern: "seven*".to_owned(),
            settings: Some(NodeSettings {
                max_jobs: Some(7),
                max_bytes: Some(70),
                overflow_policy: OverflowPolicy::Reject.into(),
                ..limits()
            }),
        }],
        settings: Some(limits()),
        paused: true,
        flow_hint: Some(sluice_proto::v1::FlowHintPolicy::default()),
        reserve: Some(CapacityReserve { min_priority: Some(7), percent: Some(70) }),
        idempotency_window: Some(spec::millis(74_000)),
        ..Queue::default()
    }
}

/// Limits with every field said.
fn limits() -> NodeSettings {
    let rate = Window {
        kind: WindowKind::Rate.into(),
        amount: 7,
        period: Some(spec::millis(70_000)),
        burst: Some(3),
        unit: WindowUnit::Jobs.into(),
    };
    let quota = Window { kind: WindowKind::Quota.into(), burst: None, unit: WindowUnit::Cost.into(), ..rate };
    NodeSettings {
        windows: vec![rate, quota],
        max_in_flight: Some(70),
        weight: Some(7),
        ordered: true,
        adaptive: Some(false),
        breaker: Some(CircuitBreaker { consecutive_failures: 7, open_duration: Some(spec::millis(7_500)) }),
        ..NodeSettings::default()
    }
}

#[tokio::test]
async fn each_field_changes_alone_and_all_of_it_is_kept_over_kill_9() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("q");
    let default = queue.put(Queue::default()).await;
    // One after another from its default to the unusual, and then back, each with all others said otherwise.
    let paths = [
        "max_jobs",
        "max_bytes",
        "overflow_policy",
        "retry_policy.max_attempts",
        "retry_policy.initial_backoff",
        "retry_policy.multiplier",
        "retry_policy.max_backoff",
        "retry_policy.jitter",
        "lease_duration",
        "retention",
        "retention_bytes",
        "dead_retention",
        "priority_ageing",
        "settings",
        "key_rules",
        "paused",
        "flow_hint",
        "reserve",
        "idempotency_window",
    ];
    let wanted = server.queue("wanted").put(unusual()).await;
    let same = |one: &Queue, other: &Queue| {
        let own = |queue: &Queue| Queue {
            name: String::new(),
            etag: String::new(),
            create_time: None,
            ..queue.clone()
        };
        own(one) == own(other)
    };
    let mut steps = vec![default.clone()];
    for path in paths {
        let changed = patch(&queue, unusual(), &[path]).await.unwrap();
        let before = steps.last().unwrap();
        assert!(!same(&changed, before), "{path} does nothing");
        assert_ne!(changed.etag, before.etag, "{path}");
        assert_eq!(changed.create_time, before.create_time);
        steps.push(changed);
    }
    assert!(same(steps.last().unwrap(), &wanted), "{:#?}", steps.last());
    server.kill_and_start().await;
    let queue = server.queue("q");
    assert_eq!(&queue.try_settings().await.unwrap(), steps.last().unwrap());
    // Back in the other order: each step undoes one, had a path changed more than it names it would show.
    for (path, before) in paths.iter().zip(&steps).rev() {
        let changed = patch(&queue, Queue::default(), &[path]).await.unwrap();
        assert!(same(&changed, before), "{path} changed more than itself: {changed:#?}");
    }
    assert!(same(&queue.try_settings().await.unwrap(), &default));
}

#[tokio::test]
async fn unknown_path_and_stale_etag_change_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    let first = queue.put(unusual()).await;
    for path in
        ["nonsense", "retry_policy.nonsense", "name", "etag", "create_time", "max_jobs.x", " max_jobs"]
    {
        let refused = patch(&queue, Queue::default(), &["lease_duration", path]).await;
        let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
        assert_eq!(status::fields(&refused), ["update_mask"], "{path}");
        assert!(refused.message().contains(path), "{path:?} is not named: {}", refused.message());
    }
    let wrong = Queue { lease_duration: Some(spec::millis(999)), ..Queue::default() };
    let refused = patch(&queue, wrong, &["retention", "lease_duration"]).await;
    let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(status::fields(&refused), ["queue.lease_duration"]);
    assert_eq!(queue.try_settings().await.unwrap(), first);

    let change = |etag: &str, millis| Queue {
        etag: etag.to_owned(),
        lease_duration: Some(spec::millis(millis)),
        ..Queue::default()
    };
    let second = patch(&queue, change(&first.etag, 2_000), &["lease_duration"]).await.unwrap();
    for path in ["lease_duration", "retention"] {
        let stale = patch(&queue, change(&first.etag, 3_000), &[path]).await;
        status::refused(stale, Code::Aborted, "ETAG_MISMATCH");
    }
    assert_eq!(queue.try_settings().await.unwrap(), second);
    let said =
        cli::run(&server, &["queue", "put", "q", "--lease-duration", "3s", "--etag", &first.etag]).await;
    assert_eq!(said.code, 74, "64 and ABORTED: {}", said.stderr);
    assert_eq!(queue.try_settings().await.unwrap(), second);
    // Of two who change what they have read, one has to read again.
    let race = [4_000, 5_000].map(|millis| patch(&queue, change(&second.etag, millis), &["lease_duration"]));
    let results = futures::future::join_all(race).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let said = cli::run(&server, &["queue", "put", "q", "--max-jobs", "none"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    let after = queue.try_settings().await.unwrap();
    assert_eq!(
        (after.max_jobs, after.retention, after.paused),
        (None, first.retention, true),
        "the rest stays"
    );
}

#[tokio::test]
async fn capacity_that_is_changed_holds_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    queue.put(spec::bounded(2, OverflowPolicy::Wait)).await;
    queue.enqueue(spec::jobs("x", 2)).await;
    let waiting = queue.caller(queue.enqueue_request(spec::jobs("waits", 1))).await;
    patch(&queue, Queue { max_jobs: Some(3), ..Queue::default() }, &["max_jobs"]).await.unwrap();
    let done = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    done.expect("who waits comes in").unwrap().unwrap();

    // Less than there is: nothing goes, and nothing comes.
    patch(&queue, Queue { max_jobs: Some(1), ..Queue::default() }, &["max_jobs"]).await.unwrap();
    let full = queue.status().await;
    assert_eq!((full.jobs, full.utilization), (3, Some(3.0)));
    let more = queue.try_enqueue(spec::jobs("more", 1), "").await;
    status::refused(more, Code::ResourceExhausted, "QUEUE_FULL");
    let out = queue.lease(2).await;
    queue.ack(&out).await;
    let more = queue.try_enqueue(spec::jobs("more", 1), "").await;
    status::refused(more, Code::ResourceExhausted, "QUEUE_FULL");
    let drop = Queue { overflow_policy: OverflowPolicy::DropOldest.into(), ..Queue::default() };
    patch(&queue, drop, &["overflow_policy"]).await.unwrap();
    queue.enqueue(spec::jobs("more", 1)).await;
    assert_eq!(spec::texts(&queue.lease(9).await), ["more-0"], "the one that waited was dropped");
}

#[tokio::test]
async fn retries_leases_and_pauses_that_are_changed_hold_for_jobs_that_are_there() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    let own = JobSpec {
        retry_policy: Some(RetryPolicy { max_attempts: Some(9), ..RetryPolicy::default() }),
        ..spec::job("own")
    };
    let ids = queue.enqueue(vec![spec::job("a"), own, spec::job("b"), spec::job("c")]).await;
    let out = queue.lease(2).await;
    let policy = Some(RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() });
    let change =
        Queue { retry_policy: policy, lease_duration: Some(spec::millis(9_000)), ..Queue::default() };
    patch(&queue, change, &["retry_policy.max_attempts", "lease_duration"]).await.unwrap();
    assert_eq!(queue.nack(&out[0], NackReason::Failed).await.state(), JobState::Dead);
    assert_eq!(queue.nack(&out[1], NackReason::Failed).await.state(), JobState::Retrying, "its own policy");
    assert_eq!((queue.job(&ids[2]).await.max_attempts, queue.job(&ids[1]).await.max_attempts), (1, 9));
    assert_eq!(queue.lease(1).await[0].lease_duration, Some(spec::millis(9_000)));

    // Whoever waits is given nothing while it is paused, and what is there when it is not.
    patch(&queue, Queue { paused: true, ..Queue::default() }, &["paused"]).await.unwrap();
    assert!(queue.lease(1).await.is_empty());
    let waiting = tokio::spawn({
        let queue = queue.clone();
        let request = LeaseRequest { wait_timeout: Some(spec::millis(60_000)), ..queue.lease_request(1) };
        async move { queue.lease_by(request).await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    queue.enqueue_one(spec::urgent(9, "urgent")).await;
    assert_eq!(queue.status().await.waiting_leases, 1, "nothing is leased");
    patch(&queue, Queue::default(), &["paused"]).await.unwrap();
    let done = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert_eq!(spec::texts(&done.expect("it is resumed").unwrap()), ["urgent"]);
}

#[tokio::test]
async fn retention_that_is_shortened_lets_go_of_what_is_there_and_one_that_is_not_named_does_not() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    let out = queue.lease(3).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    assert_eq!(queue.state(&ids[0]).await, JobState::Completed);
    let brief =
        Queue { retention: Some(spec::millis(1)), dead_retention: Some(spec::millis(1)), ..Queue::default() };
    patch(&queue, brief.clone(), &["retention"]).await.unwrap();
    queue.until(|status| status.counts.as_ref().unwrap().completed == 0).await;
    status::refused(queue.try_job(&ids[0]).await, Code::NotFound, "JOB_NOT_FOUND");
    assert_eq!(queue.state(&ids[1]).await, JobState::Dead, "its retention was not named");
    patch(&queue, brief, &["dead_retention"]).await.unwrap();
    queue.until(|status| status.counts.as_ref().unwrap().dead == 0).await;
    status::refused(queue.try_job(&ids[1]).await, Code::NotFound, "JOB_NOT_FOUND");
    assert_eq!(queue.status().await.totals.unwrap().removed, 2);
    assert_eq!(queue.state(&ids[2]).await, JobState::Leased, "what is held stays");
}
