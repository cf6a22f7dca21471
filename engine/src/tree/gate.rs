//! Gates: what a node asks before anything below it goes, and where a node is while the answer is no.

use super::node::{Node, NodeId, Role};
use super::{LaneId, Slot, Tree};
use crate::job::Priority;
use crate::ledger::flow::Spot;
use crate::ledger::keys::{KeyId, Keys};
use crate::time::Timestamp;

/// What the tree asks about the world.
pub(crate) trait Facts {
    /// The time.
    fn now(&self) -> Timestamp;
    /// Whether a job that costs so much may go through a node.
    fn gate(&self, spot: Spot, cost: u64) -> Gate;
    /// How many jobs a node sends in its turn.
    fn weight(&self, spot: Spot) -> u32;
    /// What a READY job costs.
    fn cost(&self, slot: Slot) -> u64;
    /// Whether no window holds a READY job back.
    fn bypasses_limits(&self, slot: Slot) -> bool;
    /// Whether a job that bypasses limits may go through a node.
    fn bypass_gate(&self, spot: Spot) -> Gate;
    /// The number by which a READY job stands among its equals.
    fn sequence(&self, slot: Slot) -> u64;
    /// Every key.
    fn keys(&self) -> &Keys;
}

/// Whether something may go through a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Not before.
    Until(Timestamp),
    /// Not before something else is done.
    Slot,
}

/// Where a node with something ready is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// In a ring of its parent.
    #[default]
    Open,
    /// Among the timers.
    Timed,
    /// Waiting until something below it is done.
    Slot,
}

/// The job that is to go next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) slot: Slot,
    pub(super) lane: LaneId,
}

impl Gate {
    /// Both must be open.
    pub(super) fn and(self, other: Gate) -> Gate {
        match (self, other) {
            (Gate::Slot, _) | (_, Gate::Slot) => Gate::Slot,
            (Gate::Until(one), Gate::Until(other)) => Gate::Until(one.max(other)),
            (Gate::Open, closed) | (closed, Gate::Open) => closed,
        }
    }
}

impl Next {
    /// Whether it was found in the line of those that bypass limits.
    pub(crate) fn bypasses_limits(&self) -> bool {
        self.lane == LaneId::NONE
    }
}

/// What a job costs at least. A node that lets not even this through is of no use in its ring.
pub(super) const LEAST: u64 = 1;

impl Tree {
    /// Nodes whose time has come go back to their rings, at most `budget` of them.
    pub(crate) fn wake(&mut self, budget: usize, facts: &impl Facts) {
        for _ in 0..budget {
            let Some(number) = self.parked.pop_due(facts.now().0) else { break };
            self.look_again(NodeId::at(number), facts);
        }
        for _ in 0..budget {
            let Some(number) = self.bypass_opens.pop_due(facts.now().0) else { break };
            self.restart_bypass(number);
        }
        self.sweep(facts);
    }

    /// When [`Tree::wake`] has something to do.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let timers = [self.parked.next(), self.bypass_opens.next()];
        if self.is_sweeping() {
            Some(Timestamp(0))
        } else {
            timers.into_iter().flatten().min().map(Timestamp)
        }
    }

    /// Gates of a key and those above it may have changed otherwise than by time or by what the tree gave.
    pub(crate) fn relook(&mut self, queue: NodeId, key: KeyId, facts: &impl Facts) {
        for node in self.way(queue, key, facts) {
            self.relook_one(node, facts);
        }
        self.restart_bypass(self.nodes[queue].queue);
    }

    /// Something below a key's node and those above it was done: there may be a slot.
    pub(crate) fn free_slots(&mut self, queue: NodeId, key: KeyId, facts: &impl Facts) {
        for node in self.way(queue, key, facts) {
            if self.nodes[node].place == Place::Slot {
                self.relook_one(node, facts);
            }
        }
        self.restart_bypass(self.nodes[queue].queue);
    }

    /// Until when the node of a key, or one above it, waits for a job that costs more than the least, if any does.
    pub(crate) fn reserved_until(&self, queue: NodeId, key: KeyId, facts: &impl Facts) -> Option<Timestamp> {
        let reserved =
            self.way(queue, key, facts).into_iter().filter(|node| self.nodes[*node].reserved.is_some());
        reserved.filter_map(|node| self.parked.time(node.number())).max().map(Timestamp)
    }

    /// The nodes that have the gates of a key and of those above it, the deepest first.
    pub(super) fn way(&self, queue: NodeId, key: KeyId, facts: &impl Facts) -> Vec<NodeId> {
        let limit = Some(self.nodes[queue].parent).filter(|parent| *parent != NodeId::NONE);
        facts.keys().chain(key).filter_map(|key| self.gated(key)).chain([queue]).chain(limit).collect()
    }

    pub(super) fn relook_one(&mut self, node: NodeId, facts: &impl Facts) {
        let gate = self.gate(node, LEAST, facts);
        let is_as_it_was = match (self.nodes[node].place, gate) {
            (Place::Open, Gate::Open) => true,
            (Place::Timed, Gate::Until(time)) => {
                self.nodes[node].reserved.is_none() && self.parked.time(node.number()) == Some(time.0)
            }
            (Place::Slot, Gate::Slot) => true,
            _ => false,
        };
        if is_as_it_was {
            return;
        }
        self.park(node, gate, None);
        self.rouse(node);
        self.up(node, facts);
        if gate != Gate::Open {
            self.void_above(node, facts);
        }
    }

    /// A new node, or one that leaves where it waited, looks whether it may stand in a ring.
    pub(super) fn look(&mut self, node: NodeId, facts: &impl Facts) {
        if self.is_gated(node) {
            let gate = self.gate(node, LEAST, facts);
            if gate != Gate::Open {
                self.park(node, gate, None);
            }
        }
    }

    /// Puts a node where its gate says. The rings do not know yet. While it waits for more than the least it is
    /// `reserved` for the job at its front, of this priority.
    pub(super) fn park(&mut self, node: NodeId, gate: Gate, reserved: Option<Priority>) {
        self.unpark(node);
        self.nodes[node].reserved = reserved;
        match gate {
            Gate::Open => {}
            Gate::Until(time) => {
                self.nodes[node].place = Place::Timed;
                self.parked.insert(node.number(), time.0);
            }
            Gate::Slot => self.nodes[node].place = Place::Slot,
        }
    }

    pub(super) fn unpark(&mut self, node: NodeId) {
        if self.nodes[node].place == Place::Timed {
            self.parked.remove(node.number());
        }
        self.nodes[node].place = Place::Open;
        self.nodes[node].reserved = None;
    }

    /// The deepest gate on the way up from `leaf` that is closed for such a cost.
    pub(super) fn closed(&self, leaf: NodeId, cost: u64, facts: &impl Facts) -> Option<(NodeId, Gate)> {
        let mut node = leaf;
        while node != NodeId::NONE {
            if self.is_gated(node) {
                let gate = self.gate(node, cost, facts);
                if gate != Gate::Open {
                    return Some((node, gate));
                }
            }
            node = self.nodes[node].parent;
        }
        None
    }

    /// Something at `priority` appeared in `node`: what is reserved for less is free again.
    pub(super) fn better(&mut self, node: NodeId, priority: Priority, facts: &impl Facts) {
        if self.nodes[node].reserved.is_some_and(|reserved| priority > reserved) {
            self.unpark(node);
            self.look(node, facts);
        }
    }

    /// The job that a node above was reserved for may be gone, or closed off.
    fn void_above(&mut self, node: NodeId, facts: &impl Facts) {
        self.void_from(self.nodes[node].parent, facts);
    }

    /// The job that `node` or one above was reserved for may be gone: then others may go at once.
    pub(super) fn void_from(&mut self, mut node: NodeId, facts: &impl Facts) {
        while node != NodeId::NONE {
            if self.nodes[node].reserved.is_some() {
                self.look_again(node, facts);
            }
            node = self.nodes[node].parent;
        }
    }

    /// A node leaves where it waited, for its ring or to wait again.
    pub(super) fn look_again(&mut self, node: NodeId, facts: &impl Facts) {
        self.unpark(node);
        self.look(node, facts);
        self.rouse(node);
        self.up(node, facts);
    }

    /// Whether something that costs so much may go through a node.
    pub(super) fn gate(&self, node: NodeId, cost: u64, facts: &impl Facts) -> Gate {
        if self.is_unwanted(node) { Gate::Slot } else { facts.gate(self.spot(node), cost) }
    }

    /// Whether a node asks anything. Jobs of a key that has nodes below it hang in a leaf beside those: the gate of
    /// the key is that of the node above both.
    pub(super) fn is_gated(&self, node: NodeId) -> bool {
        let Node { role, parent, key, .. } = &self.nodes[node];
        *role == Role::Inner || self.nodes[*parent].key != *key
    }

    pub(super) fn spot(&self, node: NodeId) -> Spot {
        Spot { queue: self.root(node).id, key: self.nodes[node].key }
    }

    /// A node may have something to give again: who waits for its queue is to look.
    fn rouse(&mut self, node: NodeId) {
        if self.nodes[node].place == Place::Open {
            let queue = self.spot(node).queue;
            if self.roused.last() != Some(&queue) {
                self.roused.push(queue);
            }
        }
    }
}
