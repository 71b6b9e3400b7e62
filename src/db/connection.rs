//! Opening the database, for writing and for reading, and the limits all nodes share.
//!
//! Whatever makes one connection behave unlike another is set here, once, before any SQL of a
//! user runs. A limit that differed between nodes would make one of them fail a write that the
//! others take: limits are constants of the version, never settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Result, version_number};

use super::clock::Clock;
use super::fault::{Fault, FaultKind};
use super::guard::{Access, Guard};
use super::random::{self, Generator};
use super::raw;
use super::rowid::LargeRowIds;
use super::work::{Interrupter, Meter};

/// Waiting for a lock is for foreign tools that have the file open: longer than they copy a page.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest string, blob or row in bytes. SQLite would go to 1 GB, of which it may hold several
/// copies; a small node would run out of memory where a large one goes on, and that is no result.
const VALUE_BYTES_MAX: i32 = 256 * 1024 * 1024;

/// The longest text of one statement in bytes; a blob literal takes two characters a byte.
const SQL_BYTES_MAX: i32 = 512 * 1024 * 1024 + 1024 * 1024;

/// SQLite's own defaults but for one, set so that a build cannot differ.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
    (Limit::SQLITE_LIMIT_COLUMN, 2_000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 500),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    // VACUUM attaches the copy it makes; nobody else may attach anything.
    (Limit::SQLITE_LIMIT_ATTACHED, 1),
    // LIKE and GLOB call themselves for each `%`, which takes some 120 bytes of stack: half of
    // what a connection's thread has. SQLite's own 50,000 would end the process.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 10_000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1_000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Page cache of the write connection in KiB: one large transaction spills beyond it.
const WRITER_CACHE_KIB: u32 = 4_096;

/// Page cache of a read connection in KiB. There may be hundreds; the system caches the file too.
const READER_CACHE_KIB: u32 = 512;

/// Compiled statements kept by the write connection, a few KiB each.
const WRITER_STATEMENTS: usize = 64;

/// Compiled statements kept by each read connection.
const READER_STATEMENTS: usize = 16;

/// How deep triggers may be nested in a write that is only explained: each level takes up to
/// 2 KiB of a stack that is small.
const READER_TRIGGER_DEPTH: i32 = 250;

/// Bytes in a page of a new file.
const PAGE_BYTES: u32 = 4_096;

/// The oldest SQLite without the race of two connections that corrupts a WAL when it starts
/// over (SQLite: wal.html, "the WAL-reset bug").
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// What must have been compiled in, as `sqlite_compileoption_used` knows it.
const OPTIONS_REQUIRED: &[&str] = &[
    "ENABLE_COLUMN_METADATA",
    "ENABLE_DBPAGE_VTAB",
    "ENABLE_DBSTAT_VTAB",
    "ENABLE_FTS3",
    "ENABLE_FTS3_PARENTHESIS",
    "ENABLE_FTS5",
    "ENABLE_GEOPOLY",
    "ENABLE_MATH_FUNCTIONS",
    "ENABLE_PREUPDATE_HOOK",
    "ENABLE_RTREE",
    "ENABLE_SESSION",
    "OMIT_DEPRECATED",
    "OMIT_SHARED_CACHE",
    "TEMP_STORE=1",
    "THREADSAFE=1",
];

/// Pragmas that say how a connection works.
pub const PRAGMAS: &[&str] =
    &["busy_timeout", "foreign_keys", "journal_mode", "synchronous", "wal_autocheckpoint"];

/// Values of [`PRAGMAS`], as text.
pub type Pragmas = BTreeMap<&'static str, String>;

/// What of the replicated state is a setting of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterSettings {
    /// `PRAGMA foreign_keys`, as the last entry left it.
    pub foreign_keys: bool,
}

/// The write connection with what its overridden parts share with us. The connection closes
/// before the clock it was opened with goes away: fields drop in this order.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) clock: Clock,
    pub(super) generator: Arc<Generator>,
    pub(super) guard: Arc<Guard>,
    pub(super) meter: Arc<Meter>,
    pub(super) large_row_ids: Arc<LargeRowIds>,
}

/// The version of the SQLite that is built in.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Which compile options this binary's SQLite lacks, if any, or that it is too old.
///
/// # Errors
/// The list of what is missing.
pub fn check_build() -> std::result::Result<(), Vec<&'static str>> {
    let mut missing = Vec::new();
    if version_number() < SQLITE_VERSION_MIN {
        missing.push("SQLite 3.51.3 or later");
    }
    let asked = Connection::open_in_memory();
    let used = |option: &str| -> bool {
        let sql = "SELECT sqlite_compileoption_used(?1)";
        let answer = asked.as_ref().map(|one| one.query_row(sql, [option], |row| row.get(0)));
        matches!(answer, Ok(Ok(true)))
    };
    missing.extend(OPTIONS_REQUIRED.iter().filter(|option| !used(option)));
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Opens the one connection that writes, making the file if there is none.
pub(super) fn open_writer(
    path: &Path,
    settings: WriterSettings,
    interrupter: Interrupter,
) -> std::result::Result<Writer, Fault> {
    let writer = configure_writer(path, settings, interrupter).map_err(|e| Fault::of(&e))?;
    let journal: String = writer
        .connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(|error| Fault::of(&error))?;
    if journal == "wal" {
        return Ok(writer);
    }
    let message = format!("cannot set journal mode to WAL, it stays {journal}");
    Err(Fault::new(FaultKind::Unavailable, message))
}

fn configure_writer(
    path: &Path,
    settings: WriterSettings,
    interrupter: Interrupter,
) -> Result<Writer> {
    let clock = Clock::register();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags_and_vfs(path, flags, clock.name())?;
    harden(&connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, settings.foreign_keys)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
         PRAGMA wal_autocheckpoint=0; PRAGMA recursive_triggers=ON; PRAGMA automatic_index=ON;
         PRAGMA cache_size=-{WRITER_CACHE_KIB}"
    ))?;
    connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS);
    let generator = Arc::new(Generator::default());
    random::install(&connection, &generator, i64::from(VALUE_BYTES_MAX))?;
    let meter = Meter::install(&mut connection, interrupter)?;
    let guard = Guard::install(&mut connection, Access::Write)?;
    let large_row_ids = LargeRowIds::install(&mut connection)?;
    Ok(Writer { connection, clock, generator, guard, meter, large_row_ids })
}

/// Opens a connection that can only read.
pub(super) fn open_reader(path: &Path) -> Result<(Connection, Arc<Guard>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    harden(&connection)?;
    connection.execute_batch(&format!(
        "PRAGMA query_only=ON; PRAGMA synchronous=OFF; PRAGMA cache_size=-{READER_CACHE_KIB}"
    ))?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, READER_TRIGGER_DEPTH)?;
    connection.set_prepared_statement_cache_capacity(READER_STATEMENTS);
    let guard = Guard::install(&mut connection, Access::Read)?;
    Ok((connection, guard))
}

/// What SQLite says of [`PRAGMAS`] on this connection, as text.
pub(super) fn pragmas(connection: &Connection) -> Result<Pragmas> {
    let value = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| match row.get_ref(0)? {
            ValueRef::Integer(number) => Ok(number.to_string()),
            other => Ok(other.as_str()?.to_owned()),
        })
    };
    PRAGMAS.iter().map(|&pragma| Ok((pragma, value(pragma)?))).collect()
}

/// What both kinds have in common (SQLite: security.html).
fn harden(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    raw::forbid_extensions(connection);
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        // The main file changes only when the writer says so, never because somebody closed.
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        // Plans must not depend on the values bound, nor on what this node has cached.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(config, on)?;
    }
    for &(limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    connection.execute_batch("PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA temp_store=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_has_everything() {
        assert_eq!(check_build(), Ok(()));
    }
}
