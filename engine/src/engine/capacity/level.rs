//! How full a place is, and for how long it will not be.

use crate::bound::{CRITICAL_UNTIL, WARNING_ABOVE, WARNING_AHEAD, WARNING_UNTIL};
use crate::engine::capacity::place::Amount;
use crate::queue::{Level, QueueRates};
use crate::settings::Capacity;
use crate::time::Span;

/// How much of a capacity is taken, 1 for all; none without one.
pub(crate) fn utilization(capacity: &Capacity, held: Amount) -> Option<f64> {
    let part = |held: u64, capacity: Option<u64>| capacity.map(|capacity| held as f64 / capacity as f64);
    let parts = [part(held.jobs, capacity.jobs), part(held.bytes, capacity.bytes)];
    parts.into_iter().flatten().reduce(f64::max)
}

/// How full something is, given how full it was: what is at an edge stays what it was.
pub(crate) fn level(before: Level, utilization: Option<f64>, fills_in: Option<Span>) -> Level {
    let Some(part) = utilization else { return Level::Ok };
    if part >= 1.0 || (before == Level::Critical && part >= CRITICAL_UNTIL) {
        Level::Critical
    } else if part > WARNING_ABOVE
        || (before >= Level::Warning && part >= WARNING_UNTIL)
        || fills_in.is_some_and(|span| span <= WARNING_AHEAD)
    {
        Level::Warning
    } else {
        Level::Ok
    }
}

/// In which time, at the present rates and with jobs as large as those it holds, a queue will be full; none when
/// it will not.
pub(super) fn fills_in(capacity: &Capacity, held: Amount, rates: &QueueRates) -> Option<Span> {
    let jobs = capacity.jobs.map(|most| most.saturating_sub(held.jobs) as f64);
    let bytes = capacity.bytes.map(|most| {
        let size = held.bytes as f64 / held.jobs as f64;
        most.saturating_sub(held.bytes) as f64 / size
    });
    // Without a job there is no size to reckon with.
    let left = jobs.into_iter().chain(bytes.filter(|left| left.is_finite())).reduce(f64::min)?;
    let grows = rates.enqueued - rates.acked;
    let seconds = left / grows;
    (grows > 0.0 && seconds < 1e9).then_some(Span((seconds * 1e9) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_stays_what_it_was_at_an_edge() {
        let steps = [
            (0.8, Level::Ok),
            (0.81, Level::Warning),
            (0.71, Level::Warning),
            (0.69, Level::Ok),
            (1.0, Level::Critical),
            (0.96, Level::Critical),
            (0.94, Level::Warning),
            (1.05, Level::Critical),
            (0.2, Level::Ok),
        ];
        let mut now = Level::Ok;
        for (part, expected) in steps {
            now = level(now, Some(part), None);
            assert_eq!(now, expected, "at {part}");
        }
        assert_eq!(level(Level::Critical, None, None), Level::Ok);
    }

    #[test]
    fn queue_that_will_be_full_within_a_minute_is_warned_of() {
        let capacity = Capacity { jobs: Some(1_000), bytes: None };
        let held = Amount { jobs: 400, bytes: 0 };
        let rates = |enqueued| QueueRates { enqueued, acked: 5.0, ..QueueRates::default() };
        let level = |enqueued| {
            level(Level::Ok, utilization(&capacity, held), fills_in(&capacity, held, &rates(enqueued)))
        };
        assert_eq!(level(16.0), Level::Warning);
        assert_eq!(level(14.0), Level::Ok);
        assert_eq!(level(5.0), Level::Ok);
    }

    #[test]
    fn queue_may_fill_with_bytes_before_it_is_full_of_jobs() {
        let held = Amount { jobs: 10, bytes: 1_000 };
        let rates = QueueRates { enqueued: 1.0, ..QueueRates::default() };
        let in_seconds = |jobs, bytes| {
            fills_in(&Capacity { jobs, bytes }, held, &rates).map(|span| (span.0 as f64 / 1e9).round())
        };
        assert_eq!(in_seconds(Some(100), Some(2_000)), Some(10.0));
        assert_eq!(in_seconds(Some(15), Some(2_000)), Some(5.0));
        assert_eq!(in_seconds(None, Some(2_000)), Some(10.0));
        let empty = Amount::default();
        let bytes = Capacity { jobs: None, bytes: Some(10) };
        assert_eq!(fills_in(&bytes, empty, &rates), None);
    }
}
