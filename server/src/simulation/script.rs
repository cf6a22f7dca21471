//! What happens in a simulation: drawn from a seed, and then a list that can be shortened.
//!
//! Steps name what they are about by number, so that a list of which some are gone is still one.

use std::fmt;

use fastrand::Rng;
use sluice_engine::NackReason;

/// Queues, each for something else.
pub(super) const QUEUES: [&str; 4] = ["plain", "limited", "shared", "doomed"];
pub(super) const PLAIN: usize = 0;
/// Its window is watched.
pub(super) const LIMITED: usize = 1;
/// It hangs under the shared limit, which is watched too.
pub(super) const SHARED: usize = 2;
/// It is deleted now and then, and full, and calls wait for room in it.
pub(super) const DOOMED: usize = 3;

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script(pub(super) Vec<Step>);

/// One thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Calls that come together, after a while.
    Group { after_millis: u64, calls: Vec<Call> },
    /// Time passes until the writer wants to be woken.
    Wake,
    /// Somebody sets the wall clock.
    SetWall { seconds: i64 },
    /// The process dies at the n-th write, sync or change of a name from now on; the power is lost with it.
    PowerLoss { at: u64, chance: u64 },
    /// The process dies alone.
    Kill { at: u64 },
    /// That operation fails, and the process ends itself.
    Broken { at: u64 },
    /// It stops in good order, and starts again.
    Restart,
    /// Everything is looked at, and held against a replay.
    Look,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Enqueue {
        queue: usize,
        jobs: Vec<Job>,
        request: Option<u8>,
        waits: bool,
    },
    Lease {
        queue: usize,
        max_jobs: u32,
        waits: bool,
        seconds: u64,
        vanishes: bool,
    },
    Ack {
        pick: usize,
        stale: bool,
        actual_cost: Option<u32>,
    },
    Nack {
        pick: usize,
        stale: bool,
        reason: NackReason,
        retry_after: Option<u64>,
    },
    Extend {
        pick: usize,
        seconds: u64,
    },
    Cancel {
        pick: usize,
    },
    Update {
        pick: usize,
        priority: Option<u32>,
        after: Option<u64>,
    },
    Drain {
        queue: usize,
        max_jobs: u32,
        request: u8,
    },
    Requeue {
        queue: usize,
        seconds: u64,
    },
    Purge {
        queue: usize,
    },
    Delete {
        force: bool,
    },
    Pause {
        queue: usize,
        paused: bool,
    },
    Acquire {
        waits: bool,
    },
    Reset,
    /// Whoever waits longest is gone.
    Vanish,
}

/// One job.
#[derive(Clone, PartialEq)]
pub(super) struct Job {
    pub(super) key: usize,
    pub(super) priority: u32,
    pub(super) bytes: usize,
    pub(super) cost: u32,
    pub(super) after: Option<u64>,
    pub(super) ttl: Option<u64>,
    pub(super) idempotency: Option<u8>,
    pub(super) batch: Option<u8>,
    pub(super) max_attempts: Option<u32>,
}

/// Steps of a script, at most.
const MAX_STEPS: usize = 90;
/// Operations of the disk from now on, among which something happens.
const FAR: u64 = 24;

impl Script {
    /// The script of a seed.
    pub(super) fn draw(seed: u64) -> Script {
        let mut chance = Rng::with_seed(seed);
        let count = chance.usize(20..MAX_STEPS);
        Script((0..count).map(|_| step(&mut chance)).collect())
    }
}

fn step(chance: &mut Rng) -> Step {
    match chance.u32(..100) {
        0..66 => {
            let calls = (0..chance.usize(1..7)).map(|_| call(chance)).collect();
            let after_millis = [0, 0, 1, 40, 700, 3_000, 20_000, 90_000][chance.usize(..8)];
            Step::Group { after_millis, calls }
        }
        66..80 => Step::Wake,
        80..82 => Step::SetWall { seconds: chance.i64(-90_000..90_000) },
        82..87 => Step::PowerLoss { at: chance.u64(..FAR), chance: chance.u64(..) },
        87..89 => Step::Kill { at: chance.u64(..FAR) },
        89..92 => Step::Broken { at: chance.u64(..FAR) },
        92..94 => Step::Restart,
        _ => Step::Look,
    }
}

fn call(chance: &mut Rng) -> Call {
    let queue = chance.usize(..QUEUES.len());
    let pick = chance.usize(..1_000);
    let stale = chance.u32(..8) == 0;
    match chance.u32(..100) {
        0..30 => Call::Enqueue {
            queue,
            jobs: (0..chance.usize(1..6)).map(|_| job(chance, queue)).collect(),
            request: (chance.u32(..3) == 0).then(|| chance.u8(..6)),
            waits: chance.bool(),
        },
        30..54 => Call::Lease {
            queue,
            max_jobs: chance.u32(1..6),
            waits: chance.bool(),
            seconds: [2, 30, 600][chance.usize(..3)],
            vanishes: chance.u32(..10) == 0,
        },
        54..70 => Call::Ack { pick, stale, actual_cost: (chance.u32(..4) == 0).then(|| chance.u32(..6)) },
        70..80 => Call::Nack {
            pick,
            stale,
            reason: [NackReason::Failed, NackReason::Failed, NackReason::Throttled, NackReason::Rejected]
                .into_iter()
                .chain([NackReason::Released])
                .nth(chance.usize(..5))
                .unwrap(),
            retry_after: (chance.u32(..3) == 0).then(|| chance.u64(1..40)),
        },
        80..82 => Call::Extend { pick, seconds: chance.u64(1..100) },
        82..84 => Call::Cancel { pick },
        84..86 => Call::Update {
            pick,
            priority: chance.bool().then(|| chance.u32(..10)),
            after: chance.bool().then(|| chance.u64(..60)),
        },
        86..88 => Call::Drain { queue, max_jobs: chance.u32(1..9), request: chance.u8(..4) },
        88..91 => Call::Requeue { queue, seconds: [0, 0, 3][chance.usize(..3)] },
        91 => Call::Purge { queue },
        92 => Call::Delete { force: chance.u32(..3) > 0 },
        93..95 => Call::Pause { queue, paused: chance.u32(..3) == 0 },
        95..97 => Call::Acquire { waits: chance.bool() },
        97 => Call::Reset,
        _ => Call::Vanish,
    }
}

fn job(chance: &mut Rng, queue: usize) -> Job {
    let is_watched = queue == LIMITED || queue == SHARED;
    Job {
        key: chance.usize(..3),
        priority: [4, 4, 4, 0, 9][chance.usize(..5)],
        bytes: [0, 10, 200, 1_500][chance.usize(..4)],
        cost: if is_watched { 1 } else { [1, 1, 3][chance.usize(..3)] },
        after: (chance.u32(..6) == 0).then(|| [1, 10, 100][chance.usize(..3)]),
        ttl: (chance.u32(..8) == 0).then(|| [5, 200][chance.usize(..2)]),
        idempotency: (chance.u32(..4) == 0).then(|| chance.u8(..5)),
        batch: (chance.u32(..4) == 0).then(|| chance.u8(..3)),
        max_attempts: (chance.u32(..3) == 0).then(|| chance.u32(1..3)),
    }
}

/// As short as it can be read.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Group { after_millis, calls } => {
                    writeln!(f, "{number:3}  after {after_millis} ms")?;
                    calls.iter().try_for_each(|call| writeln!(f, "       {call:?}"))?;
                }
                other => writeln!(f, "{number:3}  {other:?}")?,
            }
        }
        Ok(())
    }
}

/// What is not as with any other job.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { key, priority, bytes, cost, after, ttl, idempotency, batch, max_attempts } = self;
        write!(f, "{{k{key} p{priority} {bytes} B")?;
        if *cost > 1 {
            write!(f, " cost {cost}")?;
        }
        let rest = [
            ("after", *after),
            ("ttl", *ttl),
            ("once", idempotency.map(u64::from)),
            ("batch", batch.map(u64::from)),
            ("attempts", max_attempts.map(u64::from)),
        ];
        for (name, value) in rest {
            value.map_or(Ok(()), |value| write!(f, " {name} {value}"))?;
        }
        f.write_str("}")
    }
}
