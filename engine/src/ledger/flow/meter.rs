//! What went through a window so far, as far as it still counts.
//!
//! A RATE is kept as one time, by the generic cell rate algorithm (ITU-T I.371, as GCRA): when all that went through
//! would have gone through, had it gone evenly. A QUOTA is kept as counts of 16 parts of 1/15 of its period: what is
//! counted is at most 1/15 older than the period, so never too little, and 15/16 of it or more can be used.

use super::Trace;
use crate::bound::MAX_BYPASS_DEBT;
use crate::limit::{Window, WindowKind};
use crate::time::{Span, Timestamp};

/// Parts of a quota that are counted by themselves.
const PARTS: u64 = 16;

/// What went through one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meter {
    /// When the bucket is full again.
    Rate(Timestamp),
    /// What each part saw.
    Quota(Box<Quota>),
}

/// Counts of the latest parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The latest part that something went through in.
    pub part: u64,
    /// That part's count and those before it, by their numbers modulo 16.
    pub counts: [u64; PARTS as usize],
}

impl Meter {
    /// Nothing went through.
    pub(crate) fn new(window: &Window) -> Meter {
        match window.kind {
            WindowKind::Rate { .. } => Meter::Rate(Timestamp(0)),
            WindowKind::Quota => Meter::Quota(Box::default()),
        }
    }

    /// When so many units may go through, unless more do before; by now if it is not later. What is more than ever
    /// fits goes when nothing else counts any more.
    pub(crate) fn opens(&self, window: &Window, units: u64, now: Timestamp) -> Timestamp {
        match (self, window.kind) {
            (Meter::Rate(full), WindowKind::Rate { burst }) => {
                let burst = u64::from(burst);
                let left = burst - units.min(burst);
                // Most often it is open, and dividing is most of what asking would cost.
                let owed = u128::from(full.since(now).0) * u128::from(window.amount);
                if owed <= u128::from(left) * u128::from(window.period.0) {
                    return now;
                }
                Timestamp(full.0.saturating_sub(left.saturating_mul(window.spacing())))
            }
            (Meter::Quota(quota), _) => {
                let amount = u64::from(window.amount);
                quota.opens(part_span(window), amount - units.min(amount), now)
            }
            // The settings were changed, and the meters with them.
            (Meter::Rate(_), WindowKind::Quota) => now,
        }
    }

    /// When a job that bypasses limits may go through: while no more is owed beyond what may go at once than
    /// [`MAX_BYPASS_DEBT`] of the rate, or than another `amount` of the quota.
    pub(crate) fn bypass_opens(&self, window: &Window, now: Timestamp) -> Timestamp {
        match (self, window.kind) {
            (Meter::Rate(full), WindowKind::Rate { burst }) => {
                let ahead = u64::from(burst).saturating_mul(window.spacing());
                Timestamp(full.0.saturating_sub(ahead).saturating_sub(MAX_BYPASS_DEBT.0))
            }
            (Meter::Quota(quota), _) => quota.opens(part_span(window), 2 * u64::from(window.amount), now),
            // The settings were changed, and the meters with them.
            (Meter::Rate(_), WindowKind::Quota) => now,
        }
    }

    /// How long a rate takes until its bucket is full. A quota has no bucket.
    pub(crate) fn owed(&self, now: Timestamp) -> u64 {
        match self {
            Meter::Rate(full) => full.since(now).0,
            Meter::Quota(_) => 0,
        }
    }

    /// So many units of those that were charged with a job then did not go through.
    pub(crate) fn refund(
        &mut self,
        window: &Window,
        units: u64,
        charged: Timestamp,
        trace: &mut Trace,
        now: Timestamp,
    ) {
        let owed = self.owed(now);
        match self {
            Meter::Rate(full) => {
                let back = units.saturating_mul(trace.price(window, charged));
                let back = back.min(owed).min(trace.least_since(charged));
                full.0 -= back;
                trace.give_back(charged, back);
            }
            Meter::Quota(quota) => quota.refund(part_of(part_span(window), charged), units),
        }
    }

    /// Of a quota: when how many units in all may have gone from now on, if nothing else does. The times grow, and the last is
    /// when the whole amount may.
    pub(crate) fn frees(&self, window: &Window, now: Timestamp) -> Vec<(Timestamp, u64)> {
        match self {
            Meter::Rate(_) => Vec::new(),
            Meter::Quota(quota) => quota.frees(part_span(window), u64::from(window.amount), now),
        }
    }

    /// So many units go through.
    pub(crate) fn charge(&mut self, window: &Window, units: u64, now: Timestamp) {
        match self {
            Meter::Rate(full) => {
                let after = (*full).max(now).0.saturating_add(units.saturating_mul(window.spacing()));
                *full = Timestamp(after);
            }
            Meter::Quota(quota) => quota.charge(part_span(window), units, now),
        }
    }

    /// What of it still counts.
    pub(crate) fn as_of(&self, window: &Window, now: Timestamp) -> Meter {
        match self {
            _ if self.is_past(window, now) => Meter::new(window),
            Meter::Rate(_) => self.clone(),
            Meter::Quota(quota) => {
                let part = part_of(part_span(window), now);
                let mut quota = (**quota).clone();
                for old in 0..PARTS {
                    // Of the parts that may be kept there those before the oldest that counts.
                    if let Some(old) = quota.part.checked_sub(old)
                        && old + PARTS <= part
                    {
                        quota.counts[(old % PARTS) as usize] = 0;
                    }
                }
                Meter::Quota(Box::new(quota))
            }
        }
    }

    /// Whether all that went through counts no more.
    pub(crate) fn is_past(&self, window: &Window, now: Timestamp) -> bool {
        match self {
            Meter::Rate(full) => *full <= now,
            Meter::Quota(quota) => quota.sum(part_of(part_span(window), now)) == 0,
        }
    }

    /// Units that may go through now.
    pub(crate) fn tokens(&self, window: &Window, now: Timestamp) -> u64 {
        match (self, window.kind) {
            (Meter::Rate(full), WindowKind::Rate { burst }) => {
                let owed = full.since(now).0.div_ceil(window.spacing());
                u64::from(burst).saturating_sub(owed)
            }
            (Meter::Quota(quota), _) => {
                u64::from(window.amount).saturating_sub(quota.sum(part_of(part_span(window), now)))
            }
            (Meter::Rate(_), WindowKind::Quota) => 0,
        }
    }

    /// The window is another now: what went through `before` keeps its units.
    pub(crate) fn follow(&self, before: &Window, window: &Window, now: Timestamp) -> Meter {
        let mut meter = Meter::new(window);
        match (self, &mut meter) {
            _ if before.unit != window.unit => {}
            (Meter::Rate(full), Meter::Rate(after)) => {
                let owed = u128::from(full.since(now).0);
                let owed = (owed * u128::from(window.spacing())).div_ceil(u128::from(before.spacing()));
                *after = now + Span(u64::try_from(owed).unwrap_or(u64::MAX));
            }
            (Meter::Quota(quota), Meter::Quota(after)) if before.period == window.period => {
                (**after).clone_from(quota);
            }
            (Meter::Quota(quota), Meter::Quota(after)) => {
                // When it went through is known only roughly: as if just now.
                let units = quota.sum(part_of(part_span(before), now));
                after.charge(part_span(window), units, now);
            }
            (Meter::Rate(full), Meter::Quota(after)) => {
                let units = full.since(now).0.div_ceil(before.spacing());
                after.charge(part_span(window), units, now);
            }
            (Meter::Quota(quota), Meter::Rate(after)) => {
                let units = quota.sum(part_of(part_span(before), now));
                *after = now + Span(units.saturating_mul(window.spacing()));
            }
        }
        meter
    }
}

impl Quota {
    /// What counts in `part`.
    fn sum(&self, part: u64) -> u64 {
        let oldest = (part + 1).saturating_sub(PARTS);
        (oldest..=self.part.min(part)).fold(0, |sum, part| sum.saturating_add(self.count(part)))
    }

    /// Of a part that is not older than the latest by [`PARTS`] or more.
    fn count(&self, part: u64) -> u64 {
        if part + PARTS > self.part { self.counts[(part % PARTS) as usize] } else { 0 }
    }

    fn frees(&self, span: u64, amount: u64, now: Timestamp) -> Vec<(Timestamp, u64)> {
        let part = part_of(span, now);
        let mut sum = self.sum(part);
        let mut frees = vec![(now, amount.saturating_sub(sum))];
        let first = (part + 1).saturating_sub(PARTS);
        for oldest in first..=self.part.min(part) {
            let count = self.count(oldest);
            if count > 0 {
                sum -= count.min(sum);
                frees.push((Timestamp((oldest + PARTS).saturating_mul(span)), amount.saturating_sub(sum)));
            }
        }
        frees
    }

    fn charge(&mut self, span: u64, units: u64, now: Timestamp) {
        let part = part_of(span, now);
        if part > self.part {
            let skipped = (self.part + 1).max(part.saturating_sub(PARTS - 1))..=part;
            skipped.for_each(|part| self.counts[(part % PARTS) as usize] = 0);
            self.part = part;
        }
        // A clock that went back would charge the latest.
        let count = &mut self.counts[(self.part % PARTS) as usize];
        *count = count.saturating_add(units);
    }

    /// So many units less were charged in `part`.
    fn refund(&mut self, part: u64, units: u64) {
        if part <= self.part && part + PARTS > self.part {
            let count = &mut self.counts[(part % PARTS) as usize];
            *count = count.saturating_sub(units);
        }
    }

    /// When no more than `most` counts.
    fn opens(&self, span: u64, most: u64, now: Timestamp) -> Timestamp {
        let part = part_of(span, now);
        let mut sum = self.sum(part);
        let first = (part + 1).saturating_sub(PARTS);
        let mut oldest = first;
        while sum > most && oldest <= self.part {
            sum -= self.count(oldest);
            oldest += 1;
        }
        if oldest == first { now } else { Timestamp((oldest + PARTS - 1).saturating_mul(span)) }
    }
}

/// How long a part of a quota lasts.
fn part_span(window: &Window) -> u64 {
    window.period.0.div_ceil(PARTS - 1)
}

fn part_of(span: u64, now: Timestamp) -> u64 {
    now.0 / span
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::limit::Unit;

    const SECOND: u64 = 1_000_000_000;

    fn rate(amount: u32, burst: u32) -> Window {
        Window { kind: WindowKind::Rate { burst }, amount, period: Span(SECOND), unit: Unit::Jobs }
    }

    fn quota(amount: u32) -> Window {
        Window { kind: WindowKind::Quota, amount, period: Span(SECOND), unit: Unit::Jobs }
    }

    fn goes(meter: &mut Meter, window: &Window, units: u64, now: u64) -> bool {
        let now = Timestamp(now);
        let is_open = meter.opens(window, units, now) <= now;
        if is_open {
            meter.charge(window, units, now);
        }
        is_open
    }

    #[test]
    fn rate_lets_a_burst_through_and_then_one_at_a_time() {
        let window = rate(10, 3);
        let mut meter = Meter::new(&window);
        let start = 5 * SECOND;
        let went = (0..5).filter(|_| goes(&mut meter, &window, 1, start)).count();
        assert_eq!((went, meter.tokens(&window, Timestamp(start))), (3, 0));
        assert_eq!(meter.opens(&window, 1, Timestamp(start)), Timestamp(start + SECOND / 10));
        assert!(!goes(&mut meter, &window, 1, start + SECOND / 10 - 1));
        assert!(goes(&mut meter, &window, 1, start + SECOND / 10));
        assert!(!meter.is_past(&window, Timestamp(start)));
        assert!(meter.is_past(&window, Timestamp(start + SECOND)));
    }

    #[test]
    fn what_is_more_than_fits_goes_when_nothing_else_counts_and_is_charged_whole() {
        for window in [rate(10, 3), quota(3)] {
            let mut meter = Meter::new(&window);
            let start = 5 * SECOND;
            assert!(goes(&mut meter, &window, 1, start));
            assert!(!goes(&mut meter, &window, 7, start));
            let opens = meter.opens(&window, 7, Timestamp(start)).0;
            assert!(!goes(&mut meter, &window, 7, opens - 1) && goes(&mut meter, &window, 7, opens));
            assert!(meter.opens(&window, 1, Timestamp(opens)).0 > opens + SECOND / 10);
        }
    }

    #[test]
    fn debt_keeps_its_units_when_the_window_changes() {
        let now = Timestamp(5 * SECOND);
        let windows =
            [rate(10, 8), rate(1_000, 8), rate(1, 8), quota(8), Window { period: Span(7), ..quota(8) }];
        for before in windows {
            let mut meter = Meter::new(&before);
            meter.charge(&before, 6, now);
            for after in windows {
                let followed = meter.follow(&before, &after, now);
                assert_eq!(followed.tokens(&after, now), 2, "{before:?} to {after:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_more_goes_through_than_was_said_in_any_span(
            amount in 1..20_u32,
            burst in 1..10_u32,
            period in 15..5_000_u64,
            is_quota in any::<bool>(),
            // Also when the clock has just begun.
            start in prop_oneof![0..200_u64, Just(100_000)],
            steps in vec((0..400_u64, 1..4_u64), 1..200),
        ) {
            let kind = if is_quota { WindowKind::Quota } else { WindowKind::Rate { burst } };
            let window = Window { kind, amount, period: Span(period), unit: Unit::Jobs };
            let most = u64::from(if is_quota { amount } else { burst });
            let mut meter = Meter::new(&window);
            let mut now = start;
            let mut went: Vec<(u64, u64)> = Vec::new();
            for (wait, units) in steps {
                now += wait;
                let units = units.min(most);
                let opens = meter.opens(&window, units, Timestamp(now));
                if is_quota {
                    let frees = meter.frees(&window, Timestamp(now));
                    for units in 1..=u64::from(amount) {
                        let free = frees.iter().find(|(_, free)| *free >= units).map(|(time, _)| *time);
                        prop_assert_eq!(free, Some(meter.opens(&window, units, Timestamp(now))));
                    }
                }
                let used: u64 = went.iter().map(|(_, units)| units).sum();
                prop_assert!(used + units > most || opens.0 <= now, "closed though {used} of {most} are used");
                if opens.0 > now && opens.0 - now < 300 {
                    // As early as it says, and no earlier.
                    now = opens.0;
                }
                if goes(&mut meter, &window, units, now) {
                    went.push((now, units));
                }
                prop_assert!(meter.tokens(&window, Timestamp(now)) <= most);
            }
            for (first, (from, _)) in went.iter().enumerate() {
                let mut sum = 0;
                for (until, units) in &went[first..] {
                    sum += units;
                    let span = until - from;
                    let allowed = match window.kind {
                        WindowKind::Rate { .. } => most + span * u64::from(amount) / period,
                        WindowKind::Quota if span < period => most,
                        WindowKind::Quota => u64::MAX,
                    };
                    prop_assert!(sum <= allowed, "{sum} > {allowed} within {span} of {window:?}");
                }
            }
        }

        #[test]
        fn quota_can_be_used_to_15_parts_of_16(amount in 16..200_u32, period in 1_000..100_000_u64) {
            let window = Window { kind: WindowKind::Quota, amount, period: Span(period), unit: Unit::Jobs };
            let mut meter = Meter::new(&window);
            let (mut now, mut went) = (1_000_000_u64, 0_u64);
            let end = now + 20 * period;
            while now < end {
                if goes(&mut meter, &window, 1, now) { went += 1; continue }
                now = meter.opens(&window, 1, Timestamp(now)).0;
            }
            let allowed = 20.0 * f64::from(amount);
            prop_assert!(went as f64 >= allowed * 15.0 / 16.0 * 0.99, "{went} of {allowed}");
        }
    }
}
