//! Which of SQLite's errors are results, and which are this node's own trouble.
//!
//! An error that every node would give is an outcome: it is recorded and answered. One that only
//! this node has (a full disk, a bad read, no memory) must never be, or the nodes' databases
//! part ways. The one function that decides is here.

use std::error::Error as StdError;
use std::fmt;

use rusqlite::{Error, ffi};

use super::clock;

/// Why this node could not do what the others can. Nothing was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of trouble.
    pub kind: FaultKind,
    /// SQLite's words.
    pub message: String,
    /// Part of a request is committed already, or a sync has failed, after which the kernel may
    /// have dropped what was to be synced: only a restart, which goes back to the last checkpoint
    /// and replays the log, may go on from here.
    pub needs_restart: bool,
}

/// What can be done about a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The disk is full: try again when there is space.
    DiskFull,
    /// Reading or writing failed: try again, and if that fails too, stop.
    InputOutput,
    /// No memory: try again a little later.
    OutOfMemory,
    /// The file is not what it should be: stop, and rejoin with an empty directory.
    Damaged,
    /// This node is shutting down.
    Stopped,
    /// The file is locked, read-only or gone: somebody else has touched it.
    Unavailable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::DiskFull => "the disk is full",
            FaultKind::InputOutput => "the database cannot be read or written",
            FaultKind::OutOfMemory => "no memory",
            FaultKind::Damaged => "the database file is damaged",
            FaultKind::Stopped => "the node is shutting down",
            FaultKind::Unavailable => "the database file is not available",
        };
        write!(f, "{what}: {}", self.message)
    }
}

impl StdError for Fault {}

impl Fault {
    pub(super) fn new(kind: FaultKind, message: String) -> Self {
        Self { kind, message, needs_restart: false }
    }

    /// The same trouble, met when what it was met in may be committed: it must not be done again.
    pub(super) fn after_commit(self) -> Self {
        Self { needs_restart: true, ..self }
    }

    /// This node is shutting down, and cannot do what `message` says.
    pub fn stopped(message: &str) -> Self {
        Self::new(FaultKind::Stopped, message.to_owned())
    }

    /// A file is gone that this node has promised to hold.
    pub fn missing_file(name: &str) -> Self {
        Self::new(FaultKind::Unavailable, format!("the detached body {name} is missing"))
    }

    /// An error outside any statement of a user: opening, BEGIN, COMMIT, a setting.
    pub(super) fn of(error: &Error) -> Self {
        match classify(error) {
            Verdict::Fault(fault) => fault,
            Verdict::Outcome(message) => Self::new(FaultKind::Unavailable, message),
        }
    }
}

/// What an error of a user's statement is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every node would give it.
    Outcome(String),
    /// This node's own.
    Fault(Fault),
}

/// Decides, by SQLite's primary result code (SQLite: rescode.html).
///
/// `SQLITE_INTERRUPT` is a fault here; who has a limit of its own asks for that first.
pub(super) fn classify(error: &Error) -> Verdict {
    let message = message(error);
    let Some(code) = error.sqlite_error().map(|error| error.extended_code) else {
        // Errors of rusqlite itself speak of the statement: a wrong function argument, for one.
        return Verdict::Outcome(message);
    };
    let kind = match code & 0xff {
        ffi::SQLITE_ERROR
        | ffi::SQLITE_ABORT
        | ffi::SQLITE_NOTFOUND
        | ffi::SQLITE_EMPTY
        | ffi::SQLITE_SCHEMA
        | ffi::SQLITE_TOOBIG
        | ffi::SQLITE_CONSTRAINT
        | ffi::SQLITE_MISMATCH
        | ffi::SQLITE_MISUSE
        | ffi::SQLITE_AUTH
        | ffi::SQLITE_FORMAT
        | ffi::SQLITE_RANGE => return Verdict::Outcome(message),
        // A virtual table that finds its content at odds with itself, or a `sqlite_sequence` that
        // a user has spoiled: rows, not pages, and the same rows everywhere.
        ffi::SQLITE_CORRUPT
            if matches!(code, ffi::SQLITE_CORRUPT_VTAB | ffi::SQLITE_CORRUPT_SEQUENCE) =>
        {
            return Verdict::Outcome(message);
        }
        // Without a full disk it says that an AUTOINCREMENT table has used up its row ids.
        ffi::SQLITE_FULL if !clock::take_disk_full() => return Verdict::Outcome(message),
        ffi::SQLITE_FULL => FaultKind::DiskFull,
        ffi::SQLITE_IOERR => FaultKind::InputOutput,
        ffi::SQLITE_NOMEM => FaultKind::OutOfMemory,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => FaultKind::Damaged,
        ffi::SQLITE_INTERRUPT => FaultKind::Stopped,
        // PERM, BUSY, LOCKED, READONLY, CANTOPEN, PROTOCOL, NOLFS, INTERNAL, and what later
        // versions may add: when in doubt it is not a result.
        _ => FaultKind::Unavailable,
    };
    let needs_restart = matches!(code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC);
    Verdict::Fault(Fault { needs_restart, ..Fault::new(kind, message) })
}

/// SQLite's own words, without what rusqlite would add.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::SqliteFailure(_, Some(message)) | Error::SqlInputError { msg: message, .. } => {
            message.clone()
        }
        Error::SqliteFailure(error, None) => ffi::code_to_str(error.extended_code).to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: i32) -> Option<Fault> {
        match classify(&Error::SqliteFailure(ffi::Error::new(code), None)) {
            Verdict::Fault(fault) => Some(fault),
            Verdict::Outcome(_) => None,
        }
    }

    fn kind(code: i32) -> Option<FaultKind> {
        fault(code).map(|fault| fault.kind)
    }

    #[test]
    fn a_failed_sync_is_never_tried_again() {
        assert!(fault(ffi::SQLITE_IOERR_FSYNC).unwrap().needs_restart);
        assert!(!fault(ffi::SQLITE_IOERR_WRITE).unwrap().needs_restart);
    }

    #[test]
    fn only_what_every_node_would_say_is_an_outcome() {
        for code in [1, 4, 12, 16, 17, 18, 19, 20, 21, 23, 24, 25, 787, 1555, 2067] {
            assert_eq!(kind(code), None, "code {code}");
        }
        for code in [2, 3, 5, 6, 7, 8, 9, 10, 11, 14, 15, 22, 26, 266, 522, 261, 779, 200] {
            assert!(kind(code).is_some(), "code {code}");
        }
        assert_eq!(kind(ffi::SQLITE_CORRUPT_VTAB), None);
        assert_eq!(kind(ffi::SQLITE_IOERR_SHORT_READ), Some(FaultKind::InputOutput));
        assert_eq!(kind(ffi::SQLITE_FULL), None, "no disk was full");
    }
}
