//! SQLite: the state machine, and the only folder that names `rusqlite`.
//!
//! One connection writes ([`apply`]); many read ([`readers`]). Nothing here knows how an entry
//! came to be committed or how its outcome reaches a client.

pub mod apply;
pub mod checkpoint;
mod clock;
pub mod compress;
pub mod connection;
pub mod dump;
mod execute;
pub mod fault;
mod guard;
pub mod header;
pub mod lexer;
pub mod load;
pub mod mark;
pub mod outcome;
pub mod pages;
pub mod pipe;
mod random;
mod raw;
pub mod readers;
pub mod recovery;
pub mod replace;
mod rowid;
pub mod scan;
mod script;
pub mod snapshot;
pub mod state_machine;
pub mod upload;
pub mod vacuum;
pub mod wal;
pub mod work;

pub use apply::{Applied, Applier, Task};
pub use connection::{WriterSettings, check_build};
pub use fault::{Fault, FaultKind};
pub use readers::{Gone, QueryOptions, ReadError, Readers};
pub use work::Interrupter;
