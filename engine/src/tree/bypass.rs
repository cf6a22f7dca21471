//! Jobs that no window holds back stand in a line beside the rings too, for their nodes may be parked: each goes as soon
//! as the other gates on its way are open. They are asked in order of arrival, the first of each key, and whoever may
//! not go is not asked again before that may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::gate::{Facts, Gate};
use super::node::NodeId;
use super::{LaneId, Next, Slot, Tree};
use crate::bound::MAX_BYPASS_LOOKS;
use crate::ledger::flow::Spot;
use crate::ledger::keys::KeyId;
use crate::time::Timestamp;

/// The first job of a key, by its sequence number.
type Front = (u64, KeyId);

/// The line of one queue.
#[derive(Default)]
pub(super) struct Line {
    /// Jobs of each key, by their sequence numbers.
    keys: BTreeMap<KeyId, BTreeMap<u64, Slot>>,
    fronts: BTreeSet<Front>,
    /// Who is to be asked next; none: everybody was, and nothing has changed since.
    next: Option<Front>,
    /// When the first of those that were asked may go.
    opens: Option<Timestamp>,
}

impl Line {
    fn insert(&mut self, key: KeyId, sequence: u64, slot: Slot) {
        let jobs = self.keys.entry(key).or_default();
        let before = jobs.first_key_value().map(|(sequence, _)| (*sequence, key));
        jobs.insert(sequence, slot);
        self.follow(key, before);
    }

    fn remove(&mut self, key: KeyId, sequence: u64) {
        let Some(jobs) = self.keys.get_mut(&key) else { return };
        let before = jobs.first_key_value().map(|(sequence, _)| (*sequence, key));
        jobs.remove(&sequence);
        self.follow(key, before);
    }

    /// A key's first job may be another than it was `before`: that one is to be asked.
    fn follow(&mut self, key: KeyId, before: Option<Front>) {
        let first = self.keys.get(&key).and_then(|jobs| jobs.first_key_value());
        let front = first.map(|(sequence, _)| (*sequence, key));
        if front.is_none() {
            self.keys.remove(&key);
        }
        if front == before {
            return;
        }
        if let Some(before) = before {
            self.fronts.remove(&before);
        }
        if let Some(front) = front {
            self.fronts.insert(front);
            self.next = Some(self.next.map_or(front, |next| next.min(front)));
        }
    }

    /// Whoever is to be asked now, and their first job.
    fn ahead(&self) -> Option<(Front, Slot)> {
        let front = *self.fronts.range(self.next?..).next()?;
        let (_, slot) = self.keys.get(&front.1)?.first_key_value()?;
        Some((front, *slot))
    }

    /// Somebody was asked, and may not go.
    fn wait(&mut self, gate: Gate) {
        if let Gate::Until(time) = gate {
            self.opens = Some(self.opens.map_or(time, |opens| opens.min(time)));
        }
    }

    /// Those after `front` are to be asked.
    fn pass_over(&mut self, front: Front) {
        self.next = self.fronts.range((Excluded(front), Unbounded)).next().copied();
    }

    /// All are to be asked.
    fn restart(&mut self) {
        self.next = self.fronts.first().copied();
        self.opens = None;
    }
}

impl Tree {
    /// A job was pushed that bypasses limits.
    pub(super) fn enter_bypass(&mut self, queue: NodeId, key: KeyId, slot: Slot, sequence: u64) {
        let number = self.nodes[queue].queue;
        self.roots[number as usize].bypass.get_or_insert_default().insert(key, sequence, slot);
        self.bypass_lines.insert(number);
    }

    /// A job leaves the tree.
    pub(super) fn leave_bypass(&mut self, leaf: NodeId, slot: Slot, facts: &impl Facts) {
        let (key, number) = (self.nodes[leaf].key, self.nodes[leaf].queue);
        if let Some(line) = &mut self.roots[number as usize].bypass
            && facts.bypasses_limits(slot)
        {
            line.remove(key, facts.sequence(slot));
            if line.keys.is_empty() {
                self.roots[number as usize].bypass = None;
                self.bypass_lines.remove(&number);
                self.bypass_opens.remove(number);
            }
        }
    }

    /// The first job that may go now of the line of a queue, or of those under a limit that somebody waits for.
    pub(super) fn bypassing(&mut self, top: NodeId, facts: &impl Facts) -> Option<Next> {
        if self.bypass_lines.is_empty() {
            return None;
        }
        let is_asked = |number: &u32| {
            let root = &self.roots[*number as usize];
            root.node == top || (root.is_wanted && self.nodes[root.node].parent == top)
        };
        let numbers: Vec<u32> = self.bypass_lines.iter().copied().filter(is_asked).collect();
        numbers.into_iter().find_map(|number| self.bypassing_in(number, facts))
    }

    fn bypassing_in(&mut self, number: u32, facts: &impl Facts) -> Option<Next> {
        let parent = self.nodes[self.roots[number as usize].node].parent;
        let limit = (parent != NodeId::NONE).then(|| self.root(parent).id);
        let root = &mut self.roots[number as usize];
        let line = root.bypass.as_mut().filter(|line| line.next.is_some())?;
        let gate_of = |key| facts.bypass_gate(Spot { queue: root.id, key });
        let of_limit = limit.map(|id| facts.bypass_gate(Spot { queue: id, key: KeyId::NONE }));
        let all = of_limit.into_iter().fold(gate_of(KeyId::NONE), Gate::and);
        if all != Gate::Open {
            // What closes the queue is asked for everybody at once.
            line.wait(all);
            line.next = None;
        }
        let mut found = None;
        for _ in 0..MAX_BYPASS_LOOKS {
            let Some((front, slot)) = line.ahead() else { break };
            match facts.keys().chain(front.1).map(gate_of).fold(Gate::Open, Gate::and) {
                Gate::Open => {
                    found = Some(Next { slot, lane: LaneId::NONE });
                    break;
                }
                closed => line.wait(closed),
            }
            line.pass_over(front);
        }
        // Though somebody was found: who searches may have enough with that, and ask no more.
        line.opens.into_iter().for_each(|time| self.bypass_opens.insert(number, time.0));
        if found.is_none() && line.ahead().is_some() {
            // The rest is asked in the next step.
            self.roused.push(root.id);
        }
        found
    }

    /// What a job was charged that bypassed limits may close gates on its way.
    pub(crate) fn bypassed(&mut self, queue: NodeId, key: KeyId, facts: &impl Facts) {
        for node in self.way(queue, key, facts) {
            self.relook_one(node, facts);
        }
    }

    /// Gates of a queue, or of its limit, may have opened: those who stand in its line, and in those of the other queues
    /// under the limit, are to be asked again.
    pub(super) fn restart_bypass(&mut self, number: u32) {
        if self.bypass_lines.is_empty() {
            return;
        }
        let top = |number: u32| {
            let node = self.roots[number as usize].node;
            Some(self.nodes[node].parent).filter(|parent| *parent != NodeId::NONE).unwrap_or(node)
        };
        let numbers: Vec<u32> =
            self.bypass_lines.iter().copied().filter(|other| top(*other) == top(number)).collect();
        for number in numbers {
            let root = &mut self.roots[number as usize];
            root.bypass.iter_mut().for_each(|line| line.restart());
            self.bypass_opens.remove(number);
            if self.roused.last() != Some(&root.id) {
                self.roused.push(root.id);
            }
        }
    }
}
