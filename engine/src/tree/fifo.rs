//! The jobs of a leaf at one priority, by their sequence numbers. A new job has the highest and goes to
//! the end of a list; one that returns has its old number and goes to a map, made on first use: however
//! many return, and in whatever order, each finds its place without a walk.

use std::collections::BTreeMap;

use super::Slot;
use super::lane::LaneId;
use crate::time::Timestamp;

/// No job.
const NONE: Slot = Slot::MAX;
/// Jobs that returned, or that stand before one that did, that are counted one by one.
const MAX_RETURNED_COUNTED: usize = 1_024;

/// Jobs in order.
#[derive(Debug)]
pub(super) struct Fifo {
    /// When its front entered, or was last served.
    pub(super) since: Timestamp,
    head: Slot,
    tail: Slot,
    /// No job in the list has a higher number.
    highest: u64,
    /// By their numbers.
    #[allow(clippy::box_collection, reason = "most never need it: a live key is 16 bytes smaller")]
    returned: Option<Box<BTreeMap<u64, Slot>>>,
}

/// A job's place in its fifo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Where it is; none: it is not in the tree.
    pub(super) lane: LaneId,
    /// Its neighbours, while it is in the list.
    previous: Slot,
    next: Slot,
    /// Grows by one from each job of the list to the next that came: who is before a job is known without a walk.
    number: u32,
}

impl Link {
    /// Of a job that is not in the tree.
    pub(super) const ABSENT: Link = Link { lane: LaneId::NONE, previous: NONE, next: NONE, number: 0 };
}

impl Fifo {
    pub(super) const fn new(since: Timestamp) -> Fifo {
        Fifo { since, head: NONE, tail: NONE, highest: 0, returned: None }
    }

    /// Puts a job at its place.
    pub(super) fn insert(&mut self, links: &mut [Link], slot: Slot, sequence: u64) {
        if self.head == NONE {
            self.head = slot;
        } else if sequence > self.highest {
            links[self.tail as usize].next = slot;
            links[slot as usize].previous = self.tail;
            links[slot as usize].number = links[self.tail as usize].number.wrapping_add(1);
        } else {
            self.returned.get_or_insert_default().insert(sequence, slot);
            return;
        }
        self.tail = slot;
        self.highest = sequence;
    }

    /// The first job. There is one.
    pub(super) fn first(&self, sequence_of: impl Fn(Slot) -> u64) -> Slot {
        match self.returned.as_ref().and_then(|returned| returned.first_key_value()) {
            Some((sequence, slot)) if self.head == NONE || *sequence < sequence_of(self.head) => *slot,
            _ => self.head,
        }
    }

    /// Takes a job out, wherever it stands.
    pub(super) fn remove(&mut self, links: &mut [Link], slot: Slot, sequence: u64) {
        if let Some(returned) = &mut self.returned
            && returned.remove(&sequence).is_some()
        {
            if returned.is_empty() {
                self.returned = None;
            }
            return;
        }
        self.unlink(links, slot);
    }

    /// How many of the `jobs` that it has are before one that is here: exact but for jobs that were taken out from between, which are counted
    /// as evenly spread, and for more than [`MAX_RETURNED_COUNTED`] that returned.
    pub(super) fn before(
        &self,
        links: &[Link],
        slot: Slot,
        jobs: u64,
        sequence_of: impl Fn(Slot) -> u64,
    ) -> u64 {
        let sequence = sequence_of(slot);
        let empty = BTreeMap::new();
        let returned = self.returned.as_deref().unwrap_or(&empty);
        let returned_before = returned.range(..sequence).take(MAX_RETURNED_COUNTED).count() as u64;
        if returned.contains_key(&sequence) {
            let mut at = self.head;
            let mut listed = 0;
            while at != NONE && listed < MAX_RETURNED_COUNTED as u64 && sequence_of(at) < sequence {
                at = links[at as usize].next;
                listed += 1;
            }
            return returned_before + listed;
        }
        let number = |slot: Slot| links[slot as usize].number;
        let first = number(self.head);
        let places = u64::from(number(self.tail).wrapping_sub(first)) + 1;
        let listed = jobs - returned.len() as u64;
        let passed = u64::from(number(slot).wrapping_sub(first));
        returned_before + passed * listed / places
    }

    fn unlink(&mut self, links: &mut [Link], slot: Slot) {
        let Link { previous, next, .. } = links[slot as usize];
        match previous {
            NONE => self.head = next,
            _ => links[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            _ => links[next as usize].previous = previous,
        }
    }
}
