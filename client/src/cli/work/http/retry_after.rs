//! How long a service wants to be left alone, by its header `retry-after`. Knows nothing of clocks: the time is
//! told.

use std::time::{Duration, SystemTime};

/// The longest wait that a service may ask for: one that says more is mistaken, and a job must not be out of sight
/// for years by a slip in a header.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The wait from `now` that the header's value asks for: seconds (some services send fractions) or an HTTP date, of
/// which one that has passed is no wait. None for anything else.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // Nothing that is written so is negative or no number, and what no Duration can hold is over the bound.
        let seconds: f64 = value.parse().ok()?;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Duration = Duration::from_secs(784_111_777);

    fn parsed(value: &str) -> Option<Duration> {
        retry_after(value, SystemTime::UNIX_EPOCH + NOW)
    }

    #[test]
    fn seconds_are_a_wait() {
        assert_eq!(parsed("0"), Some(Duration::ZERO));
        assert_eq!(parsed("120"), Some(Duration::from_secs(120)));
        assert_eq!(parsed(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parsed("1.5"), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn date_is_a_wait_in_each_of_its_three_forms() {
        let wait = Some(Duration::from_secs(23));
        assert_eq!(parsed("Sun, 06 Nov 1994 08:50:00 GMT"), wait);
        assert_eq!(parsed("Sunday, 06-Nov-94 08:50:00 GMT"), wait);
        assert_eq!(parsed("Sun Nov  6 08:50:00 1994"), wait);
    }

    #[test]
    fn date_that_has_passed_is_no_wait() {
        assert_eq!(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(parsed("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn date_is_counted_from_the_moment_and_not_from_its_second() {
        let now = SystemTime::UNIX_EPOCH + NOW + Duration::from_millis(250);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:38 GMT", now), Some(Duration::from_millis(750)));
    }

    #[test]
    fn absurd_wait_is_a_day() {
        for value in ["86401", &"9".repeat(30), &"9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(parsed(value), Some(MAX_RETRY_AFTER), "{value}");
        }
        assert_eq!(parsed("86400"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn anything_else_says_nothing() {
        for value in
            ["", " ", ".", "1.2.3", "-1", "+1", "1e3", "inf", "NaN", "soon", "1s", "1994-11-06T08:49:37Z"]
        {
            assert_eq!(parsed(value), None, "{value}");
        }
    }
}
