//! Whether another node must answer a request, and what a client is told when none does.
//!
//! The first thing every endpoint that needs the leader asks. How a request gets there is
//! `forward`'s business; who leads is the node's. Nothing here looks into a request.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::errors::Failure;
use super::forward::{
    Fate, Forwarder, Leader, Lookup, NOT_LEADER, NOT_LEADER_STATUS, Outgoing, Passed, Terms,
    Upload, Watch,
};
use super::params::{Flag, Origin, Params};
use super::results::{Endpoint, Form};
use super::{Api, reply};
use crate::http::{Client, Method, Reply, Request};
use crate::node::Handle;
use crate::os;
use crate::stats::{self, Stat};

/// How long a node that was just elected is waited for, until it may serve.
const TAKING_OFFICE_MAX: Duration = Duration::from_secs(1);
/// Time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long an answer is waited for from a node that leads no longer.
const LOST_LEADER_MAX: Duration = Duration::from_secs(5);

/// What is asked of the leader.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// Results, where failures stand beside them.
    Data(Form),
    /// Something small.
    Small,
    /// A database, in one direction or the other.
    Transfer,
}

/// A request's body on its way to the leader.
#[derive(Clone, Copy)]
pub(super) enum Carried<'b> {
    /// Read, and as the client sent it.
    AsSent(&'b [u8]),
    /// Read, and JSON by now, whatever it was.
    AsJson(&'b [u8]),
    /// With the client.
    Unread,
}

/// The way to the leader.
pub(super) struct Remote {
    pub(super) node: Handle,
    pub(super) forwarder: Forwarder,
}

impl Remote {
    /// Who leads. A node that was elected and may not serve yet is waited for.
    pub(super) fn find(&self) -> Lookup {
        let began = Instant::now();
        loop {
            if self.node.is_leader() {
                return Lookup::Here;
            }
            let cluster = self.node.cluster();
            if cluster.leader.as_ref() != Some(&cluster.id) {
                let leader = cluster.leader();
                return leader.map_or(Lookup::Nobody, |leader| {
                    Lookup::There(Leader {
                        raft_address: leader.raft_address.clone(),
                        http_address: leader.http_address.clone(),
                    })
                });
            }
            if began.elapsed() >= TAKING_OFFICE_MAX {
                return Lookup::Nobody;
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Ends waits for an answer that nobody wants, or that will not come.
    fn watch(&self, client: Client) -> Watch {
        let node = self.node.clone();
        let lost_since = Mutex::new(None);
        Arc::new(move |raft_address| {
            if client.is_gone() {
                return Err("the client has gone".to_owned());
            }
            let leads =
                node.cluster().leader().is_some_and(|leader| leader.raft_address == raft_address);
            let mut since = os::lock(&lost_since);
            if leads {
                *since = None;
                return Ok(());
            }
            if since.get_or_insert_with(Instant::now).elapsed() < LOST_LEADER_MAX {
                return Ok(());
            }
            Err("it leads no longer and has not answered".to_owned())
        })
    }
}

impl Api {
    /// Has the leader answer; `None` when that is this node.
    pub(super) fn elsewhere(
        &self,
        request: &mut Request<'_>,
        params: &Params,
        body: Carried<'_>,
        task: Task,
    ) -> Option<Reply> {
        if self.node.is_leader() {
            return None;
        }
        if params.origin == Origin::Node || params.has(Flag::Redirect) {
            return match self.remote.find() {
                Lookup::Here => None,
                Lookup::There(_) | Lookup::Nobody => Some(self.not_leader(request, params)),
            };
        }
        let client = request.client.clone();
        let Request { method, path, query, headers, body: stream, .. } = request;
        let upload = match body {
            Carried::AsSent(bytes) => Upload::Bytes(bytes, None),
            Carried::AsJson(bytes) => Upload::Bytes(bytes, Some("application/json")),
            Carried::Unread => Upload::Stream(stream),
        };
        let terms = Terms {
            timeout: params.timeout,
            retries: params.retries,
            is_transfer: matches!(task, Task::Transfer),
            watch: Some(self.remote.watch(client)),
        };
        let outgoing = Outgoing { method, path, query, headers };
        let find = || self.remote.find();
        match self.remote.forwarder.pass_on(outgoing, upload, &terms, &find) {
            Passed::Here => None,
            Passed::Answer(reply) => {
                stats::add(Stat::Forwarded, 1);
                Some(reply)
            }
            Passed::NoLeader => Some(self.not_leader(request, params)),
            Passed::Failed { fate, why } => {
                stats::add(Stat::ForwardedFailed, 1);
                Some(self.unanswered(fate, &why, task, request, params))
            }
        }
    }

    /// What a client is told whose request the leader has not answered.
    fn unanswered(
        &self,
        fate: Fate,
        why: &str,
        task: Task,
        request: &Request<'_>,
        params: &Params,
    ) -> Reply {
        match fate {
            Fate::Unsent | Fate::Undone => {
                reply::text(503, &format!("leader not reachable, nothing was done: {why}"))
            }
            Fate::CutByClient => reply::text(400, &format!("cannot read the request body: {why}")),
            Fate::Unknown => {
                let lost = if changes_nothing(&request.method, task) {
                    Failure::InResults(format!("the answer was lost, ask again: {why}"))
                } else {
                    Failure::Unknown(format!(
                        "the answer was lost, and whether the request was carried out is not \
                         known, look before you repeat it: {why}"
                    ))
                };
                match task {
                    Task::Data(form) => self.fail_results(lost, request, params, form),
                    Task::Small | Task::Transfer => self.fail(lost, request, params),
                }
            }
        }
    }

    /// The answer of a node that does not lead to what only a leader may do.
    pub(super) fn not_leader(&self, request: &Request<'_>, params: &Params) -> Reply {
        if params.origin == Origin::Node {
            let mut refusal = reply::text(NOT_LEADER_STATUS, "not leader");
            refusal.headers.push((NOT_LEADER, "1".into()));
            return refusal;
        }
        if params.has(Flag::Redirect)
            && let Lookup::There(leader) = self.remote.find()
            && !leader.http_address.is_empty()
        {
            let location = location(&leader.http_address, &request.path, &request.query);
            return reply::redirect(301, location);
        }
        stats::add(Stat::LeaderNotFound, 1);
        reply::text(503, "leader not found")
    }
}

/// Whether a request may be repeated whatever became of it.
fn changes_nothing(method: &Method, task: Task) -> bool {
    let is_query = matches!(task, Task::Data(Form { endpoint: Endpoint::Query, .. }));
    is_query || matches!(method, Method::Get | Method::Head)
}

/// Where the leader answers clients, with the path and the query as they came.
fn location(http_address: &str, path: &str, query: &str) -> String {
    let separator = if query.is_empty() { "" } else { "?" };
    format!("http://{http_address}{path}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_repeats_what_was_asked_to_the_byte() {
        let odd = "q=SELECT%20'a'&&level=%6eone&redirect&x=<\"{}|^`>#?/:@&=;";
        let wanted = format!("http://[::1]:4001/db/query%20/x?{odd}");
        assert_eq!(location("[::1]:4001", "/db/query%20/x", odd), wanted);
        assert_eq!(location("localhost:4001", "/db/load", ""), "http://localhost:4001/db/load");
    }
}
