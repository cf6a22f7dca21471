//! What time brings: waiting jobs become ready, leases expire.

use crate::bound::MAX_WAKES_PER_STEP;
use crate::engine::{Effects, Engine};
use crate::job::JobState;
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::time::{Now, Span, Timestamp};

/// While a job waits for a time of day, the wall clock is looked at this often: somebody may set it.
const WALL_LOOK: Span = Span::from_secs(1);

impl Engine {
    pub(super) fn wake_due(&mut self, now: Now, effects: &mut Effects) {
        let mut budget = MAX_WAKES_PER_STEP;
        self.expire_waiting(&mut budget, now, effects);
        while budget > 0
            && let Some(slot) = self.index.due_by_wall.pop_due(now.wall.0)
        {
            self.promote(slot, now, effects);
            budget -= 1;
        }
        while budget > 0
            && let Some(slot) = self.index.due.pop_due(now.engine.0)
        {
            if self.ledger.jobs.at(slot).state == JobState::Leased {
                self.expire(slot, now, effects);
            } else {
                self.promote(slot, now, effects);
            }
            budget -= 1;
        }
    }

    pub(super) fn next_due(&self, now: Now) -> Option<Timestamp> {
        let by_wall = self.index.due_by_wall.next().map(|time| {
            let wait = Span(time.saturating_sub(now.wall.0)).min(WALL_LOOK);
            now.engine + wait
        });
        let by_engine = self.index.due.next().map(Timestamp);
        let expiry = self.index.expiries.next().map(Timestamp);
        [by_wall, by_engine, expiry].into_iter().flatten().min()
    }

    /// Waiting jobs whose time to live has passed.
    pub(super) fn expire_waiting(&mut self, budget: &mut usize, now: Now, effects: &mut Effects) {
        let (mut slots, mut jobs) = (Vec::new(), Vec::new());
        while *budget > 0
            && let Some(slot) = self.index.expiries.pop_due(now.engine.0)
        {
            let job = self.ledger.jobs.at(slot);
            jobs.push(job.id);
            slots.push(slot);
            self.room.stir(job, &self.ledger.keys);
            self.index.unplace(&self.ledger, slot, now.engine);
            *budget -= 1;
        }
        if jobs.is_empty() {
            return;
        }
        self.record(Mutation::Expired { jobs }, now, effects);
        for slot in slots {
            self.index.place(&self.ledger, slot, now.engine);
            let queue = self.ledger.jobs.at(slot).queue;
            self.rearm_forget(queue);
            effects.touch(queue);
        }
    }

    fn promote(&mut self, slot: Slot, now: Now, effects: &mut Effects) {
        let job = self.ledger.jobs.at(slot);
        let (id, queue) = (job.id, job.queue);
        // Who has been ready before goes back to its place.
        let sequence = if job.sequence == 0 { self.next_serial() } else { job.sequence };
        self.index.unplace(&self.ledger, slot, now.engine);
        self.record(Mutation::Promoted { id, sequence }, now, effects);
        self.index.place(&self.ledger, slot, now.engine);
        self.stir(queue);
        effects.touch(queue);
    }
}
