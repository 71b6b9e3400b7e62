//! Answers without a route's own logic: texts, JSON, nothing.
//!
//! Texts look as Go's library sends them, since scripts compare them: a final newline, and a
//! header against guessing at their type.

use crate::http::{Content, Reply};

pub(super) const JSON: &str = "application/json; charset=utf-8";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// A status and nothing else.
pub(super) fn empty(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), content: Content::Empty }
}

/// A refusal: a sentence with a newline.
pub(super) fn text(status: u16, sentence: &str) -> Reply {
    let headers =
        vec![("Content-Type", PLAIN.to_owned()), ("X-Content-Type-Options", "nosniff".to_owned())];
    Reply { status, headers, content: Content::Bytes(format!("{sentence}\n").into_bytes()) }
}

/// 200 with a body whose type is the route's.
pub(super) fn bytes(body: Vec<u8>) -> Reply {
    Reply { status: 200, headers: Vec::new(), content: Content::Bytes(body) }
}

/// The client is sent to `location`.
pub(super) fn redirect(status: u16, location: String) -> Reply {
    Reply { status, headers: vec![("Location", location)], content: Content::Empty }
}

/// Adds who answered.
pub(super) fn served_by(mut reply: Reply, address: &str) -> Reply {
    reply.headers.push(("X-RQLITE-SERVED-BY", address.to_owned()));
    reply
}
