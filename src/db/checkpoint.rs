//! Checkpoints: moving what the WAL holds into the main file, without ever losing track of what
//! the files on the disk stand for.
//!
//! The writer runs one between two batches. The order of the steps is the whole point of this
//! file; nothing here may run while a transaction is open.
//!
//! 1. note the WAL's frames and salts, and the entry up to which they are the database;
//! 2. sync the WAL;
//! 3. write the mark `Draining`: from here on the log may drop what is before that entry;
//! 4. copy the WAL into the main file, as far as readers allow, and sync that;
//! 5. if all was copied, write the mark `Whole`: the next transaction starts the WAL over, and its
//!    unsynced frames could come back from a crash in any mixture.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::mark::{Mark, Stamp, Standing, State};
use super::wal;
use crate::raft::EntryId;
use crate::storage::durable;

/// The mark on the disk and the folder it is in. The writer owns it.
#[derive(Debug)]
pub struct Marked {
    folder: PathBuf,
    mark: Mark,
}

/// What a checkpoint has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The entry the files on the disk stand for: a crash now loses nothing up to it.
    pub compacted_to: EntryId,
    /// Whether the WAL is copied to its end. If not, a reader needs an older state, and the next
    /// checkpoint goes on.
    pub complete: bool,
    /// Frames in the WAL when it began.
    pub frames: u32,
    /// Frames of them that are copied.
    pub copied: u32,
}

/// Why a checkpoint failed.
#[derive(Debug)]
pub enum CheckpointError {
    /// A sync failed: the kernel may have dropped the pages. The process must end.
    Sync(io::Error),
    /// SQLite failed, as on a full disk. The mark on the disk is a true one; try again later.
    Database(rusqlite::Error),
    /// The WAL was copied, but the mark does not say so: no transaction may begin before a
    /// checkpoint has succeeded.
    Unmarked(io::Error),
    /// The mark could not be written, or a file not be looked at. Try again later.
    Files(io::Error),
}

impl Marked {
    /// Takes over the mark that recovery found.
    pub fn new(folder: PathBuf, mark: Mark) -> Self {
        Self { folder, mark }
    }

    /// The mark as it is on the disk.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The folder of the mark and of the database.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the database file is.
    pub fn database(&self) -> PathBuf {
        self.mark.path(&self.folder)
    }

    /// Replaces the mark on the disk.
    ///
    /// # Errors
    /// Any step's; the mark in memory is then still the old one.
    pub fn replace(&mut self, mark: Mark) -> io::Result<()> {
        mark.write(&self.folder)?;
        self.mark = mark;
        Ok(())
    }

    /// Runs a checkpoint over all that the writer has committed, which is `standing`.
    ///
    /// With `patience` zero it never waits. Otherwise it waits that long, at most, for readers of
    /// older states, so that the WAL can start over in spite of readers that overlap.
    ///
    /// # Errors
    /// See the variants: one ends the process, one forbids transactions.
    pub fn checkpoint(
        &mut self,
        writer: &mut Connection,
        standing: &Standing,
        patience: Duration,
    ) -> Result<Checkpoint, CheckpointError> {
        let (frames, copied) = count(writer).map_err(CheckpointError::Database)?;
        if frames == copied {
            self.write_whole(standing).map_err(CheckpointError::Unmarked)?;
            return Ok(Checkpoint::at(standing, frames, copied));
        }
        let path = wal::path_of(&self.database());
        let header = wal::header(&path).map_err(CheckpointError::Files)?;
        let header = header.ok_or_else(|| {
            CheckpointError::Files(io::Error::other(format!("{}: no good WAL", path.display())))
        })?;
        durable::sync_file(&path).map_err(CheckpointError::Sync)?;
        let state = State::Draining { frames, salts: header.salts };
        self.write_state(standing, state).map_err(CheckpointError::Files)?;
        let copied = copy(writer, patience).map_err(CheckpointError::Database)?;
        if copied == frames {
            self.write_whole(standing).map_err(CheckpointError::Unmarked)?;
        }
        Ok(Checkpoint::at(standing, frames, copied))
    }

    /// Writes the mark that a checkpoint owes if it copied everything before it failed. Until then
    /// no transaction may begin: it would start the WAL over.
    ///
    /// # Errors
    /// As for a checkpoint.
    pub fn mark_if_copied(
        &mut self,
        writer: &Connection,
        standing: &Standing,
    ) -> Result<(), CheckpointError> {
        let (frames, copied) = count(writer).map_err(CheckpointError::Database)?;
        if frames > copied {
            return Ok(());
        }
        self.write_whole(standing).map_err(CheckpointError::Unmarked)
    }

    fn write_whole(&mut self, standing: &Standing) -> io::Result<()> {
        let stamp = Stamp::of(&self.database())?;
        self.write_state(standing, State::Whole(stamp))
    }

    fn write_state(&mut self, standing: &Standing, state: State) -> io::Result<()> {
        let mark = Mark {
            database: self.mark.database.clone(),
            undo: self.mark.undo.clone(),
            standing: standing.clone(),
            state,
        };
        if mark == self.mark { Ok(()) } else { self.replace(mark) }
    }
}

impl Checkpoint {
    fn at(standing: &Standing, frames: u32, copied: u32) -> Self {
        Self { compacted_to: standing.applied, complete: frames == copied, frames, copied }
    }
}

/// Frames in the WAL and how many of them the main file holds; asks, and does nothing.
pub fn count(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    run(connection, "PRAGMA main.wal_checkpoint(NOOP)")
}

/// Copies, with syncs, and returns how many frames the main file holds.
fn copy(writer: &mut Connection, patience: Duration) -> rusqlite::Result<u32> {
    writer.pragma_update(None, "synchronous", "NORMAL")?;
    let result = if patience.is_zero() {
        run(writer, "PRAGMA main.wal_checkpoint(PASSIVE)")
    } else {
        writer.busy_timeout(patience)?;
        let result = run(writer, "PRAGMA main.wal_checkpoint(RESTART)");
        writer.busy_timeout(Duration::ZERO)?;
        result
    };
    writer.pragma_update(None, "synchronous", "OFF")?;
    result.map(|(_, copied)| copied)
}

fn run(connection: &Connection, pragma: &str) -> rusqlite::Result<(u32, u32)> {
    let (frames, copied): (i64, i64) =
        connection.query_row(pragma, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    // SQLite says -1 where there is no WAL.
    Ok((u32::try_from(frames).unwrap_or(0), u32::try_from(copied).unwrap_or(0)))
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync(error) => write!(f, "cannot sync the WAL: {error}"),
            Self::Database(error) => write!(f, "cannot checkpoint: {error}"),
            Self::Unmarked(error) => {
                write!(f, "cannot mark a finished checkpoint: {error}")
            }
            Self::Files(error) => write!(f, "cannot checkpoint: {error}"),
        }
    }
}

impl std::error::Error for CheckpointError {}
