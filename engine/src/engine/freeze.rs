//! The downstream says that it is too much: a node is frozen, and lets nothing through until then or until somebody
//! lets it go on.

use crate::bound::FIRST_FREEZE;
use crate::command::{Nack, NodeName, ThrottleScope};
use crate::engine::{Effects, Engine};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Slot;
use crate::ledger::keys::KeyId;
use crate::mutation::Mutation;
use crate::outcome::{Answer, ItemRefusal, Outcome, Refusal};
use crate::time::{Now, Span};

impl Engine {
    /// It was too much: for the node that the worker named, else for its key, or whose fault it seems to be.
    pub(super) fn throttle(
        &mut self,
        slot: Slot,
        named: Option<Spot>,
        retry_after: Option<Span>,
        now: Now,
        effects: &mut Effects,
    ) {
        let delivery = self.delivery(slot);
        let job = self.ledger.jobs.at(slot);
        let spot = named.unwrap_or(Spot { queue: job.queue, key: job.key });
        if self.ledger.is_adaptive(spot) {
            self.adapt(delivery, named, retry_after, now, effects);
        } else {
            self.freeze(spot, retry_after, now, effects);
            self.index.relook_from(&self.ledger, spot, now.engine);
        }
    }

    /// Nothing goes through a node that does not adapt: 1 s, then 2, 4, 8 and 16.
    fn freeze(&mut self, spot: Spot, retry_after: Option<Span>, now: Now, effects: &mut Effects) {
        let gate = self.ledger.gate(spot);
        // Nothing went since it was frozen: this one was on its way before, and only says the same again.
        let is_said = gate.is_some_and(|gate| gate.frozen(now.engine).is_some());
        let (wait, step) = match retry_after {
            Some(wait) => (wait, gate.map_or(0, |gate| gate.freezes(now.engine))),
            None if is_said => return,
            None => gate.map_or((FIRST_FREEZE, 0), |gate| gate.next_freeze(now.engine)),
        };
        let (queue, key) = (spot.queue, self.ledger.keys.text(spot.key).clone());
        self.record(Mutation::Frozen { queue, key, until: now.engine + wait, step }, now, effects);
    }

    /// Which node it was too much for, if the worker says.
    pub(super) fn throttled_node(&self, nack: &Nack, slot: Slot) -> Result<Option<Spot>, ItemRefusal> {
        let job = self.ledger.jobs.at(slot);
        let own = Spot { queue: job.queue, key: job.key };
        match &nack.scope {
            None => Ok(None),
            Some(ThrottleScope::Segments(most)) => {
                let segments = |spot: &Spot| self.ledger.keys.text(spot.key).segments().count();
                Ok(self.ledger.way(own).find(|spot| segments(spot) <= usize::from(*most)))
            }
            Some(ThrottleScope::Limit(name)) => {
                let limit = self.ledger.queue(job.queue).limit.and_then(|id| self.ledger.limits.get(id));
                let limit = limit.filter(|limit| limit.record.name == *name);
                let queue = limit.ok_or(ItemRefusal::LimitNotFound)?.record.id;
                Ok(Some(Spot { queue, key: KeyId::NONE }))
            }
        }
    }

    pub(super) fn reset_node(&mut self, node: &NodeName, now: Now, effects: &mut Effects) -> Answer {
        let (queue, key) = self.named(node)?.ok_or(Refusal::QueueNotFound)?;
        if let Some(spot) = self.ledger.spot(queue, &key) {
            self.record(Mutation::NodeReset { queue, key }, now, effects);
            self.index.relook_from(&self.ledger, spot, now.engine);
            self.stir(queue);
            self.acquires.stir_all();
            if self.ledger.queue_at(queue).is_some() {
                effects.touch(queue);
            }
        }
        Ok(Outcome::NodeReset)
    }
}
