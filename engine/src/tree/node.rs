//! A node: a key, or a part of one, that has something ready.

use super::lane::Lane;
use super::slab::Id;
use crate::job::Priority;
use crate::time::Timestamp;

/// The number of a node.
pub(crate) type NodeId = Id<Node>;

/// A place in the tree.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// When it entered its ring, or was last served there.
    pub(super) since: Timestamp,
    /// The key, or the part of it, that it stands for.
    pub(super) path: Box<str>,
    /// The number of its queue.
    pub(super) queue: u32,
    /// Whether it holds jobs or nodes.
    pub(super) role: Role,
    /// In whose ring it stands; none: a queue.
    pub(super) parent: NodeId,
    /// Its lanes, most urgent first. Empty ones are not kept.
    pub(super) lanes: Id<Lane>,
    /// In which of the parent's rings it stands: that of the most urgent of its lanes.
    pub(super) standing: Option<Priority>,
    /// Its neighbours there; itself, when it is alone.
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
}

/// What a node holds. One path may have a node of each role: then the leaf hangs under the inner one,
/// as one child among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Jobs of exactly this path.
    #[default]
    Leaf,
    /// Nodes of this path and longer ones.
    Inner,
}
