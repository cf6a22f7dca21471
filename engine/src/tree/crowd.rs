//! How much is ready below an inner node: of each priority how many jobs, what they cost, and how many children have
//! how much of it. Nothing is dispatched by it: it is what can be said, without a walk over the children, of when a job's
//! turn will come.

use super::Tree;
use super::lane::LaneId;
use super::node::NodeId;
use super::slab::Id;
use crate::job::Priority;

/// The number of a crowd.
pub(super) type CrowdId = Id<Crowd>;

/// What is ready below a node. Most have one priority: it needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    first: Option<Tier>,
    more: Vec<Tier>,
}

/// What is ready below a node at one priority.
#[derive(Debug, Default)]
pub(crate) struct Tier {
    priority: Priority,
    pub(super) jobs: u32,
    /// Leaves among what has some of them, at whatever depth.
    pub(super) leaves: u32,
    /// What the jobs cost.
    pub(super) cost: u64,
    /// Children that have 1, 2 to 3, 4 to 7, 8 to 15 of the jobs,
    near: [Heap; NEAR],
    /// 16 to 31, and so on.
    far: Option<Box<[Heap; FAR]>>,
}

/// Children that have about the same number of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heap {
    pub(crate) children: u32,
    /// Theirs together.
    pub(crate) jobs: u32,
}

const NEAR: usize = 4;
const FAR: usize = u32::BITS as usize - NEAR;

/// A child of a node has `after` jobs where it had `before`.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    before: u32,
    after: u32,
    /// What it costs by which it has more or less.
    cost: u64,
    leaves: u32,
}

impl Shift {
    /// Of a leaf that has `after` jobs of a priority where it had `before`.
    pub(super) fn of_leaf(before: u32, after: u32, cost: u64) -> Shift {
        Shift { before, after, cost, leaves: u32::from((before == 0) != (after == 0)) }
    }
}

impl Crowd {
    /// What is ready at each priority, in no order. Tiers that have nothing any more may be among them.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &Tier> {
        self.first.iter().chain(&self.more)
    }

    pub(super) fn tier(&self, priority: Priority) -> Option<&Tier> {
        self.tiers().find(|tier| tier.priority == priority)
    }

    fn ensure(&mut self, priority: Priority) -> &mut Tier {
        let first = self.first.get_or_insert_with(|| Tier { priority, ..Tier::default() });
        if first.priority == priority {
            return first;
        }
        let at = self.more.iter().position(|tier| tier.priority == priority).unwrap_or_else(|| {
            self.more.push(Tier { priority, ..Tier::default() });
            self.more.len() - 1
        });
        &mut self.more[at]
    }
}

impl Tier {
    pub(super) fn priority(&self) -> Priority {
        self.priority
    }

    /// Heaps that have children, with the least and the most that each of those may have, without one that has `own` jobs.
    pub(super) fn heaps_without(&self, own: u32) -> impl Iterator<Item = (u32, Heap)> + '_ {
        let own_heap = own.checked_ilog2();
        let heaps = self.near.iter().chain(self.far.iter().flat_map(|far| far.iter()));
        heaps.zip(0u32..).filter_map(move |(heap, log)| {
            let mut heap = *heap;
            if own_heap == Some(log) {
                heap =
                    Heap { children: heap.children.saturating_sub(1), jobs: heap.jobs.saturating_sub(own) };
            }
            (heap.children > 0).then_some((1 << log, heap))
        })
    }

    /// A child has more or fewer jobs than before. What that means for the node itself, as a child of its parent.
    #[inline]
    fn shift(&mut self, shift: Shift) -> Shift {
        let Shift { before, after, cost, leaves } = shift;
        let jobs = self.jobs;
        self.jobs = (self.jobs + after).saturating_sub(before);
        if after > before {
            self.cost = self.cost.saturating_add(cost);
            self.leaves += leaves;
        } else {
            self.cost = if self.jobs == 0 { 0 } else { self.cost.saturating_sub(cost) };
            self.leaves = self.leaves.saturating_sub(leaves);
        }
        if before > 0 {
            let heap = self.heap(before);
            heap.children = heap.children.saturating_sub(1);
            heap.jobs = heap.jobs.saturating_sub(before);
        }
        if after > 0 {
            let heap = self.heap(after);
            heap.children += 1;
            heap.jobs += after;
        }
        Shift { before: jobs, after: self.jobs, cost, leaves }
    }

    fn heap(&mut self, jobs: u32) -> &mut Heap {
        let log = jobs.ilog2() as usize;
        match log.checked_sub(NEAR) {
            None => &mut self.near[log],
            Some(far) => &mut self.far.get_or_insert_with(|| Box::new([Heap::default(); FAR]))[far],
        }
    }
}

impl Tree {
    /// The jobs of a leaf have become more or fewer: those above it count them.
    pub(super) fn recount(&mut self, leaf: NodeId, priority: Priority, mut shift: Shift) {
        let mut node = leaf;
        // Of what is below a shared limit its queues know.
        while !self.is_root(node) {
            node = self.nodes[node].parent;
            shift = self.crowds[self.nodes[node].crowd].ensure(priority).shift(shift);
        }
    }

    /// A leaf hangs under `inner` from now on, which is new and takes its place: those above count as before.
    pub(super) fn move_crowd(&mut self, leaf: NodeId, inner: NodeId) {
        let above = self.nodes[self.nodes[inner].parent].crowd;
        let mut lane = self.nodes[leaf].lanes;
        while lane != LaneId::NONE {
            let priority = self.lanes[lane].priority;
            let jobs = self.lanes[lane].jobs;
            // What these jobs cost is known only with the others above: as much as those on average.
            let cost = self.crowds[above].tier(priority).map_or(0, |tier| tier.cost_of(jobs));
            let shift = Shift::of_leaf(0, jobs, cost);
            self.crowds[self.nodes[inner].crowd].ensure(priority).shift(shift);
            lane = self.lanes[lane].next;
        }
    }
}

impl Tier {
    /// What so many of its jobs cost on average.
    fn cost_of(&self, jobs: u32) -> u64 {
        self.cost / u64::from(self.jobs.max(1)) * u64::from(jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_counted_by_how_much_they_have() {
        let mut tier = Tier::default();
        for (before, after) in [(0, 1), (0, 1), (1, 2), (2, 3), (0, 40)] {
            tier.shift(Shift::of_leaf(before, after, 2));
        }
        let heaps = |own| tier.heaps_without(own).collect::<Vec<_>>();
        let heap = |children, jobs| Heap { children, jobs };
        assert_eq!(heaps(0), [(1, heap(1, 1)), (2, heap(1, 3)), (32, heap(1, 40))]);
        assert_eq!(heaps(40), [(1, heap(1, 1)), (2, heap(1, 3))]);
        assert_eq!((tier.jobs, tier.leaves, tier.cost), (44, 3, 10));
        let above = tier.shift(Shift::of_leaf(1, 0, 2));
        assert_eq!((above.before, above.after, tier.leaves), (44, 43, 2));
    }

    #[test]
    fn inner_node_costs_little_when_all_of_it_has_one_priority() {
        assert!(size_of::<Crowd>() <= 96, "{}", size_of::<Crowd>());
    }
}
