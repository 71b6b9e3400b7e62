//! One process for each data directory.
//!
//! Two processes that append to one log would each be right about a file of their own. The lock
//! is the kernel's and ends with the process, however it ends; the file stays, and says who held
//! it last. It does not guard against another machine on a network file system.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::durable;

/// Name of the file that is locked.
const FILE_NAME: &str = "lock";

/// The right to use a data directory, until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why the directory may not be used.
#[derive(Debug)]
pub enum LockError {
    /// Another process uses it: stop that one, or take another directory.
    Held {
        /// The directory.
        folder: PathBuf,
        /// That process, if it had already said its id.
        process: Option<u32>,
    },
    /// The lock's file could not be made or locked; the error names it.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { folder, process: Some(process) } => {
                write!(f, "{} is in use by process {process}", folder.display())
            }
            Self::Held { folder, process: None } => {
                write!(f, "{} is in use by another process", folder.display())
            }
            Self::Io(error) => write!(f, "cannot lock the data directory: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

impl DirectoryLock {
    /// Locks `folder`, making it if it is not there, and writes this process's id into the lock.
    ///
    /// # Errors
    /// `Held` at once when another process has it: there is no waiting.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        durable::create_folder(folder).map_err(LockError::Io)?;
        let path = folder.join(FILE_NAME);
        let at = |error: io::Error| LockError::Io(durable::at(&path, &error));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let folder = folder.to_owned();
                return Err(LockError::Held { folder, process: holder(&mut file) });
            }
            Err(error) => return Err(at(error.into())),
        }
        write_holder(&mut file).map_err(at)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_and_the_other_learns_who() {
        let folder = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(folder.path()).unwrap();
        let error = DirectoryLock::take(folder.path()).unwrap_err();
        let text = format!("is in use by process {}", std::process::id());
        assert!(error.to_string().ends_with(&text), "{error}");
        drop(lock);
        DirectoryLock::take(folder.path()).unwrap();
    }
}
