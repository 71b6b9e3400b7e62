//! Go's flag syntax: arguments to one value for every flag of the table.
//!
//! `-f v`, `-f=v`, `--f v` and `--f=v` are the same; a switch takes no separate argument, so
//! `-fk true` makes `true` the data directory. Reading stops at the first argument that is no
//! flag, or after `--`. Whether the values make sense together is for the rules to say.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::flags::{self, Flag, Kind, Standing};
use super::{Failure, help};
use crate::duration::Span;
use crate::size;

/// What a flag was given, or its default.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Switch(bool),
    Whole(i64),
    Count(u64),
    Span(Span),
    Text(String),
}

/// A value for every flag of the table.
///
/// The accessors take a flag's name; a name or type that is not the table's is a bug.
pub(super) struct Values(BTreeMap<&'static str, Value>);

/// All that the arguments say.
pub(super) struct Arguments {
    pub(super) values: Values,
    /// Whether `-h` or `-help` was met; nothing behind it was read.
    pub(super) wants_help: bool,
    /// What follows the flags.
    pub(super) rest: Vec<OsString>,
}

impl Arguments {
    /// Reads all flags.
    pub(super) fn read(given: impl Iterator<Item = OsString>) -> Result<Arguments, Failure> {
        let mut arguments =
            Arguments { values: Values::defaults(), wants_help: false, rest: Vec::new() };
        let mut given = given.peekable();
        while let Some(argument) = given.next_if(is_flag) {
            let text = argument.into_string().map_err(|bad| misuse(&bad_syntax(&bad)))?;
            let name = text.strip_prefix("--").unwrap_or(&text[1..]);
            if name.is_empty() {
                break; // "--" ends the flags.
            }
            if name.starts_with(['-', '=']) {
                return Err(misuse(&format!("bad flag syntax: {text}")));
            }
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            if matches!(name, "h" | "help") {
                arguments.wants_help = true;
                return Ok(arguments);
            }
            let flag = find(name)?;
            let text = match (inline, flag.1) {
                (Some(text), _) => text,
                (None, Kind::Switch(_)) => "true".to_owned(),
                (None, _) => next_text(&mut given, name)?,
            };
            arguments.values.0.insert(flag.0, parse(flag, &text)?);
        }
        arguments.rest = given.collect();
        Ok(arguments)
    }
}

fn is_flag(argument: &OsString) -> bool {
    let bytes = argument.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}

fn bad_syntax(argument: &OsString) -> String {
    format!("bad flag syntax: {}", argument.display())
}

fn find(name: &str) -> Result<&'static Flag, Failure> {
    flags::all()
        .map(|(flag, _)| flag)
        .find(|flag| flag.0 == name)
        .ok_or_else(|| misuse(&format!("flag provided but not defined: -{name}")))
}

fn next_text(given: &mut impl Iterator<Item = OsString>, name: &str) -> Result<String, Failure> {
    let value = given.next().ok_or_else(|| misuse(&format!("flag needs an argument: -{name}")))?;
    value
        .into_string()
        .map_err(|bad| misuse(&format!("value of -{name} is not UTF-8: {}", bad.display())))
}

fn parse(flag: &Flag, text: &str) -> Result<Value, Failure> {
    let value = match flag.1 {
        Kind::Switch(_) => parse_switch(text).map(Value::Switch),
        Kind::Whole(_) => text.parse().ok().map(Value::Whole),
        Kind::Count(_) => text.parse().ok().map(Value::Count),
        Kind::Bytes(_) => size::parse(text).map(Value::Count),
        Kind::Span(_) => text.parse().ok().map(Value::Span),
        Kind::Text(_) | Kind::File => Some(Value::Text(text.to_owned())),
    };
    let what = if matches!(flag.1, Kind::Switch(_)) { "boolean value" } else { "value" };
    let for_flag = if matches!(flag.1, Kind::Switch(_)) { "for" } else { "for flag" };
    value.ok_or_else(|| {
        misuse(&format!("invalid {what} {text:?} {for_flag} -{}: parse error", flag.0))
    })
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A command line that cannot be read: the message, the usage, and exit code 2.
fn misuse(message: &str) -> Failure {
    Failure { code: 2, text: format!("{message}\n{}", help::usage()) }
}

impl Values {
    fn defaults() -> Values {
        Values(flags::all().map(|(flag, _)| (flag.0, default(flag))).collect())
    }

    /// Flags whose value is not their default, in the order of the table.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&'static Flag, Standing)> {
        flags::all().filter(|(flag, _)| self.0[flag.0] != default(flag))
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        match &self.0[name] {
            Value::Switch(value) => *value,
            other => unreachable!("-{name} is a switch, not {other:?}"),
        }
    }

    pub(super) fn whole(&self, name: &str) -> i64 {
        match &self.0[name] {
            Value::Whole(value) => *value,
            other => unreachable!("-{name} is a whole number, not {other:?}"),
        }
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        match &self.0[name] {
            Value::Count(value) => *value,
            other => unreachable!("-{name} is a count, not {other:?}"),
        }
    }

    pub(super) fn span(&self, name: &str) -> Span {
        match &self.0[name] {
            Value::Span(value) => *value,
            other => unreachable!("-{name} is a duration, not {other:?}"),
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match &self.0[name] {
            Value::Text(value) => value,
            other => unreachable!("-{name} is a text, not {other:?}"),
        }
    }
}

fn default(flag: &Flag) -> Value {
    match flag.1 {
        Kind::Switch(value) => Value::Switch(value),
        Kind::Whole(value) => Value::Whole(value),
        Kind::Count(value) | Kind::Bytes(value) => Value::Count(value),
        Kind::Span(text) => Value::Span(text.parse().expect("the table's durations are valid")),
        Kind::Text(text) => Value::Text(text.to_owned()),
        Kind::File => Value::Text(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, Failure> {
        Arguments::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn all_spellings_of_go_are_taken() {
        for line in ["-node-id 7 d", "-node-id=7 d", "--node-id 7 d", "--node-id=7 d"] {
            let arguments = read(line).unwrap();
            assert_eq!(arguments.values.text("node-id"), "7", "{line}");
            assert_eq!(arguments.rest, ["d"], "{line}");
        }
        for (line, fk) in [("-fk d", true), ("--fk=f d", false), ("-fk=1 d", true), ("d", false)] {
            assert_eq!(read(line).unwrap().values.switch("fk"), fk, "{line}");
        }
        assert_eq!(read("-fk true d").unwrap().rest, ["true", "d"], "a switch takes no word");
        assert_eq!(read("d -fk").unwrap().rest, ["d", "-fk"], "reading stops at the directory");
        assert_eq!(read("-fk -- -d").unwrap().rest, ["-d"], "two dashes end the flags");
        assert_eq!(read("-").unwrap().rest, ["-"], "one dash is no flag");
        assert_eq!(read("-node-id a=b d").unwrap().values.text("node-id"), "a=b", "inner =");
        assert_eq!(read("-node-id=a=b d").unwrap().values.text("node-id"), "a=b", "second =");
        assert_eq!(read("-raft-snap 1 -raft-snap 2").unwrap().values.count("raft-snap"), 2, "last");
        assert_eq!(read("-backup-wal-max=3M").unwrap().values.count("backup-wal-max"), 3 << 20);
        assert!(read("-fk --help -bad").unwrap().wants_help, "help is met before the bad flag");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, message) in [
            ("-x", "flag provided but not defined: -x"),
            ("--on-disk=true d", "flag provided but not defined: -on-disk"),
            ("-node-id", "flag needs an argument: -node-id"),
            ("---fk", "bad flag syntax: ---fk"),
            ("-=1", "bad flag syntax: -=1"),
            ("-fk=yes", "invalid boolean value \"yes\" for -fk: parse error"),
            ("-raft-snap -1", "invalid value \"-1\" for flag -raft-snap: parse error"),
            ("-raft-snap-int 5", "invalid value \"5\" for flag -raft-snap-int: parse error"),
            ("-backup-wal-max 1P", "invalid value \"1P\" for flag -backup-wal-max: parse error"),
        ] {
            let Err(failure) = read(line) else { panic!("{line} was read") };
            assert_eq!(failure.code, 2, "{line}");
            assert_eq!(failure.text.lines().next(), Some(message), "{line}");
            assert!(failure.text.contains("Usage: quorlited"), "{line}: usage follows");
        }
    }

    #[test]
    fn every_default_is_readable_and_no_change() {
        assert_eq!(read("d").unwrap().values.changed().count(), 0, "nothing was changed");
        let changed = read("-fk -raft-snap-int=10s d").unwrap();
        assert_eq!(changed.values.changed().count(), 1, "a default given by hand is none");
    }
}
