//! What the transport asks of the node, and what it tells it.
//!
//! Nothing here does anything: these are the places where the threads of the transport and those
//! of the node meet.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crossbeam_channel::Sender;

use crate::raft::{Configuration, EntryId, Index, Message, NodeId, Term};
use crate::storage::Entry;

/// Told by the threads of the peers; must not block.
pub trait Events: Send + Sync {
    /// A message that came as an answer.
    fn received(&self, from: &NodeId, message: Message);

    /// An append to this peer is over, delivered or not; the next one may be given. Told after the
    /// answer, if there was one.
    fn append_ended(&self, to: &NodeId);

    /// Sending the state is over: what was sent, or that it was not. Told before the answer.
    fn snapshot_ended(&self, to: &NodeId, sent: Option<EntryId>);

    /// The peer holds this body, synced and under its name.
    fn body_held(&self, to: &NodeId, sha256: &str);

    /// The peer is back: something got through after a failure, or for the first time.
    fn reachable(&self, to: &NodeId);

    /// Something did not get through. Refused: its machine says that the process is not there.
    fn unreachable(&self, to: &NodeId, is_refused: bool);

    /// The peer says that this node is no member any more, as of this membership.
    fn removed(&self, by: &NodeId, membership_index: Index);
}

/// Where the state comes from that is sent to a peer.
pub trait SnapshotSource: Send + Sync {
    /// Begins a copy of the state as of now.
    ///
    /// # Errors
    /// Why there is none now; it is asked again.
    fn open(&self) -> io::Result<SnapshotStream>;
}

/// The state as of one entry.
pub struct SnapshotStream {
    /// The last entry that it covers.
    pub last: EntryId,
    /// The members then, as the body of a membership entry.
    pub membership: String,
    /// What else belongs to it; not looked at here.
    pub settings: Vec<u8>,
    /// How many bytes will come.
    pub bytes: u64,
    /// The bytes. One that fails or ends early makes no snapshot.
    pub reader: Box<dyn Read + Send>,
}

/// Where detached bodies come from.
pub trait BodySource: Send + Sync {
    /// Opens a body that is held, and says how long it is.
    ///
    /// # Errors
    /// `NotFound` when it is not held, else the system's.
    fn open(&self, sha256: &str) -> io::Result<(u64, File)>;
}

/// What is known of one who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It may say what it wants.
    Member,
    /// It was one, and is told so.
    Removed {
        /// The membership that this node goes by.
        index: Index,
    },
    /// Nobody knows it.
    Stranger,
}

/// Told by the listener's threads. Each call is one request of a peer that has been checked: the
/// secret, the cluster, to whom it goes, from whom it comes, and that it arrived as it was sent.
pub trait Inbox: Send + Sync {
    /// Whether `sender`, whose own membership is that of entry `membership_index`, may be heard.
    fn knows(&self, sender: &NodeId, membership_index: Index) -> Known;

    /// The members that a membership entry's body names; `None` when it names none.
    fn configuration(&self, membership: &[u8]) -> Option<Configuration>;

    /// A message, with the bodies of an append's entries. The answer goes into `reply` if it comes
    /// soon; when that fails, since nobody waits any more, it has to be sent as a message. Who has
    /// no answer drops `reply`, and so ends the request.
    fn deliver(&self, from: NodeId, message: Message, entries: Vec<Entry>, reply: Sender<Message>);

    /// Whether a body is held, or not needed any more.
    fn holds_body(&self, sha256: &str) -> bool;

    /// A body has come: a file of its own, synced, hashed, and named by its SHA-256.
    ///
    /// # Errors
    /// Why it cannot be kept. The sender is told, and tries again.
    fn body_received(&self, path: PathBuf, sha256: &str, bytes: u64) -> io::Result<()>;

    /// A state has come; as in [`Inbox::deliver`], the answer goes into `reply`.
    fn snapshot_received(
        &self,
        from: NodeId,
        term: Term,
        snapshot: ReceivedSnapshot,
        reply: Sender<Message>,
    );
}

/// A state that has come: a file of its own, synced and hashed. Who takes it moves or removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSnapshot {
    /// The last entry that it covers.
    pub last: EntryId,
    /// See [`SnapshotStream::membership`].
    pub membership: String,
    /// See [`SnapshotStream::settings`].
    pub settings: Vec<u8>,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}
