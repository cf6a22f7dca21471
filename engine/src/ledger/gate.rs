//! The gates of nodes: made when there is something to know of one, and forgotten when that is past.

use crate::id::QueueId;
use crate::ledger::flow::{Answers, Ceiling, Gate, GateId, Last, NodeState, Spot};
use crate::ledger::keys::{KeyId, Keys};
use crate::ledger::{Ledger, Queue};
use crate::limit::{BreakerPolicy, NodeSettings};
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
            let counts = self.node_settings(spot).is_some_and(is_windowed)
                || self.gate(spot).is_some_and(|state| state.feedback.is_some());
            if !counts {
                continue;
            }
            let id = self.ensure_gate(spot);
            let settings = settings_of(self.queues.get(&queue), &self.keys, key);
            if let Some(gate) = self.flow.get_mut(id) {
                gate.state.charge(settings.map_or(&[], |settings| &settings.windows), jobs, cost, now);
            }
        }
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

    /// A node is as if nobody had ever said THROTTLED, and nothing had failed. What went through it still counts.
    pub(crate) fn reset(&mut self, queue: QueueId, key: &Key) {
        if let Some(spot) = self.spot(queue, key)
            && let Some(gate) = self.flow.get_mut(self.gate_id(spot))
        {
            gate.state.frozen_until = Timestamp(0);
            gate.state.throttled = None;
            gate.state.feedback = None;
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
        self.follow_at(self.gates_of(queue), now);
    }

    /// What went through counts under the settings in force, whichever were so when it was said.
    pub(crate) fn follow_all_settings(&mut self, now: Timestamp) {
        self.follow_at(self.flow.from(0).map(|(id, _)| id).collect(), now);
    }

    fn follow_at(&mut self, gates: Vec<GateId>, now: Timestamp) {
        for id in gates {
            let Some(gate) = self.flow.get_mut(id) else { continue };
            let settings = settings_of(self.queues.get(&gate.spot.queue), &self.keys, gate.spot.key);
            gate.state.follow(settings.map_or(&[], |settings| &settings.windows), now);
            if gate.state.feedback.is_some() {
                let spot = gate.spot;
                let (is_adaptive, has_breaker) =
                    (self.is_adaptive(spot), self.breaker_policy(spot).is_some());
                if let Some(gate) = self.flow.get_mut(id) {
                    gate.state.heed(is_adaptive, has_breaker);
                }
            }
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

    /// Whether a node's rate follows what the downstream answers.
    pub(crate) fn is_adaptive(&self, spot: Spot) -> bool {
        let said = |spot| self.node_settings(spot).and_then(|settings| settings.adaptive);
        said(spot).or_else(|| said(Spot { key: KeyId::NONE, ..spot })).unwrap_or(true)
    }

    /// When a node's breaker opens, if it has one.
    pub(crate) fn breaker_policy(&self, spot: Spot) -> Option<&BreakerPolicy> {
        self.node_settings(spot)?.breaker.as_ref()
    }

    /// What was set on a node, as a rate.
    pub(crate) fn ceiling(&self, spot: Spot) -> Ceiling {
        Ceiling::of(self.node_settings(spot).map_or(&[][..], |settings| &settings.windows).iter())
    }

    /// What is known of a node, under what is in force there now; to be changed and said again whole.
    pub(crate) fn state_at(&self, spot: Spot, now: Timestamp) -> NodeState {
        let mut state = self.gate(spot).cloned().unwrap_or_default();
        state.follow(self.node_settings(spot).map_or(&[], |settings| &settings.windows), now);
        state
    }

    /// The nodes that a job of a key goes through, the deepest first.
    pub(crate) fn way(&self, queue: QueueId, key: KeyId) -> impl Iterator<Item = Spot> + '_ {
        self.keys.chain(key).chain([KeyId::NONE]).map(move |key| Spot { queue, key })
    }

    /// What came back of late from below a node.
    pub(crate) fn answers(&self, spot: Spot) -> Answers {
        match spot.key {
            KeyId::NONE => {
                self.queues.get(&spot.queue).map_or_else(Answers::default, |queue| queue.answers.get())
            }
            key => self.keys.answers(key).get(),
        }
    }

    /// An answer came back to a job of a key; `last` says how, if it says anything of the rate.
    pub(crate) fn note_answer(&self, queue: &Queue, key: KeyId, last: Option<Last>, now: Timestamp) {
        let cells = self.keys.chain(key).map(|key| self.keys.answers(key)).chain([&queue.answers]);
        cells.for_each(|cell| cell.set(cell.get().with(last, now)));
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

fn settings_of<'a>(queue: Option<&'a Queue>, keys: &Keys, key: KeyId) -> Option<&'a NodeSettings> {
    let record = &queue?.record;
    match key {
        KeyId::NONE => Some(&record.settings.node),
        key => keys.rule(key, &record.settings.key_rules, record.version).map(|rule| &rule.node),
    }
}
