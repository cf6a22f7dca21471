//! Spans between Rust and the contract. Both ways are total: what does not fit is cut, never a panic.

use std::time::Duration;

/// A span as the contract writes it. Beyond ten years the server refuses it anyway.
#[must_use]
pub fn span_to_proto(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// A span as Rust writes it; a negative one is none at all.
#[must_use]
pub fn span_from_proto(span: &prost_types::Duration) -> Duration {
    let nanos = u32::try_from(span.nanos).unwrap_or(0).min(999_999_999);
    match u64::try_from(span.seconds) {
        Ok(seconds) => Duration::new(seconds, nanos),
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_both_ways() {
        for span in [Duration::ZERO, Duration::from_millis(1500), Duration::new(315_000_000, 999_999_999)] {
            assert_eq!(span_from_proto(&span_to_proto(span)), span);
        }
    }

    #[test]
    fn senseless_spans_are_cut_and_never_panic() {
        assert_eq!(span_to_proto(Duration::MAX).seconds, i64::MAX);
        let negative = prost_types::Duration { seconds: -3, nanos: -7 };
        assert_eq!(span_from_proto(&negative), Duration::ZERO);
        let overfull = prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX };
        assert_eq!(span_from_proto(&overfull).subsec_nanos(), 999_999_999);
    }
}
