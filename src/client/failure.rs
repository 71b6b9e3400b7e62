//! How a command ends: one table of exit statuses, and why it ended early.
//!
//! Scripts tell the statuses apart, so a status never changes its meaning. The sentence that goes
//! with it is for the person who reads the log.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Done = 0,
    Refused = 1,
    Usage = 2,
    Unreachable = 3,
    NotReady = 4,
    Unauthorised = 5,
    Unknown = 6,
    BadFile = 7,
    LocalFile = 8,
    Interrupted = 9,
    Unchanged = 10,
}

/// Every status and what it says, as the help text and the manual list them.
pub(super) const STATUSES: [(Status, &str); 11] = [
    (Status::Done, "done"),
    (Status::Refused, "an SQL error, or the server refused"),
    (Status::Usage, "the command line is wrong"),
    (Status::Unreachable, "no node can be reached"),
    (Status::NotReady, "there is no leader, or the node is not ready"),
    (Status::Unauthorised, "the user, the password or the permission is missing"),
    (Status::Unknown, "the outcome is unknown: it may have been done"),
    (Status::BadFile, "the file is bad, or its verification failed"),
    (
        Status::LocalFile,
        "a file of this machine failed, its disk is full, or nobody reads the output any more",
    ),
    (
        Status::Interrupted,
        "interrupted by a signal; the text says so if a write may have been done",
    ),
    (Status::Unchanged, "nothing changed (backup --if-changed --exit-unchanged)"),
];

/// Why a command ended early.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Status,
    /// One sentence for stderr; empty when there is nobody to tell, or it was said already.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(status: Status, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into() }
    }

    /// The server would not, or the SQL is wrong.
    pub(super) fn refused(text: impl Into<String>) -> Failure {
        Failure::new(Status::Refused, text)
    }

    /// What answered knows nothing of this API.
    pub(super) fn not_of_this_api() -> Failure {
        Failure::refused("the answer is not what a server of this API gives; is the port right?")
    }

    /// The command line cannot be right.
    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure::new(Status::Usage, text)
    }

    /// A file of this machine failed; `what` names the file and what was done with it.
    pub(super) fn local(what: impl fmt::Display, error: &io::Error) -> Failure {
        Failure::new(Status::LocalFile, format!("{what}: {error}"))
    }

    /// Everything has been said on stderr already.
    pub(super) fn silent(status: Status) -> Failure {
        Failure::new(status, "")
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    /// Only writing the command's own output yields a bare `io::Error`. Nothing is said when
    /// whoever read it has gone.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(Status::LocalFile),
            _ => Failure::local("cannot write the output", &error),
        }
    }
}
