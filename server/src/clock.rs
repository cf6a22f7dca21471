//! The edge where clocks are read. Everything further in is told the time.

use rustix::time::{ClockId, clock_gettime};
use sluice_engine::{Now, Span, Timestamp, WallTime};

/// Shows engine time and wall time.
///
/// Engine time goes on where the last run of the store left it, plus what the wall clock says has
/// passed since; within a run it follows `CLOCK_BOOTTIME`, which nobody sets and which goes on while
/// the machine sleeps. So it never goes back, and a step of the wall clock moves no lease.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Engine time when this run began.
    base: Timestamp,
    /// What `CLOCK_BOOTTIME` showed then.
    origin: u64,
}

impl Clock {
    /// A clock that goes on after `last`, the time of the last group of the store.
    #[must_use]
    pub fn after(last: Option<Now>) -> Clock {
        Clock { base: resumed(last, wall_time()), origin: nanos(ClockId::Boottime) }
    }

    /// What the clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        let passed = nanos(ClockId::Boottime).saturating_sub(self.origin);
        Now { engine: self.base + Span(passed), wall: wall_time() }
    }
}

/// What the wall clock shows.
#[must_use]
pub fn wall_time() -> WallTime {
    WallTime(nanos(ClockId::Realtime))
}

/// Engine time at the start of a run. A wall clock that was set back counts as no time passed.
fn resumed(last: Option<Now>, wall: WallTime) -> Timestamp {
    last.map_or(Timestamp::default(), |last| last.engine + wall.since(last.wall))
}

/// Nanoseconds of a clock; a time before its epoch counts as the epoch.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Now = Now { engine: Timestamp(500), wall: WallTime(10_000) };

    #[test]
    fn new_store_begins_at_zero() {
        assert_eq!(resumed(None, WallTime(77)), Timestamp(0));
    }

    #[test]
    fn engine_time_goes_on_by_what_the_wall_clock_says_has_passed() {
        assert_eq!(resumed(Some(LAST), WallTime(10_300)), Timestamp(800));
    }

    #[test]
    fn engine_time_does_not_go_back_when_the_wall_clock_was_set_back() {
        assert_eq!(resumed(Some(LAST), WallTime(3)), LAST.engine);
        let clock = Clock::after(Some(Now { engine: Timestamp(500), wall: WallTime(u64::MAX) }));
        assert!(clock.now().engine >= Timestamp(500));
    }

    #[test]
    fn engine_time_never_goes_back_within_a_run() {
        let clock = Clock::after(Some(LAST));
        let mut last = clock.now().engine;
        for _ in 0..10_000 {
            let now = clock.now().engine;
            assert!(now >= last);
            last = now;
        }
    }
}
