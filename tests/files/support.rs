//! What the modules share: a folder with a writer, and a digest of all that a database holds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quorlite::db::checkpoint::{Checkpoint, Marked};
use quorlite::db::mark::Standing;
use quorlite::db::recovery;
use quorlite::db::snapshot::{self, Limits, Pins, Snapshot};
use quorlite::raft::EntryId;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

/// A database folder with its writer, as a node has it.
pub(crate) struct Node {
    pub(crate) marked: Marked,
    pub(crate) writer: Connection,
    pub(crate) index: u64,
}

pub(crate) fn open_writer(path: &Path) -> Connection {
    let writer = Connection::open(path).expect("the database opens");
    writer
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .expect("SQLite knows this");
    writer
        .execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;")
        .expect("pragmas are allowed");
    writer
}

impl Node {
    pub(crate) fn start(folder: &Path) -> Self {
        let marked = recovery::recover(folder).expect("the folder is good");
        let writer = open_writer(&marked.database());
        let index = marked.mark().standing.applied.index;
        Self { marked, writer, index }
    }

    pub(crate) fn at(&self) -> EntryId {
        EntryId { term: 1, index: self.index }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing { applied: self.at(), changed: self.at(), ..Standing::default() }
    }

    /// One entry: a transaction.
    pub(crate) fn apply(&mut self, sql: &str) {
        self.index += 1;
        self.writer.execute_batch(&format!("BEGIN;{sql};COMMIT")).expect("good SQL");
    }

    pub(crate) fn checkpoint(&mut self) -> Checkpoint {
        let standing = self.standing();
        self.marked
            .checkpoint(&mut self.writer, &standing, Duration::ZERO)
            .expect("nothing is in the way")
    }

    pub(crate) fn snapshot(&self, pins: &Pins) -> Snapshot {
        let connection = snapshot::connect(&self.marked.database()).expect("it opens");
        connection.pin(self.at(), pins).expect("it can be pinned")
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a temporary folder")
}

pub(crate) fn generous() -> Pins {
    Pins::new(Limits { wal_bytes_max: u64::MAX, age_max: Duration::MAX, free_bytes_min: 0 })
}

/// A copy of a folder's files, as a crash at this moment would leave them.
pub(crate) fn photograph(from: &Path) -> TempDir {
    let to = folder();
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let copy = to.path().join(path.file_name().expect("it has a name"));
        // `cp -p` keeps the time of the last change, as a crash does.
        let status = Command::new("cp").arg("-p").arg(&path).arg(&copy).status();
        assert!(status.expect("cp runs").success(), "cannot copy {}", path.display());
    }
    to
}

/// The one file in a folder whose name ends so.
pub(crate) fn file_ending(folder: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    assert_eq!(found.len(), 1, "files ending in {ending}: {found:?}");
    found.remove(0)
}

/// Everything a database holds, as lines that can be compared: the schema, and each row of each
/// table with its row id and the exact bytes of its values.
pub(crate) fn digest(connection: &Connection) -> Vec<String> {
    let mut lines = query(
        connection,
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'
         AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')",
    );
    lines.sort();
    for pragma in ["user_version", "application_id", "encoding"] {
        lines.push(format!("{pragma} {:?}", query(connection, &format!("PRAGMA {pragma}"))));
    }
    let tables: Vec<(String, String, bool)> = connection
        .prepare("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name")
        .expect("good SQL")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("good SQL")
        .collect::<Result<_, _>>()
        .expect("it can be read");
    for (name, kind, without_rowid) in tables {
        if kind == "shadow" || kind == "view" || name == "sqlite_schema" || name == "sqlite_stat4" {
            continue;
        }
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let id = if without_rowid || name.starts_with("sqlite_") || kind == "virtual" {
            ""
        } else {
            "_rowid_,"
        };
        let mut rows = query(connection, &format!("SELECT {id}* FROM {quoted}"));
        rows.sort();
        lines.extend(rows.into_iter().map(|row| format!("{name}: {row}")));
    }
    lines
}

pub(crate) fn query(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect("no parameters are needed");
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap_or_else(|error| panic!("{sql}: {error}")) {
        let values = (0..columns).map(|column| match row.get_ref(column).expect("in range") {
            ValueRef::Real(number) => format!("real {:016x} {number}", number.to_bits()),
            ValueRef::Text(text) => format!("text {}", text.escape_ascii()),
            ValueRef::Blob(bytes) => format!("blob {}", bytes.escape_ascii()),
            other => format!("{other:?}"),
        });
        lines.push(values.collect::<Vec<_>>().join(" | "));
    }
    lines
}

pub(crate) fn assert_sound(connection: &Connection) {
    assert_eq!(query(connection, "PRAGMA integrity_check"), ["text ok"], "integrity_check");
}

/// Whether the sqlite3 shell is installed.
pub(crate) fn has_shell() -> bool {
    Command::new("sqlite3").arg("--version").stdout(Stdio::null()).status().is_ok()
}
