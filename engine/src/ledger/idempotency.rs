//! Which jobs came in with an idempotency key, for as long as it is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{self, HashTable};

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
    queues: BTreeMap<QueueId, Memory>,
    /// Keys of all queues.
    len: u64,
}

/// What a queue remembers. An entry is kept once, in order of time, in pages that are never copied; the table knows it
/// by its number alone.
#[derive(Default)]
struct Memory {
    pages: VecDeque<Vec<Entry>>,
    /// The number of the first entry of the first page.
    first: u64,
    /// How many entries of the first page are forgotten.
    forgotten: usize,
    /// Of each key its last entry.
    by_key: HashTable<Known>,
    /// Seeded: nobody can choose keys that the table finds slowly.
    hasher: DefaultHashBuilder,
}

/// An entry as the table knows it: small, and enough to look for another place when the table grows.
#[derive(Clone, Copy)]
struct Known {
    /// The lower half of its number: no more are remembered at a time.
    number: u32,
    /// A part of the seeded hash of its key.
    part: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Halves of a hash, so that an entry takes no more room than it needs.
    hash: [u64; 2],
    job: JobId,
    time: Timestamp,
}

/// Entries of a page.
const PAGE: usize = 4_096;

impl Idempotency {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The job that came with this key within `window`.
    pub(crate) fn find(&self, queue: QueueId, hash: u128, window: Span, now: Timestamp) -> Option<JobId> {
        let entry = self.queues.get(&queue)?.find(halves(hash))?;
        (entry.time + window > now).then_some(entry.job)
    }

    /// Remembers a key; a replay may bring one that is known.
    pub(crate) fn insert(&mut self, record: IdempotencyRecord) {
        let entry = Entry { hash: halves(record.hash), job: record.job, time: record.time };
        let memory = self.queues.entry(record.queue).or_default();
        self.len += u64::from(memory.insert(entry));
    }

    /// Forgets what the window has passed, at most so many; says how many.
    pub(crate) fn forget(&mut self, queue: QueueId, window: Span, now: Timestamp, limit: usize) -> usize {
        let Some(memory) = self.queues.get_mut(&queue) else { return 0 };
        let mut count = 0;
        while count < limit
            && let Some(first) = memory.front()
            && first.time + window <= now
        {
            self.len -= u64::from(memory.pop_front());
            count += 1;
        }
        count
    }

    /// See [`crate::Ledger::idempotency_after`].
    pub(crate) fn after(&self, after: Option<(QueueId, Timestamp)>, limit: usize) -> Vec<IdempotencyRecord> {
        let mut records: Vec<IdempotencyRecord> = Vec::new();
        let first = after.map_or(QueueId(0), |(queue, _)| queue);
        for (queue, memory) in self.queues.range(first..) {
            let passed =
                after.filter(|(of, _)| of == queue).map_or(memory.begin(), |(_, last)| memory.passed(last));
            for (number, entry) in (passed..memory.end()).map(|number| (number, memory.at(number))) {
                let is_next_time =
                    records.last().is_some_and(|last| (last.queue, last.time) != (*queue, entry.time));
                if records.len() >= limit && is_next_time {
                    return records;
                }
                // A key that came again stands further back too.
                if memory.is_newest(number) {
                    let (hash, job, time) = (whole(entry.hash), entry.job, entry.time);
                    records.push(IdempotencyRecord { queue: *queue, hash, job, time });
                }
            }
        }
        records
    }

    /// Forgets a queue.
    pub(crate) fn forget_queue(&mut self, queue: QueueId) {
        self.len -= self.queues.remove(&queue).map_or(0, |memory| memory.by_key.len() as u64);
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.queues.keys().copied()
    }
}

impl Memory {
    /// The number of the first entry that is remembered.
    fn begin(&self) -> u64 {
        self.first + self.forgotten as u64
    }

    /// The number of the next entry.
    fn end(&self) -> u64 {
        let full = self.pages.len().saturating_sub(1) * PAGE;
        self.first + (full + self.pages.back().map_or(0, Vec::len)) as u64
    }

    fn at(&self, number: u64) -> Entry {
        let at = (number - self.first) as usize;
        self.pages[at / PAGE][at % PAGE]
    }

    fn find(&self, hash: [u64; 2]) -> Option<Entry> {
        let part = self.part(hash);
        let pages = Pages { pages: &self.pages, first: self.first, begin: self.begin() };
        let known =
            self.by_key.find(spread(part), |known| known.part == part && pages.of(*known).hash == hash)?;
        Some(pages.of(*known))
    }

    /// Whether the key was not known.
    fn insert(&mut self, entry: Entry) -> bool {
        let part = self.part(entry.hash);
        let known = Known { number: self.end() as u32, part };
        let pages = Pages { pages: &self.pages, first: self.first, begin: self.begin() };
        let is_it = |known: &Known| known.part == part && pages.of(*known).hash == entry.hash;
        let is_new = match self.by_key.entry(spread(part), is_it, |known| spread(known.part)) {
            hash_table::Entry::Occupied(mut there) => {
                let before = pages.of(*there.get());
                if (before.job, before.time) == (entry.job, entry.time) {
                    return false;
                }
                *there.get_mut() = known;
                false
            }
            hash_table::Entry::Vacant(place) => {
                place.insert(known);
                true
            }
        };
        match self.pages.back_mut().filter(|page| page.len() < PAGE) {
            Some(page) => page.push(entry),
            None => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(entry);
                self.pages.push_back(page);
            }
        }
        is_new
    }

    fn front(&self) -> Option<Entry> {
        self.pages.front().and_then(|page| page.get(self.forgotten)).copied()
    }

    /// Forgets the first entry; whether nothing is remembered of its key any more.
    fn pop_front(&mut self) -> bool {
        let (number, Some(entry)) = (self.begin(), self.front()) else { return false };
        let part = self.part(entry.hash);
        // A key that came again since then stands further back too.
        let is_it = |known: &Known| known.part == part && known.number == number as u32;
        let newest = self.by_key.find_entry(spread(part), is_it).map(|found| found.remove()).is_ok();
        self.forgotten += 1;
        if self.forgotten == PAGE {
            self.pages.pop_front();
            self.first += PAGE as u64;
            self.forgotten = 0;
        }
        newest
    }

    /// Whether its key did not come again after this entry.
    fn is_newest(&self, number: u64) -> bool {
        let part = self.part(self.at(number).hash);
        self.by_key.find(spread(part), |known| known.part == part && known.number == number as u32).is_some()
    }

    /// See [`Known::part`].
    fn part(&self, hash: [u64; 2]) -> u32 {
        self.hasher.hash_one(hash) as u32
    }

    /// The number of the first entry after this time.
    fn passed(&self, last: Timestamp) -> u64 {
        let (mut from, mut until) = (self.begin(), self.end());
        while from < until {
            let middle = from + (until - from) / 2;
            if self.at(middle).time <= last {
                from = middle + 1;
            } else {
                until = middle;
            }
        }
        from
    }
}

/// The pages, while the table is changed.
struct Pages<'a> {
    pages: &'a VecDeque<Vec<Entry>>,
    first: u64,
    begin: u64,
}

impl Pages<'_> {
    fn of(&self, known: Known) -> Entry {
        let number = self.begin + u64::from(known.number.wrapping_sub(self.begin as u32));
        let at = (number - self.first) as usize;
        self.pages[at / PAGE][at % PAGE]
    }
}

/// A part of a hash as a whole one: the table looks at both of its ends.
fn spread(part: u32) -> u64 {
    u64::from(part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn halves(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
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

    #[test]
    fn keys_of_many_pages_are_found_and_forgotten_in_order() {
        let mut idempotency = Idempotency::default();
        let count = 3 * PAGE as u64 + 7;
        for n in 0..count {
            idempotency.insert(record(u128::from(n) << 64 | u128::from(n * n), n, 100 + n));
        }
        assert_eq!(idempotency.len(), count);
        let forgotten = PAGE as u64 + 3;
        let now = Timestamp(100 + forgotten - 1 + WINDOW.0);
        assert_eq!(idempotency.forget(Q, WINDOW, now, usize::MAX), forgotten as usize);
        assert_eq!(idempotency.len(), count - forgotten);
        let rest = idempotency.after(Some((Q, Timestamp(100 + forgotten))), usize::MAX);
        assert_eq!(rest.len() as u64, count - forgotten - 1);
        let last = rest.last().unwrap();
        assert_eq!(idempotency.find(Q, last.hash, WINDOW, last.time), Some(last.job));
        assert_eq!(rest[0].job, JobId(forgotten + 1));
    }
}
