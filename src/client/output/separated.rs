//! A row a line, its values separated: csv, tsv and list.
//!
//! | format        | NULL               | quoted or escaped                                       |
//! |---------------|--------------------|---------------------------------------------------------|
//! | csv           | nothing, `--null`  | `""` around commas, quotes, line ends, empty text, and around text that would read as NULL |
//! | csv of rqlite | `NULL`             | as Go's `encoding/csv` does: also a blank in front      |
//! | tsv           | `\N`, `--null`     | `\t` `\n` `\r` `\\`                                     |
//! | list          | nothing, `--null`  | nothing: as in sqlite3                                  |

use std::borrow::Cow;
use std::io::{self, Write};

use super::Style;
use super::cell::Cell;
use crate::client::results::Rows;

/// Writes RFC 4180 in which NULL and empty text, and every other text, can be told apart.
pub(super) fn write_csv(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let null = style.null_or("");
    let needs_quotes =
        |text: &str| text.is_empty() || text == null || text.contains([',', '"', '\n', '\r']);
    let field = |cell: Cell<'_>| match cell {
        Cell::Null => null.to_owned(),
        other => quoted(other.text(null), needs_quotes),
    };
    write_rows(output, style, rows, (b",", true), field)
}

/// Writes what rqlite's shell writes.
pub(super) fn write_as_go(
    output: &mut dyn Write,
    style: &Style,
    rows: &Rows<'_>,
) -> io::Result<()> {
    let needs_quotes = |text: &str| {
        text == "\\."
            || text.starts_with(char::is_whitespace)
            || text.contains([',', '"', '\n', '\r'])
    };
    let field = |cell: Cell<'_>| quoted(cell.text(style.null_or("NULL")), needs_quotes);
    write_rows(output, style, rows, (b",", true), field)
}

pub(super) fn write_tsv(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let field = |cell: Cell<'_>| match cell {
        Cell::Null => style.null_or("\\N").to_owned(),
        other => escaped(&other.text("")),
    };
    write_rows(output, style, rows, (b"\t", true), field)
}

pub(super) fn write_list(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let field = |cell: Cell<'_>| cell.text(style.null_or("")).into_owned();
    write_rows(output, style, rows, (b"|", false), field)
}

fn write_rows(
    output: &mut dyn Write,
    style: &Style,
    rows: &Rows<'_>,
    (separator, has_header): (&[u8], bool),
    field: impl Fn(Cell<'_>) -> String,
) -> io::Result<()> {
    if style.headers.unwrap_or(has_header) {
        let names = rows.columns.iter().map(|name| field(Cell::Text(name.into())));
        write_row(output, separator, names)?;
    }
    for row in &rows.values {
        write_row(output, separator, row.iter().map(|raw| field(Cell::of(raw))))?;
    }
    Ok(())
}

fn write_row(
    output: &mut dyn Write,
    separator: &[u8],
    fields: impl Iterator<Item = String>,
) -> io::Result<()> {
    for (place, field) in fields.enumerate() {
        if place > 0 {
            output.write_all(separator)?;
        }
        output.write_all(field.as_bytes())?;
    }
    output.write_all(b"\n")
}

fn quoted(text: Cow<'_, str>, needs_quotes: impl Fn(&str) -> bool) -> String {
    if needs_quotes(&text) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.into_owned()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => out.push(letter),
        }
    }
    out
}
