//! One attempt to write a batch: here, or through the leader.
//!
//! Decides what became of the batch and nothing else; when to try again is the queue's business.
//! The leader's answer is read as a client's would be: a batch that may have been written is
//! never written again.

use std::time::Duration;

use crate::api::forward::{Fate, Outgoing, Passed, Terms, Upload};
use crate::api::remote::Remote;
use crate::api::{OUTCOME, UNKNOWN};
use crate::command::{Batch, Statement};
use crate::http::{Content, Method, Reply};
use crate::node::ProposeError;

/// How long the leader may take for a batch.
const FORWARD_MAX: Duration = Duration::from_secs(60);
/// What the leader's answer begins with when the batch as a whole was not written.
const FAILED: &[u8] = b"{\"results\":[],\"error\":";

/// Why a batch is not known to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// There is no leader: it can be tried again.
    NoLeader,
    /// Not written, and why: it can be tried again.
    Refused(String),
    /// It may have been written.
    Unknown(String),
    /// It will never be written: the leader refuses it, or the node has stopped.
    Lost(String),
}

/// Who writes batches, and how.
pub(super) struct Delivery {
    pub(super) remote: std::sync::Arc<Remote>,
    pub(super) apply_timeout: Duration,
    pub(super) is_transaction: bool,
}

impl Delivery {
    /// Writes a batch; `payload` is the same statements as JSON.
    pub(super) fn write(
        &self,
        statements: Vec<Statement>,
        payload: &[u8],
        credentials: Option<&str>,
    ) -> Result<(), Undelivered> {
        if !self.remote.node.is_leader() {
            let forwarded = self.forward(payload, credentials);
            if let Some(result) = forwarded {
                return result;
            }
        }
        let batch = Batch {
            statements,
            transaction: self.is_transaction,
            returns_rows: false,
            qualify_columns: false,
            instructions_max: 0,
        };
        match self.remote.node.execute(batch, payload, self.apply_timeout) {
            Ok(_) => Ok(()),
            Err(ProposeError::OutcomeUnknown(why)) => Err(Undelivered::Unknown(why)),
            Err(ProposeError::Stopped) => Err(Undelivered::Lost("node has stopped".to_owned())),
            Err(ProposeError::NotLeader) => Err(Undelivered::NoLeader),
            Err(ProposeError::Refused(why)) => Err(Undelivered::Refused(why)),
        }
    }

    /// Has the leader write it; `None` when that is this node.
    fn forward(
        &self,
        payload: &[u8],
        credentials: Option<&str>,
    ) -> Option<Result<(), Undelivered>> {
        let credentials = credentials.map(|text| ("Authorization".to_owned(), text.to_owned()));
        let headers: Vec<(String, String)> = credentials.into_iter().collect();
        let outgoing = Outgoing {
            method: &Method::Post,
            path: "/db/execute",
            query: if self.is_transaction { "transaction" } else { "" },
            headers: &headers,
        };
        let upload = Upload::Bytes(payload, Some("application/json"));
        let terms = Terms { timeout: FORWARD_MAX, retries: 0, is_transfer: false, watch: None };
        let find = || self.remote.find();
        Some(match self.remote.forwarder.pass_on(outgoing, upload, &terms, &find) {
            Passed::Here => return None,
            Passed::NoLeader => Err(Undelivered::NoLeader),
            Passed::Answer(reply) => judge(&reply),
            Passed::Failed { fate: Fate::Unknown, why } => Err(Undelivered::Unknown(why)),
            Passed::Failed { fate: Fate::Unsent | Fate::Undone | Fate::CutByClient, why } => {
                Err(Undelivered::Refused(why))
            }
        })
    }
}

/// What the leader's answer says of a batch.
fn judge(reply: &Reply) -> Result<(), Undelivered> {
    let body = match &reply.content {
        Content::Bytes(bytes) => bytes.as_slice(),
        // A long answer is one with many results.
        Content::Stream { .. } | Content::Empty => b"",
    };
    let text = || String::from_utf8_lossy(body).trim_end().to_owned();
    if reply.headers.iter().any(|(name, value)| *name == OUTCOME && value == UNKNOWN) {
        return Err(Undelivered::Unknown(text()));
    }
    match reply.status {
        200 if body.starts_with(FAILED) => Err(Undelivered::Refused(text())),
        200 => Ok(()),
        401 => Err(Undelivered::Lost("remote Execute not authorized".to_owned())),
        400..=499 => Err(Undelivered::Lost(text())),
        _ => Err(Undelivered::Refused(text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: Vec::new(), content: Content::Bytes(body.as_bytes().to_vec()) }
    }

    #[test]
    fn the_leaders_answer_decides_whether_a_batch_is_written_again() {
        assert_eq!(judge(&reply(200, "{\"results\":[{\"error\":\"no such table\"}]}")), Ok(()));
        let full = "{\"results\":[],\"error\":\"disk full\"}";
        assert_eq!(judge(&reply(200, full)), Err(Undelivered::Refused(full.to_owned())));
        let mut lost = reply(200, full);
        lost.headers.push((OUTCOME, UNKNOWN.into()));
        assert_eq!(judge(&lost), Err(Undelivered::Unknown(full.to_owned())));
        assert!(matches!(judge(&reply(401, "")), Err(Undelivered::Lost(_))));
        assert!(matches!(judge(&reply(413, "too large")), Err(Undelivered::Lost(_))));
        assert!(matches!(judge(&reply(503, "stopping")), Err(Undelivered::Refused(_))));
    }
}
