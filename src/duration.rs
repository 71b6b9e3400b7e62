//! Lengths of time as Go writes them: `300ms`, `1m30s`, `-2h45m`, `0`.
//!
//! Flags, query parameters and reports all use this notation, so it is read and written in this
//! one place, and a script gets the same refusal from all of them. There is no unit longer than
//! an hour. Nothing here looks at a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units with their nanoseconds; both spellings of "micro" that Unicode has are taken.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// Digits behind the point that count; further ones are far below a nanosecond.
const FRACTION_DIGITS_MAX: usize = 18;

/// A signed length of time in nanoseconds, read and printed in Go's notation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Nanoseconds; may be negative.
    pub nanoseconds: i64,
}

/// The text is no duration: a number lacks its unit, a unit is unknown, or it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDuration;

impl Span {
    /// The same length without a sign; what is negative becomes zero.
    pub fn or_zero(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanoseconds).unwrap_or(0))
    }

    /// The length if it is greater than zero; flags use zero for "off".
    pub fn if_positive(self) -> Option<Duration> {
        Some(self.or_zero()).filter(|length| !length.is_zero())
    }
}

impl From<Duration> for Span {
    /// What does not fit (292 years) becomes the longest span there is.
    fn from(length: Duration) -> Span {
        Span { nanoseconds: i64::try_from(length.as_nanos()).unwrap_or(i64::MAX) }
    }
}

impl FromStr for Span {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Span, InvalidDuration> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Span::default());
        }
        if rest.is_empty() {
            return Err(InvalidDuration);
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (length, tail) = take_term(rest)?;
            total = total.checked_add(length).ok_or(InvalidDuration)?;
            rest = tail;
        }
        let signed = if negative { -total } else { total };
        let nanoseconds = i64::try_from(signed).map_err(|_| InvalidDuration)?;
        Ok(Span { nanoseconds })
    }
}

/// A length of time for a reader who knows Go's notation: `1h2m3.5s`, `50ms`.
pub fn print(length: Duration) -> String {
    Span::from(length).to_string()
}

/// Reads one number with its unit, as in `1.5h`, and returns what follows it.
fn take_term(text: &str) -> Result<(i128, &str), InvalidDuration> {
    let (whole, rest) = take_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), take_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidDuration);
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(end);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
    let size = i128::from(*size);

    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let part = number(fraction)? * size / 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let length = number(whole)?.checked_mul(size).ok_or(InvalidDuration)?;
    Ok((length.checked_add(part).ok_or(InvalidDuration)?, tail))
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str) -> Result<i128, InvalidDuration> {
    if digits.is_empty() {
        return Ok(0);
    }
    digits.parse().map_err(|_| InvalidDuration)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        match total {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{total}ns"),
            1_000..1_000_000 => write!(f, "{}\u{b5}s", decimal(total, 1_000)),
            1_000_000..SECOND => write!(f, "{}ms", decimal(total, 1_000_000)),
            SECOND.. => {
                let minutes = total / (60 * SECOND);
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", decimal(total % (60 * SECOND), SECOND))
            }
        }
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let digits = usize::try_from(unit.ilog10()).unwrap_or(0);
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid duration")
    }
}

impl std::error::Error for InvalidDuration {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let table: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("-0", Some(0)),
            ("300ms", Some(300_000_000)),
            ("1.000000001s", Some(1_000_000_001)),
            ("-1.5h", Some(-5_400_000_000_000)),
            ("+5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("2h45m", Some(9_900_000_000_000)),
            ("7us", Some(7_000)),
            ("7\u{b5}s", Some(7_000)),
            ("7\u{3bc}s", Some(7_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("0.3333333333333333333333h", Some(1_199_999_999_999)),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("9223372036854775808ns", None),
            ("99999999999999999999999999999999999999999h", None),
            ("", None),
            ("-", None),
            ("3", None),
            ("1d", None),
            (".s", None),
            ("1s ", None),
            ("s", None),
            ("1 s", None),
            ("1m-30s", None),
            ("+-1s", None),
            ("1.2.3s", None),
            ("9223372037s", None),
        ];
        for (text, expected) in table {
            let span = text.parse::<Span>().ok().map(|span| span.nanoseconds);
            assert_eq!(span, *expected, "{text:?}");
        }
    }

    #[test]
    fn prints_what_go_prints() {
        let texts =
            ["0s", "1ns", "1.1\u{b5}s", "2.2ms", "3.3s", "4m5.001s", "5h6m7s", "24h0m0s", "-1m0s"];
        for text in texts {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), text, "read and printed again");
        }
    }
}
