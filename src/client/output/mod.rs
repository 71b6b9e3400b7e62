//! Rows as text, in eight formats.
//!
//! | file      | is for                                                                     |
//! |-----------|----------------------------------------------------------------------------|
//! | cell      | one value: what it is and how it reads as text                             |
//! | table     | aligned columns                                                            |
//! | separated | csv, tsv and list                                                          |
//! | json      | json and jsonl                                                             |
//! | line      | a line for each value                                                      |
//! | insert    | SQL statements                                                             |
//!
//! Each writes as it goes: beside the rows themselves nothing grows with their number.

mod cell;
mod insert;
mod json;
mod line;
mod separated;
mod table;

use std::io::{self, Write};

use super::results::Rows;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned columns with a border, as rqlite's shell draws them
    Table,
    /// Separated by commas, quoted where needed; NULL is nothing, and empty text is ""
    Csv,
    /// Separated by tabs; tabs, line ends and backslashes escaped, NULL is \N
    Tsv,
    /// An array of objects; a second column of the same name gets :1 behind it
    Json,
    /// The same objects, one a line
    Jsonl,
    /// A line for each value
    Line,
    /// Separated by bars, without a header
    List,
    /// INSERT statements; what the API itself changes (dates, booleans) only `dump` has exactly
    Insert,
}

/// What can be said about a format.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) format: Format,
    /// Names of the columns in front; `None` is the format's own habit. Objects and lines always
    /// have names.
    pub(super) headers: Option<bool>,
    /// What stands for NULL; `None` is the format's own. JSON and SQL have a word for it.
    pub(super) null: Option<String>,
    /// The table that INSERT statements name.
    pub(super) table: String,
    /// Exactly as rqlite's shell writes it: JSON with sorted keys and escaped HTML.
    pub(super) is_rqlite: bool,
    /// Whether headers may be coloured.
    pub(super) has_colours: bool,
}

impl Format {
    /// Whether blobs must be asked for as arrays of bytes, which no text looks like.
    pub(super) fn needs_blob_array(self) -> bool {
        self == Format::Insert
    }
}

impl Style {
    fn null_or<'s>(&'s self, habit: &'s str) -> &'s str {
        self.null.as_deref().unwrap_or(habit)
    }
}

/// Writes all rows of one result.
pub(super) fn write(output: &mut dyn Write, style: &Style, rows: &Rows<'_>) -> io::Result<()> {
    match style.format {
        Format::Table => table::write(output, style, rows),
        Format::Csv if style.is_rqlite => separated::write_as_go(output, style, rows),
        Format::Csv => separated::write_csv(output, style, rows),
        Format::Tsv => separated::write_tsv(output, style, rows),
        Format::Json if style.is_rqlite => json::write_as_go(output, rows),
        Format::Json => json::write_array(output, rows),
        Format::Jsonl => json::write_lines(output, rows),
        Format::Line => line::write(output, style, rows),
        Format::List => separated::write_list(output, style, rows),
        Format::Insert => insert::write(output, style, rows),
    }
}

#[cfg(test)]
mod tests;
