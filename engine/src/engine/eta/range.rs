//! When a job's turn comes, from what is before it at each node on its way. Seconds from now, and nothing of the engine.

use crate::engine::eta::level::{Beside, Level};

/// What is before a job in its own key, and what may let it go earlier.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own {
    /// Jobs of its priority before it, and jobs of higher ones.
    pub(crate) before: f64,
    pub(crate) above: f64,
    /// When it goes at the latest turn by turn because it ages; infinite: it does not, or nothing is more urgent.
    pub(crate) aged: f64,
}

/// From when to when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) earliest: f64,
    /// None: nobody can tell.
    pub(crate) latest: Option<f64>,
    /// What goes before it at each level, at most: of higher priorities and its own.
    pub(crate) ahead: Vec<f64>,
}

/// Both ends are moved out by this part of them, and by a second.
const MARGIN: f64 = 0.1;
const SECOND: f64 = 1.0;
/// Higher priorities may come this much faster than they did of late; and only this part of those that are sure to come may.
const SURGE: f64 = 1.15;
const SURE: f64 = 0.6;
/// With more than this part of the rate spoken for, what comes at its own priority is bounded by turns alone.
const CROWDED: f64 = 0.97;
/// Spread of what comes by chance, in its standard deviations.
const CHANCE: f64 = 2.5;
/// Rounds in which estimates that depend on themselves settle.
const ROUNDS: usize = 40;
/// How much more siblings may take than an even flow.
const UNEVEN: f64 = 1.2;
/// What is later than this, ten years, is never.
const NEVER: f64 = 10.0 * 366.0 * 86_400.0;

/// When a job's turn comes. `levels` from its own node up.
pub(crate) fn range(own: Own, levels: &[Level]) -> Range {
    let mut least = Side { ahead: own.above + own.before, turns: own.before, time: 0.0 };
    let mut most = Side { turns: own.before + 1.0, ..least };
    let mut round = 0.0;
    let mut ahead = Vec::with_capacity(levels.len());
    for level in levels {
        let beside = least_beside(level, &least);
        least.join(beside);
        let beside = most_beside(level, &most);
        most.join(beside);
        ahead.push(most.ahead);
        least.time = least.time.max(earliest(level, least.ahead));
        most.time = most.time.max(latest(level, &most, own.before));
        let pace = level.pace();
        if pace.is_finite() {
            round += (level.ring() + 1.0) * pace;
        }
    }
    // Who ages passes others, and no gate: what goes before it in its own line goes through each of them all the same.
    let gates = levels.iter().map(|level| level.time(own.before).least).fold(0.0, f64::max);
    let earliest = least.time.min(own.aged.max(gates));
    let latest = most.time * (1.0 + MARGIN) + round + SECOND;
    Range {
        earliest: (earliest * (1.0 - MARGIN) - SECOND).max(0.0),
        latest: (latest < NEVER).then_some(latest),
        ahead,
    }
}

/// What is known so far of one end of the range.
#[derive(Clone, Copy)]
struct Side {
    /// Jobs that go before.
    ahead: f64,
    /// Turns that the child on the way has had before the job's.
    turns: f64,
    time: f64,
}

impl Side {
    /// Siblings send so many before.
    fn join(&mut self, beside: Beside) {
        self.ahead += beside.jobs;
        self.turns += beside.equal;
    }
}

fn least_beside(level: &Level, side: &Side) -> Beside {
    let mut beside = level.least_beside(side.turns, f64::INFINITY);
    for _ in 0..ROUNDS {
        let span = level.time(side.ahead + beside.jobs).least.max(side.time);
        let bounded = level.least_beside(side.turns, span);
        if bounded.jobs >= beside.jobs {
            break;
        }
        beside = bounded;
    }
    beside
}

fn most_beside(level: &Level, side: &Side) -> Beside {
    let mut beside = level.most_beside(side.turns, f64::INFINITY);
    for _ in 0..ROUNDS {
        let span = (UNEVEN * level.time(side.ahead + beside.jobs).most).max(side.time);
        let bounded = level.most_beside(side.turns, span);
        if bounded.jobs >= beside.jobs {
            break;
        }
        beside = bounded;
    }
    beside
}

/// Until so many are through at a level, at the earliest.
fn earliest(level: &Level, ahead: f64) -> f64 {
    let taken = SURE * level.sure_arrivals * level.pace();
    let time = level.time(ahead).least;
    // Of workers who may never come nothing is taken.
    if taken.is_finite() { time / (1.0 - taken.min(0.95)) } else { time }
}

/// The same, at the latest, with what comes meanwhile; infinite: nobody can tell.
fn latest(level: &Level, side: &Side, before: f64) -> f64 {
    let pace = level.pace();
    let higher = SURGE * level.higher_arrivals;
    if higher > 0.0 && higher * pace >= 1.0 {
        return f64::INFINITY;
    }
    let is_crowded = (higher + level.fresh_arrivals) * pace >= CROWDED;
    // Who comes anew stands at the end of the ring: the last turn is not theirs.
    let fresh = if is_crowded { 0.0 } else { level.fresh_arrivals * before.min(1.0) };
    let by_turns = if is_crowded { (level.ring() + 1.0) * (before + 1.0) } else { 0.0 };
    let mut time = level.time(side.ahead + by_turns).most;
    for _ in 0..ROUNDS {
        let come = (higher + fresh) * time;
        let more = by_turns + come + CHANCE * come.sqrt() + level.aged_within(time);
        let later = level.time(side.ahead + more).most;
        if later <= time * 1.001 || later > NEVER {
            time = time.max(later);
            break;
        }
        time = later;
    }
    if time > NEVER { f64::INFINITY } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::eta::gauge::Gauge;
    use crate::engine::eta::level::{Bounds, Group};
    use crate::limit::Unit;

    fn rate(a_second: f64, burst: f64) -> Vec<(Gauge, Unit)> {
        vec![(Gauge::Rate { debt: burst / a_second, spacing: 1.0 / a_second, burst }, Unit::Jobs)]
    }

    fn level(gauges: Vec<(Gauge, Unit)>, equal: &[Group]) -> Level {
        Level {
            gauges,
            equal: equal.to_vec(),
            turns: (1.0, 1.0),
            mean_cost: 1.0,
            own_cost: 1.0,
            ..Level::default()
        }
    }

    fn own(before: f64) -> Own {
        Own { before, above: 0.0, aged: f64::INFINITY }
    }

    /// Children with so many jobs each.
    fn group(children: f64, each: f64) -> Group {
        Group { least: 2f64.powf(each.log2().floor()), children, jobs: children * each }
    }

    #[test]
    fn line_before_a_rate_takes_what_it_takes() {
        let range = range(own(599.0), &[level(rate(10.0, 1.0), &[])]);
        let latest = range.latest.unwrap();
        assert!((52.0..60.0).contains(&range.earliest) && (60.0..69.0).contains(&latest), "{range:?}");
        assert_eq!(range.ahead, [599.0]);
    }

    #[test]
    fn siblings_have_their_turns_before_it_and_no_more() {
        let limited = level(rate(10.0, 1.0), &[group(9.0, 1_000.0)]);
        let range = range(own(99.0), &[Level { turns: (1.0, 1.0), ..Level::default() }, limited]);
        // A hundred rounds of ten children.
        assert!(range.earliest < 100.0 && range.latest.unwrap() > 100.0, "{range:?}");
        assert!(range.earliest > 85.0 && range.latest.unwrap() < 115.0, "{range:?}");
    }

    #[test]
    fn strictest_level_says_when() {
        let own_key = level(rate(0.5, 1.0), &[]);
        let queue = Level {
            child: Bounds { strict: rate(0.5, 1.0), generous: rate(0.5, 1.0) },
            ..level(rate(10.0, 1.0), &[group(9.0, 1_000.0)])
        };
        let range = range(own(49.0), &[own_key, queue]);
        assert!(range.earliest > 85.0 && range.earliest < 100.0, "{range:?}");
        assert!(range.latest.unwrap() > 100.0 && range.latest.unwrap() < 125.0, "{range:?}");
    }

    #[test]
    fn higher_priorities_that_come_push_the_end_out_until_it_is_nowhere() {
        let latest = |arrivals: f64| {
            let level =
                Level { higher_arrivals: arrivals, sure_arrivals: arrivals, ..level(rate(10.0, 1.0), &[]) };
            range(own(599.0), &[level]).latest
        };
        let (quiet, busy) = (latest(0.0).unwrap(), latest(5.0).unwrap());
        assert!(busy > 2.0 * quiet && busy < 4.0 * quiet, "{quiet} {busy}");
        assert!(latest(8.6).is_some());
        assert_eq!(latest(8.8), None);
    }

    #[test]
    fn who_ages_goes_no_later_than_promised_at_the_earliest() {
        let slow = level(rate(0.001, 1.0), &[]);
        let level = Level { higher: vec![group(1.0, 10_000.0)], ..level(rate(10.0, 1.0), &[]) };
        let range = range(Own { aged: 120.0, ..own(0.0) }, &[level]);
        assert!(range.earliest < 120.0 && range.latest.unwrap() > 1_000.0, "{range:?}");
        let range = super::range(Own { aged: 120.0, ..own(0.0) }, &[slow]);
        assert!(range.earliest > 890.0, "no gate opens for it: {range:?}");
    }

    #[test]
    fn without_a_gate_it_goes_at_once() {
        let range = range(own(10.0), &[level(Vec::new(), &[group(9.0, 50.0)])]);
        assert_eq!((range.earliest, range.latest), (0.0, Some(1.0)));
    }
}
