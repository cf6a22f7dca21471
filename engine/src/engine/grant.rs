//! A lease that is being filled: job by job, for whether the next may go depends on the ones before.

use std::sync::Arc;

use crate::command::Lease;
use crate::engine::doors::Doors;
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, LeaseToken, QueueId};
use crate::job::{Attempt, JobError, LeasedJob};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::{Job, Slot};
use crate::ledger::{Queue, Uncovered};
use crate::mutation::{Charge, Mutation};
use crate::name::Key;
use crate::outcome::Leased;
use crate::time::{Now, Span, Timestamp};
use crate::tree::Next;

/// What an answer spends on an attempt besides its texts, at most.
const ATTEMPT_OVERHEAD: usize = 64;

/// What a lease gets.
pub(super) struct Grant {
    queue: QueueId,
    worker: Arc<str>,
    lease_duration: Span,
    expire: Timestamp,
    max_jobs: usize,
    max_bytes: usize,
    /// What the queue's name takes of the answer, for each job.
    name_bytes: usize,
    bytes: usize,
    slots: Vec<Slot>,
    ids: Vec<JobId>,
    charges: Vec<Charge>,
}

impl Grant {
    /// Nothing yet.
    pub(super) fn new(lease: &Lease, queue: &Queue, now: Timestamp) -> Grant {
        let lease_duration = lease.lease_duration.unwrap_or(queue.record.settings.lease_duration);
        Grant {
            queue: queue.record.id,
            worker: lease.worker.clone(),
            lease_duration,
            expire: now + lease_duration,
            max_jobs: lease.max_jobs as usize,
            max_bytes: lease.max_bytes,
            name_bytes: lease.queue.len(),
            bytes: 0,
            slots: Vec::new(),
            ids: Vec::new(),
            charges: Vec::new(),
        }
    }

    /// Whether it has as many jobs as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.max_jobs
    }

    /// Jobs of one key are charged together.
    fn charge(&mut self, key: &Key, cost: u64) {
        match self.charges.last_mut() {
            Some(last) if last.key == *key => {
                last.jobs += 1;
                last.cost += cost;
            }
            _ => self.charges.push(Charge { key: key.clone(), jobs: 1, cost }),
        }
    }
}

impl Engine {
    /// The job goes out with this lease: LEASED, and charged to the limits it went through. Whether it fitted the
    /// answer: the first always does.
    pub(super) fn fill(&mut self, grant: &mut Grant, next: Next, now: Now) -> bool {
        let job = self.ledger.jobs.at(next.slot);
        let (id, key, cost) = (job.id, job.key, u64::from(job.cost().get()));
        let bytes = self.answer_bytes(job) + grant.name_bytes;
        if grant.bytes + bytes > grant.max_bytes && !grant.slots.is_empty() {
            return false;
        }
        grant.bytes += bytes;
        grant.ids.push(id);
        grant.slots.push(next.slot);
        let leaf = self.index.tree.take(next, &Doors::new(&self.ledger, now.engine));
        self.index.unplace_popped(&self.ledger, next.slot);
        self.ledger.lease(id, grant.expire, &grant.worker, now, &Uncovered);
        let mut are_open = true;
        if self.ledger.queue(grant.queue).is_limited() {
            are_open = self.ledger.charge(Spot { queue: grant.queue, key }, 1, cost, now.engine);
            grant.charge(self.ledger.keys.text(key), cost);
        }
        let doors = Doors::of(&self.ledger, grant.queue, now.engine);
        if next.bypasses_limits() {
            let node = self.index.desk(grant.queue).node;
            self.index.tree.bypassed(node, key, &doors);
        } else {
            self.index.tree.served(leaf, are_open, &doors);
        }
        true
    }

    /// What a lease got, said in mutations and made ready for its worker.
    pub(super) fn hand_over(&mut self, grant: Grant, now: Now, effects: &mut Effects) -> Leased {
        let Grant { queue, worker, lease_duration, expire, slots, ids, charges, .. } = grant;
        if slots.is_empty() {
            return Leased::default();
        }
        effects.mutations.push(Mutation::Leased { jobs: ids, expire, worker });
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
}
