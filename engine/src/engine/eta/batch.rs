//! When a batch will be done: when the last of its waiting jobs will have been started, and a mean time in flight later.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::bound::{MAX_BATCH_JOBS_LOOKED_AT, MAX_BATCH_JOBS_RECKONED};
use crate::engine::Engine;
use crate::engine::eta::{span, wait_of};
use crate::explanation::Eta;
use crate::job::JobState;
use crate::ledger::batches::BatchId;
use crate::ledger::jobs::{Job, Slot};
use crate::name::{BatchName, QueueName};
use crate::time::{Now, WallTime};

impl Engine {
    /// When all of a batch that is there will be at rest, if all goes well; none when it is, or when of a great batch only
    /// jobs wait that came too long before its last one. What is announced and not there yet lets nobody tell the end.
    #[must_use]
    pub fn batch_eta(&self, queue: &QueueName, batch: &BatchName, now: Now) -> Option<Eta> {
        let queue = self.ledger.find_queue(queue)?.record.id;
        let id = self.ledger.batches.find(queue, batch)?;
        let view = self.ledger.batches.view(id);
        if view.counts.live() == 0 {
            return None;
        }
        let flight = self.flight(queue);
        let after = |time: WallTime, flights: f64| time + span(flight.unwrap_or_default() * flights);
        let waits = view.counts.live() - view.counts.get(JobState::Leased);
        // What is in flight may have just begun, and takes longer than others do.
        let eta = if waits == 0 {
            Eta { earliest: now.wall, latest: flight.map(|_| after(now.wall, 2.0)) }
        } else {
            let last = self.last_to_go(id, waits, now)?;
            Eta { earliest: after(last.earliest, 0.5), latest: last.latest.map(|time| after(time, 2.0)) }
        };
        let is_awaited = view.total.is_some_and(|total| view.counts.sum() < total);
        Some(Eta { latest: eta.latest.filter(|_| !is_awaited), ..eta })
    }

    /// When the last of a batch's `waits` waiting jobs goes.
    fn last_to_go(&self, batch: BatchId, waits: u64, now: Now) -> Option<Eta> {
        let mut seen = BTreeSet::new();
        let mut found = 0;
        let mut last: Vec<(Slot, &Job)> = Vec::new();
        let back = self.ledger.jobs.iter_back_from(self.ledger.batches.newest(batch));
        for (slot, job) in back.take(MAX_BATCH_JOBS_LOOKED_AT) {
            if job.batch != batch || !job.state.is_waiting() {
                continue;
            }
            found += 1;
            // Those before it in its line go before it.
            if job.state != JobState::Ready || seen.insert((job.key, job.priority)) {
                last.push((slot, job));
            }
            if found == waits {
                break;
            }
        }
        let key = |(_, job): &(Slot, &Job)| {
            (Reverse((wait_of(job, now) * 1e3) as u64), job.priority, Reverse(job.place()))
        };
        last.sort_by_key(key);
        let etas = last.iter().take(MAX_BATCH_JOBS_RECKONED);
        let etas = etas.filter_map(|(slot, _)| self.foreseen(*slot, now)).map(|foreseen| foreseen.eta);
        etas.reduce(|a, b| Eta {
            earliest: a.earliest.max(b.earliest),
            latest: a.latest.zip(b.latest).map(|(a, b)| a.max(b)),
        })
    }
}
