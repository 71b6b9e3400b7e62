//! The running node: the threads that join protocol, log, SQLite and the HTTP API.
//!
//! # Threads
//!
//! | thread | owns | is told | tells |
//! |---|---|---|---|
//! | `consensus` | the raft core, proposals not yet saved | proposals, reads, "saved up to", ticks | the writer what to save and what is committed; readers their index |
//! | `writer` | the log's end, SQLite's write connection, the mark | append and apply, pin, checkpoint | "saved up to"; outcomes to whoever waits |
//! | `maintenance` | its timetable | the time | proposals of VACUUM and PRAGMA optimize |
//! | callers (`api-N`) | a borrowed read connection, or a backup's pinned one | | events, orders to pin or to make a checkpoint; each waits for its own reply |
//! | `dump`, `gzip-N` | what a backup in SQL or a packed one is made from | | its bytes, through bounded pipes |
//!
//! # Files
//!
//! | file | is for |
//! |---|---|
//! | `answers` | what callers ask and are answered: read this first |
//! | `handle` | the door: every question a caller may ask |
//! | `start` | opening the directory, starting and stopping the threads |
//! | `consensus` | its thread |
//! | `writer`, `applying`, `upkeep` | its thread: saving; applying; checkpoints, pins and limits |
//! | `maintenance` | its thread |
//! | `board` | what the two owners let everybody see |
//! | `status` | a picture of everything, for people |
//! | `membership` | the members, as entries hold them |
//! | `backups`; `loads`, `claims` | databases going out; databases coming in, and who needs their files |
//!
//! # The life of a write
//!
//! A caller's [`Handle::execute`] sends the parsed request and its bytes to the consensus thread.
//! That stamps it with the time and a seed, lets the core place it, and hands it to the writer
//! with the word how far the log is committed once this is on the disk. The writer appends
//! everything that has queued up, syncs once, runs it in one SQLite transaction, and answers each
//! caller directly. Two hand-overs, one sync.
//!
//! # Invariants
//!
//! * Nothing is answered before it is synced on a majority and applied here.
//! * The consensus thread touches no disk and runs no SQL.
//! * Only the writer thread writes, to the log or to SQLite.
//! * A panic in `consensus` or `writer` ends the process: what they own cannot be trusted, and
//!   the next start recovers as after a power cut.
//! * Entries of this node that cannot be applied for its own reasons are never answered for.

mod answers;
mod applying;
mod backups;
mod board;
mod claims;
mod consensus;
mod handle;
mod loads;
mod maintenance;
mod membership;
mod start;
mod status;
mod upkeep;
mod writer;

pub use answers::{
    Accept, Answer, Backup, BackupError, BackupHead, Format, Freshness, Level, LoadError,
    MemberError, ProposeError, Query, ReadError,
};
pub use handle::Handle;
pub use start::{Node, Settings, StartError};
pub use status::{BackupsStatus, Cluster, DatabaseStatus, Member, Status};
