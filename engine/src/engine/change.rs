//! Somebody thinks better of a job: cancel, update.

use crate::command::Update;
use crate::engine::{Effects, Engine};
use crate::id::JobId;
use crate::job::{Due, JobState, Start};
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::time::{Now, Span};

impl Engine {
    pub(super) fn cancel(&mut self, id: JobId, now: Now, effects: &mut Effects) -> Answer {
        let slot = self.known(id)?;
        let job = self.ledger.jobs.at(slot);
        let queue = job.queue;
        match job.state {
            JobState::Leased if job.cancel_requested => {}
            JobState::Leased => self.record(Mutation::CancelRequested { id }, now, effects),
            JobState::Cancelled => {}
            state if state.is_waiting() => {
                self.index.unplace(&self.ledger, slot, now.engine);
                self.record(Mutation::Cancelled { id }, now, effects);
                self.index.place(&self.ledger, slot, now.engine);
                self.room.stir(self.ledger.jobs.at(slot), &self.ledger.keys);
                self.rearm_forget(queue);
            }
            state => return Err(Refusal::WrongState(state)),
        }
        effects.touch(queue);
        Ok(self.changed(slot, now))
    }

    pub(super) fn update(&mut self, update: Update, now: Now, effects: &mut Effects) -> Answer {
        let slot = self.known(update.id)?;
        let job = self.ledger.jobs.at(slot);
        if !job.state.is_waiting() {
            return Err(Refusal::WrongState(job.state));
        }
        let queue = job.queue;
        let due = match update.start {
            None => job.due(),
            Some(Start::Now | Start::After(Span::ZERO)) => None,
            Some(Start::After(span)) => Some(Due::Engine(now.engine + span)),
            Some(Start::At(time)) => (time > now.wall).then_some(Due::Wall(time)),
        };
        let has_place = job.sequence != 0 || due.is_some();
        let sequence = if has_place { job.sequence } else { self.next_serial() };
        // Whoever bypasses limits is of the highest priority, whatever is said.
        let said = update.priority.filter(|_| !job.bypasses_limits());
        let priority = said.unwrap_or(job.priority);
        if (priority, due) != (job.priority, job.due()) {
            self.index.unplace(&self.ledger, slot, now.engine);
            self.record(Mutation::Updated { id: update.id, priority, due, sequence }, now, effects);
            self.index.place(&self.ledger, slot, now.engine);
            self.stir(queue);
            effects.touch(queue);
        }
        Ok(self.changed(slot, now))
    }

    /// Where a job is, if it is anybody's business.
    fn known(&self, id: JobId) -> Result<Slot, Refusal> {
        let slot = self.ledger.jobs.slot(id).ok_or(Refusal::JobNotFound)?;
        let queue = self.ledger.queue(self.ledger.jobs.at(slot).queue);
        if queue.record.deleted { Err(Refusal::JobNotFound) } else { Ok(slot) }
    }

    fn changed(&self, slot: Slot, now: Now) -> Outcome {
        Outcome::Changed(Box::new(self.view(self.ledger.jobs.at(slot), now)))
    }
}
