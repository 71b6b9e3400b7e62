//! `/db/digest`: one number for everything in the database, the same on every node.
//!
//! It is answered by the node that is asked, leader or not: nodes are compared with each other by
//! asking each for the same index once nothing is written.

use serde_json::json;

use super::errors::Failure;
use super::params::Params;
use super::{Api, cluster};
use crate::http::{Reply, Request};
use crate::node::DigestError;

/// Answers the digest at the index asked for, or at a later one.
pub(super) fn digest(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let digest = match api.node.digest(params.index, params.timeout) {
        Ok(digest) => digest,
        Err(error) => return api.fail(failure(error, params.index), request, params),
    };
    let answer = json!({
        "index": digest.id.index,
        "term": digest.id.term,
        "digest": digest.sha256,
        "bytes": digest.bytes,
    });
    api.served(cluster::json_reply(&answer, params))
}

fn failure(error: DigestError, index: u64) -> Failure {
    match error {
        DigestError::TooEarly { applied } => {
            let text = format!(
                "entry {index} was not applied in time: this node has applied {applied}; ask again, or with a longer timeout"
            );
            Failure::Text(503, text)
        }
        DigestError::Stopped => Failure::Text(503, "node is stopping".to_owned()),
        DigestError::Backup(error) => error.into(),
    }
}
