//! Who still needs which detached body.
//!
//! A body is named by its content, so two uploads of one file are one body: it goes when the last
//! of those who need it lets go. Uploads hold a claim until they are answered, entries until a
//! checkpoint covers them, for a restart would apply them again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::os;
use crate::storage::bodies::{Bodies, Body, Staging};

/// The folder of bodies, with a count of claims on each.
pub(super) struct Claims {
    bodies: Bodies,
    counts: Mutex<BTreeMap<String, usize>>,
}

impl Claims {
    /// Claims the bodies that entries in the log name, and removes all others: a crash left them.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub(super) fn open(folder: &Path, named: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let bodies = Bodies::open(folder)?;
        let mut counts = BTreeMap::new();
        for sha256 in named {
            *counts.entry(sha256).or_default() += 1;
        }
        bodies.sweep(|sha256| counts.contains_key(sha256))?;
        Ok(Self { bodies, counts: Mutex::new(counts) })
    }

    /// Begins a body.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub(super) fn stage(&self) -> io::Result<Staging> {
        self.bodies.stage()
    }

    /// Names a body that is whole, and claims it.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub(super) fn finish(&self, staging: Staging) -> io::Result<Body> {
        // Under the lock, so that the last other claim on this content cannot go in between.
        let mut counts = os::lock(&self.counts);
        let body = staging.finish()?;
        *counts.entry(body.sha256.clone()).or_default() += 1;
        Ok(body)
    }

    /// One more who needs a body that somebody has claimed.
    pub(super) fn claim(&self, sha256: &str) {
        let mut counts = os::lock(&self.counts);
        *counts.entry(sha256.to_owned()).or_default() += 1;
    }

    /// One less; the last one removes the body.
    pub(super) fn release(&self, sha256: &str) {
        let mut counts = os::lock(&self.counts);
        let left = counts.get_mut(sha256).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            counts.remove(sha256);
            if let Err(error) = self.bodies.remove(sha256) {
                log::warn!("a body that nobody needs stays until the next start: {error}");
            }
        }
    }

    /// Where a claimed body is; `None` when it is not held.
    pub(super) fn path_of(&self, sha256: &str) -> Option<PathBuf> {
        self.bodies.path_of(sha256)
    }
}
