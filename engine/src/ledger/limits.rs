//! Shared limits: nodes above queues. They take their numbers from those of the queues, so that every node is told by a
//! number and a key, whichever it is.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::QueueId;
use crate::job::JobState;
use crate::ledger::Ledger;
use crate::ledger::flow::{Answers, GateId, Spot};
use crate::ledger::keys::KeyId;
use crate::limit::{LimitRecord, NodeSettings};
use crate::mutation::Mutation;
use crate::name::LimitName;
use crate::time::Timestamp;

/// All shared limits.
#[derive(Default)]
pub(crate) struct Limits {
    by_id: BTreeMap<QueueId, Limit>,
    by_name: BTreeMap<LimitName, QueueId>,
}

/// One of them, and what follows from its queues.
pub(crate) struct Limit {
    pub(crate) record: LimitRecord,
    /// What came back of late.
    pub(super) answers: Cell<Answers>,
    /// When its settings were put last.
    pub(super) settings_time: Timestamp,
    /// What is known of it as a node.
    pub(super) gate: GateId,
    /// Jobs of its queues that workers hold.
    pub(crate) leased: u64,
    /// Those that hang under it.
    pub(crate) queues: BTreeSet<QueueId>,
}

impl Limits {
    pub(crate) fn get(&self, id: QueueId) -> Option<&Limit> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: QueueId) -> Option<&mut Limit> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn find(&self, name: &LimitName) -> Option<&Limit> {
        self.by_id.get(self.by_name.get(name)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.by_id.keys().copied()
    }

    /// By name, behind `after`.
    pub(crate) fn after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Limit> + 'a {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = after.and_then(|name| LimitName::new(name).ok());
        let from = after.map_or(Unbounded, Excluded);
        self.by_name.range((from, Unbounded)).filter_map(|(_, id)| self.by_id.get(id))
    }

    /// A job of a queue under `limit` got into a state.
    pub(super) fn enter(&mut self, limit: Option<QueueId>, state: JobState) {
        if state == JobState::Leased
            && let Some(limit) = limit.and_then(|id| self.by_id.get_mut(&id))
        {
            limit.leased += 1;
        }
    }

    /// It left that state.
    pub(super) fn leave(&mut self, limit: Option<QueueId>, state: JobState) {
        if state == JobState::Leased
            && let Some(limit) = limit.and_then(|id| self.by_id.get_mut(&id))
        {
            limit.leased -= 1;
        }
    }
}

impl Ledger {
    /// The node above: of a key what it begins with, of a queue its shared limit.
    pub(crate) fn above(&self, spot: Spot) -> Option<Spot> {
        match spot.key {
            KeyId::NONE => {
                let limit = self.queues.get(&spot.queue)?.limit?;
                Some(Spot { queue: limit, key: KeyId::NONE })
            }
            key => Some(Spot { queue: spot.queue, key: self.keys.outer(key) }),
        }
    }

    /// A node and all above it, the deepest first.
    pub(crate) fn way(&self, spot: Spot) -> impl Iterator<Item = Spot> + '_ {
        std::iter::successors(Some(spot), |spot| self.above(*spot))
    }

    /// Whether a job of a queue can have to wait for a slot. A limit whose breaker is probed lets nothing through before
    /// all is back that may be the probe.
    pub(crate) fn has_slots(&self, queue: QueueId) -> bool {
        let queue = self.queue(queue);
        let limit = queue.limit.and_then(|id| self.limits.get(id)).map(|limit| &limit.record.settings.node);
        queue.record.settings.nodes().any(NodeSettings::has_slots)
            || limit.is_some_and(|node| node.has_slots() || node.breaker.is_some())
    }

    /// The shared limits, as they are said again before what they follow from is let go of.
    pub(super) fn limit_puts(&self) -> impl Iterator<Item = Mutation> + '_ {
        self.limits.by_id.values().map(|limit| Mutation::LimitPut(Box::new(limit.record.clone())))
    }

    /// There is such a limit from now on, or it says something else.
    pub(super) fn put_limit(&mut self, record: &LimitRecord, now: Timestamp) {
        let id = record.id;
        self.raise_last_queue(id);
        if let Some(limit) = self.limits.get_mut(id) {
            limit.record.clone_from(record);
            self.follow_settings(id, now);
            return;
        }
        // A replay may meet a queue before the limit it hangs under.
        let named = |queue: &super::Queue| queue.record.settings.limit.as_ref() == Some(&record.name);
        let queues: Vec<QueueId> =
            self.queues.iter().filter(|(_, queue)| named(queue)).map(|(id, _)| *id).collect();
        self.limits.by_name.insert(record.name.clone(), id);
        let limit = Limit {
            record: record.clone(),
            answers: Cell::default(),
            settings_time: now,
            gate: GateId::NONE,
            leased: 0,
            queues: BTreeSet::new(),
        };
        self.limits.by_id.insert(id, limit);
        queues.into_iter().for_each(|queue| self.hang(queue));
    }

    /// There is no such limit any more.
    pub(super) fn remove_limit(&mut self, id: QueueId) {
        self.drop_gates(id);
        if let Some(limit) = self.limits.by_id.remove(&id) {
            if self.limits.by_name.get(&limit.record.name) == Some(&id) {
                self.limits.by_name.remove(&limit.record.name);
            }
            limit.queues.into_iter().for_each(|queue| self.hang(queue));
        }
    }

    /// A queue hangs under its limit since now. Its jobs in flight did not go through it, and which jobs did nobody
    /// knows: what was charged before gives nothing back.
    pub(super) fn begin_under_limit(&mut self, queue: QueueId, now: Timestamp) {
        let limit = self.queues.get(&queue).and_then(|queue| queue.limit);
        let Some(limit) = limit.and_then(|id| self.limits.get_mut(id)) else { return };
        limit.settings_time = now;
        if let Some(gate) = self.flow.get_mut(limit.gate) {
            gate.state.forget_charges(now);
        }
    }

    /// A queue hangs where its settings say.
    pub(super) fn hang(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let named = queue.record.settings.limit.as_ref().filter(|_| !queue.record.deleted);
        let limit = named.and_then(|name| self.limits.by_name.get(name)).copied();
        let leased = queue.counts.get(JobState::Leased);
        let before = std::mem::replace(&mut queue.limit, limit);
        if before == limit {
            return;
        }
        if let Some(before) = before.and_then(|id| self.limits.by_id.get_mut(&id)) {
            before.leased -= leased;
            before.queues.remove(&id);
        }
        if let Some(limit) = limit.and_then(|id| self.limits.by_id.get_mut(&id)) {
            limit.leased += leased;
            limit.queues.insert(id);
        }
    }
}
