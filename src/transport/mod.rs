//! Messages, bodies and snapshots between nodes.
//!
//! The transport carries what the consensus core says, and keeps no promises: what it is given may
//! be lost, doubled or come late. It never makes a caller wait. What it does promise is about bytes:
//! what arrives is what was sent, from the member that it names, whole, or it does not arrive.
//!
//! ```text
//!   consensus thread                    another node
//!     | Links::send, append, ...          | Inbox::deliver, body_received, ...
//!     v                                   |
//!   now-<peer>   one small POST at a time -> listener -> Inbound
//!   bulk-<peer>  one large POST at a time -> listener -> Inbound
//!     |                                   |
//!     v                                   v
//!   Events (answers, ends, who is there)  the response: an answer, if there is one in time
//! ```
//!
//! # Files
//!
//! | file | is for |
//! |---|---|
//! | `seams` | what the node implements: read this first |
//! | `own` | who this node is, and the secret between the nodes |
//! | `frame`, `contents`, `fields` | the bytes of a message: envelope, kinds, numbers |
//! | `links`, `peer` | the outbound side: all peers; what waits for one, and how it is doing |
//! | `now` | the thread of the now connection |
//! | `bulk`, `handing`, `sending` | the thread of the bulk connection: appends; bodies; states |
//! | `exchange`, `client` | one request and its answer; one connection |
//! | `inbound`, `receiving` | the inbound side: checks, then files that come in pieces |
//! | `call` | small questions as JSON |
//! | `limits` | every number, with its reason |
//!
//! # Two connections
//!
//! A peer has a connection for what must not wait (heartbeats, votes, rounds for reads) and one for
//! what is large, each with its thread, one request at a time on each. So a slow peer or a long
//! transfer holds up neither other peers nor its own heartbeats. Nothing is sent twice by itself, and
//! a connection on which something failed is not used again.
//!
//! On the bulk connection appends go first; bodies and the state go in pieces between them. An
//! append that names a detached body is refused by a node that lacks the body, and sent again once
//! the body is there: so no node can be made to append such an entry without it.
//!
//! # Transfers
//!
//! Each piece has the frame's checksum, and the receiver says how much it has, so that a transfer
//! goes on where it broke off. The whole is hashed by the receiver as it is written, and the file
//! gets its name only if that is the SHA-256 it was announced with, after it is synced. Before the
//! first byte the disk is asked for room.
//!
//! # What is promised
//!
//! * **Invariant:** no caller of [`Links`] waits for a peer, and every queue has a bound.
//! * **Invariant:** nothing is delivered that was not checked: the secret, the version, the cluster,
//!   to whom, from whom, and the checksum, in this order.
//! * **Invariant:** no allocation is sized by a number in a message.
//! * **Invariant:** an append never holds an entry that its leader did not have there.
//! * **Invariant:** nothing is told of a peer after it was removed.

mod bulk;
mod call;
mod client;
mod contents;
mod exchange;
mod fields;
mod frame;
mod handing;
mod inbound;
mod limits;
mod links;
mod now;
mod own;
mod peer;
mod receiving;
mod seams;
mod sending;
#[cfg(test)]
mod tests;

pub use call::{CallError, MARK, call, marked};
pub use inbound::Inbound;
pub use limits::{APPEND_BYTES_MAX, NAME_BYTES_MAX, PIECE_BYTES};
pub use links::{Links, PeerStatus};
pub use own::{Own, SECRET_HEADER, Secret};
pub use seams::{
    BodySource, Events, Inbox, Known, ReceivedSnapshot, SnapshotSource, SnapshotStream,
};
