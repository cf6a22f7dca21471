//! A node: a key, or a part of one, that has something ready.

use super::crowd::CrowdId;
use super::gate::Place;
use super::lane::Lane;
use super::slab::Id;
use crate::job::Priority;
use crate::ledger::keys::KeyId;
use crate::time::Timestamp;

/// The number of a node.
pub(crate) type NodeId = Id<Node>;

/// A place in the tree.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// When it entered its ring, or was last served there.
    pub(super) since: Timestamp,
    /// The key, or the part of it, that it stands for.
    pub(super) key: KeyId,
    /// The number of its queue.
    pub(super) queue: u32,
    /// Whether it holds jobs or nodes.
    pub(super) role: Role,
    /// In whose ring it stands; none: a queue.
    pub(super) parent: NodeId,
    /// Its lanes, most urgent first. Empty ones are not kept.
    pub(super) lanes: Id<Lane>,
    /// How many nodes have it as their parent, wherever they are.
    pub(super) kids: u32,
    /// An inner node's: what is ready below it, counted.
    pub(super) crowd: CrowdId,
    /// In which of the parent's rings it stands: that of the most urgent of its lanes. None while it is elsewhere.
    pub(super) standing: Option<Priority>,
    /// Where it is.
    pub(super) place: Place,
    /// While it waits for more than its least: the priority of the job that it waits for.
    pub(super) reserved: Option<Priority>,
    /// How often it was served in this turn.
    pub(super) served: u16,
    /// Its neighbours in the ring; itself, when it is alone.
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
}

/// What a node holds. One key may have a node of each role: then the leaf hangs under the inner one,
/// as one child among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Jobs of exactly this key.
    #[default]
    Leaf,
    /// Nodes of this key and longer ones.
    Inner,
}
