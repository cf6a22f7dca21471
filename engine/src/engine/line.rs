//! Jobs that wait, in order of their places, for each priority: who is the oldest of the least urgent?

use crate::arrival::Arrivals;
use crate::job::Priority;

/// Places of waiting jobs, by priority. Small while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Line([Option<Box<Arrivals>>; Priority::COUNT]);

impl Line {
    pub(crate) fn insert(&mut self, priority: Priority, place: u64) {
        self.0[priority.index()].get_or_insert_default().insert(place);
    }

    pub(crate) fn remove(&mut self, priority: Priority, place: u64) {
        if let Some(places) = &mut self.0[priority.index()] {
            places.remove(place);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().flatten().all(|places| places.len() == 0)
    }

    /// The first place at `priority`.
    pub(crate) fn first(&self, priority: usize) -> Option<u64> {
        self.0[priority].as_ref()?.first()
    }

    /// The first place of each priority that has any.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flatten().filter_map(|places| places.first())
    }

    /// How many wait at each priority.
    pub(crate) fn by_priority(&self) -> [u64; Priority::COUNT] {
        std::array::from_fn(|priority| self.0[priority].as_ref().map_or(0, |places| places.len()))
    }

    /// 1 = the first by priority, then by place.
    pub(crate) fn position(&self, priority: Priority, place: u64) -> u64 {
        let above: u64 = self.0[priority.index() + 1..].iter().flatten().map(|places| places.len()).sum();
        1 + above + self.0[priority.index()].as_ref().map_or(0, |places| places.rank(place))
    }
}
