//! Spans and times: the one place where seconds and nanos become integer nanoseconds.
//!
//! The conversions of `prost_types` can panic on what a client may send; they are not used.

use std::fmt;
use std::ops::RangeInclusive;

use prost_types::{Duration, Timestamp};
use sluice_engine::bound::MAX_SPAN;
use sluice_engine::{Span, WallTime};

use super::field::Fields;
use super::path::Path;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// 0001-01-01 in seconds of the epoch: protobuf has no earlier time.
const MIN_TIMESTAMP_SECONDS: i64 = -62_135_596_800;
/// Any span a setting may have.
pub(super) const ANY: RangeInclusive<Span> = Span::ZERO..=MAX_SPAN;

impl Fields {
    /// A span within bounds, if it was said.
    pub(super) fn span(
        &mut self,
        at: Path<'_>,
        said: Option<Duration>,
        range: RangeInclusive<Span>,
    ) -> Option<Option<Span>> {
        let Some(said) = said else { return Some(None) };
        match span(said) {
            Ok(span) if range.contains(&span) => Some(Some(span)),
            Ok(_) | Err(SpanError::Range) => {
                self.wrong(at, format_args!("must be {} to {}", Shown(*range.start()), Shown(*range.end())));
                None
            }
            Err(SpanError::Nanos) => {
                self.wrong(at, "has nanos that are not 0 to 999,999,999");
                None
            }
        }
    }

    /// A time no more than [`MAX_SPAN`] ahead, if it was said. What lies before 1970 counts as 1970.
    pub(super) fn time(
        &mut self,
        at: Path<'_>,
        said: Option<Timestamp>,
        now: WallTime,
    ) -> Option<Option<WallTime>> {
        let Some(Timestamp { seconds, nanos }) = said else { return Some(None) };
        if !(0..NANOS_PER_SECOND as i32).contains(&nanos) {
            self.wrong(at, "has nanos that are not 0 to 999,999,999");
            return None;
        }
        if seconds < MIN_TIMESTAMP_SECONDS {
            self.wrong(at, "is before the year 1");
            return None;
        }
        let Ok(seconds) = u64::try_from(seconds) else { return Some(Some(WallTime(0))) };
        let time = seconds.checked_mul(NANOS_PER_SECOND).and_then(|s| s.checked_add(nanos as u64));
        match time {
            Some(time) if time <= (now + MAX_SPAN).0 => Some(Some(WallTime(time))),
            _ => {
                self.wrong(at, "is more than 10 years ahead");
                None
            }
        }
    }
}

/// Why a span cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpanError {
    /// Negative, or huge.
    Range,
    /// Not normalised.
    Nanos,
}

fn span(said: Duration) -> Result<Span, SpanError> {
    if said.seconds < 0 || (said.seconds == 0 && said.nanos < 0) {
        return Err(SpanError::Range);
    }
    if !(0..NANOS_PER_SECOND as i32).contains(&said.nanos) {
        return Err(SpanError::Nanos);
    }
    (said.seconds as u64)
        .checked_mul(NANOS_PER_SECOND)
        .and_then(|s| s.checked_add(said.nanos as u64))
        .map(Span)
        .ok_or(SpanError::Range)
}

/// A bound as people write it.
struct Shown(Span);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MAX_SPAN => f.write_str("10 years"),
            Span(nanos) if nanos % (3_600 * NANOS_PER_SECOND) == 0 && nanos > 0 => {
                write!(f, "{} h", nanos / (3_600 * NANOS_PER_SECOND))
            }
            Span(nanos) if nanos % NANOS_PER_SECOND == 0 => write!(f, "{} s", nanos / NANOS_PER_SECOND),
            Span(nanos) => write!(f, "{} ms", nanos / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Path<'static> = Path::new("delay");
    const MAX_SECONDS: i64 = (MAX_SPAN.0 / NANOS_PER_SECOND) as i64;

    fn said(seconds: i64, nanos: i32) -> Option<Option<Span>> {
        Fields::default().span(AT, Some(Duration { seconds, nanos }), ANY)
    }

    #[test]
    fn spans_are_zero_to_ten_years() {
        assert_eq!(said(0, 0), Some(Some(Span::ZERO)));
        assert_eq!(said(1, 999_999_999), Some(Some(Span(1_999_999_999))));
        assert_eq!(said(MAX_SECONDS, 0), Some(Some(MAX_SPAN)));
        assert_eq!(said(MAX_SECONDS, 1), None);
        assert_eq!(said(MAX_SECONDS + 1, 0), None);
        assert_eq!(said(i64::MAX, 999_999_999), None);
        assert_eq!(Fields::default().span(AT, None, ANY), Some(None));
    }

    #[test]
    fn negative_and_unnormalised_spans_are_refused() {
        for (seconds, nanos) in
            [(-1, 0), (0, -1), (i64::MIN, i32::MIN), (1, -1), (0, 1_000_000_000), (0, i32::MAX)]
        {
            assert_eq!(said(seconds, nanos), None, "{seconds} {nanos}");
        }
    }

    #[test]
    fn bounds_are_said_as_people_write_them() {
        let shown = |s| Shown(s).to_string();
        assert_eq!(shown(MAX_SPAN), "10 years");
        assert_eq!(shown(Span::from_secs(12 * 3_600)), "12 h");
        assert_eq!(shown(Span::from_secs(60)), "60 s");
        assert_eq!(shown(Span::from_millis(50)), "50 ms");
        assert_eq!(shown(Span::ZERO), "0 s");
    }

    #[test]
    fn times_are_at_most_ten_years_ahead() {
        let now = WallTime(1_700_000_000 * NANOS_PER_SECOND);
        let said = |seconds, nanos| Fields::default().time(AT, Some(Timestamp { seconds, nanos }), now);
        assert_eq!(said(1_700_000_000, 5), Some(Some(WallTime(now.0 + 5))));
        assert_eq!(said(-1, 0), Some(Some(WallTime(0))));
        assert_eq!(said(MIN_TIMESTAMP_SECONDS, 0), Some(Some(WallTime(0))));
        assert_eq!(said(MIN_TIMESTAMP_SECONDS - 1, 0), None);
        assert_eq!(said(1_700_000_000 + MAX_SECONDS, 0), Some(Some(now + MAX_SPAN)));
        assert_eq!(said(1_700_000_000 + MAX_SECONDS, 1), None);
        assert_eq!(said(i64::MAX, 0), None);
        assert_eq!(said(0, -1), None);
        assert_eq!(said(0, 1_000_000_000), None);
        assert_eq!(Fields::default().time(AT, None, now), Some(None));
    }

    proptest! {
        #[test]
        fn no_span_or_time_panics(seconds: i64, nanos: i32, now: u64) {
            if let Some(Some(span)) = said(seconds, nanos) {
                prop_assert!(span <= MAX_SPAN);
            }
            let now = WallTime(now);
            let time = Fields::default().time(AT, Some(Timestamp { seconds, nanos }), now);
            if let Some(Some(time)) = time {
                prop_assert!(time <= now + MAX_SPAN);
            }
        }
    }
}
