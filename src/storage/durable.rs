//! Files that are whole or absent: the only way, outside the log, in which a file is published.
//!
//! Every function here ends with what it did on the disk, the folder's entry included, so that a
//! caller need not know which of its steps a power cut may undo.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Ending of a file that is being written; what bears it at start is the rest of a crash.
pub const TEMPORARY: &str = "tmp";

/// Replaces `path` by `bytes`: after a crash it holds either the old or the new bytes.
///
/// # Errors
/// Any step's error, with `path` in it; the old file is then still in place.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(path);
    if let Err(error) = write_synced(&temporary, bytes) {
        // On a full disk the unfinished file would be in the way of everything else.
        fs::remove_file(&temporary).ok();
        return Err(at(&temporary, &error));
    }
    rename(&temporary, path)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames within one folder, replacing what is there, and syncs the folder.
///
/// # Errors
/// Any step's error, with `to` in it.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|error| at(to, &error))?;
    sync_folder_of(to)
}

/// Removes a file if it is there, and syncs the folder if it was.
///
/// # Errors
/// Any step's error, with `path` in it.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(path, &error)),
    }
}

/// Makes a folder, with its parents, and syncs each that a new one is in.
///
/// # Errors
/// Any step's error, with `path` in it.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path, &error)),
        Ok(()) | Err(_) => sync_folder_of(path),
    }
}

/// Syncs a file's bytes and length.
///
/// # Errors
/// The system's, with `path` in it. It is final: the kernel may have dropped the pages.
pub fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error))
}

/// Syncs the bytes and the length of a file that is open, and known as `path`.
///
/// # Errors
/// As [`sync_file`].
pub fn sync_open(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all().map_err(|error| at(path, &error))
}

/// Syncs the folder that holds `path`.
///
/// # Errors
/// The system's, with the folder in it.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_folder(folder)
}

/// Syncs a folder: the names in it, not the files they stand for.
///
/// # Errors
/// The system's, with the folder in it.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| at(folder, &error))
}

/// Removes what a crash left in a folder of files that were being written.
///
/// # Errors
/// The system's, with the path in it.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for found in fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let path = found.map_err(|error| at(folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == TEMPORARY) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Where `path` is written before it takes its name.
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Adds the path to an error, keeping its kind.
pub fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_folder(&inner).unwrap();
        create_folder(&inner).unwrap();
        let path = inner.join("mark");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
        assert!(create_folder(Path::new("/dev/null/x")).is_err());
    }

    #[test]
    fn a_failed_replacement_says_where_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        replace(&path, b"old").unwrap();
        fs::create_dir(temporary_path(&path)).unwrap();
        let text = replace(&path, b"new").unwrap_err().to_string();
        assert!(text.contains("mark.tmp"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
