//! The leader's end: forwarded requests on the Raft listener of a real node.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorlite::api::forward::{Forwarder, Gate, Lookup, Outgoing, SecretHeader, Terms, Upload};
use quorlite::api::{self, QueueSettings, QueueThread};
use quorlite::db::snapshot;
use quorlite::http::{Content, Handler, Limits, Listener, Method, Reply, Request, Server};
use quorlite::node::{self, Node};

use crate::support::{answered, leader_at, terms};

/// Stands for messages between nodes.
struct Messages;

impl Handler for Messages {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        let body = format!("message at {}", request.path).into_bytes();
        Reply { status: 200, headers: Vec::new(), content: Content::Bytes(body) }
    }
}

/// A node of one that leads, with its Raft listener.
struct Leading {
    _server: Server,
    queue: QueueThread,
    node: Node,
    raft: SocketAddr,
}

impl Leading {
    fn start(directory: &Path) -> Self {
        let node = Node::start(&node::Settings {
            directory: directory.to_owned(),
            id: Some("1".to_owned()),
            raft_address: "127.0.0.1:4002".to_owned(),
            http_address: "127.0.0.1:4001".to_owned(),
            foreign_keys: false,
            readers_max: 0,
            checkpoint_entries: 1000,
            checkpoint_wal_bytes: 0,
            checkpoint_interval: Duration::from_secs(60),
            election_timeout: Duration::from_millis(200),
            vacuum_interval: Duration::ZERO,
            optimize_interval: Duration::ZERO,
            backup_limits: snapshot::Limits {
                wal_bytes_max: 1 << 30,
                age_max: Duration::from_secs(60),
                free_bytes_min: 0,
            },
            cluster: node::ClusterSettings {
                join: Vec::new(),
                join_attempts: 1,
                join_interval: Duration::from_secs(1),
                bootstrap_expect: 0,
                bootstrap_expect_timeout: None,
                is_voter: true,
                steps_down_on_stop: false,
                stops_when_removed: false,
                leaves_on_stop: false,
                reap_voters_after: None,
                reap_replicas_after: None,
                connect_timeout: Duration::from_secs(1),
                secret: None,
            },
        })
        .expect("the test can go on");
        let settings = api::Settings {
            http_address: "127.0.0.1:4001".to_owned(),
            http_bind_address: "127.0.0.1:4001".to_owned(),
            allow_origin: None,
            apply_timeout: Duration::from_secs(10),
            queue: QueueSettings {
                capacity: 16,
                batch_size: 4,
                timeout: Duration::from_secs(1),
                transaction: false,
            },
            secret: None,
            store: std::collections::BTreeMap::new(),
        };
        let listener =
            Listener::bind("127.0.0.1:0", Limits::default()).expect("the test can go on");
        let raft = listener.local_address();
        let (api, queue) =
            api::start(node.handle(), listener.tally(), settings).expect("the test can go on");
        let admits = |request: &Request<'_>| request.header("x-quorlite-secret") == Some("s3");
        let gate = Gate::new(Arc::new(api), Arc::new(admits), Arc::new(Messages));
        let server = listener.start("raft", Arc::new(gate)).expect("the test can go on");
        Self { _server: server, queue, node, raft }
    }

    fn stop(self) {
        self.queue.stop();
        self.node.stop();
    }
}

/// Forwards one request to the node and gives its answer's status, headers and body.
fn forward(
    leading: &Leading,
    method: &Method,
    target: (&str, &str),
    upload: Upload<'_>,
    secret: &str,
) -> (u16, Vec<(String, String)>, String) {
    let headers = [("X-Quorlite-Secret".to_owned(), secret.to_owned())];
    let secret = SecretHeader { name: "x-quorlite-secret", value: secret.to_owned() };
    let outgoing = Outgoing { method, path: target.0, query: target.1, headers: &headers };
    let is_transfer = matches!(upload, Upload::Stream(_));
    let terms = Terms { is_transfer, ..terms(Duration::from_secs(10)) };
    let find = || Lookup::There(leader_at(&leading.raft.to_string()));
    answered(Forwarder::new(Some(secret)).pass_on(outgoing, upload, &terms, &find))
}

#[test]
fn a_leader_answers_what_is_forwarded_and_lets_in_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let leading = Leading::start(directory.path());
    let post = |target, body: &[u8]| {
        forward(&leading, &Method::Post, target, Upload::Bytes(body, None), "s3")
    };
    let get = |target| forward(&leading, &Method::Get, target, Upload::Bytes(&[], None), "s3");

    let (status, headers, body) =
        post(("/db/execute", ""), b"[\"CREATE TABLE t(a)\", \"INSERT INTO t VALUES(1)\"]");
    assert_eq!(
        (status, body.as_str()),
        (200, "{\"results\":[{},{\"last_insert_id\":1,\"rows_affected\":1}]}")
    );
    let served_by = ("X-RQLITE-SERVED-BY".to_owned(), leading.raft.to_string());
    assert!(headers.contains(&served_by), "{headers:?}");
    let (_, _, body) = get(("/db/query", "q=SELECT+a+FROM+t&level=strong"));
    assert!(body.contains("[[1]]"), "{body}");

    // A script is streamed, and a backup comes back with its length.
    let mut script: &[u8] = b"INSERT INTO t VALUES(2); INSERT INTO t VALUES(3);";
    let upload = Upload::Stream(&mut script);
    let (status, _, body) = forward(&leading, &Method::Post, ("/db/load", ""), upload, "s3");
    assert_eq!(
        (status, body.as_str()),
        (200, "{\"results\":[{\"last_insert_id\":3,\"rows_affected\":1}]}")
    );
    let (_, _, dump) = get(("/db/backup", "fmt=sql"));
    assert!(dump.contains("INSERT INTO \"t\" VALUES(3);"), "{dump}");

    let remove = forward(
        &leading,
        &Method::Delete,
        ("/remove", ""),
        Upload::Bytes(b"{\"id\":\"9\"}", None),
        "s3",
    );
    assert_eq!(remove.0, 200);
    assert_eq!(post(("/leader", ""), b"").2, "stepdown: cannot find peer\n");

    // Nothing else is let in, and nobody without the secret.
    for path in ["/status", "/boot", "/snapshot", "/db/sql", "/nodes", "/forward/db/query", "/x"] {
        assert_eq!(get((path, "")).0, 404, "{path}");
    }
    let stranger = forward(
        &leading,
        &Method::Post,
        ("/db/execute", ""),
        Upload::Bytes(b"[\"DROP TABLE t\"]", None),
        "wrong",
    );
    assert_eq!(stranger.0, 403);
    assert!(get(("/db/query", "q=SELECT+count(*)+FROM+t")).2.contains("[[3]]"));

    let mut client = crate::common::client::Client::connect(leading.raft).unwrap();
    let message = client.request("POST", "/raft/now", &[], b"x").unwrap();
    assert_eq!(message.text(), "message at /raft/now");
    let message = client.request("GET", "/forwardx/db/query", &[], b"").unwrap();
    assert_eq!(message.text(), "message at /forwardx/db/query");
    leading.stop();
}

#[test]
fn queued_requests_with_other_credentials_are_another_batch() {
    let directory = tempfile::tempdir().unwrap();
    let leading = Leading::start(directory.path());
    let mut client = crate::common::client::Client::connect(leading.raft).unwrap();
    let mut post = |target: &str, who: &str, body: &str| {
        let headers = [("X-Quorlite-Secret", "s3"), ("Authorization", who)];
        let path = format!("/forward/db/execute?{target}");
        let reply = client.request("POST", &path, &headers, body.as_bytes()).unwrap();
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()["raft_index"].as_u64()
    };
    let before = post("raft_index", "a", "[\"CREATE TABLE t(a)\"]").unwrap();
    for who in ["a", "a", "b"] {
        post("queue", who, "[\"INSERT INTO t VALUES(1)\"]");
    }
    post("queue&wait", "b", "[\"INSERT INTO t VALUES(1)\"]");
    let after = post("raft_index", "a", "[\"DELETE FROM t\"]").unwrap();
    assert_eq!(after - before, 3, "two batches, and the request that asks");
    leading.stop();
}
