//! How many answers came of late from below a node, and how the last one was: enough to tell whose fault a THROTTLED is. No
//! fact: it is not kept over a restart, and what was decided by it is.

use crate::time::Timestamp;

/// Answers of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Each second halves what came before it.
    count: u32,
    /// The second that was counted last.
    second: u16,
    last: Last,
}

/// How the last answer was that says anything of the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Last {
    /// There was none, as far as is known.
    #[default]
    Unknown,
    /// Well.
    Good,
    /// THROTTLED.
    Throttled,
}

impl Answers {
    /// One more; `last` says how, if it says anything of the rate.
    pub(crate) fn with(self, last: Option<Last>, now: Timestamp) -> Answers {
        let count = self.of_late(now).saturating_add(1);
        Answers { count, second: second(now), last: last.unwrap_or(self.last) }
    }

    /// Between what came in the last second and twice that, if it comes evenly.
    pub(crate) fn of_late(self, now: Timestamp) -> u32 {
        let passed = second(now).wrapping_sub(self.second);
        self.count.checked_shr(passed.into()).unwrap_or(0)
    }

    pub(crate) fn last(self) -> Last {
        self.last
    }
}

/// It begins again each 18 hours: then a count is taken for younger than it is, once.
fn second(now: Timestamp) -> u16 {
    (now.0 / 1_000_000_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_answers_count_less_and_less() {
        let at = |seconds: u64| Timestamp(seconds * 1_000_000_000);
        let mut answers = Answers::default();
        for _ in 0..40 {
            answers = answers.with(Some(Last::Good), at(65_535));
        }
        assert_eq!([0, 1, 2, 40].map(|later| answers.of_late(at(65_535 + later))), [40, 20, 10, 0]);
        answers = answers.with(None, at(65_536));
        assert_eq!((answers.of_late(at(65_536)), answers.last()), (21, Last::Good));
        assert_eq!(answers.with(Some(Last::Throttled), at(65_536)).last(), Last::Throttled);
    }
}
