//! Numbers as people read them at a glance.

/// At most six characters: `9999`, `12.3k`, `1.23M`.
pub(super) fn count(number: f64) -> String {
    if number < 9999.5 {
        return format!("{number:.0}");
    }
    let mut scaled = number;
    let mut unit = ' ';
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = next;
    }
    let decimals = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.decimals$}{unit}")
}

/// Every digit where they fit ten characters.
pub(super) fn depth(number: f64) -> String {
    if number < 9_999_999.5 { whole(number.round() as u64) } else { count(number) }
}

/// Something a second: `0.3`, `12.0`, `340`.
pub(super) fn rate(number: f64) -> String {
    if number < 99.95 { format!("{number:.1}") } else { count(number) }
}

/// Every digit, in groups of three.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The two largest units: `7s`, `2m 10s`, `3h 5m`, `2d 4h`.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `17 B`, `1.2 MiB`.
pub(super) fn bytes(number: u64) -> String {
    let mut scaled = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if scaled < 1023.95 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{number} B") } else { format!("{scaled:.1} {unit}") }
}

/// Of a whole: `83%`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits_and_stay_short() {
        let numbers = [0.0, 9999.0, 10_000.0, 12_345.0, 999_900.0, 1_234_567.0, 1e18, 1.8e19];
        let texts = ["0", "9999", "10.0k", "12.3k", "1.00M", "1.23M", "1.00E", "18.0E"];
        assert_eq!(numbers.map(count), texts);
        assert_eq!([0.04, 12.0, 99.96, 12_345.0].map(rate), ["0.0", "12.0", "100", "12.3k"]);
        assert_eq!([1_234_567.0, 12_345_678.0].map(depth), ["1,234,567", "12.3M"]);
        assert_eq!([7, 1000, 1_234_567].map(whole), ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn spans_and_bytes_are_rounded_to_what_matters() {
        assert_eq!([0, 59, 130, 3900, 187_200].map(span), ["0s", "59s", "2m 10s", "1h 5m", "2d 4h"]);
        assert_eq!([17, 1024, 1_300_000].map(bytes), ["17 B", "1.0 KiB", "1.2 MiB"]);
        assert_eq!(percent(1.034), "103%");
    }
}
