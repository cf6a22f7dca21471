//! Finds nodes by what they stand for. It holds numbers only: the names are in the nodes.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::node::{Node, NodeId, Role};
use super::slab::Slab;

/// The nodes of all queues but the queues themselves.
pub(super) struct Directory {
    table: HashTable<Entry>,
    /// Clients choose the keys, so the hash must not be known to them. Nothing is ever listed in its order.
    hasher: RandomState,
    /// The leaf that was found last: a batch often has one key.
    latest: NodeId,
}

/// A node, with its hash beside it: a growing table must not read a million names.
#[derive(Debug)]
struct Entry {
    hash: u32,
    node: NodeId,
}

/// What makes a node this one and no other: queue, role, path.
type Identity<'a> = (u32, Role, &'a str);

impl Directory {
    /// What an entry costs, with the byte the table keeps beside it.
    #[cfg(test)]
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() + 1;

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
    pub(super) fn insert(&mut self, nodes: &Slab<Node>, node: NodeId) {
        let hash = self.hash(identity(&nodes[node]));
        self.table.insert_unique(spread(hash), Entry { hash, node }, |entry| spread(entry.hash));
    }

    /// Forgets a node that is still there.
    pub(super) fn remove(&mut self, nodes: &Slab<Node>, node: NodeId) {
        let hash = self.hash(identity(&nodes[node]));
        let entry = self.table.find_entry(spread(hash), |entry| entry.node == node);
        entry.expect("every node but a queue is in the directory").remove();
        if self.latest == node {
            self.latest = NodeId::NONE;
        }
    }

    fn find(&self, nodes: &Slab<Node>, wanted: Identity<'_>) -> Option<NodeId> {
        let hash = self.hash(wanted);
        let entry = |entry: &Entry| entry.hash == hash && identity(&nodes[entry.node]) == wanted;
        self.table.find(spread(hash), entry).map(|entry| entry.node)
    }

    fn hash(&self, identity: Identity<'_>) -> u32 {
        self.hasher.hash_one(identity) as u32
    }
}

/// The table looks at both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn identity(node: &Node) -> Identity<'_> {
    (node.queue, node.role, &node.path)
}
