//! What a node is asked and what it answers: plain types, each variant another next move.
//!
//! Kept apart from the threads so that the HTTP API can be read against this file alone. Nothing
//! here does anything.

use std::io::Read;
use std::time::Duration;

use crate::command::Statement;
use crate::db::outcome::Outcome;
use crate::raft::{EntryId, Index};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Whatever this node has.
    None,
    /// What a node has that believes to lead.
    Weak,
    /// Everything acknowledged before the read began.
    Linearizable,
    /// The same, through the log.
    Strong,
}

/// How stale a read at level none may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Longest time since the leader was heard.
    pub staleness_max: Duration,
    /// Also compare with the time at which the leader appended what was applied last.
    pub strict: bool,
}

/// A request that changes nothing.
pub struct Query<'a> {
    /// Run in order.
    pub statements: &'a [Statement],
    /// All in one read transaction.
    pub transaction: bool,
    /// Column names as `table.column`.
    pub qualify_columns: bool,
    /// How fresh.
    pub level: Level,
    /// For level none only.
    pub freshness: Option<Freshness>,
    /// Longest wait for the read index or for the strong read's entry.
    pub wait_max: Duration,
    /// Longest run of one statement.
    pub statement_time_max: Option<Duration>,
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The entry's index; 0 when the request made none.
    pub index: Index,
    /// One for each statement.
    pub outcomes: Vec<Outcome>,
}

/// Why a proposal has no outcome.
#[derive(Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Not proposed: another node leads, or none. Safe to send there.
    NotLeader,
    /// Proposed, but not known to be applied: it may yet be. The text says why.
    OutcomeUnknown(String),
    /// Not proposed, for a reason of this node's own (disk full, database unusable, too much in flight).
    Refused(String),
    /// Not proposed: the node is stopping.
    Stopped,
}

/// Why a read has no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Another node leads, or none.
    NotLeader,
    /// Older than the freshness asked for.
    Stale,
    /// The read index was not confirmed, or the strong entry not applied, in time.
    TimedOut,
    /// The client has gone: nobody waits for the answer.
    ClientGone,
    /// The database cannot be read now, and why.
    Unavailable(String),
    /// The node is stopping.
    Stopped,
}

/// In which form a backup leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The database file, WAL flag set (what `fmt=binary` gives).
    Binary,
    /// The database file in rollback-journal mode.
    Delete,
    /// A vacuumed copy, in rollback-journal mode.
    Vacuum,
    /// SQL text, of these tables only unless empty.
    Sql {
        /// Exact names; empty means all.
        tables: Vec<String>,
    },
}

/// A backup about to be sent: pinned to one raft index.
pub struct Backup {
    /// What it stands for: the last entry applied.
    pub id: EntryId,
    /// Names this content: equal tags mean that nothing has changed since (unquoted, header-safe).
    pub tag: String,
    /// Exact bytes, when known before the first one.
    pub length: Option<u64>,
    /// The bytes; fails, rather than ends, when they cannot be had.
    pub source: Box<dyn Read + Send>,
}

/// What is known of a backup without making it.
pub struct BackupHead {
    /// What it would stand for.
    pub id: EntryId,
    /// As in [`Backup`].
    pub tag: String,
    /// As in [`Backup`].
    pub length: Option<u64>,
}

/// Why there is no backup.
#[derive(Debug, PartialEq, Eq)]
pub enum BackupError {
    /// As many as allowed are running.
    Busy(String),
    /// Not enough free disk for the temporary copy that `vacuum` needs.
    NoSpace(String),
    /// Anything else this node cannot do now.
    Failed(String),
}

/// Why a database was not loaded; the old one is as it was, unless said otherwise.
#[derive(Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The upload itself failed (client gone, cut short).
    Upload(String),
    /// The file is no good, and what is wrong with it.
    BadFile(String),
    /// No room for it, or this node cannot write.
    NoSpace(String),
    /// As for a write.
    Propose(ProposeError),
}

/// What an upload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// A SQLite file, or SQL text, either gzipped or not (`/db/load`).
    FileOrText,
    /// A SQLite file, gzipped or not (`/boot`).
    File,
}

/// Why a member was not removed or leadership not handed over.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberError {
    /// Another node leads, or none.
    NotLeader,
    /// With the sentence that says why.
    Refused(String),
    /// It may have been done, or may yet be; with the sentence that says why that is not known.
    Unknown(String),
}
