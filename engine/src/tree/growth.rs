//! Nodes come with the first job of their key and go with the last.

use super::crowd::{Crowd, CrowdId};
use super::gate::{Facts, Place};
use super::node::{Node, NodeId, Role};
use super::{LaneId, Tree};
use crate::ledger::keys::KeyId;

impl Node {
    /// The root of a queue, the inner node of the empty key; or a shared limit.
    pub(super) fn root(number: u32, crowd: CrowdId) -> Node {
        Node { queue: number, role: Role::Inner, crowd, ..Node::default() }
    }
}

impl Tree {
    /// Where the jobs of `key` hang. A new leaf stands nowhere yet, and is to be given a job at once.
    pub(super) fn leaf(&mut self, queue: NodeId, key: KeyId, facts: &impl Facts) -> NodeId {
        let known = match key {
            KeyId::NONE => self.roots[self.nodes[queue].queue as usize].leaf,
            key => self.directory.find(key, Role::Leaf),
        };
        if known != NodeId::NONE {
            return known;
        }
        let inner = if key == KeyId::NONE { queue } else { self.directory.find(key, Role::Inner) };
        let parent =
            if inner == NodeId::NONE { self.inner(queue, facts.keys().outer(key), facts) } else { inner };
        let leaf = self.grow(parent, Role::Leaf, key);
        self.look(leaf, facts);
        leaf
    }

    /// The inner node of `key`. Jobs of exactly this key, which hung in its place, hang under it then.
    fn inner(&mut self, queue: NodeId, key: KeyId, facts: &impl Facts) -> NodeId {
        if key == KeyId::NONE {
            return queue;
        }
        let known = self.directory.find(key, Role::Inner);
        if known != NodeId::NONE {
            return known;
        }
        let parent = self.inner(queue, facts.keys().outer(key), facts);
        let inner = self.grow(parent, Role::Inner, key);
        let leaf = self.directory.find(key, Role::Leaf);
        if leaf == NodeId::NONE {
            self.look(inner, facts);
        } else {
            self.take_in(inner, leaf, facts);
        }
        inner
    }

    /// A leaf with jobs hangs under `inner` from now on, which takes its place.
    fn take_in(&mut self, inner: NodeId, leaf: NodeId, facts: &impl Facts) {
        let since = self.nodes[leaf].since;
        let was_open = self.nodes[leaf].place == Place::Open;
        if was_open {
            self.inherit(inner, leaf);
        } else {
            self.unpark(leaf);
        }
        let before = std::mem::replace(&mut self.nodes[leaf].parent, inner);
        self.nodes[before].kids -= 1;
        self.nodes[inner].kids += 1;
        self.move_crowd(leaf, inner);
        let best = self.best(leaf).expect("a leaf that was found has jobs");
        self.enter(leaf, best, since, facts);
        if !was_open {
            self.look(inner, facts);
            self.up(inner, facts);
        }
    }

    /// The node that has the gate of a key, if any of its jobs, or of those below it, is ready.
    pub(super) fn gated(&self, key: KeyId) -> Option<NodeId> {
        let nodes = [Role::Inner, Role::Leaf].map(|role| self.directory.find(key, role));
        nodes.into_iter().find(|node| *node != NodeId::NONE)
    }

    fn grow(&mut self, parent: NodeId, role: Role, key: KeyId) -> NodeId {
        let queue = self.nodes[parent].queue;
        let crowd = match role {
            Role::Leaf => CrowdId::NONE,
            Role::Inner => self.crowds.insert(Crowd::default()),
        };
        let node = self.nodes.insert(Node { key, queue, role, parent, crowd, ..Node::default() });
        self.nodes[parent].kids += 1;
        match key {
            KeyId::NONE => self.roots[queue as usize].leaf = node,
            _ => self.directory.insert(&self.nodes, node),
        }
        node
    }

    /// A node that has nothing ready goes.
    pub(super) fn forget(&mut self, node: NodeId) {
        debug_assert!(self.nodes[node].lanes == LaneId::NONE && self.nodes[node].standing.is_none());
        self.unpark(node);
        let Node { key, queue, parent, crowd, .. } = self.nodes[node];
        if crowd != CrowdId::NONE {
            self.crowds.remove(crowd);
        }
        match key {
            KeyId::NONE => self.roots[queue as usize].leaf = NodeId::NONE,
            _ => self.directory.remove(&self.nodes, node),
        }
        self.nodes[parent].kids -= 1;
        self.nodes.remove(node);
    }
}
