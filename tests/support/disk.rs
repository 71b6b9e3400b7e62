//! A small disk of a test's own, which can be filled up. Needs root.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::golden::say;

/// A file system of a few megabytes, gone when the value is dropped.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None`, with the reason printed, where it cannot be mounted.
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        let is_mounted = status.as_ref().is_ok_and(|output| output.status.success());
        if !is_mounted {
            say(&format!("skipped: a tmpfs cannot be mounted here (needs root): {status:?}"));
            return None;
        }
        Some(Self { folder })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> u64 {
        let status = rustix::fs::statvfs(self.path()).expect("it is mounted");
        status.f_bavail * status.f_frsize
    }

    fn balloon(&self) -> PathBuf {
        self.path().join("balloon")
    }

    /// Takes all the room but this much.
    pub(crate) fn fill(&self, leave: u64) {
        let bytes = self.free().saturating_sub(leave);
        let length = usize::try_from(bytes).expect("a small disk");
        let written = std::fs::write(self.balloon(), vec![1; length]);
        // Somebody else may write to it at the same time.
        let is_full = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull);
        assert!(is_full || written.is_ok(), "a balloon: {written:?}");
    }

    /// Gives the room back.
    pub(crate) fn release(&self) {
        std::fs::remove_file(self.balloon()).expect("the disk was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server of a failed test may still be in it.
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}
