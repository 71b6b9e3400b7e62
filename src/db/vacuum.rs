//! A copy of a snapshot without free pages and holes (`VACUUM INTO`).
//!
//! SQLite vacuums no connection that holds a transaction, and a snapshot is one. So the snapshot
//! is first copied to a file, which takes about a second a gigabyte and then pins the WAL no
//! longer, and the copy is vacuumed into a second one, which has lost its name by the time it is
//! sent. Nothing is left behind; what a crash leaves ends with `.tmp`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::load;
use super::pages::{Journal, Pages};
use super::snapshot::Snapshot;
use crate::os;
use crate::storage::durable;

/// Copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// A vacuumed copy; its file disappears with it.
#[derive(Debug)]
pub struct Vacuumed {
    file: File,
    bytes: u64,
}

/// A file that is removed when it is no longer needed, whatever happens.
struct Scratch(PathBuf);

/// Copies and vacuums `snapshot` in `folder`. `name` must be of this call alone; while the work is
/// done, `goes_on` is asked every few milliseconds.
///
/// # Errors
/// `StorageFull` before any work, if there is no room for both copies and `reserve`; else what
/// went wrong. The folder is as it was.
pub fn vacuum(
    snapshot: Snapshot,
    folder: &Path,
    name: &str,
    reserve: u64,
    mut goes_on: impl FnMut() -> bool + Send + 'static,
) -> io::Result<Vacuumed> {
    let needed = snapshot.bytes().saturating_mul(2).saturating_add(reserve);
    let free = os::free_bytes(folder).map_err(|error| durable::at(folder, &error))?;
    if free < needed {
        let sentence = format!("no room to vacuum: {needed} bytes must be free, {free} are");
        return Err(io::Error::new(io::ErrorKind::StorageFull, sentence));
    }
    let copy = Scratch(folder.join(format!("{name}-copy.{}", durable::TEMPORARY)));
    let vacuumed = Scratch(folder.join(format!("{name}-vacuumed.{}", durable::TEMPORARY)));
    write_pages(Pages::new(snapshot, Journal::Delete)?, &copy.0, &mut goes_on)?;
    let mut connection = load::open_untrusted(&copy.0).map_err(io::Error::other)?;
    connection
        .progress_handler(100_000, Some(move || !goes_on()))
        .and_then(|()| connection.execute_batch("PRAGMA query_only=OFF; PRAGMA synchronous=OFF"))
        .and_then(|()| {
            let path = vacuumed.0.to_string_lossy().into_owned();
            connection.execute("VACUUM main INTO ?1", [path])
        })
        .map_err(io::Error::other)?;
    drop(connection);
    drop(copy);
    let file = File::open(&vacuumed.0).map_err(|error| durable::at(&vacuumed.0, &error))?;
    let bytes = file.metadata()?.len();
    Ok(Vacuumed { file, bytes })
}

impl Vacuumed {
    /// Length of the whole stream.
    pub fn length(&self) -> u64 {
        self.bytes
    }
}

impl Read for Vacuumed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

fn write_pages(
    mut pages: Pages,
    path: &Path,
    goes_on: &mut impl FnMut() -> bool,
) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| durable::at(path, &error))?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = pages.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if !goes_on() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the copy was given up"));
        }
        file.write_all(&buffer[..count]).map_err(|error| durable::at(path, &error))?;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!(
                "a temporary file stays until the next start: {}: {error}",
                self.0.display()
            );
        }
    }
}
