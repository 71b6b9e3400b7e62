//! A restore through a follower reaches every node; a refused one reaches none.

use std::time::Duration;

use serde_json::json;

use super::{SCHEMA, digest, put, put_database, restore};
use crate::program::quorlite;
use crate::support::eventually;
use crate::support::server::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> [Server; 3] {
    let first = Server::fresh();
    let to = first.raft().to_string();
    let flags = ["-join", to.as_str(), "-join-attempts", "100", "-join-interval", "200ms"];
    let join = || Options::default().flags(&flags).start();
    let (second, third) = (join(), join());
    [first, second, third]
}

/// Waits until all nodes hold the same, and gives its digest.
fn agreed(nodes: &[Server]) -> serde_json::Value {
    eventually("the nodes agree", PATIENCE, || {
        let wanted = digest(&nodes[0]);
        nodes.iter().all(|node| digest(node) == wanted).then_some(wanted)
    })
}

#[test]
fn a_follower_passes_a_restore_on() {
    let nodes = cluster();
    nodes[0].execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('kept')"]);
    let before = agreed(&nodes);
    let follower = &nodes[2];
    let file = put_database(follower, "file", SCHEMA);
    put(follower, "half", &file[..file.len() / 2]);
    restore(follower, &["--no-verify", "half"]).fails(7, "half: the file is cut short");
    assert_eq!(agreed(&nodes), before);
    restore(follower, &["file"]).expect();
    let after = agreed(&nodes);
    assert_ne!(after, before);
    let dry = restore(follower, &["--dry-run", "file"]).expect();
    assert!(dry.contains("\nno difference in schema, numbers of rows or versions\n"), "{dry}");
    for node in &nodes {
        let reply = node.get("/db/query?level=none&q=SELECT%20count(*)%20FROM%20new");
        assert_eq!(reply.json()["results"][0]["values"], json!([[1000]]));
    }
    quorlite(follower, &["boot", "file"]).run().fails(4, "not leader");
    let path = follower.scratch().join("file");
    let boot = ["boot", path.to_str().expect("it is UTF-8")];
    quorlite(&nodes[0], &boot).run().fails(1, "not single-node: on a cluster use");
    assert_eq!(agreed(&nodes), after);
}
