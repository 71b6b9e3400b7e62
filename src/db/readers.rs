//! The pool of read-only connections.
//!
//! A read never waits for the writer: it sees the last commit as of its first step. Each
//! connection is lent to one thread at a time; what ends a query early (its time, a client that
//! left, a view held too long) is looked at by SQLite's progress handler, set once for each
//! connection. Nothing here can change the file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{error, fmt};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::execute::{Enclosure, RowsOf, Run, Stop, reads_only};
use super::fault::{Fault, FaultKind};
use super::guard::{Access, Guard};
use super::outcome::{Outcome, StatementResult};
use super::{compile, connection};
use crate::command::Statement;
use crate::os::lock;

/// Connections kept open without work; each holds a file handle and some 100 KiB. More are
/// opened when they are needed, which takes about a quarter of a millisecond.
const IDLE_MAX: usize = 16;

/// Instructions between two looks at the clock: some 20 microseconds of work.
const PERIOD: i32 = 2_000;

/// Time between two looks at whether the client is still there; each is a system call.
const GONE_INTERVAL: Duration = Duration::from_millis(50);

/// A query longer than this has filled its page cache, which is given back.
const LONG_QUERY: Duration = Duration::from_millis(5);

/// Tells whether the client that asked has left.
pub type Gone = Arc<dyn Fn() -> bool + Send + Sync>;

/// How a set of queries is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryOptions {
    /// All in one read transaction: they see the same data.
    pub transaction: bool,
    /// Columns are named `table.column`.
    pub qualify_columns: bool,
    /// How long one statement may take.
    pub timeout: Option<Duration>,
}

/// Why a set of queries has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The client has left: nobody waits for an answer.
    Gone,
    /// The queries held their view of the database too long; the client may ask again.
    Expelled,
    /// The node is shutting down.
    Stopped,
    /// The file cannot be read: this node's own trouble.
    Fault(Fault),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => write!(f, "the client has closed the connection"),
            Self::Expelled => {
                write!(f, "the query held up the database too long and was ended; ask for less")
            }
            Self::Stopped => write!(f, "the node is shutting down"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl error::Error for ReadError {}

/// A pool of read-only connections, shared by all threads that answer queries.
pub struct Readers {
    pool: Mutex<Pool>,
    returned: Condvar,
    connections_max: usize,
    stopped: Arc<AtomicBool>,
    /// What `PRAGMA foreign_keys` says: replicated state, which connections take over when lent.
    foreign_keys: AtomicBool,
    epoch: Instant,
}

struct Pool {
    path: PathBuf,
    /// Counts replacements of the file: a connection of an earlier one is not used again.
    generation: u64,
    idle: Vec<Reader>,
    lent: usize,
    watches: Vec<Weak<Watch>>,
}

struct Reader {
    connection: Connection,
    guard: Arc<Guard>,
    watch: Arc<Watch>,
    generation: u64,
    foreign_keys: bool,
}

/// Why a query was ended early, as its watch holds it.
const NOT_ENDED: u8 = 0;
const TIMED_OUT: u8 = 1;
const CLIENT_GONE: u8 = 2;

/// What the progress handler of one connection looks at. Times are in nanoseconds since the
/// pool's epoch; 0 means none.
struct Watch {
    epoch: Instant,
    busy_since: AtomicU64,
    deadline: AtomicU64,
    gone_next: AtomicU64,
    expelled: AtomicBool,
    ended: AtomicU8,
    stopped: Arc<AtomicBool>,
    gone: Mutex<Option<Gone>>,
}

impl Readers {
    /// A pool that opens `path` when it is first asked; at most `connections_max` connections
    /// work at once (0: as many as ask), others wait their turn.
    pub fn new(path: &Path, connections_max: usize) -> Self {
        let (idle, watches) = (Vec::new(), Vec::new());
        let pool = Pool { path: path.to_owned(), generation: 0, idle, lent: 0, watches };
        Self {
            pool: Mutex::new(pool),
            returned: Condvar::new(),
            connections_max,
            stopped: Arc::new(AtomicBool::new(false)),
            foreign_keys: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }

    /// Runs queries in order, each with its own outcome.
    ///
    /// # Errors
    /// When there is nobody to answer, or nothing to answer with.
    pub fn query(
        &self,
        statements: &[Statement],
        options: &QueryOptions,
        gone: &Gone,
    ) -> Result<Vec<Outcome>, ReadError> {
        let lent = self.lend()?;
        let reader = lent.reader();
        *lock(&reader.watch.gone) = Some(Arc::clone(gone));
        let started = Instant::now();
        reader.watch.start(started);
        if options.transaction {
            reader.own("BEGIN")?;
        }
        let mut outcomes = Vec::with_capacity(statements.len());
        for statement in statements {
            outcomes.push(reader.outcome(statement, options)?);
        }
        if started.elapsed() > LONG_QUERY {
            reader.connection.release_memory().map_err(|error| Fault::of(&error))?;
        }
        Ok(outcomes)
    }

    /// Whether a text only reads, as SQLite sees it. A text that does not compile is not said to
    /// read: applied in its order, it may.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_read_only(&self, statement: &Statement) -> Result<bool, ReadError> {
        let lent = self.lend()?;
        let reader = lent.reader();
        for piece in super::splitter::Splitter::pieces(&statement.sql) {
            let reads = if compile::is_kept(piece) {
                let compiled = reader.connection.prepare_cached(piece);
                compiled.is_ok_and(|compiled| reads_only(&compiled, piece))
            } else {
                let compiled = compile::one(&reader.connection, piece);
                compiled.is_ok_and(|one| one.is_none_or(|compiled| reads_only(&compiled, piece)))
            };
            reader.guard.take_refusal();
            if !reads {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the queries that have held their view of the database for longer than this, so that
    /// a checkpoint can go on. Tells how many.
    pub fn expel(&self, older_than: Duration) -> usize {
        let now = nanoseconds(self.epoch.elapsed());
        let mut pool = lock(&self.pool);
        pool.watches.retain(|watch| watch.strong_count() > 0);
        let watches: Vec<_> = pool.watches.iter().filter_map(Weak::upgrade).collect();
        drop(pool);
        let old = |watch: &&Arc<Watch>| {
            let since = watch.busy_since.load(Ordering::Relaxed);
            since != 0 && now.saturating_sub(since) > nanoseconds(older_than)
        };
        let old = watches.iter().filter(old);
        old.inspect(|watch| watch.expelled.store(true, Ordering::Relaxed)).count()
    }

    /// Reads from another file from now on. Queries that are running finish on the old one.
    pub fn switch(&self, path: &Path) {
        let mut pool = lock(&self.pool);
        path.clone_into(&mut pool.path);
        pool.generation += 1;
        let old = std::mem::take(&mut pool.idle);
        drop(pool);
        drop(old);
    }

    /// Has `PRAGMA foreign_keys` say this from the next query on.
    pub fn set_foreign_keys(&self, on: bool) {
        self.foreign_keys.store(on, Ordering::Relaxed);
    }

    /// Ends all queries and refuses new ones: for shutdown.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _pool = lock(&self.pool);
        self.returned.notify_all();
    }

    /// The database file that is read.
    pub fn path(&self) -> PathBuf {
        lock(&self.pool).path.clone()
    }

    /// Why SQLite would not compile a text; `None` when it would. Only the first statement that
    /// fails is told.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn syntax_error(&self, sql: &str) -> Result<Option<String>, ReadError> {
        let lent = self.lend()?;
        let reader = lent.reader();
        let mut pieces = super::splitter::Splitter::pieces(sql).into_iter();
        let failed = pieces.find_map(|piece| compile::one(&reader.connection, piece).err());
        reader.guard.take_refusal();
        Ok(failed.map(|error| super::fault::message(&error)))
    }

    /// How many connections are open: at work, and idle.
    pub fn counts(&self) -> (usize, usize) {
        let pool = lock(&self.pool);
        (pool.lent, pool.idle.len())
    }

    fn lend(&self) -> Result<Lent<'_>, ReadError> {
        let mut pool = lock(&self.pool);
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(ReadError::Stopped);
            }
            if self.connections_max == 0 || pool.lent < self.connections_max {
                break;
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.lent += 1;
        let mut lent = Lent { readers: self, reader: pool.idle.pop() };
        if lent.reader.is_none() {
            let (path, generation) = (pool.path.clone(), pool.generation);
            drop(pool);
            let reader = self.open(&path, generation)?;
            let mut pool = lock(&self.pool);
            pool.watches.retain(|watch| watch.strong_count() > 0);
            pool.watches.push(Arc::downgrade(&reader.watch));
            lent.reader = Some(reader);
        }
        if let Some(reader) = &mut lent.reader {
            reader.follow(self.foreign_keys.load(Ordering::Relaxed))?;
        }
        Ok(lent)
    }

    fn open(&self, path: &Path, generation: u64) -> Result<Reader, ReadError> {
        let opened = connection::open_reader(path).and_then(|(mut connection, guard)| {
            let watch = Arc::new(Watch {
                epoch: self.epoch,
                busy_since: AtomicU64::new(0),
                deadline: AtomicU64::new(0),
                gone_next: AtomicU64::new(0),
                expelled: AtomicBool::new(false),
                ended: AtomicU8::new(NOT_ENDED),
                stopped: Arc::clone(&self.stopped),
                gone: Mutex::new(None),
            });
            let watched = Arc::clone(&watch);
            connection.progress_handler(PERIOD, Some(move || watched.must_end()))?;
            Ok(Reader { connection, guard, watch, generation, foreign_keys: false })
        });
        opened.map_err(|error| ReadError::Fault(Fault::of(&error)))
    }

    fn take_back(&self, reader: Option<Reader>) {
        let reader = reader.filter(Reader::tidy);
        let mut pool = lock(&self.pool);
        pool.lent -= 1;
        let mut surplus = None;
        if let Some(reader) = reader {
            if reader.generation == pool.generation && pool.idle.len() < IDLE_MAX {
                pool.idle.push(reader);
            } else {
                surplus = Some(reader);
            }
        }
        drop(pool);
        if self.connections_max != 0 {
            self.returned.notify_one();
        }
        drop(surplus); // Closing takes long, so not under the lock.
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A connection on loan; it goes back by itself, also when its thread panics.
struct Lent<'p> {
    readers: &'p Readers,
    reader: Option<Reader>,
}

impl Lent<'_> {
    fn reader(&self) -> &Reader {
        self.reader.as_ref().expect("filled before it is lent")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.readers.take_back(self.reader.take());
    }
}

impl Reader {
    fn follow(&mut self, foreign_keys: bool) -> Result<(), Fault> {
        if self.foreign_keys != foreign_keys {
            let config = DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY;
            let set = self.connection.set_db_config(config, foreign_keys);
            set.map_err(|error| Fault::of(&error))?;
            self.foreign_keys = foreign_keys;
        }
        Ok(())
    }

    fn outcome(&self, statement: &Statement, options: &QueryOptions) -> Result<Outcome, ReadError> {
        let started = Instant::now();
        let run = Run {
            connection: &self.connection,
            guard: &self.guard,
            access: Access::Read,
            rows: RowsOf::All,
            enclosure: Enclosure::None,
            large_row_ids: None,
            qualify_columns: options.qualify_columns,
            keep_compiled: true,
            before_each: &|| self.watch.limit(options.timeout),
        };
        let result = match run.text(statement) {
            Ok(result) => result,
            Err(Stop::Failed(message)) => StatementResult::Failed(message),
            Err(Stop::Interrupted) => self.watch.interrupted()?,
            Err(Stop::Fault(fault)) => return Err(ReadError::Fault(fault)),
            Err(Stop::Lost) => unreachable!("a read has no transaction to lose"),
        };
        Ok(Outcome { result, seconds: Some(started.elapsed().as_secs_f64()) })
    }

    /// Runs a statement of our own. It is not kept: a query with the same text would find it
    /// compiled, and past the guard.
    fn own(&self, sql: &str) -> Result<(), Fault> {
        self.guard.trust(true);
        let done = self.connection.execute(sql, []).map(drop).map_err(|error| Fault::of(&error));
        self.guard.trust(false);
        done
    }

    /// Leaves nothing of a query behind; `false` if that cannot be done.
    fn tidy(&self) -> bool {
        let watch = &self.watch;
        watch.busy_since.store(0, Ordering::Relaxed);
        watch.deadline.store(0, Ordering::Relaxed);
        lock(&watch.gone).take();
        self.connection.is_autocommit() || self.own("ROLLBACK").is_ok()
    }
}

impl Watch {
    fn start(&self, now: Instant) {
        let now = nanoseconds(now.duration_since(self.epoch)).max(1);
        self.expelled.store(false, Ordering::Relaxed);
        self.busy_since.store(now, Ordering::Relaxed);
        self.gone_next.store(now + nanoseconds(GONE_INTERVAL), Ordering::Relaxed);
    }

    fn limit(&self, timeout: Option<Duration>) {
        let deadline = timeout.map_or(0, |timeout| nanoseconds(self.epoch.elapsed() + timeout));
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    fn must_end(&self) -> bool {
        if self.expelled.load(Ordering::Relaxed) || self.stopped.load(Ordering::Relaxed) {
            return true;
        }
        let now = nanoseconds(self.epoch.elapsed());
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline != 0 && now >= deadline {
            self.ended.store(TIMED_OUT, Ordering::Relaxed);
            return true;
        }
        if now < self.gone_next.load(Ordering::Relaxed) {
            return false;
        }
        self.gone_next.store(now + nanoseconds(GONE_INTERVAL), Ordering::Relaxed);
        let gone = lock(&self.gone).as_ref().is_some_and(|gone| gone());
        if gone {
            self.ended.store(CLIENT_GONE, Ordering::Relaxed);
        }
        gone
    }

    fn interrupted(&self) -> Result<StatementResult, ReadError> {
        match self.ended.swap(NOT_ENDED, Ordering::Relaxed) {
            TIMED_OUT => Ok(StatementResult::Failed("query timeout".to_owned())),
            CLIENT_GONE => Err(ReadError::Gone),
            _ if self.expelled.load(Ordering::Relaxed) => Err(ReadError::Expelled),
            _ if self.stopped.load(Ordering::Relaxed) => Err(ReadError::Stopped),
            _ => Err(Fault::new(FaultKind::Stopped, "interrupted".to_owned()).into()),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
