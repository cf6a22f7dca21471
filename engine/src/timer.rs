//! Which of many things is due next: an exact heap with a fan-out of four that knows where each item
//! stands, so that one can be changed or removed at any time. It does not know what the items are.

/// When something is due, in nanoseconds of whichever clock the items follow.
type Time = u64;

/// Children of a heap entry: flatter than two, and a family shares a cache line.
const FAN_OUT: usize = 4;
/// An item that is not waiting.
const ABSENT: u32 = u32::MAX;

/// Items waiting for their times. Of equal times the one inserted first is due first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<Entry>,
    /// Where in the heap each item stands.
    places: Vec<u32>,
    /// Counts insertions. It wraps: of two items of one time, four billion insertions apart, either may be
    /// the first.
    order: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: Time,
    order: u32,
    item: u32,
}

impl Timers {
    /// Nothing waits.
    pub(crate) fn new() -> Timers {
        Timers::default()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Lets `item` wait until `time`, instead of whatever it waited for.
    pub(crate) fn insert(&mut self, item: u32, time: Time) {
        let entry = Entry { time, order: self.order, item };
        self.order = self.order.wrapping_add(1);
        if let Some(place) = self.place(item) {
            self.settle(place, entry);
            return;
        }
        if self.places.len() <= item as usize {
            self.places.resize(item as usize + 1, ABSENT);
        }
        self.heap.push(entry);
        self.rise(self.heap.len() - 1, entry);
    }

    /// `item` waits no more. Whether it did.
    pub(crate) fn remove(&mut self, item: u32) -> bool {
        let Some(place) = self.place(item) else { return false };
        self.places[item as usize] = ABSENT;
        let last = self.heap.pop().expect("an item has a place, so the heap is not empty");
        if place < self.heap.len() {
            self.settle(place, last);
        }
        true
    }

    /// What `item` waits for.
    pub(crate) fn time(&self, item: u32) -> Option<Time> {
        self.place(item).map(|place| self.heap[place].time)
    }

    /// The earliest time anything waits for.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.first().map(|entry| entry.time)
    }

    /// Takes the first item whose time has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u32> {
        let first = *self.heap.first()?;
        if first.time > now {
            return None;
        }
        self.remove(first.item);
        Some(first.item)
    }

    /// Everything that waits, in no order to rely on.
    pub(crate) fn items(&self) -> impl Iterator<Item = u32> + '_ {
        self.heap.iter().map(|entry| entry.item)
    }

    fn place(&self, item: u32) -> Option<usize> {
        self.places.get(item as usize).filter(|place| **place != ABSENT).map(|place| *place as usize)
    }

    /// Puts `entry` at `place` or, where the order asks for it, above or below.
    fn settle(&mut self, place: usize, entry: Entry) {
        if place > 0 && entry < self.heap[(place - 1) / FAN_OUT] {
            self.rise(place, entry);
        } else {
            self.sink(place, entry);
        }
    }

    fn rise(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let parent = (place - 1) / FAN_OUT;
            if self.heap[parent] < entry {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize, entry: Entry) {
        loop {
            let first = place * FAN_OUT + 1;
            let family = first..(first + FAN_OUT).min(self.heap.len());
            let Some(least) = family.min_by_key(|child| self.heap[*child]) else { break };
            if entry < self.heap[least] {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.item as usize] = place as u32;
    }
}
