//! What follows from the facts: who is next, what is due, where a job stands in line. Built from the
//! ledger, and kept in step with it: [`Index::unplace`] a job before a mutation changes it, [`Index::place`]
//! it after.

use std::collections::BTreeMap;

use crate::engine::desk::{Buried, Desk};
use crate::engine::doors::Doors;
use crate::engine::history::Forgetting;
use crate::engine::line::Line;
use crate::id::{JobId, QueueId};
use crate::job::{JobState, Priority};
use crate::ledger::Ledger;
use crate::ledger::flow::Spot;
use crate::ledger::jobs::{Job, Slot};
use crate::ledger::keys::KeyId;
use crate::settings::{KeyRule, OverflowPolicy, QueueSettings};
use crate::time::{Now, Span, Timestamp, WallTime};
use crate::timer::Timers;
use crate::tree::{NodeId, Tree};

/// Everything derived.
pub(crate) struct Index {
    pub(crate) tree: Tree,
    /// Slots by engine time: run times and lease ends.
    pub(crate) due: Timers,
    /// Slots by wall time: absolute run times.
    pub(crate) due_by_wall: Timers,
    pub(crate) desks: BTreeMap<QueueId, Desk>,
    /// Nodes of shared limits.
    limits: BTreeMap<QueueId, NodeId>,
    pub(crate) forget: Forgetting,
    /// Slots of waiting jobs by engine time: when their time to live passes.
    pub(crate) expiries: Timers,
    /// Lines of keys that let the oldest go when they are full.
    key_lines: BTreeMap<KeyId, Line>,
    /// Waiting jobs whose place is not their id: they waited first, or were requeued.
    placed_later: BTreeMap<u64, JobId>,
}

impl Index {
    pub(crate) fn of(ledger: &Ledger, now: Now) -> Index {
        let mut index = Index {
            tree: Tree::new(),
            due: Timers::new(),
            due_by_wall: Timers::new(),
            desks: BTreeMap::new(),
            limits: BTreeMap::new(),
            forget: Forgetting::default(),
            expiries: Timers::new(),
            key_lines: BTreeMap::new(),
            placed_later: BTreeMap::new(),
        };
        for limit in ledger.limits.ids() {
            index.open_limit(limit, ledger);
        }
        for queue in ledger.queue_ids() {
            index.open(queue, ledger, now.engine);
        }
        let mut ready = Vec::new();
        let mut buried = Vec::new();
        for (slot, job) in ledger.jobs.iter_from(JobId(0)) {
            match job.state {
                JobState::Ready => ready.push((job.sequence, slot)),
                state if state.is_at_rest() => buried.push((job.due, job.id.0, slot)),
                _ => index.place(ledger, slot, now.engine),
            }
        }
        ready.sort_unstable();
        for (_, slot) in ready {
            index.place(ledger, slot, entered(ledger.jobs.at(slot), now));
        }
        buried.sort_unstable();
        for (_, _, slot) in buried {
            index.place(ledger, slot, now.engine);
        }
        let mut drains: Vec<_> = ledger.drains().collect();
        drains.sort_unstable_by_key(|drain| (drain.time, drain.request.id));
        for drain in drains {
            index.desk(drain.queue).bury(drain.time, Buried::Drain(drain.request.id));
        }
        for (queue, batch) in ledger.batches.all().filter(|(_, batch)| ledger.batches.is_empty(*batch)) {
            index.desk(queue).empty_batch(ledger.batches.record(batch).change_time, batch);
        }
        for (queue, desk) in &mut index.desks {
            desk.sort();
            desk.forget_traffic();
            desk.forget_at = desk.next_forget(&ledger.queue(*queue).record.settings);
            index.forget.set(*queue, None, desk.forget_at);
        }
        index
    }

    /// A desk for a new queue.
    pub(crate) fn open(&mut self, queue: QueueId, ledger: &Ledger, now: Timestamp) {
        let settings = &ledger.queue(queue).record.settings;
        let node = self.tree.add_root(queue, settings.priority_ageing);
        let mut desk = Desk::new(node);
        desk.has_key_lines = has_key_lines(settings);
        self.desks.insert(queue, desk);
        self.follow_limit(ledger, queue, now);
    }

    /// A node for a new shared limit.
    pub(crate) fn open_limit(&mut self, limit: QueueId, ledger: &Ledger) {
        let ageing =
            ledger.limits.get(limit).map_or(Span::ZERO, |limit| limit.record.settings.priority_ageing);
        let node = self.tree.add_root(limit, ageing);
        self.limits.insert(limit, node);
    }

    /// The settings of a shared limit are others than they were.
    pub(crate) fn resettle_limit(&mut self, ledger: &Ledger, id: QueueId, now: Timestamp) {
        let (Some(node), Some(limit)) = (self.limits.get(&id).copied(), ledger.limits.get(id)) else {
            return;
        };
        self.tree.set_ageing(node, limit.record.settings.priority_ageing);
        self.tree.relook_all(node, &Doors::new(ledger, now));
        for queue in &limit.queues {
            self.desk(*queue).has_slots = ledger.has_slots(*queue);
        }
    }

    /// The node of a shared limit that is no more, and under which nothing hangs, goes.
    pub(crate) fn close_limit(&mut self, limit: QueueId) {
        if let Some(node) = self.limits.remove(&limit) {
            self.tree.remove_root(node);
        }
    }

    /// The node of a shared limit.
    pub(crate) fn limit(&self, limit: QueueId) -> Option<NodeId> {
        self.limits.get(&limit).copied()
    }

    /// A queue may hang under another limit than before, or under none.
    pub(crate) fn follow_limit(&mut self, ledger: &Ledger, queue: QueueId, now: Timestamp) {
        let node = ledger.queue(queue).limit.and_then(|limit| self.limit(limit));
        let desk = self.desks.get_mut(&queue).expect("every queue has a desk");
        desk.has_slots = ledger.has_slots(queue);
        self.tree.hang(desk.node, node, &Doors::of(ledger, queue, now));
    }

    /// The desk of a queue that is no more. Nothing is left in it.
    pub(crate) fn close(&mut self, queue: QueueId) {
        if let Some(desk) = self.desks.remove(&queue) {
            self.forget.set(queue, desk.forget_at, None);
            self.tree.remove_root(desk.node);
        }
    }

    /// The settings of a queue are not what they were `before`. When its keys' lines must be kept from now on, or by
    /// other rules, all jobs are gone through once.
    pub(crate) fn resettle(
        &mut self,
        ledger: &Ledger,
        queue: QueueId,
        before: &QueueSettings,
        now: Timestamp,
    ) {
        let settings = &ledger.queue(queue).record.settings;
        let desk = self.desks.get_mut(&queue).expect("every queue has a desk");
        self.tree.set_ageing(desk.node, settings.priority_ageing);
        // By another ageing another job may be next than the one that a node waits for.
        if settings.priority_ageing != before.priority_ageing
            || (&settings.node, &settings.key_rules) != (&before.node, &before.key_rules)
        {
            self.tree.relook_all(desk.node, &Doors::of(ledger, queue, now));
        }
        self.follow_limit(ledger, queue, now);
        let desk = self.desk(queue);
        let had_lines = std::mem::replace(&mut desk.has_key_lines, has_key_lines(settings));
        let other_rules = (before.overflow, &before.key_rules) != (settings.overflow, &settings.key_rules);
        if other_rules && (had_lines || has_key_lines(settings)) {
            self.key_lines.retain(|key, _| ledger.keys.queue(*key) != queue);
            for (_, job) in ledger.jobs.iter_from(JobId(0)) {
                if job.queue == queue && job.state.is_waiting() {
                    self.enter_key_lines(ledger, job);
                }
            }
        }
    }

    pub(crate) fn desk(&mut self, queue: QueueId) -> &mut Desk {
        self.desks.get_mut(&queue).expect("every queue has a desk")
    }

    /// Puts a job where its state says. `now` is when it got there.
    pub(crate) fn place(&mut self, ledger: &Ledger, slot: Slot, now: Timestamp) {
        let job = ledger.jobs.at(slot);
        let desk = self.desks.get_mut(&job.queue).expect("every queue has a desk");
        match job.state {
            JobState::Ready => {
                desk.ready.insert(job.priority, job.sequence);
                if job.deliveries == 0 {
                    desk.traffic_mut(now).arrive(job.key, job.priority, now);
                }
                self.tree.push(desk.node, job.key, slot, job.priority, &Doors::of(ledger, job.queue, now));
            }
            JobState::Scheduled | JobState::Retrying | JobState::Leased => {
                if job.state.is_waiting() {
                    desk.later.insert(job.priority, job.place());
                }
                if job.due_by_wall {
                    self.due_by_wall.insert(slot, job.due);
                } else {
                    self.due.insert(slot, job.due);
                }
            }
            JobState::Completed | JobState::Cancelled | JobState::Expired | JobState::Dropped => {
                desk.finish(Timestamp(job.due), job.id, job.history_bytes());
            }
            JobState::Dead | JobState::Drained => desk.bury(Timestamp(job.due), Buried::Job(job.id)),
        }
        if desk.has_slots && job.state != JobState::Leased {
            self.tree.free_slots(desk.node, job.key, &Doors::of(ledger, job.queue, now));
        }
        if job.state.is_waiting() {
            self.begin_wait(ledger, job, slot);
        }
    }

    /// Takes a job from where its state says.
    pub(crate) fn unplace(&mut self, ledger: &Ledger, slot: Slot, now: Timestamp) {
        let job = ledger.jobs.at(slot);
        match job.state {
            JobState::Ready => {
                self.tree.remove(slot, &Doors::of(ledger, job.queue, now));
                self.unplace_popped(ledger, slot);
            }
            JobState::Scheduled | JobState::Retrying | JobState::Leased => {
                if job.due_by_wall {
                    self.due_by_wall.remove(slot);
                } else {
                    self.due.remove(slot);
                }
                if job.state.is_waiting() {
                    self.desk(job.queue).later.remove(job.priority, job.place());
                    self.end_wait(ledger, job, slot);
                }
            }
            JobState::Completed | JobState::Cancelled | JobState::Expired | JobState::Dropped => {
                let bytes = job.history_bytes();
                self.desk(job.queue).unfinish(bytes);
            }
            // Their entries by time are passed over when they come up.
            JobState::Dead | JobState::Drained => {}
        }
    }

    /// Takes a READY job, that the tree gave, from its place in line.
    pub(crate) fn unplace_popped(&mut self, ledger: &Ledger, slot: Slot) {
        let job = ledger.jobs.at(slot);
        self.desk(job.queue).ready.remove(job.priority, job.sequence);
        self.end_wait(ledger, job, slot);
    }

    /// The gate of a key, or of what it begins with, may have changed.
    pub(crate) fn relook(&mut self, ledger: &Ledger, queue: QueueId, key: KeyId, now: Timestamp) {
        let node = self.desk(queue).node;
        self.tree.relook(node, key, &Doors::of(ledger, queue, now));
    }

    /// As [`Index::relook`], of any node.
    pub(crate) fn relook_from(&mut self, ledger: &Ledger, spot: Spot, now: Timestamp) {
        match self.limit(spot.queue) {
            Some(node) => self.tree.relook_all(node, &Doors::new(ledger, now)),
            None => self.relook(ledger, spot.queue, spot.key, now),
        }
    }

    /// Until when a node, or one above it, is kept for a job that is too dear for now.
    pub(crate) fn reserved_until(&self, ledger: &Ledger, spot: Spot, now: Timestamp) -> Option<Timestamp> {
        let node = match self.limit(spot.queue) {
            Some(node) => node,
            None => self.desks.get(&spot.queue)?.node,
        };
        self.tree.reserved_until(node, spot.key, &Doors::new(ledger, now))
    }

    /// Jobs of a queue are gone that may have held others back.
    pub(crate) fn relook_slots(&mut self, ledger: &Ledger, queue: QueueId, now: Timestamp) {
        let desk = self.desks.get(&queue).expect("every queue has a desk");
        if desk.has_slots {
            let doors = Doors::of(ledger, queue, now);
            self.tree.relook_all(desk.node, &doors);
            self.tree.free_slots(desk.node, KeyId::NONE, &doors);
        }
    }

    /// The waiting job of a queue, or of a key in it, that is to go first when there is no room: of the least
    /// urgent the one with the first place.
    pub(crate) fn oldest_waiting(&self, ledger: &Ledger, queue: QueueId, key: Option<KeyId>) -> Option<Slot> {
        let none = Line::default();
        let (ready, later) = match key {
            Some(key) => (self.key_lines.get(&key).unwrap_or(&none), &none),
            None => {
                let desk = self.desks.get(&queue)?;
                (&desk.ready, &desk.later)
            }
        };
        let first = |priority| ready.first(priority).into_iter().chain(later.first(priority)).min();
        let place = (0..Priority::COUNT).find_map(first)?;
        ledger.jobs.slot(self.job_at(place))
    }

    /// What every waiting job has, READY or not.
    fn begin_wait(&mut self, ledger: &Ledger, job: &Job, slot: Slot) {
        if job.place() != job.id.0 {
            self.placed_later.insert(job.place(), job.id);
        }
        if let Some(time) = job.expire() {
            self.expiries.insert(slot, time.0);
        }
        if self.desks.get(&job.queue).is_some_and(|desk| desk.has_key_lines) {
            self.enter_key_lines(ledger, job);
        }
    }

    fn end_wait(&mut self, ledger: &Ledger, job: &Job, slot: Slot) {
        if job.place() != job.id.0 {
            self.placed_later.remove(&job.place());
        }
        if job.expire().is_some() {
            self.expiries.remove(slot);
        }
        if self.desks.get(&job.queue).is_some_and(|desk| desk.has_key_lines) {
            for key in ledger.keys.chain(job.key) {
                if let Some(line) = self.key_lines.get_mut(&key) {
                    line.remove(job.priority, job.place());
                    if line.is_empty() {
                        self.key_lines.remove(&key);
                    }
                }
            }
        }
    }

    fn enter_key_lines(&mut self, ledger: &Ledger, job: &Job) {
        let settings = &ledger.queue(job.queue).record.settings;
        for key in ledger.keys.chain(job.key) {
            let rule = settings.rule_for(ledger.keys.text(key));
            if rule.is_some_and(|rule| drops_oldest(rule, settings)) {
                self.key_lines.entry(key).or_default().insert(job.priority, job.place());
            }
        }
    }

    /// Which job waits at a place.
    fn job_at(&self, place: u64) -> JobId {
        self.placed_later.get(&place).copied().unwrap_or(JobId(place))
    }

    /// When the oldest job that is READY in `queue` was accepted.
    pub(crate) fn oldest_ready(&self, ledger: &Ledger, queue: QueueId) -> Option<WallTime> {
        let desk = self.desks.get(&queue)?;
        let ids = desk.ready.firsts().map(|place| self.job_at(place));
        ids.filter_map(|id| ledger.jobs.get(id)).map(|job| job.create_time).min()
    }
}

fn has_key_lines(settings: &QueueSettings) -> bool {
    settings.key_rules.iter().any(|rule| drops_oldest(rule, settings))
}

fn drops_oldest(rule: &KeyRule, settings: &QueueSettings) -> bool {
    settings.overflow_of(rule) == OverflowPolicy::DropOldest && !rule.capacity.is_unlimited()
}

/// Since when a job has been ready, as far as a restart can know: ageing goes on.
fn entered(job: &Job, now: Now) -> Timestamp {
    if job.sequence == job.id.0 {
        Timestamp(now.engine.0.saturating_sub(now.wall.since(job.create_time).0))
    } else {
        now.engine
    }
}
