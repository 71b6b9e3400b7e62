//! `name = value`, a line for each value and an empty line between rows.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::Style;
use super::cell::Cell;
use crate::client::results::Rows;

pub(super) fn write(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    let longest = rows.columns.iter().map(|name| name.width()).max().unwrap_or(0);
    let padded = |name: &String| format!("{}{name}", " ".repeat(longest - name.width()));
    let names: Vec<String> = rows.columns.iter().map(padded).collect();
    for (number, row) in rows.values.iter().enumerate() {
        output.write_all(if number == 0 { b"" } else { b"\n" })?;
        for (name, raw) in names.iter().zip(row) {
            writeln!(output, "{name} = {}", Cell::of(raw).text(style.null_or("NULL")))?;
        }
    }
    Ok(())
}
