//! Who stands where. A node with something ready stands in exactly one ring of its parent: that of the
//! most urgent priority it has ready.

use super::Tree;
use super::gate::{Facts, Place};
use super::lane::{Content, Lane, LaneId};
use super::node::NodeId;
use crate::job::Priority;
use crate::time::Timestamp;

impl Tree {
    /// What is ready in `node` or below has changed: it, and those above it, go where they belong.
    pub(super) fn up(&mut self, mut node: NodeId, facts: &impl Facts) {
        while self.nodes[node].parent != NodeId::NONE {
            let parent = self.nodes[node].parent;
            if !self.settle(node, false, facts) {
                return;
            }
            node = parent;
        }
    }

    /// Puts `node` where it belongs, and at the end of its ring if it was `served` often enough. A node without
    /// anything ready is forgotten. Whether what is ready in its parent may have changed.
    pub(super) fn settle(&mut self, node: NodeId, served: bool, facts: &impl Facts) -> bool {
        let standing = self.nodes[node].standing;
        let wanted = self.best(node).filter(|_| self.nodes[node].place == Place::Open);
        if standing == wanted {
            if served && wanted.is_some() {
                self.end_turn(node, facts);
            }
        } else {
            if standing.is_some() {
                self.leave(node);
            }
            if let Some(priority) = wanted {
                self.enter(node, priority, facts.now(), facts);
            }
        }
        let is_spent = !self.is_there(node) && !self.is_root(node);
        if is_spent {
            self.forget(node);
        }
        is_spent || standing != wanted
    }

    /// Whether anything is ready in a node or below it, wherever that is.
    pub(super) fn is_there(&self, node: NodeId) -> bool {
        self.nodes[node].lanes != LaneId::NONE || self.nodes[node].kids > 0
    }

    /// `heir` takes the place of `node` in its ring, and its turn.
    pub(super) fn inherit(&mut self, heir: NodeId, node: NodeId) {
        let (parent, previous, next) =
            (self.nodes[node].parent, self.nodes[node].previous, self.nodes[node].next);
        let standing = self.nodes[node].standing.take();
        self.nodes[heir].standing = standing;
        self.nodes[heir].since = self.nodes[node].since;
        let alone = next == node;
        self.nodes[heir].previous = if alone { heir } else { previous };
        self.nodes[heir].next = if alone { heir } else { next };
        if !alone {
            self.nodes[previous].next = heir;
            self.nodes[next].previous = heir;
        }
        let lane = self.lane_of(parent, standing.expect("only a node in a ring has something to leave"));
        let turn = self.lanes[lane].content.turn();
        if *turn == node {
            *turn = heir;
        }
    }

    /// `node` enters the ring of its parent at `priority`, as the last.
    pub(super) fn enter(&mut self, node: NodeId, priority: Priority, since: Timestamp, facts: &impl Facts) {
        let parent = self.nodes[node].parent;
        let (lane, _) = self.lane(parent, priority, || Content::Ring(node));
        let first = *self.lanes[lane].content.turn();
        let last = if first == node { node } else { self.nodes[first].previous };
        self.nodes[node].previous = last;
        self.nodes[node].next = first;
        self.nodes[last].next = node;
        self.nodes[first].previous = node;
        self.nodes[node].standing = Some(priority);
        self.nodes[node].since = since;
        self.nodes[node].served = 0;
        self.better(parent, priority, facts);
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        let (parent, previous, next) =
            (self.nodes[node].parent, self.nodes[node].previous, self.nodes[node].next);
        let priority = self.nodes[node].standing.take().expect("only a node in a ring leaves it");
        let lane = self.lane_of(parent, priority);
        if next == node {
            self.drop_lane(lane);
            return;
        }
        self.nodes[previous].next = next;
        self.nodes[next].previous = previous;
        let turn = self.lanes[lane].content.turn();
        if *turn == node {
            *turn = next;
        }
    }

    fn end_turn(&mut self, node: NodeId, facts: &impl Facts) {
        self.nodes[node].served = self.nodes[node].served.saturating_add(1);
        if self.is_gated(node) && u32::from(self.nodes[node].served) < facts.weight(self.spot(node)) {
            return;
        }
        self.nodes[node].served = 0;
        let (parent, next) = (self.nodes[node].parent, self.nodes[node].next);
        let priority = self.nodes[node].standing.expect("only a node in a ring is served");
        let lane = self.lane_of(parent, priority);
        let turn = self.lanes[lane].content.turn();
        debug_assert_eq!(*turn, node, "a node was served out of turn");
        *turn = next;
        self.nodes[node].since = facts.now();
    }

    /// The most urgent priority that `node` has something ready at.
    pub(super) fn best(&self, node: NodeId) -> Option<Priority> {
        let first = self.nodes[node].lanes;
        (first != LaneId::NONE).then(|| self.lanes[first].priority)
    }

    /// The lane of `node` at `priority`, and whether it was made now, to be filled with `content`.
    pub(super) fn lane(
        &mut self,
        node: NodeId,
        priority: Priority,
        content: impl FnOnce() -> Content,
    ) -> (LaneId, bool) {
        let (mut above, mut below) = (LaneId::NONE, self.nodes[node].lanes);
        while below != LaneId::NONE && self.lanes[below].priority > priority {
            (above, below) = (below, self.lanes[below].next);
        }
        if below != LaneId::NONE && self.lanes[below].priority == priority {
            return (below, false);
        }
        let lane = self.lanes.insert(Lane { priority, node, next: below, jobs: 0, content: content() });
        self.chain(node, above, lane);
        (lane, true)
    }

    /// The lane of `node` at `priority`, which it has.
    fn lane_of(&self, node: NodeId, priority: Priority) -> LaneId {
        let mut lane = self.nodes[node].lanes;
        while self.lanes[lane].priority != priority {
            lane = self.lanes[lane].next;
        }
        lane
    }

    /// An emptied lane goes.
    pub(super) fn drop_lane(&mut self, lane: LaneId) {
        let node = self.lanes[lane].node;
        let (mut above, mut at) = (LaneId::NONE, self.nodes[node].lanes);
        while at != lane {
            (above, at) = (at, self.lanes[at].next);
        }
        let gone = self.lanes.remove(lane);
        self.chain(node, above, gone.next);
    }

    /// Lets `lane` follow `above`; none: be the first of `node`.
    fn chain(&mut self, node: NodeId, above: LaneId, lane: LaneId) {
        if above == LaneId::NONE {
            self.nodes[node].lanes = lane;
        } else {
            self.lanes[above].next = lane;
        }
    }
}
