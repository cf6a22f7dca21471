//! What went through a window, kept in full: whether it was too much is seen by adding up every span. It shares
//! nothing with the meters of the engine.

use std::collections::BTreeSet;

use sluice_engine::*;

/// All that went through one window.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) window: Window,
    /// What went, in order of time.
    went: Vec<Went>,
    /// Whether nothing was carried over from another window, which is known only to be no less than this.
    is_exact: bool,
}

/// A delivery, or several of them that another window saw.
#[derive(Clone, Debug)]
struct Went {
    time: u64,
    units: u64,
    deliveries: Vec<(JobId, LeaseToken)>,
    /// Whether settings were put at the same moment: nobody can tell whether that was before.
    is_doubtful: bool,
}

/// Times of which a window's past is surely known one by one.
const WELL_KNOWN: usize = 16;

impl Tally {
    pub(crate) fn new(window: Window) -> Tally {
        Tally { window, went: Vec::new(), is_exact: true }
    }

    fn units(&self, cost: u64) -> u64 {
        if self.window.unit == Unit::Cost { cost } else { 1 }
    }

    /// So much goes; settings were `changed` last then.
    pub(crate) fn add(
        &mut self,
        delivery: (JobId, LeaseToken),
        cost: u64,
        changed: Timestamp,
        now: Timestamp,
    ) {
        let (units, is_doubtful) = (self.units(cost), changed == now);
        self.went.push(Went { time: now.0, units, deliveries: vec![delivery], is_doubtful });
    }

    /// A delivery cost so much less than was reserved for it.
    pub(crate) fn refund(&mut self, delivery: (JobId, LeaseToken), cost: u64) {
        let times: BTreeSet<u64> = self.went.iter().map(|went| went.time).collect();
        if let Some(went) = self.went.iter_mut().find(|went| went.deliveries.contains(&delivery)) {
            went.units = went.units.saturating_sub(cost);
            self.is_exact &= times.len() <= WELL_KNOWN && !went.is_doubtful;
        }
    }

    /// Nothing that went up to now is given back any more.
    pub(crate) fn forget_deliveries(&mut self) {
        self.went.iter_mut().for_each(|went| went.deliveries.clear());
    }

    /// Whether so much is owed that nothing may bypass it: 60 s of a rate beyond its burst, another amount of a quota.
    pub(crate) fn is_beyond(&self, now: Timestamp) -> bool {
        self.is_owed_too_much(self.window.period.0, now)
    }

    /// Whether it may be so: a quota counts for a sixteenth longer.
    pub(crate) fn may_be_beyond(&self, now: Timestamp) -> bool {
        !self.is_exact || self.is_owed_too_much(16 * self.window.period.0.div_ceil(15), now)
    }

    fn is_owed_too_much(&self, counts_for: u64, now: Timestamp) -> bool {
        let Window { amount, period, .. } = self.window;
        let spacing = u128::from(period.0.div_ceil(u64::from(amount)));
        let mut spans = self.spans(now);
        match self.window.kind {
            WindowKind::Rate { burst } => {
                let most = u128::from(burst) * spacing + 60_000_000_000;
                spans.any(|(span, sum)| sum * spacing > span + most)
            }
            WindowKind::Quota => {
                spans.any(|(span, sum)| span < u128::from(counts_for) && sum > 2 * u128::from(amount))
            }
        }
    }

    /// Whether it were too much in some span if a job that costs so much went now. One that is dearer than what ever
    /// fits counts as what fits while it is the last of the span, and whole when it is not: it is to be repaid.
    pub(crate) fn would_exceed(&self, cost: u64, now: Timestamp) -> bool {
        let Window { amount, period, .. } = self.window;
        let (amount, period) = (u128::from(amount), u128::from(period.0));
        let mut spans = self.spans(now);
        match self.window.kind {
            WindowKind::Rate { burst } => {
                let burst = u128::from(burst);
                let last = u128::from(self.units(cost)).min(burst);
                spans.any(|(span, sum)| (sum + last).saturating_sub(burst) * period > span * amount)
            }
            WindowKind::Quota => {
                let last = u128::from(self.units(cost)).min(amount);
                spans.any(|(span, sum)| span < period && sum + last > amount)
            }
        }
    }

    /// Whether it may be held back now: where units do not come at whole nanoseconds a rate is a little slower than
    /// it could be, and a quota counts for a sixteenth longer.
    pub(crate) fn may_hold_back(&self, cost: u64, now: Timestamp) -> bool {
        let Window { amount, period, .. } = self.window;
        let mut spans = self.spans(now);
        let is_closed = match self.window.kind {
            WindowKind::Rate { burst } => {
                let spacing = u128::from(period.0.div_ceil(u64::from(amount)));
                let free = u128::from(burst) - u128::from(self.units(cost)).min(u128::from(burst));
                spans.any(|(span, sum)| sum * spacing > span + free * spacing)
            }
            WindowKind::Quota => {
                let amount = u128::from(amount);
                let last = u128::from(self.units(cost)).min(amount);
                spans.any(|(span, sum)| span < 16 * u128::from(period.0.div_ceil(15)) && sum + last > amount)
            }
        };
        is_closed || !self.is_exact
    }

    /// Another window is in force in this one's place: debt keeps its units.
    pub(crate) fn follow(&self, window: Window, now: Timestamp) -> Tally {
        let (before, mut after) = (self.window, Tally::new(window));
        let is_rate = |window: Window| matches!(window.kind, WindowKind::Rate { .. });
        if before.unit != window.unit {
            return after;
        }
        let is_as_fast = match (is_rate(before), is_rate(window)) {
            (true, true) => (before.amount, before.period) == (window.amount, window.period),
            (false, false) => before.period == window.period,
            _ => false,
        };
        if is_as_fast {
            return Tally { window, ..self.clone() };
        }
        after.is_exact = false;
        let units = self.owed(now);
        if units > 0 {
            let deliveries = self.went.iter().flat_map(|went| went.deliveries.iter().copied()).collect();
            after.went.push(Went { time: now.0, units, deliveries, is_doubtful: true });
        }
        after
    }

    /// Units that count now, at least.
    fn owed(&self, now: Timestamp) -> u64 {
        let (amount, period) = (u128::from(self.window.amount), u128::from(self.window.period.0));
        let owed = self.spans(now).map(|(span, sum)| match self.window.kind {
            WindowKind::Rate { .. } => (sum * period).saturating_sub(span * amount) / period,
            WindowKind::Quota if span < period => sum,
            WindowKind::Quota => 0,
        });
        owed.max().unwrap_or(0) as u64
    }

    /// How long ago each went, and how many units since then, itself among them.
    fn spans(&self, now: Timestamp) -> impl Iterator<Item = (u128, u128)> + '_ {
        let mut sum = 0;
        self.went.iter().rev().map(move |Went { time, units, .. }| {
            sum += u128::from(*units);
            (u128::from(now.0 - time), sum)
        })
    }
}
