//! Looks again at all gates of a queue, a slice in a step: limits under which a million keys wait are changed without
//! holding anybody up. A gate that is narrower than before is asked when its turn comes anyway; one that is wider lets
//! the first through at once, and the last when the sweep has come to it.

use super::Tree;
use super::gate::Facts;
use super::node::NodeId;
use crate::bound::MAX_NODES_SWEPT_PER_STEP;

/// Where a sweep is.
pub(super) struct Sweep {
    /// The number of the queue or limit.
    root: u32,
    /// The first node that is still to be looked at.
    next: u32,
}

impl Tree {
    /// Gates anywhere in a queue may have changed: its own is looked at now, and some of its keys'; the rest by
    /// [`Tree::wake`].
    pub(crate) fn relook_all(&mut self, queue: NodeId, facts: &impl Facts) {
        // Even though nothing is ready in it: it may be parked all the same.
        self.relook_one(queue, facts);
        let root = self.nodes[queue].queue;
        self.restart_bypass(root);
        self.end_sweep(queue);
        self.sweeps.push(Sweep { root, next: 0 });
        self.sweep(facts);
    }

    /// What is left of a queue's sweep need not be done.
    pub(super) fn end_sweep(&mut self, queue: NodeId) {
        let root = self.nodes[queue].queue;
        self.sweeps.retain(|sweep| sweep.root != root);
    }

    /// Whether there is a gate that is still to be looked at.
    pub(super) fn is_sweeping(&self) -> bool {
        !self.sweeps.is_empty()
    }

    /// Goes on with the sweep that began last.
    pub(super) fn sweep(&mut self, facts: &impl Facts) {
        let Some(Sweep { root, next }) = self.sweeps.pop() else { return };
        let end = self.nodes.end().min(next.saturating_add(MAX_NODES_SWEPT_PER_STEP as u32));
        for number in next..end {
            let node = NodeId::at(number);
            // A look may take others away, but never brings one.
            if self.nodes[node].queue == root && self.is_there(node) && self.is_gated(node) {
                self.relook_one(node, facts);
            }
        }
        if end < self.nodes.end() {
            self.sweeps.push(Sweep { root, next: end });
        }
    }
}
