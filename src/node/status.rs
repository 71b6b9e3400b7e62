//! A picture of the node, for people and monitors: plain numbers, copied when asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::board::RaftView;
use super::handle::Inner;
use crate::command::{Statement, Value};
use crate::db::connection::{self, Pragmas};
use crate::db::wal;
use crate::os;
use crate::raft::{EntryId, Index, Term};

/// Pragmas that tell of the database rather than of a connection.
const FIGURES: &[&str] = &["compile_options", "freelist_count", "page_count", "page_size"];

/// Another node or this one, as `/nodes` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// The name of its data directory, drawn when that was made; see `membership`.
    pub incarnation: String,
    /// Advertised Raft address, host:port as given.
    pub raft_address: String,
    /// Advertised HTTP address, host:port as given.
    pub http_address: String,
    /// Whether it counts towards a quorum.
    pub is_voter: bool,
    /// Whether it is to count once it has caught up.
    pub is_joining: bool,
}

/// Who there is, and who leads.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// This node's name.
    pub id: String,
    /// Who leads, if known.
    pub leader: Option<String>,
    /// All members, by id.
    pub members: BTreeMap<String, Member>,
}

/// A picture of the node, for `/status` and `/metrics`.
#[derive(Clone, Debug)]
pub struct Status {
    /// The members and who leads.
    pub cluster: Cluster,
    /// `Leader`, `Follower`, `Candidate` or `Shutdown`.
    pub role: &'static str,
    /// The current term.
    pub term: Term,
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

/// Another member, as this node sees it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its id.
    pub id: String,
    /// On a leader: the last entry that it is known to hold.
    pub matched: Option<Index>,
    /// The connections to it.
    pub link: crate::transport::PeerStatus,
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
    /// How the write connection works.
    pub writer_pragmas: Pragmas,
    /// How read connections work.
    pub reader_pragmas: Pragmas,
    /// Read connections that are open.
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
    pub(super) id: String,
    pub(super) directory: PathBuf,
}

impl Cluster {
    pub(super) fn of(inner: &Inner, raft: RaftView) -> Self {
        let members = raft.membership.members;
        Self { id: inner.identity.id.clone(), leader: raft.leader, members }
    }

    /// This node, as the members know it.
    pub fn own(&self) -> Option<&Member> {
        self.members.get(&self.id)
    }

    /// The member that leads, if it is known.
    pub fn leader(&self) -> Option<&Member> {
        self.members.get(self.leader.as_ref()?)
    }
}

impl Status {
    /// Looks at everything once.
    pub(super) fn of(inner: &Inner) -> Self {
        let raft = inner.board.raft();
        let disk = inner.board.disk();
        let database = database_status(inner, disk.foreign_keys);
        let directory = &inner.identity.directory;
        Self {
            role: raft.role,
            term: raft.term,
            membership_index: raft.membership_index,
            last: raft.last,
            log_start: disk.log_start,
            // What is applied is committed, though the core may not have looked yet.
            commit_index: raft.commit.max(disk.applied.index),
            cluster: Cluster::of(inner, raft),
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
    let mut pragmas = pragmas(inner);
    let compile_options = pragmas.remove("compile_options").unwrap_or_default();
    let first = |name: &str| pragmas.get(name).and_then(|texts| texts.first()).cloned();
    let number = |name: &str| first(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut writer_pragmas = inner.writer_pragmas.clone();
    writer_pragmas.insert("foreign_keys", u8::from(foreign_keys).to_string());
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
        compile_options,
        foreign_keys,
        writer_pragmas,
        reader_pragmas: connection::PRAGMAS
            .iter()
            .filter_map(|name| Some((*name, first(name)?)))
            .collect(),
        readers_open: readers_busy + readers_idle,
        readers_busy,
    }
}

/// What pragmas show on a read connection, a text for each row; nothing when SQLite does not
/// answer.
fn pragmas(inner: &Inner) -> BTreeMap<&'static str, Vec<String>> {
    let names: Vec<&str> = FIGURES.iter().chain(connection::PRAGMAS).copied().collect();
    let asked = names.iter().map(|name| Statement::plain(format!("PRAGMA {name}")));
    let answers = inner.ask(&asked.collect::<Vec<_>>()).unwrap_or_default();
    let texts = answers.into_iter().map(|rows| {
        let texts = rows.values.into_iter().filter_map(|value| match value {
            Value::Integer(number) => Some(number.to_string()),
            Value::Text(text) => Some(text),
            Value::Null | Value::Real(_) | Value::Blob(_) => None,
        });
        texts.collect()
    });
    names.into_iter().zip(texts).collect()
}
