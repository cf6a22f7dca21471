//! Workers settle what they leased: done, given back, or not yet.

use crate::command::{Ack, Extension, Nack, NackReason};
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, LeaseToken, QueueId};
use crate::job::{Due, JobError, JobState};
use crate::ledger::jobs::{Job, Slot};
use crate::mutation::{Mutation, Next, ReturnCause, Settlement};
use crate::outcome::{Answer, Extended, ItemRefusal, Nacked, Outcome};
use crate::time::{Now, Span, Timestamp};

/// What a token proves.
enum Claim {
    /// This delivery is the present one.
    Holds(Slot),
    /// This delivery was settled by its worker before.
    Settled(Slot),
}

impl Engine {
    pub(super) fn ack(&mut self, acks: Vec<Ack>, now: Now, effects: &mut Effects) -> Answer {
        // Acks of one call are of one queue nearly always: what is done for a queue is done once for a run.
        let mut run: Option<(QueueId, usize)> = None;
        let mut results = Vec::with_capacity(acks.len());
        for ack in acks {
            let result = match self.claim(ack.id, ack.token) {
                Ok(Claim::Holds(slot)) => {
                    self.settle_cost(slot, ack.actual_cost, now, effects);
                    let queue = self.ledger.jobs.at(slot).queue;
                    self.land(slot, now);
                    let delivery = self.delivery(slot);
                    self.room.stir(self.ledger.jobs.at(slot), &self.ledger.keys);
                    self.index.unplace(&self.ledger, slot, now.engine);
                    self.record(Mutation::Acked { id: ack.id, result: ack.result }, now, effects);
                    self.index.place(&self.ledger, slot, now.engine);
                    self.note(delivery, None, now, effects);
                    match &mut run {
                        Some((of, count)) if *of == queue => *count += 1,
                        other => {
                            let before = other.replace((queue, 1));
                            self.end_run(before, now, effects);
                        }
                    }
                    Ok(())
                }
                Ok(Claim::Settled(slot)) if self.ledger.jobs.at(slot).state == JobState::Completed => Ok(()),
                Ok(Claim::Settled(_)) => Err(ItemRefusal::LeaseLost),
                Err(refusal) => Err(refusal),
            };
            results.push(result);
        }
        self.end_run(run, now, effects);
        Ok(Outcome::Acked(results))
    }

    /// So many jobs of a queue were acked.
    fn end_run(&mut self, run: Option<(QueueId, usize)>, now: Now, effects: &mut Effects) {
        if let Some((queue, count)) = run {
            self.index.desk(queue).rates_mut().count(Event::Acked, count, now.engine);
            self.rearm_forget(queue);
            effects.touch(queue);
        }
    }

    pub(super) fn nack(&mut self, nacks: Vec<Nack>, now: Now, effects: &mut Effects) -> Answer {
        let one = |nack: Nack| match self.claim(nack.id, nack.token)? {
            Claim::Holds(slot) => {
                // Before anything changes: it may name what is not there.
                let is_throttled = nack.reason == NackReason::Throttled;
                let named = if is_throttled { self.throttled_node(&nack, slot)? } else { None };
                self.settle_cost(slot, nack.actual_cost, now, effects);
                if is_throttled {
                    self.throttle(slot, named, nack.retry_after, now, effects);
                }
                let (cause, next) = self.next_after(&nack, slot, now);
                self.give_back(slot, cause, next, nack.error, now, effects);
                Ok(nacked(self.ledger.jobs.at(slot), now))
            }
            Claim::Settled(slot) if self.ledger.jobs.at(slot).nacked => {
                Ok(nacked(self.ledger.jobs.at(slot), now))
            }
            Claim::Settled(_) => Err(ItemRefusal::LeaseLost),
        };
        Ok(Outcome::Nacked(nacks.into_iter().map(one).collect()))
    }

    /// A job cost something else than was reserved for it, where that counts: gates on its way may close, or open.
    fn settle_cost(&mut self, slot: Slot, actual: Option<u32>, now: Now, effects: &mut Effects) {
        let job = self.ledger.jobs.at(slot);
        let (queue, id, reserved) = (job.queue, job.key, job.cost().get());
        let Some((actual, charged)) = actual.zip(job.charged()) else { return };
        if actual == reserved || !self.ledger.counts_cost(queue, id) {
            return;
        }
        let settlement = Settlement { key: self.ledger.keys.text(id).clone(), charged, reserved, actual };
        self.record(Mutation::Settled { queue, settlement }, now, effects);
        self.index.relook(&self.ledger, queue, id, now.engine);
        self.acquires.stir_all();
    }

    pub(super) fn extend(&mut self, extensions: Vec<Extension>, now: Now, effects: &mut Effects) -> Answer {
        let one = |extension: Extension| match self.claim(extension.id, extension.token)? {
            Claim::Holds(slot) => Ok(self.extend_one(slot, extension.lease_duration, now, effects)),
            Claim::Settled(_) => Err(ItemRefusal::LeaseLost),
        };
        Ok(Outcome::Extended(extensions.into_iter().map(one).collect()))
    }

    fn extend_one(
        &mut self,
        slot: Slot,
        duration: Option<Span>,
        now: Now,
        effects: &mut Effects,
    ) -> Extended {
        let job = self.ledger.jobs.at(slot);
        let (id, cancel_requested) = (job.id, job.cancel_requested);
        let settings = &self.ledger.queue(job.queue).record.settings;
        let expire = now.engine + duration.unwrap_or(settings.lease_duration);
        self.index.unplace(&self.ledger, slot, now.engine);
        self.record(Mutation::Extended { id, expire }, now, effects);
        self.index.place(&self.ledger, slot, now.engine);
        Extended { expire_time: now.wall_at(expire), cancel_requested }
    }

    /// A lease that ended without a word.
    pub(super) fn expire(&mut self, slot: Slot, now: Now, effects: &mut Effects) {
        let error = JobError {
            code: "LEASE_EXPIRED".into(),
            message: "the lease expired before its worker settled the job".into(),
        };
        let next =
            self.next_unless_over(slot, now).unwrap_or_else(|| self.next_after_failure(slot, None, now));
        self.give_back(slot, ReturnCause::Expired, next, Some(Box::new(error)), now, effects);
    }

    fn give_back(
        &mut self,
        slot: Slot,
        cause: ReturnCause,
        next: Next,
        error: Option<Box<JobError>>,
        now: Now,
        effects: &mut Effects,
    ) {
        if cause != ReturnCause::Released {
            self.land(slot, now);
        }
        let delivery = self.delivery(slot);
        let job = self.ledger.jobs.at(slot);
        let (id, queue) = (job.id, job.queue);
        if matches!(next, Next::Dead | Next::Cancelled | Next::Expired) {
            self.room.stir(job, &self.ledger.keys);
        }
        self.index.unplace(&self.ledger, slot, now.engine);
        self.record(Mutation::Returned { id, cause, next, error }, now, effects);
        self.index.place(&self.ledger, slot, now.engine);
        self.note(delivery, Some(cause), now, effects);
        match next {
            Next::Ready => self.stir(queue),
            Next::Dead | Next::Cancelled | Next::Expired => self.rearm_forget(queue),
            Next::Retry(_) => {}
        }
        if cause.spends_attempt() {
            self.index.desk(queue).rates_mut().count(Event::Failed, 1, now.engine);
        }
        effects.touch(queue);
    }

    /// A job comes back that its worker had in hand: how long that was is known.
    fn land(&mut self, slot: Slot, now: Now) {
        let job = self.ledger.jobs.at(slot);
        if let Some(start) = job.detail.as_ref().and_then(|detail| detail.start_time) {
            let (queue, flight) = (job.queue, now.wall.since(start));
            self.index.desk(queue).traffic_mut(now.engine).land(flight);
        }
    }

    fn next_after(&self, nack: &Nack, slot: Slot, now: Now) -> (ReturnCause, Next) {
        let (cause, next) = match nack.reason {
            NackReason::Failed => (ReturnCause::Failed, self.next_after_failure(slot, nack.retry_after, now)),
            // It is its node that waits.
            NackReason::Throttled => (ReturnCause::Throttled, Next::Ready),
            NackReason::Rejected => (ReturnCause::Rejected, Next::Dead),
            NackReason::Released => (ReturnCause::Released, Next::Ready),
        };
        (cause, self.next_unless_over(slot, now).unwrap_or(next))
    }

    /// Where a job goes that is not to be tried again, whatever its worker says.
    fn next_unless_over(&self, slot: Slot, now: Now) -> Option<Next> {
        let job = self.ledger.jobs.at(slot);
        if job.cancel_requested {
            return Some(Next::Cancelled);
        }
        job.expire().is_some_and(|time| time <= now.engine).then_some(Next::Expired)
    }

    fn next_after_failure(&self, slot: Slot, retry_after: Option<Span>, now: Now) -> Next {
        let job = self.ledger.jobs.at(slot);
        let policy = self.policy(job);
        let attempts = u32::from(job.attempts) + 1;
        if attempts >= policy.max_attempts {
            return Next::Dead;
        }
        retry(now.engine, retry_after.unwrap_or_else(|| policy.backoff(job.id, attempts)))
    }

    fn claim(&self, id: JobId, token: LeaseToken) -> Result<Claim, ItemRefusal> {
        let slot = self.ledger.jobs.slot(id).ok_or(ItemRefusal::JobNotFound)?;
        let job = self.ledger.jobs.at(slot);
        if self.ledger.queue(job.queue).record.deleted {
            return Err(ItemRefusal::JobNotFound);
        }
        if u64::from(job.deliveries) != token.0 || token.0 == 0 {
            return Err(ItemRefusal::LeaseLost);
        }
        match job.state {
            JobState::Leased => Ok(Claim::Holds(slot)),
            // Others took it from where its worker left it.
            JobState::Drained | JobState::Dropped => Err(ItemRefusal::LeaseLost),
            _ => Ok(Claim::Settled(slot)),
        }
    }
}

fn retry(now: Timestamp, wait: Span) -> Next {
    if wait == Span::ZERO { Next::Ready } else { Next::Retry(now + wait) }
}

fn nacked(job: &Job, now: Now) -> Nacked {
    let run_time = match (job.state, job.due()) {
        (JobState::Retrying, Some(Due::Engine(time))) => Some(now.wall_at(time)),
        _ => None,
    };
    Nacked { state: job.state, run_time }
}
