//! What stands before a job, node by node on its way. Reads only, and walks up alone: what it costs does not depend on how
//! many jobs or children there are.

use super::crowd::{Crowd, Tier};
use super::gate::Facts;
use super::lane::{Content, LaneId};
use super::node::{NodeId, Role};
use super::{Heap, Slot, Tree};
use crate::job::Priority;
use crate::ledger::keys::KeyId;
use crate::time::{Span, Timestamp};

/// What stands before a job.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Jobs of its key and priority that go before it.
    pub(crate) before: u64,
    /// Jobs of its key with higher priorities.
    pub(crate) above: u64,
    /// How long the way down to it has stood where it stands.
    pub(crate) waited: Span,
    /// The lowest priority above its own at which anything of the queue is ready.
    pub(crate) rival: Option<Priority>,
    /// The nodes on its way, from its own up to the queue. There is at least one.
    pub(crate) steps: Vec<Step>,
}

/// What stands before a job at one node.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The node; [`KeyId::NONE`]: the queue.
    pub(crate) key: KeyId,
    /// Whether it asks anything: jobs of a key that has longer ones beside them go through its gate but once.
    pub(crate) is_gated: bool,
    /// Children but the one on the way, with what each at least has of a higher priority: one that has of several stands
    /// here several times.
    pub(crate) higher: Vec<(u32, Heap)>,
    /// As `higher`, of the job's own priority.
    pub(crate) equal: Vec<(u32, Heap)>,
    /// Less urgent ones, which age.
    pub(crate) lower: Vec<Lower>,
    /// Leaves below those children, at the job's priority and those above.
    pub(crate) leaves: u64,
    /// Everything that is ready here.
    pub(crate) jobs: u64,
    /// What that costs.
    pub(crate) cost: u64,
}

/// What is ready at a lower priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lower {
    /// By how much it is lower.
    pub(crate) steps: u8,
    pub(crate) children: u64,
    pub(crate) jobs: u64,
    /// How long its front has stood there.
    pub(crate) waited: Span,
}

impl Tree {
    /// What stands before a job of `key` at `priority`: the one in `slot`, or one that would come now as the last.
    pub(crate) fn survey(
        &self,
        queue: NodeId,
        key: KeyId,
        priority: Priority,
        slot: Option<Slot>,
        facts: &impl Facts,
    ) -> Survey {
        let leaf = match key {
            KeyId::NONE => self.roots[self.nodes[queue].queue as usize].leaf,
            key => self.directory.find(key, Role::Leaf),
        };
        let rival = self.rival(queue, priority);
        let mut survey = Survey { before: 0, above: 0, waited: Span::ZERO, rival, steps: Vec::new() };
        let mut next = Some(key);
        if leaf == NodeId::NONE {
            let is_gated = key != KeyId::NONE && self.inner_or_none(queue, key) == NodeId::NONE;
            survey.steps.push(Step { key, is_gated, ..Step::default() });
            if is_gated {
                next = Some(facts.keys().outer(key));
            }
        } else {
            survey.steps.push(self.at_leaf(
                leaf,
                priority,
                slot,
                &mut survey.before,
                &mut survey.above,
                facts,
            ));
            if self.is_gated(leaf) {
                next = Some(facts.keys().outer(key));
            }
        }
        let mut child = leaf;
        while let Some(key) = next {
            next = (key != KeyId::NONE).then(|| facts.keys().outer(key));
            let node = self.inner_or_none(queue, key);
            survey.steps.push(self.at_inner(node, key, child, priority, facts.now()));
            child = node;
        }
        if slot.is_some() {
            survey.waited = facts.now().since(self.stood_since(leaf, priority, facts.now()));
        }
        survey
    }

    /// Whether something may go now, as far as the queue itself is concerned.
    pub(crate) fn is_open(&self, queue: NodeId) -> bool {
        self.nodes[queue].place == super::Place::Open && self.nodes[queue].lanes != LaneId::NONE
    }

    fn inner_or_none(&self, queue: NodeId, key: KeyId) -> NodeId {
        if key == KeyId::NONE { queue } else { self.directory.find(key, Role::Inner) }
    }

    fn at_leaf(
        &self,
        leaf: NodeId,
        priority: Priority,
        slot: Option<Slot>,
        before: &mut u64,
        above: &mut u64,
        facts: &impl Facts,
    ) -> Step {
        let mut step = Step { key: self.nodes[leaf].key, is_gated: self.is_gated(leaf), ..Step::default() };
        for (lane, of) in self.lanes_of(leaf) {
            let jobs = u64::from(self.lanes[lane].jobs);
            step.jobs += jobs;
            if of > priority {
                *above += jobs;
            } else if of < priority {
                step.lower.push(Lower {
                    steps: priority.get() - of.get(),
                    children: 1,
                    jobs,
                    waited: facts.now().since(self.since(lane)),
                });
            } else if let Content::Jobs(fifo) = &self.lanes[lane].content {
                *before = match slot {
                    Some(slot) => fifo.before(&self.links, slot, jobs, |slot| facts.sequence(slot)),
                    None => jobs,
                };
            }
        }
        // What they cost is known above.
        step.cost = step.jobs;
        let parent = self.nodes[leaf].parent;
        if let Some(tier) = self.crowds[self.nodes[parent].crowd].tier(priority)
            && tier.jobs > 0
        {
            step.cost = (step.jobs as f64 * tier.cost as f64 / f64::from(tier.jobs)) as u64;
        }
        step
    }

    /// At an inner node, or where there is none now.
    fn at_inner(&self, node: NodeId, key: KeyId, child: NodeId, priority: Priority, now: Timestamp) -> Step {
        let mut step = Step { key, is_gated: true, ..Step::default() };
        if node == NodeId::NONE {
            return step;
        }
        for tier in self.crowds[self.nodes[node].crowd].tiers() {
            step.jobs += u64::from(tier.jobs);
            step.cost += tier.cost;
            let of = tier.priority();
            if of >= priority {
                let beside = tier.heaps_without(self.jobs_at(child, of));
                if of > priority {
                    step.higher.extend(beside)
                } else {
                    step.equal.extend(beside)
                }
                let own = self.leaves_at(child, of);
                step.leaves += u64::from(tier.leaves.saturating_sub(own));
            } else if tier.jobs > 0 {
                step.lower.push(self.lower(node, tier, priority, now));
            }
        }
        step
    }

    fn lower(&self, node: NodeId, tier: &Tier, priority: Priority, now: Timestamp) -> Lower {
        // Those that are parked, or stand in the ring of a more urgent priority, have not waited here.
        let front = self.lanes_of(node).find(|(_, of)| *of == tier.priority());
        Lower {
            steps: priority.get() - tier.priority().get(),
            children: tier.heaps_without(0).map(|(_, heap)| u64::from(heap.children)).sum(),
            jobs: tier.jobs.into(),
            waited: front.map_or(Span::ZERO, |(lane, _)| now.since(self.since(lane))),
        }
    }

    /// What a node has ready at a priority, itself and below it.
    fn jobs_at(&self, node: NodeId, priority: Priority) -> u32 {
        match self.crowd_of(node) {
            Some(crowd) => crowd.tier(priority).map_or(0, |tier| tier.jobs),
            None => self
                .lanes_of(node)
                .find(|(_, of)| *of == priority)
                .map_or(0, |(lane, _)| self.lanes[lane].jobs),
        }
    }

    fn leaves_at(&self, node: NodeId, priority: Priority) -> u32 {
        match self.crowd_of(node) {
            Some(crowd) => crowd.tier(priority).map_or(0, |tier| tier.leaves),
            None => u32::from(self.jobs_at(node, priority) > 0),
        }
    }

    fn crowd_of(&self, node: NodeId) -> Option<&Crowd> {
        let is_inner = node != NodeId::NONE && self.nodes[node].role == Role::Inner;
        is_inner.then(|| &self.crowds[self.nodes[node].crowd])
    }

    /// A node's lanes, the most urgent first; none: no lanes.
    fn lanes_of(&self, node: NodeId) -> impl Iterator<Item = (LaneId, Priority)> + '_ {
        let some = |lane: LaneId| (lane != LaneId::NONE).then_some(lane);
        let first = if node == NodeId::NONE { LaneId::NONE } else { self.nodes[node].lanes };
        let lanes = std::iter::successors(some(first), move |lane| some(self.lanes[*lane].next));
        lanes.map(|lane| (lane, self.lanes[lane].priority))
    }

    /// Since when the longest standing of a leaf and those above it stands where it does.
    fn stood_since(&self, leaf: NodeId, priority: Priority, now: Timestamp) -> Timestamp {
        let lane = self.lanes_of(leaf).find(|(_, of)| *of == priority);
        let mut since = lane.map_or(now, |(lane, _)| self.since(lane));
        let mut node = leaf;
        while node != NodeId::NONE {
            if self.nodes[node].standing.is_some() {
                since = since.min(self.nodes[node].since);
            }
            node = self.nodes[node].parent;
        }
        since
    }

    fn rival(&self, queue: NodeId, priority: Priority) -> Option<Priority> {
        let tiers = self.crowds[self.nodes[queue].crowd].tiers();
        tiers.filter(|tier| tier.jobs > 0 && tier.priority() > priority).map(Tier::priority).min()
    }
}
