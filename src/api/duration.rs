//! Durations as Go writes them: `300ms`, `1.5s`, `1m30s`, `-2h`.
//!
//! The parser takes what Go's takes and nothing else, so that a script gets the same refusal
//! from both. There is no unit longer than an hour.

use std::time::Duration;

/// Units and their nanoseconds; a longer spelling stands before one that is a part of it.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Digits of a fraction that matter: with more, an hour's nanosecond is passed.
const FRACTION_DIGITS_MAX: usize = 13;

/// The duration in `text`; negative ones, which nothing here can mean, count as zero.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (is_negative, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if unsigned == "0" {
        return Some(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (nanoseconds, after) = parse_part(rest)?;
        total = total.checked_add(nanoseconds)?;
        rest = after;
    }
    i64::try_from(total).ok()?;
    Some(if is_negative { Duration::ZERO } else { Duration::from_nanos(total) })
}

/// One number with its unit, in nanoseconds, and what follows.
fn parse_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_length);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let nanoseconds = whole.checked_mul(*scale)?.checked_add(fraction_of(fraction, *scale))?;
    Some((nanoseconds, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.digits` of the unit, rounded down.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let digits = &digits[..digits.len().min(FRACTION_DIGITS_MAX)];
    let power = 10_u128.pow(u32::try_from(digits.len()).expect("at most 13"));
    let part = digits.parse::<u128>().unwrap_or(0) * u128::from(scale) / power;
    u64::try_from(part).expect("less than the unit")
}

/// The duration as Go prints it: `1h2m3.5s`, `1.5ms`, `0s`.
pub(super) fn print(duration: Duration) -> String {
    let total = duration.as_nanos();
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(total, 1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` without needless zeros.
fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("2h45m", 9_900_000_000_000),
            (".5us", 500),
            ("1.s", 1_000_000_000),
            ("7\u{b5}s", 7_000),
            ("1.000000001s", 1_000_000_001),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("-5s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for text in ["", "-", "5", "1d", "s", ".s", "1 s", "1s ", "1.2.3s", "9223372037s", "+-1s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (999, "999ns"),
            (670_127, "670.127\u{b5}s"),
            (50_000_000, "50ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_661_000_000_000, "1h1m1s"),
        ] {
            assert_eq!(print(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
