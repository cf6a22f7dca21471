//! What the downstream's answers do to the nodes that a job went through: a rate is cut or may grow again, a breaker opens or
//! closes.

use crate::bound::{FIRST_KEY_RATE, FIRST_QUEUE_RATE};
use crate::engine::witness::Accused;
use crate::engine::{Effects, Engine};
use crate::id::QueueId;
use crate::ledger::flow::{Last, NodeState, Spot, Verdict};
use crate::ledger::jobs::Slot;
use crate::ledger::keys::KeyId;
use crate::mutation::{Mutation, ReturnCause};
use crate::time::{Now, Span, Timestamp};

/// A delivery that ends.
#[derive(Clone, Copy)]
pub(super) struct Delivery {
    queue: QueueId,
    key: KeyId,
    leased_at: Timestamp,
}

impl Delivery {
    /// The node that its job came from.
    fn spot(&self) -> Spot {
        Spot { queue: self.queue, key: self.key }
    }
}

impl Engine {
    /// The delivery that a worker holds.
    pub(super) fn delivery(&self, slot: Slot) -> Delivery {
        let job = self.ledger.jobs.at(slot);
        Delivery { queue: job.queue, key: job.key, leased_at: job.charged().unwrap_or_default() }
    }

    /// It was too much, for a node that adapts: the one that the worker `named`, or the one whose fault it seems to be.
    pub(super) fn adapt(
        &mut self,
        delivery: Delivery,
        named: Option<Spot>,
        retry_after: Option<Span>,
        now: Now,
        effects: &mut Effects,
    ) {
        let own = named.unwrap_or(delivery.spot());
        // What it says was learned already, but for how long.
        let is_old = self.was_cut_since(delivery, named, now.engine);
        let blamed = if is_old || named.is_some() { own } else { self.blamed(delivery, now.engine) };
        if let Some(wait) = retry_after.filter(|_| is_old || blamed != own) {
            // The time may be the key's alone: were the guess wrong, all others would wait it out.
            let mut state = self.ledger.state_at(own, now.engine);
            state.pause(now.engine + wait);
            self.put_state(own, state, delivery, now, effects);
        }
        if !is_old {
            let first = if blamed.key == KeyId::NONE { FIRST_QUEUE_RATE } else { FIRST_KEY_RATE };
            let mut state = self.ledger.state_at(blamed, now.engine);
            state.cut(first, retry_after.filter(|_| blamed == own), now.engine);
            self.put_state(blamed, state, delivery, now, effects);
        }
    }

    /// A delivery has ended: acknowledged, or for this cause.
    pub(super) fn note(
        &mut self,
        delivery: Delivery,
        cause: Option<ReturnCause>,
        now: Now,
        effects: &mut Effects,
    ) {
        let (verdict, last) = match cause {
            None | Some(ReturnCause::Rejected) => (Verdict::Good, Some(Last::Good)),
            Some(ReturnCause::Failed | ReturnCause::Expired) => (Verdict::Bad, None),
            Some(ReturnCause::Throttled) => (Verdict::None, Some(Last::Throttled)),
            Some(ReturnCause::Released) => (Verdict::None, None),
        };
        let queue = self.ledger.queue(delivery.queue);
        if !matches!(cause, Some(ReturnCause::Released | ReturnCause::Expired)) {
            self.ledger.note_answer(queue, delivery.key, last, now.engine);
        }
        if !queue.is_limited() {
            return;
        }
        let mut next = Some(delivery.spot());
        while let Some(spot) = next {
            next = self.ledger.above(spot);
            self.note_at(spot, delivery, verdict, now, effects);
        }
    }

    fn note_at(&mut self, spot: Spot, delivery: Delivery, verdict: Verdict, now: Now, effects: &mut Effects) {
        let policy = self.ledger.breaker_policy(spot).copied();
        let may_break = policy.is_some() && verdict == Verdict::Bad;
        if !may_break && !self.ledger.gate(spot).is_some_and(|state| state.listens_to(verdict, now.engine)) {
            return;
        }
        let mut state = self.ledger.state_at(spot, now.engine);
        if state.note(verdict, delivery.leased_at, policy.as_ref(), now.engine) {
            self.put_state(spot, state, delivery, now, effects);
        }
    }

    /// Whether a node that it may be the fault of was cut since the job was leased: what it says may be due to what went
    /// before.
    fn was_cut_since(&self, delivery: Delivery, named: Option<Spot>, now: Timestamp) -> bool {
        let was_cut = |spot: Spot| {
            let adaptation = self.ledger.gate(spot).and_then(|state| state.adaptation(now));
            adaptation.is_some_and(|adaptation| delivery.leased_at <= adaptation.cut_at)
        };
        match named {
            Some(spot) => was_cut(spot),
            None => self.ledger.way(delivery.spot()).any(was_cut),
        }
    }

    /// The node whose fault it seems to be: the key, unless others under a node above it are told off at the same moment.
    fn blamed(&mut self, delivery: Delivery, now: Timestamp) -> Spot {
        let mut blamed = delivery.spot();
        while let Some(parent) = self.ledger.above(blamed) {
            let last = self.ledger.answers(blamed).last();
            self.witnesses.hear(parent, blamed, last, now);
            let has_rate = self.ledger.ceiling(parent).rate.is_some();
            let answers = self.ledger.answers(parent).of_late(now);
            let is_guilty = self.ledger.is_adaptive(parent)
                && self.witnesses.convict(Accused { spot: parent, has_rate, answers });
            if !is_guilty {
                break;
            }
            blamed = parent;
        }
        blamed
    }

    fn put_state(
        &mut self,
        spot: Spot,
        state: NodeState,
        delivery: Delivery,
        now: Now,
        effects: &mut Effects,
    ) {
        let key = self.ledger.keys.text(spot.key).clone();
        let state = Box::new(state);
        self.record(Mutation::NodeState { queue: spot.queue, key, state }, now, effects);
        self.index.relook(&self.ledger, delivery.queue, delivery.key, now.engine);
        // A breaker may have closed.
        self.acquires.stir_all();
        effects.touch(delivery.queue);
    }
}
