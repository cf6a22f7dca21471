//! Where a page ends: opaque to clients, and only good for the list it came from.

use sluice_engine::{JobId, Key, QueueName};
use xxhash_rust::xxh3::xxh3_64;

use super::validate::Filter;

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
    pub(super) fn write(next: JobId, filter: &Filter) -> String {
        pair(next.0, hash(filter))
    }

    /// Where the list by this filter goes on; none when it is no token of it.
    pub(super) fn read(text: &str, filter: &Filter) -> Option<JobId> {
        if text.is_empty() {
            return Some(JobId(0));
        }
        let (next, of) = read_pair(text)?;
        (of == hash(filter)).then_some(JobId(next))
    }
}

/// Where a list of keys goes on: `key-filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeysToken;

impl KeysToken {
    /// The list of the keys of `queue` under `prefix` goes on at number `next`.
    pub(super) fn write(next: u32, queue: &QueueName, prefix: &Key) -> String {
        pair(next.into(), hash(&(queue, prefix)))
    }

    /// Where it goes on; none when it is no token of it.
    pub(super) fn read(text: &str, queue: &QueueName, prefix: &Key) -> Option<u32> {
        if text.is_empty() {
            return Some(0);
        }
        let (next, of) = read_pair(text)?;
        let next = u32::try_from(next).ok()?;
        (of == hash(&(queue, prefix))).then_some(next)
    }
}

/// What a list is of. A token is good for as long as the program that gave it runs, and its like.
fn hash(of: &impl std::fmt::Debug) -> u64 {
    xxh3_64(format!("{of:?}").as_bytes())
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
    use sluice_engine::{JobQuery, JobState, StateSet, WallTime};

    use super::*;

    fn filter(queue: Option<&QueueName>, states: StateSet) -> Filter {
        Filter {
            query: JobQuery {
                queue: queue.cloned(),
                states,
                key_prefix: Key::default(),
                created: WallTime(0)..WallTime(u64::MAX),
                ended: None,
            },
            rest: Default::default(),
        }
    }

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
            assert_eq!(JobsToken::read(text, &filter(None, StateSet::ALL)), None, "{text}");
        }
    }

    #[test]
    fn jobs_token_is_good_for_its_filter_only() {
        let queue = QueueName::new("q").unwrap();
        let dead = StateSet::default().with(JobState::Dead);
        let own = filter(Some(&queue), dead);
        let token = JobsToken::write(JobId(99), &own);
        assert_eq!(JobsToken::read(&token, &own), Some(JobId(99)));
        assert_eq!(JobsToken::read(&token, &filter(None, dead)), None);
        assert_eq!(JobsToken::read(&token, &filter(Some(&queue), StateSet::ALL)), None);
    }

    #[test]
    fn keys_token_is_good_for_its_queue_and_prefix_only() {
        let (queue, other) = (QueueName::new("q").unwrap(), QueueName::new("p").unwrap());
        let (none, prefix) = (Key::default(), Key::new("bot1".to_owned()).unwrap());
        let token = KeysToken::write(7, &queue, &none);
        assert_eq!(KeysToken::read(&token, &queue, &none), Some(7));
        assert_eq!(KeysToken::read(&token, &other, &none), None);
        assert_eq!(KeysToken::read(&token, &queue, &prefix), None);
        assert_eq!(KeysToken::read("", &queue, &prefix), Some(0));
    }
}
