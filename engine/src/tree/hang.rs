//! Queues under shared limits: where each hangs, and whether anybody wants what it has.

use super::Tree;
use super::gate::Facts;
use super::node::{Node, NodeId, Role};
use crate::ledger::keys::KeyId;

impl Tree {
    /// A queue hangs under `limit` from now on; none: under nothing.
    pub(crate) fn hang(&mut self, queue: NodeId, limit: Option<NodeId>, facts: &impl Facts) {
        let before = self.nodes[queue].parent;
        let parent = limit.unwrap_or(NodeId::NONE);
        if before == parent {
            return;
        }
        if before != NodeId::NONE {
            if self.nodes[queue].standing.is_some() {
                self.leave(queue);
            }
            self.nodes[before].kids -= 1;
            // What it had in flight goes with it: there may be slots, and nothing is reserved for its jobs any more.
            self.relook_one(before, facts);
            self.restart_bypass(self.nodes[before].queue);
        }
        self.nodes[queue].parent = parent;
        if parent != NodeId::NONE {
            self.nodes[parent].kids += 1;
        }
        self.look_again(queue, facts);
    }

    /// Whether anybody waits for the jobs of a queue. It matters only under a limit.
    pub(crate) fn want(&mut self, queue: NodeId, is_wanted: bool, facts: &impl Facts) {
        let number = self.nodes[queue].queue as usize;
        if std::mem::replace(&mut self.roots[number].is_wanted, is_wanted) != is_wanted
            && self.nodes[queue].parent != NodeId::NONE
        {
            self.relook_one(queue, facts);
        }
    }

    /// Whether a queue under a limit is passed over, for nobody would take what it has.
    pub(super) fn is_unwanted(&self, node: NodeId) -> bool {
        self.nodes[node].parent != NodeId::NONE && self.is_root(node) && !self.root(node).is_wanted
    }

    /// Whether a node is a queue or a limit. They stay when nothing is ready in them.
    pub(super) fn is_root(&self, node: NodeId) -> bool {
        let Node { role, key, .. } = self.nodes[node];
        role == Role::Inner && key == KeyId::NONE
    }
}
