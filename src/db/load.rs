//! Checks of an uploaded file, before anything is proposed: a bad file changes nothing anywhere.
//!
//! What streams by is looked at in `upload`; here SQLite looks at the staged file, as a stranger:
//! read-only, with nothing of the file's own schema trusted or run.

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// Instructions between two questions whether to go on: some milliseconds.
const CHECK_INSTRUCTIONS: i32 = 100_000;

/// Faults of a damaged file that are named; a hundred more help nobody.
const FAULTS_MAX: usize = 3;

/// Why an uploaded file is not taken. All but the first two are the file's fault.
#[derive(Debug)]
pub enum LoadError {
    /// The upload broke off, or this node's disk failed: nothing is said about the file.
    Read(io::Error),
    /// The disk has no room for the file: free some and try again.
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be.
        needed: u64,
    },
    /// The check was stopped by its caller.
    Stopped,
    /// A gzip stream that ends too early.
    GzipShort,
    /// A gzip stream that is damaged; the reason in words.
    GzipDamaged(String),
    /// Neither a database nor gzip nor SQL text.
    Unknown {
        /// Where the first byte is that no text has.
        at: u64,
    },
    /// A database's header that cannot be; the field in words.
    Header(String),
    /// A database that ends within its header.
    HeaderShort {
        /// The file's length.
        found: u64,
    },
    /// A database with fewer bytes than its header promises.
    Short {
        /// Pages promised.
        pages: u32,
        /// Bytes of each.
        page_bytes: u32,
        /// The file's length.
        found: u64,
    },
    /// A database with more bytes than its header promises.
    Long {
        /// Pages promised.
        pages: u32,
        /// Bytes of each.
        page_bytes: u32,
    },
    /// A database of an old program that is not a number of whole pages.
    Ragged {
        /// Bytes of a page.
        page_bytes: u32,
        /// The file's length.
        found: u64,
    },
    /// SQLite found the database damaged; its words.
    Damaged(String),
}

/// Looks at every page of a staged database (`PRAGMA quick_check`), about a gigabyte a second
/// from memory. `goes_on` is asked every few milliseconds.
///
/// # Errors
/// [`LoadError::Damaged`], or [`LoadError::Stopped`] as soon as `goes_on` says no.
pub fn check(
    path: &Path,
    mut goes_on: impl FnMut() -> bool + Send + 'static,
) -> Result<(), LoadError> {
    let mut connection = open_untrusted(path)?;
    connection
        .progress_handler(CHECK_INSTRUCTIONS, Some(move || !goes_on()))
        .map_err(|error| explain(&error))?;
    let faults = find_faults(&connection).map_err(|error| explain(&error))?;
    if faults.is_empty() { Ok(()) } else { Err(LoadError::Damaged(faults)) }
}

/// Checks that SQLite opens a database and understands its schema.
///
/// # Errors
/// [`LoadError::Damaged`].
pub fn check_opens(path: &Path) -> Result<(), LoadError> {
    open_untrusted(path)?
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| explain(&error))
}

/// Opens a file that nobody else uses and that may be hostile. `immutable` keeps SQLite from
/// making files beside it, and from asking for locks.
pub fn open_untrusted(path: &Path) -> Result<Connection, LoadError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(immutable_uri(path), flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        connection.execute_batch(
            "PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;
             PRAGMA ignore_check_constraints=ON;",
        )?;
        Ok(connection)
    };
    open().map_err(|error| explain(&error))
}

fn find_faults(connection: &Connection) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(&format!("PRAGMA main.quick_check({FAULTS_MAX})"))?;
    let mut rows = statement.query([])?;
    let mut faults = String::new();
    while let Some(row) = rows.next()? {
        let fault: String = row.get(0)?;
        if fault != "ok" {
            let between = if faults.is_empty() { "" } else { "; " };
            write!(faults, "{between}{}", fault.replace('\n', ", "))
                .expect("a String takes everything");
        }
    }
    Ok(faults)
}

fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => write!(uri, "%{byte:02x}").expect("a String takes everything"),
        }
    }
    uri + "?immutable=1"
}

fn explain(error: &rusqlite::Error) -> LoadError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => LoadError::Stopped,
        Some(
            rusqlite::ErrorCode::SystemIoFailure
            | rusqlite::ErrorCode::CannotOpen
            | rusqlite::ErrorCode::OutOfMemory
            | rusqlite::ErrorCode::PermissionDenied,
        ) => LoadError::Read(io::Error::other(error.to_string())),
        _ => LoadError::Damaged(error.to_string()),
    }
}

impl From<io::Error> for LoadError {
    /// Takes the error of reading an upload apart.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(outer) => Self::Read(outer),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read the file: {error}"),
            Self::NoSpace { free, needed } => {
                write!(f, "no room for the file: {needed} bytes must be free, {free} are")
            }
            Self::Stopped => f.write_str("the check of the file was stopped"),
            Self::GzipShort => f.write_str("the file is cut short: its gzip stream has no end"),
            Self::GzipDamaged(how) => write!(f, "the file is damaged gzip: {how}"),
            Self::Unknown { at } => write!(
                f,
                "the file is neither a SQLite database nor gzip nor SQL text: byte {at} is not \
                 UTF-8 text (is it encrypted?)"
            ),
            Self::Header(how) => write!(f, "the file's header is damaged: {how}"),
            Self::HeaderShort { found } => write!(
                f,
                "the file is cut short: a database's header has 100 bytes, it has {found}"
            ),
            Self::Short { pages, page_bytes, found } => write!(
                f,
                "the file is cut short: its header promises {pages} pages of {page_bytes} bytes, \
                 it has {found} bytes"
            ),
            Self::Long { pages, page_bytes } => write!(
                f,
                "the file is too long: its header promises {pages} pages of {page_bytes} bytes"
            ),
            Self::Ragged { page_bytes, found } => write!(
                f,
                "the file is cut short: it has {found} bytes, not a number of whole pages of \
                 {page_bytes} bytes"
            ),
            Self::Damaged(how) => write!(f, "the database is damaged: {how}"),
        }
    }
}

impl std::error::Error for LoadError {}
