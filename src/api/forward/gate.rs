//! The other end of forwarding: what the Raft listener does with requests under the prefix.
//!
//! They reach the same endpoints as a client's, with the client's own credentials, and go no
//! further than this node. Only what needs a leader is let in; everything else that a client may
//! ask is asked at the client's address. Nothing here is for messages between nodes.

use std::sync::Arc;

use super::PREFIX;
use crate::api::{Api, reply};
use crate::http::{Handler, Reply, Request};

/// Whether a request's secret, if it has one, is the cluster's.
pub type Admits = Arc<dyn Fn(&Request<'_>) -> bool + Send + Sync>;

/// Answers forwarded requests, and lets the next handler answer all others.
pub struct Gate {
    api: Arc<Api>,
    admits: Admits,
    next: Arc<dyn Handler>,
}

impl Gate {
    /// `admits` is asked for each request under the prefix; `next` answers what is not.
    pub fn new(api: Arc<Api>, admits: Admits, next: Arc<dyn Handler>) -> Self {
        Self { api, admits, next }
    }
}

impl Handler for Gate {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        let inner = request.path.strip_prefix(PREFIX).filter(|path| path.starts_with('/'));
        let Some(inner) = inner.map(str::to_owned) else { return self.next.answer(request) };
        if !(self.admits)(request) {
            return reply::text(
                403,
                "this node does not know you: the cluster secret is missing or wrong",
            );
        }
        request.path = inner;
        self.api.answer_node(request)
    }
}
