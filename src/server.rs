//! The whole server: builds everything, waits for a signal, and stops it in order.
//!
//! Nothing is decided here; this file is the list of what there is, in the order in which it
//! starts, and in which it ends.

use std::fmt::Display;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::api;
use crate::config::{ClusterConfig, Config};
use crate::db;
use crate::duration;
use crate::http;
use crate::node::{self, Node};
use crate::transport::{self, Inbound};

/// How long requests in flight may take to be answered once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Longest question of another node: a membership of a thousand nodes is a tenth of it.
const QUESTION_BYTES_MAX: u64 = 1 << 20;

/// Why the server did not start, or not end well: a sentence.
#[derive(Debug)]
pub struct ServerError(String);

impl Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: &Config) -> Result<(), ServerError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(sentence)?;
    for notice in &config.notices {
        log::warn!("{notice}");
    }
    warn_of_build();
    // The addresses first: a port in use is the commonest reason not to start.
    let listener = bind(&config.http_address.to_string())?;
    let nodes_listener = bind(&config.raft_address.to_string())?;
    let settings = node_settings(config);
    let mut node = Node::start(&settings).map_err(sentence)?;
    let (api, queue) =
        api::start(node.handle(), listener.tally(), api_settings(config)).map_err(sentence)?;
    let api = Arc::new(api);
    let nodes =
        Nodes { inbound: node.inbound(), neighbours: node.neighbours(), api: Arc::clone(&api) };
    let neighbours = node.neighbours();
    let admits = move |request: &http::Request<'_>| {
        neighbours.admits(request.header(transport::SECRET_HEADER))
    };
    let gate = api::forward::Gate::new(Arc::clone(&api), Arc::new(admits), Arc::new(nodes));
    let nodes_server = nodes_listener.start("node", Arc::new(Marked(gate))).map_err(sentence)?;
    let server = listener.start("api", api).map_err(sentence)?;
    node.join(&settings).map_err(sentence)?;
    announce(config);

    if let Some(signal) = signals.forever().next() {
        let name = if signal == SIGINT { "interrupt" } else { "terminated" };
        log::info!("received signal \"{name}\", shutting down");
    }
    node.hand_over();
    server.shutdown(GRACE);
    queue.stop();
    node.stop();
    nodes_server.shutdown(Duration::ZERO);
    log::info!("rqlite server stopped");
    Ok(())
}

fn bind(address: &str) -> Result<http::Listener, ServerError> {
    let listener = http::Listener::bind(address, http::Limits::default());
    listener.map_err(|error| ServerError(format!("failed to listen on {address}: {error}")))
}

/// What answers at the address for other nodes, but for what they forward.
struct Nodes {
    inbound: Arc<Inbound>,
    neighbours: Arc<node::Neighbours>,
    api: Arc<api::Api>,
}

/// Has each reply say that it comes from there.
struct Marked<H>(H);

impl<H: http::Handler> http::Handler for Marked<H> {
    fn answer(&self, request: &mut http::Request<'_>) -> http::Reply {
        transport::marked(self.0.answer(request))
    }
}

impl http::Handler for Nodes {
    fn answer(&self, request: &mut http::Request<'_>) -> http::Reply {
        match request.path.strip_prefix("/node/").map(str::to_owned) {
            Some(name) => self.answer_question(&name, request),
            None => self.inbound.answer(request),
        }
    }
}

impl Nodes {
    fn answer_question(&self, name: &str, request: &mut http::Request<'_>) -> http::Reply {
        if !self.neighbours.admits(request.header(transport::SECRET_HEADER)) {
            return text(403, "the secret of this cluster (-cluster-secret) is another");
        }
        let mut body = Vec::new();
        let read = request.body.by_ref().take(QUESTION_BYTES_MAX + 1).read_to_end(&mut body);
        let question = serde_json::from_slice(&body);
        match (read, question) {
            (Ok(count), Ok(question)) if count as u64 <= QUESTION_BYTES_MAX => {
                match self.neighbours.answer(name, &question) {
                    Ok(mut answer) => {
                        if let (Some(all), "info") = (answer.as_object_mut(), name)
                            && let Value::Object(more) = self.api.node_info()
                        {
                            all.extend(more);
                        }
                        let headers = vec![("Content-Type", "application/json".into())];
                        let content = http::Content::Bytes(answer.to_string().into_bytes());
                        http::Reply { status: 200, headers, content }
                    }
                    Err(why) => text(409, &why),
                }
            }
            _ => text(400, "the question is not JSON"),
        }
    }
}

fn text(status: u16, text: &str) -> http::Reply {
    let content = http::Content::Bytes(format!("{text}\n").into_bytes());
    let headers = vec![("Content-Type", "text/plain; charset=utf-8".into())];
    http::Reply { status, headers, content }
}

fn node_settings(config: &Config) -> node::Settings {
    node::Settings {
        directory: config.folder.clone(),
        id: config.node_id.clone(),
        raft_address: config.raft_advertised.to_string(),
        http_address: config.http_advertised.to_string(),
        foreign_keys: config.foreign_keys,
        readers_max: config.readers_max.unwrap_or(0),
        checkpoint_entries: config.checkpoint.entries_max,
        checkpoint_wal_bytes: config.checkpoint.wal_bytes_max.unwrap_or(0),
        checkpoint_interval: config.checkpoint.interval,
        // The protocol has one time for both: silence, and an election without a winner.
        election_timeout: config.raft.election.max(config.raft.heartbeat),
        vacuum_interval: config.auto_vacuum_interval.unwrap_or_default(),
        optimize_interval: config.auto_optimize_interval.unwrap_or_default(),
        backup_limits: db::snapshot::Limits {
            wal_bytes_max: config.backup.wal_bytes_max,
            age_max: config.backup.age_max.unwrap_or(Duration::MAX),
            free_bytes_min: config.backup.free_bytes_min,
        },
        cluster: cluster_settings(&config.cluster),
    }
}

fn cluster_settings(config: &ClusterConfig) -> node::ClusterSettings {
    node::ClusterSettings {
        join: config.join.iter().map(ToString::to_string).collect(),
        join_attempts: config.join_attempts,
        join_interval: config.join_interval,
        bootstrap_expect: config.bootstrap_expect,
        bootstrap_expect_timeout: config.bootstrap_expect_timeout,
        is_voter: config.is_voter,
        steps_down_on_stop: config.steps_down_on_stop,
        stops_when_removed: config.stops_when_removed,
        leaves_on_stop: config.leaves_on_stop,
        reap_voters_after: config.reap_voters_after,
        reap_replicas_after: config.reap_replicas_after,
        connect_timeout: config.connect_timeout,
        secret: config.secret.as_ref().map(|secret| transport::Secret::new(secret.bytes())),
    }
}

fn api_settings(config: &Config) -> api::Settings {
    api::Settings {
        http_address: config.http_advertised.to_string(),
        http_bind_address: config.http_address.to_string(),
        allow_origin: config.allow_origin.clone(),
        apply_timeout: config.raft.apply.unwrap_or(Duration::MAX),
        queue: api::QueueSettings {
            capacity: config.queue.capacity,
            batch_size: config.queue.batch_size,
            timeout: config.queue.timeout,
            transaction: config.queue.transaction,
        },
        secret: config.cluster.secret.as_ref().map(|secret| {
            let secret = transport::Secret::new(secret.bytes());
            let value = secret.header().to_owned();
            api::forward::SecretHeader { name: transport::SECRET_HEADER, value }
        }),
        store: store_settings(config),
    }
}

/// What `/status` shows of the command line, by rqlite's names.
fn store_settings(config: &Config) -> std::collections::BTreeMap<&'static str, Value> {
    let span = |span: Duration| json!(duration::print(span));
    [
        ("addr", json!(config.raft_advertised.to_string())),
        ("apply_timeout", span(config.raft.apply.unwrap_or_default())),
        ("election_timeout", span(config.raft.election)),
        ("heartbeat_timeout", span(config.raft.heartbeat)),
        ("snapshot_interval", span(config.checkpoint.interval)),
        ("snapshot_threshold", json!(config.checkpoint.entries_max)),
    ]
    .into()
}

/// A binary that was built without our compile options works, but not as documented.
fn warn_of_build() {
    if let Err(missing) = db::connection::check_build() {
        log::warn!(
            "this binary's SQLite lacks {}: build it with `cargo build --release` in a checkout of \
             the sources, whose .cargo/config.toml sets what is needed",
            missing.join(", ")
        );
    }
}

/// The lines that scripts wait for.
fn announce(config: &Config) {
    let address = &config.http_advertised;
    log::info!("node HTTP API available at http://{address}");
    log::info!(
        "connect using the command-line tool via 'quorlite -H {} -p {}'",
        address.host,
        address.port
    );
}

fn sentence(error: impl Display) -> ServerError {
    ServerError(error.to_string())
}
