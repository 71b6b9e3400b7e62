//! Values for the `?` and `:name` of a statement.
//!
//! What is given is text and stays text, so that a postcode keeps its zero; SQLite makes a number
//! of it where the column wants one. Whoever wants another type says so in JSON.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::failure::Failure;
use crate::db::lexer::{Kind, Tokens};

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Parameters {
    /// Values for the parameters of the statement, each a text
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    given: Vec<String>,
    /// Each PARAM is JSON: 5, 2.5, null, true, "text", or an array of bytes for a blob
    #[arg(long)]
    json_params: bool,
    /// Each PARAM is NAME=VALUE, for :NAME, @NAME or $NAME
    #[arg(long)]
    named: bool,
}

impl Parameters {
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// What follows the statement in a request: `,1,"b"` or `,{"a":1}`.
    pub(super) fn json(&self) -> Result<String, Failure> {
        if self.is_empty() {
            return Ok(String::new());
        }
        let fields: Vec<String> =
            self.given.iter().map(|given| self.field(given)).collect::<Result<_, _>>()?;
        let fields = fields.join(",");
        Ok(if self.named { format!(",{{{fields}}}") } else { format!(",{fields}") })
    }

    /// Insists on a value for every position or name of the statement, and on nothing else.
    pub(super) fn check(&self, sql: &str) -> Result<(), Failure> {
        let wanted = Wanted::by(sql);
        let Some(fault) =
            (if self.named { self.misnamed(&wanted) } else { self.miscounted(&wanted) })
        else {
            return Ok(());
        };
        Err(Failure::usage(fault))
    }

    fn misnamed(&self, wanted: &Wanted<'_>) -> Option<String> {
        let given: Vec<&str> = self.given.iter().map(|given| name(given)).collect();
        if let Some(name) = given.iter().find(|name| !wanted.names.contains(name)) {
            return Some(format!("the SQL has no parameter {name:?}"));
        }
        if wanted.has_unnamed {
            return Some("the SQL has a ?, for which --named has no value".to_owned());
        }
        let missing = wanted.names.iter().find(|name| !given.contains(name))?;
        Some(format!("there is no value for the parameter {missing:?}"))
    }

    fn miscounted(&self, wanted: &Wanted<'_>) -> Option<String> {
        let (given, positions) = (self.given.len(), wanted.positions);
        if given > positions {
            let surplus = &self.given[positions];
            return Some(format!("{surplus:?} is a PARAM too many: the SQL has {positions}"));
        }
        (given < positions).then(|| format!("the SQL has parameters: {positions}, given: {given}"))
    }

    fn field(&self, given: &str) -> Result<String, Failure> {
        if !self.named {
            return self.value(given);
        }
        let Some((name, value)) = given.split_once('=') else {
            return Err(Failure::usage(format!("the parameter {given:?} is not NAME=VALUE")));
        };
        let name = bare(name);
        if !name.starts_with(|first: char| first.is_alphabetic()) {
            return Err(Failure::usage(format!("the parameter {given:?} has no name")));
        }
        Ok(format!("{}:{}", Value::from(name), self.value(value)?))
    }

    fn value(&self, given: &str) -> Result<String, Failure> {
        if !self.json_params {
            refuse_blob(given, given)?;
            return Ok(Value::from(given).to_string());
        }
        let value: &RawValue = serde_json::from_str(given).map_err(|_| {
            let text = "write text as '\"text\"' and a missing value as null";
            Failure::usage(format!("the parameter {given:?} is not JSON: {text}"))
        })?;
        if value.get().starts_with('{') {
            let text = "an object is no value: use --named for names";
            return Err(Failure::usage(format!("the parameter {given:?}: {text}")));
        }
        if let Ok(text) = serde_json::from_str::<String>(value.get()) {
            refuse_blob(given, &text)?;
        }
        // With every digit that was given.
        Ok(value.get().to_owned())
    }
}

/// The parameters that a statement has, as SQLite numbers them.
#[derive(Debug, Default, PartialEq)]
struct Wanted<'a> {
    /// The highest number.
    positions: usize,
    /// Of `:x`, `@x` and `$x`, without that sign, in order.
    names: Vec<&'a str>,
    /// Whether there is a `?` or `?5`.
    has_unnamed: bool,
}

impl<'a> Wanted<'a> {
    fn by(sql: &'a str) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        let mut seen = Vec::new();
        for token in Tokens::of(sql).filter(|token| token.kind == Kind::Value) {
            let text = token.text;
            match text.strip_prefix('?') {
                Some("") => wanted.positions += 1,
                // What is no number is SQLite's to refuse.
                Some(number) => {
                    wanted.positions = wanted.positions.max(number.parse().unwrap_or(0));
                }
                None if !text.starts_with([':', '@', '$']) => continue,
                None => {
                    // `:a` and `@a` have a number each, and the same value where it has a name.
                    if !seen.contains(&text) {
                        seen.push(text);
                        wanted.positions += 1;
                    }
                    if !wanted.names.contains(&bare(text)) {
                        wanted.names.push(bare(text));
                    }
                    continue;
                }
            }
            wanted.has_unnamed = true;
        }
        wanted
    }
}

/// The name in NAME=VALUE.
fn name(given: &str) -> &str {
    bare(given.split_once('=').map_or(given, |(name, _)| name))
}

fn bare(name: &str) -> &str {
    name.trim_start_matches([':', '@', '$'])
}

/// Refuses a text that would not arrive as text.
fn refuse_blob(given: &str, text: &str) -> Result<(), Failure> {
    if !is_taken_for_blob(text) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the parameter {given:?} looks like x'00FF', which servers of this API take for a blob. \
         Give a blob as [0,255] with --json-params; for the text use CAST(? AS TEXT) and the blob \
         of its bytes"
    )))
}

/// Whether the API makes a blob of this text.
fn is_taken_for_blob(text: &str) -> bool {
    let text = text.trim();
    let inner = text.strip_prefix(['x', 'X']).and_then(|rest| rest.strip_prefix('\''));
    let digits = inner.and_then(|rest| rest.strip_suffix('\''));
    digits.is_some_and(|digits| {
        digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(given: &[&str], json_params: bool, named: bool) -> Result<String, Failure> {
        let given = given.iter().map(|&text| text.to_owned()).collect();
        Parameters { given, json_params, named }.json()
    }

    #[test]
    fn values_are_text_unless_they_are_json() {
        assert_eq!(json(&["01.50", "a\"b"], false, false).unwrap(), r#","01.50","a\"b""#);
        assert_eq!(json(&["1.50", "[1]", "\"x\""], true, false).unwrap(), r#",1.50,[1],"x""#);
        assert_eq!(json(&[":a=1=2", "b="], false, true).unwrap(), r#",{"a":"1=2","b":""}"#);
        assert_eq!(json(&["a=null"], true, true).unwrap(), r#",{"a":null}"#);
        assert_eq!(json(&[], true, true).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for (given, json_params, named) in [
            ("x", true, false),
            ("{\"a\":1}", true, false),
            ("1 2", true, false),
            ("a", false, true),
            ("=1", false, true),
            (" x'00fF' ", false, false),
            ("\" x'00fF' \"", true, false),
            ("a=X''", false, true),
        ] {
            assert!(json(&[given], json_params, named).is_err(), "{given}");
        }
        assert_eq!(json(&["x'0'"], false, false).unwrap(), r#","x'0'""#);
    }

    #[test]
    fn every_parameter_has_one_value() {
        for (sql, given, named, says) in [
            ("SELECT ?", &["1", "2"][..], false, Some("\"2\" is a PARAM too many")),
            ("SELECT 1", &["1"], false, Some("too many")),
            ("SELECT ?, ?", &["1"], false, Some("parameters: 2, given: 1")),
            ("SELECT ?3", &["1"], false, Some("parameters: 3")),
            ("SELECT :a, @b, :a", &["1", "2"], false, None),
            ("SELECT '?', \"?\", 'x:y' -- ?", &[], false, None),
            ("SELECT ?2, ?", &["1", "2", "3"], false, None),
            ("SELECT :a", &[], false, Some("parameters: 1")),
            ("SELECT :a", &["b=1"], true, Some("no parameter \"b\"")),
            ("SELECT :a, $b", &[":a=1"], true, Some("no value for the parameter \"b\"")),
            ("SELECT :a, ?", &["a=1"], true, Some("has a ?")),
            ("SELECT :a, @a, :b", &["a=1", "b=2"], true, None),
        ] {
            let given = given.iter().map(|&text| text.to_owned()).collect();
            let found = Parameters { given, json_params: false, named }.check(sql);
            let found = found.map_err(|failure| failure.text);
            match says {
                None => assert_eq!(found, Ok(()), "{sql}"),
                Some(says) => assert!(found.clone().unwrap_err().contains(says), "{found:?}"),
            }
        }
    }
}
