//! Batches: jobs that are counted together, for as long as somebody may ask.

use std::collections::BTreeMap;

use crate::id::{JobId, QueueId};
use crate::job::JobState;
use crate::name::BatchName;
use crate::queue::{BatchRecord, BatchState, BatchView, StateCounts};
use crate::time::Timestamp;

/// A batch's number while it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId(u32);

/// All batches.
#[derive(Default)]
pub(crate) struct Batches {
    batches: Vec<Batch>,
    free: Vec<u32>,
    by_name: BTreeMap<(QueueId, BatchName), BatchId>,
    /// Those whose record says something, by when it last changed.
    by_change: BTreeMap<u64, BatchId>,
    last_change: u64,
}

struct Batch {
    record: BatchRecord,
    /// Its jobs that are there.
    there: StateCounts,
    /// The last job that came into it.
    newest: JobId,
    /// Under which number it stands among the changes; 0: its record says nothing.
    change: u64,
}

impl BatchId {
    /// No batch: most jobs'.
    pub(crate) const NONE: BatchId = BatchId(u32::MAX);
}

impl Batches {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn find(&self, queue: QueueId, name: &BatchName) -> Option<BatchId> {
        // A name is a pointer and a count: cheap to clone.
        self.by_name.get(&(queue, name.clone())).copied()
    }

    /// The number of a batch, which begins if it is new.
    pub(crate) fn named(&mut self, queue: QueueId, name: Option<&BatchName>, now: Timestamp) -> BatchId {
        let Some(name) = name else { return BatchId::NONE };
        match self.find(queue, name) {
            Some(id) => id,
            None => self.begin(BatchRecord {
                queue,
                name: name.clone(),
                total: None,
                gone: StateCounts::default(),
                change_time: now,
            }),
        }
    }

    /// A batch from a record; its jobs come by themselves.
    pub(crate) fn put(&mut self, record: BatchRecord) {
        let id = match self.find(record.queue, &record.name) {
            Some(id) => {
                self.at(id).record = record;
                id
            }
            None => self.begin(record),
        };
        self.changed(id);
    }

    pub(crate) fn announce(
        &mut self,
        queue: QueueId,
        name: &BatchName,
        total: u64,
        now: Timestamp,
    ) -> BatchId {
        let id = self.named(queue, Some(name), now);
        let record = &mut self.at(id).record;
        record.total = Some(total);
        record.change_time = now;
        self.changed(id);
        id
    }

    /// Forgets a batch. Jobs that a replay found in it are of a later one of that name, which begins with them.
    pub(crate) fn forget(&mut self, queue: QueueId, name: &BatchName) {
        let Some(id) = self.find(queue, name) else { return };
        let batch = &mut self.batches[id.0 as usize];
        self.by_change.remove(&std::mem::take(&mut batch.change));
        if batch.there.sum() == 0 {
            self.by_name.remove(&(queue, name.clone()));
            self.free.push(id.0);
        } else {
            batch.record.total = None;
            batch.record.gone = StateCounts::default();
        }
    }

    pub(crate) fn name(&self, id: BatchId) -> Option<&BatchName> {
        (id != BatchId::NONE).then(|| &self.batches[id.0 as usize].record.name)
    }

    pub(crate) fn record(&self, id: BatchId) -> &BatchRecord {
        &self.batches[id.0 as usize].record
    }

    /// Whether none of its jobs is there.
    pub(crate) fn is_empty(&self, id: BatchId) -> bool {
        self.batches[id.0 as usize].there.sum() == 0
    }

    /// Batches of a queue, by name.
    pub(crate) fn of_queue(&self, queue: QueueId) -> impl Iterator<Item = (&BatchName, BatchId)> {
        let all = self.by_name.range((queue, BatchName::least())..);
        all.take_while(move |((of, _), _)| *of == queue).map(|((_, name), id)| (name, *id))
    }

    /// Every batch.
    pub(crate) fn all(&self) -> impl Iterator<Item = (QueueId, BatchId)> + '_ {
        self.by_name.iter().map(|((queue, _), id)| (*queue, *id))
    }

    /// Records that changed after `change`, in order, each with the number of its change.
    pub(crate) fn changed_after(&self, change: u64) -> impl Iterator<Item = (u64, &BatchRecord)> {
        self.by_change.range(change + 1..).map(|(change, id)| (*change, self.record(*id)))
    }

    pub(crate) fn enter(&mut self, id: BatchId, state: JobState) {
        if id != BatchId::NONE {
            self.at(id).there.add(state);
        }
    }

    /// A job is there that was not.
    pub(crate) fn note(&mut self, id: BatchId, job: JobId) {
        if id != BatchId::NONE {
            let batch = self.at(id);
            batch.newest = batch.newest.max(job);
        }
    }

    /// The last job that came into a batch.
    pub(crate) fn newest(&self, id: BatchId) -> JobId {
        self.batches[id.0 as usize].newest
    }

    pub(crate) fn leave(&mut self, id: BatchId, state: JobState) {
        if id != BatchId::NONE {
            self.at(id).there.remove(state);
        }
    }

    /// A job that left `state` is gone for good. Whether it was the last one there.
    pub(crate) fn gone(&mut self, id: BatchId, state: JobState, now: Timestamp, is_covered: bool) -> bool {
        if id == BatchId::NONE {
            return false;
        }
        let batch = self.at(id);
        if !is_covered {
            batch.record.gone.add(if state.is_at_rest() { state } else { JobState::Cancelled });
            batch.record.change_time = now;
            self.changed(id);
        }
        self.is_empty(id)
    }

    pub(crate) fn view(&self, id: BatchId) -> BatchView {
        let batch = &self.batches[id.0 as usize];
        let counts = batch.there.plus(&batch.record.gone);
        BatchView { counts, total: batch.record.total, state: state(&counts, batch.record.total) }
    }

    fn begin(&mut self, record: BatchRecord) -> BatchId {
        let key = (record.queue, record.name.clone());
        let batch = Batch { record, there: StateCounts::default(), newest: JobId(0), change: 0 };
        let id = BatchId(match self.free.pop() {
            Some(index) => {
                self.batches[index as usize] = batch;
                index
            }
            None => {
                self.batches.push(batch);
                u32::try_from(self.batches.len() - 1).expect("batches are bounded")
            }
        });
        self.by_name.insert(key, id);
        id
    }

    fn changed(&mut self, id: BatchId) {
        self.last_change += 1;
        let batch = &mut self.batches[id.0 as usize];
        self.by_change.remove(&batch.change);
        batch.change = self.last_change;
        self.by_change.insert(self.last_change, id);
    }

    fn at(&mut self, id: BatchId) -> &mut Batch {
        &mut self.batches[id.0 as usize]
    }
}

fn state(counts: &StateCounts, total: Option<u64>) -> BatchState {
    let (jobs, completed) = (counts.sum(), counts.get(JobState::Completed));
    let is_whole = total.is_none_or(|total| jobs >= total) && jobs > 0;
    if counts.live() == 0 && is_whole {
        return match completed {
            0 => BatchState::Failed,
            all if all == jobs => BatchState::Completed,
            _ => BatchState::Partial,
        };
    }
    let untouched = counts.get(JobState::Scheduled) + counts.get(JobState::Ready);
    if untouched == jobs { BatchState::Pending } else { BatchState::Running }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(numbers: &[(JobState, u64)]) -> StateCounts {
        numbers.iter().fold(StateCounts::default(), |counts, (state, number)| counts.with(*state, *number))
    }

    #[test]
    fn state_follows_from_the_counts() {
        use JobState::{Cancelled, Completed, Dead, Leased, Ready, Retrying, Scheduled};
        for (numbers, total, expected) in [
            (&[(Ready, 3), (Scheduled, 1)][..], None, BatchState::Pending),
            (&[], Some(3), BatchState::Pending),
            (&[(Ready, 3), (Leased, 1)], None, BatchState::Running),
            (&[(Retrying, 1)], None, BatchState::Running),
            (&[(Ready, 1), (Completed, 1)], None, BatchState::Running),
            (&[(Completed, 2)], None, BatchState::Completed),
            (&[(Completed, 2)], Some(3), BatchState::Running),
            (&[(Completed, 3)], Some(3), BatchState::Completed),
            (&[(Completed, 2), (Dead, 1)], None, BatchState::Partial),
            (&[(Cancelled, 2), (Dead, 1)], None, BatchState::Failed),
        ] {
            assert_eq!(state(&counts(numbers), total), expected, "{numbers:?} of {total:?}");
        }
    }

    #[test]
    fn jobs_that_are_gone_still_count() {
        let mut batches = Batches::default();
        let name = BatchName::new("b").unwrap();
        let id = batches.named(QueueId(1), Some(&name), Timestamp(1));
        batches.enter(id, JobState::Ready);
        batches.enter(id, JobState::Completed);
        batches.leave(id, JobState::Completed);
        assert!(!batches.gone(id, JobState::Completed, Timestamp(2), false));
        batches.leave(id, JobState::Ready);
        assert!(batches.gone(id, JobState::Ready, Timestamp(3), false));
        let view = batches.view(id);
        assert_eq!((view.counts.get(JobState::Completed), view.counts.get(JobState::Cancelled)), (1, 1));
        assert_eq!(batches.changed_after(0).count(), 1);
        batches.forget(QueueId(1), &name);
        assert_eq!((batches.len(), batches.changed_after(0).count()), (0, 0));
    }
}
