//! Replacing the whole database by another file, as one step that a crash cannot halve.
//!
//! The new file gets a name of its own beside the old one and becomes the database when the mark
//! that names it is written: until then it is a leftover that recovery sweeps away, from then on
//! it is the database. The old file stays as the one undo point. Nothing here may write to a file
//! that somebody reads: readers on the old database finish on it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, Marked};
use super::load::{self, LoadError};
use super::mark::{Mark, Stamp, Standing, State};
use super::{recovery, wal};
use crate::storage::durable;

/// Where a database file's header says twice whether it is a WAL database
/// (SQLite: fileformat2.html, section 1.3.3).
pub const JOURNAL_BYTES_AT: usize = 18;

/// What stands there in a WAL database.
pub const WAL_BYTES: [u8; 2] = [2, 2];

/// Why a database was not replaced.
#[derive(Debug)]
pub enum ReplaceError {
    /// The new file cannot be linked, copied or synced here, as on a full disk. The old database
    /// is in place; try again later.
    Files(io::Error),
    /// The new file is not one that SQLite opens. The old database is in place, and every node
    /// finds the same.
    Unusable(LoadError),
    /// The mark could not be written: the next start decides which of the two is the database.
    /// The process must end.
    Mark(io::Error),
}

/// Makes `file` the database, standing for `standing`, and returns where it now is.
///
/// `old` is the checkpoint, just made, of the old database: it is what the undo point holds;
/// without one the old database is not kept. Until
/// the mark is written `file` is left where it is and as it is, so that after a crash the same
/// entry can be applied again; after that it is the caller's to remove. It must lie in the same file system, closed.
/// The caller opens writer and readers anew on the path returned.
///
/// # Errors
/// See the variants: all but the last leave everything as it was.
pub fn replace(
    marked: &mut Marked,
    old: Option<&Checkpoint>,
    file: &Path,
    standing: Standing,
) -> Result<PathBuf, ReplaceError> {
    let before = marked.mark().clone();
    let name = recovery::next_name(&before.database);
    let path = marked.folder().join(&name);
    bring(file, &path).map_err(ReplaceError::Files)?;
    load::check_opens(&path).map_err(|error| match error {
        LoadError::Read(error) => ReplaceError::Files(error),
        error => ReplaceError::Unusable(error),
    })?;
    let stamp = Stamp::of(&path).map_err(ReplaceError::Files)?;
    let old = old.filter(|_| before.standing.changed.index > 0);
    let mark = Mark {
        database: name,
        undo: old.map(|_| before.database.clone()),
        standing,
        state: State::Whole(stamp),
    };
    marked.replace(mark).map_err(ReplaceError::Mark)?;
    let mut leftovers = Vec::new();
    let unkept = if old.is_some() { None } else { Some(before.database.clone()) };
    for name in before.undo.iter().chain(&unkept) {
        let undone = marked.folder().join(name);
        leftovers.extend([wal::path_of(&undone), wal::shared_memory_of(&undone), undone]);
    }
    if old.is_some_and(|old| old.complete) {
        leftovers.push(wal::path_of(&before.path(marked.folder())));
    }
    for leftover in leftovers {
        // The next start removes what cannot be removed now.
        if let Err(error) = durable::remove(&leftover) {
            log::warn!("a replaced file stays until the next start: {error}");
        }
    }
    Ok(path)
}

/// Gives `file` a second name, or copies it where that cannot be, and makes it a WAL database.
fn bring(file: &Path, path: &Path) -> io::Result<()> {
    durable::remove(path)?;
    let is_wal = journal_bytes(file)? == WAL_BYTES;
    // A link shares its bytes with `file`, which must stay as it is: only a copy is written to.
    if !is_wal || fs::hard_link(file, path).is_err() {
        fs::copy(file, path).map_err(|error| durable::at(path, &error))?;
    }
    if !is_wal {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|copy| copy.write_all_at(&WAL_BYTES, JOURNAL_BYTES_AT as u64))
            .map_err(|error| durable::at(path, &error))?;
    }
    durable::sync_file(path)?;
    durable::sync_folder_of(path)
}

fn journal_bytes(path: &Path) -> io::Result<[u8; 2]> {
    let mut bytes = [0; 2];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, JOURNAL_BYTES_AT as u64))
        .map_err(|error| durable::at(path, &error))?;
    Ok(bytes)
}

impl fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => write!(f, "cannot bring the new database: {error}"),
            Self::Unusable(error) => write!(f, "cannot use the new database: {error}"),
            Self::Mark(error) => write!(f, "cannot mark the new database: {error}"),
        }
    }
}

impl std::error::Error for ReplaceError {}
