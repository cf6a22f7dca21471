//! Queues go: at once for everybody, and bit by bit what they held.

use std::mem;

use crate::bound::{MAX_DELETIONS_PER_STEP, MAX_SWEEP_JOBS};
use crate::command::DeleteQueue;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId};
use crate::mutation::Mutation;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::time::Now;

impl Engine {
    pub(super) fn delete_queue(&mut self, delete: &DeleteQueue, now: Now, effects: &mut Effects) -> Answer {
        let queue = self.ledger.find_queue(&delete.name).ok_or(Refusal::QueueNotFound)?;
        if queue.counts.live() > 0 && !delete.force {
            return Err(Refusal::QueueNotEmpty);
        }
        let queue = queue.record.id;
        self.record(Mutation::QueueDeleted { queue }, now, effects);
        self.index.follow_limit(&self.ledger, queue, now.engine);
        self.turn_away(queue, effects);
        self.just_deleted = true;
        effects.touch(queue);
        Ok(Outcome::QueueDeleted)
    }

    /// Removes a bounded bit of what deleted queues held.
    pub(super) fn clear_deleted(&mut self, now: Now, effects: &mut Effects) {
        // Not in the same step: whoever tells of it looks the queue's name up.
        if mem::take(&mut self.just_deleted) {
            return;
        }
        let Some(queue) = self.ledger.first_deleted() else { return };
        // Another one that was deleted since then may come before it.
        let from = self.clearing.filter(|(begun, _)| *begun == queue).map_or(JobId(0), |(_, from)| from);
        let mut jobs = Vec::new();
        let mut next = None;
        for (looked_at, (slot, job)) in self.ledger.jobs.iter_from(from).enumerate() {
            if looked_at >= MAX_SWEEP_JOBS || jobs.len() >= MAX_DELETIONS_PER_STEP {
                next = Some(job.id);
                break;
            }
            if job.queue == queue {
                jobs.push((slot, job.id));
            }
        }
        for (slot, _) in &jobs {
            self.index.unplace(&self.ledger, *slot, now.engine);
        }
        if !jobs.is_empty() {
            let jobs = jobs.into_iter().map(|(_, id)| id).collect();
            self.record(Mutation::Purged { jobs }, now, effects);
            // They go with the queue, and not in time.
            drop(self.ledger.take_emptied());
        }
        match next {
            Some(next) => self.clearing = Some((queue, next)),
            None => self.forget_queue(queue, now, effects),
        }
    }

    fn forget_queue(&mut self, queue: QueueId, now: Now, effects: &mut Effects) {
        let batches: Vec<_> = self.ledger.batches.of_queue(queue).map(|(name, _)| name.clone()).collect();
        if !batches.is_empty() {
            self.record(Mutation::BatchesForgotten { queue, batches }, now, effects);
        }
        let sets: Vec<u128> =
            self.ledger.drains().filter(|drain| drain.queue == queue).map(|drain| drain.request.id).collect();
        for set in sets {
            self.record(Mutation::DrainForgotten { set }, now, effects);
        }
        self.index.close(queue);
        self.stirred.retain(|stirred| *stirred != queue);
        self.record(Mutation::QueueForgotten { queue }, now, effects);
        self.clearing = None;
    }
}
