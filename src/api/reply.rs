//! Answers without a route's own logic: texts, JSON, nothing.
//!
//! Texts look as Go's library sends them, since scripts compare them: a final newline, and a
//! header against guessing at their type.

use crate::http::{Content, Reply};

/// The types of most answers, as Go writes them.
pub(super) const JSON: &str = "application/json; charset=utf-8";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// Room for headers that one allocation makes; few replies have more.
const HEADERS: usize = 8;

/// A status and nothing else.
pub(super) fn empty(status: u16) -> Reply {
    Reply { status, headers: Vec::with_capacity(HEADERS), content: Content::Empty }
}

/// A refusal: a sentence with a newline.
pub(super) fn text(status: u16, sentence: &str) -> Reply {
    let mut reply = bytes(format!("{sentence}\n").into_bytes());
    reply.status = status;
    reply.headers.push(("Content-Type", PLAIN.into()));
    reply.headers.push(("X-Content-Type-Options", "nosniff".into()));
    reply
}

/// 200 with a body whose type is the route's.
pub(super) fn bytes(body: Vec<u8>) -> Reply {
    Reply { content: Content::Bytes(body), ..empty(200) }
}

/// The client is sent to `location`.
pub(super) fn redirect(status: u16, location: String) -> Reply {
    let mut reply = empty(status);
    reply.headers.push(("Location", location.into()));
    reply
}

/// Adds who answered.
pub(super) fn served_by(mut reply: Reply, address: &str) -> Reply {
    reply.headers.push(("X-RQLITE-SERVED-BY", address.to_owned().into()));
    reply
}
