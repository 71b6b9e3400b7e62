//! Rows as INSERT statements.
//!
//! The literals are those of a dump, so they read the same in `sqlite3` and here. What the API
//! itself changes cannot be had back: a `boolean` is 1 or 0, a date is RFC 3339, and whether 1 is
//! a real number is known only in a column of such a type. `dump` is exact.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Style;
use super::cell::Cell;
use crate::client::results::Rows;
use crate::db::dump::literal;

pub(super) fn write(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let head = head(style, rows);
    let are_real: Vec<bool> = rows.types.iter().map(|kind| is_real(kind)).collect();
    let mut statement = Vec::new();
    for row in &rows.values {
        statement.clear();
        statement.extend_from_slice(&head);
        for (place, raw) in row.iter().enumerate() {
            statement.extend_from_slice(if place == 0 { b"" } else { b"," });
            push(&mut statement, Cell::of(raw), are_real.get(place) == Some(&true));
        }
        statement.extend_from_slice(b");\n");
        output.write_all(&statement)?;
    }
    Ok(())
}

/// `INSERT INTO "t" VALUES(`, with the names of the columns where headers are asked for.
fn head(style: &Style, rows: &Rows<'_>) -> Vec<u8> {
    let mut head = b"INSERT INTO ".to_vec();
    literal::push_name(&mut head, &style.table);
    if style.headers == Some(true) {
        for (place, name) in rows.columns.iter().enumerate() {
            head.push(if place == 0 { b'(' } else { b',' });
            literal::push_name(&mut head, name);
        }
        head.push(b')');
    }
    head.extend_from_slice(b" VALUES(");
    head
}

/// Whether a column of this declared type holds all its numbers as real ones (SQLite:
/// datatype3.html, section 3.1).
fn is_real(kind: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    has(&["real", "floa", "doub"]) && !has(&["int", "char", "clob", "text", "blob"])
}

fn push(out: &mut Vec<u8>, cell: Cell<'_>, is_real: bool) {
    match cell {
        Cell::Null => out.extend_from_slice(b"NULL"),
        Cell::Boolean(value) => out.push(if value { b'1' } else { b'0' }),
        Cell::Number(digits) => {
            out.extend_from_slice(digits.as_bytes());
            let is_whole = !digits.contains(['.', 'e', 'E']);
            // A whole number beyond 64 bits can only be a real one, and so can -0.
            if is_whole && (is_real || digits == "-0" || digits.parse::<i64>().is_err()) {
                out.extend_from_slice(b".0");
            }
        }
        Cell::Text(Cow::Borrowed("Infinity")) if is_real => out.extend_from_slice(b"9.0e+999"),
        Cell::Text(Cow::Borrowed("-Infinity")) if is_real => out.extend_from_slice(b"-9.0e+999"),
        Cell::Text(text) => literal::push_text(out, text.as_bytes()),
        Cell::Blob(bytes) => literal::push_blob(out, &bytes),
        Cell::Other(text) => literal::push_text(out, text.as_bytes()),
    }
}
