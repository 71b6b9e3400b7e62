//! One request to a peer and its answer, with all that is to be noted and told about it.
//!
//! Here an answer is checked as a message is: cluster, sender and receiver. What is done about a
//! failure is decided by whoever sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client::{Client, Failure};
use super::contents::{Contents, name_of};
use super::frame::{self, Envelope};
use super::limits::{ANSWER_BYTES_MAX, BULK_MAX, NOW_MAX};
use super::own::{Own, Secret};
use super::peer::{Lane, Peer};
use super::seams::{BodySource, Events, SnapshotSource};
use crate::raft::{Index, Message, Term};
use crate::stats::{self, Stat};
use crate::storage::Reader;

/// Letters of a refusal that are kept: enough for every sentence of our own.
const REFUSAL_LETTERS: usize = 400;

/// What all threads of all peers share.
pub(super) struct Shared {
    pub(super) own: Arc<Own>,
    pub(super) log: Reader,
    pub(super) source: Arc<dyn SnapshotSource>,
    pub(super) bodies: Arc<dyn BodySource>,
    pub(super) events: Arc<dyn Events>,
    /// Rises whenever what a leader sends is withdrawn.
    pub(super) epoch: AtomicU64,
}

impl Shared {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// What a peer answers.
#[derive(Debug)]
pub(super) enum Reply {
    Nothing,
    Message(Message),
    Have(u64),
    Held,
    BodyNeeded(String),
}

/// Why there is no answer; all of it has been noted and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody knows whether it got there.
    Lost,
    /// It got there, and was refused with this status.
    Refused(u16),
}

/// One of a peer's connections, in the hands of its thread.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Arc<Peer>,
    lane: Lane,
    client: Client,
    address: Arc<str>,
    memory: Vec<u8>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane) -> Self {
        let address = peer.address();
        let client = client(&shared, &address, lane);
        peer.register(lane, client.cutter());
        Self { shared, peer, lane, client, address, memory: Vec::new() }
    }

    pub(super) fn envelope(&self, term: Term, membership_index: Index) -> Envelope {
        Envelope {
            term,
            membership_index,
            cluster: self.shared.own.cluster().to_string(),
            from: self.shared.own.id().clone(),
            to: self.peer.id.clone(),
        }
    }

    /// Sends and waits for the answer.
    pub(super) fn exchange(
        &mut self,
        path: &str,
        envelope: &Envelope,
        contents: &Contents<'_>,
    ) -> Result<Reply, Trouble> {
        self.follow_address();
        let frame = contents.seal(envelope, std::mem::take(&mut self.memory));
        let answered = self.client.post(path, &frame, ANSWER_BYTES_MAX);
        let sent = frame.len() as u64;
        self.peer.count(|figures| figures.bytes_sent += sent);
        stats::add(Stat::TransportBytesSent, sent);
        // What a large entry has stretched is not kept.
        if frame.capacity() <= 2 * super::limits::APPEND_BYTES_MAX {
            self.memory = frame;
        }
        let answer = answered.map_err(|failure| self.lost(failure))?;
        let reply = match answer.status {
            204 => {
                self.succeeded();
                Ok(Reply::Nothing)
            }
            200 => self.read(&answer.body),
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                let text = if answer.is_marked { text } else { "what answers is no node".into() };
                Err(self.refused(status, &text))
            }
        };
        if reply.is_err() {
            // Whoever is at the other end may be another by now at a new connection: a relay in
            // between leads elsewhere, or a name does.
            self.reconnect();
        }
        reply
    }

    /// Asks whether the peer's process is there.
    pub(super) fn probe(&mut self) {
        self.follow_address();
        if let Err(failure) = self.client.probe() {
            self.note_lost(&failure);
        }
    }

    fn follow_address(&mut self) {
        let address = self.peer.address();
        // By place, not by what it says: a client is cut whenever the address changes, and it may
        // have changed twice.
        if !Arc::ptr_eq(&address, &self.address) {
            self.address = address;
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        self.client = client(&self.shared, &self.address, self.lane);
        if !self.peer.register(self.lane, self.client.cutter()) {
            self.client.cutter().cut();
        }
    }

    fn read(&self, body: &[u8]) -> Result<Reply, Trouble> {
        let (envelope, contents) = match frame::decode(body) {
            Ok(found) => found,
            Err(bad) => return Err(self.refused(200, &bad.to_string())),
        };
        let own = &self.shared.own;
        if envelope.cluster != *own.cluster()
            || envelope.from != self.peer.id
            || envelope.to != *own.id()
        {
            return Err(self.refused(200, "the answer is not of whom it was asked"));
        }
        self.succeeded();
        match contents {
            Contents::Message(payload) => {
                Ok(Reply::Message(Message { term: envelope.term, payload }))
            }
            Contents::Have { offset } => Ok(Reply::Have(offset)),
            Contents::Held => Ok(Reply::Held),
            Contents::BodyNeeded { sha256 } => Ok(Reply::BodyNeeded(name_of(&sha256))),
            Contents::Removed { index } => {
                if !self.peer.is_stopping() {
                    self.shared.events.removed(&self.peer.id, index);
                }
                Err(self.refused(200, "it says that this node is no member"))
            }
            Contents::Append { .. }
            | Contents::BodyPiece { .. }
            | Contents::SnapshotBegin { .. }
            | Contents::SnapshotPiece { .. }
            | Contents::SnapshotEnd { .. } => Err(self.refused(200, "the answer is none")),
        }
    }

    fn succeeded(&self) {
        if self.peer.succeeded() && !self.peer.is_stopping() {
            log::info!("{} is reachable at {}", self.peer.id, self.address);
            self.shared.events.reachable(&self.peer.id);
        }
    }

    fn refused(&self, status: u16, text: &str) -> Trouble {
        let text: String = text.chars().take(REFUSAL_LETTERS).collect();
        let is_news = self.peer.failed(format!("refused ({status}): {text}"), false);
        if is_news {
            log::warn!("{} at {} refuses with {status}: {text}", self.peer.id, self.address);
        }
        stats::add(Stat::TransportFailures, 1);
        Trouble::Refused(status)
    }

    fn lost(&mut self, failure: Failure) -> Trouble {
        // A connection that breaks may be all that is left of a process: its machine knows.
        let is_unclear = matches!(failure, Failure::Broken(_));
        let failure = match failure {
            broken if is_unclear && !self.peer.is_stopping() => match self.client.probe() {
                Err(Failure::Refused) => Failure::Refused,
                Ok(()) | Err(_) => broken,
            },
            failure => failure,
        };
        self.note_lost(&failure);
        Trouble::Lost
    }

    fn note_lost(&self, failure: &Failure) {
        if self.peer.is_stopping() {
            return;
        }
        if self.peer.failed(failure.to_string(), true) {
            log::warn!("{} is not reachable at {}: {failure}", self.peer.id, self.address);
        }
        stats::add(Stat::TransportFailures, 1);
        self.shared.events.unreachable(&self.peer.id, *failure == Failure::Refused);
    }
}

fn client(shared: &Shared, address: &Arc<str>, lane: Lane) -> Client {
    let silence_max: Duration = match lane {
        Lane::Now => NOW_MAX,
        Lane::Bulk => BULK_MAX,
    };
    Client::new(Arc::clone(address), shared.own.secret().map(Secret::header), silence_max)
}
