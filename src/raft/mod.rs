//! The consensus core: Raft as a pure state machine.
//!
//! Nothing in this folder reads a clock, draws a random number, touches a disk, opens a socket,
//! starts a thread or knows what SQLite is. Time is a tick, what is durable is a message, and the
//! core sees an entry as its place, its term and its kind, never its body. So one seed replays
//! one history, and thousands of cluster-hours fit into a test.
//!
//! # How it is driven
//!
//! The driver (`node::consensus`) tells the core what happened, by [`Core::tick`],
//! [`Core::propose`], [`Core::read`] and [`Core::saved`], and then takes a [`Ready`], which says
//! what has to be done about it. The driver's duties, in this order:
//!
//! 1. Everything in `hard_state` and `entries` goes to the disk, as one write and one sync, in the
//!    order in which the readies were taken. Only then may the driver call [`Core::saved`].
//! 2. What is at or below `commit` may be applied, and answered for.
//! 3. What is at or below `commit_once_durable` may be applied and answered for as soon as this
//!    node's own disk holds it: the rest of the quorum has it already. With one voter that is
//!    every entry, and it spares a round through the core, not the sync.
//! 4. Reads in `reads` may be served once their index is applied.
//!
//! # What is promised
//!
//! * A vote, and a leader's count of itself, wait for the disk (Raft paper, figure 2; thesis,
//!   10.2.1). A node that is alone is no exception.
//! * Only entries of the current term are committed by counting (Raft paper, section 5.4.2); a new
//!   leader therefore begins with a no-op (thesis, 6.4).
//! * A read index is given out only after an entry of the leader's own term is committed.
//! * Membership is in force as soon as it is in the log (thesis, 4.1).
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | last | the last entry in the log, durable or not |
//! | saved | the last entry known to be on this node's disk |
//! | commit | the last entry known to be on a quorum's disks |
//! | match | the last entry known to be on one member's disk |
//!
//! # What it leaves out
//!
//! It counts votes and copies of any number of voters, but has no messages between them. So a
//! candidate is elected by the votes that its own disk can give: those of a cluster of one.

mod core;
mod quorum;
mod shape;
mod types;

pub use core::{Core, NotLeader, Ready, Role, Start};
pub use quorum::Voters;
pub use types::{EntryId, EntryKind, HardState, Index, NodeId, Term};
