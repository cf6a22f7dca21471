//! People take jobs out, give them a new life, or remove them: drain, requeue, purge.

use crate::bound::MAX_SPAN;
use crate::command::{Drain, Requeue, Sweep};
use crate::engine::desk::Buried;
use crate::engine::doors::{Doors, Opened};
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobState};
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Drained, Outcome, Refusal};
use crate::time::{Now, Span};

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
        self.room.stir_all(queue);
        self.index.desk(queue).bury(now.engine, Buried::Drain(set));
        self.rearm_forget(queue);
        effects.touch(queue);
        Ok(Outcome::Drained(Drained { set, total }))
    }

    /// Takes from their places: READY jobs in order of dispatch, then the others by run time.
    fn take_waiting(&mut self, queue: QueueId, max_jobs: usize, now: Now) -> Vec<Slot> {
        let node = self.index.desk(queue).node;
        let mut slots = Vec::new();
        // No limit holds back what leaves this way.
        let is_limited = self.ledger.queue(queue).is_limited();
        let opened = Opened(Doors::of(&self.ledger, queue, now.engine));
        if is_limited {
            self.index.tree.hang(node, None, &opened);
            self.index.tree.relook_all(node, &opened);
        }
        while slots.len() < max_jobs
            && let Some(next) = self.index.tree.next(node, &opened)
        {
            let leaf = self.index.tree.take(next, &opened);
            self.index.tree.served(leaf, true, &opened);
            self.index.unplace_popped(&self.ledger, next.slot);
            slots.push(next.slot);
        }
        if is_limited {
            self.index.tree.relook_all(node, &opened.0);
            self.index.follow_limit(&self.ledger, queue, now.engine);
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

    pub(super) fn requeue(&mut self, requeue: Requeue, now: Now, effects: &mut Effects) -> Answer {
        let (queue, slots) = self.chosen(&requeue.sweep, JobState::is_requeueable)?;
        let mut wait = Span::ZERO;
        for slot in &slots {
            let id = self.ledger.jobs.at(*slot).id;
            let mutation = match wait {
                Span::ZERO => Mutation::Requeued { id, sequence: self.next_serial() },
                wait => Mutation::RequeuedLater { id, time: now.engine + wait },
            };
            self.index.unplace(&self.ledger, *slot, now.engine);
            self.record(mutation, now, effects);
            self.index.place(&self.ledger, *slot, now.engine);
            wait = Span(wait.0.saturating_add(requeue.interval.0)).min(MAX_SPAN);
        }
        self.stir(queue);
        effects.touch(queue);
        Ok(swept(slots.len()))
    }

    pub(super) fn purge(&mut self, sweep: Sweep, now: Now, effects: &mut Effects) -> Answer {
        let (queue, slots) = self.chosen(&sweep, |state| state != JobState::Leased)?;
        let mut jobs = Vec::with_capacity(slots.len());
        for slot in &slots {
            self.room.stir(self.ledger.jobs.at(*slot), &self.ledger.keys);
            self.index.unplace(&self.ledger, *slot, now.engine);
            jobs.push(self.ledger.jobs.at(*slot).id);
        }
        if !jobs.is_empty() {
            self.record(Mutation::Purged { jobs }, now, effects);
            self.note_emptied_batches();
            self.index.relook_slots(&self.ledger, queue, now.engine);
            effects.touch(queue);
        }
        Ok(swept(slots.len()))
    }

    /// Of the jobs that were chosen those that still are what they were chosen for, in a state `allowed`; each
    /// once.
    fn chosen(
        &self,
        sweep: &Sweep,
        allowed: impl Fn(JobState) -> bool,
    ) -> Result<(QueueId, Vec<Slot>), Refusal> {
        let queue = self.ledger.find_queue(&sweep.queue).ok_or(Refusal::QueueNotFound)?.record.id;
        let mut slots = Vec::with_capacity(sweep.jobs.len());
        let mut last = None;
        for id in &sweep.jobs {
            // They come in order, as they were found.
            if last.replace(*id) >= Some(*id) {
                continue;
            }
            let Some(slot) = self.ledger.jobs.slot(*id) else { continue };
            let job = self.ledger.jobs.at(slot);
            if job.queue == queue && sweep.states.contains(job.state) && allowed(job.state) {
                slots.push(slot);
            }
        }
        Ok((queue, slots))
    }
}

fn swept(changed: usize) -> Outcome {
    Outcome::Swept(u32::try_from(changed).expect("sweeps are bounded"))
}
