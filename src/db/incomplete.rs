//! Whether SQL lacks its end, by SQLite's own parser.
//!
//! For people who type a statement over several lines. Nothing runs: the text is only prepared,
//! on a database of its own without tables. SQLite parses a text before it looks for what the
//! text names, so a name that it does not know hides no missing end.

use rusqlite::Connection;

use super::splitter::{self, Splitter};

/// What SQLite says of a text whose next token it waits for.
const INCOMPLETE: &str = "incomplete input";

/// Whether the last statement of a text goes on: inside of a quote, a comment, a parenthesis or a
/// trigger's body, or because its grammar wants more. A semicolon that ends it settles that.
pub fn is_incomplete(sql: &str) -> bool {
    if splitter::is_open(sql) {
        return true;
    }
    let Some(last) = Splitter::pieces(sql).pop() else { return false };
    if last.trim_end().ends_with(';') {
        return false;
    }
    // Where not even a database in memory can be had, the server will say what is missing.
    let Ok(connection) = Connection::open_in_memory() else { return false };
    let prepared = connection.prepare(last);
    prepared.is_err_and(|error| error.to_string().contains(INCOMPLETE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_more_is_incomplete() {
        let trigger = "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1;";
        let open = [
            "SELECT",
            "SELECT 1 +",
            "SELECT (1",
            "SELECT a FROM nosuch WHERE",
            "INSERT INTO nosuch(a,",
            "INSERT INTO nosuch VALUES(1),",
            "CREATE TABLE t(\n a INTEGER,",
            "CREATE TABLE t(a) -- and\n; CREATE",
            "WITH x AS (SELECT 1)",
            "SELECT 1; SELECT",
            "SELECT 'a",
            "/* a",
            trigger,
        ];
        for sql in open {
            assert!(is_incomplete(sql), "{sql}");
        }
        let whole = [
            "",
            "SELECT 1",
            "SELECT (1;",
            "SELECT a FROM nosuch",
            "INSERT INTO nosuch VALUES(1)",
            "SELECT 1 -- a",
            "-- a",
            "nonsense",
            "SELECT)",
            ".tables",
            &format!("{trigger} END"),
            "BEGIN",
        ];
        for sql in whole {
            assert!(!is_incomplete(sql), "{sql}");
        }
    }
}
