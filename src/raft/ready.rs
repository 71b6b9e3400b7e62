//! What the core wants done: plain data, for whoever drives it.

use super::configuration::Configuration;
use super::message::Message;
use super::types::{EntryId, EntryKind, HardState, Index, NodeId};

/// What the core wants saved, sent, applied and answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Names what is to be saved, in rising order; 0 when nothing is.
    pub number: u64,
    /// Failed writes that the core knew of; see [`super::Core::append_failed`].
    pub failures: u64,
    /// To be synced, with the rest of this ready.
    pub hard_state: Option<HardState>,
    /// The state that takes the place of everything, before `entries` are appended.
    pub install: Option<Install>,
    /// To be appended and synced. One whose index is taken replaces what stands there and
    /// everything behind it.
    pub entries: Vec<(EntryId, EntryKind)>,
    /// Held by a quorum: may be applied. Never goes back.
    pub commit: Index,
    /// Held by a quorum as soon as this node's own disk holds all that this ready and those before
    /// it ask for: not earlier, even where the disk holds more than this index already.
    pub commit_once_durable: Index,
    /// To be sent now: what they promise is durable.
    pub messages: Vec<(NodeId, Message)>,
    /// To be sent now, each with the bodies of as many of the entries as fit into one message.
    pub appends: Vec<Append>,
    /// Members whose log ends before this node's begins: send them the state.
    pub snapshots: Vec<NodeId>,
    /// Reads that may be served once the index beside them is applied.
    pub reads: Vec<(u64, Index)>,
    /// Reads that must be sent to another leader.
    pub reads_refused: Vec<u64>,
}

/// Entries to be read from the log and sent as one [`super::Payload::Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// To whom.
    pub to: NodeId,
    /// The leader's term.
    pub term: u64,
    /// The entry before the first.
    pub prev: EntryId,
    /// The last that may be sent; `prev.index` when there is only something to ask.
    pub last: Index,
    /// What is committed.
    pub commit: Index,
    /// The round that the answer confirms.
    pub round: u64,
}

/// A state received from a leader that takes the place of database and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// What it covers.
    pub last: EntryId,
    /// Who belongs to the cluster.
    pub configuration: Configuration,
}

impl Ready {
    /// Whether anything in it has to reach the disk.
    pub fn has_to_be_saved(&self) -> bool {
        self.hard_state.is_some() || self.install.is_some() || !self.entries.is_empty()
    }
}
