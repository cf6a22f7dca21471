//! Finds nodes by what they stand for. It holds numbers only: the names are in the nodes.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::node::{Node, NodeId, Role};
use super::slab::Slab;

/// The nodes of all queues but the queues themselves.
pub(super) struct Directory {
    table: HashTable<NodeId>,
    /// Clients choose the keys, so the hash must not be known to them. Nothing is ever listed in its order.
    hasher: RandomState,
    /// The leaf that was found last: a batch often has one key.
    latest: NodeId,
}

impl Directory {
    pub(super) fn new() -> Directory {
        Directory { table: HashTable::new(), hasher: RandomState::new(), latest: NodeId::NONE }
    }

    /// The leaf of `path` in a queue.
    pub(super) fn leaf(&mut self, nodes: &Slab<Node>, queue: u32, path: &str) -> Option<NodeId> {
        let wanted = (queue, Role::Leaf, path);
        if self.latest != NodeId::NONE && identity(&nodes[self.latest]) == wanted {
            return Some(self.latest);
        }
        self.latest = self.find(nodes, wanted)?;
        Some(self.latest)
    }

    /// The inner node of `path` in a queue.
    pub(super) fn inner(&self, nodes: &Slab<Node>, queue: u32, path: &str) -> Option<NodeId> {
        self.find(nodes, (queue, Role::Inner, path))
    }

    /// Remembers a new node.
    pub(super) fn insert(&mut self, nodes: &Slab<Node>, id: NodeId) {
        let hash_of = |id: &NodeId| self.hasher.hash_one(identity(&nodes[*id]));
        self.table.insert_unique(hash_of(&id), id, hash_of);
    }

    /// Forgets a node that is still there.
    pub(super) fn remove(&mut self, nodes: &Slab<Node>, id: NodeId) {
        let hash = self.hasher.hash_one(identity(&nodes[id]));
        let entry = self.table.find_entry(hash, |other| *other == id);
        entry.expect("every node but a queue is in the directory").remove();
        if self.latest == id {
            self.latest = NodeId::NONE;
        }
    }

    fn find(&self, nodes: &Slab<Node>, wanted: (u32, Role, &str)) -> Option<NodeId> {
        let hash = self.hasher.hash_one(wanted);
        self.table.find(hash, |id| identity(&nodes[*id]) == wanted).copied()
    }
}

/// What makes a node this one and no other.
fn identity(node: &Node) -> (u32, Role, &str) {
    (node.queue, node.role, &node.path)
}
