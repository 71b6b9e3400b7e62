//! What came of a statement.

use crate::command::Value;

/// What came of one statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Rows, counts or an error.
    pub result: StatementResult,
    /// How long it took; `None` when it never ran.
    pub seconds: Option<f64>,
}

/// Rows, counts or an error.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementResult {
    /// A statement that returns no rows.
    Written {
        /// Row id of the last insert in this request; 0 when there was none.
        last_insert_id: i64,
        /// Rows changed by this statement; 0 when it changes none.
        rows_affected: u64,
    },
    /// A statement that returns rows.
    Rows(Rows),
    /// A statement that every node would refuse, with SQLite's words.
    Failed(String),
}

/// The rows of one statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Names, as SQLite gives them (or `table.column` where asked for).
    pub columns: Vec<String>,
    /// Declared types, lower case; empty where the column is an expression or has none.
    pub declared: Vec<String>,
    /// All values, row after row: `values.len()` is a multiple of `columns.len()`.
    pub values: Vec<Value>,
}
