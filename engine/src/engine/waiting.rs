//! Lease calls that wait for a job: each queue's in order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Lease;
use crate::id::Ticket;
use crate::name::QueueName;
use crate::time::Timestamp;

/// All that wait. Tickets grow, so their order is that of arrival.
#[derive(Default)]
pub(crate) struct Waiting {
    calls: BTreeMap<Ticket, (Lease, Timestamp)>,
    by_queue: BTreeMap<QueueName, BTreeSet<Ticket>>,
    by_timeout: BTreeSet<(Timestamp, Ticket)>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn len_of(&self, queue: &QueueName) -> usize {
        self.by_queue.get(queue).map_or(0, BTreeSet::len)
    }

    pub(crate) fn add(&mut self, ticket: Ticket, lease: Lease, timeout: Timestamp) {
        self.by_queue.entry(lease.queue.clone()).or_default().insert(ticket);
        self.by_timeout.insert((timeout, ticket));
        self.calls.insert(ticket, (lease, timeout));
    }

    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Lease> {
        let (lease, timeout) = self.calls.remove(&ticket)?;
        self.by_timeout.remove(&(timeout, ticket));
        if let Some(tickets) = self.by_queue.get_mut(&lease.queue) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_queue.remove(&lease.queue);
            }
        }
        Some(lease)
    }

    pub(crate) fn first(&self, queue: &QueueName) -> Option<Ticket> {
        self.by_queue.get(queue)?.first().copied()
    }

    /// Takes the one that has waited longest.
    pub(crate) fn take_first(&mut self, queue: &QueueName) -> Option<(Ticket, Lease)> {
        let ticket = self.first(queue)?;
        self.take(ticket).map(|lease| (ticket, lease))
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.by_timeout.first().map(|(time, _)| *time)
    }

    /// The first whose time has passed.
    pub(crate) fn pop_timed_out(&mut self, now: Timestamp) -> Option<(Ticket, Lease)> {
        let &(time, ticket) = self.by_timeout.first()?;
        if time > now {
            return None;
        }
        self.take(ticket).map(|lease| (ticket, lease))
    }
}
