//! The inbound side: requests of other nodes, checked before they are believed.
//!
//! In this order: the secret, before anything is read; version, cluster, receiver and sender, from
//! the first bytes; then the rest, its checksum, and what it says. Whoever fails one of these costs
//! a counter and a sentence. What is asked for is done by an [`Inbox`], on other threads.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::call::marked;
use super::contents::{Contents, Digest, digest_of, name_of};
use super::frame::{self, Envelope, HEAD_BYTES_MAX};
use super::handing::BODY_PATH;
use super::limits::{
    BULK_REPLY_MAX, LARGE_BYTES, MESSAGE_BYTES_MAX, NOW_REPLY_MAX, PIECE_BYTES, SETTINGS_BYTES_MAX,
};
use super::now::MESSAGE_PATH;
use super::own::{Own, SECRET_HEADER};
use super::receiving::{About, BUSY, MALFORMED, Piece, Receiving, Refusal, Taken};
use super::seams::{Inbox, Known, ReceivedSnapshot};
use super::sending::SNAPSHOT_PATH;
use crate::command::Command;
use crate::http::{Content, Handler, Method, Reply, Request};
use crate::raft::{self, EntryKind, Head, Message, NodeId, Payload};
use crate::stats::{self, Stat};
use crate::storage::bodies::Bodies;
use crate::storage::{Entry, Reader};

/// Bytes of the longest request about a body or a state.
const TRANSFER_BYTES_MAX: u64 =
    (PIECE_BYTES + 2 * SETTINGS_BYTES_MAX + HEAD_BYTES_MAX + 128) as u64;

/// Memory set aside for a request before its bytes have come; most fit.
const RESERVED_BYTES: u64 = PIECE_BYTES as u64 + 4096;

/// Answers the requests of other nodes whose path begins with `/raft/`.
pub struct Inbound {
    own: Arc<Own>,
    log: Reader,
    inbox: Arc<dyn Inbox>,
    receiving: Receiving,
    /// Whether a large message is in memory.
    has_large: AtomicBool,
}

/// What is answered when nothing is wrong.
enum Answer {
    Nothing,
    Contents(Contents<'static>),
    Message(Message),
}

impl Inbound {
    /// Files come into being in `incoming`, which may be the folder of bodies itself.
    pub fn new(own: Arc<Own>, log: Reader, inbox: Arc<dyn Inbox>, incoming: Bodies) -> Self {
        let receiving = Receiving::new(incoming);
        Self { own, log, inbox, receiving, has_large: AtomicBool::new(false) }
    }

    fn take(&self, request: &mut Request<'_>) -> Result<Reply, Refusal> {
        if !matches!(request.path.as_str(), MESSAGE_PATH | BODY_PATH | SNAPSHOT_PATH) {
            return Err(Refusal::new(404, "there is nothing under this path"));
        }
        if request.method != Method::Post {
            return Err(Refusal::new(405, "only POST is understood here"));
        }
        if !self.own.admits(request.header(SECRET_HEADER)) {
            return Err(Refusal::new(403, "the secret between the nodes is missing or wrong"));
        }
        let Some(length) = request.body.length() else {
            return Err(Refusal::new(411, "a message between nodes has a length"));
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX);
        read(request, HEAD_BYTES_MAX as u64, &mut bytes)?;
        let (envelope, _) = frame::peek(&bytes).map_err(|bad| refusal(&bad))?;
        if let Some(answer) = self.check_sender(&envelope)? {
            return Ok(self.reply(&envelope, answer));
        }
        let is_message = request.path == MESSAGE_PATH;
        let length_max = if is_message { MESSAGE_BYTES_MAX } else { TRANSFER_BYTES_MAX };
        if length > length_max {
            return Err(Refusal::new(413, format!("more than {length_max} bytes")));
        }
        let _large = self.large_place(length)?;
        if length > bytes.len() as u64 {
            let reserved = usize::try_from(length.min(RESERVED_BYTES)).unwrap_or(0);
            bytes.reserve_exact(reserved);
            read(request, length_max, &mut bytes)?;
        }
        let (envelope, contents) = frame::decode(&bytes).map_err(|bad| refusal(&bad))?;
        stats::add(Stat::TransportReceived, 1);
        self.receiving.expire();
        let answer = self.answer_to(&request.path, &envelope, contents)?;
        Ok(self.reply(&envelope, answer))
    }

    /// Whether the sender may be heard; an answer when it is told why not.
    fn check_sender(&self, envelope: &Envelope) -> Result<Option<Answer>, Refusal> {
        let cluster = self.own.cluster();
        if cluster.is_empty() {
            return Err(Refusal::new(409, "this node belongs to no cluster yet"));
        }
        if *envelope.cluster != *cluster {
            return Err(Refusal::new(403, "this node belongs to another cluster"));
        }
        if envelope.to != *self.own.id() {
            let text = format!("this node is {}, and not {}", self.own.id(), envelope.to);
            return Err(Refusal::new(421, text));
        }
        match self.inbox.knows(&envelope.from, envelope.membership_index) {
            Known::Member => Ok(None),
            Known::Removed { index } => {
                stats::add(Stat::TransportRefused, 1);
                Ok(Some(Answer::Contents(Contents::Removed { index })))
            }
            Known::Stranger => {
                let text = format!("{} is no member of this cluster", envelope.from);
                Err(Refusal::new(403, text))
            }
        }
    }

    /// Large messages are taken one at a time.
    fn large_place(&self, length: u64) -> Result<Option<LargePlace<'_>>, Refusal> {
        if length <= LARGE_BYTES {
            return Ok(None);
        }
        if self.has_large.swap(true, Ordering::Acquire) {
            return Err(Refusal::new(BUSY, "another large message is being read, try again soon"));
        }
        Ok(Some(LargePlace(&self.has_large)))
    }

    fn answer_to(
        &self,
        path: &str,
        envelope: &Envelope,
        contents: Contents<'_>,
    ) -> Result<Answer, Refusal> {
        match (path, contents) {
            (MESSAGE_PATH, Contents::Message(payload)) => Ok(self.message(envelope, payload)),
            (MESSAGE_PATH, Contents::Append { prev, commit, round, entries }) => {
                if let Some(sha256) = self.body_needed(&entries) {
                    return Ok(Answer::Contents(Contents::BodyNeeded { sha256 }));
                }
                let heads = self.heads(&entries)?;
                let payload = Payload::Append { prev, entries: heads, commit, round };
                Ok(self.deliver(envelope, payload, entries, BULK_REPLY_MAX))
            }
            (BODY_PATH, Contents::BodyPiece { sha256, bytes, offset, piece }) => {
                self.body_piece(&sha256, bytes, Piece { offset, bytes: piece })
            }
            (
                SNAPSHOT_PATH,
                Contents::SnapshotBegin { session, last, bytes, membership, settings },
            ) => {
                let membership = membership.to_owned();
                let settings = settings.to_owned();
                let (from, term) = (envelope.from.clone(), envelope.term);
                let about = About { from, term, session, last, bytes, membership, settings };
                self.receiving.begin_state(about).map(have)
            }
            (SNAPSHOT_PATH, Contents::SnapshotPiece { session, offset, piece }) => {
                let piece = Piece { offset, bytes: piece };
                self.receiving.state_piece(&envelope.from, session, piece).map(have)
            }
            (SNAPSHOT_PATH, Contents::SnapshotEnd { session, sha256 }) => {
                self.end_snapshot(envelope, session, &sha256)
            }
            _ => Err(Refusal::new(MALFORMED, "this message has no meaning under this path")),
        }
    }

    fn message(&self, envelope: &Envelope, payload: Payload) -> Answer {
        let wait_max = match payload {
            Payload::PreVote { .. } | Payload::Vote { .. } | Payload::Heartbeat { .. } => {
                NOW_REPLY_MAX
            }
            Payload::PreVoteReply { .. }
            | Payload::VoteReply { .. }
            | Payload::HeartbeatReply { .. }
            | Payload::Append { .. }
            | Payload::Appended { .. }
            | Payload::Refused { .. }
            | Payload::Snapshot { .. }
            | Payload::TimeoutNow => Duration::ZERO,
        };
        self.deliver(envelope, payload, Vec::new(), wait_max)
    }

    fn deliver(
        &self,
        envelope: &Envelope,
        payload: Payload,
        entries: Vec<Entry>,
        wait_max: Duration,
    ) -> Answer {
        let message = Message { term: envelope.term, payload };
        let (sender, receiver) = bounded(1);
        self.inbox.deliver(envelope.from.clone(), message, entries, sender);
        wait_for(&receiver, wait_max)
    }

    /// The first body that these entries name and this node lacks. One whose entry is in the log
    /// was there, and may have been used up since.
    fn body_needed(&self, entries: &[Entry]) -> Option<Digest> {
        let start = self.log.start().index;
        let missing = |entry: &Entry| {
            if entry.kind != EntryKind::Command {
                return None;
            }
            // One that cannot be read is no business of the transport's.
            let sha256 = Command::body_named_by(&entry.body).ok()??;
            let id = entry.id;
            let is_taken = id.index <= start || self.log.term_at(id.index) == Some(id.term);
            if is_taken || self.inbox.holds_body(&sha256) { None } else { digest_of(&sha256) }
        };
        entries.iter().find_map(missing)
    }

    fn heads(&self, entries: &[Entry]) -> Result<Vec<Head>, Refusal> {
        let head = |entry: &Entry| {
            let content = match entry.kind {
                EntryKind::Noop => raft::Content::Noop,
                EntryKind::Command => raft::Content::Command,
                EntryKind::Membership => {
                    raft::Content::Configuration(self.inbox.configuration(&entry.body)?)
                }
            };
            Some(Head { term: entry.id.term, content })
        };
        let heads = entries.iter().map(head).collect::<Option<_>>();
        heads.ok_or_else(|| Refusal::new(MALFORMED, "a membership entry cannot be read"))
    }

    fn body_piece(&self, sha256: &Digest, bytes: u64, piece: Piece<'_>) -> Result<Answer, Refusal> {
        let name = name_of(sha256);
        if self.inbox.holds_body(&name) {
            return Ok(Answer::Contents(Contents::Held));
        }
        let taken = self.receiving.body_piece(sha256, bytes, piece, |body| {
            self.inbox.body_received(body.path, &name, body.bytes)?;
            stats::add(Stat::TransportBodiesReceived, 1);
            Ok(())
        })?;
        Ok(match taken {
            Taken::Have(offset) => have(offset),
            Taken::Whole => Answer::Contents(Contents::Held),
        })
    }

    fn end_snapshot(
        &self,
        envelope: &Envelope,
        session: u64,
        sha256: &Digest,
    ) -> Result<Answer, Refusal> {
        let (about, body) = self.receiving.end_state(&envelope.from, session, sha256)?;
        stats::add(Stat::TransportSnapshotsReceived, 1);
        let snapshot = ReceivedSnapshot {
            last: about.last,
            membership: about.membership,
            settings: about.settings,
            path: body.path,
            bytes: body.bytes,
            sha256: body.sha256,
        };
        let (sender, receiver) = bounded(1);
        self.inbox.snapshot_received(about.from, envelope.term, snapshot, sender);
        Ok(wait_for(&receiver, BULK_REPLY_MAX))
    }

    fn reply(&self, to: &Envelope, answer: Answer) -> Reply {
        let (term, contents) = match answer {
            Answer::Nothing => {
                let headers = Vec::new();
                return marked(Reply { status: 204, headers, content: Content::Empty });
            }
            Answer::Contents(contents) => (0, contents),
            Answer::Message(message) => (message.term, Contents::Message(message.payload)),
        };
        let envelope = Envelope {
            term,
            membership_index: 0,
            cluster: to.cluster.clone(),
            from: NodeId::clone(self.own.id()),
            to: to.from.clone(),
        };
        let content = Content::Bytes(contents.seal(&envelope, Vec::new()));
        let headers = vec![("Content-Type", "application/octet-stream".into())];
        marked(Reply { status: 200, headers, content })
    }
}

impl Handler for Inbound {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        self.take(request).unwrap_or_else(|Refusal { status, text }| {
            stats::add(Stat::TransportRefused, 1);
            log::debug!("{} is refused with {status}: {text}", request.peer);
            let headers = vec![("Content-Type", "text/plain; charset=utf-8".into())];
            marked(Reply { status, headers, content: Content::Bytes(text.into_bytes()) })
        })
    }
}

/// The one place there is for a large message.
struct LargePlace<'a>(&'a AtomicBool);

impl Drop for LargePlace<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn wait_for(receiver: &Receiver<Message>, wait_max: Duration) -> Answer {
    if wait_max.is_zero() {
        return Answer::Nothing;
    }
    receiver.recv_timeout(wait_max).map_or(Answer::Nothing, Answer::Message)
}

fn have(offset: u64) -> Answer {
    Answer::Contents(Contents::Have { offset })
}

fn read(request: &mut Request<'_>, bytes_max: u64, into: &mut Vec<u8>) -> Result<(), Refusal> {
    let read = (&mut request.body).take(bytes_max).read_to_end(into);
    read.map_err(|error| Refusal::new(MALFORMED, format!("the message broke off: {error}")))?;
    Ok(())
}

fn refusal(bad: &frame::BadFrame) -> Refusal {
    Refusal::new(MALFORMED, bad.to_string())
}
