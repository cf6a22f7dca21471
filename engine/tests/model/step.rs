//! What is generated: one thing that happens.

use proptest::prelude::*;
use sluice_engine::*;

pub(crate) const QUEUES: [&str; 2] = ["a", "b"];
pub(crate) const KEYS: [&str; 5] = ["", "x", "y", "y/1", "y/2/z"];
/// Every key and all that they begin with.
pub(crate) const NODES: [&str; 5] = ["x", "y", "y/1", "y/2", "y/2/z"];
pub(crate) const BATCHES: [&str; 2] = ["m", "n"];
pub(crate) const IDEMPOTENCY_WINDOW: Span = Span::from_secs(1_000);

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has eighty of them")]
pub(crate) enum Step {
    Enqueue { queue: usize, jobs: Vec<Spec>, request: Option<u8>, total: Option<(usize, u64)>, wait: u64 },
    Lease { queue: usize, max_jobs: u32, wait: u64, max_bytes: usize },
    Abandon { pick: usize },
    Ack { pick: usize, stale: bool },
    Nack { pick: usize, reason: NackReason, retry_after: Option<u64>, stale: bool },
    Extend { pick: usize, seconds: u64 },
    Drain { queue: usize, max_jobs: u32, request: u8 },
    Cancel { pick: usize },
    Update { pick: usize, priority: Option<u8>, wait: Option<Wait> },
    Requeue { queue: usize, most: usize, interval: u64 },
    Purge { queue: usize, state: usize, most: usize },
    Delete { queue: usize, force: bool },
    Put { queue: usize, patch: QueuePatch },
    Pass { millis: u64 },
    SetWall { seconds: i64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) key: usize,
    pub(crate) priority: u8,
    pub(crate) wait: Wait,
    pub(crate) bytes: usize,
    pub(crate) ttl: Option<u64>,
    pub(crate) idempotency: Option<u8>,
    pub(crate) batch: Option<usize>,
    /// No limit is set that it could pass: it is of the highest priority, and stands in a line of its own.
    pub(crate) bypass_limits: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    None,
    After(u64),
    At(i64),
}

pub(crate) fn name(queue: usize) -> QueueName {
    QueueName::new(QUEUES[queue]).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub(crate) fn batch(index: usize) -> BatchName {
    BatchName::new(BATCHES[index]).unwrap()
}

/// Without ageing the model knows who may go, and without adaptation how long a THROTTLED holds.
pub(crate) fn first_settings() -> QueuePatch {
    QueuePatch {
        retry: RetryPatch { max_attempts: Some(3), ..RetryPatch::default() },
        priority_ageing: Some(Span::ZERO),
        idempotency_window: Some(IDEMPOTENCY_WINDOW),
        node: Some(NodeSettings { adaptive: Some(false), ..NodeSettings::default() }),
        ..QueuePatch::default()
    }
}

impl Wait {
    pub(crate) fn start(self, now: Now) -> Start {
        match self {
            Wait::None => Start::Now,
            Wait::After(nanos) => Start::After(Span(nanos)),
            Wait::At(seconds) => Start::At(WallTime(now.wall.0.wrapping_add_signed(seconds * 1_000_000_000))),
        }
    }
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        5 => Just(Wait::None),
        1 => (1..20_000_000_000u64).prop_map(Wait::After),
        1 => (-5..20i64).prop_map(Wait::At),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let places = (0..KEYS.len(), 0..4u8, wait(), 5..12usize);
    let rest = (
        prop::option::weighted(0.3, 1..30_000_000_000u64),
        prop::option::weighted(0.2, 0..4u8),
        prop::option::weighted(0.3, 0..BATCHES.len()),
        prop::bool::weighted(0.1),
    );
    (places, rest).prop_map(|((key, priority, wait, bytes), (ttl, idempotency, batch, bypass_limits))| Spec {
        key,
        priority,
        wait,
        bytes,
        ttl,
        idempotency,
        batch,
        bypass_limits,
    })
}

fn policy() -> impl Strategy<Value = OverflowPolicy> {
    prop_oneof![
        1 => Just(OverflowPolicy::Reject),
        2 => Just(OverflowPolicy::DropOldest),
        3 => Just(OverflowPolicy::Wait),
    ]
}

fn key_rule() -> impl Strategy<Value = KeyRule> {
    let pattern = prop_oneof![Just("x"), Just("y"), Just("*"), Just("y/*"), Just("y/2/*")];
    let amounts = (prop::option::weighted(0.8, 1..5u64), prop::option::weighted(0.3, 10..50u64));
    (pattern, amounts, prop::option::weighted(0.7, policy())).prop_map(
        |(pattern, (jobs, bytes), overflow)| {
            let pattern = KeyPattern::new(pattern).unwrap();
            KeyRule { pattern, capacity: Capacity { jobs, bytes }, overflow, node: NodeSettings::default() }
        },
    )
}

fn patch() -> impl Strategy<Value = QueuePatch> {
    let times = (1..4u32, 1..100u64, 0..6u64, 1..50u64);
    let capacity = (
        prop::option::of(prop::option::weighted(0.8, 1..10u64)),
        prop::option::weighted(0.3, prop::option::weighted(0.6, 10..80u64)),
        prop::option::weighted(0.7, policy()),
    );
    let reserve = (2..4u32, 1..=100u8)
        .prop_map(|(priority, percent)| Reserve { min_priority: Priority::new(priority).unwrap(), percent });
    let rest = (
        prop::option::weighted(0.3, prop::option::of(reserve)),
        prop::option::weighted(0.4, prop::collection::vec(key_rule(), 0..3)),
        prop::option::weighted(0.3, prop::bool::weighted(0.3)),
    );
    (times, capacity, rest).prop_map(
        |(times, (max_jobs, max_bytes, overflow), (reserve, key_rules, paused))| {
            let (max_attempts, retention, bytes, lease) = times;
            QueuePatch {
                retry: RetryPatch { max_attempts: Some(max_attempts), ..RetryPatch::default() },
                retention: Some(Span::from_secs(retention)),
                dead_retention: Some(Span::from_secs(retention * 50)),
                retention_bytes: Some(bytes * 128),
                lease_duration: Some(Span::from_secs(lease)),
                max_jobs,
                max_bytes,
                overflow,
                reserve,
                key_rules,
                paused,
                ..first_settings()
            }
        },
    )
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let queue = 0..2usize;
    let reason = prop_oneof![
        4 => Just(NackReason::Failed),
        1 => Just(NackReason::Throttled),
        1 => Just(NackReason::Rejected),
        1 => Just(NackReason::Released),
    ];
    let enqueue = (
        queue.clone(),
        prop::collection::vec(spec(), 1..6),
        prop::option::weighted(0.2, 0..4u8),
        prop::option::weighted(0.1, (0..BATCHES.len(), 0..6u64)),
        prop_oneof![1 => Just(0), 2 => 1..10u64],
    );
    let step = prop_oneof![
        10 => enqueue.prop_map(|(queue, jobs, request, total, wait)|
            Step::Enqueue { queue, jobs, request, total, wait }),
        8 => (queue.clone(), 1..5u32, prop_oneof![Just(0), 1..10u64], prop_oneof![4 => Just(usize::MAX), 1 => Just(1200usize)])
            .prop_map(|(queue, max_jobs, wait, max_bytes)| Step::Lease { queue, max_jobs, wait, max_bytes }),
        1 => any::<usize>().prop_map(|pick| Step::Abandon { pick }),
        5 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, stale)| Step::Ack { pick, stale }),
        5 => (any::<usize>(), reason, prop::option::weighted(0.3, 0..5_000_000_000u64), prop::bool::weighted(0.2))
            .prop_map(|(pick, reason, retry_after, stale)| Step::Nack { pick, reason, retry_after, stale }),
        1 => (any::<usize>(), 1..100u64).prop_map(|(pick, seconds)| Step::Extend { pick, seconds }),
        1 => (queue.clone(), 1..8u32, 0..3u8).prop_map(|(queue, max_jobs, request)| Step::Drain { queue, max_jobs, request }),
        2 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        3 => (any::<usize>(), prop::option::of(0..4u8), prop::option::of(wait()))
            .prop_map(|(pick, priority, wait)| Step::Update { pick, priority, wait }),
        2 => (queue.clone(), 1..6usize, prop_oneof![Just(0), 1..5_000_000_000u64])
            .prop_map(|(queue, most, interval)| Step::Requeue { queue, most, interval }),
        1 => (queue.clone(), 0..JobState::ALL.len(), 1..4usize).prop_map(|(queue, state, most)| Step::Purge { queue, state, most }),
        1 => (queue.clone(), any::<bool>()).prop_map(|(queue, force)| Step::Delete { queue, force }),
        2 => (queue, patch()).prop_map(|(queue, patch)| Step::Put { queue, patch }),
        4 => prop_oneof![0..2_000u64, 0..60_000u64, 0..4_000_000u64].prop_map(|millis| Step::Pass { millis }),
        1 => (-100_000..100_000i64).prop_map(|seconds| Step::SetWall { seconds }),
    ];
    prop::collection::vec(step, 1..80)
}
