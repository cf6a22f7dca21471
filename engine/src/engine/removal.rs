//! People take jobs out, give them a new life, or remove them: drain, requeue, purge.

use crate::bound::MAX_SWEEP_JOBS;
use crate::command::{Drain, Sweep};
use crate::engine::desk::Buried;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobState};
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Drained, Outcome, Refusal, Swept};
use crate::time::Now;

impl Engine {
    pub(super) fn drain(&mut self, drain: Drain, now: Now, effects: &mut Effects) -> Answer {
        let set = drain.request.id;
        if let Some(known) = self.ledger.drain(set) {
            if known.request != drain.request {
                return Err(Refusal::RequestIdReused);
            }
            return Ok(Outcome::Drained(Drained { set, total: known.jobs.len() as u64 }));
        }
        let Some(queue) = self.ledger.find_queue(&drain.queue).map(|queue| queue.record.id) else {
            if self.config.strict_queues {
                return Err(Refusal::QueueNotFound);
            }
            return Ok(Outcome::Drained(Drained { set, total: 0 }));
        };
        let slots = self.take_waiting(queue, drain.max_jobs as usize, now);
        let jobs: Vec<JobId> = slots.iter().map(|slot| self.ledger.jobs.at(*slot).id).collect();
        let total = jobs.len() as u64;
        self.record(Mutation::Drained { queue, request: drain.request, jobs }, now, effects);
        for slot in slots {
            self.index.place(&self.ledger, slot, now.engine);
        }
        self.index.desk(queue).bury(now.engine, Buried::Drain(set));
        self.rearm_forget(queue);
        effects.touch(queue);
        Ok(Outcome::Drained(Drained { set, total }))
    }

    /// Takes from their places: READY jobs in order of dispatch, then the others by run time.
    fn take_waiting(&mut self, queue: QueueId, max_jobs: usize, now: Now) -> Vec<Slot> {
        let node = self.index.desk(queue).node;
        let mut slots = Vec::new();
        while slots.len() < max_jobs {
            let jobs = &self.ledger.jobs;
            let Some(slot) = self.index.tree.pop(node, now.engine, |slot| jobs.at(slot).sequence) else {
                break;
            };
            self.index.unplace_popped(jobs.at(slot));
            slots.push(slot);
        }
        let mut later = Vec::new();
        for slot in self.index.due.items().chain(self.index.due_by_wall.items()) {
            let job = self.ledger.jobs.at(slot);
            if job.queue == queue && job.state != JobState::Leased {
                let run_time = match job.due() {
                    Some(Due::Wall(time)) => time,
                    Some(Due::Engine(time)) => now.wall_at(time),
                    None => now.wall,
                };
                later.push((run_time, job.id, slot));
            }
        }
        later.sort_unstable();
        later.truncate(max_jobs - slots.len());
        for (_, _, slot) in later {
            self.index.unplace(&self.ledger, slot, now.engine);
            slots.push(slot);
        }
        slots
    }

    pub(super) fn requeue(&mut self, sweep: Sweep, now: Now, effects: &mut Effects) -> Answer {
        let (queue, slots, next) = self.sweep(&sweep, JobState::is_buried)?;
        for slot in &slots {
            let id = self.ledger.jobs.at(*slot).id;
            let sequence = self.next_serial();
            self.index.unplace(&self.ledger, *slot, now.engine);
            self.record(Mutation::Requeued { id, sequence }, now, effects);
            self.index.place(&self.ledger, *slot, now.engine);
        }
        self.stir(queue);
        effects.touch(queue);
        Ok(swept(slots.len(), next))
    }

    pub(super) fn purge(&mut self, sweep: Sweep, now: Now, effects: &mut Effects) -> Answer {
        let (queue, slots, next) = self.sweep(&sweep, |state| state != JobState::Leased)?;
        let changed = slots.len();
        let mut jobs = Vec::with_capacity(changed);
        for slot in slots {
            self.index.unplace(&self.ledger, slot, now.engine);
            jobs.push(self.ledger.jobs.at(slot).id);
        }
        if !jobs.is_empty() {
            self.record(Mutation::Purged { jobs }, now, effects);
            effects.touch(queue);
        }
        Ok(swept(changed, next))
    }

    /// The jobs of one slice: those asked for that are in a state `allowed`.
    fn sweep(
        &self,
        sweep: &Sweep,
        allowed: impl Fn(JobState) -> bool,
    ) -> Result<(QueueId, Vec<Slot>, Option<JobId>), Refusal> {
        let queue = self.ledger.find_queue(&sweep.queue).ok_or(Refusal::QueueNotFound)?.record.id;
        let mut slots = Vec::new();
        for (looked_at, (slot, job)) in self.ledger.jobs.iter_from(sweep.from).enumerate() {
            if looked_at >= MAX_SWEEP_JOBS || slots.len() >= sweep.max_jobs as usize {
                return Ok((queue, slots, Some(job.id)));
            }
            if job.queue == queue && sweep.states.contains(job.state) && allowed(job.state) {
                slots.push(slot);
            }
        }
        Ok((queue, slots, None))
    }
}

fn swept(changed: usize, next: Option<JobId>) -> Outcome {
    Outcome::Swept(Swept { changed: u32::try_from(changed).expect("slices are bounded"), next })
}
