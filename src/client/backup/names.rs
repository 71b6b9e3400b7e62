//! Names of backups: one file's own, or a pattern that the time fills in.
//!
//! Pure: bytes and a time in, a name or a yes out. Every field has a fixed number of digits, so a
//! name is of a pattern or it is not; a sidecar or an unfinished file, being longer, never is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use time::OffsetDateTime;

/// What a letter behind `%` stands for: its digits, the least and the greatest value.
const FIELDS: [(u8, usize, u32, u32); 6] = [
    (b'Y', 4, 0, 9999),
    (b'm', 2, 1, 12),
    (b'd', 2, 1, 31),
    (b'H', 2, 0, 23),
    (b'M', 2, 0, 59),
    (b'S', 2, 0, 60),
];

/// Whether there is anything in a text that would be filled in were it a pattern.
pub(super) fn mentions_fields(text: &OsStr) -> bool {
    let mut pairs = text.as_bytes().windows(2);
    pairs.any(|pair| pair[0] == b'%' && FIELDS.iter().any(|field| field.0 == pair[1]))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(u8),
    /// The letter of [`FIELDS`].
    Field(u8),
}

/// The names that the backups of one command have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it was given, for the names of what is unfinished.
    text: OsString,
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads `%Y %m %d %H %M %S` and `%%`.
    ///
    /// # Errors
    /// What stands behind a `%` that means nothing.
    pub(super) fn parse(text: &OsStr) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut bytes = text.as_bytes().iter();
        while let Some(&byte) = bytes.next() {
            if byte != b'%' {
                parts.push(Part::Literal(byte));
                continue;
            }
            match bytes.next() {
                Some(b'%') => parts.push(Part::Literal(b'%')),
                Some(&letter) if FIELDS.iter().any(|field| field.0 == letter) => {
                    parts.push(Part::Field(letter));
                }
                Some(&letter) => return Err(format!("%{}", letter.escape_ascii())),
                None => return Err("a % at the end".to_owned()),
            }
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }

    /// Just this name, whatever is in it.
    pub(super) fn literal(name: &OsStr) -> Pattern {
        let parts = name.as_bytes().iter().map(|&byte| Part::Literal(byte)).collect();
        Pattern { text: name.to_owned(), parts }
    }

    /// As it was given.
    pub(super) fn text(&self) -> &OsStr {
        &self.text
    }

    /// Whether there is anything for the time to fill in.
    pub(super) fn has_fields(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(_)))
    }

    /// The name of a backup made at this time.
    pub(super) fn name(&self, at: OffsetDateTime) -> OsString {
        let mut name = Vec::new();
        for part in &self.parts {
            match *part {
                Part::Literal(byte) => name.push(byte),
                Part::Field(letter) => {
                    let digits = if letter == b'Y' { 4 } else { 2 };
                    name.extend(format!("{:0digits$}", value(letter, at)).into_bytes());
                }
            }
        }
        OsString::from_vec(name)
    }

    /// Whether some time gives this name.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        let mut rest = name.as_bytes();
        for part in &self.parts {
            let length = match *part {
                Part::Literal(byte) => (rest.first() == Some(&byte)).then_some(1),
                Part::Field(letter) => FIELDS
                    .iter()
                    .find(|field| field.0 == letter)
                    .and_then(|field| matches(rest, field).then_some(field.1)),
            };
            let Some(length) = length else { return false };
            rest = &rest[length..];
        }
        rest.is_empty()
    }
}

fn matches(rest: &[u8], &(_, digits, least, greatest): &(u8, usize, u32, u32)) -> bool {
    let Some(text) = rest.get(..digits) else { return false };
    let is_number = text.iter().all(u8::is_ascii_digit);
    let value = text.iter().fold(0, |value, digit| value * 10 + u32::from(digit & 15));
    is_number && (least..=greatest).contains(&value)
}

fn value(letter: u8, at: OffsetDateTime) -> u32 {
    match letter {
        b'Y' => u32::try_from(at.year()).unwrap_or(0),
        b'm' => u32::from(u8::from(at.month())),
        b'd' => u32::from(at.day()),
        b'H' => u32::from(at.hour()),
        b'M' => u32::from(at.minute()),
        _ => u32::from(at.second()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(OsStr::new(text)).unwrap()
    }

    #[test]
    fn the_time_fills_in_what_the_pattern_then_has() {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_005).unwrap();
        let daily = pattern("app-%Y%m%d.100%%.db");
        assert_eq!(daily.name(at), "app-20231114.100%.db");
        assert_eq!(pattern("%H:%M:%S").name(at), "22:13:25");
        assert!(daily.has_fields() && !pattern("a%%b").has_fields());
        for name in ["app-20231114.100%.db", "app-00000101.100%.db"] {
            assert!(daily.has(OsStr::new(name)), "{name}");
        }
        let others = ["app-20231314.100%.db", "app-2023111.100%.db", "app-2023111x.100%.db", ""];
        for name in others.into_iter().chain(["app-20231114.100%.db.json", "xapp-20231114.100%.db"])
        {
            assert!(!daily.has(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!(Pattern::parse(OsStr::new("a%j")), Err("%j".to_owned()));
        assert!(Pattern::parse(OsStr::new("a%")).is_err());
        assert_eq!(Pattern::literal(OsStr::new("a%Y")).name(OffsetDateTime::UNIX_EPOCH), "a%Y");
    }
}
