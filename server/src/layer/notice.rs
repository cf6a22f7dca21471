//! Events that may come in floods, told at most once a second with the number of those left out.

use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Decides which event of a kind is told.
pub(super) struct Notice {
    pace: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl Notice {
    pub(super) fn new() -> Notice {
        let one = const { std::num::NonZeroU32::new(1).expect("is not zero") };
        Notice { pace: RateLimiter::direct(Quota::per_second(one)), left_out: AtomicU64::new(0) }
    }

    /// How many were left out since the last one that was told; none: leave this one out too.
    pub(super) fn take(&self) -> Option<u64> {
        if self.pace.check().is_ok() {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}
