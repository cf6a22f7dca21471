//! Jobs go out.

use crate::bound::MAX_WAITING_LEASES;
use crate::command::Lease;
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{LeaseToken, QueueId, Ticket};
use crate::job::{Attempt, JobError, LeasedJob};
use crate::ledger::jobs::Job;
use crate::mutation::Mutation;
use crate::outcome::{Leased, Outcome, Refusal};
use crate::time::{Now, Span};

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
        let node = self.index.desk(queue).node;
        while !self.index.tree.is_empty(node)
            && let Some(ticket) = self.waiting.first(&self.ledger.queue(queue).record.name)
            && let Some(lease) = self.waiting.take(ticket)
        {
            let leased = self.grant(&lease, queue, now, effects);
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
        }
    }

    /// Leases what is ready, as much as was asked for and fits the answer.
    fn grant(&mut self, lease: &Lease, queue: QueueId, now: Now, effects: &mut Effects) -> Leased {
        let node = self.index.desk(queue).node;
        let name_bytes = lease.queue.len();
        let mut slots = Vec::new();
        let mut ids = Vec::new();
        let mut bytes = 0;
        if self.ledger.queue(queue).record.settings.paused {
            return Leased::default();
        }
        while slots.len() < lease.max_jobs as usize {
            let jobs = &self.ledger.jobs;
            let Some(slot) = self.index.tree.pop(node, now.engine, |slot| jobs.at(slot).sequence) else {
                break;
            };
            let job = jobs.at(slot);
            let id = job.id;
            bytes += self.answer_bytes(job) + name_bytes;
            self.index.unplace_popped(&self.ledger, slot);
            if bytes > lease.max_bytes && !slots.is_empty() {
                self.index.place(&self.ledger, slot, now.engine);
                break;
            }
            ids.push(id);
            slots.push(slot);
        }
        if slots.is_empty() {
            return Leased::default();
        }
        let settings = &self.ledger.queue(queue).record.settings;
        let lease_duration = lease.lease_duration.unwrap_or(settings.lease_duration);
        let expire = now.engine + lease_duration;
        self.record(Mutation::Leased { jobs: ids, expire, worker: lease.worker.clone() }, now, effects);
        let mut jobs = Vec::with_capacity(slots.len());
        for slot in slots {
            self.index.place(&self.ledger, slot, now.engine);
            let job = self.ledger.jobs.at(slot);
            let token = LeaseToken(u64::from(job.deliveries));
            jobs.push(LeasedJob { job: self.view(job, now), token, lease_duration });
        }
        self.index.desk(queue).rates_mut().count(Event::Dispatched, jobs.len(), now.engine);
        effects.touch(queue);
        Leased { jobs, retry_after: None }
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

    /// When a job that waits for its time may be ready, within reason.
    fn poll_again(&self, now: Now) -> Span {
        let next = self.next_due(now).map_or(*POLL_AGAIN.end(), |time| time.since(now.engine));
        next.clamp(*POLL_AGAIN.start(), *POLL_AGAIN.end())
    }
}
