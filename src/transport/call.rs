//! Small questions from node to node, as JSON: joining, notifying, asking who somebody is.
//!
//! Each goes over a connection of its own and is asked once. What is asked, and whether an answer
//! leads elsewhere, is the caller's business.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Failure};
use super::limits::CALL_BYTES_MAX;
use super::own::Secret;
use crate::http::{Header, Reply};

/// The header by which an answer is known to come from the node-to-node side of a node.
pub const MARK: &str = "x-quorlite-raft";

/// Puts [`MARK`] on a reply. Every reply of the node-to-node listener needs it.
pub fn marked(mut reply: Reply) -> Reply {
    let mark: Header = (MARK, "1".into());
    reply.headers.push(mark);
    reply
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody listens there: nothing was asked.
    ConnectionRefused {
        /// Where.
        address: String,
    },
    /// It could not be reached, and nothing was asked.
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// It was asked, perhaps, and there was no whole answer: what came of it is not known.
    NoAnswer {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// A web server answers there, and no node.
    ServesHttp {
        /// Where.
        address: String,
    },
    /// Something answers there, and no node.
    Foreign {
        /// Where.
        address: String,
    },
    /// The node said no.
    Refused {
        /// The status.
        status: u16,
        /// Its words.
        text: String,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionRefused { address } => write!(f, "{address} refuses the connection"),
            Self::Unreachable { address, why } => write!(f, "cannot reach {address}: {why}"),
            Self::NoAnswer { address, why } => write!(f, "no answer from {address}: {why}"),
            Self::ServesHttp { address } => write!(
                f,
                "join address {address} appears to be serving HTTP when it should be Raft"
            ),
            Self::Foreign { address } => write!(f, "what answers at {address} is no node"),
            Self::Refused { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for CallError {}

/// Asks the node at `address` by `POST /node/<name>`. `timeout` is how long the other may be silent
/// while it is asked and while it answers.
///
/// # Errors
/// See [`CallError`].
pub fn call(
    address: &str,
    name: &str,
    question: &Value,
    secret: Option<&Secret>,
    timeout: Duration,
) -> Result<Value, CallError> {
    let secret = secret.map(Secret::header);
    let mut client = Client::new(Arc::from(address), secret, timeout);
    let body = question.to_string();
    let answered = client.post(&format!("/node/{name}"), body.as_bytes(), CALL_BYTES_MAX);
    let here = || address.to_owned();
    let answer = answered.map_err(|failure| match failure {
        Failure::Refused => CallError::ConnectionRefused { address: here() },
        Failure::Unreachable(why) => CallError::Unreachable { address: here(), why },
        Failure::Broken(why) => CallError::NoAnswer { address: here(), why },
        Failure::Foreign => CallError::Foreign { address: here() },
    })?;
    if !answer.is_marked {
        return Err(CallError::ServesHttp { address: here() });
    }
    if answer.status != 200 {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(CallError::Refused { status: answer.status, text });
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| CallError::NoAnswer { address: here(), why: error.to_string() })
}
