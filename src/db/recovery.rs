//! Start-up: from whatever a crash has left in the folder to a database at exactly one entry.
//!
//! Runs before SQLite opens anything, and believes nothing but the mark. It removes what does not
//! count (the WAL's index, frames behind those the mark names, leftovers of a crashed
//! replacement) and refuses what cannot be explained. Running it twice gives what once gives.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::checkpoint::Marked;
use super::mark::{self, Mark, MarkError, Stamp, Standing, State};
use super::wal;
use crate::storage::durable;

/// Beginning and ending of a database file's name; between them is a number that only grows.
const NAME_BEFORE: &str = "database-";
const NAME_AFTER: &str = ".sqlite";

/// Bytes of the database a first start makes: one page with nothing in it.
const EMPTY_BYTES: u64 = 4096;

/// What an operator can do about a database that is not what it was.
const REMEDY: &str = "to use the file as it is, copy it elsewhere with sqlite3's .backup, start \
     with an empty data directory and load the copy; in a cluster, remove this node's data \
     directory and let it join again";

/// Why a node cannot start from its database folder.
#[derive(Debug)]
pub enum RecoveryError {
    /// The disk or its rights; start again once that is mended.
    Files(io::Error),
    /// SQLite could not make the first, empty database.
    Create(rusqlite::Error),
    /// The mark is missing or damaged, so that nothing is known of the database.
    Mark {
        /// The folder it should be in.
        folder: PathBuf,
        /// What is wrong with it.
        error: MarkError,
    },
    /// The files are not those that were written; the first sentence says how.
    Changed {
        /// The database file.
        database: PathBuf,
        /// What differs.
        how: String,
    },
}

/// Makes the folder's database what its mark says, or makes a first, empty one.
///
/// # Errors
/// All but [`RecoveryError::Files`] and [`RecoveryError::Create`] need an operator.
pub fn recover(folder: &Path) -> Result<Marked, RecoveryError> {
    durable::create_folder(folder).map_err(RecoveryError::Files)?;
    let mark = match Mark::read(folder) {
        Ok(mark) => mark,
        Err(MarkError::Missing) if is_before_first_mark(folder)? => create(folder)?,
        Err(MarkError::Read(error)) => return Err(RecoveryError::Files(error)),
        Err(error) => {
            return Err(RecoveryError::Mark { folder: folder.to_owned(), error });
        }
    };
    let database = mark.path(folder);
    let stamp = Stamp::of(&database).map_err(|error| missing(&database, error))?;
    remove(&wal::shared_memory_of(&database))?;
    match mark.state {
        State::Draining { frames, salts } => cut_wal(&database, frames, salts)?,
        State::Whole(expected) if expected == stamp => remove(&wal::path_of(&database))?,
        State::Whole(expected) => {
            let how = describe_change(expected, stamp);
            return Err(RecoveryError::Changed { database, how });
        }
    }
    sweep(folder, &mark)?;
    Ok(Marked::new(folder.to_owned(), mark))
}

/// The name of the database file that comes after `current`.
pub fn next_name(current: &str) -> String {
    let number = number_in(current).unwrap_or(0);
    format!("{NAME_BEFORE}{}{NAME_AFTER}", number + 1)
}

/// Removes the files of databases that the mark does not name, and unfinished files.
///
/// # Errors
/// The disk's.
pub fn sweep(folder: &Path, mark: &Mark) -> Result<(), RecoveryError> {
    for name in names_in(folder)? {
        let keeps = |database: &str, endings: &[&str]| {
            name.strip_prefix(database).is_some_and(|ending| endings.contains(&ending))
        };
        let is_kept = keeps(&mark.database, &["", "-wal", "-shm"])
            || mark.undo.as_ref().is_some_and(|undo| keeps(undo, &["", "-wal"]));
        if is_ours(&name) && !is_kept {
            remove(&folder.join(&name))?;
        }
    }
    Ok(())
}

fn create(folder: &Path) -> Result<Mark, RecoveryError> {
    for name in names_in(folder)? {
        remove(&folder.join(name))?;
    }
    let name = next_name("");
    let path = folder.join(&name);
    let unfinished = durable::temporary_path(&path);
    make_empty(&unfinished).map_err(RecoveryError::Create)?;
    durable::sync_file(&unfinished).map_err(RecoveryError::Files)?;
    durable::rename(&unfinished, &path).map_err(RecoveryError::Files)?;
    let stamp = Stamp::of(&path).map_err(RecoveryError::Files)?;
    let mark = Mark {
        database: name,
        undo: None,
        standing: Standing::default(),
        state: State::Whole(stamp),
    };
    mark.write(folder).map_err(RecoveryError::Files)?;
    Ok(mark)
}

/// The one file SQLite is asked to make; closing it leaves one page and no WAL.
fn make_empty(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

/// Whether the folder is as a first start leaves it until the mark is written: nothing in it was
/// ever acknowledged to anyone.
fn is_before_first_mark(folder: &Path) -> Result<bool, RecoveryError> {
    let first = next_name("");
    for name in names_in(folder)? {
        let untouched = name == first
            && Stamp::of(&folder.join(&name)).map_err(RecoveryError::Files)?.bytes == EMPTY_BYTES;
        let unfinished = name == format!("{}.{}", mark::NAME, durable::TEMPORARY)
            || name.strip_prefix(&first).is_some_and(|ending| ending.starts_with(".tmp"));
        if !untouched && !unfinished {
            return Ok(false);
        }
    }
    Ok(true)
}

fn cut_wal(database: &Path, frames: u32, salts: [u32; 2]) -> Result<(), RecoveryError> {
    let changed = |how: String| RecoveryError::Changed { database: database.to_owned(), how };
    let path = wal::path_of(database);
    let Some(header) = wal::header(&path).map_err(RecoveryError::Files)? else {
        return Err(changed(format!(
            "its WAL, {}, holds committed data and is missing or damaged",
            path.display()
        )));
    };
    if header.salts != salts {
        return Err(changed(format!("its WAL, {}, was started over", path.display())));
    }
    let good = wal::count_good_frames(&path, &header, frames).map_err(RecoveryError::Files)?;
    if good != frames {
        return Err(changed(format!(
            "its WAL, {}, has only {good} good frames of {frames}",
            path.display()
        )));
    }
    wal::cut(&path, &header, frames).map_err(RecoveryError::Files)
}

fn describe_change(expected: Stamp, found: Stamp) -> String {
    if expected.bytes == found.bytes {
        return "it was written to by another program while the node was stopped".to_owned();
    }
    format!(
        "it has {} bytes, not {}: another program wrote to it while the node was stopped",
        found.bytes, expected.bytes
    )
}

fn missing(database: &Path, error: io::Error) -> RecoveryError {
    if error.kind() != io::ErrorKind::NotFound {
        return RecoveryError::Files(error);
    }
    RecoveryError::Changed { database: database.to_owned(), how: "it is missing".to_owned() }
}

fn names_in(folder: &Path) -> Result<Vec<String>, RecoveryError> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    read().map_err(|error| RecoveryError::Files(durable::at(folder, &error)))
}

fn is_ours(name: &str) -> bool {
    let unfinished = Path::new(name).extension().is_some_and(|ending| ending == durable::TEMPORARY);
    let main = name.split_once(NAME_AFTER).map(|(stem, _)| format!("{stem}{NAME_AFTER}"));
    unfinished || main.is_some_and(|main| number_in(&main).is_some())
}

fn number_in(name: &str) -> Option<u64> {
    name.strip_prefix(NAME_BEFORE)?.strip_suffix(NAME_AFTER)?.parse().ok()
}

fn remove(path: &Path) -> Result<(), RecoveryError> {
    durable::remove(path).map_err(RecoveryError::Files)
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => write!(f, "cannot recover the database: {error}"),
            Self::Create(error) => write!(f, "cannot make an empty database: {error}"),
            Self::Mark { folder, error } => write!(
                f,
                "cannot start from {}: {error}; without it nothing is known of the database: {REMEDY}",
                folder.display()
            ),
            Self::Changed { database, how } => {
                write!(f, "{} is not as this node left it: {how}; {REMEDY}", database.display())
            }
        }
    }
}

impl std::error::Error for RecoveryError {}
