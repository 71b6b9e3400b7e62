//! The backups that stand beside each other: which is the newest, and which go.
//!
//! Only regular files whose names are of the pattern are ever looked at or removed, and the
//! sidecars of such names. What has no sidecar and does not begin as a backup is somebody else's.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::keep::{Found, surplus};
use super::source::may_be_backup;
use super::target::{Folder, Place};
use crate::client::failure::Failure;
use crate::client::sidecar::{self, Sidecar};
use crate::client::terminal::Terminal;
use crate::storage::durable;

/// Bytes by which a backup without a sidecar is recognised.
const START_BYTES: u64 = 100;

/// What has a name of the pattern.
pub(super) struct Shelf<'a> {
    place: &'a Place,
    backups: Vec<Shelved>,
    /// Sidecars whose backups have gone.
    orphans: Vec<PathBuf>,
}

struct Shelved {
    path: PathBuf,
    name: OsString,
    bytes: u64,
    modified: SystemTime,
    sidecar: Option<Sidecar>,
}

impl Shelved {
    /// Its sidecar, if that may be of this file and no other.
    fn own_sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref().filter(|sidecar| sidecar.fits(self.bytes))
    }
}

/// The first bytes of a file; none where it cannot be read, so that it stays.
fn start(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    let opened = File::open(path).ok();
    let read = opened.map(|file| file.take(START_BYTES).read_to_end(&mut start));
    if matches!(read, Some(Ok(_))) { start } else { Vec::new() }
}

impl<'a> Shelf<'a> {
    /// # Errors
    /// [`Failure`] when the folder cannot be read.
    pub(super) fn read(place: &'a Place) -> Result<Shelf<'a>, Failure> {
        let read = || -> io::Result<Shelf<'a>> {
            let mut shelf = Shelf { place, backups: Vec::new(), orphans: Vec::new() };
            for entry in fs::read_dir(place.folder())? {
                shelf.take(&entry?.file_name())?;
            }
            Ok(shelf)
        };
        let what = || format!("cannot read {}", place.folder().display());
        read().map_err(|error| Failure::local(what(), &error))
    }

    fn take(&mut self, name: &OsStr) -> io::Result<()> {
        let path = self.place.beside(name);
        if self.place.pattern.has(name) {
            // It may have gone in the meantime.
            let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(()) };
            let sidecar = Sidecar::read(&path);
            if metadata.is_file() && (sidecar.is_some() || may_be_backup(&start(&path))) {
                self.backups.push(Shelved {
                    sidecar,
                    bytes: metadata.len(),
                    modified: metadata.modified()?,
                    name: name.to_owned(),
                    path,
                });
            }
        } else if let Some(of) = path.to_str().and_then(|path| path.strip_suffix(".json")) {
            let of = PathBuf::from(of);
            let is_ours = of.file_name().is_some_and(|name| self.place.pattern.has(name));
            if is_ours && !of.exists() && Sidecar::read(&of).is_some() {
                self.orphans.push(path);
            }
        }
        Ok(())
    }

    /// What the next backup is numbered.
    pub(super) fn next_sequence(&self) -> u64 {
        let used = self.backups.iter().filter_map(|backup| backup.sidecar.as_ref()?.sequence());
        used.max().unwrap_or(0).saturating_add(1)
    }

    /// The newest backup, if it is whole and, where `verify` asks for it, verified.
    pub(super) fn newest_whole(
        &self,
        verify: bool,
        terminal: Terminal,
    ) -> Option<(PathBuf, Sidecar)> {
        let newest = self.backups.iter().max_by_key(|backup| {
            (backup.sidecar.as_ref().and_then(Sidecar::sequence), backup.modified)
        })?;
        let sidecar = newest.own_sidecar()?;
        // One that cannot be read is no more use than one that has changed.
        let is_sound = || sidecar.describes(&newest.path, terminal).unwrap_or(false);
        let is_whole = !verify || (sidecar.is_verified() && is_sound());
        is_whole.then(|| (newest.path.clone(), sidecar.clone()))
    }

    /// Removes what is older than the newest so many, and adds the paths to `removed`.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be removed.
    pub(super) fn prune(
        self,
        _folder: &Folder,
        keep: usize,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        let found = self.backups.iter().map(|backup| Found {
            name: backup.name.clone(),
            sequence: backup.own_sidecar().and_then(Sidecar::sequence),
            is_verified: backup.own_sidecar().is_some_and(Sidecar::is_verified),
            modified: backup.modified,
        });
        let remove = |path: &Path| {
            durable::remove(path)
                .map_err(|error| Failure::local("cannot remove an old backup", &error))
        };
        for name in surplus(found.collect(), keep) {
            let path = self.place.beside(&name);
            // The sidecar last: a backup without one would be a stranger.
            let is_described = Sidecar::read(&path).is_some();
            remove(&path)?;
            if is_described {
                remove(&sidecar::path_of(&path))?;
            }
            removed.push(path);
        }
        for orphan in &self.orphans {
            remove(orphan)?;
        }
        Ok(())
    }
}
