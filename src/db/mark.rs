//! The mark: what the database file stands for.
//!
//! The file `mark` beside the database is the only thing that says which file is the database, up
//! to which entry it holds what was applied, and whether its WAL still counts. Whoever recovers
//! believes it or stops: a mark that is damaged or gone is an error, never a guess. This file
//! must not open a database.
//!
//! It is text: one JSON object on the first line, then its checksum. It is always replaced whole.
//!
//! ```text
//! {"version":1,"database":"database-1.sqlite",...,"state":{"whole":{...}}}
//! crc32c 0badc0de
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::raft::EntryId;
use crate::storage::durable;

/// The mark's file name.
pub const NAME: &str = "mark";

/// Version of the format; a higher one was written by a later program.
const VERSION: u64 = 1;

/// Longest mark that is read: a membership of a thousand nodes is a tenth of it.
const BYTES_MAX: u64 = 4 << 20;

/// Replicated settings that are no part of SQLite's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `PRAGMA foreign_keys`.
    pub foreign_keys: bool,
}

/// What a database stands for: the state after one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last entry applied.
    pub applied: EntryId,
    /// The last entry that changed data; never after `applied`.
    pub changed: EntryId,
    /// The latest stamp of an entry applied, milliseconds since 1970: time does not go back
    /// behind it.
    pub clock: i64,
    /// The members as of `applied`: text of the layer above, not looked into here.
    pub membership: String,
    /// The settings as of `applied`.
    pub settings: Settings,
    /// The database came from a leader, and the log on this disk may not reach as far: if it does
    /// not hold `applied`, it is to begin anew behind it. False as soon as the log does.
    pub begins_log: bool,
}

/// Whether the WAL counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The database is the main file and exactly the first frames of its WAL, which are synced.
    Draining {
        /// Frames that count; at least 1.
        frames: u32,
        /// The salts in the WAL's header.
        salts: [u32; 2],
    },
    /// The database is the main file alone. Its WAL, if there is one, does not count.
    Whole(Stamp),
}

/// By what a change of the main file by another program is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file's length.
    pub bytes: u64,
    /// When it was last written, nanoseconds since 1970.
    pub modified: i128,
}

/// The mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Name of the database file, in the mark's folder.
    pub database: String,
    /// Name of the database file before the last replacement, if it is kept.
    pub undo: Option<String>,
    /// What the database stands for.
    pub standing: Standing,
    /// Where that is to be found.
    pub state: State,
}

/// Why a mark cannot be had.
#[derive(Debug)]
pub enum MarkError {
    /// The file cannot be read: a matter of the disk or of rights.
    Read(io::Error),
    /// The file is not there.
    Missing,
    /// The file's bytes are not those that were written; the reason in words.
    Damaged(String),
}

impl Standing {
    /// As another node takes it, with a copy of the database.
    pub fn encode(&self) -> Vec<u8> {
        json!({
            "applied": entry_to_json(self.applied),
            "changed": entry_to_json(self.changed),
            "clock": self.clock,
            "settings": {"foreign_keys": self.settings.foreign_keys},
            "membership": self.membership,
        })
        .to_string()
        .into_bytes()
    }

    /// Reads what [`Standing::encode`] gave; `None` when it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::from_json(&serde_json::from_slice(bytes).ok()?)
    }

    fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            applied: entry_from_json(&value["applied"])?,
            changed: entry_from_json(&value["changed"])?,
            clock: value["clock"].as_i64()?,
            membership: value["membership"].as_str()?.to_owned(),
            settings: Settings { foreign_keys: value["settings"]["foreign_keys"].as_bool()? },
            // Marks from before there were other nodes do not say.
            begins_log: value.get("begins_log").map_or(Some(false), Value::as_bool)?,
        })
    }
}

impl Stamp {
    /// Looks at a file without opening it: closing it would drop SQLite's locks on it.
    ///
    /// # Errors
    /// The system's, with `path` in it.
    pub fn of(path: &Path) -> io::Result<Self> {
        let status = rustix::fs::stat(path).map_err(|error| durable::at(path, &error.into()))?;
        Ok(Self {
            bytes: u64::try_from(status.st_size).unwrap_or_default(),
            modified: i128::from(status.st_mtime) * 1_000_000_000
                + i128::from(status.st_mtime_nsec),
        })
    }
}

impl Mark {
    /// Reads the mark of a folder.
    pub fn read(folder: &Path) -> Result<Self, MarkError> {
        let path = folder.join(NAME);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MarkError::Missing);
            }
            Err(error) => return Err(MarkError::Read(durable::at(&path, &error))),
        };
        if length > BYTES_MAX {
            return Err(MarkError::Damaged(format!("it has {length} bytes")));
        }
        let bytes = fs::read(&path).map_err(|error| MarkError::Read(durable::at(&path, &error)))?;
        Self::from_text(&bytes).map_err(MarkError::Damaged)
    }

    /// Replaces the mark of a folder: after a crash the old or the new one is there.
    ///
    /// # Errors
    /// Any step's. Which of the two is there is then not known until it is written again.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        durable::replace(&folder.join(NAME), self.to_text().as_bytes())
    }

    /// Where the database file is.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.database)
    }

    fn to_text(&self) -> String {
        let state = match self.state {
            State::Draining { frames, salts } => {
                json!({"draining": {"frames": frames, "salts": salts}})
            }
            State::Whole(stamp) => {
                json!({"whole": {"bytes": stamp.bytes, "modified": stamp.modified.to_string()}})
            }
        };
        let line = json!({
            "version": VERSION,
            "database": self.database,
            "undo": self.undo,
            "applied": entry_to_json(self.standing.applied),
            "changed": entry_to_json(self.standing.changed),
            "clock": self.standing.clock,
            "settings": {"foreign_keys": self.standing.settings.foreign_keys},
            "membership": self.standing.membership,
            "begins_log": self.standing.begins_log,
            "state": state,
        })
        .to_string();
        let sum = crc32c::crc32c(line.as_bytes());
        format!("{line}\ncrc32c {sum:08x}\n")
    }

    fn from_text(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let (line, rest) = text.split_once('\n').ok_or("it is cut short")?;
        let sum = crc32c::crc32c(line.as_bytes());
        if rest != format!("crc32c {sum:08x}\n") {
            return Err("its checksum is wrong".to_owned());
        }
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(later) => return Err(format!("version {later} is of a later program")),
            None => return Err("it has no version".to_owned()),
        }
        Self::from_json(&value).ok_or_else(|| "a field is missing".to_owned())
    }

    fn from_json(value: &Value) -> Option<Self> {
        let state = match (value["state"].get("draining"), value["state"].get("whole")) {
            (Some(draining), None) => State::Draining {
                frames: number_u32(&draining["frames"])?,
                salts: [number_u32(&draining["salts"][0])?, number_u32(&draining["salts"][1])?],
            },
            (None, Some(whole)) => State::Whole(Stamp {
                bytes: whole["bytes"].as_u64()?,
                modified: whole["modified"].as_str()?.parse().ok()?,
            }),
            _ => return None,
        };
        Some(Self {
            database: file_name(&value["database"])?,
            undo: if value["undo"].is_null() { None } else { Some(file_name(&value["undo"])?) },
            standing: Standing::from_json(value)?,
            state,
        })
    }
}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read {error}"),
            Self::Missing => f.write_str("the mark is missing"),
            Self::Damaged(how) => write!(f, "the mark is damaged: {how}"),
        }
    }
}

impl std::error::Error for MarkError {}

fn entry_to_json(entry: EntryId) -> Value {
    json!({"index": entry.index, "term": entry.term})
}

fn entry_from_json(value: &Value) -> Option<EntryId> {
    Some(EntryId { index: value["index"].as_u64()?, term: value["term"].as_u64()? })
}

fn number_u32(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// A name within the folder: the mark must not lead anywhere else.
fn file_name(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    (!name.is_empty() && !name.contains('/') && name != "..").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(state: State) -> Mark {
        Mark {
            database: "database-3.sqlite".to_owned(),
            undo: Some("database-2.sqlite".to_owned()),
            standing: Standing {
                applied: EntryId { term: 4, index: 1 << 60 },
                changed: EntryId { term: 3, index: 7 },
                clock: 1_795_000_000_000,
                membership: "{\"a\":\"line\\nbreak\"}".to_owned(),
                settings: Settings { foreign_keys: true },
                begins_log: true,
            },
            state,
        }
    }

    #[test]
    fn reads_back_what_it_writes() {
        let whole = State::Whole(Stamp { bytes: 8192, modified: -1_700_000_000_123_456_789 });
        for state in [State::Draining { frames: 9, salts: [u32::MAX, 0] }, whole] {
            let mark = mark(state);
            assert_eq!(Mark::from_text(mark.to_text().as_bytes()).unwrap(), mark);
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let text = mark(State::Draining { frames: 9, salts: [1, 2] }).to_text().into_bytes();
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 4;
            assert!(Mark::from_text(&flipped).is_err(), "byte {at} flipped");
            assert!(Mark::from_text(&text[..at]).is_err(), "cut at {at}");
        }
    }
}
