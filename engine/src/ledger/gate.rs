//! The gates of nodes: made when there is something to know of one, and forgotten when that is past.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::id::QueueId;
use crate::ledger::flow::{Answers, Ceiling, Gate, GateId, Last, Meter, NodeState, Spot, after};
use crate::ledger::keys::{KeyId, Keys};
use crate::ledger::limits::Limits;
use crate::ledger::{BreakerState, Ledger, Queue};
use crate::limit::{BreakerPolicy, NodeSettings, Unit, Window};
use crate::mutation::{Mutation, Settlement};
use crate::name::Key;
use crate::time::{Span, Timestamp};

/// How soon whoever wants tokens looks again while a breaker waits for what comes of one job.
const HALF_OPEN_LOOK: Span = Span::from_secs(1);

impl Ledger {
    /// What is known of a node, if anything is.
    pub(crate) fn gate(&self, spot: Spot) -> Option<&NodeState> {
        self.state(self.gate_id(spot))
    }

    /// What a gate knows.
    pub(crate) fn state(&self, gate: GateId) -> Option<&NodeState> {
        self.flow.get(gate).map(|gate| &gate.state)
    }

    /// What there is to know of a node.
    pub(crate) fn known(&self, spot: Spot) -> Known<'_> {
        known(&self.queues, &self.limits, &self.keys, spot)
    }

    /// What is known of nodes, by number: from this one on, at most `limit` of those of which anything counts; and
    /// where to go on. For the store, which writes it again before it lets go of what it follows from.
    #[must_use]
    pub fn node_states(&self, first: u32, limit: usize, now: Timestamp) -> (Vec<Mutation>, Option<u32>) {
        let mut states = Vec::new();
        if first == 0 {
            states.extend(self.limit_puts());
        }
        let limit = limit.saturating_add(states.len());
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

    /// Jobs went through a node and those above it. Whether it is plain that all of them let a job through still that costs
    /// no more than the least.
    pub(crate) fn charge(&mut self, spot: Spot, jobs: u64, cost: u64, now: Timestamp) -> bool {
        let mut are_open = true;
        self.meter(spot, true, now, |node, state| {
            are_open &= !node.settings.is_some_and(NodeSettings::has_slots);
            if let Some(state) = state {
                state.charge(node.windows(), jobs, cost, node.since(now), now);
                are_open &= state.is_plainly_open(now);
            }
        });
        are_open
    }

    /// Does something at a node and those above it, with what is known where something counts: where nothing is known yet
    /// only if it is to `make` that.
    fn meter(
        &mut self,
        spot: Spot,
        make: bool,
        now: Timestamp,
        mut act: impl FnMut(Known<'_>, Option<&mut NodeState>),
    ) {
        let mut next = Some(spot);
        while let Some(spot) = next {
            next = self.above(spot);
            if make && self.gate_id(spot) == GateId::NONE && !self.known(spot).windows().is_empty() {
                self.ensure_gate(spot);
            }
            let node = known(&self.queues, &self.limits, &self.keys, spot);
            let state = self.flow.get_mut(node.gate).map(|gate| &mut gate.state);
            let mut state = state.filter(|state| !node.windows().is_empty() || state.feedback.is_some());
            if node.since(now) > now
                && let Some(state) = &mut state
            {
                state.begin_anew_if_past(now);
            }
            act(node, state);
        }
    }

    /// A job cost something else than was reserved for it.
    pub(crate) fn settle(&mut self, queue: QueueId, settlement: &Settlement, now: Timestamp) {
        let Settlement { key, charged, reserved, actual } = settlement;
        let costs = (u64::from(*reserved), u64::from(*actual));
        // Where nothing is known nothing is owed that could be given back.
        let make = actual > reserved;
        self.keeping(queue, key, |ledger, spot| {
            ledger.meter(spot, make, now, |node, state| {
                if let Some(state) = state {
                    state.settle(node.windows(), *charged, costs, node.since(now), now);
                }
            });
        });
    }

    /// Whether any node on a key's way counts cost.
    pub(crate) fn counts_cost(&self, queue: QueueId, key: KeyId) -> bool {
        let counts = |spot| {
            let settings = self.node_settings(spot);
            settings.is_some_and(|node| node.windows.iter().any(|window| window.unit == Unit::Cost))
        };
        self.way(Spot { queue, key }).any(counts)
    }

    /// As [`Ledger::charge`], of a key that no job may have any more.
    pub(crate) fn charge_key(&mut self, queue: QueueId, key: &Key, jobs: u64, cost: u64, now: Timestamp) {
        self.keeping(queue, key, |ledger, spot| {
            ledger.charge(spot, jobs, cost, now);
        });
    }

    /// Nothing goes through a node before `until`; `step` says how often in a row that was said.
    pub(crate) fn freeze(&mut self, queue: QueueId, key: &Key, until: Timestamp, step: u8, now: Timestamp) {
        self.change_gate(queue, key, |state| {
            state.begin_anew_if_past(now);
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
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.settings_time = now;
        } else if let Some(limit) = self.limits.get_mut(queue) {
            limit.settings_time = now;
        }
        self.follow_at(self.gates_of(queue), now);
    }

    /// What went through counts under the settings in force, whichever were so when it was said.
    pub(crate) fn follow_all_settings(&mut self, now: Timestamp) {
        self.follow_at(self.flow.from(0).map(|(id, _)| id).collect(), now);
    }

    fn follow_at(&mut self, gates: Vec<GateId>, now: Timestamp) {
        for id in gates {
            let Some(gate) = self.flow.get_mut(id) else { continue };
            let windows = known(&self.queues, &self.limits, &self.keys, gate.spot).windows();
            // Where nothing went through, windows begin to count with what goes first: after a restart as without one.
            if !gate.state.meters.is_empty() {
                gate.state.follow(windows, after(now), now);
            }
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
        if let Some(limit) = self.limits.get(queue) {
            return self.flow.get(limit.gate).map(|_| limit.gate).into_iter().collect();
        }
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
        self.known(spot).settings
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
        Ceiling::of(self.known(spot).windows().iter())
    }

    /// What is known of a node, under what is in force there now; to be changed and said again whole.
    pub(crate) fn state_at(&self, spot: Spot, now: Timestamp) -> NodeState {
        let node = self.known(spot);
        let mut state = self.state(node.gate).cloned().unwrap_or_default();
        state.follow(node.windows(), node.since(now), now);
        state
    }

    /// What came back of late from below a node.
    pub(crate) fn answers(&self, spot: Spot) -> Answers {
        match spot.key {
            KeyId::NONE => {
                let queue = self.queues.get(&spot.queue).map(|queue| &queue.answers);
                let cell = queue.or_else(|| self.limits.get(spot.queue).map(|limit| &limit.answers));
                cell.map_or_else(Answers::default, Cell::get)
            }
            key => self.keys.answers(key).get(),
        }
    }

    /// An answer came back to a job of a key; `last` says how, if it says anything of the rate.
    pub(crate) fn note_answer(&self, queue: &Queue, key: KeyId, last: Option<Last>, now: Timestamp) {
        let limit = queue.limit.and_then(|id| self.limits.get(id)).map(|limit| &limit.answers);
        let keys = self.keys.chain(key).map(|key| self.keys.answers(key));
        let cells = keys.chain([&queue.answers]).chain(limit);
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

    /// When tokens may be taken of a node and those above it, as far as the past is concerned.
    pub(crate) fn opens(&self, spot: Spot, cost: u64, now: Timestamp) -> Timestamp {
        let gates = self.way(spot).filter_map(|spot| self.gate(spot));
        let opens = |gate: &NodeState| match gate.breaker_state(now) {
            // What comes of tokens nobody says: they are no probe.
            BreakerState::HalfOpen => now + HALF_OPEN_LOOK,
            _ => gate.opens(cost, now),
        };
        gates.map(opens).max().unwrap_or(now)
    }

    /// Units that may go through a node and those above it now, of the window that has the fewest.
    pub(crate) fn tokens(&self, spot: Spot, now: Timestamp) -> Option<u64> {
        let of = |spot: Spot| {
            let windows = self.node_settings(spot).map_or(&[][..], |settings| &settings.windows);
            let meters = self.gate(spot).map_or(&[][..], |gate| &gate.meters);
            windows.iter().enumerate().map(move |(at, window)| match meters.get(at) {
                Some((_, meter)) => meter.tokens(window, now),
                None => Meter::new(window).tokens(window, now),
            })
        };
        self.way(spot).flat_map(of).min()
    }

    /// Does something at the node of a key of an open queue, and keeps the key meanwhile: no job may have it any more.
    fn keeping(&mut self, queue: QueueId, key: &Key, act: impl FnOnce(&mut Ledger, Spot)) {
        if self.is_open(queue) || self.limits.get(queue).is_some() {
            let key = self.keys.retain(queue, key);
            act(self, Spot { queue, key });
            self.keys.release(key);
        }
    }

    fn gate_id(&self, spot: Spot) -> GateId {
        match spot.key {
            KeyId::NONE => self.known(spot).gate,
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
        } else if let Some(limit) = self.limits.get_mut(spot.queue) {
            limit.gate = id;
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
        } else if let Some(limit) = self.limits.get_mut(spot.queue) {
            limit.gate = GateId::NONE;
        }
        self.keys.set_gate(spot.key, GateId::NONE);
        self.keys.release(spot.key);
    }
}

impl Queue {
    /// Whether anything in it may have to wait but for a worker.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited || self.gates > 0 || self.limit.is_some()
    }

    /// Its own node, or that of one of its keys.
    pub(crate) fn node(&self, keys: &Keys, key: KeyId) -> Known<'_> {
        let settings_time = Some(self.settings_time);
        let settings = &self.record.settings;
        if key == KeyId::NONE {
            return Known { settings: Some(&settings.node), gate: self.gate, settings_time };
        }
        let rule = keys.rule(key, &settings.key_rules, self.record.version);
        Known { settings: rule.map(|rule| &rule.node), gate: keys.gate(key), settings_time }
    }
}

/// What there is to know of a node.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// What was set on it, if anything was.
    pub(crate) settings: Option<&'a NodeSettings>,
    pub(crate) gate: GateId,
    /// When the settings of its queue or limit were put last.
    settings_time: Option<Timestamp>,
}

impl<'a> Known<'a> {
    /// What is set on it; nothing where nothing is.
    fn windows(&self) -> &'a [Window] {
        self.settings.map_or(&[], |settings| &settings.windows)
    }

    /// From when on a window of which nothing is known counts `now`. Of what is charged now nothing may be taken for what
    /// was before other settings came at the same moment.
    fn since(&self, now: Timestamp) -> Timestamp {
        if self.settings_time == Some(now) { after(now) } else { now }
    }
}

fn known<'a>(queues: &'a BTreeMap<QueueId, Queue>, limits: &'a Limits, keys: &Keys, spot: Spot) -> Known<'a> {
    if let Some(queue) = queues.get(&spot.queue) {
        return queue.node(keys, spot.key);
    }
    limits.get(spot.queue).map_or_else(Known::default, |limit| Known {
        settings: Some(&limit.record.settings.node),
        gate: limit.gate,
        settings_time: Some(limit.settings_time),
    })
}
