//! The dispatch tree: which READY job goes next. A queue is the root of its keys' segments; jobs hang
//! under the node of their key. At every node the most urgent priority goes first and, among children of
//! one priority, each has its turn. Whoever waits rises by one priority for each step of the queue's
//! ageing, so that nothing starves.
//!
//! It knows jobs by their slots and sequence numbers only, and holds only what is ready: a node lives
//! while something is ready below it. All can be derived from the facts; nothing of it is stored.

mod directory;
mod fifo;
mod growth;
mod lane;
#[cfg(test)]
mod model;
mod node;
mod ring;
mod slab;
#[cfg(test)]
mod tests;

use crate::job::Priority;
use crate::name::Key;
use crate::time::{Span, Timestamp};
use directory::Directory;
use fifo::{Fifo, Link};
use lane::{Content, Lane, LaneId};
use node::Node;
pub(crate) use node::NodeId;
use slab::Slab;

/// Where the engine keeps a job. Below `u32::MAX`.
pub(crate) type Slot = u32;

/// Everything that is ready, in the order of dispatch.
pub(crate) struct Tree {
    nodes: Slab<Node>,
    lanes: Slab<Lane>,
    /// Of each slot.
    links: Vec<Link>,
    directory: Directory,
    /// Of each queue: how long a priority waits to count as the next higher one. Zero: for ever.
    ageing: Vec<Span>,
}

impl Tree {
    /// No queue.
    pub(crate) fn new() -> Tree {
        Tree {
            nodes: Slab::new(),
            lanes: Slab::new(),
            links: Vec::new(),
            directory: Directory::new(),
            ageing: Vec::new(),
        }
    }

    /// A new queue. With `ageing`, each such span of waiting counts as one priority more; zero: none does.
    pub(crate) fn add_queue(&mut self, ageing: Span) -> NodeId {
        let number = u32::try_from(self.ageing.len()).expect("queues are bounded");
        self.ageing.push(ageing);
        self.nodes.insert(Node::queue(number))
    }

    /// A queue that has nothing ready is no more.
    pub(crate) fn remove_queue(&mut self, queue: NodeId) {
        debug_assert!(self.is_empty(queue), "a queue is removed though something is ready in it");
        self.nodes.remove(queue);
    }

    /// Changes the ageing of a queue. See [`Tree::add_queue`].
    pub(crate) fn set_ageing(&mut self, queue: NodeId, ageing: Span) {
        self.ageing[self.nodes[queue].queue as usize] = ageing;
    }

    /// Whether nothing is ready in `queue`.
    pub(crate) fn is_empty(&self, queue: NodeId) -> bool {
        self.nodes[queue].lanes == LaneId::NONE
    }

    /// A job is ready. Among those of its key and priority it stands by its `sequence`; no two have the same.
    pub(crate) fn push(
        &mut self,
        queue: NodeId,
        key: &Key,
        slot: Slot,
        sequence: u64,
        priority: Priority,
        now: Timestamp,
    ) {
        let leaf = self.leaf(queue, key);
        let (lane, made) = self.lane(leaf, priority, || Content::Jobs(Fifo::new(now)));
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link::ABSENT);
        }
        let link = &mut self.links[slot as usize];
        debug_assert_eq!(link.lane, LaneId::NONE, "a job was pushed twice");
        link.lane = lane;
        self.lanes[lane].content.jobs().insert(&mut self.links, slot, sequence);
        if made {
            self.up(leaf, now);
        }
    }

    /// Takes the job that is to go next.
    pub(crate) fn pop(
        &mut self,
        queue: NodeId,
        now: Timestamp,
        sequence_of: impl Fn(Slot) -> u64,
    ) -> Option<Slot> {
        let lane = self.front(queue, now)?;
        let mut node = self.lanes[lane].node;
        let fifo = self.lanes[lane].content.jobs();
        let slot = fifo.take(&mut self.links, sequence_of);
        fifo.since = now;
        self.links[slot as usize] = Link::ABSENT;
        if fifo.is_empty() {
            self.drop_lane(lane);
        }
        while self.nodes[node].parent != NodeId::NONE {
            let parent = self.nodes[node].parent;
            self.settle(node, true, now);
            node = parent;
        }
        Some(slot)
    }

    /// A job that is ready leaves otherwise than by [`Tree::pop`].
    pub(crate) fn remove(&mut self, slot: Slot, sequence: u64, now: Timestamp) {
        let lane = self.links[slot as usize].lane;
        debug_assert_ne!(lane, LaneId::NONE, "a job was removed that is not ready");
        let fifo = self.lanes[lane].content.jobs();
        fifo.remove(&mut self.links, slot, sequence);
        self.links[slot as usize] = Link::ABSENT;
        if fifo.is_empty() {
            let leaf = self.lanes[lane].node;
            self.drop_lane(lane);
            self.up(leaf, now);
        }
    }

    /// The lane whose first job is to go next.
    fn front(&self, queue: NodeId, now: Timestamp) -> Option<LaneId> {
        let ageing = self.ageing[self.nodes[queue].queue as usize];
        let mut lane = self.choose(queue, ageing, now)?;
        while let Content::Ring(child) = self.lanes[lane].content {
            lane = self.choose(child, ageing, now).expect("what stands in a ring has something ready");
        }
        Some(lane)
    }

    /// The lane of `node` that has waited most urgently; of equals, that of the higher priority.
    fn choose(&self, node: NodeId, ageing: Span, now: Timestamp) -> Option<LaneId> {
        let first = self.nodes[node].lanes;
        if first == LaneId::NONE {
            return None;
        }
        let mut next = self.lanes[first].next;
        if next == LaneId::NONE || ageing == Span::ZERO {
            return Some(first);
        }
        let mut chosen = (self.urgency(first, ageing, now), first);
        while next != LaneId::NONE {
            let urgency = self.urgency(next, ageing, now);
            if urgency > chosen.0 {
                chosen = (urgency, next);
            }
            next = self.lanes[next].next;
        }
        Some(chosen.1)
    }

    /// The priority of a lane in units of `ageing`, and how long its front has waited since it entered or
    /// was last served.
    fn urgency(&self, lane: LaneId, ageing: Span, now: Timestamp) -> u64 {
        let lane = &self.lanes[lane];
        let since = match &lane.content {
            Content::Jobs(fifo) => fifo.since,
            Content::Ring(child) => self.nodes[*child].since,
        };
        ageing.0.saturating_mul(u64::from(lane.priority.get())).saturating_add(now.since(since).0)
    }
}
