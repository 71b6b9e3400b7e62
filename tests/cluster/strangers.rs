//! What does not belong: nonsense on the port for nodes, nodes of other clusters, files that are
//! wrong, names that are taken. It is refused with a reason, and the cluster does not notice.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, Plan};
use crate::story::{Story, seed};
use crate::support::{Random, eventually};

/// Longest time that a node takes to say that it cannot start.
const ENDS_MAX: Duration = Duration::from_secs(30);

fn start(nodes: usize) -> Cluster {
    Cluster::start(Plan { nodes, seed: seed(), ..Plan::default() }).expect("links need nothing")
}

/// Starts a node more with these join addresses and few attempts, which must end by itself; what
/// it said.
fn refused(cluster: &mut Cluster, number: usize, join: &str) -> String {
    let flags = ["-join-attempts", "2", "-join-interval", "100ms", "-join", join];
    let node = cluster.node_mut(number);
    node.join = Vec::new();
    node.recipe.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    cluster.spawn(number);
    let status = cluster.node_mut(number).await_end(ENDS_MAX);
    assert!(!status.success(), "joining {join:?} ended with {status}");
    cluster.node(number).said()
}

#[test]
fn joining_nonsense_is_refused_with_a_reason() {
    let mut cluster = start(1);
    let http = cluster.node(1).http.to_string();
    let nobody = crate::support::server::free_port();
    for (join, expected) in [
        ("nonsense", "nonsense"),
        ("127.0.0.1:notaport", "notaport"),
        (&format!("127.0.0.1:{nobody}") as &str, &nobody.to_string() as &str),
        (&http, &http),
    ] {
        let number = cluster.add_node();
        let said = refused(&mut cluster, number, join);
        assert!(said.contains(expected), "joining {join}: {said}");
        cluster.node_mut(number).retire();
    }
    let number = cluster.add_node();
    let own = cluster.node(number).advertised.to_string();
    let said = refused(&mut cluster, number, &own);
    assert!(said.contains("itself"), "joining itself: {said}");
    cluster.node_mut(number).retire();
    assert_eq!(cluster.node(1).ask("/nodes").as_object().map(serde_json::Map::len), Some(1));
    assert!(cluster.try_write(1, "CREATE TABLE t (n)"), "the node it was tried with");
}

/// A second machine is given a name that is in use: the cluster must not be torn.
#[test]
fn a_name_that_is_taken_is_no_second_member() {
    let Some(mut story) = Story::begin("name taken", Plan::default()) else { return };
    let leader = story.cluster.leader();
    let followers = story.cluster.others(leader);
    let copied = story.cluster.node(followers[0]).id();
    let address = story.cluster.node(followers[1]).advertised;
    let number = story.cluster.add_node();
    let node = story.cluster.node_mut(number);
    node.join = vec![address];
    node.recipe.flags = ["-node-id", &copied].map(str::to_owned).to_vec();
    story.spawn(number);
    // Whether it is refused or takes the other's place: there are three members, not four.
    story.pass(4_000);
    story.await_writes(50);
    let listed = story.cluster.node(leader).ask("/nodes?ver=2")["nodes"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
    story.cluster.node_mut(number).retire();
    // The one that had the name before joins again.
    story.kill9(followers[0]);
    story.cluster.node_mut(followers[0]).join = vec![address];
    story.end();
}

#[test]
fn a_node_with_data_does_not_join_another_cluster() {
    let (mut one, other) = (start(1), start(1));
    one.node(1).execute(&["CREATE TABLE t (n)", "INSERT INTO t VALUES(1)"]);
    one.node_mut(1).terminate();
    let join = other.node(1).advertised.to_string();
    let said = refused(&mut one, 1, &join);
    assert!(said.contains("cluster"), "{said}");
    assert_eq!(other.node(1).ask("/nodes").as_object().map(serde_json::Map::len), Some(1));
    one.node_mut(1).recipe.flags = Vec::new();
    one.spawn(1);
    one.await_all_ready(ENDS_MAX);
    assert_eq!(one.node(1).rows("SELECT n FROM t"), json!([[1]]), "its own data");
}

/// All that one cluster's leader says to a follower arrives at a node of another cluster.
#[test]
fn messages_of_another_cluster_change_nothing() {
    let Some(story) = Story::begin("two clusters", Plan::default()) else { return };
    let mut other = start(3);
    other.node(other.leader()).execute(&["CREATE TABLE t (n)"]);
    let (term, digest) = (other.term(), other.converge(ENDS_MAX));
    let leader = story.cluster.leader();
    let lost = story.cluster.others(leader)[0];
    let all = [1, 2, 3];
    for number in all {
        story.cluster.links().set(
            number,
            lost,
            crate::links::Rule { is_refused: true, ..crate::links::Rule::default() },
        );
    }
    story.pass(100);
    story.cluster.links().retarget(lost, other.node(lost).raft);
    story.cluster.links().heal();
    story.pass(3_000);
    story.await_writes(50);
    assert_eq!(other.converge(ENDS_MAX), digest, "the other cluster's data");
    assert_eq!(other.term(), term, "the other cluster's term");
    story.cluster.links().retarget(lost, story.cluster.node(lost).raft);
    story.end();
}

#[test]
fn bytes_without_sense_cost_nothing() {
    let Some(story) = Story::begin("strange bytes", Plan::default()) else { return };
    let mut random = Random(seed());
    let term = story.cluster.term();
    for turn in 0..300 {
        let number = 1 + usize::try_from(random.below(3)).expect("small");
        let address = story.cluster.node(number).raft;
        let Ok(mut stream) = TcpStream::connect(address) else { panic!("n{number} is gone") };
        let length = random.below(3_000);
        let noise: Vec<u8> =
            (0..length).map(|_| u8::try_from(random.below(256)).expect("below 256")).collect();
        let path = ["/raft", "/raft/now", "/forward/db/execute", "/node/join", "/"][turn % 5];
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let bytes = match turn % 3 {
            0 => noise,
            _ => [head.as_bytes(), &noise].concat(),
        };
        stream.write_all(&bytes).ok();
        stream.set_read_timeout(Some(Duration::from_millis(50))).ok();
        let mut answer = [0; 200];
        let count = stream.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(!text.starts_with("HTTP/1.1 2") || path == "/", "{path} took it: {text}");
    }
    story.await_writes(50);
    assert_eq!(story.cluster.term(), term, "an election because of noise");
    story.end();
}

#[test]
fn a_bad_peers_file_stops_the_start_and_changes_nothing() {
    let mut cluster = start(3);
    cluster.node(cluster.leader()).execute(&["CREATE TABLE t (n)", "INSERT INTO t VALUES(1)"]);
    cluster.converge(ENDS_MAX);
    let victim = 3;
    cluster.node_mut(victim).kill9();
    let path = cluster.node(victim).directory().join("raft/peers.json");
    let address = cluster.node(victim).advertised.to_string();
    for bad in [
        "",
        "not JSON",
        "{}",
        "[]",
        "[{\"id\":\"n3\"}]",
        &json!([{ "id": "stranger", "address": "127.0.0.1:1" }]).to_string(),
        &json!([{ "id": "n3", "address": address }, { "id": "n3", "address": "127.0.0.1:1" }])
            .to_string(),
        &json!([{ "id": "n3", "address": address, "non_voter": true }]).to_string(),
        &json!([{ "id": "n3", "address": "nonsense" }]).to_string(),
    ] {
        std::fs::write(&path, bad).expect("the folder is there");
        cluster.spawn(victim);
        let status = cluster.node_mut(victim).await_end(ENDS_MAX);
        assert!(!status.success(), "{bad:?} ended with {status}");
        let said = cluster.node(victim).said();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains("peers.json"), "{bad:?}: {last}");
    }
    std::fs::remove_file(&path).expect("it is left for the operator");
    cluster.spawn(victim);
    cluster.converge(ENDS_MAX);
    assert_eq!(cluster.node(victim).rows("SELECT n FROM t"), json!([[1]]));
    // It is one of three as before.
    eventually("three voters", ENDS_MAX, || {
        let nodes = cluster.node(1).ask("/nodes");
        (nodes.as_object().map(serde_json::Map::len) == Some(3)).then_some(())
    });
}
