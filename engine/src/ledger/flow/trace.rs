//! What a refund must know of the past of a window that counts cost.
//!
//! A job that cost less than was reserved for it gives the difference back, but not what time has repaid since: had it
//! cost less from the beginning, the bucket would have been full sooner, and it is never more than full. So it gives
//! back no more than the least that was owed at any time since.

use crate::limit::Window;
use crate::time::Timestamp;

/// Times of which a trace knows how much was owed: older ones are taken together, as the least of them.
const MAX_LOWS: usize = 16;

/// The past of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Since when the window counts as it does. What was charged before went through another.
    pub since: Timestamp,
    /// Until when it had another spacing.
    pub changed: Timestamp,
    /// The smallest spacing that it had.
    pub cheapest: u64,
    /// What was owed, in nanoseconds, before something was charged: the least since the entry before. Both
    /// numbers grow from entry to entry.
    pub lows: Vec<(Timestamp, u64)>,
}

impl Trace {
    /// Nothing went through yet.
    pub(crate) fn new(window: &Window, since: Timestamp) -> Trace {
        Trace { since, changed: Timestamp(0), cheapest: window.spacing(), lows: Vec::new() }
    }

    /// Whether what was charged then was charged in this window, and not in one that was there before it.
    pub(crate) fn knows(&self, charged: Timestamp) -> bool {
        charged >= self.since
    }

    /// What a unit that was charged then gives back: when it was dearer or cheaper, the smaller of the prices.
    pub(crate) fn price(&self, window: &Window, charged: Timestamp) -> u64 {
        if charged > self.changed { window.spacing() } else { self.cheapest.min(window.spacing()) }
    }

    /// So much is owed, and something is to be charged on top.
    pub(crate) fn note(&mut self, owed: u64, now: Timestamp) {
        while self.lows.last().is_some_and(|(_, low)| *low >= owed) {
            self.lows.pop();
        }
        if self.lows.last().is_some_and(|(time, _)| *time == now) {
            return;
        }
        if self.lows.len() >= MAX_LOWS {
            let (_, least) = self.lows.remove(0);
            self.lows[0].1 = least;
        }
        self.lows.push((now, owed));
    }

    /// The least that was owed after `time`, but for now.
    pub(crate) fn least_since(&self, time: Timestamp) -> u64 {
        self.lows.iter().find(|(at, _)| *at > time).map_or(u64::MAX, |(_, low)| *low)
    }

    /// So much less was charged at `time`, and owed ever since.
    pub(crate) fn give_back(&mut self, time: Timestamp, owed: u64) {
        for (_, low) in self.lows.iter_mut().filter(|(at, _)| *at > time) {
            *low = low.saturating_sub(owed);
        }
        let least = self.least_since(time);
        self.lows.retain(|(at, low)| *at > time || *low < least);
    }

    /// The window has another spacing now; what was owed keeps its units.
    pub(crate) fn follow(&self, before: &Window, window: &Window, now: Timestamp) -> Trace {
        if before.spacing() == window.spacing() {
            return self.clone();
        }
        let (old, new) = (u128::from(before.spacing()), u128::from(window.spacing()));
        // Rounded down: no more is given back than was charged.
        let owed = |low: u64| u64::try_from(u128::from(low) * new / old).unwrap_or(u64::MAX);
        let mut trace = Trace {
            since: self.since,
            changed: now,
            cheapest: self.cheapest.min(window.spacing()),
            lows: self.lows.iter().map(|(time, low)| (*time, owed(*low))).collect(),
        };
        // Some may have become equal: the later time says the same.
        trace.lows.reverse();
        trace.lows.dedup_by_key(|(_, low)| *low);
        trace.lows.reverse();
        trace
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::ledger::flow::{Meter, NodeState};
    use crate::limit::{Unit, WindowKind};
    use crate::time::Span;

    const WINDOW: Window = Window {
        kind: WindowKind::Rate { burst: 50 },
        amount: 1_000,
        period: Span(10_000),
        unit: Unit::Cost,
    };

    fn full(state: &NodeState, now: u64) -> u64 {
        match state.meters[0].1 {
            Meter::Rate(full) => full.0.max(now),
            Meter::Quota(_) => unreachable!("it is a rate"),
        }
    }

    /// The bucket, had each job cost at once what it cost in the end.
    fn expected(charges: &[(u64, u64)], now: u64) -> u64 {
        charges.iter().fold(0, |full: u64, (time, units)| full.max(*time) + units * 10).max(now)
    }

    proptest! {
        #[test]
        fn refunds_leave_what_would_be_owed_had_the_cost_been_known(
            steps in vec((0..400_u64, 1..20_u64, vec((any::<Index>(), 0..20_u64), 0..3)), 1..12),
        ) {
            let mut state = NodeState::default();
            let (mut now, mut charges, mut open) = (1_000, Vec::new(), Vec::new());
            for (wait, cost, settled) in steps {
                now += wait;
                let time = Timestamp(now);
                state.charge(&[WINDOW], 1, cost, time, time);
                open.push((charges.len(), time));
                charges.push((now, cost));
                for (pick, actual) in settled {
                    if open.is_empty() {
                        break;
                    }
                    now += wait % 7;
                    let (at, charged): (usize, Timestamp) = open.swap_remove(pick.index(open.len()));
                    let reserved = charges[at].1;
                    let actual = actual.min(reserved);
                    state.settle(&[WINDOW], charged, (reserved, actual), charged, Timestamp(now));
                    charges[at].1 = actual;
                }
                prop_assert_eq!(full(&state, now), expected(&charges, now));
            }
        }

        #[test]
        fn what_a_trace_forgets_makes_refunds_smaller_and_never_larger(
            steps in vec((0..40_u64, 1..9_u64), 20..60),
            settled in vec((any::<Index>(), 0..9_u64), 1..9),
        ) {
            let mut state = NodeState::default();
            let (mut now, mut charges) = (1_000, Vec::new());
            for (wait, cost) in steps {
                now += wait;
                state.charge(&[WINDOW], 1, cost, Timestamp(now), Timestamp(now));
                charges.push((now, cost));
                prop_assert!(state.traces[0].lows.len() <= MAX_LOWS);
            }
            for (pick, actual) in settled {
                let at = pick.index(charges.len());
                let (time, reserved) = charges[at];
                let actual = actual.min(reserved);
                let charged = Timestamp(time);
                state.settle(&[WINDOW], charged, (reserved, actual), charged, Timestamp(now));
                charges[at].1 = actual;
                prop_assert!(full(&state, now) >= expected(&charges, now));
            }
        }
    }
}
