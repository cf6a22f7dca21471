//! Windows as a downstream would count them.

use std::collections::VecDeque;

use sluice_engine::{Span, Timestamp};

/// So many at once, and evenly: what `limited` lets through.
pub(super) const BURST: u32 = 3;
pub(super) const SPACING: Span = Span::from_millis(200);
/// So many in any span: what the shared limit lets through.
pub(super) const AMOUNT: u32 = 6;
pub(super) const PERIOD: Span = Span::from_secs(10);
/// Jobs of `shared` that workers hold at a time.
pub(super) const IN_FLIGHT: u32 = 4;

/// A bucket that leaks.
#[derive(Default)]
pub(super) struct Rate {
    /// When it is full again.
    full: Timestamp,
}

impl Rate {
    /// One goes through.
    pub(super) fn pass(&mut self, now: Timestamp) -> Result<(), String> {
        let after = self.full.max(now) + SPACING;
        let most = Span(u64::from(BURST) * SPACING.0);
        if after.since(now) > most {
            return Err(format!("one goes {} ms too soon", (after.since(now).0 - most.0) / 1_000_000));
        }
        self.full = after;
        Ok(())
    }
}

/// A window that slides.
#[derive(Default)]
pub(super) struct Quota {
    passed: VecDeque<(Timestamp, u64)>,
}

impl Quota {
    /// So much goes through.
    pub(super) fn pass(&mut self, units: u64, now: Timestamp) -> Result<(), String> {
        self.passed.push_back((now, units));
        while self.passed.front().is_some_and(|(time, _)| now.since(*time) >= PERIOD) {
            self.passed.pop_front();
        }
        let sum: u64 = self.passed.iter().map(|(_, units)| units).sum();
        if sum > u64::from(AMOUNT) {
            return Err(format!("{sum} went through in {} s", PERIOD.0 / 1_000_000_000));
        }
        Ok(())
    }
}
