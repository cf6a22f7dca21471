//! What is generated: one thing that happens.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sluice_engine::*;

use crate::node::key;
use crate::setting::{KEYS, patch};

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has a few dozen of them")]
pub(crate) enum Step {
    Put {
        queue: u32,
        patch: QueuePatch,
    },
    Enqueue {
        queue: u32,
        jobs: Vec<JobSpec>,
    },
    Lease {
        queue: u32,
        max_jobs: u32,
        max_bytes: usize,
        wait: u64,
    },
    /// So many of those that are held.
    Ack {
        pick: Index,
        jobs: usize,
        actual_cost: Option<u32>,
    },
    Nack {
        pick: Index,
        reason: NackReason,
        retry_after: Option<u64>,
        scope: Option<u8>,
        actual_cost: Option<u32>,
    },
    Cancel {
        pick: Index,
    },
    Update {
        pick: Index,
        priority: Option<u32>,
        start: Option<Start>,
    },
    Drain {
        queue: u32,
        max_jobs: u32,
    },
    Requeue {
        queue: u32,
    },
    Purge {
        pick: Index,
    },
    /// Somebody lets a frozen node go on.
    Reset {
        queue: u32,
        key: &'static str,
    },
    Pass(Pass),
    SetWall {
        days: i64,
    },
    Restart,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    Nanos(u64),
    /// To the time the engine asks for, so many times.
    ToNext(u8),
    /// Not quite.
    BeforeNext,
}

/// All that happens in a run, shown one to a line.
#[derive(Clone)]
pub(crate) struct Run(pub(crate) Vec<Step>);

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n  {step:?}"))
    }
}

/// Queues are numbered as they are first put.
pub(crate) fn name(queue: QueueId) -> QueueName {
    QueueName::new(["q1", "q2"][queue.0 as usize - 1]).unwrap()
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        1 => Just(Start::Now),
        2 => (1..10_000_000_000_u64).prop_map(|nanos| Start::After(Span(nanos))),
        // Somewhere about the time at which a run begins.
        1 => (0..30_u64).prop_map(|seconds| Start::At(WallTime((1_700_000_000 + seconds) * 1_000_000_000))),
    ]
}

fn jobs() -> impl Strategy<Value = Vec<JobSpec>> {
    let cost = prop_oneof![5 => Just(1), 2 => 2..4_u32, 1 => 4..12_u32];
    let start = prop_oneof![9 => Just(Start::Now), 1 => start()];
    let ttl = weighted(0.08, 1..20_000_000_000_u64);
    let bypass = prop::bool::weighted(0.1);
    let one = (select(&KEYS[..]), select(vec![2, 4, 4, 4, 9]), cost, start, ttl, bypass).prop_map(
        |(text, priority, cost, start, ttl, bypass_limits)| JobSpec {
            key: key(text),
            priority: Priority::new(priority).unwrap(),
            cost: Cost::new(cost).unwrap(),
            start,
            ttl: ttl.map(Span),
            bypass_limits,
            ..JobSpec::default()
        },
    );
    prop_oneof![
        3 => vec(one.clone(), 1..8),
        // Many alike.
        1 => (one, 2..9_usize).prop_map(|(job, jobs)| vec![job; jobs]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || prop_oneof![5 => Just(1_u32), 1 => Just(2)];
    let pick = any::<Index>;
    let actual = || weighted(0.5, prop_oneof![5 => 0..4_u32, 1 => 4..20_u32]);
    let reason = prop_oneof![
        2 => Just(NackReason::Failed),
        3 => Just(NackReason::Throttled),
        1 => Just(NackReason::Rejected),
        1 => Just(NackReason::Released),
    ];
    let pass = prop_oneof![
        2 => (0..3_u64).prop_map(Pass::Nanos),
        3 => (0..3_000_000_000_u64).prop_map(Pass::Nanos),
        1 => (0..200_000_000_000_u64).prop_map(Pass::Nanos),
        5 => (1..6_u8).prop_map(Pass::ToNext),
        1 => Just(Pass::BeforeNext),
    ];
    prop_oneof![
        6 => (queue(), jobs()).prop_map(|(queue, jobs)| Step::Enqueue { queue, jobs }),
        8 => (
            queue(),
            prop_oneof![3 => 1..6_u32, 1 => Just(1_000)],
            prop_oneof![8 => Just(usize::MAX), 1 => Just(1_200)],
            prop_oneof![2 => Just(0), 3 => 1..100_u64],
        ).prop_map(|(queue, max_jobs, max_bytes, wait)| Step::Lease { queue, max_jobs, max_bytes, wait }),
        4 => (pick(), 1..4_usize, actual())
            .prop_map(|(pick, jobs, actual_cost)| Step::Ack { pick, jobs, actual_cost }),
        4 => (pick(), reason, weighted(0.4, 0..9_000_000_000_u64), weighted(0.4, 0..4_u8), actual()).prop_map(
            |(pick, reason, retry_after, scope, actual_cost)| {
                Step::Nack { pick, reason, retry_after, scope, actual_cost }
            }
        ),
        2 => pick().prop_map(|pick| Step::Cancel { pick }),
        2 => (pick(), weighted(0.6, select(vec![2, 4, 9])), weighted(0.4, start()))
            .prop_map(|(pick, priority, start)| Step::Update { pick, priority, start }),
        1 => (queue(), 1..5_u32).prop_map(|(queue, max_jobs)| Step::Drain { queue, max_jobs }),
        1 => queue().prop_map(|queue| Step::Requeue { queue }),
        1 => pick().prop_map(|pick| Step::Purge { pick }),
        1 => (queue(), select(&KEYS[..])).prop_map(|(queue, key)| Step::Reset { queue, key }),
        2 => (queue(), patch()).prop_map(|(queue, patch)| Step::Put { queue, patch }),
        9 => pass.prop_map(Step::Pass),
        1 => select(vec![-1, 1]).prop_map(|days| Step::SetWall { days }),
        1 => Just(Step::Restart),
    ]
}

/// Two queues, and what happens then.
pub(crate) fn runs() -> impl Strategy<Value = Run> {
    let put = |queue| patch().prop_map(move |patch| Step::Put { queue, patch });
    (put(1), put(2), vec(step(), 1..60))
        .prop_map(|(first, second, rest)| Run([vec![first, second], rest].concat()))
}
