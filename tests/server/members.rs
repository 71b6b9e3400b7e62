//! Who a data directory is, and to which cluster it belongs: what a start refuses, and members
//! that a person sets by hand.

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::server::{Options, Server};

/// Ends it, and says what its next start says before it ends too.
fn refusal(server: &mut Server) -> String {
    let before = server.log().len();
    assert!(!server.start_or_end(), "it started");
    server.log()[before..].to_owned()
}

#[test]
fn a_node_alone_joins_nobody_and_none_is_born_a_replica() {
    let mut server = Options::default().flags(&["-node-id", "1"]).start();
    server.terminate(Signal::TERM);
    server.change_flags(&["-join", "127.0.0.1:1"]);
    let said = refusal(&mut server);
    let text =
        "node is the only node in a single-node cluster, joining other clusters not supported";
    assert!(said.contains(text), "{said}");
    server.change_flags(&["-node-id", "2"]);
    let said = refusal(&mut server);
    assert!(said.contains("this data directory belongs to node 1, not to 2"), "{said}");
    std::fs::remove_dir_all(server.directory()).expect("it is there");
    server.change_flags(&["-raft-non-voter"]);
    let said = refusal(&mut server);
    let text = "clustering failure: cannot create a new non-voting node without joining it";
    assert!(said.contains(text) && !said.contains("fatal: "), "{said}");
}

#[test]
fn a_node_that_waits_for_a_cluster_answers_and_says_so() {
    let mut server = Server::fresh();
    server.terminate(Signal::TERM);
    std::fs::remove_dir_all(server.directory()).expect("it is there");
    server.change_flags(&["-join", "127.0.0.1:1", "-join-interval", "1h"]);
    server.spawn();
    crate::support::eventually("it answers", std::time::Duration::from_secs(20), || {
        let mut client = Client::connect(server.http()).ok()?;
        let reply = client.request("GET", "/readyz", &[], b"").ok()?;
        assert_eq!(reply.status(), 503, "{}", reply.text());
        assert!(reply.text().contains("leader does not exist"), "{}", reply.text());
        Some(())
    });
    let reply = server.request("POST", "/db/execute", &[], b"[\"CREATE TABLE t (a)\"]");
    assert_eq!(reply.status(), 503, "{}", reply.text());
    // Killed while it waits, it is the same node as before.
    let identity = std::fs::read(server.directory().join("identity")).expect("it is written");
    server.kill9();
    server.spawn();
    crate::support::eventually("it answers", std::time::Duration::from_secs(20), || {
        Client::connect(server.http()).ok()
    });
    assert_eq!(std::fs::read(server.directory().join("identity")).expect("kept"), identity);
}

#[test]
fn members_set_by_hand_are_checked_and_then_in_force() {
    let mut server = Options::default().flags(&["-node-id", "1"]).start();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES(7)"]);
    server.kill9();
    let file = server.directory().join("raft/peers.json");
    for (text, why) in [
        ("", "it is not JSON"),
        ("[]", "it names no node"),
        (r#"[{"id":"1","address":"a:2","suffrage":"voter"}]"#, "there is no field \"suffrage\""),
        (r#"[{"id":"2","address":"a:2"}]"#, "node 2 is none of the members"),
        (r#"[{"id":"1","address":"a:2","non_voter":true}]"#, "it names no voter"),
    ] {
        std::fs::write(&file, text).expect("it can be written");
        let said = refusal(&mut server);
        assert!(said.contains(why) && said.contains("nothing was changed"), "{said}");
    }
    std::fs::write(&file, json!([{"id": "1", "address": "a:2"}]).to_string()).expect("written");
    server.start();
    assert_eq!(server.value("SELECT a FROM t"), json!(7));
    assert!(!file.exists() && file.with_extension("info").exists(), "set aside");
    assert!(server.log().contains("the members were set by hand, by peers.json: 1"));
    server.execute(&["INSERT INTO t VALUES(8)"]);
    server.restart();
    assert_eq!(server.value("SELECT sum(a) FROM t"), json!(15));
    let term = server.get("/status?key=store.raft.term").text();
    assert!(term.parse::<u64>().is_ok_and(|term| term > 1 << 20), "terms leap: {term}");
}
