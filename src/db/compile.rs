//! Compiling SQL that users wrote.
//!
//! `rusqlite` looks for a second statement by compiling what is left, and what is left of that:
//! one stack frame for each statement of a text, so that a text of some ten thousand would end
//! the process, and again whenever its entry is applied. So nothing here may hand it a text that
//! can hold more than two.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection, Error, Result, Statement};

/// The longest text that is kept compiled, in bytes. There may be dozens on each connection;
/// texts with their values written into them are long, and never come again.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Whether a text is worth keeping, and surely one statement: no semicolon but at its end.
pub(super) fn is_kept(sql: &str) -> bool {
    let ends = |character: char| character == ';' || character.is_whitespace();
    sql.len() <= KEPT_BYTES_MAX && !sql.trim_end_matches(ends).contains(';')
}

/// Compiles one statement; `None` when there is nothing to run in the text.
///
/// # Errors
/// SQLite's, or that there is a second statement, which only SQLite has seen.
pub(super) fn one<'c>(connection: &'c Connection, sql: &str) -> Result<Option<Statement<'c>>> {
    let mut batch = Batch::new(connection, sql);
    let first = batch.next()?;
    if first.is_some() && batch.next()?.is_some() {
        return Err(Error::MultipleStatement);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_single_statements_are_kept() {
        assert!(is_kept("SELECT 1 ; ;\n"));
        assert!(!is_kept("SELECT 1; SELECT 2"));
        assert!(!is_kept("SELECT ';'"));
        assert!(!is_kept(&format!("SELECT '{}'", "x".repeat(KEPT_BYTES_MAX))));
    }

    #[test]
    fn a_second_statement_is_found_without_a_third() {
        let connection = Connection::open_in_memory().unwrap();
        assert!(one(&connection, " -- nothing\n;").unwrap().is_none());
        assert!(one(&connection, "SELECT 1; -- more").unwrap().is_some());
        let many = "SELECT 1;".repeat(100_000);
        assert!(matches!(one(&connection, &many), Err(Error::MultipleStatement)));
    }
}
