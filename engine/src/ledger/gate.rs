//! The gates of nodes: made when there is something to know of one, and forgotten when that is past.

use std::collections::BTreeSet;

use crate::id::QueueId;
use crate::ledger::flow::{Gate, GateId, NodeState, Spot};
use crate::ledger::keys::{KeyId, Keys};
use crate::ledger::{Ledger, Queue};
use crate::limit::NodeSettings;
use crate::mutation::Mutation;
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
        let mut next = Some(key);
        while let Some(key) = next {
            next = (key != KeyId::NONE).then(|| self.keys.outer(key));
            let spot = Spot { queue, key };
            let is_windowed = |settings: &NodeSettings| !settings.windows.is_empty();
            if !self.node_settings(spot).is_some_and(is_windowed) {
                continue;
            }
            let id = self.ensure_gate(spot);
            let settings = settings_of(self.queues.get(&queue), &self.keys, key);
            if let Some((settings, gate)) = settings.zip(self.flow.get_mut(id)) {
                gate.state.charge(&settings.windows, jobs, cost, now);
            }
        }
    }

    /// As [`Ledger::charge`], of a key that no job may have any more.
    pub(crate) fn charge_key(&mut self, queue: QueueId, key: &Key, jobs: u64, cost: u64, now: Timestamp) {
        if !self.is_open(queue) {
            return;
        }
        let id = self.keys.retain(queue, key);
        self.charge(queue, id, jobs, cost, now);
        self.keys.release(id);
    }

    /// Nothing goes through a node before `until`; `step` says how often in a row that was said.
    pub(crate) fn freeze(&mut self, queue: QueueId, key: &Key, until: Timestamp, step: u8, now: Timestamp) {
        if !self.is_open(queue) {
            return;
        }
        let key = self.keys.retain(queue, key);
        let id = self.ensure_gate(Spot { queue, key });
        if let Some(gate) = self.flow.get_mut(id) {
            let state = &mut gate.state;
            state.frozen_until = state.frozen_until.max(until);
            state.throttled = Some((now, step));
        }
        self.keys.release(key);
    }

    /// A node is as if nobody had ever said THROTTLED. What went through it still counts.
    pub(crate) fn reset(&mut self, queue: QueueId, key: &Key) {
        let known = if key.is_empty() { Some(KeyId::NONE) } else { self.keys.find(queue, key) };
        if let Some(key) = known
            && let Some(gate) = self.flow.get_mut(self.gate_id(Spot { queue, key }))
        {
            gate.state.frozen_until = Timestamp(0);
            gate.state.throttled = None;
        }
    }

    /// What is known of a node is this.
    pub(crate) fn put_node_state(&mut self, queue: QueueId, key: &Key, state: &NodeState) {
        if !self.is_open(queue) {
            return;
        }
        let key = self.keys.retain(queue, key);
        let id = self.ensure_gate(Spot { queue, key });
        if let Some(gate) = self.flow.get_mut(id) {
            gate.state.clone_from(state);
        }
        self.keys.release(key);
    }

    /// Other settings are in force in a queue: what went through counts on under them.
    pub(super) fn follow_settings(&mut self, queue: QueueId, now: Timestamp) {
        let of_queue = self.flow.all().filter(|(_, gate)| gate.spot.queue == queue);
        let gates: Vec<(GateId, KeyId)> = of_queue.map(|(id, gate)| (id, gate.spot.key)).collect();
        for (id, key) in gates {
            let settings = settings_of(self.queues.get(&queue), &self.keys, key);
            let windows = settings.map_or(&[][..], |settings| &settings.windows);
            if let Some(gate) = self.flow.get_mut(id) {
                gate.state.follow(windows, now);
            }
        }
    }

    /// What went through counts under the settings in force, whichever were so when it was said.
    pub(crate) fn follow_all_settings(&mut self, now: Timestamp) {
        let queues: BTreeSet<QueueId> = self.flow.all().map(|(_, gate)| gate.spot.queue).collect();
        queues.into_iter().for_each(|queue| self.follow_settings(queue, now));
    }

    /// A queue's gates go with it.
    pub(super) fn drop_gates(&mut self, queue: QueueId) {
        let of_queue = self.flow.all().filter(|(_, gate)| gate.spot.queue == queue);
        let gates: Vec<GateId> = of_queue.map(|(id, _)| id).collect();
        gates.into_iter().for_each(|id| self.drop_gate(id));
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

fn settings_of<'a>(queue: Option<&'a Queue>, keys: &Keys, key: KeyId) -> Option<&'a NodeSettings> {
    let record = &queue?.record;
    match key {
        KeyId::NONE => Some(&record.settings.node),
        key => keys.rule(key, &record.settings.key_rules, record.version).map(|rule| &rule.node),
    }
}
