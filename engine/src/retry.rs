//! How failures are repeated.

use crate::id::JobId;
use crate::time::Span;

/// Attempts and the waits between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Failed attempts at which a job is dead. At least 1.
    pub max_attempts: u32,
    /// The wait after the first failure.
    pub initial_backoff: Span,
    /// What each further wait is multiplied by. At least 1.
    pub multiplier: f64,
    /// The longest wait.
    pub max_backoff: Span,
    /// The part of a wait by which chance may shorten or lengthen it. 0 to 1.
    pub jitter: f64,
}

/// The fields of a policy that were said; the rest come from the queue's, as it is when they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryPatch {
    /// See [`RetryPolicy::max_attempts`].
    pub max_attempts: Option<u32>,
    /// See [`RetryPolicy::initial_backoff`].
    pub initial_backoff: Option<Span>,
    /// See [`RetryPolicy::multiplier`].
    pub multiplier: Option<f64>,
    /// See [`RetryPolicy::max_backoff`].
    pub max_backoff: Option<Span>,
    /// See [`RetryPolicy::jitter`].
    pub jitter: Option<f64>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_backoff: Span::from_secs(1),
            multiplier: 2.0,
            max_backoff: Span::from_secs(60),
            jitter: 0.2,
        }
    }
}

impl RetryPatch {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == RetryPatch::default()
    }

    /// `base` with what was said.
    #[must_use]
    pub fn over(&self, base: &RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            initial_backoff: self.initial_backoff.unwrap_or(base.initial_backoff),
            multiplier: self.multiplier.unwrap_or(base.multiplier),
            max_backoff: self.max_backoff.unwrap_or(base.max_backoff),
            jitter: self.jitter.unwrap_or(base.jitter),
        }
    }
}

impl RetryPolicy {
    /// The wait after failure number `attempts` of `job`. Chance comes from the job and the attempt
    /// alone, so that a replay waits as long.
    #[must_use]
    pub fn backoff(&self, job: JobId, attempts: u32) -> Span {
        let doublings = attempts.saturating_sub(1).min(1_000);
        let exact = (self.initial_backoff.0 as f64 * self.multiplier.powi(doublings as i32))
            .min(self.max_backoff.0 as f64);
        let spread = 1.0 + self.jitter * (2.0 * chance(job, attempts) - 1.0);
        Span((exact * spread) as u64)
    }
}

/// A number in [0, 1) that looks random: splitmix64 (Steele, Lea, Flood 2014) of the job and the attempt.
fn chance(job: JobId, attempts: u32) -> f64 {
    let mut x = job.0.wrapping_add(u64::from(attempts).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        let waits: Vec<u64> = (1..=8).map(|n| policy.backoff(JobId(7), n).0 / 1_000_000_000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn jitter_spreads_a_wait_within_its_bounds() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (0..1_000).map(|id| policy.backoff(JobId(id), 1).0).collect();
        assert!(waits.iter().all(|w| (800_000_000..=1_200_000_000).contains(w)));
        assert!(waits.iter().any(|w| *w < 850_000_000));
        assert!(waits.iter().any(|w| *w > 1_150_000_000));
    }

    #[test]
    fn extreme_policies_do_not_overflow() {
        let policy = RetryPolicy {
            max_attempts: 1_000,
            initial_backoff: crate::bound::MAX_SPAN,
            multiplier: 100.0,
            max_backoff: crate::bound::MAX_SPAN,
            jitter: 1.0,
        };
        assert!(policy.backoff(JobId(u64::MAX), u32::MAX).0 <= 2 * crate::bound::MAX_SPAN.0);
    }
}
