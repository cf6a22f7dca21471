//! What the dispatch tree is told of the facts.

use crate::id::QueueId;
use crate::job::{BlockKind, JobState};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Slot;
use crate::ledger::keys::{KeyId, Keys};
use crate::ledger::{Known, Ledger, NodeState, Queue};
use crate::limit::NodeSettings;
use crate::time::Timestamp;
use crate::tree::{Facts, Gate};

/// The facts at one moment.
pub(crate) struct Doors<'a> {
    ledger: &'a Ledger,
    now: Timestamp,
    /// The queue that most questions are about.
    queue: Option<&'a Queue>,
}

impl<'a> Doors<'a> {
    /// For questions about any queue.
    pub(crate) fn new(ledger: &'a Ledger, now: Timestamp) -> Doors<'a> {
        Doors { ledger, now, queue: None }
    }

    /// For questions about one.
    pub(crate) fn of(ledger: &'a Ledger, queue: QueueId, now: Timestamp) -> Doors<'a> {
        Doors { ledger, now, queue: Some(ledger.queue(queue)) }
    }

    /// The queue of this number; none: it is a shared limit's.
    fn queue(&self, id: QueueId) -> Option<&'a Queue> {
        self.queue.filter(|queue| queue.record.id == id).or_else(|| self.ledger.queue_at(id))
    }

    /// What there is to know of a node, if anything may be set or known of it.
    fn known(&self, spot: Spot) -> Option<Known<'a>> {
        match self.queue(spot.queue) {
            Some(queue) => queue.is_limited().then(|| queue.node(&self.ledger.keys, spot.key)),
            None => Some(self.ledger.known(spot)),
        }
    }

    /// Whether something may go through a node for which what is known of it `opens` then.
    fn ask(&self, spot: Spot, opens: impl FnOnce(&NodeState) -> Timestamp) -> Gate {
        let Some(Known { settings, gate, .. }) = self.known(spot) else { return Gate::Open };
        if settings.is_some_and(|settings| self.taken_under(settings, spot).is_some()) {
            return Gate::Slot;
        }
        let Some(gate) = self.ledger.state(gate) else { return Gate::Open };
        if self.is_probed(spot, gate) {
            return Gate::Slot;
        }
        let opens = opens(gate);
        if opens > self.now { Gate::Until(opens) } else { Gate::Open }
    }

    /// What makes a node wait until something is done, if anything does.
    pub(super) fn taken(&self, spot: Spot) -> Option<BlockKind> {
        self.taken_under(self.ledger.node_settings(spot)?, spot)
    }

    fn taken_under(&self, settings: &NodeSettings, spot: Spot) -> Option<BlockKind> {
        if !settings.has_slots() {
            return None;
        }
        let (leased, retrying) = self.load(spot);
        let is_full = settings.max_in_flight.is_some_and(|most| leased >= u64::from(most));
        let is_taken = is_full || (settings.ordered && leased + retrying > 0);
        let kind = if settings.ordered { BlockKind::Ordered } else { BlockKind::InFlight };
        is_taken.then_some(kind)
    }

    /// Whether the breaker of a node waits for what comes of one job. That job is in flight: it may have left a shared
    /// limit with its queue, and then nobody will say.
    pub(super) fn is_probed(&self, spot: Spot, gate: &NodeState) -> bool {
        gate.is_probing() && self.load(spot).0 > 0
    }

    /// Jobs below a node that are in flight, and that are to be retried.
    fn load(&self, spot: Spot) -> (u64, u64) {
        match spot.key {
            KeyId::NONE => match self.queue(spot.queue) {
                Some(Queue { counts, .. }) => (counts.get(JobState::Leased), counts.get(JobState::Retrying)),
                None => (self.ledger.limits.get(spot.queue).map_or(0, |limit| limit.leased), 0),
            },
            key => {
                let load = self.ledger.keys.load(key);
                (load.leased(), load.retrying())
            }
        }
    }
}

/// The facts, were every gate open.
pub(crate) struct Opened<'a>(pub(crate) Doors<'a>);

impl Facts for Opened<'_> {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn gate(&self, _: Spot, _: u64) -> Gate {
        Gate::Open
    }

    fn weight(&self, spot: Spot) -> u32 {
        self.0.weight(spot)
    }

    fn cost(&self, slot: Slot) -> u64 {
        self.0.cost(slot)
    }

    fn bypasses_limits(&self, slot: Slot) -> bool {
        self.0.bypasses_limits(slot)
    }

    fn bypass_gate(&self, _: Spot) -> Gate {
        Gate::Open
    }

    fn sequence(&self, slot: Slot) -> u64 {
        self.0.sequence(slot)
    }

    fn keys(&self) -> &Keys {
        self.0.keys()
    }
}

impl Facts for Doors<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn gate(&self, spot: Spot, cost: u64) -> Gate {
        self.ask(spot, |gate| gate.opens(cost, self.now))
    }

    fn weight(&self, spot: Spot) -> u32 {
        let queue = self.queue(spot.queue).filter(|queue| queue.has_weights);
        let settings = queue.and_then(|queue| queue.node(&self.ledger.keys, spot.key).settings);
        settings.map_or(1, |settings| settings.weight)
    }

    fn cost(&self, slot: Slot) -> u64 {
        self.ledger.jobs.at(slot).cost().get().into()
    }

    fn bypasses_limits(&self, slot: Slot) -> bool {
        self.ledger.jobs.at(slot).bypasses_limits()
    }

    fn bypass_gate(&self, spot: Spot) -> Gate {
        let now = self.now;
        self.ask(spot, |gate| gate.frozen_until.max(gate.bypass_opens(now)).max(gate.broken_until(now)))
    }

    fn sequence(&self, slot: Slot) -> u64 {
        self.ledger.jobs.at(slot).sequence
    }

    fn keys(&self) -> &Keys {
        &self.ledger.keys
    }
}
