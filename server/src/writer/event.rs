//! Tells the log what happened to queues, once it is durable. What happens to every job, such as being
//! leased, is not told: statistics count it.

use std::collections::BTreeMap;

use sluice_engine::{Engine, JobId, Level, Mutation, Next, NodeState, Now, QueueId, Turn};
use tracing::{info, warn};

/// Dead jobs that one group tells of, each by itself: a log on a slow terminal must not hold the
/// writer up. The rest are counted.
const MAX_DEAD_TOLD: usize = 16;

/// Tells of what is worth it among `mutations`.
pub(super) fn tell(mutations: &[Mutation], engine: &Engine, now: Now) {
    let mut dead = 0;
    let mut requeued = Vec::new();
    let mut frozen = BTreeMap::<QueueId, usize>::new();
    let mut turns = Turns::default();
    for mutation in mutations {
        match mutation {
            Mutation::QueuePut { name, version, .. } => info!(queue = %name, version, "queue put"),
            Mutation::Returned { id, next: Next::Dead, .. } => {
                dead += 1;
                if dead <= MAX_DEAD_TOLD {
                    tell_dead(*id, engine, now);
                }
            }
            Mutation::Drained { queue, jobs, .. } => {
                info!(queue = name(*queue, engine), jobs = jobs.len(), "queue drained");
            }
            Mutation::Requeued { id, .. } | Mutation::RequeuedLater { id, .. } => requeued.push(*id),
            Mutation::Purged { jobs } => info!(jobs = jobs.len(), "jobs purged"),
            Mutation::Dropped { jobs } => info!(jobs = jobs.len(), "jobs dropped to make room"),
            Mutation::Expired { jobs } => info!(jobs = jobs.len(), "jobs expired"),
            Mutation::LimitDeleted { limit } => info!(limit = limit.0, "limit deleted"),
            Mutation::Frozen { queue, .. } => *frozen.entry(*queue).or_default() += 1,
            Mutation::NodeState { queue, state, .. } => turns.note(*queue, state, now),
            Mutation::QueueDeleted { queue } => info!(queue = name(*queue, engine), "queue deleted"),
            _ => {}
        }
    }
    if dead > MAX_DEAD_TOLD {
        info!(jobs = dead - MAX_DEAD_TOLD, "more jobs dead");
    }
    tell_requeued(&requeued, engine, now);
    // Which nodes is not for logs: their names are keys.
    for (queue, times) in frozen {
        info!(queue = name(queue, engine), times, "downstream throttles: frozen");
    }
    turns.tell(engine);
}

/// What answers did to the nodes of queues and limits within one group.
#[derive(Default)]
struct Turns(BTreeMap<QueueId, Counted>);

#[derive(Default)]
struct Counted {
    cuts: usize,
    /// The lowest rate that one was cut to.
    rate: Option<f64>,
    opened: usize,
    closed: usize,
}

impl Turns {
    fn note(&mut self, queue: QueueId, state: &NodeState, now: Now) {
        for turn in state.turns(now.engine) {
            let counted = self.0.entry(queue).or_default();
            match turn {
                Turn::Cut { rate } => {
                    counted.cuts += 1;
                    counted.rate = Some(counted.rate.map_or(rate, |least| least.min(rate)));
                }
                Turn::Opened => counted.opened += 1,
                Turn::Closed => counted.closed += 1,
            }
        }
    }

    fn tell(self, engine: &Engine) {
        for (queue, Counted { cuts, rate, opened, closed }) in self.0 {
            let limit = engine.limit_name(queue).map(|name| &**name);
            let queue = name(queue, engine);
            if cuts > 0 {
                info!(queue, limit, times = cuts, per_second = rate, "downstream throttles: rate cut");
            }
            if opened > 0 {
                warn!(queue, limit, nodes = opened, "circuit breaker open");
            }
            if closed > 0 {
                info!(queue, limit, nodes = closed, "circuit breaker closed");
            }
        }
    }
}

/// Tells of queues that fill or empty.
pub(super) fn tell_levels(levels: &[(QueueId, Level)], engine: &Engine) {
    for (queue, level) in levels {
        let queue = name(*queue, engine);
        match level {
            Level::Ok => info!(queue, queue_level = "OK", "queue has room"),
            Level::Warning => warn!(queue, queue_level = "WARNING", "queue fills"),
            Level::Critical => warn!(queue, queue_level = "CRITICAL", "queue is full"),
        }
    }
}

/// Ids and counts: keys, payloads and what workers wrote are not for logs.
fn tell_dead(id: JobId, engine: &Engine, now: Now) {
    let Some(job) = engine.job(id, now) else { return };
    let error = job.detail.as_ref().and_then(|detail| detail.error.as_ref());
    info!(
        job = %id,
        queue = %job.queue,
        attempts = job.attempts,
        code = error.map(|error| &*error.code),
        "job dead"
    );
}

/// A requeue's jobs are all of one queue, and of one group unless there were many.
fn tell_requeued(jobs: &[JobId], engine: &Engine, now: Now) {
    let Some(first) = jobs.first() else { return };
    let queue = engine.job(*first, now).map(|job| job.queue);
    info!(queue = queue.as_deref(), jobs = jobs.len(), "jobs requeued");
}

fn name(queue: QueueId, engine: &Engine) -> Option<&str> {
    engine.queue_name(queue).map(|name| &**name)
}
