//! Finds nodes by their keys. A key has a number, so this is a table.

use super::node::{Node, NodeId, Role};
use super::slab::Slab;
use crate::ledger::keys::{KeyId, Keys};

/// The nodes of all keys.
#[derive(Default)]
pub(super) struct Directory {
    by_key: Vec<Nodes>,
}

/// A key's.
#[derive(Clone, Copy, Debug, Default)]
struct Nodes {
    leaf: NodeId,
    inner: NodeId,
}

impl Directory {
    /// What a key costs here.
    #[cfg(test)]
    pub(super) const ENTRY_BYTES: usize = size_of::<Nodes>();

    /// The node of this role, or none.
    pub(super) fn find(&self, key: KeyId, role: Role) -> NodeId {
        let nodes = self.by_key.get(Keys::index(key)).copied().unwrap_or_default();
        match role {
            Role::Leaf => nodes.leaf,
            Role::Inner => nodes.inner,
        }
    }

    /// Remembers a new node.
    pub(super) fn insert(&mut self, nodes: &Slab<Node>, node: NodeId) {
        let index = Keys::index(nodes[node].key);
        if self.by_key.len() <= index {
            self.by_key.resize(index + 1, Nodes::default());
        }
        *self.of(nodes, node) = node;
    }

    /// Forgets a node that is still there.
    pub(super) fn remove(&mut self, nodes: &Slab<Node>, node: NodeId) {
        *self.of(nodes, node) = NodeId::NONE;
    }

    fn of(&mut self, nodes: &Slab<Node>, node: NodeId) -> &mut NodeId {
        let entry = &mut self.by_key[Keys::index(nodes[node].key)];
        match nodes[node].role {
            Role::Leaf => &mut entry.leaf,
            Role::Inner => &mut entry.inner,
        }
    }
}
