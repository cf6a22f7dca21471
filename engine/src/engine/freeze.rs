//! The downstream says that it is too much: a node is frozen, and lets nothing through until then or until somebody
//! lets it go on.

use crate::bound::FIRST_FREEZE;
use crate::command::{Nack, ResetNode};
use crate::engine::{Effects, Engine};
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::time::Now;

impl Engine {
    /// Freezes the node that it was too much for.
    pub(super) fn throttle(&mut self, nack: &Nack, slot: Slot, now: Now, effects: &mut Effects) {
        let job = self.ledger.jobs.at(slot);
        let (queue, id) = (job.queue, job.key);
        let mut key = self.ledger.keys.text(id).clone();
        while nack.scope.is_some_and(|segments| key.segments().count() > usize::from(segments)) {
            key = key.outer().unwrap_or_default();
        }
        let gate = self.ledger.spot(queue, &key).and_then(|spot| self.ledger.gate(spot));
        // Nothing went since it was frozen: this one was on its way before, and only says the same again.
        let is_said = gate.is_some_and(|gate| gate.frozen_until > now.engine);
        let (wait, step) = match nack.retry_after {
            Some(wait) => (wait, gate.map_or(0, |gate| gate.freezes(now.engine))),
            None if is_said => return,
            None => gate.map_or((FIRST_FREEZE, 0), |gate| gate.next_freeze(now.engine)),
        };
        let until = now.engine + wait;
        self.record(Mutation::Frozen { queue, key, until, step }, now, effects);
        self.index.relook(&self.ledger, queue, id, now.engine);
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
