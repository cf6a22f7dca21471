//! Every job there is, in a slab, found by id. Jobs that wait are many: each costs 64 bytes here and
//! about 5 in the index.

use std::collections::BTreeMap;

use crate::id::{JobId, QueueId};
use crate::job::{Cost, Detail, Due, JobState, Priority};
use crate::ledger::batches::BatchId;
use crate::ledger::keys::KeyId;
use crate::time::{Timestamp, WallTime};

/// A job's place in the slab, while it exists.
pub(crate) type Slot = u32;

/// The facts about a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) sequence: u64,
    pub(crate) create_time: WallTime,
    /// What it means depends on the state, see [`Job::due`]; 0 while READY.
    pub(crate) due: u64,
    pub(crate) detail: Option<Box<Detail>>,
    pub(crate) queue: QueueId,
    pub(crate) key: KeyId,
    pub(crate) batch: BatchId,
    pub(crate) bytes: u32,
    pub(crate) deliveries: u32,
    pub(crate) requeues: u32,
    pub(crate) attempts: u16,
    pub(crate) state: JobState,
    pub(crate) priority: Priority,
    /// Whether `due` is wall time.
    pub(crate) due_by_wall: bool,
    /// Whether the last delivery was settled by its worker's nack.
    pub(crate) nacked: bool,
    /// Whether the detail was let go: the store has it.
    pub(crate) detail_at_rest: bool,
    /// Whether its worker is to give it up.
    pub(crate) cancel_requested: bool,
}

/// The slab and the index.
#[derive(Default)]
pub(crate) struct Jobs {
    slab: Vec<Job>,
    free: Vec<Slot>,
    /// Ids are dense where jobs are young: one entry of this map serves [`PAGE`] of them.
    pages: BTreeMap<u64, Box<Page>>,
}

/// Ids of one page. Small, so that a lone old job among millions of gone ones costs little.
const PAGE: u64 = 64;
const NONE: Slot = Slot::MAX;

struct Page {
    slots: [Slot; PAGE as usize],
    live: u8,
}

impl Job {
    /// When it becomes ready, its lease ends, or (at rest) when it ended.
    pub(crate) fn due(&self) -> Option<Due> {
        match self.state {
            JobState::Ready => None,
            _ if self.due_by_wall => Some(Due::Wall(WallTime(self.due))),
            _ => Some(Due::Engine(Timestamp(self.due))),
        }
    }

    pub(crate) fn set_due(&mut self, due: Option<Due>) {
        (self.due, self.due_by_wall) = match due {
            None => (0, false),
            Some(Due::Engine(time)) => (time.0, false),
            Some(Due::Wall(time)) => (time.0, true),
        };
    }

    /// The detail, made if there is none.
    pub(crate) fn detail_mut(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }

    /// What it costs.
    pub(crate) fn cost(&self) -> Cost {
        self.detail.as_ref().map_or(Cost::DEFAULT, |detail| detail.cost)
    }

    /// When its time to live passes.
    pub(crate) fn expire(&self) -> Option<Timestamp> {
        self.detail.as_ref()?.expire
    }

    /// While LEASED: since when.
    pub(crate) fn leased_at(&self) -> Timestamp {
        self.detail.as_ref().map_or(Timestamp(0), |detail| detail.leased_at)
    }

    /// Its place in line, also before it has a sequence: no two jobs have the same.
    pub(crate) fn place(&self) -> u64 {
        if self.sequence == 0 { self.id.0 } else { self.sequence }
    }

    /// What it counts in its queue's history.
    pub(crate) fn history_bytes(&self) -> u64 {
        let result = self.detail.as_ref().and_then(|d| d.result.as_ref()).map_or(0, |r| r.len());
        // What was dropped keeps its payload.
        let payload = if self.state == JobState::Dropped { self.bytes } else { 0 };
        crate::bound::FINISHED_JOB_BYTES + result as u64 + u64::from(payload)
    }
}

impl Jobs {
    pub(crate) fn slot(&self, id: JobId) -> Option<Slot> {
        let slot = self.pages.get(&(id.0 / PAGE))?.slots[(id.0 % PAGE) as usize];
        (slot != NONE).then_some(slot)
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.slot(id).map(|slot| self.at(slot))
    }

    /// The job in `slot`, which must be in use.
    pub(crate) fn at(&self, slot: Slot) -> &Job {
        &self.slab[slot as usize]
    }

    pub(crate) fn at_mut(&mut self, slot: Slot) -> &mut Job {
        &mut self.slab[slot as usize]
    }

    /// Puts a job in. There is none with its id.
    pub(crate) fn insert(&mut self, job: Job) -> Slot {
        let id = job.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = job;
                slot
            }
            None => {
                self.slab.push(job);
                Slot::try_from(self.slab.len() - 1).expect("memory ends before slots do")
            }
        };
        let page = self.pages.entry(id.0 / PAGE).or_insert_with(|| Box::new(Page::EMPTY));
        debug_assert_eq!(page.slots[(id.0 % PAGE) as usize], NONE, "an id is given once");
        page.slots[(id.0 % PAGE) as usize] = slot;
        page.live += 1;
        slot
    }

    /// Takes a job out.
    pub(crate) fn remove(&mut self, id: JobId) -> Option<(Slot, Job)> {
        let page = self.pages.get_mut(&(id.0 / PAGE))?;
        let slot = std::mem::replace(&mut page.slots[(id.0 % PAGE) as usize], NONE);
        if slot == NONE {
            return None;
        }
        page.live -= 1;
        if page.live == 0 {
            self.pages.remove(&(id.0 / PAGE));
        }
        self.free.push(slot);
        let job = std::mem::replace(&mut self.slab[slot as usize], Job::GONE);
        Some((slot, job))
    }

    /// Jobs by id, from `from` on.
    pub(crate) fn iter_from(&self, from: JobId) -> impl Iterator<Item = (Slot, &Job)> {
        self.pages
            .range(from.0 / PAGE..)
            .flat_map(|(_, page)| page.slots)
            .filter(|slot| *slot != NONE)
            .filter_map(move |slot| {
                let job = self.at(slot);
                (job.id >= from).then_some((slot, job))
            })
    }
}

impl Page {
    const EMPTY: Page = Page { slots: [NONE; PAGE as usize], live: 0 };
}

impl Job {
    /// What stands in a slot that is free.
    pub(crate) const GONE: Job = Job {
        id: JobId(0),
        sequence: 0,
        create_time: WallTime(0),
        due: 0,
        detail: None,
        queue: QueueId(0),
        key: KeyId::NONE,
        batch: BatchId::NONE,
        bytes: 0,
        deliveries: 0,
        requeues: 0,
        attempts: 0,
        state: JobState::Completed,
        priority: Priority::DEFAULT,
        due_by_wall: false,
        nacked: false,
        detail_at_rest: false,
        cancel_requested: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_job_costs_72_bytes_at_most() {
        assert!(size_of::<Job>() <= 72, "{}", size_of::<Job>());
    }

    #[test]
    fn jobs_are_found_by_id_and_listed_in_order_until_removed() {
        let mut jobs = Jobs::default();
        for id in [5, 64, 63, 1_000_000, 128] {
            jobs.insert(Job { id: JobId(id), ..Job::GONE });
        }
        assert_eq!(jobs.get(JobId(63)).unwrap().id, JobId(63));
        assert!(jobs.get(JobId(62)).is_none());
        assert!(jobs.remove(JobId(64)).is_some());
        assert!(jobs.remove(JobId(64)).is_none());
        let ids: Vec<u64> = jobs.iter_from(JobId(6)).map(|(_, job)| job.id.0).collect();
        assert_eq!(ids, [63, 128, 1_000_000]);
    }
}
