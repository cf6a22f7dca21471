//! Where a page ends: opaque to clients, and only good for the list it came from.

use sluice_engine::{JobId, QueueName, StateSet};
use xxhash_rust::xxh3::Xxh3;

/// Where the reading of a drained set goes on: `position-set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrainToken {
    /// The position in the set.
    pub(super) position: u64,
    /// The lower half of the set's name; none at the beginning, which is the same for all.
    set: Option<u64>,
}

impl DrainToken {
    /// Position `position` of `set`.
    pub(super) fn new(set: u128, position: u64) -> DrainToken {
        DrainToken { position, set: Some(set as u64) }
    }

    /// Whether it may be used with `set`. With a set that has no name nothing else matters.
    pub(super) fn is_of(&self, set: Option<u128>) -> bool {
        self.set.is_none() || set.is_none() || self.set == set.map(|s| s as u64)
    }

    /// As clients see it.
    pub(super) fn write(&self) -> String {
        self.set.map_or_else(String::new, |set| pair(self.position, set))
    }

    /// As it was sent; none when we wrote no such token.
    pub(super) fn read(text: &str) -> Option<DrainToken> {
        if text.is_empty() {
            return Some(DrainToken { position: 0, set: None });
        }
        let (position, set) = read_pair(text)?;
        Some(DrainToken { position, set: Some(set) })
    }
}

/// Where a list of jobs goes on: `job-filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobsToken;

impl JobsToken {
    /// The list by this filter goes on at `next`.
    pub(super) fn write(next: JobId, queue: Option<&QueueName>, states: StateSet) -> String {
        pair(next.0, filter(queue, states))
    }

    /// Where the list by this filter goes on; none when it is no token of it.
    pub(super) fn read(text: &str, queue: Option<&QueueName>, states: StateSet) -> Option<JobId> {
        if text.is_empty() {
            return Some(JobId(0));
        }
        let (next, of) = read_pair(text)?;
        (of == filter(queue, states)).then_some(JobId(next))
    }
}

fn filter(queue: Option<&QueueName>, states: StateSet) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(queue.map_or("", |q| q).as_bytes());
    let bits = sluice_engine::JobState::ALL.map(|s| u8::from(states.contains(s)));
    hash.update(&bits);
    hash.digest()
}

fn pair(place: u64, of: u64) -> String {
    format!("{place:x}-{of:016x}")
}

fn read_pair(text: &str) -> Option<(u64, u64)> {
    let (place, of) = text.split_once('-')?;
    let place = u64::from_str_radix(place, 16).ok()?;
    let of = u64::from_str_radix(of, 16).ok()?;
    // `+1` and `01` parse too, but we never wrote them.
    (pair(place, of) == text).then_some((place, of))
}

#[cfg(test)]
mod tests {
    use sluice_engine::JobState;

    use super::*;

    #[test]
    fn drain_tokens_come_back_as_they_were() {
        let token = DrainToken::new(u128::MAX - 5, u64::MAX);
        assert_eq!(DrainToken::read(&token.write()), Some(token));
        assert!(token.is_of(Some(u128::MAX - 5)));
        assert!(!token.is_of(Some(5)));
        let start = DrainToken::read("").unwrap();
        assert_eq!((start.position, start.is_of(Some(5))), (0, true));
    }

    #[test]
    fn tokens_nobody_was_given_are_refused() {
        for text in ["0", "-", "1-", "-1", "+1-0000000000000001", "1-1", "g-0000000000000001", "é-é", "1-1-1"]
        {
            assert_eq!(DrainToken::read(text), None, "{text}");
            assert_eq!(JobsToken::read(text, None, StateSet::ALL), None, "{text}");
        }
    }

    #[test]
    fn jobs_token_is_good_for_its_filter_only() {
        let queue = QueueName::new("q").unwrap();
        let dead = StateSet::default().with(JobState::Dead);
        let token = JobsToken::write(JobId(99), Some(&queue), dead);
        assert_eq!(JobsToken::read(&token, Some(&queue), dead), Some(JobId(99)));
        assert_eq!(JobsToken::read(&token, None, dead), None);
        assert_eq!(JobsToken::read(&token, Some(&queue), StateSet::ALL), None);
    }
}
