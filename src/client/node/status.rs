//! `status`: what a node knows about itself, or single values of it.

use std::io::Write;

use serde_json::Value;

use super::{fetch, raw};
use crate::client::Session;
use crate::client::failure::Failure;

/// What stands below the options in the help text.
const EXAMPLE: &str = "\
Example: quorlite status store.raft.state store.raft.applied_index";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::client) struct Status {
    /// Print only these values, one a line, each named by its path such as store.raft.state
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// json, or text: a line for each value, with its path
    #[arg(short, long, default_value = "json", value_name = "FORMAT", hide_possible_values = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Json,
    Text,
}

impl Status {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let status = fetch(&mut session.client, "status")?;
        let mut chosen = Vec::new();
        for key in &self.keys {
            let value = find(&status, key);
            let text = || Failure::refused(format!("the status of this node has no {key}"));
            chosen.push((key.as_str(), value.ok_or_else(text)?));
        }
        if self.keys.is_empty() {
            chosen.push(("", &status));
        }
        let output = &mut session.output;
        for (key, value) in chosen {
            match self.format {
                Format::Text => write_lines(output, key, value)?,
                Format::Json if value.is_object() || value.is_array() => {
                    writeln!(output, "{value:#}")?;
                }
                Format::Json => writeln!(output, "{}", raw(value))?,
            }
        }
        Ok(())
    }
}

/// The value at a path of names and, in arrays, of numbers from 0. Names may hold dots.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let inner = |name: &str| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    if let Some(found) = inner(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| find(inner(&path[..dot])?, &path[dot + 1..]))
}

fn write_lines(output: &mut dyn Write, path: &str, value: &Value) -> Result<(), Failure> {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                write_lines(output, &below(name), value)?;
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, value) in items.iter().enumerate() {
                write_lines(output, &below(&number.to_string()), value)?;
            }
        }
        value => writeln!(output, "{path}: {}", raw(value))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_and_listed_by_their_paths() {
        let value = json!({"a": {"b.c": [1, {"d": "x"}], "e": null}, "f": {}});
        for (path, expected) in [
            ("a.e", Some(json!(null))),
            ("a.b.c.0", Some(json!(1))),
            ("a.b.c.1.d", Some(json!("x"))),
            ("a.b", None),
            ("a.b.c.2", None),
            ("a.e.x", None),
            ("", None),
        ] {
            assert_eq!(find(&value, path), expected.as_ref(), "{path}");
        }
        let mut lines = Vec::new();
        write_lines(&mut lines, "", &value).unwrap();
        let expected = "a.b.c.0: 1\na.b.c.1.d: x\na.e: null\nf: {}\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }
}
