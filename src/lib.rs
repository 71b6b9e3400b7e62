//! Quorlite: a replicated SQLite server that speaks rqlite's HTTP API.
//!
//! This page is the map. Each folder's own page is a chapter.
//!
//! # Bird's eye
//!
//! ```text
//! clients --HTTP--> api workers --proposals--> consensus thread --orders--> writer thread
//!                     |   ^                      |    ^              owns the Raft log on disk
//!                     |   +----- outcomes -------|----|------------- owns SQLite's write connection
//!                     v                          v    |
//!                 reader pool, backups         links (two threads a peer) <--HTTP--> other nodes
//!                 (read-only connections, on the worker's own thread, or each pinned to one entry)
//! ```
//!
//! **One write.** `http` parses the head and frames the body; `api` parses the statements and
//! hands them to `node` (or, on a follower, the whole request to the leader's `api`), whose
//! consensus thread stamps them with the time and a seed and lets the `raft` core place them. The
//! writer thread appends everything that has queued up to the log in `storage` and syncs once; at
//! the same time `transport` sends it to the followers, which do the same. What a majority has
//! synced the writer runs in one SQLite transaction in `db`, and answers each worker.
//!
//! **One read.** `api` asks `node` whether a read at this level may be served here, borrows a
//! read-only connection from `db::readers`, and encodes the rows. It never waits for the writer.
//!
//! **One backup.** `node` has the writer open a read transaction between two batches, so that it
//! stands at exactly one raft index; the worker reads the pages in order through it and sends
//! them as they come, with their exact number announced before the first byte.
//!
//! # Code map
//!
//! | folder | what it is |
//! |---|---|
//! | [`command`] | what an entry of the log asks for, parsed and as bytes |
//! | [`raft`] | the protocol as a pure state machine: no clock, disk, network or thread |
//! | [`storage`] | the hand-written Raft log and the other files that must survive a crash |
//! | [`db`] | SQLite: deterministic execution, checkpoints, snapshots, dumps; alone names rusqlite |
//! | [`http`] | the listener: connections to requests, replies to bytes; knows no routes |
//! | [`transport`] | messages, bodies and snapshots between nodes; keeps no promises, blocks nobody |
//! | [`node`] | the threads that join `raft`, `storage` and `db` |
//! | [`api`] | the HTTP API; sees the node only through `node::Handle` |
//! | [`config`] | the command line, from one table of flags to one checked value |
//! | [`client`] | the client: commands for scripts and the interactive shell |
//!
//! and the files beside them: [`server`] (builds everything, stops it in order), [`inspect`] (prints a log for people), [`stats`] (counters),
//! [`duration`] (lengths of time as Go writes them), [`size`] (numbers of bytes with units), [`os`] (threads, clocks, randomness).
//!
//! # Invariants
//!
//! * **Nothing in `raft` reads a clock, draws a random number or touches a disk.**
//! * **Nothing is acknowledged before it is synced** on a majority of the voters' disks.
//! * **Only the writer thread writes**, to the log and to the database.
//! * **The database file is the snapshot**: `db/mark` says which entry it stands for, and every
//!   entry behind that is applied again after a crash, exactly once.
//! * **Applying an entry reads no clock and draws no randomness** of the node that applies it.
//! * **An error of this node's own is never the outcome of an entry.**
//! * **No allocation is sized by a number that a client sent.**
//! * **A backup that failed never looks like one that worked**: errors come before the first byte
//!   or cut the connection.

pub mod api;
pub mod client;
pub mod command;
pub mod config;
pub mod db;
pub mod duration;
pub mod http;
pub mod inspect;
pub mod node;
pub mod os;
pub mod raft;
pub mod server;
pub mod size;
pub mod stats;
pub mod storage;
pub mod transport;
