//! The words of the protocol that the layers above share.
//!
//! Kept apart from the state machine so that the log on disk can name an entry without
//! knowing how one comes to be committed.

/// A position in the log. The first entry has index 1; 0 means "before the first".
pub type Index = u64;

/// An epoch of leadership. 0 means "before the first election".
pub type Term = u64;

/// A voter or learner as the protocol knows it.
///
/// It stands for one data directory: a machine that has lost its disk has forgotten what it
/// promised, and comes back under another one (thesis, 3.8).
pub type NodeId = String;

/// What must be on disk before a promise leaves the node (Raft paper, figure 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom this node voted for in that term.
    pub vote: Option<NodeId>,
}

/// Which entry: where it stands and who put it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The term of the leader that proposed it.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

/// What an entry is for, as far as the protocol cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing: a leader's first entry, by which it learns what is committed (thesis, 6.4).
    Noop,
    /// Something for the state machine.
    Command,
    /// A new set of members; in force as soon as it is appended (thesis, 4.1).
    Membership,
}
