//! The running node: the threads that join protocol, log, SQLite and the HTTP API.
//!
//! # Threads
//!
//! | thread | owns | is told | tells |
//! |---|---|---|---|
//! | `consensus` | the raft core, the members, proposals not yet saved | proposals, reads, messages, "saved up to", ticks | the writer what to save and what is committed; the links what to send; readers their index |
//! | `writer` | the log's end, SQLite's write connection, the mark | append and apply, install, pin, checkpoint | "saved up to"; outcomes to whoever waits |
//! | links (in `transport`, two a peer) | the connections to one other node | what to send | answers, and what could not be sent |
//! | `joining` | the way into a cluster | | other nodes, by small questions; ends when this node is a member |
//! | `maintenance` | its timetable | the time | proposals of VACUUM and PRAGMA optimize |
//! | callers (`api-N`, `node-N`) | a borrowed read connection, or a backup's pinned one | | events, orders to pin or to make a checkpoint; each waits for its own reply |
//! | `dump`, `gzip-N` | what a backup in SQL or a packed one is made from | | its bytes, through bounded pipes |
//!
//! # Files
//!
//! | file | is for |
//! |---|---|
//! | `answers` | what callers ask and are answered: read this first |
//! | `handle` | the door: every question a caller may ask |
//! | `start`, `directory` | starting and stopping the threads; what a data directory says |
//! | `identity`, `peers_file` | whose promises a directory holds; members set by hand |
//! | `consensus`, with `proposing`, `peers`, `changing` | its thread: events; writes; other nodes; members and leadership |
//! | `writer`, with `applying`, `upkeep` | its thread: saving and installing; applying; checkpoints, pins and limits |
//! | `maintenance` | its thread |
//! | `joining`, `founding`, `calls`, with `neighbours` | into a cluster; making one; small questions; their sockets |
//! | `changes` | who may become a member, and in which order: pure |
//! | `membership`, `memberships` | the members, as entries hold them; which are in force |
//! | `inbox` | other nodes' requests, as events |
//! | `board` | what the two owners let everybody see |
//! | `status` | a picture of everything, for people |
//! | `backups`, `digest`; `loads`, `claims` | databases going out, and compared; databases coming in, and who needs their files |
//!
//! # The life of a write
//!
//! A caller's [`Handle::execute`] sends the parsed request and its bytes to the consensus thread.
//! That stamps it with the time and a seed, lets the core place it, and hands it to the writer and
//! to the links at once. The writer appends everything that has queued up and syncs; each follower's
//! consensus thread has its own writer do the same, and says so in the answer to the append. As soon
//! as a majority holds it, this node among them, the core says that it is committed, the
//! writer runs it in one SQLite transaction with its neighbours, and answers each caller directly.
//!
//! # Invariants
//!
//! * Nothing is answered before it is synced on a majority and applied here.
//! * The consensus thread touches no disk, waits for no socket and runs no SQL.
//! * Only the writer thread writes, to the log or to SQLite.
//! * A panic in `consensus` or `writer` ends the process: what they own cannot be trusted, and
//!   the next start recovers as after a power cut.
//! * Entries of this node that cannot be applied for its own reasons are never answered for.
//! * What may have been done is never answered as if it had not been.

mod answers;
mod applying;
mod backups;
mod board;
mod calls;
mod changes;
mod changing;
mod claims;
mod consensus;
mod digest;
mod directory;
#[cfg(test)]
mod directory_tests;
mod founding;
mod handle;
mod identity;
mod inbox;
mod joining;
#[cfg(test)]
mod joining_tests;
mod loads;
mod maintenance;
mod membership;
mod memberships;
mod neighbours;
mod peers;
mod peers_file;
mod proposing;
mod start;
mod status;
mod upkeep;
mod writer;

pub use answers::{
    Accept, Answer, Backup, BackupError, BackupHead, Format, Freshness, Level, LoadError,
    MemberError, ProposeError, Query, ReadError,
};
pub use digest::{Digest, DigestError};
pub use directory::StartError;
pub use handle::Handle;
pub use neighbours::Neighbours;
pub use start::{ClusterSettings, Node, Settings};
pub use status::{BackupsStatus, Cluster, DatabaseStatus, Member, PeerStatus, Status};
