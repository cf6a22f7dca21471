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
    #[cfg(test)]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn due(timers: &mut Timers, now: Time) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    #[test]
    fn items_are_due_in_order_of_time_and_not_before() {
        let mut timers = Timers::new();
        for (item, time) in [(7, 30), (1, 10), (4, 20)] {
            timers.insert(item, time);
        }
        assert_eq!(timers.next(), Some(10));
        assert_eq!(due(&mut timers, 9), []);
        assert_eq!(due(&mut timers, 20), [1, 4]);
        assert_eq!((timers.next(), timers.len()), (Some(30), 1));
    }

    #[test]
    fn items_of_one_time_are_due_as_they_came() {
        let mut timers = Timers::new();
        let items = [5, 3, 9, 0, 8, 1, 7];
        for item in items {
            timers.insert(item, 10);
        }
        assert_eq!(due(&mut timers, 10), items);
    }

    #[test]
    fn changed_item_counts_as_new() {
        let mut timers = Timers::new();
        for item in 0..3 {
            timers.insert(item, 10);
        }
        timers.insert(0, 10);
        timers.insert(1, 5);
        assert_eq!((timers.time(1), timers.len()), (Some(5), 3));
        assert_eq!(due(&mut timers, 10), [1, 2, 0]);
    }

    #[test]
    fn removed_item_is_never_due() {
        let mut timers = Timers::new();
        timers.insert(0, 10);
        timers.insert(1, 10);
        assert!(timers.remove(0));
        assert!(!timers.remove(0) && !timers.remove(1_000));
        assert_eq!(timers.time(0), None);
        assert_eq!(due(&mut timers, u64::MAX), [1]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, Time),
        Remove(u32),
        PopDue(Time),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32, 0..100_u64).prop_map(|(item, time)| Step::Insert(item, time)),
            1 => (0..40_u32).prop_map(Step::Remove),
            2 => (0..100_u64).prop_map(Step::PopDue),
        ]
    }

    proptest! {
        #[test]
        fn timers_do_what_a_sorted_set_does(steps in vec(step(), 1..300)) {
            let mut timers = Timers::new();
            let mut model = BTreeSet::new();
            for (count, step) in steps.into_iter().enumerate() {
                let of = |item: u32, model: &BTreeSet<(Time, usize, u32)>| {
                    model.iter().find(|entry| entry.2 == item).copied()
                };
                match step {
                    Step::Insert(item, time) => {
                        if let Some(old) = of(item, &model) {
                            model.remove(&old);
                        }
                        model.insert((time, count, item));
                        timers.insert(item, time);
                    }
                    Step::Remove(item) => {
                        let old = of(item, &model);
                        prop_assert_eq!(timers.time(item), old.map(|entry| entry.0));
                        prop_assert_eq!(timers.remove(item), old.is_some_and(|entry| model.remove(&entry)));
                    }
                    Step::PopDue(now) => {
                        let first = model.first().copied().filter(|entry| entry.0 <= now);
                        prop_assert_eq!(timers.pop_due(now), first.map(|entry| entry.2));
                        model.retain(|entry| Some(*entry) != first);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.next(), model.first().map(|entry| entry.0));
            }
            let rest: Vec<u32> = model.into_iter().map(|entry| entry.2).collect();
            prop_assert_eq!(due(&mut timers, u64::MAX), rest);
        }
    }
}
