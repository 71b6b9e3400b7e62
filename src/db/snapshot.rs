//! A snapshot: a read transaction that stands at exactly one entry, from which everything that
//! copies the database starts.
//!
//! The writer opens it between two batches, which takes less than a millisecond, and goes on. It
//! never holds up a write, but it pins the WAL, which cannot start over below it: so every
//! snapshot is known to [`Pins`], which ends the oldest when a limit is reached. A copy that was
//! ended fails; it must never look like a whole one.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::fault::Fault;
use crate::os;
use crate::raft::EntryId;

/// Page cache of a snapshot's connection: pages pass by once, so little is worth keeping.
const CACHE_KIBIBYTES: i32 = 512;

/// A WAL below this is no reason to end a copy when the disk is nearly full: ending it would free
/// nothing to speak of, and a copy may be just what is wanted then.
pub const WAL_BYTES_WORTH_FREEING: u64 = 8 << 20;

/// How much a snapshot may cost before it is ended, never a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the WAL while anything is pinned.
    pub wal_bytes_max: u64,
    /// Age of a pin.
    pub age_max: Duration,
    /// Bytes that stay free on the disk while anything is pinned.
    pub free_bytes_min: u64,
}

/// Which limit ended a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The WAL has grown past [`Limits::wal_bytes_max`].
    WalBytes,
    /// The pin is older than [`Limits::age_max`].
    Age,
    /// Less is free than [`Limits::free_bytes_min`].
    FreeBytes,
}

/// What is pinned now, and what was ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The limits in force.
    pub limits: Limits,
    /// Snapshots that are open.
    pub pinned: usize,
    /// Age of the oldest of them.
    pub oldest: Option<Duration>,
    /// Snapshots ended by a limit since the start.
    pub ended: u64,
}

/// All open snapshots. Cheap to clone; every clone is the same registry.
#[derive(Clone, Debug)]
pub struct Pins {
    shared: Arc<Shared>,
}

/// A pinned, read-only state of the database at one entry.
#[derive(Debug)]
pub struct Snapshot {
    pin: Arc<Pin>,
    pins: Pins,
    at: EntryId,
    page_bytes: u32,
    pages: u32,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    ended: AtomicU64,
    /// Oldest first.
    open: Mutex<Vec<Arc<Pin>>>,
}

/// One open snapshot, as its owner and the registry share it.
struct Pin {
    since: Instant,
    breach: OnceLock<Breach>,
    interrupt: InterruptHandle,
    /// Locked by the owner while it reads; `None` once the snapshot is ended.
    connection: Mutex<Option<Connection>>,
}

/// Opens a connection that can become a snapshot, with the schema read, so that pinning is quick.
///
/// # Errors
/// SQLite's.
pub fn connect(database: &Path) -> Result<Unpinned, Fault> {
    open(database).map(Unpinned).map_err(|error| Fault::of(&error))
}

/// A connection that is ready to be pinned.
#[derive(Debug)]
pub struct Unpinned(Connection);

impl Unpinned {
    /// Pins what is committed, which is the state at `at`. Called by the writer between batches.
    ///
    /// # Errors
    /// SQLite's; nothing is pinned then.
    pub fn pin(self, at: EntryId, pins: &Pins) -> Result<Snapshot, Fault> {
        Snapshot::begin(self.0, at, pins).map_err(|error| Fault::of(&error))
    }
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

impl Snapshot {
    fn begin(connection: Connection, at: EntryId, pins: &Pins) -> rusqlite::Result<Self> {
        connection.execute_batch("BEGIN")?;
        let pages = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
        let page_bytes = connection.query_row("PRAGMA main.page_size", [], |row| row.get(0))?;
        let pin = Arc::new(Pin {
            since: Instant::now(),
            breach: OnceLock::new(),
            interrupt: connection.get_interrupt_handle(),
            connection: Mutex::new(Some(connection)),
        });
        pins.lock().push(Arc::clone(&pin));
        Ok(Self { pin, pins: pins.clone(), at, page_bytes, pages })
    }

    /// The entry after which the database is as seen here.
    pub fn at(&self) -> EntryId {
        self.at
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// Pages of the database; at least 1.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Length of the database as a file.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.page_bytes)
    }

    /// Reads from the snapshot. If it was ended meanwhile, that is the result.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> io::Result<T>) -> io::Result<T> {
        let mut slot = os::lock(&self.pin.connection);
        let result = match slot.as_ref() {
            Some(connection) => work(connection),
            None => Err(io::Error::other("the snapshot is closed")),
        };
        match self.check() {
            Ok(()) => result,
            Err(ended) => {
                *slot = None;
                Err(ended)
            }
        }
    }

    /// Whether the snapshot still may be used; asked between pieces of long work.
    ///
    /// # Errors
    /// The sentence that says which limit ended it.
    pub(super) fn check(&self) -> io::Result<()> {
        let Some(breach) = self.pin.breach.get() else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::TimedOut, breach.to_string()))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.pins.lock().retain(|pin| !Arc::ptr_eq(pin, &self.pin));
    }
}

impl Pins {
    /// An empty registry.
    pub fn new(limits: Limits) -> Self {
        let open = Mutex::new(Vec::new());
        Self { shared: Arc::new(Shared { limits, ended: AtomicU64::new(0), open }) }
    }

    /// Ends the oldest snapshot if a limit is reached, and says which limit. Called by the writer
    /// now and then; it never waits for a reader.
    pub fn enforce(&self, wal_bytes: u64, free_bytes: u64) -> Option<Breach> {
        let open = self.lock();
        for pin in open.iter() {
            pin.release_if_ended();
        }
        let oldest = open.iter().find(|pin| pin.breach.get().is_none())?;
        let limits = &self.shared.limits;
        let breach = if wal_bytes > limits.wal_bytes_max {
            Breach::WalBytes
        } else if oldest.since.elapsed() > limits.age_max {
            Breach::Age
        } else if free_bytes < limits.free_bytes_min && wal_bytes > WAL_BYTES_WORTH_FREEING {
            Breach::FreeBytes
        } else {
            return None;
        };
        if oldest.breach.set(breach).is_ok() {
            self.shared.ended.fetch_add(1, Ordering::Relaxed);
        }
        oldest.interrupt.interrupt();
        oldest.release_if_ended();
        Some(breach)
    }

    /// What is pinned now, and what was ended so far.
    pub fn status(&self) -> Status {
        let open = self.lock();
        Status {
            limits: self.shared.limits,
            pinned: open.len(),
            oldest: open.first().map(|pin| pin.since.elapsed()),
            ended: self.shared.ended.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pin>>> {
        os::lock(&self.shared.open)
    }
}

impl Pin {
    /// Closes an ended snapshot whose owner is elsewhere, as in a write to a slow client. An owner
    /// that is reading just now closes it itself.
    fn release_if_ended(&self) {
        if self.breach.get().is_none() {
            return;
        }
        match self.connection.try_lock() {
            Ok(mut slot) => *slot = None,
            Err(TryLockError::Poisoned(slot)) => *slot.into_inner() = None,
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin(since {:?}, {:?})", self.since, self.breach.get())
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WalBytes => "the copy was ended: it kept the WAL from starting over",
            Self::Age => "the copy was ended: it took too long",
            Self::FreeBytes => "the copy was ended: the disk is nearly full",
        })
    }
}
