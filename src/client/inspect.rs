//! What a local file is, and whether it is whole: judged by the code that judges it in a server.
//!
//! A database is looked at where it is, every page of it; gzip is unpacked and SQL text is run
//! into files made for that, which go when the result is dropped and when a signal ends the
//! program. The file itself is only read, and memory does not grow with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Status};
use super::interrupt::Unfinished;
use super::terminal::{Progress, Terminal};
use crate::db::inventory::{self, Element, Form};
use crate::db::load::{self, LoadError};
use crate::db::rehearse::{self, RehearsalError};
use crate::db::upload::{Kind, Room, Upload, judge_length};
use crate::os;

/// Bytes that a check leaves free on the disk of its scratch files.
const FREE_BYTES_MIN: u64 = 8 << 20;

/// Bytes copied at a time.
const COPY_BYTES: usize = 128 << 10;

/// Bytes of a database's header, which tell how long the file must be.
const HEADER_BYTES: u64 = 100;

/// A WAL that is longer than its header holds pages (SQLite: fileformat2.html, section 4.1).
const WAL_HEADER_BYTES: u64 = 32;

/// By this beginning a rollback journal holds pages that belong into the database
/// (SQLite: fileformat2.html, section 3).
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// A file that is whole.
#[derive(Debug)]
pub(super) struct Found {
    /// A database or SQL text, packed or not.
    pub(super) kind: Kind,
    /// Whether it is gzip.
    pub(super) is_packed: bool,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// What its header says; for a text, that of the database it makes.
    pub(super) form: Form,
    /// What its user calls it.
    name: String,
    /// The database, or that which the text makes.
    contents: PathBuf,
    /// What goes with it.
    _scratch: Vec<Unfinished>,
}

/// Looks at all of a file. What has to be written meanwhile is written into `scratch`, a folder.
/// Failures call the file by its path.
///
/// # Errors
/// [`Status::BadFile`] with what is wrong with it; [`Status::LocalFile`] when it cannot be read,
/// or `scratch` not be written.
pub(super) fn check(path: &Path, scratch: &Path, terminal: Terminal) -> Result<Found, Failure> {
    check_as(&path.display().to_string(), path, scratch, terminal)
}

/// The same, where so many bytes must stay free on the disk of `scratch` at least.
pub(super) fn check_leaving(
    path: &Path,
    scratch: &Path,
    free_min: u64,
    terminal: Terminal,
) -> Result<Found, Failure> {
    let room = Room { folder: scratch.to_owned(), reserve: free_min.max(FREE_BYTES_MIN) };
    check_in(&path.display().to_string(), path, room, terminal)
}

/// The same of a file that its user knows by another name.
pub(super) fn check_as(
    name: &str,
    path: &Path,
    scratch: &Path,
    terminal: Terminal,
) -> Result<Found, Failure> {
    let room = Room { folder: scratch.to_owned(), reserve: FREE_BYTES_MIN };
    check_in(name, path, room, terminal)
}

fn check_in(name: &str, path: &Path, room: Room, terminal: Terminal) -> Result<Found, Failure> {
    let unreadable = |error: &io::Error| Failure::local(format!("cannot read {name}"), error);
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        let text = format!("cannot read {name}: it is no file");
        return Err(Failure::new(Status::LocalFile, text));
    }
    let checks = Checks { name, path, room, terminal, bytes: metadata.len() };
    checks.run(file).map_err(|error| explain(name, error))
}

/// Where temporary files go: as for SQLite, `TMPDIR`, else where they need not fit into memory.
pub(super) fn scratch_folder() -> PathBuf {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let usual = || Some(PathBuf::from("/var/tmp")).filter(|folder| folder.is_dir());
    named.or_else(usual).unwrap_or_else(std::env::temp_dir)
}

/// Makes a file of its own in a folder, for this user's eyes only.
pub(super) fn make_scratch(folder: &Path) -> Result<(File, Unfinished), Failure> {
    let path = folder.join(format!(".quorlite-{}.tmp", os::random_name()));
    let mut options = OpenOptions::new();
    options.create_new(true).read(true).write(true).mode(0o600);
    let made = Unfinished::made(&path, || options.open(&path));
    let (unfinished, file) =
        made.map_err(|error| Failure::local(format!("cannot make {}", path.display()), &error))?;
    Ok((file, unfinished))
}

impl Found {
    /// Its tables with their rows, indexes, views and triggers.
    ///
    /// # Errors
    /// As [`check`].
    pub(super) fn elements(&self) -> Result<Vec<Element>, Failure> {
        let found = inventory::elements(&self.contents);
        found.map_err(|error| explain(&self.name, error.into()))
    }
}

/// Why a file is not taken.
enum Bad {
    File(LoadError),
    Text(String),
    Local(Failure),
}

impl From<LoadError> for Bad {
    fn from(error: LoadError) -> Bad {
        Bad::File(error)
    }
}

impl From<Failure> for Bad {
    fn from(failure: Failure) -> Bad {
        Bad::Local(failure)
    }
}

fn explain(name: &str, bad: Bad) -> Failure {
    let status = match &bad {
        Bad::Local(_) | Bad::File(LoadError::Read(_) | LoadError::NoSpace { .. }) => {
            Status::LocalFile
        }
        Bad::File(_) | Bad::Text(_) => Status::BadFile,
    };
    match bad {
        Bad::Local(failure) => failure,
        Bad::File(error) => Failure::new(status, format!("{name}: {error}")),
        Bad::Text(text) => Failure::new(status, format!("{name}: {text}")),
    }
}

/// The check of one file.
struct Checks<'a> {
    name: &'a str,
    path: &'a Path,
    /// For what has to be written.
    room: Room,
    terminal: Terminal,
    bytes: u64,
}

impl Checks<'_> {
    fn run(&self, file: File) -> Result<Found, Bad> {
        let progress = self.terminal.progress("checking", Some(self.bytes));
        let mut upload = Upload::new(Counted { file, progress }, self.room.clone())?;
        let is_packed = upload.is_packed();
        match upload.kind() {
            Kind::Empty => Err(Bad::Text("the file is empty".to_owned())),
            Kind::Database if is_packed => self.packed_database(&mut upload),
            Kind::Database => self.database(),
            Kind::Script => self.script(upload),
        }
    }

    fn database(&self) -> Result<Found, Bad> {
        self.check_length()?;
        self.check_companions()?;
        self.check_pages(self.path)?;
        let form = inventory::form(self.path)?;
        Ok(self.found(Kind::Database, false, form, self.path.to_owned(), Vec::new()))
    }

    fn packed_database(&self, upload: &mut Upload<'_>) -> Result<Found, Bad> {
        let is_wal = upload.is_wal();
        let (mut file, unfinished) = make_scratch(&self.room.folder)?;
        self.unpack(upload, &mut file)?;
        drop(file);
        let path = unfinished.path().to_owned();
        self.check_pages(&path)?;
        let form = Form { is_wal, ..inventory::form(&path)? };
        Ok(self.found(Kind::Database, true, form, path, vec![unfinished]))
    }

    fn script(&self, upload: Upload<'_>) -> Result<Found, Bad> {
        let is_packed = upload.is_packed();
        let (file, unfinished) = make_scratch(&self.room.folder)?;
        drop(file);
        let path = unfinished.path().to_owned();
        let mut scratch = vec![unfinished];
        scratch.extend(rehearse::files(&path).iter().skip(1).map(|path| Unfinished::new(path)));
        let mut source = Aside { upload, error: None };
        let rehearsed = rehearse::rehearse(&mut source, &path);
        if let Some(error) = source.error.take() {
            return Err(error.into());
        }
        rehearsed.map_err(|error| match error {
            RehearsalError::Failed(message) => Bad::Text(message),
            RehearsalError::Fault(fault) => {
                let text = format!("cannot run {} in {}: {fault}", self.name, path.display());
                Bad::Local(Failure::new(Status::LocalFile, text))
            }
        })?;
        self.check_room()?;
        let form = inventory::form(&path)?;
        Ok(self.found(Kind::Script, is_packed, form, path, scratch))
    }

    /// What is read of a text tells little of what is written, of which the end is written last.
    fn check_room(&self) -> Result<(), LoadError> {
        let free = os::free_bytes(&self.room.folder).map_err(LoadError::Read)?;
        let needed = self.room.reserve;
        if free < needed { Err(LoadError::NoSpace { free, needed }) } else { Ok(()) }
    }

    fn found(
        &self,
        kind: Kind,
        is_packed: bool,
        form: Form,
        contents: PathBuf,
        scratch: Vec<Unfinished>,
    ) -> Found {
        Found {
            kind,
            is_packed,
            bytes: self.bytes,
            form,
            name: self.name.to_owned(),
            contents,
            _scratch: scratch,
        }
    }

    fn check_length(&self) -> Result<(), Bad> {
        let mut head = Vec::new();
        let read =
            File::open(self.path).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut head));
        read.map_err(LoadError::Read)?;
        judge_length(&head, self.bytes).map_or(Ok(()), |error| Err(error.into()))
    }

    /// A database that was not closed is not whole without what lies beside it.
    fn check_companions(&self) -> Result<(), Bad> {
        let [wal, journal] = companions(self.path);
        let wal = match wal {
            Some(wal) if inventory::form(self.path)?.is_wal => Some(wal),
            Some(_) | None => None,
        };
        let Some(other) = wal.or(journal) else { return Ok(()) };
        Err(Bad::Text(format!(
            "the database was not closed, a part of it is in {}: make a copy that is whole with \
             sqlite3 FILE \"VACUUM INTO 'COPY'\"",
            other.display()
        )))
    }

    fn check_pages(&self, path: &Path) -> Result<(), Bad> {
        let _waiting = self.terminal.waiting("checking");
        Ok(load::check(path, || true)?)
    }

    fn unpack(&self, upload: &mut Upload<'_>, file: &mut File) -> Result<(), Bad> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = match upload.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LoadError::from(error).into()),
            };
            file.write_all(&buffer[..count]).map_err(|error| {
                let what = format!("cannot unpack {} in {}", self.name, self.room.folder.display());
                Failure::local(what, &error)
            })?;
        }
    }
}

/// The WAL and the journal beside a database, each if it holds pages that belong into that one.
pub(super) fn companions(database: &Path) -> [Option<PathBuf>; 2] {
    let beside = |ending: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (wal, journal) = (beside("-wal"), beside("-journal"));
    let is_wal_used = fs::metadata(&wal).is_ok_and(|found| found.len() > WAL_HEADER_BYTES);
    let is_journal_used = begins_with(&journal, &JOURNAL_MAGIC);
    [is_wal_used.then_some(wal), is_journal_used.then_some(journal)]
}

fn begins_with(path: &Path, start: &[u8]) -> bool {
    let mut found = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(start.len() as u64).read_to_end(&mut found));
    read.is_ok() && found == start
}

/// A file whose progress shows.
struct Counted {
    file: File,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// An upload that keeps its error aside: what is wrong with a text says more than that it ended.
struct Aside<'a> {
    upload: Upload<'a>,
    error: Option<LoadError>,
}

impl Read for Aside<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.upload.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error.into());
            }
            kind.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const QUIET: Terminal = Terminal { is_quiet: true };
    const TEXT: &[u8] = b"BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2);
        CREATE VIRTUAL TABLE f USING fts5(x); PRAGMA user_version=5; COMMIT;";

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn whole_files_of_every_kind_are_told_apart_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        rehearse::rehearse(&mut &TEXT[..], &path).unwrap();
        let database = fs::read(&path).unwrap();
        for (bytes, kind, is_packed) in [
            (database.clone(), Kind::Database, false),
            (packed(&database), Kind::Database, true),
            (TEXT.to_vec(), Kind::Script, false),
            (packed(TEXT), Kind::Script, true),
        ] {
            fs::write(&path, &bytes).unwrap();
            let found = check(&path, &scratch, QUIET).unwrap();
            assert_eq!((found.kind, found.is_packed), (kind, is_packed));
            assert_eq!(found.bytes, bytes.len() as u64);
            assert_eq!((found.form.user_version, found.form.is_wal), (5, false));
            let elements = found.elements().unwrap();
            let rows: Vec<_> = elements.iter().map(|e| (e.name.as_str(), e.rows)).collect();
            assert_eq!(rows, [("f", Some(0)), ("t", Some(2))]);
            drop(found);
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_is_not_whole_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        rehearse::rehearse(&mut &TEXT[..], &path).unwrap();
        let database = fs::read(&path).unwrap();
        let half = &database[..database.len() / 2];
        let cut = packed(&database);
        for (bytes, words) in [
            (half, "cut short: its header promises"),
            (&packed(half), "cut short: its header promises"),
            (&cut[..cut.len() - 9], "its gzip stream has no end"),
            (&TEXT[..TEXT.len() - 8], "begins a transaction and does not commit"),
            (b"CREATE TABLE t(a); INSERT INTO u VALUES(1);", "no such table: u (statement 2)"),
            (b"\x89PNG\r\n", "neither a SQLite database nor gzip nor SQL text"),
            (b"", "the file is empty"),
        ] {
            fs::write(&path, bytes).unwrap();
            let failure = check(&path, folder.path(), QUIET).unwrap_err();
            assert_eq!(failure.status, Status::BadFile, "{failure}");
            assert!(failure.text.contains(words), "{words} in {failure}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let failure = check(folder.path(), folder.path(), QUIET).unwrap_err();
        assert_eq!(failure.status, Status::LocalFile);
    }
}
