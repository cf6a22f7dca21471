//! What follows from the facts: who is next, what is due, where a job stands in line. Built from the
//! ledger, and kept in step with it: [`Index::unplace`] a job before a mutation changes it, [`Index::place`]
//! it after.

use std::collections::BTreeMap;

use crate::engine::desk::{Buried, Desk};
use crate::engine::history::Forgetting;
use crate::id::{JobId, QueueId};
use crate::job::JobState;
use crate::ledger::Ledger;
use crate::ledger::jobs::{Job, Slot};
use crate::time::{Now, Timestamp, WallTime};
use crate::timer::Timers;
use crate::tree::Tree;

/// Everything derived.
pub(crate) struct Index {
    pub(crate) tree: Tree,
    /// Slots by engine time: run times and lease ends.
    pub(crate) due: Timers,
    /// Slots by wall time: absolute run times.
    pub(crate) due_by_wall: Timers,
    pub(crate) desks: BTreeMap<QueueId, Desk>,
    pub(crate) forget: Forgetting,
    /// READY jobs whose place is not their id: they waited first, or were requeued.
    placed_later: BTreeMap<u64, JobId>,
}

impl Index {
    pub(crate) fn of(ledger: &Ledger, now: Now) -> Index {
        let mut index = Index {
            tree: Tree::new(),
            due: Timers::new(),
            due_by_wall: Timers::new(),
            desks: BTreeMap::new(),
            forget: Forgetting::default(),
            placed_later: BTreeMap::new(),
        };
        for queue in ledger.queue_ids() {
            index.open(queue, ledger);
        }
        let mut ready = Vec::new();
        let mut buried = Vec::new();
        for (slot, job) in ledger.jobs.iter_from(JobId(0)) {
            match job.state {
                JobState::Ready => ready.push((job.sequence, slot)),
                JobState::Completed | JobState::Dead | JobState::Drained => {
                    buried.push((job.due, job.id.0, slot))
                }
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
        for (queue, desk) in &mut index.desks {
            desk.sort_buried();
            desk.forget_at = desk.next_forget(&ledger.queue(*queue).record.settings);
            index.forget.set(*queue, None, desk.forget_at);
        }
        index
    }

    /// A desk for a new queue.
    pub(crate) fn open(&mut self, queue: QueueId, ledger: &Ledger) {
        let node = self.tree.add_queue(ledger.queue(queue).record.settings.priority_ageing);
        self.desks.insert(queue, Desk::new(node));
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
                desk.arrivals(job.priority).insert(job.sequence);
                if job.sequence != job.id.0 {
                    self.placed_later.insert(job.sequence, job.id);
                }
                let key = ledger.keys.text(job.key);
                self.tree.push(desk.node, key, slot, job.sequence, job.priority, now);
            }
            JobState::Scheduled | JobState::Retrying | JobState::Leased => {
                if job.due_by_wall {
                    self.due_by_wall.insert(slot, job.due);
                } else {
                    self.due.insert(slot, job.due);
                }
            }
            JobState::Completed => desk.finish(Timestamp(job.due), job.id, job.history_bytes()),
            JobState::Dead | JobState::Drained => desk.bury(Timestamp(job.due), Buried::Job(job.id)),
        }
    }

    /// Takes a job from where its state says.
    pub(crate) fn unplace(&mut self, ledger: &Ledger, slot: Slot, now: Timestamp) {
        let job = ledger.jobs.at(slot);
        match job.state {
            JobState::Ready => {
                self.tree.remove(slot, job.sequence, now);
                self.unplace_popped(job);
            }
            JobState::Scheduled | JobState::Retrying | JobState::Leased => {
                if job.due_by_wall {
                    self.due_by_wall.remove(slot);
                } else {
                    self.due.remove(slot);
                }
            }
            JobState::Completed => {
                let bytes = job.history_bytes();
                self.desk(job.queue).unfinish(bytes);
            }
            // Their entries by time are passed over when they come up.
            JobState::Dead | JobState::Drained => {}
        }
    }

    /// Takes a READY job, that the tree gave, from its place in line.
    pub(crate) fn unplace_popped(&mut self, job: &Job) {
        self.desk(job.queue).arrivals(job.priority).remove(job.sequence);
        if job.sequence != job.id.0 {
            self.placed_later.remove(&job.sequence);
        }
    }

    /// When the oldest job that is READY in `queue` was accepted.
    pub(crate) fn oldest_ready(&self, ledger: &Ledger, queue: QueueId) -> Option<WallTime> {
        let desk = self.desks.get(&queue)?;
        let first = desk.lines().filter_map(|line| line.first());
        let ids = first.map(|sequence| self.placed_later.get(&sequence).copied().unwrap_or(JobId(sequence)));
        ids.filter_map(|id| ledger.jobs.get(id)).map(|job| job.create_time).min()
    }
}

/// Since when a job has been ready, as far as a restart can know: ageing goes on.
fn entered(job: &Job, now: Now) -> Timestamp {
    if job.sequence == job.id.0 {
        Timestamp(now.engine.0.saturating_sub(now.wall.since(job.create_time).0))
    } else {
        now.engine
    }
}
