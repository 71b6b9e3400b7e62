//! What stands between the commands and the person: colours, progress and remarks.
//!
//! Data goes to standard output and is not this file's business. Everything here goes to
//! standard error, and but for remarks only where that is a terminal.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::os;

/// Time between two looks of something that moves by itself.
const TICK: Duration = Duration::from_millis(200);

/// What takes no longer shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// How a spinner turns, also on a console without UTF-8; the last is for the end.
const SPINNER: &str = "|/-\\ ";

/// How the person wants to be talked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    pub(super) is_quiet: bool,
}

impl Terminal {
    /// Whether standard output may be coloured (<https://no-color.org>).
    pub(super) fn has_colours(self) -> bool {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        io::stdout().is_terminal() && !is_refused && !is_dumb
    }

    /// Says something that is not data, on standard error; not with `--quiet`.
    pub(super) fn remark(self, what: impl fmt::Display) {
        if !self.is_quiet {
            // Nobody is left to tell when it fails.
            writeln!(io::stderr(), "{what}").ok();
        }
    }

    /// A bar for so many bytes, or a counter when nobody knows how many; shown on a terminal
    /// when it takes more than a second.
    pub(super) fn progress(self, what: &'static str, bytes: Option<u64>) -> Progress {
        let is_shown = io::stderr().is_terminal() && !self.is_quiet;
        if !is_shown {
            return Progress(None);
        }
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden());
        let form = match bytes {
            Some(_) => "{msg} {percent:>3}% {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}",
        };
        let style = ProgressStyle::with_template(form).expect("the template is right");
        bar.set_style(style.progress_chars("##-").tick_chars(SPINNER));
        bar.set_message(what);
        Progress(Some(bar))
    }

    /// Shows how long something takes of which nobody knows how far it is, as `progress` does.
    pub(super) fn waiting(self, what: &'static str) -> Waiting {
        let progress = self.progress(what, None);
        let Some(bar) = progress.0.clone() else { return Waiting(None) };
        let style = ProgressStyle::with_template("{msg} {spinner} {elapsed}");
        bar.set_style(style.expect("the template is right").tick_chars(SPINNER));
        let (over, is_over) = mpsc::channel::<Infallible>();
        let draw = move || {
            while is_over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                progress.add(0);
            }
        };
        // Without a thread there is nothing to see, and all else goes on.
        let drawing = os::spawn("waiting", draw).ok();
        Waiting(drawing.map(|drawing| (over, drawing)))
    }
}

/// Something that is waited for; its line goes away when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(Option<(Sender<Infallible>, JoinHandle<()>)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((over, drawing)) = self.0.take() {
            drop(over);
            // A drawing that has failed is no loss.
            drawing.join().ok();
        }
    }
}

/// Bytes that have gone by; the bar goes away when it is dropped.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn add(&self, bytes: u64) {
        let Some(bar) = &self.0 else { return };
        if bar.is_hidden() && bar.elapsed() > PROGRESS_AFTER {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
