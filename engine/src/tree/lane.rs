//! A lane: what a node has ready at one priority.

use super::fifo::Fifo;
use super::node::NodeId;
use super::slab::Id;
use crate::job::Priority;

/// The number of a lane.
pub(super) type LaneId = Id<Lane>;

/// What a node has ready at one priority. Never empty, but while it is being made or dropped.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) priority: Priority,
    /// Whose lane it is.
    pub(super) node: NodeId,
    /// The node's next lane, less urgent.
    pub(super) next: LaneId,
    /// A leaf's: how many jobs it has there.
    pub(super) jobs: u32,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A leaf's: jobs in order.
    Jobs(Fifo),
    /// An inner node's: its children in a ring, from the one whose turn it is.
    Ring(NodeId),
}

impl Content {
    /// A leaf's jobs.
    pub(super) fn jobs(&mut self) -> &mut Fifo {
        match self {
            Content::Jobs(fifo) => fifo,
            Content::Ring(_) => unreachable!("only leaves are asked for jobs"),
        }
    }

    /// The child of an inner node whose turn it is.
    pub(super) fn turn(&mut self) -> &mut NodeId {
        match self {
            Content::Ring(turn) => turn,
            Content::Jobs(_) => unreachable!("only inner nodes are asked for children"),
        }
    }
}

impl Default for Content {
    fn default() -> Content {
        Content::Ring(NodeId::NONE)
    }
}
