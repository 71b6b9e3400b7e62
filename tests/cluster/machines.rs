//! Machines that fail in other ways than by dying: disks that are full, stand still or break, and
//! clocks that are set.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Between, Cluster, Plan};
use crate::faults::Fault;
use crate::story::Story;
use crate::support::disk::Disk;
use crate::support::{Random, eventually};

/// Size of each node's disk where it is to be filled up.
const MEGABYTES: u32 = 96;

fn may_mount() -> bool {
    Disk::mount(1).is_some()
}

/// Fills a node's disk while its cluster is under load, and gives the room back.
fn full_disk(name: &'static str, is_leader: bool) {
    if !may_mount() {
        return;
    }
    let Some(mut story) = Story::begin(name, Plan { megabytes: MEGABYTES, ..Plan::default() })
    else {
        return;
    };
    let leader = story.cluster.leader();
    let victim = if is_leader { leader } else { story.cluster.others(leader)[0] };
    story.cluster.fill_disk(victim);
    // Whoever leads now has room: the cluster goes on without the full one.
    story.await_writes(200);
    let reply =
        story.cluster.node(victim).get("/db/query?level=none&q=SELECT%20n%20FROM%20counter");
    assert!(reply.is_success(), "a full node reads: {}", reply.text());
    if is_leader {
        let now = story.cluster.other_leader(victim);
        assert_ne!(now, victim, "a leader that cannot write leads on");
    }
    story.pass(2_000);
    story.await_writes(50);
    story.cluster.release_disk(victim);
    story.end();
}

#[test]
fn a_followers_disk_is_full() {
    full_disk("full disk of a follower", false);
}

#[test]
fn a_leaders_disk_is_full() {
    full_disk("full disk of the leader", true);
}

#[test]
fn all_disks_are_full_and_then_are_not() {
    if !may_mount() {
        return;
    }
    let plan = Plan { megabytes: MEGABYTES, ..Plan::default() };
    let Some(mut story) = Story::begin("all disks full", plan) else { return };
    for number in 1..=3 {
        story.cluster.fill_disk(number);
    }
    // What room files have already goes first; then nothing is acknowledged any more.
    let is_refused = || !story.cluster.try_write(1, "INSERT INTO log(id) SELECT 0 WHERE 0");
    let body =
        json!([format!("INSERT INTO counter SELECT 0 WHERE '{}' = ''", "x".repeat(200_000))]);
    eventually("writes are refused", Duration::from_secs(30), || {
        let reply =
            story.cluster.node(1).try_request("POST", "/db/execute", body.to_string().as_bytes());
        (!reply.is_ok_and(|reply| reply.is_success()) && is_refused()).then_some(())
    });
    for number in 1..=3 {
        let reply =
            story.cluster.node(number).get("/db/query?level=none&q=SELECT%20n%20FROM%20counter");
        assert!(reply.is_success(), "a full node reads: {}", reply.text());
    }
    for number in 1..=3 {
        story.cluster.release_disk(number);
    }
    story.end();
}

fn with_faults() -> Plan {
    Plan { has_faults: true, ..Plan::default() }
}

#[test]
fn the_leaders_disk_stands_still() {
    let Some(story) = Story::begin("stalled disk", with_faults()) else { return };
    for _ in 0..2 {
        let leader = story.cluster.leader();
        story.cluster.begin_fault(leader, Fault::Stall);
        // A leader whose own disk does not answer is of no use: another takes over, or the two
        // others go on without its vote.
        story.await_writes(30);
        story.pass(3_000);
        story.await_writes(30);
        story.cluster.end_fault(leader);
        story.pass(500);
    }
    story.end();
}

#[test]
fn a_followers_disk_stands_still() {
    let Some(story) = Story::begin("stalled follower", with_faults()) else { return };
    let leader = story.cluster.leader();
    let follower = story.cluster.others(leader)[0];
    let term = story.cluster.term();
    story.cluster.begin_fault(follower, Fault::Stall);
    story.await_writes(100);
    story.pass(3_000);
    story.await_writes(50);
    story.cluster.end_fault(follower);
    assert_eq!(story.cluster.term(), term, "an election because of a follower's disk");
    story.end();
}

#[test]
fn slow_disks_only_slow_down() {
    let Some(story) = Story::begin("slow disks", with_faults()) else { return };
    let term = story.cluster.term();
    for number in 1..=3 {
        story.cluster.begin_fault(number, Fault::Slow(150));
    }
    story.await_writes(30);
    story.pass(3_000);
    assert_eq!(story.cluster.term(), term, "an election because of slow disks");
    story.end();
}

/// A sync that fails can never be believed again: the process ends, and the others go on.
#[test]
fn the_leaders_disk_breaks() {
    let Some(mut story) = Story::begin("broken disk", with_faults()) else { return };
    let leader = story.cluster.leader();
    story.cluster.begin_fault(leader, Fault::Fail);
    let status = story.cluster.node_mut(leader).await_end(Duration::from_secs(20));
    assert!(!status.success(), "a node whose disk is broken ended with {status}");
    story.workload.is_reborn(&story.cluster, leader);
    story.await_writes(50);
    let said = story.cluster.node(leader).said();
    assert!(said.contains("sync"), "it does not say what was wrong");
    story.end();
}

/// The time that SQL sees never goes back, and nothing else looks at the wall clock.
#[test]
fn clocks_are_set_and_nobody_minds() {
    let Some(story) = Story::begin("clocks", with_faults()) else { return };
    let mut random = Random(story.cluster.term());
    let leader = story.cluster.leader();
    story.cluster.node(leader).execute(&["CREATE TABLE moment (id INTEGER PRIMARY KEY, at TEXT)"]);
    let insert = "INSERT INTO moment(at) VALUES(strftime('%Y-%m-%d %H:%M:%f', 'now'))";
    let term = story.cluster.term();
    for seconds in [-3600, 3600, -86_400, 0] {
        let leader = story.cluster.leader();
        assert!(story.cluster.try_write(leader, insert), "a write before the clock is set");
        story.cluster.begin_fault(leader, Fault::Clock(seconds));
        assert!(story.cluster.try_write(leader, insert), "a write after the clock was set");
        story.pass(500 + random.below(1_000));
        story.await_writes(20);
    }
    assert_eq!(story.cluster.term(), term, "an election because of a clock");
    // Now led by a node whose clock was never set.
    let leader = story.cluster.leader();
    let target = story.cluster.others(leader)[0];
    story.cluster.transfer(leader, target);
    let leader = story.cluster.leader();
    assert!(story.cluster.try_write(leader, insert), "a write after all");
    let sql = "SELECT count(*) FROM moment a JOIN moment b ON a.id < b.id AND a.at > b.at";
    assert_eq!(story.cluster.node(leader).rows(sql), json!([[0]]), "time went back");
    story.end();
}

/// The faults are real ones: else none of the stories above would show anything.
#[test]
fn faults_reach_the_process() {
    let plan = Plan { nodes: 1, ..with_faults() };
    let Some(mut cluster) = Cluster::start(plan) else { return };
    cluster.node(1).execute(&["CREATE TABLE t (n)"]);
    let hour = |cluster: &Cluster| {
        let sql = "INSERT INTO t VALUES(strftime('%s', 'now')) RETURNING n";
        let reply =
            cluster.node(1).request("POST", "/db/execute", json!([sql]).to_string().as_bytes());
        let text = reply.json()["results"][0]["values"][0][0].as_str().unwrap_or("").to_owned();
        text.parse::<u64>().unwrap_or_else(|_| panic!("no time: {}", reply.text())) / 3600
    };
    let before = hour(&cluster);
    cluster.begin_fault(1, Fault::Clock(5 * 3600));
    let after = hour(&cluster);
    assert!(after - before == 5 || after - before == 6, "{before} and {after}");
    cluster.begin_fault(1, Fault::Slow(300));
    let begin = Instant::now();
    assert!(cluster.try_write(1, "INSERT INTO t VALUES(1)"), "a slow write");
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    cluster.begin_fault(1, Fault::Stall);
    std::thread::scope(|scope| {
        let write = scope.spawn(|| cluster.try_write(1, "INSERT INTO t VALUES(2)"));
        std::thread::sleep(Duration::from_millis(700));
        assert!(!write.is_finished(), "acknowledged while the disk stands still");
        cluster.end_fault(1);
        assert!(write.join().expect("no panic"), "acknowledged afterwards");
    });
    cluster.begin_fault(1, Fault::Fail);
    assert!(!cluster.try_write(1, "INSERT INTO t VALUES(3)"), "acknowledged by a broken disk");
    assert!(!cluster.node_mut(1).await_end(Duration::from_secs(10)).success(), "it ends");
}

/// Network namespaces and proxies are two ways to the same end; this one only looks whether real
/// addresses other than those of loopback work.
#[test]
fn a_cluster_over_a_bridge_is_a_cluster() {
    let plan = Plan { between: Between::Spaces, ..Plan::default() };
    let Some(story) = Story::begin("bridge of namespaces", plan) else { return };
    story.pass(1_000);
    story.end();
}
