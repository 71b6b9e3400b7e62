//! The listener: connections become requests, replies become bytes.
//!
//! A small, strict HTTP/1.0 and HTTP/1.1 server for one process that faces a network. It knows no
//! routes: a `Handler` answers, on the connection's own thread. Message parts (`Method`, `Header`,
//! `Response` and how a head is printed) are tiny_http's, heads are parsed by httparse, and
//! everything between the two is here:
//!
//! ```text
//!  listener -> registry -> pool -> connection: head -> body -> Handler -> reply
//!  (accept)    (who may    (threads)            (parsed,  (framed   (above)   (printed,
//!               stay)                            checked)  reader)             one write)
//! ```
//!
//! | file | is for |
//! |---|---|
//! | `listener` | addresses, the accept loop, shutting down |
//! | `registry` | the connections that are open, and which of them has to go |
//! | `pool` | the threads that serve them |
//! | `stream` | the socket of one: reads and writes with deadlines |
//! | `input` | its buffer |
//! | `connection` | the loop: head, answer, what is left, again |
//! | `head` | strict parsing of a head |
//! | `body` | strict reading of a body |
//! | `reply` | printing and sending of replies |
//! | `types` | what the layers above see |
//! | `limits`, `counters` | every number, and what was counted |
//!
//! **Invariant:** no allocation is sized by a number that a client sent.
//! **Invariant:** what was not parsed as a whole, strictly, is never executed: a connection whose
//! framing is in doubt is closed.
//! **Invariant:** a reply that broke never looks complete.

mod body;
mod connection;
mod counters;
mod head;
mod input;
mod limits;
mod listener;
mod pool;
mod registry;
mod reply;
mod stream;
mod types;

pub use body::Body;
pub use counters::{Count, Counters, Tally};
pub use limits::Limits;
pub use listener::{Listener, Server};
pub use types::{Client, Content, Handler, Header, Method, Reply, Request};
