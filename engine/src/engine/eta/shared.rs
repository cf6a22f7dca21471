//! The level above a queue: its shared limit, and the queues beside it that take turns with it.

use crate::bound::MAX_QUEUES_LOOKED_AT;
use crate::engine::Engine;
use crate::engine::eta::gauge::Gauge;
use crate::engine::eta::level::{Group, Level};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Job;
use crate::ledger::keys::KeyId;
use crate::ledger::limits::Limit;
use crate::limit::Unit;
use crate::time::Timestamp;

impl Engine {
    /// The shared limit of a job's queue, if it has one.
    pub(super) fn shared_level(&self, job: &Job, mean_cost: f64, now: Timestamp) -> Option<Level> {
        let queue = self.ledger.queue(job.queue);
        let limit = self.ledger.limits.get(queue.limit?)?;
        let spot = Spot { queue: limit.record.id, key: KeyId::NONE };
        let (gauges, frozen) = self.gauges(spot, now);
        let own = f64::from(queue.record.settings.node.weight);
        let mut level = Level {
            gauges,
            frozen,
            mean_cost,
            own_cost: f64::from(job.cost().get()),
            turns: (1.0 / own, 1.0 / own),
            ..Level::default()
        };
        if limit.queues.len() > MAX_QUEUES_LOOKED_AT {
            // When it is a queue's turn among so many nobody knows.
            level.gauges.push((Gauge::Workers { pace: None, alone: false }, Unit::Jobs));
        } else {
            self.siblings(limit, job, own, &mut level);
        }
        Some(level)
    }

    /// Queues beside a job's own that somebody leases from: with what is more urgent than the job, and as urgent.
    fn siblings(&self, limit: &Limit, job: &Job, own: f64, level: &mut Level) {
        for id in limit.queues.iter().filter(|id| **id != job.queue) {
            let (queue, desk) = (self.ledger.queue(*id), self.index.desks.get(id));
            let is_wanted = self.waiting.len_of(&queue.record.name) > 0;
            let Some(desk) = desk.filter(|_| is_wanted) else { continue };
            let ready = desk.ready.by_priority();
            let group = |jobs: u64| Group { least: jobs as f64, children: 1.0, jobs: jobs as f64 };
            let higher: u64 = ready[job.priority.index() + 1..].iter().sum();
            let equal = ready[job.priority.index()];
            level.higher.extend((higher > 0).then(|| group(higher)));
            level.equal.extend((equal > 0).then(|| group(equal)));
            let turns = f64::from(queue.record.settings.node.weight) / own;
            level.turns = (level.turns.0.min(turns), level.turns.1.max(turns));
        }
    }
}
