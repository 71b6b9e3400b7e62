//! Who still needs which detached body.
//!
//! A body is named by its content, so two uploads of one file are one body: it goes when the last
//! of those who need it lets go. Uploads hold a claim until their entry is in the log or never will
//! be, entries until a checkpoint covers them, for a restart would apply them again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::os;
use crate::storage::bodies::{Bodies, Body, Staging};

/// How long a body waits for the entry that names it: it follows at once, unless its leader fails.
const VISIT_MAX: Duration = Duration::from_secs(120);

/// The folder of bodies, with a count of claims on each.
pub(super) struct Claims {
    bodies: Bodies,
    counts: Mutex<BTreeMap<String, usize>>,
    /// Since when each body is here that another node has handed over.
    visitors: Mutex<VecDeque<(Instant, String)>>,
    /// Signalled when the last claim on a body is given up.
    free: Condvar,
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
        Ok(Self {
            bodies,
            counts: Mutex::new(counts),
            visitors: Mutex::default(),
            free: Condvar::new(),
        })
    }

    /// The folder, for those who bring bodies from elsewhere.
    pub(super) fn folder(&self) -> Bodies {
        self.bodies.clone()
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
        // The slow part before the lock: the writer takes it too.
        staging.sync()?;
        Self::name(&mut self.lock(), staging)
    }

    /// The same for a body that is to become the database, and changes with it from then on: who
    /// claims it must be the only one. Waits for the others; `None` when that takes too long.
    ///
    /// # Errors
    /// The system's, with the path in it.
    pub(super) fn finish_alone(
        &self,
        staging: Staging,
        wait_max: Duration,
    ) -> io::Result<Option<Body>> {
        staging.sync()?;
        let sha256 = staging.sha256();
        let others = |counts: &mut BTreeMap<String, usize>| counts.contains_key(&sha256);
        let waited = self.free.wait_timeout_while(self.lock(), wait_max, others);
        let (mut counts, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Ok(None);
        }
        Self::name(&mut counts, staging).map(Some)
    }

    /// Under the lock, so that the last other claim on this content cannot go in between.
    fn name(counts: &mut BTreeMap<String, usize>, staging: Staging) -> io::Result<Body> {
        let body = staging.finish()?;
        *counts.entry(body.sha256.clone()).or_default() += 1;
        Ok(body)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        os::lock(&self.counts)
    }

    /// One more who needs a body that somebody has claimed.
    pub(super) fn claim(&self, sha256: &str) {
        *self.lock().entry(sha256.to_owned()).or_default() += 1;
    }

    /// One less; the last one removes the body.
    pub(super) fn release(&self, sha256: &str) {
        let mut counts = self.lock();
        let left = counts.get_mut(sha256).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            counts.remove(sha256);
            self.free.notify_all();
            if let Err(error) = self.bodies.remove(sha256) {
                log::warn!("a body that nobody needs stays until the next start: {error}");
            }
        }
    }

    /// Keeps a body that another node has handed over, until its entry claims it or it has stayed
    /// for longer than any entry takes to come.
    pub(super) fn visit(&self, sha256: &str) {
        self.claim(sha256);
        os::lock(&self.visitors).push_back((Instant::now(), sha256.to_owned()));
    }

    /// Lets go of bodies that have been kept for long enough.
    pub(super) fn end_visits(&self) {
        loop {
            let over = os::lock(&self.visitors).pop_front_if(|(at, _)| at.elapsed() > VISIT_MAX);
            match over {
                Some((_, sha256)) => self.release(&sha256),
                None => return,
            }
        }
    }

    /// Where a claimed body is; `None` when it is not held.
    pub(super) fn path_of(&self, sha256: &str) -> Option<PathBuf> {
        self.bodies.path_of(sha256)
    }
}
