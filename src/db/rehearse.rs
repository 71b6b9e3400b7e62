//! A rehearsal: a text is run as the server would run it, into a database made for that.
//!
//! What a text does to an empty database is known only by running it, so a dump is checked with
//! the very code that loads one, and an error here is the sentence that the server would give.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::apply::Applier;
use super::connection::WriterSettings;
use super::fault::Fault;
use super::outcome::StatementResult;
use super::wal;
use super::work::Interrupter;
use crate::command::Stamp;
use crate::os;

/// Why a rehearsal did not come to its end.
#[derive(Debug)]
pub enum RehearsalError {
    /// The text is bad: the server's sentence, with the number of the statement.
    Failed(String),
    /// The text could not be read, or the scratch database not be written.
    Fault(Fault),
}

/// The files that a rehearsal into `path` may make, for whoever has to remove them.
pub fn files(path: &Path) -> [PathBuf; 4] {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    [path.to_owned(), wal::path_of(path), wal::shared_memory_of(path), PathBuf::from(journal)]
}

/// Runs a text into a new database at `path`, in one transaction. Afterwards nothing but that
/// file is left, which has no WAL; it is never synced, and worth nothing when this fails.
///
/// # Errors
/// See [`RehearsalError`].
pub fn rehearse(source: &mut dyn Read, path: &Path) -> Result<(), RehearsalError> {
    let settings = WriterSettings::default();
    let mut applier = Applier::open(path, settings, Interrupter::default())?;
    // All pages are new, so there is next to nothing to undo: the file is written once, and not
    // a WAL of the same size beside it.
    applier
        .unguarded(|connection| connection.query_row("PRAGMA journal_mode=MEMORY", [], |_| Ok(())))
        .map_err(|error| Fault::of(&error))?;
    let now = os::wall_clock().as_millis();
    let stamp = Stamp {
        unix_milliseconds: i64::try_from(now).unwrap_or(i64::MAX),
        seed: os::random_u64(),
        database_blocks_max: 0,
    };
    match applier.apply_script(stamp, source)?.result {
        StatementResult::Failed(message) => Err(RehearsalError::Failed(message)),
        StatementResult::Written { .. } | StatementResult::Rows(_) => Ok(()),
    }
}

impl From<Fault> for RehearsalError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for RehearsalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RehearsalError {}
