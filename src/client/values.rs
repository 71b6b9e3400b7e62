//! Values that options of several commands take, read for `clap`.

use std::time::Duration;

use crate::duration::Span;
use crate::size;

/// A length of time as Go writes it: `1m30s`.
pub(super) fn read_duration(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|_| "not a duration such as 90s or 1m30s".to_owned())?;
    if span.nanoseconds < 0 {
        return Err("a duration is never negative".to_owned());
    }
    Ok(span.or_zero())
}

/// A number of bytes: `500M`.
pub(super) fn read_size(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| "not a number of bytes such as 4096, 500M or 2G".to_owned())
}
