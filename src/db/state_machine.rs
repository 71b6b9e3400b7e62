//! The state machine: one database, moved from entry to entry.
//!
//! It joins the two halves of this folder: the applier, which runs SQL, and the mark, which says
//! what the files stand for. The writer thread owns it. It must never let an entry be applied
//! while a mark on the disk would have it undone by a crash.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::apply::{Applied, Applier, Task};
use super::checkpoint::{self, Checkpoint, CheckpointError, Marked};
use super::connection::{self, Pragmas, WriterSettings};
use super::fault::{Fault, FaultKind};
use super::mark::{self, Settings, Standing};
use super::outcome::Outcome;
use super::readers::Readers;
use super::recovery::{self, RecoveryError};
use super::replace::{self, ReplaceError};
use super::snapshot::{Limits, Pins, Snapshot, Unpinned};
use super::wal;
use super::work::Interrupter;
use crate::command::Stamp;
use crate::os;
use crate::raft::EntryId;
use crate::storage::durable;

/// How long the last checkpoint of a database that is being replaced waits for its readers:
/// without it the undo point keeps a WAL beside it, and with more of it writes would stand still.
const UNDO_PATIENCE: Duration = Duration::from_millis(50);

/// What a state machine is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database file and its mark are.
    pub directory: PathBuf,
    /// Read connections at the most; 0 means no limit.
    pub readers_max: usize,
    /// What ends the oldest backup.
    pub backup_limits: Limits,
}

/// How much the WAL holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wal {
    /// Bytes in use: it grows until it can start over.
    pub bytes: u64,
    /// Of these, bytes that the main file does not hold.
    pub to_copy: u64,
}

/// One database and what it stands for.
pub struct StateMachine {
    applier: Applier,
    marked: Marked,
    standing: Standing,
    readers: Arc<Readers>,
    pins: Pins,
    interrupter: Interrupter,
    /// A checkpoint failed when it may have been finished but for the mark: that is to be looked
    /// into before anything is applied.
    owes_checkpoint: bool,
}

impl StateMachine {
    /// Recovers the database as its mark says and opens it, or makes an empty one.
    ///
    /// # Errors
    /// A sentence for the one who starts the node.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        durable::create_folder(&options.directory).map_err(RecoveryError::Files)?;
        let marked = recovery::recover(&options.directory)?;
        let standing = marked.mark().standing.clone();
        let interrupter = Interrupter::default();
        let database = marked.database();
        let applier = open_applier(&database, standing.settings, &interrupter)
            .map_err(|fault| OpenError::Fault { database: database.clone(), fault })?;
        let readers = Arc::new(Readers::new(&database, options.readers_max));
        readers.set_foreign_keys(standing.settings.foreign_keys);
        let pins = Pins::new(options.backup_limits);
        let owes_checkpoint = false;
        Ok(Self { applier, marked, standing, readers, pins, interrupter, owes_checkpoint })
    }

    /// Runs batches and commits them: all, or those before one that met a fault.
    ///
    /// # Errors
    /// This node's own trouble, met in the first of them; see [`Applier::apply`].
    pub fn apply(&mut self, tasks: &[Task<'_>]) -> Result<Vec<Applied>, Fault> {
        self.pay_checkpoint()?;
        let applied = self.applier.apply(tasks)?;
        // A checkpoint or a backup may come next: what is committed is what they stand for.
        let last = applied.len().checked_sub(1).and_then(|at| tasks.get(at));
        if let (Some(task), Some(last)) = (last, applied.last()) {
            self.standing.settings.foreign_keys = last.foreign_keys;
            self.readers.set_foreign_keys(last.foreign_keys);
            self.advance(task.id, Some(task.stamp), true);
        }
        Ok(applied)
    }

    /// Runs the SQL text in a file: all of it or nothing.
    ///
    /// # Errors
    /// This node's own trouble; nothing is answered.
    pub fn run_script(&mut self, id: EntryId, stamp: Stamp, path: &Path) -> Result<Outcome, Fault> {
        self.pay_checkpoint()?;
        let unreadable =
            |error| Fault::new(FaultKind::InputOutput, durable::at(path, &error).to_string());
        let mut file = File::open(path).map_err(unreadable)?;
        let outcome = self.applier.apply_script(stamp, &mut file)?;
        self.advance(id, Some(stamp), true);
        Ok(outcome)
    }

    /// Makes the file the database. The inner error is a result: every node would find it so.
    ///
    /// # Errors
    /// This node's own trouble; the old database is in place.
    pub fn replace(
        &mut self,
        id: EntryId,
        stamp: Stamp,
        file: &Path,
    ) -> Result<Result<(), String>, Fault> {
        self.pay_checkpoint()?;
        let before = self.standing.clone();
        self.advance(id, Some(stamp), true);
        let after = std::mem::replace(&mut self.standing, before);
        let old = self.run_checkpoint(UNDO_PATIENCE)?;
        let path = match replace::replace(&mut self.marked, Some(&old), file, after.clone()) {
            Ok(path) => path,
            Err(ReplaceError::Unusable(error)) => {
                self.advance(id, Some(stamp), false);
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(replace_fault(&error)),
        };
        self.switch_to(&path, after)?;
        Ok(Ok(()))
    }

    /// Makes a copy of another node's database this node's own. The old one is not kept: what
    /// it stood for is behind the new one.
    ///
    /// # Errors
    /// This node's own trouble. Unless it says that only a restart helps, the old database is in
    /// place, and this may be tried again.
    pub fn install(&mut self, file: &Path, standing: Standing) -> Result<(), Fault> {
        let path = replace::replace(&mut self.marked, None, file, standing.clone())
            .map_err(|error| replace_fault(&error))?;
        self.owes_checkpoint = false;
        self.switch_to(&path, standing)
    }

    /// Goes on with another file, which the mark names by now.
    fn switch_to(&mut self, path: &Path, standing: Standing) -> Result<(), Fault> {
        self.standing = standing;
        let opened = open_applier(path, self.standing.settings, &self.interrupter);
        // The old database is no longer what the mark names: only a restart can go on from here.
        self.applier = opened.map_err(|fault| Fault { needs_restart: true, ..fault })?;
        self.readers.switch(path);
        self.readers.set_foreign_keys(self.standing.settings.foreign_keys);
        Ok(())
    }

    /// Passes over an entry that changes nothing.
    pub fn skip(&mut self, id: EntryId, stamp: Option<Stamp>) {
        self.advance(id, stamp, false);
    }

    /// Notes the members as of the next entry.
    pub fn set_membership(&mut self, membership: String) {
        self.standing.membership = membership;
    }

    /// Notes that the log holds what the database stands for: later marks ask nothing of it.
    pub fn note_log_begun(&mut self) {
        self.standing.begins_log = false;
    }

    /// Folds the WAL into the main file, as far as readers allow, and marks how far. With
    /// `patience` it waits that long for readers, so that the WAL can start over.
    ///
    /// # Errors
    /// This node's own trouble; the mark on the disk is a true one.
    pub fn checkpoint(&mut self, patience: Duration) -> Result<Checkpoint, Fault> {
        self.run_checkpoint(patience)
    }

    fn run_checkpoint(&mut self, patience: Duration) -> Result<Checkpoint, Fault> {
        let (marked, standing) = (&mut self.marked, &self.standing);
        let done = self.applier.unguarded(|writer| marked.checkpoint(writer, standing, patience));
        // Whatever failed, all may have been copied by then, and the mark does not say so.
        self.owes_checkpoint = done.is_err();
        done.map_err(|error| checkpoint_fault(&error))
    }

    /// Opens the read transaction of a backup at exactly the entry applied last.
    ///
    /// # Errors
    /// SQLite's.
    pub fn pin(&self, connection: Unpinned) -> Result<Snapshot, Fault> {
        connection.pin(self.standing.applied, &self.pins)
    }

    /// The last entry applied.
    pub fn applied(&self) -> EntryId {
        self.standing.applied
    }

    /// What the database stands for.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How much the WAL holds.
    ///
    /// # Errors
    /// SQLite's.
    pub fn wal(&mut self) -> Result<Wal, Fault> {
        let counted = self.applier.unguarded(|writer| -> rusqlite::Result<Wal> {
            let (frames, copied) = checkpoint::count(writer)?;
            let page: u32 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let frame = u64::from(page) + wal::FRAME_HEADER_BYTES as u64;
            let bytes = |frames: u32| u64::from(frames) * frame;
            Ok(Wal { bytes: bytes(frames), to_copy: bytes(frames - copied.min(frames)) })
        });
        counted.map_err(|error| Fault::of(&error))
    }

    /// How the write connection works.
    ///
    /// # Errors
    /// SQLite's.
    pub fn pragmas(&mut self) -> Result<Pragmas, Fault> {
        let pragmas = self.applier.unguarded(|writer| connection::pragmas(writer));
        pragmas.map_err(|error| Fault::of(&error))
    }

    /// How large the database may become on this disk: with what is not in the main file yet, half
    /// of the free bytes, for whatever is added is written to the WAL first. `None` if unknown.
    pub fn bytes_max(&mut self) -> Option<u64> {
        let main = mark::Stamp::of(&self.marked.database()).ok()?.bytes;
        let free = os::free_bytes(self.marked.folder()).ok()?;
        let bytes = self.applier.unguarded(|writer| -> rusqlite::Result<u64> {
            let number = |name| writer.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
            Ok(u64::from(number("page_count")?) * u64::from(number("page_size")?))
        });
        let bytes = bytes.ok()?;
        Some(bytes + free.saturating_sub(bytes.saturating_sub(main)) / 2)
    }

    /// The pool of read connections.
    pub fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.readers)
    }

    /// The registry of backups.
    pub fn pins(&self) -> Pins {
        self.pins.clone()
    }

    /// Ends the oldest backup if what it pins costs too much.
    pub fn end_costly_backups(&self, wal_bytes: u64) {
        if self.pins.status().pinned == 0 {
            return;
        }
        // What cannot be asked is no reason to end anything.
        let free_bytes = os::free_bytes(self.marked.folder()).unwrap_or(u64::MAX);
        if let Some(breach) = self.pins.enforce(wal_bytes, free_bytes) {
            log::warn!("the oldest backup was ended: {breach}");
        }
    }

    /// Ends what the write connection is doing, for good.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    fn pay_checkpoint(&mut self) -> Result<(), Fault> {
        if !self.owes_checkpoint {
            return Ok(());
        }
        let (marked, standing) = (&mut self.marked, &self.standing);
        let paid = self.applier.unguarded(|writer| marked.mark_if_copied(writer, standing));
        self.owes_checkpoint = paid.is_err();
        paid.map_err(|error| checkpoint_fault(&error))
    }

    fn advance(&mut self, id: EntryId, stamp: Option<Stamp>, changes: bool) {
        self.standing.applied = id;
        if changes {
            self.standing.changed = id;
        }
        if let Some(stamp) = stamp {
            self.standing.clock = self.standing.clock.max(stamp.unix_milliseconds);
        }
    }
}

/// Why the database cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// What the files are is not what they should be.
    Recovery(RecoveryError),
    /// SQLite cannot open them.
    Fault {
        /// The database file.
        database: PathBuf,
        /// Why.
        fault: Fault,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recovery(error) => error.fmt(f),
            Self::Fault { database, fault } if fault.kind == FaultKind::Damaged => write!(
                f,
                "{}: {fault}; restore a backup into an empty data directory, or, in a cluster, \
                 remove this node's data directory and let it join again",
                database.display()
            ),
            Self::Fault { database, fault } => write!(f, "{}: {fault}", database.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        Self::Recovery(error)
    }
}

fn open_applier(
    path: &Path,
    settings: Settings,
    interrupter: &Interrupter,
) -> Result<Applier, Fault> {
    let settings = WriterSettings { foreign_keys: settings.foreign_keys };
    Applier::open(path, settings, interrupter.clone())
}

fn checkpoint_fault(error: &CheckpointError) -> Fault {
    match error {
        CheckpointError::Sync(_) => restart(error.to_string()),
        CheckpointError::Database(cause) => Fault::of(cause),
        CheckpointError::Unmarked(cause) | CheckpointError::Files(cause) => {
            file_fault(cause, error.to_string())
        }
    }
}

fn replace_fault(error: &ReplaceError) -> Fault {
    match error {
        // Whichever of the two is there is a true one until something is applied: try again.
        ReplaceError::Mark(cause) if is_full(cause) => file_fault(cause, error.to_string()),
        ReplaceError::Mark(_) => restart(error.to_string()),
        ReplaceError::Files(cause) => file_fault(cause, error.to_string()),
        ReplaceError::Unusable(cause) => Fault::new(FaultKind::Damaged, cause.to_string()),
    }
}

fn file_fault(error: &std::io::Error, text: String) -> Fault {
    Fault::new(if is_full(error) { FaultKind::DiskFull } else { FaultKind::InputOutput }, text)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn restart(text: String) -> Fault {
    Fault { needs_restart: true, ..Fault::new(FaultKind::InputOutput, text) }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::super::clock;
    use super::*;
    use crate::command::{Batch, Parameters, Statement};

    fn options(folder: &Path) -> Options {
        let backup_limits =
            Limits { wal_bytes_max: u64::MAX, age_max: Duration::MAX, free_bytes_min: 0 };
        let directory = folder.to_owned();
        Options { directory, readers_max: 0, backup_limits }
    }

    fn batch(sql: &str) -> Batch {
        let parameters = Parameters::Positional(Vec::new());
        let statements = vec![Statement { sql: sql.to_owned(), parameters }];
        Batch {
            statements,
            transaction: false,
            returns_rows: false,
            qualify_columns: false,
            instructions_max: 0,
        }
    }

    fn apply_all(machine: &mut StateMachine, batches: &[Batch]) -> Result<(), Fault> {
        let next = usize::try_from(machine.applied().index).unwrap();
        let tasks: Vec<Task<'_>> = (1..)
            .zip(batches)
            .skip(next)
            .map(|(index, batch)| {
                let id = EntryId { term: 1, index };
                Task { id, stamp: Stamp::default(), batch }
            })
            .collect();
        if tasks.is_empty() { Ok(()) } else { machine.apply(&tasks).map(drop) }
    }

    /// A checkpoint may come while the disk is full, and make room; what it marks must be exactly
    /// what the files hold.
    #[test]
    fn a_checkpoint_amid_a_fault_does_not_have_entries_applied_twice() {
        let batches = [
            batch("CREATE TABLE t(a)"),
            batch("INSERT INTO t VALUES(1)"),
            // Runs alone, so that what is before it has been committed when the last one fails.
            batch("PRAGMA user_version=7"),
            batch("INSERT INTO t VALUES(zeroblob(100000))"),
        ];
        for writes in 0..40 {
            let folder = tempfile::tempdir().unwrap();
            let mut machine = StateMachine::open(&options(folder.path())).unwrap();
            apply_all(&mut machine, &batches[..1]).unwrap();
            clock::fail_after(writes, ffi::SQLITE_FULL);
            let faulty = apply_all(&mut machine, &batches).is_err();
            clock::fail_after(u64::MAX, ffi::SQLITE_FULL);
            machine.checkpoint(Duration::ZERO).unwrap();
            drop(machine);

            let mut machine = StateMachine::open(&options(folder.path())).unwrap();
            while usize::try_from(machine.applied().index).unwrap() < batches.len() {
                apply_all(&mut machine, &batches).unwrap();
            }
            let sql = "SELECT count(*) FROM t";
            let rows: i64 = machine
                .applier
                .unguarded(|writer| writer.query_row(sql, [], |row| row.get(0)).unwrap());
            assert_eq!(rows, 2, "{writes} writes, faulty {faulty}");
        }
    }
}
