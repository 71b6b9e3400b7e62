//! SQLite: the state machine, and the only folder that names `rusqlite`.
//!
//! One connection writes, in the writer thread, what entries of the log ask for; many read, each
//! on the thread of whoever asks; copies are made from read transactions pinned to one entry.
//! Nothing here knows how an entry came to be committed or how its outcome reaches a client.
//!
//! ```text
//! data directory
//!   db/
//!     mark                     which file is the database, and what it stands for   mark
//!     database-1.sqlite        the database: the snapshot that the log goes on from
//!     database-1.sqlite-wal    what was applied since the last checkpoint; never synced alone
//! ```
//!
//! # Files
//!
//! | file | is for |
//! |---|---|
//! | `state_machine` | one database, moved from entry to entry: joins what follows |
//! | `apply`, `execute`, `script` | entries in transactions; one text of SQL; texts of any size |
//! | `outcome`, `fault` | what came of a statement; which errors are outcomes and which are not |
//! | `readers` | the pool of read-only connections |
//! | `connection`, `raw` | how connections are opened; calls that `rusqlite` does not wrap |
//! | `clock`, `random`, `rowid`, `work` | what every node must do alike: time, chance, row ids, limits |
//! | `guard` | what SQL of users may do |
//! | `lexer`, `scan`, `splitter` | SQL as tokens, what kind of statements they are, and where they end |
//! | `incomplete` | whether SQL lacks its end, by SQLite's own parser |
//! | `mark`, `checkpoint`, `recovery`, `replace` | what the files stand for, moved on, recovered, replaced |
//! | `header`, `wal` | the two file formats, as bytes |
//! | `snapshot`, `pages`, `vacuum`, `dump` | a pinned read transaction, and the copies made from it |
//! | `compress`, `pipe` | copies on their way out |
//! | `upload`, `load` | databases on their way in, and what is checked of them |
//! | `rehearse`, `inventory` | a text run where it can harm nothing; what a file holds |
//!
//! # Invariants
//!
//! * **The same entries give the same database on every node.** An entry carries the time and the
//!   seed; nothing of the node that applies it (its clock, memory, disk or build) may show.
//! * **An error of this node's own is never an outcome**: `fault` decides, and nobody else.
//! * **The mark on the disk is true at every moment**: whatever it names as applied is in the files
//!   that it names, synced, and a crash between any two steps leaves one of the two states.
//! * **Reads never wait for the writer, and the writer waits for no read** but when the WAL has
//!   grown past a limit; then reads end, and writes go on.
//! * **No SQL of a user touches a file**, another database or a setting that others rely on.

pub mod apply;
pub mod checkpoint;
mod clock;
mod compile;
pub mod compress;
pub mod connection;
pub mod dump;
mod execute;
pub mod fault;
mod growth;
mod guard;
mod header;
pub mod incomplete;
pub mod inventory;
pub mod lexer;
pub mod load;
pub mod mark;
pub mod outcome;
pub mod pages;
mod pipe;
mod random;
mod raw;
pub mod readers;
pub mod recovery;
pub mod rehearse;
pub mod replace;
mod rowid;
pub mod scan;
mod script;
pub mod snapshot;
pub mod splitter;
pub mod state_machine;
pub mod upload;
pub mod vacuum;
pub mod wal;
pub mod work;
