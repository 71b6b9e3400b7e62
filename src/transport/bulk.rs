//! The thread of a peer's bulk connection: appends, and between them, a piece at a time, bodies
//! and snapshots.
//!
//! A transfer never holds up an append for longer than one piece takes. An append that names a
//! body which the peer lacks waits for that body; the peer says so itself, by refusing it.

use std::time::{Duration, Instant};

use super::contents::Contents;
use super::exchange::{Connection, Reply};
use super::handing::{Handing, Step};
use super::limits::{APPEND_BYTES_MAX, BULK_PAUSE, BULK_PAUSE_MAX, LOG_WAIT_MAX, LOG_WAIT_STEP};
use super::now::MESSAGE_PATH;
use super::peer::{AppendOrder, Bulk, Lane, SnapshotOrder};
use super::sending::{Progress, Sending};
use crate::os;
use crate::raft::{Append, EntryId, Index};
use crate::stats::{self, Stat};
use crate::storage::{Entry, ReadError, Reader};

/// What an entry takes in an append beside its body, roughly; as the log's readers count.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Sends until the peer is given up.
pub(super) fn run(connection: Connection) {
    Sender { connection, pause: BULK_PAUSE, handing: None, sending: None }.run();
}

struct Sender {
    connection: Connection,
    /// The next pause after a failure.
    pause: Duration,
    /// The body that is being handed over.
    handing: Option<Handing>,
    /// The state that is being sent, and who asked for it.
    sending: Option<(SnapshotOrder, Sending)>,
}

impl Sender {
    fn run(&mut self) {
        loop {
            let holds_open = self.handing.is_some() || self.sending.is_some();
            match self.connection.peer.next_bulk(holds_open) {
                Bulk::Append(order) => self.append(order),
                Bulk::Body(sha256) => self.hand_on(&sha256),
                Bulk::Snapshot(order) => self.send_state(order),
                Bulk::Idle => {
                    self.handing = None;
                    self.sending = None;
                }
                Bulk::Stop => return,
            }
        }
    }

    fn append(&mut self, order: AppendOrder) {
        let reply = match self.gather(order) {
            Some((order, contents)) => self.deliver(&order, &contents),
            None => Err(()),
        };
        match &reply {
            Ok(_) => self.pause = BULK_PAUSE,
            Err(()) => self.rest(),
        }
        let Connection { shared, peer, .. } = &self.connection;
        if peer.is_stopping() {
            return;
        }
        peer.append_ended();
        if let Ok(Reply::Message(answer)) = reply {
            shared.events.received(&peer.id, answer);
        }
        shared.events.append_ended(&peer.id);
    }

    /// The entries of an append; `None` when it is to be given up.
    fn gather(&self, order: AppendOrder) -> Option<(AppendOrder, Contents<'static>)> {
        let shared = &self.connection.shared;
        let (mut order, recent) = (order, Vec::new());
        let recent = std::mem::replace(&mut order.recent, recent);
        let Append { prev, commit, round, .. } = order.append;
        let entries = gather(&shared.log, &order.append, recent)?;
        // Read, and then compared: what was read before the log is cut is what this leader had.
        let is_current = order.epoch == shared.epoch();
        is_current.then_some((order, Contents::Append { prev, commit, round, entries }))
    }

    fn deliver(&mut self, order: &AppendOrder, contents: &Contents<'_>) -> Result<Reply, ()> {
        let envelope = self.connection.envelope(order.append.term, order.membership_index);
        let mut handed = None;
        loop {
            self.connection.peer.count(|figures| figures.appends += 1);
            stats::add(Stat::TransportAppendsSent, 1);
            let reply = self.connection.exchange(MESSAGE_PATH, &envelope, contents);
            match reply.map_err(|_| ())? {
                Reply::BodyNeeded(sha256) if handed.as_ref() != Some(&sha256) => {
                    self.hand_over(&sha256, order.epoch)?;
                    handed = Some(sha256);
                }
                Reply::BodyNeeded(_) => return Err(()),
                reply => return Ok(reply),
            }
        }
    }

    /// Hands over a body that an append cannot do without.
    fn hand_over(&mut self, sha256: &str, epoch: u64) -> Result<(), ()> {
        loop {
            let is_over =
                epoch != self.connection.shared.epoch() || self.connection.peer.is_stopping();
            match self.step(sha256) {
                _ if is_over => return Err(()),
                Step::Held => return Ok(()),
                Step::Onwards => {}
                Step::Failed | Step::Impossible => return Err(()),
            }
        }
    }

    /// Hands on one piece of a body that somebody waits for.
    fn hand_on(&mut self, sha256: &str) {
        match self.step(sha256) {
            Step::Onwards => self.pause = BULK_PAUSE,
            Step::Failed => self.rest(),
            Step::Impossible => self.connection.peer.withdraw_body(sha256),
            Step::Held => {
                self.pause = BULK_PAUSE;
                let Connection { shared, peer, .. } = &self.connection;
                let is_wanted = peer.is_body_wanted(sha256) && !peer.is_stopping();
                peer.withdraw_body(sha256);
                if is_wanted {
                    shared.events.body_held(&peer.id, sha256);
                }
            }
        }
    }

    fn step(&mut self, sha256: &str) -> Step {
        let handing = self.handing.take().filter(|handing| handing.is_of(sha256));
        let mut handing = match handing.map_or_else(|| self.open(sha256), Ok) {
            Ok(handing) => handing,
            Err(step) => return step,
        };
        let step = handing.step(&mut self.connection);
        if step == Step::Onwards || step == Step::Failed {
            self.handing = Some(handing);
        }
        step
    }

    fn open(&self, sha256: &str) -> Result<Handing, Step> {
        let opened = Handing::open(&*self.connection.shared.bodies, sha256);
        opened.map_err(|error| {
            log::warn!("cannot hand body {sha256} to {}: {error}", self.connection.peer.id);
            if error.kind() == std::io::ErrorKind::NotFound {
                Step::Impossible
            } else {
                Step::Failed
            }
        })
    }

    /// Sends a piece of the state.
    fn send_state(&mut self, order: SnapshotOrder) {
        let current = self.sending.take().filter(|(wanted, _)| *wanted == order);
        let mut sending = match current {
            Some((_, sending)) => sending,
            None => match Sending::open(&*self.connection.shared.source) {
                Ok(sending) => sending,
                Err(error) => {
                    log::warn!("no snapshot for {}: {error}", self.connection.peer.id);
                    self.rest();
                    return self.state_ended(order, Err(()));
                }
            },
        };
        match sending.step(&mut self.connection, order) {
            Progress::Onwards => {
                self.pause = BULK_PAUSE;
                self.sending = Some((order, sending));
            }
            Progress::Stuck => {
                self.sending = Some((order, sending));
                self.rest();
            }
            Progress::Failed => {
                drop(sending);
                self.rest();
                self.state_ended(order, Err(()));
            }
            Progress::Sent(last, reply) => {
                drop(sending);
                self.pause = BULK_PAUSE;
                stats::add(Stat::TransportSnapshotsSent, 1);
                self.state_ended(order, Ok((last, reply)));
            }
        }
    }

    fn state_ended(&self, order: SnapshotOrder, sent: Result<(EntryId, Reply), ()>) {
        let Connection { shared, peer, .. } = &self.connection;
        if !peer.snapshot_ended(order) || peer.is_stopping() {
            return;
        }
        shared.events.snapshot_ended(&peer.id, sent.as_ref().ok().map(|(last, _)| *last));
        if let Ok((_, Reply::Message(answer))) = sent {
            shared.events.received(&peer.id, answer);
        }
    }

    fn rest(&mut self) {
        self.connection.peer.pause(Lane::Bulk, self.pause);
        self.pause = (self.pause * 2).min(BULK_PAUSE_MAX);
    }
}

/// The entries behind `append.prev`, as far as they fit into one append; `None` when they are not
/// to be had.
fn gather(log: &Reader, append: &Append, recent: Vec<Entry>) -> Option<Vec<Entry>> {
    let first = append.prev.index + 1;
    let mut chain = Chain { last: append.prev, term: append.term, entries: Vec::new(), bytes: 0 };
    for entry in recent {
        if entry.id.index > append.last || !chain.add(entry)? {
            break;
        }
    }
    let next = chain.last.index + 1;
    if next <= append.last && chain.bytes < APPEND_BYTES_MAX {
        for entry in read(log, next, APPEND_BYTES_MAX - chain.bytes)? {
            if entry.id.index > append.last || !chain.add(entry)? {
                break;
            }
        }
    }
    let is_empty = chain.entries.is_empty() && first <= append.last;
    (!is_empty).then_some(chain.entries)
}

/// Entries that follow each other as those of one leader do.
struct Chain {
    last: EntryId,
    term: u64,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Chain {
    /// False: it is full. `None`: this is not what the leader of that term had there.
    fn add(&mut self, entry: Entry) -> Option<bool> {
        let id = entry.id;
        if id.index != self.last.index + 1 || id.term < self.last.term || id.term > self.term {
            return None;
        }
        let bytes = entry.body.len() + ENTRY_OVERHEAD_BYTES;
        if !self.entries.is_empty() && self.bytes + bytes > APPEND_BYTES_MAX {
            return Some(false);
        }
        self.last = id;
        self.bytes += bytes;
        self.entries.push(entry);
        Some(true)
    }
}

/// Reads entries, waiting a little for those that the writer has not taken yet.
fn read(log: &Reader, from: Index, bytes_max: usize) -> Option<Vec<Entry>> {
    let until = Instant::now() + LOG_WAIT_MAX;
    loop {
        match log.entries(from, bytes_max) {
            Ok(entries) if entries.is_empty() && Instant::now() < until => {
                std::thread::sleep(LOG_WAIT_STEP);
            }
            Ok(entries) => return Some(entries),
            Err(ReadError::Compacted { .. } | ReadError::Absent { .. }) => return None,
            Err(error @ (ReadError::Damaged { .. } | ReadError::Io { .. })) => {
                os::die(&format!("an entry that was written cannot be read: {error}"))
            }
        }
    }
}
