//! What is at rest is forgotten in time: completed jobs by age and bytes, dead and drained ones by age.

use std::collections::BTreeSet;

use crate::bound::MAX_FORGET_PER_STEP;
use crate::engine::desk::{Buried, Forgettable};
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId};
use crate::job::JobState;
use crate::mutation::Mutation;
use crate::time::{Now, Timestamp};

/// Queues by when the next thing in their history may go.
#[derive(Default)]
pub(crate) struct Forgetting(BTreeSet<(Timestamp, QueueId)>);

impl Forgetting {
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(time, _)| *time)
    }

    fn first_due(&self, now: Timestamp) -> Option<QueueId> {
        self.0.first().filter(|(time, _)| *time <= now).map(|(_, queue)| *queue)
    }

    pub(crate) fn set(&mut self, queue: QueueId, before: Option<Timestamp>, next: Option<Timestamp>) {
        if before == next {
            return;
        }
        if let Some(time) = before {
            self.0.remove(&(time, queue));
        }
        if let Some(time) = next {
            self.0.insert((time, queue));
        }
    }
}

impl Engine {
    /// Forgets what may go by now. A step that finishes many jobs may forget twice as many, so that
    /// history never falls behind.
    pub(super) fn forget(&mut self, now: Now, effects: &mut Effects) {
        let mut budget = MAX_FORGET_PER_STEP + 2 * effects.mutations.len();
        while budget > 0
            && let Some(queue) = self.index.forget.first_due(now.engine)
        {
            let (mut jobs, mut batches) = (Vec::new(), Vec::new());
            while budget > 0
                && let Some(next) = self.pop_forgettable(queue, now.engine)
            {
                budget -= 1;
                match next {
                    Forgettable::Finished(end, id) => {
                        if self.is_at_rest_since(id, end, JobState::is_finished) {
                            let slot = self.ledger.jobs.slot(id).expect("it is at rest");
                            self.index.unplace(&self.ledger, slot, now.engine);
                            jobs.push(id);
                        }
                    }
                    Forgettable::Buried(end, Buried::Job(id)) => {
                        if self.is_at_rest_since(id, end, JobState::is_buried) {
                            jobs.push(id);
                        }
                    }
                    Forgettable::Buried(end, Buried::Drain(set)) => {
                        // Its name may stand for another set by now, when its queue was deleted.
                        if self
                            .ledger
                            .drain(set)
                            .is_some_and(|drain| (drain.queue, drain.time) == (queue, end))
                        {
                            self.record(Mutation::DrainForgotten { set }, now, effects);
                        }
                    }
                    Forgettable::Batch(end, batch) => {
                        let known = &self.ledger.batches;
                        if known.is_empty(batch) && known.record(batch).change_time == end {
                            batches.push(known.record(batch).name.clone());
                        }
                    }
                }
            }
            if !jobs.is_empty() {
                self.record(Mutation::Forgotten { jobs }, now, effects);
                effects.touch(queue);
                self.note_emptied_batches();
            }
            if !batches.is_empty() {
                self.record(Mutation::BatchesForgotten { queue, batches }, now, effects);
            }
            self.rearm_forget(queue);
        }
    }

    /// Batches whose last job went are forgotten in time.
    pub(super) fn note_emptied_batches(&mut self) {
        for batch in self.ledger.take_emptied() {
            let record = self.ledger.batches.record(batch);
            let (queue, time) = (record.queue, record.change_time);
            self.index.desk(queue).empty_batch(time, batch);
            self.rearm_forget(queue);
        }
    }

    pub(super) fn next_forget(&self) -> Option<Timestamp> {
        self.index.forget.next()
    }

    /// The history or the settings of a queue changed: when is the next to go?
    pub(super) fn rearm_forget(&mut self, queue: QueueId) {
        let settings = &self.ledger.queue(queue).record.settings;
        let desk = self.index.desks.get_mut(&queue).expect("every queue has a desk");
        let next = desk.next_forget(settings);
        self.index.forget.set(queue, desk.forget_at, next);
        desk.forget_at = next;
    }

    fn pop_forgettable(&mut self, queue: QueueId, now: Timestamp) -> Option<Forgettable> {
        let settings = &self.ledger.queue(queue).record.settings;
        self.index.desks.get_mut(&queue)?.pop_forgettable(settings, now)
    }

    /// Whether a history's entry still speaks of this life of the job.
    fn is_at_rest_since(&self, id: JobId, end: Timestamp, of_kind: impl Fn(JobState) -> bool) -> bool {
        self.ledger.jobs.get(id).is_some_and(|job| of_kind(job.state) && job.due == end.0)
    }
}
