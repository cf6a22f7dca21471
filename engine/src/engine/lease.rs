//! Jobs go out.

use std::collections::{BTreeMap, BTreeSet};

use crate::bound::{MAX_WAITING_LEASES, MAX_WAKES_PER_STEP};
use crate::command::Lease;
use crate::engine::doors::Doors;
use crate::engine::grant::Grant;
use crate::engine::{Effects, Engine};
use crate::id::{QueueId, Ticket};
use crate::outcome::{Leased, Outcome, Refusal};
use crate::time::{Now, Span, Timestamp};
use crate::tree::{Next, NodeId};

/// How long a worker is asked to wait at least, and at most, before it polls an empty queue again.
pub(super) const POLL_AGAIN: std::ops::RangeInclusive<Span> = Span::from_millis(10)..=Span::from_secs(1);

impl Engine {
    pub(super) fn lease(&mut self, ticket: Ticket, lease: Lease, now: Now, effects: &mut Effects) {
        let queue = self.ledger.find_queue(&lease.queue).map(|queue| queue.record.id);
        if queue.is_none() && self.config.strict_queues {
            return effects.answers.push((ticket, Err(Refusal::QueueNotFound)));
        }
        if let Some(queue) = queue {
            // While nobody waits, nobody wakes what a limit held back.
            self.index.tree.wake(MAX_WAKES_PER_STEP, &Doors::new(&self.ledger, now.engine));
            if let Some(limit) = self.ledger.queue(queue).limit {
                return self.lease_under(limit, ticket, lease, queue, now, effects);
            }
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

    /// Where queues share a limit, a lease stands in line with those that wait: it may be another queue's turn.
    fn lease_under(
        &mut self,
        limit: QueueId,
        ticket: Ticket,
        lease: Lease,
        queue: QueueId,
        now: Now,
        effects: &mut Effects,
    ) {
        if self.waiting.len() >= MAX_WAITING_LEASES {
            return effects.answers.push((ticket, Err(Refusal::TooManyWaiting)));
        }
        let waits = lease.wait > Span::ZERO;
        let timeout = now.engine + lease.wait;
        self.waiting.add(ticket, lease, timeout);
        self.follow_want(queue, now);
        self.serve_shared(limit, now, effects);
        if waits {
            effects.touch(queue);
        } else if self.waiting.take(ticket).is_some() {
            self.follow_want(queue, now);
            let leased = Leased { jobs: Vec::new(), retry_after: Some(self.poll_again(now)) };
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
        }
    }

    /// Gives waiting leases what became ready, and an empty answer to those whose time has passed.
    pub(super) fn serve_waiting(&mut self, now: Now, effects: &mut Effects) {
        self.stirred.extend(self.index.tree.take_roused());
        let mut served = BTreeSet::new();
        for root in std::mem::take(&mut self.stirred) {
            let limit = self.ledger.queue_at(root).map_or(Some(root), |queue| queue.limit);
            match limit {
                Some(limit) if served.insert(limit) => self.serve_shared(limit, now, effects),
                Some(_) => {}
                None => self.serve(root, now, effects),
            }
        }
        while let Some((ticket, lease)) = self.waiting.pop_timed_out(now.engine) {
            // It waited: asking again at once makes sense.
            let leased = Leased { jobs: Vec::new(), retry_after: Some(Span::ZERO) };
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
            if let Some(queue) = self.ledger.find_queue(&lease.queue).map(|queue| queue.record.id) {
                self.follow_want(queue, now);
                effects.touch(queue);
            }
        }
    }

    /// Gives waiting leases of the queues under a shared limit what may go, until nothing does: when a lease has got what it
    /// gets its queue may be wanted no more, and what was kept for a dear job of it is free for others.
    fn serve_shared(&mut self, limit: QueueId, now: Now, effects: &mut Effects) {
        while let Some(top) = self.index.limit(limit)
            && self.serve_round(top, now, effects)
        {}
    }

    /// One job at a time: it is each queue's turn. Whether anybody got anything.
    fn serve_round(&mut self, top: NodeId, now: Now, effects: &mut Effects) -> bool {
        let (mut grants, mut is_served) = (BTreeMap::new(), false);
        while let Some(next) = self.index.tree.next(top, &Doors::new(&self.ledger, now.engine)) {
            let queue = self.ledger.jobs.at(next.slot).queue;
            if !grants.contains_key(&queue)
                && let Some((ticket, lease)) = self.waiting.take_first(&self.ledger.queue(queue).record.name)
            {
                let grant = Grant::new(&lease, self.ledger.queue(queue), now.engine);
                grants.insert(queue, (ticket, grant));
                is_served = true;
            }
            let is_full = match grants.get_mut(&queue) {
                Some((_, grant)) => !self.fill(grant, next, now) || grant.is_full(),
                None => true,
            };
            if is_full {
                self.end_grant(queue, grants.remove(&queue), now, effects);
            }
        }
        for (queue, grant) in grants {
            self.end_grant(queue, Some(grant), now, effects);
        }
        is_served
    }

    /// A lease under a shared limit has got what it gets.
    fn end_grant(&mut self, queue: QueueId, grant: Option<(Ticket, Grant)>, now: Now, effects: &mut Effects) {
        if let Some((ticket, grant)) = grant {
            let leased = self.hand_over(grant, now, effects);
            effects.answers.push((ticket, Ok(Outcome::Leased(leased))));
        }
        self.follow_want(queue, now);
    }

    /// Under a shared limit a queue has its turn only while somebody waits for its jobs.
    pub(super) fn follow_want(&mut self, queue: QueueId, now: Now) {
        let known = self.ledger.queue(queue);
        if known.limit.is_some() {
            let is_wanted = !known.record.settings.paused && self.waiting.len_of(&known.record.name) > 0;
            let node = self.index.desk(queue).node;
            self.index.tree.want(node, is_wanted, &Doors::of(&self.ledger, queue, now.engine));
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
        let known = self.ledger.queue(queue);
        if known.record.settings.paused {
            return Leased::default();
        }
        let mut grant = Grant::new(lease, known, now.engine);
        while !grant.is_full()
            && let Some(next) = self.next_job(queue, now)
            && self.fill(&mut grant, next, now)
        {}
        self.hand_over(grant, now, effects)
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
