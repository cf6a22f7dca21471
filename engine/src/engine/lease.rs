//! Jobs go out.

use std::sync::Arc;

use crate::bound::{MAX_WAITING_LEASES, MAX_WAKES_PER_STEP};
use crate::command::Lease;
use crate::engine::doors::Doors;
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{LeaseToken, QueueId, Ticket};
use crate::job::{Attempt, JobError, LeasedJob};
use crate::ledger::Uncovered;
use crate::ledger::jobs::Job;
use crate::mutation::{Charge, Mutation};
use crate::outcome::{Leased, Outcome, Refusal};
use crate::time::{Now, Span, Timestamp};
use crate::tree::Next;

/// How long a worker is asked to wait at least, and at most, before it polls an empty queue again.
const POLL_AGAIN: std::ops::RangeInclusive<Span> = Span::from_millis(10)..=Span::from_secs(1);

/// What an answer spends on an attempt besides its texts, at most.
const ATTEMPT_OVERHEAD: usize = 64;

impl Engine {
    pub(super) fn lease(&mut self, ticket: Ticket, lease: Lease, now: Now, effects: &mut Effects) {
        let queue = self.ledger.find_queue(&lease.queue).map(|queue| queue.record.id);
        if queue.is_none() && self.config.strict_queues {
            return effects.answers.push((ticket, Err(Refusal::QueueNotFound)));
        }
        if let Some(queue) = queue {
            // While nobody waits, nobody wakes what a limit held back.
            self.index.tree.wake(MAX_WAKES_PER_STEP, &Doors::new(&self.ledger, now.engine));
            // Who waits longer is served first.
            self.serve(queue, now, effects);
            let leased = self.grant(&lease, queue, now, effects);
            if !leased.jobs.is_empty() {
                return effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
            }
        }
        if lease.wait == Span::ZERO {
            let retry_after = Some(self.poll_again(now));
            let leased = Leased { jobs: Vec::new(), retry_after };
            return effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
        }
        if self.waiting.len() >= MAX_WAITING_LEASES {
            return effects.answers.push((ticket, Err(Refusal::TooManyWaiting)));
        }
        let timeout = now.engine + lease.wait;
        self.waiting.add(ticket, lease, timeout);
        if let Some(queue) = queue {
            effects.touch(queue);
        }
    }

    /// Gives waiting leases what became ready, and an empty answer to those whose time has passed.
    pub(super) fn serve_waiting(&mut self, now: Now, effects: &mut Effects) {
        self.stirred.extend(self.index.tree.take_roused());
        for queue in std::mem::take(&mut self.stirred) {
            self.serve(queue, now, effects);
        }
        while let Some((ticket, lease)) = self.waiting.pop_timed_out(now.engine) {
            // It waited: asking again at once makes sense.
            let leased = Leased { jobs: Vec::new(), retry_after: Some(Span::ZERO) };
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
            if let Some(queue) = self.ledger.find_queue(&lease.queue) {
                effects.touch(queue.record.id);
            }
        }
    }

    fn serve(&mut self, queue: QueueId, now: Now, effects: &mut Effects) {
        // It may have been deleted, even forgotten, since a job in it became ready.
        if !self.ledger.is_open(queue) || self.ledger.queue(queue).record.settings.paused {
            return;
        }
        while let Some(ticket) = self.waiting.first(&self.ledger.queue(queue).record.name)
            && self.next_job(queue, now).is_some()
            && let Some(lease) = self.waiting.take(ticket)
        {
            let leased = self.grant(&lease, queue, now, effects);
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
        }
    }

    /// The job of a queue that may go now.
    fn next_job(&mut self, queue: QueueId, now: Now) -> Option<Next> {
        let node = self.index.desk(queue).node;
        self.index.tree.next(node, &Doors::of(&self.ledger, queue, now.engine))
    }

    /// Leases what is ready, as much as was asked for and fits the answer.
    fn grant(&mut self, lease: &Lease, queue: QueueId, now: Now, effects: &mut Effects) -> Leased {
        let settings = &self.ledger.queue(queue).record.settings;
        if settings.paused {
            return Leased::default();
        }
        let lease_duration = lease.lease_duration.unwrap_or(settings.lease_duration);
        let expire = now.engine + lease_duration;
        let name_bytes = lease.queue.len();
        let (mut slots, mut ids, mut charges) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        while slots.len() < lease.max_jobs as usize
            && let Some(next) = self.next_job(queue, now)
        {
            let job = self.ledger.jobs.at(next.slot);
            bytes += self.answer_bytes(job) + name_bytes;
            if bytes > lease.max_bytes && !slots.is_empty() {
                break;
            }
            ids.push(job.id);
            slots.push(next.slot);
            self.send(next, queue, expire, &lease.worker, now, &mut charges);
        }
        if slots.is_empty() {
            return Leased::default();
        }
        // They were leased and charged one by one: whether the next may go depends on it.
        effects.mutations.push(Mutation::Leased { jobs: ids, expire, worker: lease.worker.clone() });
        if !charges.is_empty() {
            effects.mutations.push(Mutation::Charged { queue, charges });
        }
        let mut jobs = Vec::with_capacity(slots.len());
        for slot in slots {
            self.index.place(&self.ledger, slot, now.engine);
            let job = self.ledger.jobs.at(slot);
            let token = LeaseToken(u64::from(job.deliveries));
            jobs.push(LeasedJob { job: self.view(job, now), token, lease_duration });
        }
        let desk = self.index.desk(queue);
        desk.rates_mut().count(Event::Dispatched, jobs.len(), now.engine);
        desk.traffic_mut(now.engine).dispatch(jobs.len(), now.engine);
        effects.touch(queue);
        Leased { jobs, retry_after: None }
    }

    /// A job goes out: LEASED, and charged to the limits it went through.
    fn send(
        &mut self,
        next: Next,
        queue: QueueId,
        expire: Timestamp,
        worker: &Arc<str>,
        now: Now,
        charges: &mut Vec<Charge>,
    ) {
        let leaf = self.index.tree.take(next, &Doors::new(&self.ledger, now.engine));
        self.index.unplace_popped(&self.ledger, next.slot);
        let job = self.ledger.jobs.at(next.slot);
        let (id, key, cost) = (job.id, job.key, u64::from(job.cost().get()));
        self.ledger.lease(id, expire, worker, now, &Uncovered);
        if self.ledger.queue(queue).is_limited() {
            self.ledger.charge(queue, key, 1, cost, now.engine);
            let key = self.ledger.keys.text(key);
            match charges.last_mut() {
                Some(last) if last.key == *key => {
                    last.jobs += 1;
                    last.cost += cost;
                }
                _ => charges.push(Charge { key: key.clone(), jobs: 1, cost }),
            }
        }
        self.index.tree.served(leaf, &Doors::of(&self.ledger, queue, now.engine));
    }

    /// What a job takes of an answer, at most.
    fn answer_bytes(&self, job: &Job) -> usize {
        let told = job.detail.as_ref().map_or(0, |detail| {
            let of = |error: &JobError| error.code.len() + error.message.len();
            let attempt = |attempt: &Attempt| {
                ATTEMPT_OVERHEAD + attempt.worker.len() + attempt.error.as_deref().map_or(0, of)
            };
            detail.error.as_deref().map_or(0, of) + detail.history.iter().map(attempt).sum::<usize>()
        });
        let batch = self.ledger.batches.name(job.batch).map_or(0, |name| name.len());
        job.bytes as usize + self.ledger.keys.text(job.key).len() + batch + told + Lease::JOB_OVERHEAD
    }

    /// When a job that waits for its time, or for a limit, may be ready, within reason.
    fn poll_again(&self, now: Now) -> Span {
        let next = [self.next_due(now), self.index.tree.next_wake()].into_iter().flatten().min();
        let wait = next.map_or(*POLL_AGAIN.end(), |time| time.since(now.engine));
        wait.clamp(*POLL_AGAIN.start(), *POLL_AGAIN.end())
    }

    /// When a limit lets something through, if that matters to anybody.
    pub(super) fn next_parked(&self) -> Option<Timestamp> {
        if self.waiting.len() == 0 {
            return None;
        }
        // Where a search ended before its end, it goes on at once: what may go can be behind any number of gates.
        let unfinished = self.index.tree.is_roused().then_some(Timestamp(0));
        unfinished.or_else(|| self.index.tree.next_wake())
    }
}
