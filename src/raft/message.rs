//! What nodes say to each other (Raft paper, figure 2, and what the thesis adds).
//!
//! A message carries no bodies: whoever sends an [`Payload::Append`] puts those of its entries
//! beside it, and whoever takes it in keeps them until the core has said what becomes of them.
//! Messages may be lost, doubled, delayed and reordered; an answer is never needed for safety.

use super::configuration::Configuration;
use super::types::{EntryId, EntryKind, Index, Term};

/// One message; who sends it to whom is written on the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's term; in a pre-vote and its grant, the term that would be campaigned in.
    pub term: Term,
    /// What is said.
    pub payload: Payload,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Would you vote for me (thesis, 9.6)? Changes nothing on either side.
    PreVote {
        /// The end of the sender's log.
        last: EntryId,
    },
    /// The answer to a pre-vote.
    PreVoteReply {
        /// Yes.
        granted: bool,
    },
    /// Vote for me (Raft paper, section 5.2).
    Vote {
        /// The end of the sender's log.
        last: EntryId,
        /// The leader itself asked for it: whoever hears it well votes nevertheless.
        is_transfer: bool,
    },
    /// The answer to a vote request.
    VoteReply {
        /// Yes, durably.
        granted: bool,
    },
    /// I lead.
    Heartbeat {
        /// What is committed, as far as the receiver is known to hold it.
        commit: Index,
        /// Names this round; never used twice in a term.
        round: u64,
    },
    /// You lead.
    HeartbeatReply {
        /// The round that is answered.
        round: u64,
        /// Durable up to here, and known to be what the leader has. 0 when nothing is known.
        matched: Index,
        /// The end of the sender's log, durable or not.
        last: Index,
    },
    /// Put these behind `prev` (Raft paper, section 5.3).
    Append {
        /// The entry before the first of `entries`.
        prev: EntryId,
        /// In order, without gaps.
        entries: Vec<Head>,
        /// What the sender knows to be committed.
        commit: Index,
        /// As in a heartbeat.
        round: u64,
    },
    /// They are there, and durable.
    Appended {
        /// Durable up to here, and what the leader has.
        matched: Index,
        /// The round of the append.
        round: u64,
    },
    /// `prev` is not what stands there.
    Refused {
        /// The index of that `prev`.
        prev: Index,
        /// The last entry that may be common to both logs.
        hint: EntryId,
        /// The round of the append.
        round: u64,
    },
    /// The log begins behind what you need: take the state as of `last` instead.
    Snapshot {
        /// The last entry it covers.
        last: EntryId,
        /// Who belonged to the cluster then.
        configuration: Configuration,
    },
    /// Campaign now: leadership is handed to you (thesis, 3.10).
    TimeoutNow,
}

/// An entry without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The term of the leader that proposed it.
    pub term: Term,
    /// What is in it.
    pub content: Content,
}

/// What is in an entry, as far as the protocol cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// See [`EntryKind::Noop`].
    Noop,
    /// See [`EntryKind::Command`].
    Command,
    /// See [`EntryKind::Membership`].
    Configuration(Configuration),
}

impl Content {
    /// What the log calls it.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::Noop => EntryKind::Noop,
            Self::Command => EntryKind::Command,
            Self::Configuration(_) => EntryKind::Membership,
        }
    }
}

impl Payload {
    /// Whether a leader sends it.
    pub(super) fn is_from_leader(&self) -> bool {
        matches!(self, Self::Heartbeat { .. } | Self::Append { .. } | Self::Snapshot { .. })
    }
}
