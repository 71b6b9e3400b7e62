//! Detached bodies: files too large for the log, named by the SHA-256 of what is in them.
//!
//! An entry that names one may be appended only by a node that holds it, so a body gets its name
//! only when it is whole and synced, and a file that bears a name can be believed. Who wants
//! which body is not known here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use super::durable;
use crate::os;

/// Length of a SHA-256 in hexadecimal.
const NAME_BYTES: usize = 64;

/// The folder of detached bodies. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct Bodies {
    folder: PathBuf,
    /// Number of the next unfinished file.
    next: Arc<AtomicU64>,
}

/// A body that is whole, synced and named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its name: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Bodies {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// The system's, with the folder in it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        durable::create_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), next: Arc::default() })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a body, whose bytes are then written to what is returned.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub fn stage(&self) -> io::Result<Staging> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!("incoming-{number}.{}", durable::TEMPORARY));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let hash = Sha256::new();
                    return Ok(Staging {
                        file,
                        path,
                        hash,
                        bytes: 0,
                        is_named: false,
                        syncing: None,
                    });
                }
                // Left by a crash, and not swept away yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(durable::at(&path, &error)),
            }
        }
    }

    /// Where a body is; `None` when it is not held, or the name is none.
    pub fn path_of(&self, sha256: &str) -> Option<PathBuf> {
        let path = self.place_of(sha256)?;
        path.is_file().then_some(path)
    }

    /// Moves a body out of the folder to `to`, on the same file system.
    ///
    /// # Errors
    /// `NotFound` when it is not held, else the system's; the body is then still where it was,
    /// unless it was a folder's sync that failed.
    pub fn take(&self, sha256: &str, to: &Path) -> io::Result<()> {
        let path = self.path_of(sha256).ok_or_else(|| not_held(sha256))?;
        durable::rename(&path, to)?;
        durable::sync_folder(&self.folder)
    }

    /// Removes a body, if it is held.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub fn remove(&self, sha256: &str) -> io::Result<()> {
        let path = self.place_of(sha256).ok_or_else(|| not_held(sha256))?;
        durable::remove(&path)
    }

    /// Removes at start what a crash left: unfinished files, and bodies that nobody waits for.
    ///
    /// Returns the bytes that were freed. Must not run while a body is staged.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub fn sweep(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<u64> {
        let mut freed = 0;
        let at = |error: io::Error| durable::at(&self.folder, &error);
        for found in fs::read_dir(&self.folder).map_err(at)? {
            let found = found.map_err(at)?;
            let path = found.path();
            let name = found.file_name();
            let name = name.to_str().unwrap_or_default();
            let is_unfinished = path.extension().is_some_and(|ending| ending == durable::TEMPORARY);
            if is_unfinished || (is_name(name) && !is_wanted(name)) {
                freed += found.metadata().map_err(at)?.len();
                fs::remove_file(&path).map_err(|error| durable::at(&path, &error))?;
            }
        }
        if freed > 0 {
            durable::sync_folder(&self.folder)?;
        }
        Ok(freed)
    }

    fn place_of(&self, sha256: &str) -> Option<PathBuf> {
        is_name(sha256).then(|| self.folder.join(sha256))
    }
}

/// Names come from clients and peers: one that is not a hash must never become a path.
fn is_name(name: &str) -> bool {
    name.len() == NAME_BYTES && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn not_held(sha256: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("body {sha256:?} is not held"))
}

/// A body that is being written. Dropped before it is finished, its file is removed.
#[derive(Debug)]
pub struct Staging {
    file: File,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
    is_named: bool,
    /// A sync that runs while more is written.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Staging {
    /// Bytes written so far, from where a sender that was cut off goes on.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Syncs what was written so far, so that finishing takes no time.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|error| durable::at(&self.path, &error))
    }

    /// Begins to sync what was written so far, while more is written. Waits for the last such sync,
    /// so that no more is left unsynced than is written between three calls. What fails here
    /// fails [`Staging::finish`] too, if it is not told before.
    ///
    /// # Errors
    /// The system's, with the path in it, also of the sync before.
    pub fn sync_behind(&mut self) -> io::Result<()> {
        self.await_sync()?;
        let file = self.file.try_clone().map_err(|error| durable::at(&self.path, &error))?;
        self.syncing = Some(os::spawn("sync-body", move || file.sync_data())?);
        Ok(())
    }

    fn await_sync(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let synced = syncing.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked")));
        synced.map_err(|error| durable::at(&self.path, &error))
    }

    /// The name that the body would get now.
    pub fn sha256(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Syncs the body and gives it its name.
    ///
    /// # Errors
    /// Any step's; there is then no such body, unless it was the folder's sync that failed.
    pub fn finish(mut self) -> io::Result<Body> {
        self.await_sync()?;
        self.sync()?;
        let sha256 = self.sha256();
        let path = self.path.with_file_name(&sha256);
        durable::rename(&self.path, &path)?;
        self.is_named = true;
        Ok(Body { sha256, bytes: self.bytes, path })
    }
}

impl Write for Staging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes).map_err(|error| durable::at(&self.path, &error))?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_named {
            // If it cannot be removed now, the next start's sweep does it.
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn staged(bodies: &Bodies) -> Staging {
        let mut staging = bodies.stage().unwrap();
        staging.write_all(b"a").unwrap();
        staging.write_all(b"bc").unwrap();
        assert_eq!(staging.bytes(), 3);
        staging
    }

    #[test]
    fn a_body_is_named_by_its_hash_and_moves_away() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::open(&folder.path().join("bodies")).unwrap();
        let body = staged(&bodies).finish().unwrap();
        assert_eq!((body.sha256.as_str(), body.bytes), (HASH_OF_ABC, 3));
        assert_eq!(bodies.path_of(HASH_OF_ABC), Some(body.path));
        let to = folder.path().join("db");
        bodies.take(HASH_OF_ABC, &to).unwrap();
        assert_eq!(fs::read(to).unwrap(), b"abc");
        assert_eq!(bodies.path_of(HASH_OF_ABC), None);
        assert_eq!(bodies.path_of("../db"), None);
        assert_eq!(bodies.remove("../db").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(folder.path().join("db").exists());
    }

    #[test]
    fn what_is_given_up_or_left_by_a_crash_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::open(folder.path()).unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        drop(staged(&bodies));
        assert_eq!(count(), 0);
        fs::write(folder.path().join("incoming-1.tmp"), "left by a crash").unwrap();
        staged(&bodies).finish().unwrap();
        assert_eq!(bodies.sweep(|sha256| sha256 == HASH_OF_ABC).unwrap(), 15);
        assert_eq!(count(), 1);
        assert_eq!(bodies.sweep(|_| false).unwrap(), 3);
        assert_eq!(count(), 0);
    }
}
