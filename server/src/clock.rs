//! The edge where clocks are read. Everything further in is told the time.

mod anchor;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sluice_engine::{Now, Span, Timestamp, WallTime};
use tracing::warn;

use anchor::Anchor;

/// Shows engine time and wall time.
///
/// Engine time follows `CLOCK_BOOTTIME`, which nobody sets and which goes on while the machine sleeps, from one run of
/// the store to the next too. Only after a boot it goes on where the last run left it, plus what the wall clock says has
/// passed since. So it never goes back, and a step of the wall clock moves no lease and repays no debt.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Engine time when this run began.
    base: Timestamp,
    /// What `CLOCK_BOOTTIME` showed then.
    origin: u64,
}

impl Clock {
    /// A clock that goes on after `last`, the time of the last group of the store, which says in which file it keeps its
    /// place, if in any.
    #[must_use]
    pub fn after(last: Option<Now>, file: Option<&Path>) -> Clock {
        let origin = nanos(ClockId::Boottime);
        let boot = anchor::boot();
        let known = file.and_then(Anchor::read).filter(|anchor| Some(&anchor.boot) == boot.as_ref());
        let base = resumed(last, known.as_ref(), origin, wall_time());
        if let (Some(file), Some(boot)) = (file, boot)
            && let Err(error) = (Anchor { boot, engine: base, origin }).write(file)
        {
            warn!(%error, "cannot write CLOCK: after a stop, time goes on by the wall clock");
        }
        Clock { base, origin }
    }

    /// What the clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        let passed = nanos(ClockId::Boottime).saturating_sub(self.origin);
        Now { engine: self.base + Span(passed), wall: wall_time() }
    }
}

/// What the wall clock shows; a time before 1970 counts as 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "here it is read")]
pub fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Engine time at the start of a run, when the boot clock shows `boot`: by that clock if it was this boot's when the last
/// run was `anchored`, else by the wall clock. One that was set back counts as no time passed.
fn resumed(last: Option<Now>, anchored: Option<&Anchor>, boot: u64, wall: WallTime) -> Timestamp {
    let Some(last) = last else { return Timestamp::default() };
    let passed = anchored.and_then(|anchor| Some((anchor.engine, boot.checked_sub(anchor.origin)?)));
    match passed {
        Some((engine, passed)) => last.engine.max(engine + Span(passed)),
        None => last.engine + wall.since(last.wall),
    }
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
        assert_eq!(resumed(None, None, 5, WallTime(77)), Timestamp(0));
    }

    #[test]
    fn engine_time_goes_on_by_what_the_wall_clock_says_has_passed() {
        assert_eq!(resumed(Some(LAST), None, 5, WallTime(10_300)), Timestamp(800));
    }

    #[test]
    fn engine_time_does_not_go_back_when_the_wall_clock_was_set_back() {
        assert_eq!(resumed(Some(LAST), None, 5, WallTime(3)), LAST.engine);
        let clock = Clock::after(Some(Now { engine: Timestamp(500), wall: WallTime(u64::MAX) }), None);
        assert!(clock.now().engine >= Timestamp(500));
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let anchor = Anchor { boot: String::new(), engine: Timestamp(100), origin: 1_000 };
        for wall in [0, 10_000, u64::MAX] {
            assert_eq!(resumed(Some(LAST), Some(&anchor), 1_900, WallTime(wall)), Timestamp(1_000));
        }
        assert_eq!(resumed(Some(LAST), Some(&anchor), 1_050, WallTime(0)), LAST.engine, "never back");
        assert_eq!(resumed(Some(LAST), Some(&anchor), 999, WallTime(10_001)), Timestamp(501), "no such boot");
    }

    #[test]
    fn place_is_kept_from_run_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("CLOCK");
        let first = Clock::after(None, Some(&file)).now();
        let after_a_jump = Now { wall: WallTime(1), ..first };
        let second = Clock::after(Some(after_a_jump), Some(&file)).now();
        assert!(second.engine.since(first.engine) < Span::from_secs(60), "{first:?} {second:?}");
    }

    #[test]
    fn engine_time_never_goes_back_within_a_run() {
        let clock = Clock::after(Some(LAST), None);
        let mut last = clock.now().engine;
        for _ in 0..10_000 {
            let now = clock.now().engine;
            assert!(now >= last);
            last = now;
        }
    }
}
