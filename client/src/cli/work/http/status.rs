//! What a status of HTTP means for a job. Knows nothing of requests.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// What may be given another meaning: a service that answers 2xx has taken the job.
pub(super) const CHANGEABLE: RangeInclusive<i64> = 300..=599;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Done,
    Throttled,
    Failed,
    Rejected,
}

/// What each status means.
#[derive(Debug, Default)]
pub(super) struct Meanings {
    /// Those that the user gave; they go before the usual ones.
    given: BTreeMap<u16, Meaning>,
}

impl Meanings {
    /// The usual meanings, but for the statuses of these lists. Says which status stands in two of them.
    pub(super) fn new(throttled: &[u16], failed: &[u16], rejected: &[u16]) -> Result<Meanings, String> {
        let mut given = BTreeMap::new();
        let lists =
            [(throttled, Meaning::Throttled), (failed, Meaning::Failed), (rejected, Meaning::Rejected)];
        for (list, meaning) in lists {
            for status in list {
                if given.insert(*status, meaning).is_some_and(|before| before != meaning) {
                    return Err(format!("status {status} is given two meanings"));
                }
            }
        }
        Ok(Meanings { given })
    }

    pub(super) fn of(&self, status: u16) -> Meaning {
        match (self.given.get(&status), status) {
            (Some(meaning), _) => *meaning,
            (None, 200..=299) => Meaning::Done,
            (None, 429 | 503) => Meaning::Throttled,
            // Of these a 4xx the next request may fare better: Request Timeout, Conflict, Too Early.
            (None, 408 | 409 | 425) => Meaning::Failed,
            (None, 400..=499) => Meaning::Rejected,
            // 5xx, redirects, which are not followed, and what HTTP does not know.
            (None, _) => Meaning::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_decides() {
        let usual = Meanings::default();
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Meaning::Done,
                429 | 503 => Meaning::Throttled,
                408 | 409 | 425 => Meaning::Failed,
                400..=499 => Meaning::Rejected,
                _ => Meaning::Failed,
            };
            assert_eq!(usual.of(status), expected, "{status}");
        }
    }

    #[test]
    fn given_meaning_goes_before_the_usual_one() {
        let meanings = Meanings::new(&[413, 420], &[404, 503], &[501, 409, 501]).unwrap();
        assert_eq!((meanings.of(413), meanings.of(420)), (Meaning::Throttled, Meaning::Throttled));
        assert_eq!((meanings.of(404), meanings.of(503)), (Meaning::Failed, Meaning::Failed));
        assert_eq!((meanings.of(501), meanings.of(409)), (Meaning::Rejected, Meaning::Rejected));
        assert_eq!((meanings.of(429), meanings.of(400)), (Meaning::Throttled, Meaning::Rejected));
    }

    #[test]
    fn status_has_one_meaning() {
        assert!(Meanings::new(&[413], &[], &[413]).unwrap_err().contains("413"));
        assert!(Meanings::new(&[], &[500], &[500]).is_err());
    }
}
