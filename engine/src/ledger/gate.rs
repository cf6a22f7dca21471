//! The gates of nodes: made when there is something to know of one, and forgotten when that is past.

use crate::id::QueueId;
use crate::ledger::flow::{Gate, GateId, NodeState, Spot};
use crate::ledger::keys::{KeyId, Keys};
use crate::ledger::{Ledger, Queue};
use crate::limit::{NodeSettings, Unit};
use crate::mutation::{Mutation, Settlement};
use crate::name::Key;
use crate::time::Timestamp;

impl Ledger {
    /// What is known of a node, if anything is.
    pub(crate) fn gate(&self, spot: Spot) -> Option<&NodeState> {
        self.flow.get(self.gate_id(spot)).map(|gate| &gate.state)
    }

    /// What is known of nodes, by number: from this one on, at most `limit` of those of which anything counts; and
    /// where to go on. For the store, which writes it again before it lets go of what it follows from.
    #[must_use]
    pub fn node_states(&self, first: u32, limit: usize, now: Timestamp) -> (Vec<Mutation>, Option<u32>) {
        let mut states = Vec::new();
        for (id, gate) in self.flow.from(first) {
            if states.len() >= limit {
                return (states, Some(id.number()));
            }
            if !gate.state.is_past(now) {
                let Spot { queue, key } = gate.spot;
                let (key, state) = (self.keys.text(key).clone(), Box::new(gate.state.as_of(now)));
                states.push(Mutation::NodeState { queue, key, state });
            }
        }
        (states, None)
    }

    /// Jobs of a key went through its node and those above it.
    pub(crate) fn charge(&mut self, queue: QueueId, key: KeyId, jobs: u64, cost: u64, now: Timestamp) {
        self.meter(Spot { queue, key }, true, now, |state, settings, since| {
            state.charge(&settings.windows, jobs, cost, since, now);
        });
    }

    /// Does something at the windows of a node and those above it: where nothing is known of one only if it is to
    /// `make` that.
    fn meter(
        &mut self,
        Spot { queue, key }: Spot,
        make: bool,
        now: Timestamp,
        mut act: impl FnMut(&mut NodeState, &NodeSettings, Timestamp),
    ) {
        // Of what is charged now nothing may be taken for what was before other settings came at the same moment.
        let is_changed = self.queues.get(&queue).is_some_and(|queue| queue.settings_time == now);
        let since = if is_changed { after(now) } else { now };
        let mut next = Some(key);
        while let Some(key) = next {
            next = (key != KeyId::NONE).then(|| self.keys.outer(key));
            let spot = Spot { queue, key };
            let is_windowed = |settings: &NodeSettings| !settings.windows.is_empty();
            if !self.node_settings(spot).is_some_and(is_windowed) {
                continue;
            }
            let id = if make { self.ensure_gate(spot) } else { self.gate_id(spot) };
            let settings = settings_of(self.queues.get(&queue), &self.keys, key);
            if let Some((settings, gate)) = settings.zip(self.flow.get_mut(id)) {
                act(&mut gate.state, settings, since);
            }
        }
    }

    /// A job cost something else than was reserved for it.
    pub(crate) fn settle(&mut self, queue: QueueId, settlement: &Settlement, now: Timestamp) {
        let Settlement { key, charged, reserved, actual } = settlement;
        let costs = (u64::from(*reserved), u64::from(*actual));
        // Where nothing is known nothing is owed that could be given back.
        let make = actual > reserved;
        self.keeping(queue, key, |ledger, spot| {
            ledger.meter(spot, make, now, |state, settings, since| {
                state.settle(&settings.windows, *charged, costs, since, now);
            });
        });
    }

    /// Whether any node on a key's way counts cost.
    pub(crate) fn counts_cost(&self, queue: QueueId, key: KeyId) -> bool {
        let counts = |key| {
            let settings = self.node_settings(Spot { queue, key });
            settings.is_some_and(|node| node.windows.iter().any(|window| window.unit == Unit::Cost))
        };
        self.keys.chain(key).chain([KeyId::NONE]).any(counts)
    }

    /// As [`Ledger::charge`], of a key that no job may have any more.
    pub(crate) fn charge_key(&mut self, queue: QueueId, key: &Key, jobs: u64, cost: u64, now: Timestamp) {
        self.keeping(queue, key, |ledger, spot| ledger.charge(queue, spot.key, jobs, cost, now));
    }

    /// Nothing goes through a node before `until`; `step` says how often in a row that was said.
    pub(crate) fn freeze(&mut self, queue: QueueId, key: &Key, until: Timestamp, step: u8, now: Timestamp) {
        self.change_gate(queue, key, |state| {
            state.frozen_until = state.frozen_until.max(until);
            state.throttled = Some((now, step));
        });
    }

    /// A node is as if nobody had ever said THROTTLED. What went through it still counts.
    pub(crate) fn reset(&mut self, queue: QueueId, key: &Key) {
        if let Some(spot) = self.spot(queue, key)
            && let Some(gate) = self.flow.get_mut(self.gate_id(spot))
        {
            gate.state.frozen_until = Timestamp(0);
            gate.state.throttled = None;
        }
    }

    /// What is known of a node is this.
    pub(crate) fn put_node_state(&mut self, queue: QueueId, key: &Key, state: &NodeState) {
        self.change_gate(queue, key, |known| known.clone_from(state));
    }

    /// The node of a key, or of what keys begin with, if there is one; of the empty key the queue's own.
    pub(crate) fn spot(&self, queue: QueueId, key: &Key) -> Option<Spot> {
        let known = if key.is_empty() { Some(KeyId::NONE) } else { self.keys.find(queue, key) };
        known.map(|key| Spot { queue, key })
    }

    /// Other settings are in force in a queue: what went through counts on under them.
    pub(super) fn follow_settings(&mut self, queue: QueueId, now: Timestamp) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.settings_time = now;
        }
        // What is past may be forgotten already, and a replay must not know more of it than we do.
        let is_past = |id: &GateId| self.flow.get(*id).is_some_and(|gate| gate.state.is_past(now));
        let past: Vec<GateId> = self.gates_of(queue).into_iter().filter(is_past).collect();
        past.into_iter().for_each(|id| self.drop_gate(id));
        self.follow_at(self.gates_of(queue), now);
    }

    /// What went through counts under the settings in force, whichever were so when it was said.
    pub(crate) fn follow_all_settings(&mut self, now: Timestamp) {
        self.follow_at(self.flow.from(0).map(|(id, _)| id).collect(), now);
    }

    fn follow_at(&mut self, gates: Vec<GateId>, now: Timestamp) {
        for id in gates {
            let Some(gate) = self.flow.get_mut(id) else { continue };
            let queue = self.queues.get(&gate.spot.queue);
            let settings = settings_of(queue, &self.keys, gate.spot.key);
            gate.state.follow(settings.map_or(&[], |settings| &settings.windows), after(now), now);
        }
    }

    /// A queue's gates go with it.
    pub(super) fn drop_gates(&mut self, queue: QueueId) {
        self.gates_of(queue).into_iter().for_each(|id| self.drop_gate(id));
    }

    /// All gates are gone through only when some are its.
    fn gates_of(&self, queue: QueueId) -> Vec<GateId> {
        if self.queues.get(&queue).is_none_or(|known| known.gates == 0) {
            return Vec::new();
        }
        let of_queue = self.flow.from(0).filter(|(_, gate)| gate.spot.queue == queue);
        of_queue.map(|(id, _)| id).collect()
    }

    /// Forgets some gates of which nothing counts any more. No change of the facts: nobody could tell.
    pub(crate) fn forget_past_gates(&mut self, now: Timestamp) {
        for id in self.flow.past(now) {
            self.drop_gate(id);
        }
    }

    /// What was set on a node, if anything was.
    pub(crate) fn node_settings(&self, spot: Spot) -> Option<&NodeSettings> {
        settings_of(self.queues.get(&spot.queue), &self.keys, spot.key)
    }

    /// Changes what is known of a node, of which nothing may have been known. Of a queue that is no more it is not.
    fn change_gate(&mut self, queue: QueueId, key: &Key, change: impl FnOnce(&mut NodeState)) {
        self.keeping(queue, key, |ledger, spot| {
            let id = ledger.ensure_gate(spot);
            if let Some(gate) = ledger.flow.get_mut(id) {
                change(&mut gate.state);
            }
        });
    }

    /// Does something at the node of a key of an open queue, and keeps the key meanwhile: no job may have it any more.
    fn keeping(&mut self, queue: QueueId, key: &Key, act: impl FnOnce(&mut Ledger, Spot)) {
        if self.is_open(queue) {
            let key = self.keys.retain(queue, key);
            act(self, Spot { queue, key });
            self.keys.release(key);
        }
    }

    fn gate_id(&self, spot: Spot) -> GateId {
        match spot.key {
            KeyId::NONE => self.queues.get(&spot.queue).map_or(GateId::NONE, |queue| queue.gate),
            key => self.keys.gate(key),
        }
    }

    fn ensure_gate(&mut self, spot: Spot) -> GateId {
        let known = self.gate_id(spot);
        if known != GateId::NONE {
            return known;
        }
        let id = self.flow.insert(Gate { spot, state: NodeState::default() });
        if let Some(queue) = self.queues.get_mut(&spot.queue) {
            queue.gates += 1;
            if spot.key == KeyId::NONE {
                queue.gate = id;
            }
        }
        // A key is kept while something is known of it.
        self.keys.set_gate(spot.key, id);
        self.keys.keep(spot.key);
        id
    }

    fn drop_gate(&mut self, id: GateId) {
        let Some(Gate { spot, .. }) = self.flow.remove(id) else { return };
        if let Some(queue) = self.queues.get_mut(&spot.queue) {
            queue.gates -= 1;
            if spot.key == KeyId::NONE {
                queue.gate = GateId::NONE;
            }
        }
        self.keys.set_gate(spot.key, GateId::NONE);
        self.keys.release(spot.key);
    }
}

impl Queue {
    /// Whether anything in it may have to wait but for a worker.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited || self.gates > 0
    }
}

/// The next moment.
fn after(time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_add(1))
}

fn settings_of<'a>(queue: Option<&'a Queue>, keys: &Keys, key: KeyId) -> Option<&'a NodeSettings> {
    let record = &queue?.record;
    match key {
        KeyId::NONE => Some(&record.settings.node),
        key => keys.rule(key, &record.settings.key_rules, record.version).map(|rule| &rule.node),
    }
}
