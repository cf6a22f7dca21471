//! What a node learned from its downstream's "too much": the rate at which it goes on, and how that grows again.
//!
//! A cut says from which rate, and when. What the rate is later follows from how long the node was used since, and that is
//! reckoned when something goes through. So it needs no timer, and a node that is not used does not grow.

use crate::bound::{
    CALM_ANSWERS, CUT, FEEDBACK_MEMORY, FIRST_FREEZE, GROWTH_CALLS, GROWTH_SPAN, LEARNED_LATENESS,
    MAX_FREEZE_DOUBLINGS, MAX_LEARNED_RATE, MIN_LEARNED_BURST, MIN_LEARNED_RATE, SEARCH_CUT,
};
use crate::limit::{Unit, Window, WindowKind};
use crate::time::{Span, Timestamp};

/// What a node learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptation {
    /// When it was cut last. Answers to jobs that went before say nothing new.
    pub cut_at: Timestamp,
    /// Units a second, at that cut; in a search: where it began.
    pub base: f64,
    /// What the cut left of it.
    pub kept: f64,
    /// Whether the rate is looked for: it doubles each second.
    pub is_searching: bool,
    /// How far it has grown: in doublings while it is looked for, else in spans of growth.
    pub grown: f64,
    /// When something went through last.
    pub used_at: Timestamp,
    /// Answers since the cut that were no THROTTLED, as far as they matter.
    pub answers: u8,
    /// How often in a row the pause was doubled.
    pub step: u8,
    /// How often the burst was halved.
    pub halved: u8,
    /// When its bucket is full again.
    pub full: Timestamp,
}

/// What was set on the node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ceiling {
    /// Units a second, if a RATE was set.
    pub(crate) rate: Option<f64>,
    /// How many of them at once.
    burst: Option<u32>,
    /// What is counted.
    pub(crate) unit: Unit,
}

impl Ceiling {
    /// The slowest RATE that counts jobs; where there is none, the slowest that counts cost.
    pub(crate) fn of<'a>(windows: impl Iterator<Item = &'a Window> + Clone) -> Ceiling {
        let slowest = |unit| {
            let of_unit = windows.clone().filter(move |window| window.unit == unit);
            of_unit
                .filter_map(|window| match window.kind {
                    WindowKind::Rate { burst } => Some((window.per_second(), burst)),
                    WindowKind::Quota => None,
                })
                .min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let found = [Unit::Jobs, Unit::Cost].into_iter().find_map(|unit| Some((slowest(unit)?, unit)));
        match found {
            Some(((rate, burst), unit)) => Ceiling { rate: Some(rate), burst: Some(burst), unit },
            None => Ceiling { rate: None, burst: None, unit: Unit::Jobs },
        }
    }
}

impl Adaptation {
    /// It was too much: what is learned from it, after what was known `before`. A rate that nobody knows begins at
    /// `first`.
    pub(crate) fn cut(
        before: Option<&Adaptation>,
        ceiling: &Ceiling,
        first: f64,
        now: Timestamp,
    ) -> Adaptation {
        let fresh = Adaptation {
            cut_at: now,
            base: first,
            kept: 1.0,
            is_searching: true,
            grown: 0.0,
            used_at: now,
            answers: 0,
            step: 0,
            halved: 0,
            full: Timestamp(0),
        };
        let (rate, kept) = match (before, ceiling.rate) {
            (Some(before), _) => {
                (before.rate_under(ceiling), if before.is_searching { SEARCH_CUT } else { CUT })
            }
            (None, Some(rate)) => (rate, CUT),
            (None, None) => return fresh,
        };
        let base = rate.max(MIN_LEARNED_RATE / kept);
        let cut = Adaptation { base, kept, is_searching: false, ..fresh };
        match before {
            // It is the same trouble again.
            Some(before) if before.answers < CALM_ANSWERS => Adaptation {
                step: (before.step + 1).min(MAX_FREEZE_DOUBLINGS),
                halved: before.halved.saturating_add(1),
                ..cut
            },
            Some(before) => Adaptation { halved: before.halvings(), ..cut },
            None => cut,
        }
    }

    /// How long nothing goes after a cut, unless the downstream said it.
    pub(crate) fn pause(&self) -> Span {
        Span(FIRST_FREEZE.0 << self.step.min(MAX_FREEZE_DOUBLINGS))
    }

    /// A job that was leased then was answered, and not with THROTTLED. Whether that matters.
    pub(crate) fn note_answer(&mut self, leased_at: Timestamp) -> bool {
        let matters = leased_at > self.cut_at && self.awaits_answers();
        self.answers += u8::from(matters);
        matters
    }

    /// Whether answers matter.
    pub(crate) fn awaits_answers(&self) -> bool {
        self.answers < CALM_ANSWERS
    }

    /// Units a second.
    pub(crate) fn rate_under(&self, ceiling: &Ceiling) -> f64 {
        ceiling.rate.map_or(self.rate(), |most| self.rate().min(most))
    }

    /// When so many units may go through.
    pub(crate) fn opens(&self, ceiling: &Ceiling, units: u64) -> Timestamp {
        if self.is_at(ceiling) {
            // What was set holds by itself.
            return Timestamp(0);
        }
        let burst = u64::from(self.burst(ceiling));
        let ahead = (burst - units.min(burst)).saturating_mul(spacing(self.rate_under(ceiling)));
        Timestamp(self.full.0.saturating_sub(ahead))
    }

    /// So many units go through.
    pub(crate) fn charge(&mut self, ceiling: &Ceiling, units: u64, now: Timestamp) {
        let before = self.rate_under(ceiling);
        self.grow(before, self.is_at(ceiling), now);
        let rate = self.rate_under(ceiling);
        let owed = self.full.since(now).0;
        // What is owed keeps its units. While the rate is what it was nothing is rounded: one by one or all at once, as a replay
        // charges them, units of one moment are owed alike.
        let owed = if rate == before { owed } else { (owed as f64 * before / rate) as u64 };
        let due = owed.saturating_add(units.saturating_mul(spacing(rate)));
        self.full = now + Span(due);
    }

    /// Whether nobody could tell any more.
    pub(crate) fn is_past(&self, ceiling: &Ceiling, now: Timestamp) -> bool {
        now.since(self.cut_at) >= FEEDBACK_MEMORY
            && (self.is_at(ceiling) || now.since(self.used_at) >= FEEDBACK_MEMORY)
    }

    /// Time in which it was used makes it grow, once something went well: of the time since the last use no more than
    /// two units take.
    fn grow(&mut self, rate: f64, is_at_ceiling: bool, now: Timestamp) {
        let used = (now.since(self.used_at).0 as f64 / 1e9).min(2.0 / rate);
        self.used_at = now;
        if self.answers > 0 && !is_at_ceiling {
            let span = (GROWTH_SPAN.0 as f64 / 1e9).max(GROWTH_CALLS / rate);
            self.grown += if self.is_searching { used } else { used / span };
        }
    }

    /// Back to what it was at the cut in one span of growth, as steeply for one more, then twice as much with each.
    fn rate(&self) -> f64 {
        let rate = if self.is_searching {
            self.base * doubled(self.grown)
        } else {
            let line = self.kept + (1.0 - self.kept) * self.grown.min(2.0);
            self.base * line * doubled(self.grown - 2.0)
        };
        rate.min(MAX_LEARNED_RATE)
    }

    fn is_at(&self, ceiling: &Ceiling) -> bool {
        self.rate() >= ceiling.rate.unwrap_or(MAX_LEARNED_RATE)
    }

    fn burst(&self, ceiling: &Ceiling) -> u32 {
        let lateness = LEARNED_LATENESS.0 as f64 / 1e9;
        let learned = || ((self.rate() * lateness) as u32).max(MIN_LEARNED_BURST);
        let burst = ceiling.burst.unwrap_or_else(learned);
        burst.checked_shr(self.halvings().into()).unwrap_or(0).max(1)
    }

    /// Once the rate is what it was, the burst is too.
    fn halvings(&self) -> u8 {
        if self.grown >= 1.0 { 0 } else { self.halved }
    }
}

/// 2 to the power of `x`, on a straight line from one whole power to the next: the same on every machine. 1 below 0.
fn doubled(x: f64) -> f64 {
    let x = x.clamp(0.0, 62.0);
    let whole = x as u32;
    (1_u64 << whole) as f64 * (1.0 + x - f64::from(whole))
}

/// Nanoseconds a unit, rounded up.
fn spacing(rate: f64) -> u64 {
    (1e9 / rate).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: Ceiling = Ceiling { rate: None, burst: None, unit: Unit::Jobs };
    const THIRTY: Ceiling = Ceiling { rate: Some(30.0), burst: Some(5), unit: Unit::Jobs };

    fn at(seconds: f64) -> Timestamp {
        Timestamp((seconds * 1e9) as u64)
    }

    /// Goes on as fast as it may until then, and all goes well.
    fn use_until(
        adaptation: &mut Adaptation,
        ceiling: &Ceiling,
        mut now: Timestamp,
        until: Timestamp,
    ) -> u32 {
        let mut went = 0;
        adaptation.note_answer(now + Span(1));
        while now < until {
            now = now.max(adaptation.opens(ceiling, 1));
            adaptation.charge(ceiling, 1, now);
            now = now + Span(spacing(adaptation.rate_under(ceiling)));
            went += 1;
        }
        went
    }

    #[test]
    fn rate_that_was_set_is_cut_and_grows_back_within_a_minute_and_no_further() {
        let mut cut = Adaptation::cut(None, &THIRTY, 5.0, at(100.0));
        assert_eq!(cut.rate_under(&THIRTY), 30.0 * 0.85);
        use_until(&mut cut, &THIRTY, at(101.0), at(131.0));
        assert!((27.0..28.5).contains(&cut.rate_under(&THIRTY)), "{}", cut.rate_under(&THIRTY));
        use_until(&mut cut, &THIRTY, at(131.0), at(170.0));
        assert_eq!(cut.rate_under(&THIRTY), 30.0);
        assert_eq!(cut.opens(&THIRTY, 1), Timestamp(0));
    }

    #[test]
    fn unknown_rate_doubles_each_second_of_use_until_it_is_too_much() {
        let mut search = Adaptation::cut(None, &UNKNOWN, 5.0, at(100.0));
        assert_eq!(search.rate_under(&UNKNOWN), 5.0);
        // Time in which nothing goes teaches nothing.
        search.note_answer(at(200.0));
        search.charge(&UNKNOWN, 1, at(1_000.0));
        assert!(search.rate_under(&UNKNOWN) <= 5.0 * 1.4, "{}", search.rate_under(&UNKNOWN));
        use_until(&mut search, &UNKNOWN, at(1_000.0), at(1_003.0));
        let found = search.rate_under(&UNKNOWN);
        assert!((38.0..60.0).contains(&found), "{found}");
        let cut = Adaptation::cut(Some(&search), &UNKNOWN, 5.0, at(1_003.0));
        assert!((cut.rate_under(&UNKNOWN) - 0.7 * found).abs() < 1e-9);
        let again = Adaptation::cut(Some(&cut), &UNKNOWN, 5.0, at(1_005.0));
        assert!((again.rate_under(&UNKNOWN) - 0.85 * 0.7 * found).abs() < 1e-9);
    }

    #[test]
    fn pauses_climb_and_the_burst_halves_while_nothing_goes_well() {
        let mut cut = Adaptation::cut(None, &THIRTY, 5.0, at(100.0));
        let mut seen = vec![(cut.pause().0 / 1_000_000_000, cut.burst(&THIRTY))];
        for second in 1..6 {
            cut = Adaptation::cut(Some(&cut), &THIRTY, 5.0, at(100.0 + f64::from(second)));
            seen.push((cut.pause().0 / 1_000_000_000, cut.burst(&THIRTY)));
        }
        assert_eq!(seen, [(1, 5), (2, 2), (4, 1), (8, 1), (16, 1), (16, 1)]);
        for _ in 0..CALM_ANSWERS {
            assert!(cut.note_answer(at(200.0)));
        }
        assert!(!cut.note_answer(at(200.0)), "more do not matter");
        let calm = Adaptation::cut(Some(&cut), &THIRTY, 5.0, at(300.0));
        assert_eq!(calm.pause(), FIRST_FREEZE);
    }

    #[test]
    fn units_of_one_moment_are_owed_alike_one_by_one_and_all_at_once() {
        for sevenths in 1..35 {
            let rate = f64::from(sevenths) / 7.0;
            let ceiling = Ceiling { rate: Some(rate), burst: Some(3), unit: Unit::Jobs };
            let mut all = Adaptation::cut(None, &UNKNOWN, 5.0, at(1.0));
            let mut one_by_one = all.clone();
            for (jobs, seconds) in [(2, 2.0), (3, 2.0), (2, 2.3)] {
                all.charge(&ceiling, jobs, at(seconds));
                (0..jobs).for_each(|_| one_by_one.charge(&ceiling, 1, at(seconds)));
                assert_eq!(one_by_one, all, "at {rate} a second");
            }
        }
    }

    #[test]
    fn rate_never_falls_below_the_least() {
        let mut cut = Adaptation::cut(None, &UNKNOWN, 1.0, at(1.0));
        for _ in 0..100 {
            cut = Adaptation::cut(Some(&cut), &UNKNOWN, 1.0, at(2.0));
        }
        assert!((cut.rate_under(&UNKNOWN) - MIN_LEARNED_RATE).abs() < 1e-9);
    }
}
