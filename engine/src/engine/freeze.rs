//! The downstream says that it is too much: a node is frozen, and lets nothing through until then or until somebody
//! lets it go on.

use crate::bound::FIRST_FREEZE;
use crate::command::{Nack, NodeName, ThrottleScope};
use crate::engine::{Effects, Engine};
use crate::id::QueueId;
use crate::ledger::jobs::Slot;
use crate::mutation::Mutation;
use crate::name::Key;
use crate::outcome::{Answer, ItemRefusal, Outcome, Refusal};
use crate::time::{Now, Span};

impl Engine {
    /// Freezes the node that it was too much for.
    pub(super) fn throttle(
        &mut self,
        queue: QueueId,
        key: Key,
        retry_after: Option<Span>,
        now: Now,
        effects: &mut Effects,
    ) {
        let spot = self.ledger.spot(queue, &key);
        let gate = spot.and_then(|spot| self.ledger.gate(spot));
        // Nothing went since it was frozen: this one was on its way before, and only says the same again.
        let is_said = gate.is_some_and(|gate| gate.frozen_until > now.engine);
        let (wait, step) = match retry_after {
            Some(wait) => (wait, gate.map_or(0, |gate| gate.freezes(now.engine))),
            None if is_said => return,
            None => gate.map_or((FIRST_FREEZE, 0), |gate| gate.next_freeze(now.engine)),
        };
        let until = now.engine + wait;
        self.record(Mutation::Frozen { queue, key, until, step }, now, effects);
        if let Some(spot) = spot {
            self.index.relook_from(&self.ledger, spot, now.engine);
        }
    }

    /// Which node it was too much for.
    pub(super) fn throttled_node(&self, nack: &Nack, slot: Slot) -> Result<(QueueId, Key), ItemRefusal> {
        let job = self.ledger.jobs.at(slot);
        let mut key = self.ledger.keys.text(job.key).clone();
        match &nack.scope {
            None => {}
            Some(ThrottleScope::Segments(segments)) => {
                while key.segments().count() > usize::from(*segments) {
                    key = key.outer().unwrap_or_default();
                }
            }
            Some(ThrottleScope::Limit(name)) => {
                let limit = self.ledger.queue(job.queue).limit.and_then(|id| self.ledger.limits.get(id));
                let limit = limit.filter(|limit| limit.record.name == *name);
                return Ok((limit.ok_or(ItemRefusal::LimitNotFound)?.record.id, Key::default()));
            }
        }
        Ok((job.queue, key))
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
