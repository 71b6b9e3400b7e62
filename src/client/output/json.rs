//! Rows as JSON objects.
//!
//! An object can have a name once. Where columns share one, the later get `:1`, `:2` and so on
//! behind it, as SQLite itself names them in a table, so that no value is lost. (rqlite's shell
//! keeps the last only, and so does what is written as it writes.)

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::value::RawValue;

use super::cell::Cell;
use crate::client::results::Rows;

/// `[{"a":1,"b":2},` with a row a line.
pub(super) fn write_array(output: &mut dyn Write, rows: &Rows<'_>) -> io::Result<()> {
    let keys = keys(&rows.columns);
    output.write_all(b"[")?;
    for (place, row) in rows.values.iter().enumerate() {
        output.write_all(if place == 0 { b"" } else { b",\n" })?;
        write_object(output, &keys, row)?;
    }
    output.write_all(b"]\n")
}

/// `{"a":1,"b":2}`, a row a line.
pub(super) fn write_lines(output: &mut dyn Write, rows: &Rows<'_>) -> io::Result<()> {
    let keys = keys(&rows.columns);
    for row in &rows.values {
        write_object(output, &keys, row)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

fn write_object(output: &mut dyn Write, keys: &[String], row: &[&RawValue]) -> io::Result<()> {
    output.write_all(b"{")?;
    for (place, (key, raw)) in keys.iter().zip(row).enumerate() {
        output.write_all(if place == 0 { b"" } else { b"," })?;
        output.write_all(key.as_bytes())?;
        output.write_all(b":")?;
        match Cell::of(raw) {
            Cell::Text(text) => serde_json::to_writer(&mut *output, &text)?,
            _ => output.write_all(raw.get().as_bytes())?,
        }
    }
    output.write_all(b"}")
}

/// The names as JSON strings, each one of its own.
fn keys(columns: &[String]) -> Vec<String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut own = |name: &String| {
        let mut candidate = name.clone();
        let mut number = 0;
        while taken.contains(&candidate) || (number > 0 && columns.contains(&candidate)) {
            number += 1;
            candidate = format!("{name}:{number}");
        }
        taken.insert(candidate.clone());
        serde_json::Value::String(candidate).to_string()
    };
    columns.iter().map(&mut own).collect()
}

/// What rqlite's shell writes, by Go's `json.MarshalIndent` of a map: sorted keys, two blanks a
/// level, `<`, `>` and `&` escaped.
pub(super) fn write_as_go(output: &mut dyn Write, rows: &Rows<'_>) -> io::Result<()> {
    let mut places: Vec<usize> = (0..rows.columns.len()).collect();
    // Stable, so that the last of several with one name comes last.
    places.sort_by(|a, b| rows.columns[*a].cmp(&rows.columns[*b]));
    let is_last = |at: &usize| {
        let next = places.get(at + 1);
        next.is_none_or(|next| rows.columns[*next] != rows.columns[places[*at]])
    };
    let places: Vec<usize> = (0..places.len()).filter(is_last).map(|at| places[at]).collect();
    output.write_all(b"[")?;
    for (number, row) in rows.values.iter().enumerate() {
        output.write_all(if number == 0 { b"\n  {" } else { b",\n  {" })?;
        for (number, place) in places.iter().enumerate() {
            output.write_all(if number == 0 { b"\n    " } else { b",\n    " })?;
            go_string(output, &rows.columns[*place])?;
            output.write_all(b": ")?;
            go_value(output, row[*place])?;
        }
        output.write_all(b"\n  }")?;
    }
    output.write_all(if rows.values.is_empty() { b"]\n" } else { b"\n]\n" })
}

fn go_value(output: &mut dyn Write, raw: &RawValue) -> io::Result<()> {
    match Cell::of(raw) {
        Cell::Text(text) => go_string(output, &text),
        Cell::Blob(bytes) if !bytes.is_empty() => {
            for (place, byte) in bytes.iter().enumerate() {
                let before = if place == 0 { "[" } else { "," };
                write!(output, "{before}\n      {byte}")?;
            }
            output.write_all(b"\n    ]")
        }
        _ => output.write_all(raw.get().as_bytes()),
    }
}

fn go_string(output: &mut dyn Write, text: &str) -> io::Result<()> {
    let json = serde_json::to_string(text)?;
    let special = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    let mut rest = json.as_str();
    while let Some(at) = rest.find(special) {
        let letter = rest[at..].chars().next().expect("one was found");
        write!(output, "{}\\u{:04x}", &rest[..at], u32::from(letter))?;
        rest = &rest[at + letter.len_utf8()..];
    }
    output.write_all(rest.as_bytes())
}
