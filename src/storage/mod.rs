//! The hand-written Raft log and the other files that must survive a crash.
//!
//! This folder is the only place that syncs. Everything a node promises rests on what is
//! written here having reached the disk before the promise left the node, and on being able to
//! tell afterwards whether it is still there.
//!
//! ```text
//! data directory
//!   lock                     one process at a time                        lock
//!   raft/                    the log                                      log
//!     0000000007-00000000000000031250.log    sealed: full, synced, read only
//!     0000000008-00000000000000062500.log    the one that is written to
//!   bodies/                  detached bodies, named by their SHA-256      bodies
//! ```
//!
//! # The format
//!
//! The log is one stream of records, cut into segments. `record` has the table of a record,
//! `segment` that of a segment's head. What the records say, in order, is the log:
//!
//! | record | says |
//! |--------|------|
//! | head | a segment begins, after the entry of this id; version and salt |
//! | hard state | term and vote from here on; repeated behind each head |
//! | entry | the next entry |
//! | truncate | the end is dropped: the entry of this id is the last one |
//! | compact | the beginning is dropped, up to the entry of this id |
//! | reset | everything is dropped, and the log goes on after this id |
//!
//! Nothing in a segment is ever changed, not even to drop an end that conflicts: cutting the
//! file could lose a vote that was written behind it. So there is one order of events, and a
//! batch of any mixture takes effect as one.
//!
//! Every record repeats the checksum of the one before it, also across segments. That finds
//! what a checksum alone does not: a record that was lost, doubled, or written elsewhere.
//!
//! # A batch
//!
//! ```text
//! append, set_hard_state, truncate_from, compact      buffered; readers see it at once
//! sync                                                one write, one fdatasync
//!                                                     and now it may be promised
//! ```
//!
//! A batch goes where the last one ended, which is behind everything that is synced. Ahead of it
//! the file holds zeros, so that most syncs change no file length. A segment that has grown past
//! its limit is sealed after a batch, never within one.
//!
//! # Torn or damaged
//!
//! A disk that loses power in a sync has written any of the batch's sectors, in any order. So
//! in the last batch a bad record may stand before good ones, and that is no damage: nothing in
//! it was promised. A bad record before it is damage: it was synced, and perhaps promised.
//!
//! To tell them apart, each record says up to which offset its segment was synced when it was
//! written. A record at `X` does not check out:
//!
//! | found | then |
//! |-------|------|
//! | a later segment | damaged: a segment is sealed synced |
//! | behind `X` a sound header with `synced > X` | damaged |
//! | it is the head or the hard state behind it | damaged: a segment is named synced |
//! | it checks out, but says what cannot be | damaged |
//! | none of these | torn: the segment is cut at `X` |
//!
//! A damaged log is refused, with the file, the offset and the ways to go on; nothing is changed.
//! A torn one is cut and synced before anything is written behind the cut, so that no old byte
//! can come back behind new ones. What was read is synced too: a killed process may have left
//! it in the page cache only.
//!
//! Headers are checked with a salt that only this node knows, so bytes sent by a client can
//! never pass for a record in this search.
//!
//! What it cannot see: damage to the very last batch, with nothing behind it, looks torn. The
//! one who opens the log must compare its end with what else is known to have been synced.
//!
//! # Failures
//!
//! * No room: the batch is dropped as if it had never been buffered, the file is cut back and
//!   synced, and the log can be used on. The zeros ahead are a small reserve.
//! * A sync that fails, or any other failed write, is final: the kernel may have dropped the
//!   pages and call the next sync a success. Every call fails from then on; the process ends.
//! * A crash while a segment is made leaves a file under a temporary name, which is removed. A
//!   crash while segments are dropped leaves some of the oldest: they go one by one, each synced.
//!
//! # What is promised
//!
//! * **Invariant:** what `sync` returned `Ok` for is there after any crash, unchanged, or the
//!   log does not open.
//! * **Invariant:** an entry that is read is the entry that was appended, byte for byte. One
//!   that cannot be read is an error, never "no such entry".
//! * **Invariant:** the hard state is in every segment, so that compaction cannot lose it.
//! * **Invariant:** no number in a file sizes memory before its checksum has been checked.
//! * **Invariant:** a file under its own name (segment, body, whatever `durable` replaced) is
//!   whole.

pub mod bodies;
pub mod durable;
pub mod inspect;
pub mod lock;

mod batch;
mod log;
mod reader;
mod record;
mod recovery;
mod segment;
mod view;

pub use log::{Log, LogError, Options};
pub use reader::{ReadError, Reader};
pub use record::{BODY_BYTES_MAX, Flaw, Kind};
pub use recovery::{Cut, OpenError, Recovered};
pub use view::Entry;
