//! Nodes come with the first job of their key and go with the last.

use super::node::{Node, NodeId, Role};
use super::{LaneId, Tree};

impl Node {
    /// The root of a queue: the inner node of the empty path.
    pub(super) fn queue(number: u32) -> Node {
        Node { queue: number, role: Role::Inner, ..Node::default() }
    }
}

impl Tree {
    /// Where the jobs of `key` hang. A new leaf stands nowhere yet, and is to be given a job at once.
    pub(super) fn leaf(&mut self, queue: NodeId, key: &str) -> NodeId {
        let number = self.nodes[queue].queue;
        if let Some(leaf) = self.directory.leaf(&self.nodes, number, key) {
            return leaf;
        }
        let parent = match self.directory.inner(&self.nodes, number, key) {
            Some(inner) => inner,
            None => self.inner(queue, outer(key)),
        };
        self.grow(parent, Role::Leaf, key)
    }

    /// The inner node of `path`. Jobs of exactly this path, which hung in its place, hang under it then.
    fn inner(&mut self, queue: NodeId, path: &str) -> NodeId {
        if path.is_empty() {
            return queue;
        }
        let number = self.nodes[queue].queue;
        if let Some(inner) = self.directory.inner(&self.nodes, number, path) {
            return inner;
        }
        let parent = self.inner(queue, outer(path));
        let inner = self.grow(parent, Role::Inner, path);
        if let Some(leaf) = self.directory.leaf(&self.nodes, number, path) {
            let (standing, since) = (self.nodes[leaf].standing, self.nodes[leaf].since);
            self.inherit(inner, leaf);
            self.nodes[leaf].parent = inner;
            self.enter(leaf, standing.expect("a leaf that was found has jobs"), since);
        }
        inner
    }

    fn grow(&mut self, parent: NodeId, role: Role, path: &str) -> NodeId {
        let queue = self.nodes[parent].queue;
        let node = self.nodes.insert(Node { path: path.into(), queue, role, parent, ..Node::default() });
        self.directory.insert(&self.nodes, node);
        node
    }

    /// A node that has nothing ready goes.
    pub(super) fn forget(&mut self, node: NodeId) {
        debug_assert!(self.nodes[node].lanes == LaneId::NONE && self.nodes[node].standing.is_none());
        self.directory.remove(&self.nodes, node);
        self.nodes.remove(node);
    }
}

/// The path without its last segment.
fn outer(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(outer, _)| outer)
}
