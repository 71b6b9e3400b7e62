//! Members that come and go, move, lose their disks or stay away too long; leaders that hand over.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Plan};
use crate::story::Story;
use crate::support::eventually;

/// Longest time until a change of members is known everywhere.
const KNOWN_MAX: Duration = Duration::from_secs(20);

/// Members as a node lists them: id, address, whether it votes.
fn members(cluster: &Cluster, asked: usize) -> Vec<(String, String, bool)> {
    let nodes = cluster.node(asked).ask("/nodes?nonvoters&ver=2&timeout=2s")["nodes"].clone();
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or("").to_owned();
    let nodes = nodes.as_array().cloned().unwrap_or_default();
    let mut found: Vec<_> = nodes
        .iter()
        .map(|node| (text(node, "id"), text(node, "addr"), node["voter"] == json!(true)))
        .collect();
    found.sort();
    found
}

fn ids(cluster: &Cluster, asked: usize) -> Vec<String> {
    members(cluster, asked).into_iter().map(|(id, _, _)| id).collect()
}

fn remove(cluster: &Cluster, asked: usize, id: &str) {
    let body = json!({ "id": id }).to_string();
    let reply = cluster.node(asked).request("DELETE", "/remove", body.as_bytes());
    assert_eq!(reply.status(), 200, "removing {id}: {}", reply.text());
}

#[test]
fn members_come_and_go_under_load() {
    let Some(mut story) = Story::begin("members", Plan::default()) else { return };
    let leader = story.cluster.leader();
    let followers = story.cluster.others(leader);
    // One joins through a follower, one through the leader.
    let fourth = story.add(followers[0], &[]);
    let fifth = story.add(leader, &[]);
    eventually("all five vote", KNOWN_MAX, || {
        let known = members(&story.cluster, followers[1]);
        (known.len() == 5 && known.iter().all(|(_, _, votes)| *votes)).then_some(())
    });
    assert_eq!(ids(&story.cluster, fourth), ["n1", "n2", "n3", "n4", "n5"], "to the newest");
    story.await_writes(50);
    // A follower is removed through a follower, then the leader.
    remove(&story.cluster, followers[1], &story.cluster.node(followers[0]).id());
    story.cluster.node_mut(followers[0]).retire();
    story.await_writes(50);
    let leader = story.cluster.leader();
    remove(&story.cluster, leader, &story.cluster.node(leader).id());
    let next = story.cluster.other_leader(leader);
    story.cluster.node_mut(leader).retire();
    story.await_writes(50);
    assert_eq!(ids(&story.cluster, next).len(), 3, "{:?}", ids(&story.cluster, next));
    // The new ones carry the cluster.
    let still = [followers[1], fourth, fifth];
    let victim = still.into_iter().find(|number| *number != story.cluster.leader());
    let victim = victim.expect("two follow");
    story.kill9(victim);
    story.await_writes(50);
    story.end();
}

/// A node that was removed and does not know it campaigns; nobody loses anything by that.
#[test]
fn a_removed_node_disturbs_nobody() {
    let Some(mut story) = Story::begin("removed", Plan::default()) else { return };
    let leader = story.cluster.leader();
    let others = story.cluster.others(leader);
    let gone = others[0];
    story.kill9(gone);
    remove(&story.cluster, others[1], &story.cluster.node(gone).id());
    let term = story.cluster.term();
    story.cluster.node_mut(gone).join = Vec::new();
    story.spawn(gone);
    story.pass(4_000);
    story.await_writes(50);
    let now = [leader, others[1]].map(|number| story.cluster.role(number));
    let terms: Vec<u64> = now.into_iter().flatten().map(|(_, term)| term).collect();
    assert_eq!(terms, [term, term], "a removed node has caused an election");
    story.cluster.node_mut(gone).retire();
    story.end();
}

#[test]
fn a_read_replica_follows_and_never_leads() {
    let Some(mut story) = Story::begin("replica", Plan::default()) else { return };
    let leader = story.cluster.leader();
    let replica = story.add(story.cluster.others(leader)[0], &["-raft-non-voter"]);
    let listed = members(&story.cluster, leader);
    let votes: Vec<bool> = listed.iter().map(|(_, _, votes)| *votes).collect();
    assert_eq!(votes, [true, true, true, false], "{listed:?}");
    let body = json!({ "id": story.cluster.node(replica).id() }).to_string();
    let reply = story.cluster.node(leader).request("POST", "/leader?wait", body.as_bytes());
    assert_eq!(reply.status(), 500, "leadership for a replica: {}", reply.text());
    // It does not count: with one voter of three and the replica nothing is written.
    let others = story.cluster.others(leader);
    let voters: Vec<usize> = others.into_iter().filter(|number| *number != replica).collect();
    for &number in &voters {
        story.kill9(number);
    }
    story.pass(2_500);
    let write = "UPDATE counter SET n = n + 1";
    assert!(!story.cluster.try_write(leader, write), "written without a majority of voters");
    assert!(story.cluster.node(replica).get("/db/query?level=none&q=SELECT%201").is_success());
    for &number in &voters {
        story.spawn(number);
    }
    story.cluster.await_all_ready(KNOWN_MAX);
    story.kill9(replica);
    story.await_writes(20);
    story.end();
}

#[test]
fn leadership_is_handed_on_under_load() {
    let Some(story) = Story::begin("transfers", Plan::default()) else { return };
    for turn in 0..6 {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        // Asked of the leader, of the one that is to lead, and of the third.
        let asked = [leader, others[0], others[1]][turn % 3];
        story.cluster.transfer(asked, others[turn % 2]);
        story.await_writes(20);
    }
    story.end();
}

#[test]
fn nodes_move_one_by_one() {
    let Some(mut story) = Story::begin("moves", Plan::default()) else { return };
    for number in 1..=3 {
        let asked = story.cluster.others(number)[0];
        let address = story.cluster.node(asked).advertised;
        let status = story.cluster.node_mut(number).terminate();
        assert!(status.success(), "n{number} ended with {status}");
        story.await_writes(20);
        story.cluster.move_node(number);
        story.cluster.node_mut(number).join = vec![address];
        story.spawn(number);
        story.cluster.await_all_ready(KNOWN_MAX);
        let moved = story.cluster.node(number).advertised.to_string();
        eventually("the new address is known", KNOWN_MAX, || {
            let known = members(&story.cluster, asked);
            known.iter().any(|(_, address, _)| *address == moved).then_some(())
        });
    }
    assert_eq!(ids(&story.cluster, 1), ["n1", "n2", "n3"], "nobody twice");
    story.end();
}

#[test]
fn all_nodes_move_at_once() {
    let Some(mut story) = Story::begin("all moved", Plan::default()) else { return };
    for number in 1..=3 {
        story.kill9(number);
        story.cluster.move_node(number);
        story.cluster.node_mut(number).join = Vec::new();
    }
    let peers: Vec<Value> = story
        .cluster
        .nodes
        .iter()
        .map(|node| json!({ "id": node.id(), "address": node.advertised.to_string(), "non_voter": false }))
        .collect();
    for number in 1..=3 {
        let path = story.cluster.node(number).directory().join("raft/peers.json");
        fs::write(path, Value::from(peers.clone()).to_string()).expect("the folder is there");
        story.spawn(number);
    }
    story.cluster.await_all_ready(KNOWN_MAX);
    let listed = members(&story.cluster, 1);
    for node in &story.cluster.nodes {
        let expected = (node.id(), node.advertised.to_string(), true);
        assert!(listed.contains(&expected), "{expected:?} is not in {listed:?}");
        let left = node.directory().join("raft/peers.json");
        assert!(!left.exists(), "it would be carried out again: {}", left.display());
    }
    story.end();
}

/// Two of three are gone for good: the third goes on alone, with everything that it has.
#[test]
fn the_last_of_three_goes_on_alone() {
    let Some(mut story) = Story::begin("alone", Plan::default()) else { return };
    let leader = story.cluster.leader();
    for number in story.cluster.others(leader) {
        story.cluster.node_mut(number).retire();
    }
    story.kill9(leader);
    let node = story.cluster.node(leader);
    let peers = json!([{ "id": node.id(), "address": node.advertised.to_string() }]);
    let path = node.directory().join("raft/peers.json");
    fs::write(path, peers.to_string()).expect("the folder is there");
    story.cluster.node_mut(leader).join = Vec::new();
    story.spawn(leader);
    story.cluster.await_all_ready(KNOWN_MAX);
    assert_eq!(ids(&story.cluster, leader), [story.cluster.node(leader).id()]);
    story.end();
}

#[test]
fn a_node_without_its_disk_comes_back_under_its_name() {
    let Some(mut story) = Story::begin("wiped", Plan::default()) else { return };
    for _ in 0..2 {
        let leader = story.cluster.leader();
        let asked = story.cluster.others(leader)[0];
        let address = story.cluster.node(asked).advertised;
        story.kill9(leader);
        story.cluster.node_mut(leader).wipe();
        story.await_writes(20);
        story.cluster.node_mut(leader).join = vec![address];
        story.spawn(leader);
        story.cluster.await_all_ready(KNOWN_MAX);
        eventually("it is a voter again, once", KNOWN_MAX, || {
            let known = members(&story.cluster, asked);
            let votes = known.iter().filter(|(_, _, votes)| *votes).count();
            (known.len() == 3 && votes == 3).then_some(())
        });
    }
    story.end();
}

/// The log is cut while a follower is away: it gets the whole database instead.
#[test]
fn a_follower_that_stayed_away_too_long_gets_a_snapshot() {
    let flags =
        vec!["-raft-snap", "100", "-raft-snap-int", "100ms", "-raft-snap-wal-size", "100000"];
    let Some(mut story) = Story::begin("snapshot", Plan { flags, ..Plan::default() }) else {
        return;
    };
    let leader = story.cluster.leader();
    story.cluster.node(leader).execute(&["CREATE TABLE bulk (b BLOB)"]);
    for _ in 0..2 {
        let leader = story.cluster.leader();
        let away = story.cluster.others(leader)[0];
        story.kill9(away);
        for _ in 0..10 {
            let insert = "INSERT INTO bulk VALUES(randomblob(1000000))";
            assert!(story.cluster.try_write(leader, insert), "a wide row");
        }
        story.await_writes(300);
        for number in story.cluster.others(away) {
            story.cluster.node(number).request("POST", "/snapshot?trailing_logs=1", b"");
        }
        story.spawn(away);
        // It dies once more, while it is being sent.
        let milliseconds = story.random.below(400);
        story.pass(milliseconds);
        story.kill9(away);
        story.spawn(away);
        story.cluster.await_all_ready(KNOWN_MAX);
    }
    story.end();
}
