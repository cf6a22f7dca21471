//! The downstream says that it is too much: a node is frozen, and lets nothing through until then or until somebody
//! lets it go on.

use crate::bound::FIRST_FREEZE;
use crate::command::{Nack, ResetNode};
use crate::engine::{Effects, Engine};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::time::{Now, Span};

impl Engine {
    /// It was too much: for the node that the worker names, else for its key, or whose fault it seems to be.
    pub(super) fn throttle(&mut self, nack: &Nack, slot: Slot, now: Now, effects: &mut Effects) {
        let delivery = self.delivery(slot);
        let job = self.ledger.jobs.at(slot);
        let segments = |spot: &Spot| self.ledger.keys.text(spot.key).segments().count();
        let is_named = |spot: &Spot| nack.scope.is_none_or(|most| segments(spot) <= usize::from(most));
        let deepest = self.ledger.way(job.queue, job.key).find(is_named);
        let spot = deepest.expect("the queue has no segments, and is on every way");
        if self.ledger.is_adaptive(spot) {
            let named = nack.scope.is_some().then_some(spot);
            self.adapt(delivery, named, nack.retry_after, now, effects);
        } else {
            self.freeze(spot, nack.retry_after, now, effects);
            self.index.relook(&self.ledger, spot.queue, spot.key, now.engine);
        }
    }

    /// Nothing goes through a node that does not adapt: 1 s, then 2, 4, 8 and 16.
    fn freeze(&mut self, spot: Spot, retry_after: Option<Span>, now: Now, effects: &mut Effects) {
        let gate = self.ledger.gate(spot);
        // Nothing went since it was frozen: this one was on its way before, and only says the same again.
        let is_said = gate.is_some_and(|gate| gate.frozen_until > now.engine);
        let (wait, step) = match retry_after {
            Some(wait) => (wait, gate.map_or(0, |gate| gate.freezes(now.engine))),
            None if is_said => return,
            None => gate.map_or((FIRST_FREEZE, 0), |gate| gate.next_freeze(now.engine)),
        };
        let (queue, key) = (spot.queue, self.ledger.keys.text(spot.key).clone());
        self.record(Mutation::Frozen { queue, key, until: now.engine + wait, step }, now, effects);
    }

    pub(super) fn reset_node(&mut self, reset: ResetNode, now: Now, effects: &mut Effects) -> Answer {
        let ResetNode { queue, key } = reset;
        let queue = self.ledger.find_queue(&queue).ok_or(Refusal::QueueNotFound)?.record.id;
        if let Some(spot) = self.ledger.spot(queue, &key) {
            self.record(Mutation::NodeReset { queue, key }, now, effects);
            self.index.relook(&self.ledger, queue, spot.key, now.engine);
            self.stir(queue);
            effects.touch(queue);
        }
        Ok(Outcome::NodeReset)
    }
}
