//! The consensus core: Raft as a pure state machine.
//!
//! Nothing in this folder reads a clock, draws a random number, touches a disk, opens a socket,
//! starts a thread or knows what SQLite is. Time is a tick, what is durable is a message, and the
//! core sees an entry as its place, its term and its kind, never its body. So one seed replays
//! one history, and thousands of cluster-hours fit into a test.
//!
//! # Files
//!
//! | file | is for |
//! |---|---|
//! | `core` | the state, and what it may be told |
//! | `durable` | what is saved, what could not be, and when what is promised may leave |
//! | `election` | pre-votes, votes, stepping down (Raft paper 5.2; thesis 3.10, 4.2.3, 9.6) |
//! | `replication` | appends, the state for those too far behind, commitment (5.3, 5.4; thesis 5) |
//! | `membership` | one change at a time, leadership handed over (thesis 4 and 3.10) |
//! | `reads` | reads without the log (thesis 6.4) |
//! | `message`, `ready` | what nodes say; what the driver has to do: read these first |
//! | `flaw` | mistakes that only tests can plant |
//! | `configuration`, `progress`, `shape`, `random` | who counts; what a leader knows of another; terms by index; numbers from a seed |
//!
//! # How it is driven
//!
//! The driver (`node::consensus`) tells the core what happened, by [`Core::tick`],
//! [`Core::step`], [`Core::propose`], [`Core::read`] and [`Core::saved`], and then takes a [`Ready`],
//! which says what has to be done about it. The driver's duties:
//!
//! 1. `install`, `hard_state` and `entries` go to the disk in this order, as one
//!    write and one sync, in the order in which the readies were taken. Only then may the driver
//!    call [`Core::saved`] with the ready's number.
//! 2. `messages`, `appends` and `snapshots` may leave at once. They need not arrive, but whoever
//!    sends an append says how it ended: by its answer, or by [`Core::not_delivered`].
//! 3. What is at or below `commit` may be applied, and answered for.
//! 4. What is at or below `commit_once_durable` may be applied and answered for as soon as this
//!    node's own disk holds all that this ready and those before it ask for: the rest of the
//!    quorum has it already. An old entry that is durable alone is not committed (Raft paper,
//!    figure 8). With one voter that is every entry, and it spares a round through the core, not
//!    the sync.
//! 5. Reads in `reads` may be served once their index is applied.
//!
//! # What is promised
//!
//! * No message leaves before what it promises is durable: a term, a vote, entries held (Raft
//!   paper, figure 2; thesis, 3.8). A node that is alone is no exception. Only appends leave while
//!   the own disk is still writing: they promise nothing (thesis, 10.2.1).
//! * Only entries of the current term are committed by counting (Raft paper, section 5.4.2); a new
//!   leader therefore begins with a no-op (thesis, 6.4).
//! * Nothing counts as committed on a node that does not hold it durably.
//! * A log is cut only at an entry that conflicts, and never at one that is committed.
//! * A read index is given out only after an entry of the leader's own term is committed, and a
//!   majority has answered a round that began later.
//! * Membership is in force as soon as it is in the log, and until it leaves it (thesis, 4.1).
//! * One append at a time is on its way to a member, with as many bytes as the driver allows: what
//!   waits gathers in the log, and nowhere else.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | last | the last entry in the log, durable or not |
//! | saved | the last entry known to be on this node's disk |
//! | commit | the last entry known to be on a quorum's disks, and on this one |
//! | matched | the last entry known to be on one member's disk |
//! | agreed | the last entry known to be the same in the leader's log |
//! | learner | a member that is sent everything and counts for nothing |

mod configuration;
mod core;
mod durable;
mod election;
mod flaw;
mod membership;
mod message;
mod progress;
mod random;
mod reads;
mod ready;
mod replication;
mod shape;
mod types;

#[cfg(test)]
#[path = "../../tests/simulation/mod.rs"]
mod simulation;

pub use configuration::Configuration;
pub use core::{Core, Refusal, Role, Start};
pub use message::{Content, Head, Message, Payload};
pub use ready::{Append, Install, Ready};
pub use types::{EntryId, EntryKind, HardState, Index, NodeId, Term};
