//! What a log entry asks for: its parsed form and its bytes.
//!
//! The bytes are the body of a log entry: a head of 32 bytes and the request as it came in,
//! as JSON, so that a person can read the log. This file must never look at a clock or draw
//! a random number: the leader fills in the stamp, everybody else only reads it.
//!
//! | offset | size | field                                                          |
//! |--------|------|----------------------------------------------------------------|
//! | 0      | 1    | version, 1                                                     |
//! | 1      | 1    | kind: 1 execute, 2 request, 3 load, 4 script, 5 read           |
//! | 2      | 1    | flags: 1 transaction, 2 qualified columns                      |
//! | 3      | 5    | how large the database may be after it, in blocks; 0: no limit |
//! | 8      | 8    | the leader's clock, milliseconds since 1970, signed            |
//! | 16     | 8    | seed of `random()` and `randomblob()`                          |
//! | 24     | 8    | instructions a statement may take; 0 means the default         |
//! | 32     | -    | payload, JSON (all integers above are little-endian)           |
//!
//! The payload of kinds 1 and 2 is the array of statements as the client sent it, of kinds 3
//! and 4 `{"sha256":"..."}`, of kind 5 the array of the statements' texts, for people only.

mod body;
mod codec;
mod parameter;

pub use body::{BadBody, parse_statements};
pub use codec::{BadEntry, Outline, restamp};

/// One SQL value, as SQLite stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A double; may be infinite, never NaN (SQLite stores NaN as NULL).
    Real(f64),
    /// Text. SQLite does not check UTF-8: invalid bytes were replaced by U+FFFD.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What is bound to a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// The first value goes to `?1`; values left over are ignored.
    Positional(Vec<Value>),
    /// Names without their prefix: `n` goes to `:n`, `@n` and `$n`.
    Named(Vec<(String, Value)>),
}

/// One string of SQL, which may hold several statements, with what is bound to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text as the client sent it; not empty.
    pub sql: String,
    /// Bound to the statements in the text: each takes as many positional values as it needs,
    /// from where the one before it stopped; names are for all of them.
    pub parameters: Parameters,
}

impl Statement {
    /// One to which nothing is bound.
    pub fn plain(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), parameters: Parameters::Positional(Vec::new()) }
    }
}

/// The leader's clock and the seed of all randomness in one entry (architecture: determinism).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970; never less than in an earlier entry.
    pub unix_milliseconds: i64,
    /// Seed of `random()` and `randomblob()`.
    pub seed: u64,
    /// How large the entry may make the database, in blocks of [`BLOCK_BYTES`]; 0 means no limit.
    /// What it says is the leader's guess of what its disk takes, so that a statement without end
    /// fails on all nodes alike rather than fill the disk of each, and again after each restart.
    pub database_blocks_max: u64,
}

/// The unit of [`Stamp::database_blocks_max`].
pub const BLOCK_BYTES: u64 = 64 << 10;

/// The largest value of [`Stamp::database_blocks_max`]: five bytes in an entry.
pub const BLOCKS_MAX: u64 = (1 << 40) - 1;

/// A request that changes data, or that must be ordered with those that do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Run in order.
    pub statements: Vec<Statement>,
    /// All of them or none, stopping at the first failure.
    pub transaction: bool,
    /// Whether a SELECT returns its rows (`/db/request`) or nothing (`/db/execute`).
    pub returns_rows: bool,
    /// Whether columns are named `table.column`.
    pub qualify_columns: bool,
    /// Virtual-machine instructions one statement may take; 0 means the default.
    pub instructions_max: u64,
}

/// What one log entry asks of the state machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Run statements.
    Batch(Batch),
    /// Replace the database by the body with this SHA-256 (64 lower-case hex digits).
    Load {
        /// The body's name in `bodies/`.
        sha256: String,
    },
    /// Run the SQL text in the body with this SHA-256: all of it or nothing.
    Script {
        /// The body's name in `bodies/`.
        sha256: String,
    },
    /// Nothing: a strong read waits until it is applied, then reads.
    Read,
}

/// A log entry's work with the stamp that makes it deterministic.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Filled in by the leader when it proposes.
    pub stamp: Stamp,
    /// What to do.
    pub work: Work,
}
