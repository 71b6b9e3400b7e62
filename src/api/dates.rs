//! Values of columns declared `date`, `datetime` or `timestamp`, as RFC 3339.
//!
//! Clients split such values at the `T`, so text in the forms that SQLite's own functions write
//! is rendered anew. What is not a date stays as it is: it is never replaced by a made-up one.
//!
//! Read: `2020-01-02`, then optionally a blank or `T` and `03:04`, `03:04:05` or
//! `03:04:05.678`, the latter two optionally with `+02:00`; a final `Z` may follow any of them.

use std::fmt::Write;

use time::OffsetDateTime;

/// Above this an integer counts milliseconds since 1970, not seconds: as seconds it would be
/// later than the year 33,000.
const SECONDS_MAX: u64 = 1_000_000_000_000;

/// A date with its parts as they will be printed.
#[derive(Default)]
struct Moment<'t> {
    date: &'t str,
    hour: &'t str,
    minute: &'t str,
    second: &'t str,
    /// Digits after the point.
    fraction: &'t str,
    /// `+02:00`, or empty for UTC.
    offset: &'t str,
}

/// The date in `text` as RFC 3339; `None` when there is none.
pub(super) fn from_text(text: &str) -> Option<String> {
    let moment = parse(text.strip_suffix('Z').unwrap_or(text))?;
    let mut out = String::with_capacity(35);
    let Moment { date, hour, minute, second, fraction, offset } = moment;
    write!(out, "{date}T{hour:0>2}:{minute}:{second}").expect("a String takes everything");
    let fraction = fraction[..fraction.len().min(9)].trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    let is_utc = offset.is_empty() || &offset[1..] == "00:00";
    out.push_str(if is_utc { "Z" } else { offset });
    Some(out)
}

/// The seconds or milliseconds since 1970 as RFC 3339; `None` beyond the year 9999.
pub(super) fn from_integer(value: i64) -> Option<String> {
    let is_milliseconds = value.unsigned_abs() > SECONDS_MAX;
    let nanoseconds = i128::from(value) * if is_milliseconds { 1_000_000 } else { 1_000_000_000 };
    from_nanoseconds(nanoseconds)
}

/// Nanoseconds since 1970 as RFC 3339; `None` outside the years 0 to 9999.
pub(super) fn from_nanoseconds(nanoseconds: i128) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    if moment.year() < 0 {
        return None;
    }
    let (date, time) = (moment.date(), moment.time());
    let mut out = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    if time.nanosecond() != 0 {
        let fraction = format!(".{:09}", time.nanosecond());
        out.push_str(fraction.trim_end_matches('0'));
    }
    out.push('Z');
    Some(out)
}

fn parse(text: &str) -> Option<Moment<'_>> {
    let (date, rest) = text.split_at_checked(10)?;
    if !is_date(date) {
        return None;
    }
    let mut moment = Moment { date, hour: "00", minute: "00", second: "00", ..Moment::default() };
    if rest.is_empty() {
        return Some(moment);
    }
    let (hour, rest) = rest.strip_prefix(['T', ' '])?.split_once(':')?;
    let (minute, rest) = rest.split_at_checked(2)?;
    (moment.hour, moment.minute) = (hour, minute);
    if let Some(rest) = rest.strip_prefix(':') {
        let (second, rest) = rest.split_at_checked(2)?;
        moment.second = second;
        let zone = rest.find(['+', '-']).unwrap_or(rest.len());
        let (fraction, offset) = rest.split_at(zone);
        moment.offset = offset;
        if !fraction.is_empty() {
            moment.fraction = fraction.strip_prefix('.').filter(|digits| !digits.is_empty())?;
        }
    } else if !rest.is_empty() {
        return None;
    }
    let is_good = hour.len() <= 2
        && number(hour)? < 24
        && number(minute)? < 60
        && number(moment.second)? < 60
        && moment.fraction.bytes().all(|byte| byte.is_ascii_digit())
        && is_offset(moment.offset);
    is_good.then_some(moment)
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (number(year), number(month), number(day)) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_offset(text: &str) -> bool {
    let Some(unsigned) = text.strip_prefix(['+', '-']) else { return text.is_empty() };
    let is_part = |part: &str, max| part.len() == 2 && number(part).is_some_and(|n| n <= max);
    unsigned.split_once(':').is_some_and(|(hour, minute)| is_part(hour, 24) && is_part(minute, 59))
}

/// A number of digits alone.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_a_date_is_rendered_anew() {
        for (text, expected) in [
            ("2020-01-02", "2020-01-02T00:00:00Z"),
            ("2020-01-02Z", "2020-01-02T00:00:00Z"),
            ("2020-01-02 03:04", "2020-01-02T03:04:00Z"),
            ("2020-01-02T03:04:05", "2020-01-02T03:04:05Z"),
            ("2020-01-02 03:04:05.678", "2020-01-02T03:04:05.678Z"),
            ("2020-01-02 03:04:05.600", "2020-01-02T03:04:05.6Z"),
            ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
            ("2020-01-02 03:04:05+02:00", "2020-01-02T03:04:05+02:00"),
            ("2020-01-02 03:04:05.5-07:30", "2020-01-02T03:04:05.5-07:30"),
            ("2020-01-02 03:04:05+00:00", "2020-01-02T03:04:05Z"),
            ("2020-02-29 3:04:05", "2020-02-29T03:04:05Z"),
        ] {
            assert_eq!(from_text(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in [
            "",
            "now",
            "2020-01-0",
            "2021-02-29",
            "2020-13-01",
            "2020-01-02 24:00",
            "2020-01-02 03:04:5",
            "2020-01-02 03:04:05.",
            "2020-01-02 03:04:05 UTC",
            "2020-01-02 03:04+02:00",
            "2020-01-02 03:04:05+2:00",
            "2020-01-0\u{e9}",
            "+020-01-02",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn integers_count_seconds_or_milliseconds() {
        for (value, expected) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (-1, Some("1969-12-31T23:59:59Z")),
            (1_600_000_000, Some("2020-09-13T12:26:40Z")),
            (1_600_000_000_250, Some("2020-09-13T12:26:40.25Z")),
            (i64::MAX, None),
            (1_000_000_000_000, None),
        ] {
            assert_eq!(from_integer(value).as_deref(), expected);
        }
    }
}
