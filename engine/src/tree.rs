//! The dispatch tree: which READY job goes next. A queue is the root of its keys' segments; jobs hang
//! under the node of their key. At every node the most urgent priority goes first and, among children of
//! one priority, each has its turn. Whoever waits rises by one priority for each step of the queue's
//! ageing, so that nothing starves.
//!
//! A node that must not let anything through for now is in no ring: it is parked until its time comes, or until
//! something below it is done. So a throttled key costs nothing and stands in nobody's way, and a limit that
//! holds a million keys is one timer.
//!
//! Queues may hang under a node of their own, a shared limit: then a search begins there, and a queue from which nobody
//! leases just now is in its ring no more than one that is throttled.
//!
//! It knows jobs by their slots and sequence numbers only, and holds only what is ready: a node lives
//! while something is ready below it. All can be derived from the facts; nothing of it is stored.

mod bypass;
mod crowd;
mod directory;
mod fifo;
mod gate;
mod growth;
mod hang;
mod lane;
#[cfg(test)]
mod model;
mod node;
mod ring;
mod slab;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::bound::MAX_PARKED_PER_STEP;
use crate::id::QueueId;
use crate::job::Priority;
use crate::ledger::keys::KeyId;
use crate::time::{Span, Timestamp};
use crate::timer::Timers;
use bypass::Line;
pub(crate) use crowd::Heap;
use crowd::{Crowd, Shift};
use directory::Directory;
use fifo::{Fifo, Link};
use gate::Place;
pub(crate) use gate::{Facts, Gate, Next};
use lane::{Content, Lane, LaneId};
use node::Node;
pub(crate) use node::NodeId;
use slab::Slab;
pub(crate) use survey::{Lower, Step, Survey};
use sweep::Sweep;

/// Where the engine keeps a job. Below `u32::MAX`.
pub(crate) type Slot = u32;

/// Everything that is ready, in the order of dispatch.
pub(crate) struct Tree {
    nodes: Slab<Node>,
    lanes: Slab<Lane>,
    /// Of each inner node.
    crowds: Slab<Crowd>,
    /// Of each slot.
    links: Vec<Link>,
    directory: Directory,
    /// Of each queue and shared limit.
    roots: Vec<Root>,
    /// Nodes that wait for a time, by their numbers.
    parked: Timers,
    /// When lines of jobs that bypass limits are to be asked again, by the numbers of their queues.
    bypass_opens: Timers,
    /// The numbers of queues that have such a line.
    bypass_lines: BTreeSet<u32>,
    /// Queues and limits whose gates are being looked at again.
    sweeps: Vec<Sweep>,
    /// Queues that may have something to give again.
    roused: Vec<QueueId>,
}

/// What only queues and shared limits have.
struct Root {
    id: QueueId,
    node: NodeId,
    /// How long a priority waits to count as the next higher one. Zero: for ever.
    ageing: Span,
    /// Where its jobs without a key hang.
    leaf: NodeId,
    /// Whether anybody waits for its jobs. Of one that hangs under a limit: others are not searched for nobody.
    is_wanted: bool,
    /// Its jobs that bypass limits, if it has any.
    bypass: Option<Box<Line>>,
}

impl Tree {
    /// No queue.
    pub(crate) fn new() -> Tree {
        Tree {
            nodes: Slab::new(),
            lanes: Slab::new(),
            crowds: Slab::new(),
            links: Vec::new(),
            directory: Directory::default(),
            roots: Vec::new(),
            parked: Timers::new(),
            bypass_opens: Timers::new(),
            bypass_lines: BTreeSet::new(),
            sweeps: Vec::new(),
            roused: Vec::new(),
        }
    }

    /// A new queue or shared limit. With `ageing`, each such span of waiting counts as one priority more; zero: none
    /// does.
    pub(crate) fn add_root(&mut self, id: QueueId, ageing: Span) -> NodeId {
        let number = u32::try_from(self.roots.len()).expect("queues are bounded");
        let crowd = self.crowds.insert(Crowd::default());
        let node = self.nodes.insert(Node::root(number, crowd));
        self.roots.push(Root { id, node, ageing, leaf: NodeId::NONE, is_wanted: false, bypass: None });
        node
    }

    /// A queue that has nothing ready, or a limit that has no queues, is no more.
    pub(crate) fn remove_root(&mut self, root: NodeId) {
        debug_assert!(!self.is_there(root), "a root is removed though something is ready in it");
        self.unpark(root);
        let Node { parent, crowd, .. } = self.nodes[root];
        if parent != NodeId::NONE {
            self.nodes[parent].kids -= 1;
        }
        self.end_sweep(root);
        self.crowds.remove(crowd);
        self.nodes.remove(root);
    }

    /// Changes the ageing of a queue or limit. See [`Tree::add_root`].
    pub(crate) fn set_ageing(&mut self, queue: NodeId, ageing: Span) {
        self.roots[self.nodes[queue].queue as usize].ageing = ageing;
    }

    /// Queues that may have something to give again, since the last call.
    pub(crate) fn take_roused(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.roused)
    }

    /// Whether there are such queues.
    pub(crate) fn is_roused(&self) -> bool {
        !self.roused.is_empty()
    }

    /// A job is ready. Among those of its key and priority it stands by its sequence; no two have the same.
    pub(crate) fn push(
        &mut self,
        queue: NodeId,
        key: KeyId,
        slot: Slot,
        priority: Priority,
        facts: &impl Facts,
    ) {
        let leaf = self.leaf(queue, key, facts);
        let (lane, made) = self.lane(leaf, priority, || Content::Jobs(Fifo::new(facts.now())));
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link::ABSENT);
        }
        let link = &mut self.links[slot as usize];
        debug_assert_eq!(link.lane, LaneId::NONE, "a job was pushed twice");
        link.lane = lane;
        let Lane { jobs, content, .. } = &mut self.lanes[lane];
        content.jobs().insert(&mut self.links, slot, facts.sequence(slot));
        *jobs += 1;
        let shift = Shift::of_leaf(*jobs - 1, *jobs, facts.cost(slot));
        self.recount(leaf, priority, shift);
        if facts.bypasses_limits(slot) {
            self.enter_bypass(queue, key, slot, facts.sequence(slot));
        }
        if made {
            self.better(leaf, priority, facts);
            self.up(leaf, facts);
        } else if self.lanes[lane].content.jobs().first(|slot| facts.sequence(slot)) == slot {
            // It came back to its old place, before a job that something may be reserved for.
            self.void_from(leaf, facts);
        }
    }

    /// The job of a queue, or of those under a limit, that is to go next, if any may go now: what stands in its way is
    /// parked. [`Tree::take`] it, charge
    /// what it costs, and tell with [`Tree::served`].
    pub(crate) fn next(&mut self, top: NodeId, facts: &impl Facts) -> Option<Next> {
        if let Some(next) = self.bypassing(top, facts) {
            return Some(next);
        }
        for _ in 0..MAX_PARKED_PER_STEP {
            if self.nodes[top].place != Place::Open {
                return None;
            }
            let lane = self.front(top, facts.now())?;
            let slot = self.lanes[lane].content.jobs().first(|slot| facts.sequence(slot));
            let Some((node, gate)) = self.closed(self.lanes[lane].node, facts.cost(slot), facts) else {
                return Some(Next { slot, lane });
            };
            match self.gate(node, gate::LEAST, facts) {
                // Open for others, it waits for this one: a dear job is not passed for ever.
                Gate::Open => {
                    let front = self
                        .choose(node, self.root(node).ageing, facts.now())
                        .map(|lane| self.lanes[lane].priority);
                    self.park(node, gate, front);
                }
                closed => self.park(node, closed, None),
            }
            self.up(node, facts);
        }
        // The rest is looked at in the next step.
        self.roused.push(self.root(top).id);
        None
    }

    fn root(&self, node: NodeId) -> &Root {
        &self.roots[self.nodes[node].queue as usize]
    }

    /// Takes the job that was found. Its leaf, for [`Tree::served`]; none, if it bypassed limits: then tell with
    /// [`Tree::bypassed`].
    pub(crate) fn take(&mut self, next: Next, facts: &impl Facts) -> NodeId {
        if next.bypasses_limits() {
            self.remove(next.slot, facts);
            return NodeId::NONE;
        }
        let leaf = self.lanes[next.lane].node;
        self.leave_bypass(leaf, next.slot, facts);
        self.lanes[next.lane].content.jobs().since = facts.now();
        if self.unlist(next.lane, next.slot, facts) {
            self.drop_lane(next.lane);
        }
        leaf
    }

    /// A job of `leaf` was taken, and what it costs is charged: it and those above it end their turns, and are
    /// parked if that was their last for now. It was not where all on its way `are_open` still.
    pub(crate) fn served(&mut self, leaf: NodeId, are_open: bool, facts: &impl Facts) {
        let mut node = leaf;
        while node != NodeId::NONE {
            let parent = self.nodes[node].parent;
            if !are_open {
                self.look(node, facts);
            }
            if parent != NodeId::NONE {
                self.settle(node, true, facts);
            }
            node = parent;
        }
    }

    /// A job that is ready leaves otherwise than by [`Tree::take`].
    pub(crate) fn remove(&mut self, slot: Slot, facts: &impl Facts) {
        let lane = self.links[slot as usize].lane;
        debug_assert_ne!(lane, LaneId::NONE, "a job was removed that is not ready");
        let leaf = self.lanes[lane].node;
        let is_empty = self.unlist(lane, slot, facts);
        self.leave_bypass(leaf, slot, facts);
        self.void_from(leaf, facts);
        if is_empty {
            self.drop_lane(lane);
            self.up(leaf, facts);
        }
    }

    /// Takes a job out of its lane. Whether it was the last there.
    fn unlist(&mut self, lane: LaneId, slot: Slot, facts: &impl Facts) -> bool {
        let Lane { node, priority, jobs, content, .. } = &mut self.lanes[lane];
        content.jobs().remove(&mut self.links, slot, facts.sequence(slot));
        self.links[slot as usize] = Link::ABSENT;
        *jobs -= 1;
        let (leaf, priority, left) = (*node, *priority, *jobs);
        self.recount(leaf, priority, Shift::of_leaf(left + 1, left, facts.cost(slot)));
        left == 0
    }

    /// The lane whose first job is to go next.
    fn front(&self, top: NodeId, now: Timestamp) -> Option<LaneId> {
        let mut lane = self.choose(top, self.root(top).ageing, now)?;
        while let Content::Ring(child) = self.lanes[lane].content {
            let ageing = self.root(child).ageing;
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
        let priority = self.lanes[lane].priority;
        let waited = now.since(self.since(lane));
        ageing.0.saturating_mul(u64::from(priority.get())).saturating_add(waited.0)
    }

    /// When the front of a lane entered it, or was last served.
    fn since(&self, lane: LaneId) -> Timestamp {
        match &self.lanes[lane].content {
            Content::Jobs(fifo) => fifo.since,
            Content::Ring(child) => self.nodes[*child].since,
        }
    }
}
