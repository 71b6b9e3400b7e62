//! A picture of the node, for people and monitors: plain numbers, copied when asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::handle::Inner;
use crate::command::{Parameters, Statement, Value};
use crate::db::connection;
use crate::db::outcome::StatementResult;
use crate::db::readers::{Gone, QueryOptions};
use crate::db::wal;
use crate::os;
use crate::raft::{EntryId, Index, NodeId, Term};

/// Another node or this one, as `/nodes` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Advertised Raft address, host:port as given.
    pub raft_address: String,
    /// Advertised HTTP address, host:port as given.
    pub http_address: String,
    /// Whether it counts towards a quorum.
    pub is_voter: bool,
}

/// A picture of the node, for `/status`, `/nodes` and `/readyz`.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node's name.
    pub id: NodeId,
    /// `Leader`, `Follower`, `Candidate` or `Shutdown`.
    pub role: &'static str,
    /// The current term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// All members, by id.
    pub members: BTreeMap<NodeId, Member>,
    /// Index of the entry that made them members.
    pub membership_index: Index,
    /// Last entry in the log.
    pub last: EntryId,
    /// Last entry dropped from the log's beginning.
    pub log_start: EntryId,
    /// Last entry known to be committed.
    pub commit_index: Index,
    /// Last entry applied.
    pub applied: EntryId,
    /// Stamp of the last entry applied, milliseconds since 1970.
    pub applied_unix_milliseconds: i64,
    /// Last entry covered by a checkpoint.
    pub checkpoint: EntryId,
    /// Bytes of the Raft log on disk.
    pub log_bytes: u64,
    /// Applied entries waiting for SQLite, with what is wrong; `None` when all is well.
    pub fault: Option<String>,
    /// Whether everything committed before the start has been applied again.
    pub is_caught_up: bool,
    /// The database file.
    pub database: DatabaseStatus,
    /// Bytes in the data directory.
    pub directory_bytes: u64,
    /// The data directory.
    pub directory: String,
    /// Backups being sent: number, oldest's age, WAL bytes they pin.
    pub backups: BackupsStatus,
}

/// What `/status` shows of SQLite.
#[derive(Clone, Debug, Default)]
pub struct DatabaseStatus {
    /// Path of the main file.
    pub path: String,
    /// Bytes of the main file.
    pub bytes: u64,
    /// Bytes of the WAL.
    pub wal_bytes: u64,
    /// When the main file last changed, milliseconds since 1970.
    pub modified_unix_milliseconds: i64,
    /// Page size, bytes.
    pub page_size: u64,
    /// Pages in the database.
    pub page_count: u64,
    /// Pages on the free list.
    pub freelist_count: u64,
    /// SQLite's version.
    pub version: String,
    /// SQLite's compile options.
    pub compile_options: Vec<String>,
    /// Whether foreign keys are enforced (replicated state).
    pub foreign_keys: bool,
    /// Read connections: open, in use.
    pub readers_open: usize,
    /// Of these, in use.
    pub readers_busy: usize,
}

/// What `/status` shows of backups being sent, with the limits that end the oldest.
#[derive(Clone, Debug, Default)]
pub struct BackupsStatus {
    /// Being sent now.
    pub running: usize,
    /// Age of the oldest.
    pub oldest_age: Duration,
    /// Ended by a limit since the start.
    pub ended: u64,
    /// WAL bytes at which the oldest is ended.
    pub wal_bytes_max: u64,
    /// Age at which one is ended.
    pub age_max: Duration,
    /// Free disk below which the oldest is ended.
    pub free_bytes_min: u64,
}

/// Who this node is; does not change while it runs.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) id: NodeId,
    pub(super) directory: PathBuf,
}

impl Status {
    /// Looks at everything once.
    pub(super) fn of(inner: &Inner) -> Self {
        let raft = inner.board.raft();
        let disk = inner.board.disk();
        let database = database_status(inner, disk.foreign_keys);
        let directory = &inner.identity.directory;
        Self {
            id: inner.identity.id.clone(),
            role: raft.role,
            term: raft.term,
            leader: raft.leader,
            members: raft.membership.members,
            membership_index: raft.membership_index,
            last: raft.last,
            log_start: disk.log_start,
            // What is applied is committed, though the core may not have looked yet.
            commit_index: raft.commit.max(disk.applied.index),
            applied: disk.applied,
            applied_unix_milliseconds: disk.applied_unix_milliseconds,
            checkpoint: disk.checkpoint,
            log_bytes: disk.log_bytes,
            fault: inner.board.fault(),
            is_caught_up: inner.board.is_caught_up(),
            database,
            directory_bytes: os::folder_bytes(directory),
            directory: directory.display().to_string(),
            backups: inner.backups.status(),
        }
    }
}

/// What SQLite and the file system say of the database; zero where they do not answer.
fn database_status(inner: &Inner, foreign_keys: bool) -> DatabaseStatus {
    let path = inner.readers.path();
    let wal = wal::path_of(&path);
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
    let modified = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let number = |pragma: &str| match pragma_values(inner, pragma).first() {
        Some(Value::Integer(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    let compile_options = pragma_values(inner, "compile_options");
    let (readers_busy, readers_idle) = inner.readers.counts();
    DatabaseStatus {
        bytes: bytes(&path),
        wal_bytes: bytes(&wal),
        path: path.display().to_string(),
        modified_unix_milliseconds: modified
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or(0),
        page_size: number("page_size"),
        page_count: number("page_count"),
        freelist_count: number("freelist_count"),
        version: connection::sqlite_version().to_owned(),
        compile_options: compile_options
            .into_iter()
            .filter_map(|value| match value {
                Value::Text(text) => Some(text),
                _ => None,
            })
            .collect(),
        foreign_keys,
        readers_open: readers_busy + readers_idle,
        readers_busy,
    }
}

fn pragma_values(inner: &Inner, pragma: &str) -> Vec<Value> {
    let statement = Statement {
        sql: format!("PRAGMA {pragma}"),
        parameters: Parameters::Positional(Vec::new()),
    };
    let nobody: Gone = Arc::new(|| false);
    let answer = inner.readers.query(&[statement], &QueryOptions::default(), &nobody);
    match answer.ok().and_then(|mut outcomes| outcomes.pop()).map(|outcome| outcome.result) {
        Some(StatementResult::Rows(rows)) => rows.values,
        _ => Vec::new(),
    }
}
