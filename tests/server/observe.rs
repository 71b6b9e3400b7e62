//! What a node tells of itself: status, counters, nodes, licences. The keys are rqlite's, and
//! programs read them by name.

use serde_json::{Value, json};

use crate::support::server::{Options, Server};

/// Paths in `/status` that client libraries, dashboards and upstream's own tests read.
const STATUS_KEYS: [&str; 45] = [
    "build.version",
    "cluster.addr",
    "cluster.api_addr",
    "cluster.https",
    "http.auth",
    "http.bind_addr",
    "http.queue._default.batch_size",
    "http.queue._default.max_size",
    "http.queue._default.sequence_number",
    "http.queue._default.timeout",
    "node.start_time",
    "node.current_time",
    "node.uptime",
    "os.executable",
    "os.hostname",
    "os.page_size",
    "os.pid",
    "os.ppid",
    "runtime.num_cpu",
    "store.addr",
    "store.db_applied_index",
    "store.db_conf.fk_constraints",
    "store.dir",
    "store.dir_size",
    "store.fsm_index",
    "store.fsm_term",
    "store.leader.addr",
    "store.leader.node_id",
    "store.node_id",
    "store.nodes",
    "store.open",
    "store.raft.applied_index",
    "store.raft.commit_index",
    "store.raft.fsm_pending",
    "store.raft.last_log_index",
    "store.raft.last_snapshot_index",
    "store.raft.state",
    "store.raft.term",
    "store.raft.voter",
    "store.ready",
    "store.snapshot_threshold",
    "store.sqlite3.path",
    "store.sqlite3.version",
    "store.sqlite3.db_size",
    "store.sqlite3.compile_options",
];

/// Counters in `/debug/vars` of what a single node does, with the request that raises each.
const COUNTERS: [(&str, &str, &str, &str, &str); 10] = [
    ("http", "executions", "POST", "/db/execute", "[\"CREATE TABLE IF NOT EXISTS t (a)\"]"),
    ("http", "queries", "GET", "/db/query?q=SELECT%201", ""),
    ("http", "requests", "POST", "/db/request", "[\"SELECT 1\"]"),
    ("http", "backups", "GET", "/db/backup", ""),
    ("http", "digests", "GET", "/db/digest", ""),
    ("http", "loads", "POST", "/db/load", "SELECT 1;"),
    ("http", "num_readyz", "GET", "/readyz", ""),
    ("http", "num_status", "GET", "/status", ""),
    ("http", "sql_analyze", "GET", "/db/sql?q=SELECT%201", ""),
    ("store", "num_backups", "GET", "/db/backup", ""),
];

fn at<'a>(tree: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(tree, |tree, key| &tree[key])
}

#[test]
fn the_status_tree_has_the_known_keys() {
    let server = Options::default().flags(&["-node-id", "one"]).start();
    server.execute(&["CREATE TABLE t (a)"]);
    let status = server.get("/status");
    assert_eq!(status.header("Content-Type"), "application/json; charset=utf-8");
    let tree = status.json();
    let missing: Vec<_> = STATUS_KEYS.iter().filter(|key| at(&tree, key).is_null()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert_eq!(at(&tree, "store.raft.state"), "Leader");
    assert_eq!(at(&tree, "store.leader.node_id"), "one");
    assert_eq!(at(&tree, "os.pid"), &json!(server.pid()));
    for kind in ["ro", "rw"] {
        for (pragma, value) in [
            ("busy_timeout", "5000"),
            ("foreign_keys", "0"),
            ("journal_mode", "wal"),
            ("synchronous", "0"),
            ("wal_autocheckpoint", if kind == "ro" { "1000" } else { "0" }),
        ] {
            let path = format!("store.sqlite3.pragmas.{kind}.{pragma}");
            assert_eq!(at(&tree, &path), value, "{path}");
        }
    }
    let index = |tree: &Value| at(tree, "store.raft.applied_index").as_u64().unwrap();
    let before = index(&tree);
    server.execute(&["INSERT INTO t VALUES(1)"]);
    let after = server.get("/status").json();
    assert!(index(&after) > before, "the applied index goes up");
    for path in ["store.db_applied_index", "store.fsm_index", "store.raft.commit_index"] {
        assert_eq!(at(&after, path), &json!(index(&after)), "{path}");
    }
    assert!(at(&after, "last_backup_time").is_null());
    server.get("/db/backup");
    assert!(at(&server.get("/status").json(), "last_backup_time").is_string());
    let pretty = server.get("/status?pretty").text();
    assert!(pretty.starts_with("{\n    \"build\": {\n"), "{pretty:.100}");
}

#[test]
fn counters_count() {
    let server = Server::fresh();
    let read = |map: &str, key: &str| server.get("/debug/vars").json()[map][key].as_u64();
    for (map, key, method, target, body) in COUNTERS {
        let before = read(map, key).unwrap_or_else(|| panic!("{map}.{key} is missing"));
        let reply = server.request(method, target, &[], body.as_bytes());
        assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
        assert_eq!(read(map, key), Some(before + 1), "{map}.{key} after {target}");
    }
    let all = server.get("/debug/vars").text();
    assert!(all.ends_with("}\n"), "{all}");
    for map in ["cmdline", "memstats", "http", "store", "db", "queue", "log", "listener"] {
        assert!(all.contains(&format!("\"{map}\":")), "{map} in {all}");
    }
    let one = server.get("/debug/vars?key=http").json();
    let listener = &server.get("/debug/vars?key=listener").json()["listener"];
    assert!(listener["connections_accepted"].as_u64() > Some(0), "{listener}");
    assert!(listener["requests"].as_u64() > Some(0) && listener["bytes_out"].as_u64() > Some(0));
    assert!(one["http"]["executions"].is_u64() && one.get("store").is_none(), "{one}");
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    let reply = server.get("/metrics");
    assert_eq!(reply.status(), 200);
    assert!(reply.header("Content-Type").starts_with("text/plain"), "{:?}", reply.head);
    let mut typed = std::collections::BTreeSet::new();
    let mut values = 0;
    for line in reply.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} is typed twice");
        } else if !line.starts_with('#') && !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            assert!(name.chars().all(legal), "{line}");
            values += 1;
        }
    }
    assert!(values > 20 && typed.len() > 20, "{values} values, {} types", typed.len());
}

#[test]
fn nodes_in_both_shapes() {
    let server = Options::default().flags(&["-node-id", "one"]).start();
    let check = |node: &Value| {
        assert_eq!(node["id"], "one");
        assert_eq!(node["api_addr"], json!(format!("http://{}", server.http())));
        assert_eq!(node["addr"], json!(server.raft().to_string()));
        assert!(node["version"].is_string());
        for flag in ["voter", "reachable", "leader"] {
            assert_eq!(node[flag], true, "{flag}");
        }
        assert!(node.get("error").is_none(), "{node}");
    };
    for target in ["/nodes", "/nodes?nonvoters", "/nodes?ver=3", "/nodes?timeout=1s"] {
        let reply = server.get(target);
        assert_eq!(reply.header("Content-Type"), "application/json; charset=utf-8");
        let tree = reply.json();
        assert_eq!(tree.as_object().unwrap().len(), 1, "{target}: {tree}");
        check(&tree["one"]);
    }
    let tree = server.get("/nodes?ver=2").json();
    assert_eq!(tree["nodes"].as_array().unwrap().len(), 1, "{tree}");
    check(&tree["nodes"][0]);
    check(&server.get("/leader").json());
    assert!(server.get("/leader?pretty").text().starts_with("{\n    \""));
}

#[test]
fn licences_and_version() {
    let server = Server::fresh();
    let reply = server.get("/licenses");
    assert_eq!(reply.status(), 200);
    assert!(reply.header("Content-Type").starts_with("text/plain"), "{:?}", reply.head);
    assert!(reply.text().contains("MIT") && reply.text().contains("SQLite"), "{}", reply.text());
    let version = server.get("/readyz").header("X-RQLITE-VERSION").to_owned();
    assert!(!version.is_empty());
    assert_eq!(server.get("/status?key=build.version").json(), json!(version));
}

#[test]
fn sequence_numbers_go_up() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    let next = || {
        let reply = server.post("/db/execute?queue", &json!(["INSERT INTO t VALUES(1)"]));
        reply.json()["sequence_number"].as_u64().unwrap()
    };
    let numbers: Vec<u64> = (0..10).map(|_| next()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    // What is queued when it ends is done before it does.
    server.restart();
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(10));
    let later = server.post("/db/execute?queue&wait", &json!(["INSERT INTO t VALUES(1)"]));
    assert!(later.json()["sequence_number"].as_u64() > numbers.last().copied());
}
