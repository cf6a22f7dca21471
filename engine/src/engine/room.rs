//! Enqueue calls that wait for room: at each place in order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use crate::bound::{MAX_WAITING_ENQUEUE_BYTES, MAX_WAITING_ENQUEUES};
use crate::command::{Enqueue, RequestKey};
use crate::engine::capacity::Place;
use crate::engine::enqueue::Admission;
use crate::engine::{Effects, Engine};
use crate::id::{QueueId, Ticket};
use crate::job::JobSpec;
use crate::ledger::jobs::Job;
use crate::ledger::keys::Keys;
use crate::name::Key;
use crate::outcome::Refusal;
use crate::time::{Now, Timestamp};

/// All that wait. Tickets grow, so their order is that of arrival.
#[derive(Default)]
pub(crate) struct WaitingRoom {
    calls: BTreeMap<Ticket, Call>,
    at: BTreeMap<Place, BTreeSet<Ticket>>,
    by_queue: BTreeMap<QueueId, usize>,
    by_timeout: BTreeSet<(Timestamp, Ticket)>,
    bytes: usize,
    by_identity: BTreeSet<(Identity, Ticket)>,
    /// Places where room may have been made since they were looked at.
    stirred: BTreeSet<Place>,
    /// Calls, first at their place or not, of which something came in meanwhile by another call.
    overtaken: BTreeSet<Ticket>,
}

/// What a later call may have in common with one that waits, so that both are not to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Job(QueueId, u128),
    Request(u128),
}

fn identities(
    queue: QueueId,
    request: Option<RequestKey>,
    jobs: &[JobSpec],
) -> impl Iterator<Item = Identity> {
    let keys = jobs.iter().filter_map(|job| job.idempotency);
    let jobs = keys.map(move |hash| Identity::Job(queue, hash));
    jobs.chain(request.map(|request| Identity::Request(request.id)))
}

struct Call {
    enqueue: Enqueue,
    place: Place,
    timeout: Timestamp,
    bytes: usize,
}

impl WaitingRoom {
    pub(crate) fn len_of(&self, queue: QueueId) -> usize {
        self.by_queue.get(&queue).copied().unwrap_or(0)
    }

    /// Whether one more may wait.
    pub(crate) fn has_space(&self, enqueue: &Enqueue) -> bool {
        self.calls.len() < MAX_WAITING_ENQUEUES
            && self.bytes + bytes_of(&enqueue.jobs) <= MAX_WAITING_ENQUEUE_BYTES
    }

    /// Whether somebody waits at a place who came before `ticket`, and is not to be passed.
    pub(crate) fn is_waited_at(&self, place: &Place, ticket: Ticket) -> bool {
        let came_before = |place: &Place| self.first(place).is_some_and(|first| first < ticket);
        came_before(place) || (!place.urgent && came_before(&Place { urgent: true, ..place.clone() }))
    }

    pub(crate) fn add(&mut self, ticket: Ticket, enqueue: Enqueue, place: Place, now: Timestamp) {
        let (timeout, bytes) = (now + enqueue.wait, bytes_of(&enqueue.jobs));
        self.put(ticket, Call { enqueue, place, timeout, bytes });
    }

    /// Whoever held the ticket is gone.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<QueueId> {
        let call = self.take(ticket)?;
        self.stir_behind(&call.place);
        Some(call.place.queue)
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.by_timeout.first().map(|(time, _)| *time)
    }

    /// A job of `queue` may have left: there may be room.
    pub(crate) fn stir(&mut self, job: &Job, keys: &Keys) {
        if self.len_of(job.queue) == 0 {
            return;
        }
        let keys = keys.chain(job.key).map(|key| keys.text(key).clone());
        for key in std::iter::once(Key::default()).chain(keys) {
            self.stir_place(Place { queue: job.queue, key: key.clone(), urgent: false });
            self.stir_place(Place { queue: job.queue, key, urgent: true });
        }
    }

    /// Anything may have changed for those that wait in `queue`.
    pub(crate) fn stir_all(&mut self, queue: QueueId) {
        let places = self.at.keys().filter(|place| place.queue == queue);
        self.stirred.extend(places.cloned());
    }

    /// These come in: calls that wait with one of them may have nothing left to wait for.
    pub(crate) fn overtake(&mut self, queue: QueueId, request: Option<RequestKey>, jobs: &[JobSpec]) {
        if self.len_of(queue) == 0 {
            return;
        }
        for identity in identities(queue, request, jobs) {
            let same = self.by_identity.range((identity, Ticket(0))..=(identity, Ticket(u64::MAX)));
            self.overtaken.extend(same.map(|(_, ticket)| *ticket));
        }
    }

    /// Somebody left a place: who stood behind may fit where that one did not.
    fn stir_behind(&mut self, place: &Place) {
        self.stir_place(place.clone());
        if place.urgent {
            self.stir_place(Place { urgent: false, ..place.clone() });
        }
    }

    fn stir_place(&mut self, place: Place) {
        if self.at.contains_key(&place) {
            self.stirred.insert(place);
        }
    }

    /// Who waits at a place and came first.
    pub(super) fn first(&self, place: &Place) -> Option<Ticket> {
        self.at.get(place)?.first().copied()
    }

    fn put(&mut self, ticket: Ticket, call: Call) {
        self.bytes += call.bytes;
        self.by_timeout.insert((call.timeout, ticket));
        *self.by_queue.entry(call.place.queue).or_default() += 1;
        self.at.entry(call.place.clone()).or_default().insert(ticket);
        let Enqueue { request, jobs, .. } = &call.enqueue;
        self.by_identity
            .extend(identities(call.place.queue, *request, jobs).map(|identity| (identity, ticket)));
        self.calls.insert(ticket, call);
    }

    fn take(&mut self, ticket: Ticket) -> Option<Call> {
        let call = self.calls.remove(&ticket)?;
        self.bytes -= call.bytes;
        self.by_timeout.remove(&(call.timeout, ticket));
        for identity in identities(call.place.queue, call.enqueue.request, &call.enqueue.jobs) {
            self.by_identity.remove(&(identity, ticket));
        }
        if let Some(count) = self.by_queue.get_mut(&call.place.queue) {
            *count -= 1;
            if *count == 0 {
                self.by_queue.remove(&call.place.queue);
            }
        }
        if let Some(tickets) = self.at.get_mut(&call.place) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.at.remove(&call.place);
            }
        }
        Some(call)
    }

    fn pop_timed_out(&mut self, now: Timestamp) -> Option<(Ticket, Call)> {
        let &(time, ticket) = self.by_timeout.first()?;
        if time > now {
            return None;
        }
        self.take(ticket).map(|call| (ticket, call))
    }
}

impl Engine {
    /// Lets in who waits where room was made, and tells those whose time has passed.
    pub(super) fn serve_room(&mut self, now: Now, effects: &mut Effects) {
        self.let_in(now, effects);
        while let Some((ticket, call)) = self.room.pop_timed_out(now.engine) {
            let refusal =
                Refusal::Full { what: call.place.full(), retry_after: self.room_in(call.place.queue, now) };
            effects.answers.push((ticket, Err(refusal)));
            effects.touch(call.place.queue);
            self.room.stir_behind(&call.place);
        }
        self.let_in(now, effects);
    }

    /// Tries the first at each place where room may have been made, and who was overtaken, in order of arrival over
    /// all places: they may want the same room.
    fn let_in(&mut self, now: Now, effects: &mut Effects) {
        let mut next = BTreeMap::new();
        loop {
            for place in std::mem::take(&mut self.room.stirred) {
                if let Some(ticket) = self.room.first(&place) {
                    next.insert(ticket, place);
                }
            }
            for ticket in std::mem::take(&mut self.room.overtaken) {
                if let Some(call) = self.room.calls.get(&ticket) {
                    next.insert(ticket, call.place.clone());
                }
            }
            let Some((ticket, place)) = next.pop_first() else { break };
            if self.serve_one(ticket, &place, now, effects) {
                self.room.stir_behind(&place);
            }
        }
    }

    /// Tries who waits at `place`. Whether the first there may be tried.
    fn serve_one(&mut self, ticket: Ticket, place: &Place, now: Now, effects: &mut Effects) -> bool {
        let Some(mut call) = self.room.take(ticket) else { return false };
        effects.touch(place.queue);
        match self.admit(ticket, &mut call.enqueue, now, effects) {
            Admission::Answered(answer) => {
                effects.answers.push((ticket, answer));
                true
            }
            Admission::Blocked(at) => {
                let is_elsewhere = at != *place;
                call.place = at;
                self.room.put(ticket, call);
                is_elsewhere
            }
        }
    }

    /// Those that wait for a queue that is no more.
    pub(super) fn turn_away(&mut self, queue: QueueId, effects: &mut Effects) {
        let waiting = self.room.calls.iter().filter(|(_, call)| call.place.queue == queue);
        let tickets: Vec<Ticket> = waiting.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.room.take(ticket);
            effects.answers.push((ticket, Err(Refusal::QueueNotFound)));
        }
    }
}

fn bytes_of(jobs: &[JobSpec]) -> usize {
    jobs.iter().map(|job| size_of::<JobSpec>() + job.bytes() as usize).sum()
}
