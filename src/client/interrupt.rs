//! Ctrl-C and its kin: what is unfinished goes, and the program ends with its own status.
//!
//! A thread waits for those signals that were not ignored when the program began, so that a read
//! or a request that hangs cannot hold the end up. Unfinished files are registered here while they
//! exist; making and publishing one hold the same lock, for which a signal waits: it finds the
//! file either unfinished, and removes it, or published, and leaves it. What has been published
//! and not reported yet, or sent and not answered, is said on standard error.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::termios::{self, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::failure::Status;
use crate::os;

/// Files to remove when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What has its name since a moment ago, and nobody was told.
static PUBLISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Requests that may have been done, and nobody knows yet.
static IN_DOUBT: AtomicUsize = AtomicUsize::new(0);

/// Time for the last words, where nobody reads them.
const SAYING_MAX: Duration = Duration::from_secs(1);

/// How the terminal was before a line editor took it over.
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// A file, or a folder with all that is in it, that goes when it is dropped or when a signal ends
/// the program.
#[derive(Debug)]
pub(super) struct Unfinished(PathBuf);

/// While it lives, a signal has the program say that the file is written.
#[derive(Debug)]
#[must_use]
pub(super) struct Published(());

/// While it lives, a signal has the program say that nobody knows what came of a request.
#[derive(Debug)]
#[must_use]
pub(super) struct Doubt(());

/// Has signals end the program with [`Status::Interrupted`], from now on. What whoever started it
/// has it ignore, as `nohup` does, stays ignored.
///
/// # Errors
/// The system's, when it has no more threads or handlers.
pub(super) fn watch() -> io::Result<()> {
    // A file that may not grow any more (ulimit -f) is an error of its write, not the end.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let heard = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !os::is_ignored(signal));
    let mut signals = Signals::new(heard)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            end();
        }
    };
    os::spawn("signals", wait).map(drop)
}

/// Ends the watch, before the program ends by itself. A signal that is being answered has the last
/// word: what it took away must not be told as an error of this machine.
pub(super) fn unwatch() {
    // Held to the end: the thread either waits for it now, or has it and ends the program.
    std::mem::forget(os::lock(&UNFINISHED));
}

fn end() {
    let unfinished = os::lock(&UNFINISHED);
    // A folder comes before the files in it.
    for path in unfinished.iter().rev() {
        remove(path);
    }
    if let Some(terminal) = &*os::lock(&TERMINAL) {
        // Nobody is left to tell when it fails.
        termios::tcsetattr(io::stdin(), OptionalActions::Now, terminal).ok();
    }
    if let Some(path) = &*os::lock(&PUBLISHED) {
        say(format!("{} is written, but a signal ended what comes after", path.display()));
    }
    if IN_DOUBT.load(Ordering::Relaxed) > 0 {
        say(
            "nobody knows whether it was done, look before you repeat it: a signal ended the wait \
             for the answer"
                .to_owned(),
        );
    }
    signal_hook::low_level::exit(Status::Interrupted as i32);
}

/// Says something on standard error, unless that hangs.
fn say(text: String) {
    let (said, is_said) = mpsc::channel();
    let write = move || {
        // Nobody is left to tell when it fails.
        writeln!(io::stderr(), "quorlite: {text}").ok();
        said.send(()).ok();
    };
    if os::spawn("last words", write).is_ok() {
        is_said.recv_timeout(SAYING_MAX).ok();
    }
}

/// Has the terminal that is standard input be as it is now when a signal ends the program.
pub(super) fn restore_terminal_at_end() {
    *os::lock(&TERMINAL) = termios::tcgetattr(io::stdin()).ok();
}

impl Unfinished {
    /// From now on `path` goes unless it is published.
    pub(super) fn new(path: &Path) -> Unfinished {
        os::lock(&UNFINISHED).push(path.to_owned());
        Unfinished(path.to_owned())
    }

    /// Makes a file, or a folder, by `make`, out of reach of signals; from then on it goes unless
    /// it is published. Where it could be made only after a signal was heard, it is not made.
    ///
    /// # Errors
    /// That of `make`; nothing goes then.
    pub(super) fn made<T>(
        path: &Path,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(Unfinished, T)> {
        let mut unfinished = os::lock(&UNFINISHED);
        let made = make()?;
        unfinished.push(path.to_owned());
        Ok((Unfinished(path.to_owned()), made))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs `publish`, which gives the file its name, out of reach of signals. When it fails the
    /// file goes.
    ///
    /// # Errors
    /// That of `publish`.
    pub(super) fn publish<T>(
        self,
        name: &Path,
        publish: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(Published, T)> {
        let mut unfinished = os::lock(&UNFINISHED);
        let published = publish();
        if published.is_ok() {
            unfinished.retain(|path| *path != self.0);
            *os::lock(&PUBLISHED) = Some(name.to_owned());
        }
        // In front of what drops `self`.
        drop(unfinished);
        published.map(|made| (Published(()), made))
    }

    /// It has another name by now.
    pub(super) fn forget(self) {
        os::lock(&UNFINISHED).retain(|path| *path != self.0);
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        *os::lock(&PUBLISHED) = None;
    }
}

impl Doubt {
    /// From now on the request may have been done.
    pub(super) fn begin() -> Doubt {
        IN_DOUBT.fetch_add(1, Ordering::Relaxed);
        Doubt(())
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        IN_DOUBT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut unfinished = os::lock(&UNFINISHED);
        if let Some(at) = unfinished.iter().position(|path| *path == self.0) {
            unfinished.remove(at);
            remove(&self.0);
        }
    }
}

/// Removes what may not exist yet, or no longer; nobody can be told when it fails.
fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        fs::remove_dir_all(path).ok();
    }
}
