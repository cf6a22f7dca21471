//! A set of job ids. Jobs are mostly dealt with in the order of their ids: a bit each, 64 to a word.

use std::collections::BTreeMap;

use sluice_engine::JobId;

/// A set of job ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdSet {
    words: BTreeMap<u64, u64>,
    /// The word in use, not in `words`: neighbours cost no search.
    recent: Option<(u64, u64)>,
}

impl IdSet {
    /// Adds an id.
    pub(crate) fn insert(&mut self, id: JobId) {
        let (place, bit) = (id.0 / 64, 1u64 << (id.0 % 64));
        match &mut self.recent {
            Some((recent, word)) if *recent == place => *word |= bit,
            _ => {
                self.settle();
                self.recent = Some((place, bit));
            }
        }
    }

    /// Whether `id` is in it.
    #[cfg(test)]
    pub(crate) fn contains(&self, id: JobId) -> bool {
        let (place, bit) = (id.0 / 64, 1u64 << (id.0 % 64));
        self.words.get(&place).is_some_and(|word| word & bit != 0)
            || self.recent.is_some_and(|(recent, word)| recent == place && word & bit != 0)
    }

    /// Every id, in order.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<JobId> {
        let mut whole = self.clone();
        whole.settle();
        let mut ids = Vec::new();
        for (place, mut word) in whole.words {
            while word != 0 {
                ids.push(JobId(place * 64 + u64::from(word.trailing_zeros())));
                word &= word - 1;
            }
        }
        ids
    }

    /// Ids from `from` on, in order, about `limit` of them: one word's more at most.
    pub(crate) fn ids_from(&self, from: JobId, limit: usize) -> Vec<JobId> {
        let place = from.0 / 64;
        // Each word holds an id, the first perhaps only smaller ones.
        let mut words: BTreeMap<u64, u64> =
            self.words.range(place..).take(limit + 1).map(|(place, word)| (*place, *word)).collect();
        if let Some((recent, word)) = self.recent.filter(|(recent, _)| *recent >= place) {
            *words.entry(recent).or_default() |= word;
        }
        let mut ids = Vec::with_capacity(limit);
        for (at, word) in words {
            if ids.len() >= limit {
                break;
            }
            let mut word = if at == place { word & u64::MAX << (from.0 % 64) } else { word };
            while word != 0 {
                ids.push(JobId(at * 64 + u64::from(word.trailing_zeros())));
                word &= word - 1;
            }
        }
        ids
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let settled: u32 = self.words.values().map(|word| word.count_ones()).sum();
        let recent = self
            .recent
            .map_or(0, |(place, word)| (word & !self.words.get(&place).copied().unwrap_or(0)).count_ones());
        (settled + recent) as usize
    }

    fn settle(&mut self) {
        if let Some((place, word)) = self.recent.take() {
            *self.words.entry(place).or_default() |= word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_out_once_and_in_order() {
        let mut set = IdSet::default();
        for id in [700, 3, 64, 63, 3, 700, 0, 65, u64::MAX] {
            set.insert(JobId(id));
        }
        let ids: Vec<u64> = set.to_vec().into_iter().map(|id| id.0).collect();
        assert_eq!(ids, [0, 3, 63, 64, 65, 700, u64::MAX]);
        assert_eq!(set.len(), 7);
        let mut walked = Vec::new();
        let mut from = JobId(0);
        while let Some(last) = set.ids_from(from, 2).last().copied() {
            walked.extend(set.ids_from(from, 2));
            let Some(next) = last.0.checked_add(1) else { break };
            from = JobId(next);
        }
        assert_eq!(walked, set.to_vec());
        assert!(set.contains(JobId(63)) && set.contains(JobId(u64::MAX)) && !set.contains(JobId(1)));
    }
}
