//! Aligned columns, with a border after the header and after every row.
//!
//! rqlite's shell writes values raw, so a line end breaks its table; here, unless its very bytes
//! are asked for, control characters show as escapes and each row stays one line.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::Style;
use super::cell::Cell;
use crate::client::results::Rows;

/// The name of a column, between these, is cyan.
const CYAN: (&str, &str) = ("\u{1b}[36m", "\u{1b}[0m");

/// Written again and again where many of them are needed.
const BLANKS: &[u8] = &[b' '; 64];
const DASHES: &[u8] = &[b'-'; 64];

pub(super) fn write(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let has_header = style.headers != Some(false);
    let widths = widths(style, rows, has_header);
    border(output, &widths)?;
    if has_header {
        let (before, after) = if style.has_colours { CYAN } else { ("", "") };
        for (name, width) in rows.columns.iter().zip(&widths) {
            let name = shown(style, name.into());
            write!(output, "| {before}{name}{after}")?;
            repeat(output, BLANKS, width - cells(&name) + 1)?;
        }
        output.write_all(b"|\n")?;
        border(output, &widths)?;
    }
    for row in &rows.values {
        for (raw, width) in row.iter().zip(&widths) {
            let text = shown(style, Cell::of(raw).text(style.null_or("<nil>")));
            write!(output, "| {text}")?;
            repeat(output, BLANKS, width - cells(&text) + 1)?;
        }
        output.write_all(b"|\n")?;
        border(output, &widths)?;
    }
    Ok(())
}

fn widths(style: &Style, rows: &Rows<'_>, has_header: bool) -> Vec<usize> {
    let name_width = |name: &String| if has_header { cells(&shown(style, name.into())) } else { 0 };
    let mut widths: Vec<usize> = rows.columns.iter().map(name_width).collect();
    for row in &rows.values {
        for (raw, width) in row.iter().zip(&mut widths) {
            let text = shown(style, Cell::of(raw).text(style.null_or("<nil>")));
            *width = cells(&text).max(*width);
        }
    }
    widths
}

/// What is printed of a text.
fn shown<'t>(style: &Style, text: Cow<'t, str>) -> Cow<'t, str> {
    if style.is_rqlite || !text.contains(char::is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if letter.is_control() {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    escaped.into()
}

/// Cells that a text takes on a terminal; control characters take none.
fn cells(text: &str) -> usize {
    text.split(char::is_control).map(str::width).sum()
}

fn border(output: &mut dyn Write, widths: &[usize]) -> io::Result<()> {
    for width in widths {
        output.write_all(b"+")?;
        repeat(output, DASHES, width + 2)?;
    }
    output.write_all(b"+\n")
}

fn repeat(output: &mut dyn Write, many: &[u8], mut count: usize) -> io::Result<()> {
    while count > 0 {
        let now = count.min(many.len());
        output.write_all(&many[..now])?;
        count -= now;
    }
    Ok(())
}
