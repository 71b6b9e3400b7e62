//! What waits for one peer, and how it is doing: the meeting place of its two threads and of
//! those who give them work.
//!
//! One lock, held for a few lines at a time and never while anything is sent, read or told.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::Cutter;
use super::limits::{BODIES_WAITING_MAX, NOW_WAITING_MAX};
use super::links::PeerStatus;
use crate::os;
use crate::raft::{Append, Index, Message, NodeId, Payload, Term};
use crate::storage::Entry;

/// Which of a peer's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// For what must not wait.
    Now,
    /// For what is large.
    Bulk,
}

/// An append that was asked for.
#[derive(Clone, Debug)]
pub(super) struct AppendOrder {
    pub(super) append: Append,
    pub(super) recent: Vec<Entry>,
    pub(super) membership_index: Index,
    pub(super) epoch: u64,
}

/// A snapshot that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotOrder {
    pub(super) term: Term,
    pub(super) membership_index: Index,
    pub(super) epoch: u64,
}

/// The next thing to do on the now connection.
#[derive(Debug)]
pub(super) enum Now {
    Send(Message, Index),
    Probe,
    Stop,
}

/// The next thing to do on the bulk connection.
#[derive(Debug)]
pub(super) enum Bulk {
    Append(AppendOrder),
    Body(String),
    Snapshot(SnapshotOrder),
    /// Nothing for now: what is open is not needed.
    Idle,
    Stop,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    state: Mutex<State>,
    now_work: Condvar,
    bulk_work: Condvar,
}

#[derive(Debug)]
struct State {
    address: Arc<str>,
    is_stopping: bool,
    messages: VecDeque<(Message, Index)>,
    is_probe_due: bool,
    append: Option<AppendOrder>,
    /// One waits or is on its way.
    is_append_out: bool,
    bodies: VecDeque<String>,
    snapshot: Option<SnapshotOrder>,
    cutters: [Option<Cutter>; 2],
    /// How often it has come back.
    returns: u64,
    last_contact: Option<Instant>,
    figures: PeerStatus,
}

impl Peer {
    pub(super) fn new(id: &NodeId, address: &str) -> Self {
        let figures = PeerStatus { id: id.clone(), ..PeerStatus::default() };
        let state = State {
            address: Arc::from(address),
            is_stopping: false,
            messages: VecDeque::new(),
            is_probe_due: false,
            append: None,
            is_append_out: false,
            bodies: VecDeque::new(),
            snapshot: None,
            cutters: [None, None],
            returns: 0,
            last_contact: None,
            figures,
        };
        Self {
            id: id.clone(),
            state: Mutex::new(state),
            now_work: Condvar::new(),
            bulk_work: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        os::lock(&self.state)
    }

    /// False: it made an older message give way.
    pub(super) fn push(&self, message: Message, membership_index: Index) -> bool {
        let mut state = self.lock();
        let is_heartbeat = |message: &Message| matches!(message.payload, Payload::Heartbeat { .. });
        if is_heartbeat(&message) {
            // The newer one says all that the older one would have said.
            state.messages.retain(|(waiting, _)| !is_heartbeat(waiting));
        }
        let has_room = state.messages.len() < NOW_WAITING_MAX;
        if !has_room {
            state.messages.pop_front();
            state.figures.dropped += 1;
        }
        state.messages.push_back((message, membership_index));
        drop(state);
        self.now_work.notify_one();
        has_room
    }

    pub(super) fn ask_for_probe(&self) {
        self.lock().is_probe_due = true;
        self.now_work.notify_one();
    }

    /// False: one is out already.
    pub(super) fn order_append(&self, order: AppendOrder) -> bool {
        let mut state = self.lock();
        if state.is_append_out {
            return false;
        }
        state.is_append_out = true;
        state.append = Some(order);
        drop(state);
        self.bulk_work.notify_one();
        true
    }

    pub(super) fn order_snapshot(&self, order: SnapshotOrder) {
        self.lock().snapshot = Some(order);
        self.bulk_work.notify_one();
    }

    /// False: too many wait.
    pub(super) fn order_body(&self, sha256: &str) -> bool {
        let mut state = self.lock();
        if state.bodies.iter().any(|waiting| waiting == sha256) {
            return true;
        }
        if state.bodies.len() == BODIES_WAITING_MAX {
            return false;
        }
        state.bodies.push_back(sha256.to_owned());
        drop(state);
        self.bulk_work.notify_one();
        true
    }

    pub(super) fn withdraw_body(&self, sha256: &str) {
        self.lock().bodies.retain(|waiting| waiting != sha256);
    }

    /// Forgets what only a leader sends.
    pub(super) fn withdraw(&self) {
        let mut state = self.lock();
        if state.append.take().is_some() {
            state.is_append_out = false;
        }
        state.bodies.clear();
        state.snapshot = None;
        drop(state);
        self.bulk_work.notify_one();
    }

    /// Ends its threads, and what they have on their way.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let cutters = std::mem::take(&mut state.cutters);
        drop(state);
        self.now_work.notify_all();
        self.bulk_work.notify_all();
        cutters.into_iter().flatten().for_each(Cutter::cut);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    pub(super) fn address(&self) -> Arc<str> {
        Arc::clone(&self.lock().address)
    }

    pub(super) fn set_address(&self, address: &str) {
        let mut state = self.lock();
        if *state.address != *address {
            state.address = Arc::from(address);
            let cutters = std::mem::take(&mut state.cutters);
            drop(state);
            cutters.into_iter().flatten().for_each(Cutter::cut);
        }
    }

    /// Keeps what ends this connection; false: it is to end now.
    pub(super) fn register(&self, lane: Lane, cutter: Cutter) -> bool {
        let mut state = self.lock();
        state.cutters[lane as usize] = Some(cutter);
        !state.is_stopping
    }

    /// Waits for work.
    pub(super) fn next_now(&self) -> Now {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return Now::Stop;
            }
            if let Some((message, membership_index)) = state.messages.pop_front() {
                return Now::Send(message, membership_index);
            }
            if std::mem::take(&mut state.is_probe_due) {
                return Now::Probe;
            }
            state = wait(&self.now_work, state);
        }
    }

    /// Waits for work: appends go first, then bodies, then a snapshot. Whoever holds something
    /// open is told, rather than left waiting, when there is none.
    pub(super) fn next_bulk(&self, holds_open: bool) -> Bulk {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return Bulk::Stop;
            }
            if let Some(order) = state.append.take() {
                return Bulk::Append(order);
            }
            if let Some(sha256) = state.bodies.front() {
                return Bulk::Body(sha256.clone());
            }
            if let Some(order) = state.snapshot {
                return Bulk::Snapshot(order);
            }
            if holds_open {
                state.figures.snapshot = None;
                return Bulk::Idle;
            }
            state = wait(&self.bulk_work, state);
        }
    }

    pub(super) fn append_ended(&self) {
        self.lock().is_append_out = false;
    }

    /// True: it was asked for still.
    pub(super) fn snapshot_ended(&self, order: SnapshotOrder) -> bool {
        let mut state = self.lock();
        state.figures.snapshot = None;
        state.snapshot.take_if(|wanted| *wanted == order).is_some()
    }

    pub(super) fn is_body_wanted(&self, sha256: &str) -> bool {
        self.lock().bodies.iter().any(|waiting| waiting == sha256)
    }

    /// Lets time pass, but not when the peer has come back or the threads are to end.
    pub(super) fn pause(&self, lane: Lane, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        let returns = state.returns;
        let work = match lane {
            Lane::Now => &self.now_work,
            Lane::Bulk => &self.bulk_work,
        };
        while !state.is_stopping && state.returns == returns {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Something got through. True: for the first time, or after a failure.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.lock();
        state.last_contact = Some(Instant::now());
        if state.figures.is_reachable == Some(true) {
            return false;
        }
        state.figures.is_reachable = Some(true);
        state.returns += 1;
        drop(state);
        self.bulk_work.notify_all();
        true
    }

    /// Something did not get through, or was refused. True: it is not the same as last time.
    pub(super) fn failed(&self, why: String, is_lost: bool) -> bool {
        let mut state = self.lock();
        if is_lost {
            state.figures.is_reachable = Some(false);
        }
        state.figures.failures += 1;
        let is_news = state.figures.last_error.as_ref() != Some(&why);
        state.figures.last_error = Some(why);
        is_news
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut PeerStatus)) {
        count(&mut self.lock().figures);
    }

    pub(super) fn status(&self) -> PeerStatus {
        let state = self.lock();
        PeerStatus {
            address: state.address.to_string(),
            last_contact: state.last_contact.map(|then| then.elapsed()),
            bodies_waiting: state.bodies.len(),
            ..state.figures.clone()
        }
    }
}

fn wait<'a>(work: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    work.wait(state).unwrap_or_else(PoisonError::into_inner)
}
