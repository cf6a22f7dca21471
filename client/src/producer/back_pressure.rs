//! How long a producer waits for room in a full queue. Decides from values; knows no clock and no chance.

use std::time::Duration;

use thiserror::Error;

/// The longest that a send may wait for room in all: a producer that waits longer wants a queue of its own.
const MAX_BUDGET: Duration = Duration::from_secs(3600);
/// How much chance lengthens a wait at most, so that producers refused together do not come back together.
const SPREAD: f64 = 0.2;

/// What a [`Producer`](crate::Producer) does when the queue or a key is full: it waits and tries again,
/// first after 100 ms, then twice as long each time up to 1 s, at most 50 times and at most 5 s in all;
/// then the send fails. A wait is never shorter than what the server asks for.
///
/// Where the queue's policy is WAIT the server keeps the call waiting in its turn for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackPressure {
    initial_wait: Duration,
    max_wait: Duration,
    max_retries: u32,
    budget: Duration,
}

/// Why a [`BackPressure`] makes no sense.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BackPressureError {
    /// A first wait of nothing would hammer a full queue.
    #[error("the first wait must be more than 0")]
    InitialWait,
    /// The longest wait is shorter than the first.
    #[error("the longest wait must not be shorter than the first")]
    MaxWait,
    /// The whole is shorter than the first wait, or longer than an hour.
    #[error("all waits together must be at least as long as the first and at most 1 h")]
    Budget,
}

impl Default for BackPressure {
    fn default() -> BackPressure {
        BackPressure {
            initial_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(1),
            max_retries: 50,
            budget: Duration::from_secs(5),
        }
    }
}

impl BackPressure {
    /// Waits `initial_wait`, then twice as long each time up to `max_wait`; at most `max_retries` times and at
    /// most `budget` in all.
    ///
    /// # Errors
    /// When the settings contradict one another.
    pub fn try_new(
        initial_wait: Duration,
        max_wait: Duration,
        max_retries: u32,
        budget: Duration,
    ) -> Result<BackPressure, BackPressureError> {
        if initial_wait.is_zero() {
            Err(BackPressureError::InitialWait)
        } else if max_wait < initial_wait {
            Err(BackPressureError::MaxWait)
        } else if budget < initial_wait || budget > MAX_BUDGET {
            Err(BackPressureError::Budget)
        } else {
            Ok(BackPressure { initial_wait, max_wait, max_retries, budget })
        }
    }

    /// The default in all but the time that a send may wait in all; 0 is [`BackPressure::never`].
    ///
    /// # Errors
    /// When `budget` is longer than an hour.
    pub fn within(budget: Duration) -> Result<BackPressure, BackPressureError> {
        if budget.is_zero() {
            return Ok(BackPressure::never());
        }
        let default = BackPressure::default();
        let initial_wait = default.initial_wait.min(budget);
        BackPressure::try_new(initial_wait, default.max_wait, default.max_retries, budget)
    }

    /// Never waits: a full queue fails a send at once.
    #[must_use]
    pub fn never() -> BackPressure {
        BackPressure { max_retries: 0, budget: Duration::ZERO, ..BackPressure::default() }
    }

    /// The most that a send may wait in all.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// How long to wait before try number `retries` + 1 when `elapsed` has passed since the first; none when
    /// it is time to fail. `chance` is 0 to 1.
    pub(super) fn wait(
        &self,
        retries: u32,
        elapsed: Duration,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        let rest = self.budget.saturating_sub(elapsed);
        let named = retry_after.unwrap_or_default();
        // What the server asks for does not fit: trying sooner is of no use.
        if retries >= self.max_retries || rest.is_zero() || named > rest {
            return None;
        }
        let grown = self.initial_wait.saturating_mul(2_u32.saturating_pow(retries)).min(self.max_wait);
        Some(grown.mul_f64(1.0 + SPREAD * chance.clamp(0.0, 1.0)).max(named).min(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = BackPressure::default();
        let waits: Vec<_> =
            (0..6).filter_map(|n| policy.wait(n, Duration::ZERO, None, 0.0)).map(|w| w.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(policy.wait(0, Duration::ZERO, None, 1.0), Some(millis(120)));
    }

    #[test]
    fn servers_word_is_the_least_wait_as_long_as_it_fits() {
        let policy = BackPressure::default();
        assert_eq!(policy.wait(0, Duration::ZERO, Some(millis(700)), 0.5), Some(millis(700)));
        assert_eq!(policy.wait(0, millis(4_500), Some(millis(700)), 0.5), None);
    }

    #[test]
    fn waiting_ends_after_all_retries_or_all_of_the_budget() {
        let policy = BackPressure::default();
        assert_eq!(policy.wait(49, millis(1), None, 0.0), Some(millis(1_000)));
        assert_eq!(policy.wait(50, millis(1), None, 0.0), None);
        assert_eq!(policy.wait(7, millis(4_900), None, 0.0), Some(millis(100)));
        assert_eq!(policy.wait(7, millis(5_000), None, 0.0), None);
        assert_eq!(BackPressure::never().wait(0, Duration::ZERO, None, 0.0), None);
        let endless = BackPressure::try_new(millis(1), millis(2), u32::MAX, MAX_BUDGET).unwrap();
        assert_eq!(endless.wait(u32::MAX - 1, Duration::ZERO, None, 0.0), Some(millis(2)));
    }

    #[test]
    fn senseless_settings_cannot_be_built() {
        let build = BackPressure::try_new;
        assert_eq!(build(millis(0), millis(9), 1, millis(9)), Err(BackPressureError::InitialWait));
        assert_eq!(build(millis(9), millis(8), 1, millis(9)), Err(BackPressureError::MaxWait));
        assert_eq!(build(millis(9), millis(9), 1, millis(8)), Err(BackPressureError::Budget));
        assert_eq!(build(millis(9), millis(9), 1, MAX_BUDGET + millis(1)), Err(BackPressureError::Budget));
        assert_eq!(BackPressure::within(Duration::ZERO), Ok(BackPressure::never()));
        assert_eq!(BackPressure::within(millis(5_000)), Ok(BackPressure::default()));
        assert!(BackPressure::within(millis(50)).is_ok());
    }
}
