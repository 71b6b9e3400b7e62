//! JSON as indented text: `key: value` lines, keys in order, arrays on one line.
//!
//! Arrays, and objects in them, look as rqlite's shell prints them, which is how Go does it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::value::RawValue;

/// An object's members; their values keep the digits that came.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What a value is.
enum Value<'a> {
    Null,
    Object(Members<'a>),
    Array(Vec<&'a RawValue>),
    Text(String),
    /// Numbers, true and false.
    Plain(&'a str),
}

/// Writes an object's members, each on a line of its own, members of members below it. Members
/// that are null are left out.
pub(super) fn write(output: &mut dyn Write, members: &Members<'_>) -> io::Result<()> {
    write_at(output, members, 0)
}

fn write_at(output: &mut dyn Write, members: &Members<'_>, depth: usize) -> io::Result<()> {
    let indent = 2 * depth;
    for (key, value) in members {
        match read(value)? {
            Value::Null => {}
            Value::Object(inner) => {
                writeln!(output, "{:indent$}{key}:", "")?;
                write_at(output, &inner, depth + 1)?;
            }
            other => writeln!(output, "{:indent$}{key}: {}", "", flat(&other)?)?,
        }
    }
    Ok(())
}

fn read(value: &RawValue) -> serde_json::Result<Value<'_>> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => Value::Object(serde_json::from_str(text)?),
        Some(b'[') => Value::Array(serde_json::from_str(text)?),
        Some(b'"') => Value::Text(serde_json::from_str(text)?),
        Some(b'n') => Value::Null,
        Some(_) | None => Value::Plain(text),
    })
}

fn flat(value: &Value<'_>) -> serde_json::Result<String> {
    let inner = |raw: &&RawValue| read(raw).and_then(|value| flat(&value));
    Ok(match value {
        Value::Null => "<nil>".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Plain(text) => (*text).to_owned(),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(inner).collect::<Result<Vec<_>, _>>()?.join(" "))
        }
        Value::Object(members) => {
            let pair = |(key, raw): (&String, &&RawValue)| Ok(format!("{key}:{}", inner(raw)?));
            let pairs = members.iter().map(pair).collect::<serde_json::Result<Vec<_>>>()?;
            format!("map[{}]", pairs.join(" "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_in_order_and_arrays_on_one_line() {
        let json = r#"{"b": {"d": 1.50, "c": "x y", "e": {}}, "a": [], "n": null,
            "f": [{"k": [1, null, true], "j": "v"}, "w"], "g": 9007199254740993}"#;
        let mut found = Vec::new();
        write(&mut found, &serde_json::from_str(json).unwrap()).unwrap();
        let wanted = "a: []\nb:\n  c: x y\n  d: 1.50\n  e:\nf: [map[j:v k:[1 <nil> true]] w]\n\
                      g: 9007199254740993\n";
        assert_eq!(String::from_utf8(found).unwrap(), wanted);
    }
}
