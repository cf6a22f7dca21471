//! Spans and times.

use prost_types::{Duration, Timestamp};
use sluice_engine::{Span, WallTime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// 9999-12-31T23:59:59 in seconds of the epoch: protobuf has no later time.
const MAX_TIMESTAMP_SECONDS: u64 = 253_402_300_799;

/// A span.
pub(in crate::rpc) fn duration(span: Span) -> Duration {
    Duration { seconds: (span.0 / NANOS_PER_SECOND) as i64, nanos: (span.0 % NANOS_PER_SECOND) as i32 }
}

/// A span of the standard library; one that is too long is cut.
pub(in crate::rpc) fn std_duration(span: std::time::Duration) -> Duration {
    duration(Span(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
}

/// A time.
pub(in crate::rpc) fn timestamp(time: WallTime) -> Timestamp {
    let seconds = (time.0 / NANOS_PER_SECOND).min(MAX_TIMESTAMP_SECONDS);
    Timestamp { seconds: seconds as i64, nanos: (time.0 % NANOS_PER_SECOND) as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_keep_every_nanosecond() {
        let said = duration(Span(5_000_000_001));
        assert_eq!((said.seconds, said.nanos), (5, 1));
        let said = timestamp(WallTime(1_700_000_000_123_456_789));
        assert_eq!((said.seconds, said.nanos), (1_700_000_000, 123_456_789));
        let said = std_duration(std::time::Duration::MAX);
        assert_eq!((said.seconds, said.nanos), ((u64::MAX / NANOS_PER_SECOND) as i64, 709_551_615));
    }
}
