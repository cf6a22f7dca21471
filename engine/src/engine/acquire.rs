//! Tokens without a job: calls that take them, and those that wait for them.
//!
//! Calls for one node stand in a line, in order of arrival. Where jobs go through the same node, the line and the jobs
//! have turns: a call, then a job, if there is one.

use std::collections::{BTreeMap, BTreeSet};

use crate::bound::MAX_WAITING_ACQUIRES;
use crate::command::{Acquire, NodeName};
use crate::engine::lease::POLL_AGAIN;
use crate::engine::{Effects, Engine};
use crate::id::{QueueId, Ticket};
use crate::ledger::flow::Spot;
use crate::ledger::keys::KeyId;
use crate::mutation::{Charge, Mutation};
use crate::name::Key;
use crate::outcome::{Acquired, Outcome, Refusal};
use crate::time::{Now, Span, Timestamp};

/// A node: a queue's number and a key of it, or a shared limit's and none.
type Place = (QueueId, Key);

/// All calls that wait for tokens. Tickets grow, so their order is that of arrival.
#[derive(Default)]
pub(crate) struct Acquires {
    calls: BTreeMap<Ticket, Call>,
    lines: BTreeMap<Place, Line>,
    timeouts: BTreeSet<(Timestamp, Ticket)>,
    /// Whether gates may have opened since all lines were looked at, otherwise than by time.
    is_stirred: bool,
}

struct Call {
    place: Place,
    cost: u64,
    timeout: Timestamp,
}

/// Those for one node.
#[derive(Default)]
struct Line {
    tickets: BTreeSet<Ticket>,
    /// When the first is to be looked at again.
    due: Timestamp,
    turn: Turn,
}

/// Who goes first when something may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Calls,
    /// From the next step on: in this one a call had its turn.
    JobsNext,
    Jobs,
    /// A job for which the node is reserved: it is too dear for now.
    DearJob,
}

impl Acquires {
    fn add(&mut self, ticket: Ticket, call: Call) {
        self.lines.entry(call.place.clone()).or_default().tickets.insert(ticket);
        self.timeouts.insert((call.timeout, ticket));
        self.calls.insert(ticket, call);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let Some(call) = self.calls.remove(&ticket) else { return };
        self.timeouts.remove(&(call.timeout, ticket));
        if let Some(line) = self.lines.get_mut(&call.place) {
            if line.tickets.first() == Some(&ticket) {
                line.due = Timestamp(0);
            }
            line.tickets.remove(&ticket);
            if line.tickets.is_empty() {
                self.lines.remove(&call.place);
            }
        }
    }

    /// When a call is to be looked at again, or has waited enough.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        if self.is_stirred && !self.lines.is_empty() {
            return Some(Timestamp(0));
        }
        let due = self.lines.values().map(|line| line.due).min();
        due.into_iter().chain(self.timeouts.first().map(|(time, _)| *time)).min()
    }

    /// Gates may have changed otherwise than by time.
    pub(crate) fn stir_all(&mut self) {
        self.is_stirred = true;
    }

    /// Nodes whose first call is to be looked at.
    fn due(&self, now: Timestamp) -> Vec<Place> {
        self.lines.iter().filter(|(_, line)| line.due <= now).map(|(place, _)| place.clone()).collect()
    }

    fn first(&self, place: &Place) -> Option<(Ticket, u64)> {
        let ticket = *self.lines.get(place)?.tickets.first()?;
        Some((ticket, self.calls.get(&ticket)?.cost))
    }

    fn turn(&self, place: &Place) -> Option<Turn> {
        self.lines.get(place).map(|line| line.turn)
    }

    /// A call had its turn.
    fn yield_turn(&mut self, place: &Place) {
        if let Some(line) = self.lines.get_mut(place) {
            line.turn = Turn::JobsNext;
        }
    }

    /// A call that has waited long enough.
    fn pop_timed_out(&mut self, now: Timestamp) -> Option<(Ticket, Place, u64)> {
        let (time, ticket) = *self.timeouts.first()?;
        if time > now {
            return None;
        }
        let Call { place, cost, .. } = self.calls.get(&ticket)?;
        let gone = (ticket, place.clone(), *cost);
        self.remove(ticket);
        Some(gone)
    }
}

impl Engine {
    pub(super) fn acquire(&mut self, ticket: Ticket, acquire: Acquire, now: Now, effects: &mut Effects) {
        let place = match self.named(&acquire.node) {
            Ok(Some(place)) => place,
            // Nothing limits what is not there.
            Ok(None) => return effects.answers.push((ticket, Ok(acquired(None, None)))),
            Err(refusal) => return effects.answers.push((ticket, Err(refusal))),
        };
        let Acquire { cost, wait, .. } = acquire;
        // Who waits longer goes first, be it a job that is too dear for now.
        let is_first =
            !self.acquires.lines.contains_key(&place) && self.reserved_until(&place, now).is_none();
        if is_first && self.take_tokens(&place, cost, now, effects) {
            return self.answer_acquire(ticket, &place, None, now, effects);
        }
        if wait == Span::ZERO {
            let retry_after = Some(self.tokens_after(&place, cost, now).max(*POLL_AGAIN.start()));
            return self.answer_acquire(ticket, &place, retry_after, now, effects);
        }
        if self.acquires.calls.len() >= MAX_WAITING_ACQUIRES {
            return effects.answers.push((ticket, Err(Refusal::TooManyAcquires)));
        }
        self.acquires.add(ticket, Call { place, cost, timeout: now.engine + wait });
    }

    /// One call of each line whose turn it is, before any job.
    pub(super) fn begin_acquires(&mut self, now: Now, effects: &mut Effects) {
        if std::mem::take(&mut self.acquires.is_stirred) {
            self.acquires.lines.values_mut().for_each(|line| line.due = Timestamp(0));
        }
        self.follow_dear_jobs();
        for place in self.acquires.due(now.engine) {
            let is_its = self.acquires.turn(&place) == Some(Turn::Calls);
            if is_its && self.take_first(&place, now, effects) {
                self.acquires.yield_turn(&place);
            }
        }
    }

    /// Where a node is kept for a dear job no more, calls need not wait for that.
    fn follow_dear_jobs(&mut self) {
        if self.index.tree.is_roused() {
            let lines = self.acquires.lines.values_mut().filter(|line| line.turn == Turn::DearJob);
            lines.for_each(|line| line.due = Timestamp(0));
        }
    }

    /// Jobs had their chance: what they left is for the calls. Those that waited in vain are told so.
    pub(super) fn end_acquires(&mut self, now: Now, effects: &mut Effects) {
        self.follow_dear_jobs();
        for place in self.acquires.due(now.engine) {
            let mut reserved = self.reserved_until(&place, now);
            while reserved.is_none() && self.take_first(&place, now, effects) {
                reserved = self.reserved_until(&place, now);
            }
            let Some((_, cost)) = self.acquires.first(&place) else { continue };
            let opens = now.engine + self.tokens_after(&place, cost, now);
            if let Some(line) = self.acquires.lines.get_mut(&place) {
                (line.turn, line.due) = match (line.turn, reserved) {
                    (Turn::JobsNext, _) => (Turn::Jobs, opens),
                    (Turn::Jobs, Some(until)) => (Turn::DearJob, until.max(opens)),
                    _ => (Turn::Calls, opens),
                };
            }
        }
        while let Some((ticket, place, cost)) = self.acquires.pop_timed_out(now.engine) {
            let retry_after = Some(self.tokens_after(&place, cost, now));
            self.answer_acquire(ticket, &place, retry_after, now, effects);
        }
    }

    /// The first call of a line gets its tokens, if it may.
    fn take_first(&mut self, place: &Place, now: Now, effects: &mut Effects) -> bool {
        let Some((ticket, cost)) = self.acquires.first(place) else { return false };
        if self.spot_of(place).is_none() {
            self.acquires.remove(ticket);
            effects.answers.push((ticket, Err(Refusal::LimitNotFound)));
            return true;
        }
        if !self.take_tokens(place, cost, now, effects) {
            return false;
        }
        self.acquires.remove(ticket);
        self.answer_acquire(ticket, place, None, now, effects);
        true
    }

    /// Charges a node and those above it, if all gates on the way are open.
    fn take_tokens(&mut self, place: &Place, cost: u64, now: Now, effects: &mut Effects) -> bool {
        if self.tokens_after(place, cost, now) > Span::ZERO {
            return false;
        }
        let (queue, key) = place.clone();
        self.record(Mutation::Charged { queue, charges: vec![Charge { key, jobs: 1, cost }] }, now, effects);
        if let Some(spot) = self.spot_of(place) {
            self.index.relook_from(&self.ledger, spot, now.engine);
        }
        true
    }

    /// How long until tokens can be had, as things stand.
    fn tokens_after(&self, place: &Place, cost: u64, now: Now) -> Span {
        let Some(spot) = self.spot_of(place) else { return Span::ZERO };
        self.ledger.opens(spot, cost, now.engine).since(now.engine)
    }

    /// Until when nodes on the way are kept for jobs that are too dear for now, if any are.
    fn reserved_until(&self, place: &Place, now: Now) -> Option<Timestamp> {
        let spot = self.spot_of(place)?;
        self.index.reserved_until(&self.ledger, spot, now.engine)
    }

    /// The deepest node of a key of which anything is known: what is not there limits nothing.
    fn spot_of(&self, (id, key): &Place) -> Option<Spot> {
        if self.ledger.limits.get(*id).is_none() && !self.ledger.is_open(*id) {
            return None;
        }
        let mut key = Some(key.clone());
        while let Some(known) = key {
            if let Some(spot) = self.ledger.spot(*id, &known) {
                return Some(spot);
            }
            key = known.outer();
        }
        Some(Spot { queue: *id, key: KeyId::NONE })
    }

    fn answer_acquire(
        &self,
        ticket: Ticket,
        place: &Place,
        retry_after: Option<Span>,
        now: Now,
        effects: &mut Effects,
    ) {
        let tokens = self.spot_of(place).and_then(|spot| self.ledger.tokens(spot, now.engine));
        effects.answers.push((ticket, Ok(acquired(retry_after, tokens))));
    }

    /// The number and the key of a node; none when its queue is not there.
    pub(super) fn named(&self, name: &NodeName) -> Result<Option<Place>, Refusal> {
        match name {
            NodeName::Limit(name) => {
                let limit = self.ledger.limits.find(name).ok_or(Refusal::LimitNotFound)?;
                Ok(Some((limit.record.id, Key::default())))
            }
            NodeName::Key(name, key) => match self.ledger.find_queue(name) {
                Some(queue) => Ok(Some((queue.record.id, key.clone()))),
                None if self.config.strict_queues => Err(Refusal::QueueNotFound),
                None => Ok(None),
            },
        }
    }
}

fn acquired(retry_after: Option<Span>, tokens: Option<u64>) -> Outcome {
    Outcome::Acquired(Acquired { retry_after, tokens })
}
