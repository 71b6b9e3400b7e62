//! Bodies and states as they come in, a piece at a time, into files.
//!
//! What has come stays for a while when a connection breaks, so that the sender can go on. A file
//! gets its name only when it is whole, synced, and has the hash that was announced. Nothing is
//! begun for which the disk has no room.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::contents::{Digest, name_of};
use super::limits::{
    BODIES_INCOMING_MAX, INCOMING_IDLE_MAX, INCOMING_IDLE_MIN, SPACE_RESERVE, SYNC_BYTES,
};
use crate::os;
use crate::raft::{EntryId, NodeId, Term};
use crate::storage::bodies::{Bodies, Body, Staging};

/// The status that says: all has come, and it is not what was announced.
pub(super) const ALTERED: u16 = 422;

/// The status that says: this is no message, or makes no sense.
pub(super) const MALFORMED: u16 = 400;

/// The status that says: not now.
pub(super) const BUSY: u16 = 503;

/// The status that says: nothing is known of this state.
pub(super) const UNKNOWN: u16 = 404;

/// Why something is not taken, for the sender to read.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So much is there now.
    Have(u64),
    /// All of it, under its name.
    Whole,
}

/// What a state is sent with.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) from: NodeId,
    pub(super) term: Term,
    pub(super) session: u64,
    pub(super) last: EntryId,
    pub(super) bytes: u64,
    pub(super) membership: String,
    pub(super) settings: Vec<u8>,
}

/// A piece of something, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

/// Everything that is coming in.
pub(super) struct Receiving {
    folder: Bodies,
    /// Whether there is anything, so that most requests need not look.
    is_busy: AtomicBool,
    partials: Mutex<Partials>,
}

#[derive(Default)]
struct Partials {
    bodies: BTreeMap<Digest, Arc<Mutex<Partial>>>,
    state: Option<(About, Arc<Mutex<Partial>>)>,
}

/// A file that is not whole yet.
struct Partial {
    /// `None`: it has got its name, or was given up.
    staging: Option<Staging>,
    bytes: u64,
    unsynced: u64,
    touched: Instant,
}

impl Receiving {
    pub(super) fn new(folder: Bodies) -> Self {
        Self { folder, is_busy: AtomicBool::new(false), partials: Mutex::default() }
    }

    /// Gives up what nobody goes on with. Cheap when there is nothing.
    pub(super) fn expire(&self) {
        if !self.is_busy.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut partials) = self.partials.try_lock() else { return };
        partials.bodies.retain(|_, partial| !is_idle(partial, INCOMING_IDLE_MAX));
        let is_stale = |(_, partial): &mut (_, _)| is_idle(partial, INCOMING_IDLE_MAX);
        drop(partials.state.take_if(is_stale));
        let is_busy = !partials.bodies.is_empty() || partials.state.is_some();
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Takes a piece of a body, or says how much of it there is. `keep` is given the whole.
    pub(super) fn body_piece(
        &self,
        sha256: &Digest,
        bytes: u64,
        piece: Piece<'_>,
        keep: impl FnOnce(Body) -> io::Result<()>,
    ) -> Result<Taken, Refusal> {
        let Some(partial) = self.body(sha256, bytes, piece)? else {
            return Ok(Taken::Have(0));
        };
        let mut partial = os::lock(&partial);
        let taken = partial.take(piece, bytes);
        let ended = match taken {
            Ok(Taken::Have(_)) => return taken,
            Ok(Taken::Whole) => partial.finish(&name_of(sha256)).and_then(|body| {
                keep(body).map_err(|error| Refusal::new(500, format!("cannot keep it: {error}")))
            }),
            Err(refusal) => Err(refusal),
        };
        partial.staging = None;
        os::lock(&self.partials).bodies.remove(sha256);
        ended.map(|()| Taken::Whole)
    }

    /// The body of this name as far as it has come, begun if it is new; `None` when a piece of it
    /// comes that cannot be the first.
    fn body(
        &self,
        sha256: &Digest,
        bytes: u64,
        piece: Piece<'_>,
    ) -> Result<Option<Arc<Mutex<Partial>>>, Refusal> {
        let mut partials = os::lock(&self.partials);
        if let Some(partial) = partials.bodies.get(sha256) {
            return Ok(Some(Arc::clone(partial)));
        }
        if piece.offset > 0 {
            return Ok(None);
        }
        if partials.bodies.len() >= BODIES_INCOMING_MAX {
            partials.bodies.retain(|_, partial| !is_idle(partial, INCOMING_IDLE_MIN));
        }
        if partials.bodies.len() >= BODIES_INCOMING_MAX {
            return Err(Refusal::new(BUSY, "too many bodies are coming in, try again soon"));
        }
        let partial = self.begin(&partials, bytes)?;
        partials.bodies.insert(*sha256, Arc::clone(&partial));
        Ok(Some(partial))
    }

    /// Begins a state; it takes the place of any other.
    pub(super) fn begin_state(&self, about: About) -> Result<u64, Refusal> {
        let mut partials = os::lock(&self.partials);
        if let Some((current, partial)) = &partials.state {
            if current.session == about.session {
                let partial = os::lock(partial);
                return Ok(partial.staging.as_ref().map_or(0, Staging::bytes));
            }
            if current.term > about.term {
                return Err(Refusal::new(409, "a later leader sends its state"));
            }
        }
        partials.state = None;
        let partial = self.begin(&partials, about.bytes)?;
        partials.state = Some((about, partial));
        Ok(0)
    }

    /// Takes a piece of the state, and says how much there is.
    pub(super) fn state_piece(
        &self,
        from: &NodeId,
        session: u64,
        piece: Piece<'_>,
    ) -> Result<u64, Refusal> {
        let (about, partial) = self.state(from, session)?;
        let taken = os::lock(&partial).take(piece, about.bytes);
        match taken {
            Ok(Taken::Have(have)) => Ok(have),
            Ok(Taken::Whole) => Ok(about.bytes),
            Err(refusal) => {
                self.forget_state(session);
                Err(refusal)
            }
        }
    }

    /// Ends the state: whole, and with this hash.
    pub(super) fn end_state(
        &self,
        from: &NodeId,
        session: u64,
        sha256: &Digest,
    ) -> Result<(About, Body), Refusal> {
        let (about, partial) = self.state(from, session)?;
        let mut partial = os::lock(&partial);
        let found = partial.finish_whole(&name_of(sha256));
        drop(partial);
        self.forget_state(session);
        found.map(|body| (about, body))
    }

    fn state(&self, from: &NodeId, session: u64) -> Result<(About, Arc<Mutex<Partial>>), Refusal> {
        let partials = os::lock(&self.partials);
        let current = partials.state.as_ref();
        let found = current.filter(|(about, _)| about.session == session && about.from == *from);
        found.cloned().ok_or_else(|| {
            Refusal::new(UNKNOWN, "nothing is left of the state that was being sent: begin again")
        })
    }

    fn forget_state(&self, session: u64) {
        let mut partials = os::lock(&self.partials);
        drop(partials.state.take_if(|(about, _)| about.session == session));
    }

    fn begin(&self, partials: &Partials, bytes: u64) -> Result<Arc<Mutex<Partial>>, Refusal> {
        let to_come = partials.bodies.values().chain(partials.state.iter().map(|(_, it)| it));
        let to_come: u64 = to_come.map(to_come_of).sum();
        let free = os::free_bytes(self.folder.folder())
            .map_err(|error| Refusal::new(500, format!("cannot look at the disk: {error}")))?;
        let needed = bytes.saturating_add(to_come).saturating_add(SPACE_RESERVE);
        if needed > free {
            let text = format!(
                "no room for {bytes} bytes: {free} are free, and {} of them are needed otherwise",
                needed - bytes
            );
            return Err(Refusal::new(507, text));
        }
        let staging = self.folder.stage().map_err(|error| disk(&error))?;
        self.is_busy.store(true, Ordering::Relaxed);
        let touched = Instant::now();
        let partial = Partial { staging: Some(staging), bytes, unsynced: 0, touched };
        Ok(Arc::new(Mutex::new(partial)))
    }
}

impl Partial {
    /// Writes a piece if it is the next one.
    fn take(&mut self, piece: Piece<'_>, bytes: u64) -> Result<Taken, Refusal> {
        // It got its name a moment ago, or was given up: who asks again will hear.
        let Some(staging) = &mut self.staging else { return Ok(Taken::Have(0)) };
        let end = piece.offset.saturating_add(piece.bytes.len() as u64);
        if bytes != self.bytes || end > self.bytes {
            let text = format!("{} bytes were announced, and not {}", self.bytes, bytes.max(end));
            return Err(Refusal::new(MALFORMED, text));
        }
        self.touched = Instant::now();
        if piece.offset == staging.bytes() {
            staging.write_all(piece.bytes).map_err(|error| disk(&error))?;
            self.unsynced += piece.bytes.len() as u64;
        }
        if self.unsynced >= SYNC_BYTES {
            staging.sync_behind().map_err(|error| disk(&error))?;
            self.unsynced = 0;
        }
        let have = staging.bytes();
        Ok(if have == self.bytes { Taken::Whole } else { Taken::Have(have) })
    }

    /// Gives it its name, which must be its hash.
    fn finish(&mut self, sha256: &str) -> Result<Body, Refusal> {
        let staging = self.staging.take();
        let staging = staging.ok_or_else(|| Refusal::new(UNKNOWN, "nothing is left of it"))?;
        let found = staging.sha256();
        if found != sha256 {
            let text = format!("{sha256} was announced, and {found} has come: it was altered");
            return Err(Refusal::new(ALTERED, text));
        }
        staging.finish().map_err(|error| disk(&error))
    }

    fn finish_whole(&mut self, sha256: &str) -> Result<Body, Refusal> {
        let have = self.staging.as_ref().map_or(0, Staging::bytes);
        if have != self.bytes {
            let text = format!("{} bytes were announced, and {have} have come", self.bytes);
            return Err(Refusal::new(ALTERED, text));
        }
        self.finish(sha256)
    }
}

/// What is at work is not idle.
fn is_idle(partial: &Arc<Mutex<Partial>>, idle_max: std::time::Duration) -> bool {
    partial.try_lock().is_ok_and(|partial| partial.touched.elapsed() > idle_max)
}

/// Bytes that it will still write; what is at work counts as nothing, for a moment.
fn to_come_of(partial: &Arc<Mutex<Partial>>) -> u64 {
    partial.try_lock().map_or(0, |partial| {
        partial.staging.as_ref().map_or(0, |staging| partial.bytes.saturating_sub(staging.bytes()))
    })
}

fn disk(error: &io::Error) -> Refusal {
    let status = if error.kind() == io::ErrorKind::StorageFull { 507 } else { 500 };
    Refusal::new(status, format!("cannot write it: {error}"))
}
