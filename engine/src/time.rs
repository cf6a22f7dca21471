//! Time as values. The engine never reads a clock: it is told.

use std::ops::Add;

/// Engine time: nanoseconds on a clock that never jumps and never goes back, not even over a
/// restart. Leases, delays and back-offs follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Wall time: nanoseconds since 1970 in UTC, as people set it. Only what people see and an absolute
/// `run_time` follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// A length of time in nanoseconds. Bounded by [`crate::bound::MAX_SPAN`], so sums do not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    /// What spans are measured by.
    pub engine: Timestamp,
    /// What people see.
    pub wall: WallTime,
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Span {
        Span(secs * 1_000_000_000)
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis * 1_000_000)
    }
}

impl Timestamp {
    /// The span since `earlier`; none when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl WallTime {
    /// The span since `earlier`; none when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: WallTime) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Now {
    /// What the wall clock will show at `time`, if nobody sets it meanwhile.
    #[must_use]
    pub const fn wall_at(self, time: Timestamp) -> WallTime {
        if time.0 >= self.engine.0 {
            WallTime(self.wall.0.saturating_add(time.0 - self.engine.0))
        } else {
            WallTime(self.wall.0.saturating_sub(self.engine.0 - time.0))
        }
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl Add<Span> for WallTime {
    type Output = WallTime;
    fn add(self, span: Span) -> WallTime {
        WallTime(self.0.saturating_add(span.0))
    }
}
