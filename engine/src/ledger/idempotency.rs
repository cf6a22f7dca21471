//! Which jobs came in with an idempotency key, for as long as it is remembered.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use crate::id::{JobId, QueueId};
use crate::time::{Span, Timestamp};

/// A remembered key as the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The queue.
    pub queue: QueueId,
    /// A hash of the key.
    pub hash: u128,
    /// The job that came with it.
    pub job: JobId,
    /// When.
    pub time: Timestamp,
}

/// All that is remembered.
#[derive(Default)]
pub(crate) struct Idempotency {
    /// Halves of a hash, so that an entry takes no more room than it needs.
    known: HashMap<(QueueId, [u64; 2]), (JobId, Timestamp)>,
    by_time: BTreeMap<QueueId, VecDeque<(Timestamp, u128)>>,
}

impl Idempotency {
    pub(crate) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// The job that came with this key within `window`.
    pub(crate) fn find(&self, queue: QueueId, hash: u128, window: Span, now: Timestamp) -> Option<JobId> {
        let (job, time) = self.known.get(&(queue, halves(hash)))?;
        (*time + window > now).then_some(*job)
    }

    /// Remembers a key; a replay may bring one that is known.
    pub(crate) fn insert(&mut self, record: IdempotencyRecord) {
        let entry = (record.job, record.time);
        let known = self.known.insert((record.queue, halves(record.hash)), entry);
        if known != Some(entry) {
            self.by_time.entry(record.queue).or_default().push_back((record.time, record.hash));
        }
    }

    /// Forgets what the window has passed, at most so many; says how many.
    pub(crate) fn forget(&mut self, queue: QueueId, window: Span, now: Timestamp, limit: usize) -> usize {
        let Some(by_time) = self.by_time.get_mut(&queue) else { return 0 };
        let mut count = 0;
        while count < limit
            && let Some((time, hash)) = by_time.front().copied()
            && time + window <= now
        {
            by_time.pop_front();
            let key = (queue, halves(hash));
            // A key that came again since then stands further back too.
            if self.known.get(&key).is_some_and(|(_, newest)| *newest == time) {
                self.known.remove(&key);
            }
            count += 1;
        }
        count
    }

    /// See [`crate::Ledger::idempotency_after`].
    pub(crate) fn after(&self, after: Option<(QueueId, Timestamp)>, limit: usize) -> Vec<IdempotencyRecord> {
        let mut records: Vec<IdempotencyRecord> = Vec::new();
        let first = after.map_or(QueueId(0), |(queue, _)| queue);
        for (queue, by_time) in self.by_time.range(first..) {
            let passed = after
                .filter(|(of, _)| of == queue)
                .map_or(0, |(_, last)| by_time.partition_point(|(time, _)| *time <= last));
            for (time, hash) in by_time.iter().skip(passed) {
                let is_next_time =
                    records.last().is_some_and(|last| (last.queue, last.time) != (*queue, *time));
                if records.len() >= limit && is_next_time {
                    return records;
                }
                // A key that came again stands further back too.
                if let Some((job, newest)) = self.known.get(&(*queue, halves(*hash)))
                    && newest == time
                {
                    records.push(IdempotencyRecord { queue: *queue, hash: *hash, job: *job, time: *time });
                }
            }
        }
        records
    }

    /// Forgets a queue.
    pub(crate) fn forget_queue(&mut self, queue: QueueId) {
        for (_, hash) in self.by_time.remove(&queue).unwrap_or_default() {
            self.known.remove(&(queue, halves(hash)));
        }
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.by_time.keys().copied()
    }
}

fn halves(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: QueueId = QueueId(1);
    const WINDOW: Span = Span(10);

    fn record(hash: u128, job: u64, time: u64) -> IdempotencyRecord {
        IdempotencyRecord { queue: Q, hash, job: JobId(job), time: Timestamp(time) }
    }

    #[test]
    fn key_is_remembered_for_its_window() {
        let mut idempotency = Idempotency::default();
        idempotency.insert(record(7, 1, 100));
        assert_eq!(idempotency.find(Q, 7, WINDOW, Timestamp(109)), Some(JobId(1)));
        assert_eq!(idempotency.find(Q, 7, WINDOW, Timestamp(110)), None);
        assert_eq!(idempotency.find(QueueId(2), 7, WINDOW, Timestamp(109)), None);
        assert_eq!(idempotency.forget(Q, WINDOW, Timestamp(109), 9), 0);
        assert_eq!(idempotency.forget(Q, WINDOW, Timestamp(110), 9), 1);
        assert_eq!(idempotency.len(), 0);
    }

    #[test]
    fn key_that_came_again_is_kept_when_its_first_time_is_forgotten() {
        let mut idempotency = Idempotency::default();
        idempotency.insert(record(7, 1, 100));
        idempotency.insert(record(7, 1, 100));
        idempotency.insert(record(7, 2, 115));
        assert_eq!(idempotency.forget(Q, WINDOW, Timestamp(120), 9), 1);
        assert_eq!(idempotency.find(Q, 7, WINDOW, Timestamp(120)), Some(JobId(2)));
        assert_eq!(idempotency.after(None, 1), [record(7, 2, 115)]);
        assert_eq!(idempotency.after(Some((Q, Timestamp(115))), 1), []);
        idempotency.forget_queue(Q);
        assert_eq!((idempotency.len(), idempotency.queues().count()), (0, 0));
    }
}
