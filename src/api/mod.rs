//! The HTTP API: rqlite's, on top of a running node.
//!
//! A request is matched against the table in `routes`, its query string is checked in `params`,
//! and one function answers it. This folder knows the node only through [`Handle`]: it never
//! touches SQLite, a file of the node or a socket. Answers are rqlite's to the byte where clients
//! could notice; where rqlite loses data or contradicts itself, the sane answer is given and the
//! file says so.
//!
//! | file                          | answers                                                    |
//! |-------------------------------|------------------------------------------------------------|
//! | `routes`                      | who answers what; `/`, `/debug/pprof`                      |
//! | `sql`, `queue`                | `/db/execute`, `/db/query`, `/db/request`                  |
//! | `analyze`                     | `/db/sql`                                                  |
//! | `backup`, `digest`, `load`    | `/db/backup`; `/db/digest`; `/db/load`, `/boot`            |
//! | `remote`, `forward`           | what only the leader may answer, through it                |
//! | `peers`                       | what other nodes say of themselves                         |
//! | `cluster`, `health`           | `/nodes`, `/leader`, `/remove`, `/snapshot`, `/reap`; `/readyz` |
//! | `status`, `metrics`           | `/status`; `/debug/vars`, `/metrics`, `/licenses`          |
//! | `params`, `body`              | what comes in                                              |
//! | `results`, `json`, `dates`, `reply`, `errors` | what goes out                              |
//!
//! One thread belongs to this folder: `queue`, which owns the batch of queued writes.

mod analyze;
mod backup;
mod body;
mod cluster;
mod dates;
mod digest;
mod errors;
pub mod forward;
mod health;
mod json;
mod load;
mod metrics;
mod params;
mod peers;
mod queue;
mod remote;
mod reply;
mod results;
mod routes;
mod sql;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use queue::{QueueSettings, QueueThread};

use crate::http::{Handler, Method, Reply, Request, Tally};
use crate::node::Handle;
use crate::os;
use crate::stats::{self, Stat};
use errors::Failure;
use forward::{Forwarder, SecretHeader};
use params::{Origin, Params};
use queue::Queue;
use remote::Remote;
use results::Envelope;
use routes::Match;

/// What `X-RQLITE-VERSION` says: the major version of rqlite whose API this is.
pub const RQLITE_VERSION: &str = "10";
/// This program's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A header on answers to requests that may have been carried out or not.
const OUTCOME: &str = "X-QUORLITE-OUTCOME";
/// What it says then.
const UNKNOWN: &str = "unknown";

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address clients are told to call, host:port.
    pub http_address: String,
    /// The address listened on, host:port.
    pub http_bind_address: String,
    /// What `Access-Control-Allow-Origin` says; `None` leaves it out.
    pub allow_origin: Option<String>,
    /// Longest wait for a write or strong read to be applied.
    pub apply_timeout: Duration,
    /// Queued writes.
    pub queue: QueueSettings,
    /// What other nodes of the cluster want to see in requests.
    pub secret: Option<SecretHeader>,
    /// More of the configuration for `/status` to show under `store`, by rqlite's names.
    pub store: BTreeMap<&'static str, serde_json::Value>,
}

/// What answers clients.
pub struct Api {
    node: Handle,
    /// What the listener in front of us counts.
    listener: Arc<Tally>,
    settings: Settings,
    remote: Arc<Remote>,
    queue: Queue,
    started: Instant,
    started_wall: Duration,
    /// Milliseconds since 1970 of the last backup; 0 before the first.
    last_backup: AtomicU64,
}

/// Starts to answer for this node. The second value is stopped after the listener and before the
/// node, so that what was queued gets written.
///
/// # Errors
/// The system's, when it has no thread for the queue.
pub fn start(
    node: Handle,
    listener: Arc<Tally>,
    settings: Settings,
) -> io::Result<(Api, QueueThread)> {
    let forwarder = Forwarder::new(settings.secret.clone());
    let remote = Arc::new(Remote { node: node.clone(), forwarder });
    let (queue, thread) =
        queue::start(Arc::clone(&remote), settings.queue, settings.apply_timeout)?;
    let api = Api {
        node,
        listener,
        settings,
        remote,
        queue,
        started: Instant::now(),
        started_wall: os::wall_clock(),
        last_backup: AtomicU64::new(0),
    };
    Ok((api, thread))
}

impl Handler for Api {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        self.answer_from(request, Origin::Client)
    }
}

impl Api {
    /// Answers what another node has forwarded; its path is the client's again.
    fn answer_node(&self, request: &mut Request<'_>) -> Reply {
        if !routes::needs_leader(&request.method, &request.path) {
            return reply::text(404, "nothing is forwarded here: ask at the HTTP address");
        }
        self.answer_from(request, Origin::Node)
    }

    fn answer_from(&self, request: &mut Request<'_>, origin: Origin) -> Reply {
        stats::add(Stat::AllRequests, 1);
        let mut reply = self.route(request, origin);
        if reply.status >= 400 {
            stats::add(Stat::Refusals, 1);
        }
        self.push_common_headers(&mut reply);
        reply
    }

    fn route(&self, request: &mut Request<'_>, origin: Origin) -> Reply {
        if request.method == Method::Options {
            return reply::empty(200);
        }
        let (mut reply, content_type) = match routes::find(&request.method, &request.path) {
            Match::Route(route) => {
                if let Some(stat) = route.stat {
                    stats::add(stat, 1);
                }
                let reply = match Params::parse(&request.query) {
                    Ok(params) => (route.answer)(self, request, &params.asked_by(origin)),
                    Err(bad) => reply::text(400, &bad.to_string()),
                };
                (reply, route.content_type)
            }
            Match::WrongMethod(content_type) => (reply::empty(405), content_type),
            Match::Unknown => (reply::empty(404), None),
        };
        let has_type = reply.headers.iter().any(|(name, _)| *name == "Content-Type");
        if let Some(content_type) = content_type
            && !has_type
        {
            reply.headers.push(("Content-Type", content_type.into()));
        }
        reply
    }

    fn push_common_headers(&self, reply: &mut Reply) {
        reply.headers.push(("X-RQLITE-VERSION", RQLITE_VERSION.into()));
        reply.headers.push(("X-QUORLITE-VERSION", VERSION.into()));
        reply.headers.push(("Access-Control-Allow-Methods", "OPTIONS, GET, POST".into()));
        reply.headers.push(("Access-Control-Allow-Headers", "Content-Type".into()));
        if let Some(origin) = &self.settings.allow_origin {
            reply.headers.push(("Access-Control-Allow-Origin", origin.clone().into()));
        }
    }

    /// The answer to a failure. Endpoints whose answers hold results have given theirs already
    /// (see [`Self::fail_results`]); the others say the same with status 500.
    fn fail(&self, failure: Failure, request: &Request<'_>, params: &Params) -> Reply {
        match failure {
            Failure::NotLeader => self.not_leader(request, params),
            Failure::InResults(error) => reply::text(500, &error),
            Failure::Unknown(error) => unknown(reply::text(500, &error)),
            Failure::Text(status, sentence) => reply::text(status, &sentence),
        }
    }

    /// The answer to a failure where a client looks for results.
    fn fail_results(
        &self,
        failure: Failure,
        request: &Request<'_>,
        params: &Params,
        form: results::Form,
    ) -> Reply {
        let with_error = |error: &str| {
            let envelope = Envelope { error: Some(error), ..Envelope::default() };
            self.served(reply::bytes(results::encode(&[], envelope, form)))
        };
        match failure {
            Failure::InResults(error) => with_error(&error),
            Failure::Unknown(error) => unknown(with_error(&error)),
            Failure::NotLeader | Failure::Text(..) => self.fail(failure, request, params),
        }
    }

    /// Says that this node has answered by itself.
    fn served(&self, reply: Reply) -> Reply {
        reply::served_by(reply, &self.settings.http_address)
    }

    fn note_backup(&self) {
        let now = u64::try_from(os::wall_clock().as_millis()).unwrap_or(u64::MAX);
        self.last_backup.store(now, Ordering::Relaxed);
    }
}

/// Says that what the request asked for may have been done or not.
fn unknown(mut reply: Reply) -> Reply {
    reply.headers.push((OUTCOME, UNKNOWN.into()));
    reply
}
