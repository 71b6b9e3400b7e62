//! Processes that die at any moment, one, a minority or all of them, and those that stand still.

use std::time::{Duration, Instant};

use crate::cluster::{Between, Cluster, Plan};
use crate::story::{Story, seed};
use crate::support::golden::say;
use crate::support::{Random, environment_number};
use crate::workload::Workload;

/// Times that the leader is killed to see how long it takes until another acknowledges a write.
const FAILOVERS: u64 = 5;

/// Half of the fail-overs take no longer than this, with the default timeouts.
const FAILOVER_MAX: Duration = Duration::from_millis(700);

#[test]
fn one_node_under_load_agrees_with_its_clients() {
    let Some(mut story) = Story::begin("one node", Plan { nodes: 1, ..Plan::default() }) else {
        return;
    };
    for _ in 0..5 {
        let milliseconds = story.random.below(400);
        story.pass(milliseconds);
        story.kill9(1);
        story.spawn(1);
    }
    story.end();
}

#[test]
fn leaders_and_followers_are_killed() {
    let Some(mut story) = Story::begin("kills", Plan::default()) else { return };
    for turn in 0..6 {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        let victim = if turn % 2 == 0 { leader } else { others[turn / 2 % others.len()] };
        story.kill9(victim);
        if turn % 3 != 2 {
            story.await_writes(20);
        }
        let milliseconds = story.random.below(600);
        story.pass(milliseconds);
        story.spawn(victim);
    }
    story.end();
}

#[test]
fn two_of_five_are_killed_and_the_others_go_on() {
    let Some(mut story) = Story::begin("kills of five", Plan { nodes: 5, ..Plan::default() })
    else {
        return;
    };
    for _ in 0..3 {
        let leader = story.cluster.leader();
        let other = story.cluster.others(leader)[0];
        story.kill9(leader);
        story.kill9(other);
        story.await_writes(50);
        story.spawn(leader);
        story.spawn(other);
    }
    story.end();
}

#[test]
fn all_are_killed_at_once_again_and_again() {
    let Some(mut story) = Story::begin("all killed", Plan::default()) else { return };
    for _ in 0..4 {
        let milliseconds = 300 + story.random.below(1_500);
        story.pass(milliseconds);
        for number in 1..=3 {
            story.kill9(number);
        }
        for number in 1..=3 {
            story.spawn(number);
        }
    }
    story.end();
}

/// Power cuts, one after another and all at once: what a disk was not told to keep may be gone.
#[test]
fn the_power_fails_on_some_and_on_all() {
    let flags =
        vec!["-raft-snap", "200", "-raft-snap-int", "50ms", "-raft-snap-wal-size", "100000"];
    let plan = Plan { has_power_cuts: true, flags, ..Plan::default() };
    let Some(mut story) = Story::begin("power cuts", plan) else { return };
    let mut sectors = 0;
    for turn in 0..6 {
        let milliseconds = 200 + story.random.below(800);
        story.pass(milliseconds);
        let leader = story.cluster.leader();
        let victims = match turn % 3 {
            0 => vec![leader],
            1 => vec![story.cluster.others(leader)[0], leader],
            _ => vec![1, 2, 3],
        };
        for &victim in &victims {
            sectors += story.kill9(victim);
        }
        for &victim in &victims {
            story.spawn(victim);
        }
        story.await_writes(20);
    }
    say(&format!("power cuts damaged {sectors} sectors"));
    assert!(sectors > 0, "nothing was damaged: does the library see the writes?");
    story.end();
}

#[test]
fn nodes_stand_still_longer_than_an_election_takes() {
    let Some(mut story) = Story::begin("pauses", Plan::default()) else { return };
    for turn in 0..5 {
        let leader = story.cluster.leader();
        let victim = if turn < 4 { leader } else { story.cluster.others(leader)[0] };
        story.cluster.node_mut(victim).pause();
        story.await_writes(20);
        // So long that clients have come back to it: what they ask now it finds when it goes on,
        // before it finds out how late it is.
        let milliseconds = 2_500 + story.random.below(1_000);
        story.pass(milliseconds);
        story.cluster.node_mut(victim).resume();
        story.pass(300);
    }
    story.end();
}

#[test]
fn a_rolling_restart_is_hardly_noticed() {
    let Some(mut story) = Story::begin("rolling restart", Plan::default()) else { return };
    for number in 1..=3 {
        let status = story.cluster.node_mut(number).terminate();
        assert!(status.success(), "n{number} ended with {status}");
        story.await_writes(20);
        story.spawn(number);
        story.cluster.await_all_ready(Duration::from_secs(15));
    }
    story.end();
}

/// From the kill of the leader until another node acknowledges a write, again and again.
#[test]
fn another_leader_is_soon_found() {
    let plan = Plan { between: Between::Nothing, seed: seed(), ..Plan::default() };
    let Some(mut cluster) = Cluster::start(plan) else { return };
    cluster.node(cluster.leader()).execute(&["CREATE TABLE t (n)"]);
    let mut random = Random(seed());
    let mut times = Vec::new();
    for _ in 0..environment_number("CLUSTER_FAILOVERS", FAILOVERS) {
        let leader = cluster.leader();
        assert!(cluster.try_write(leader, "INSERT INTO t VALUES(1)"), "a healthy leader writes");
        std::thread::sleep(Duration::from_millis(300 + random.below(300)));
        let mut asked = cluster.others(leader).into_iter().cycle();
        cluster.node_mut(leader).kill9();
        let killed = Instant::now();
        while !cluster.try_write(asked.next().expect("two"), "INSERT INTO t VALUES(2)") {
            assert!(killed.elapsed() < Duration::from_secs(20), "nobody leads");
            std::thread::sleep(Duration::from_millis(2));
        }
        times.push(killed.elapsed());
        cluster.spawn(leader);
        cluster.await_all_ready(Duration::from_secs(15));
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    say(&format!(
        "kill -9 of the leader to the next acknowledged write: median {median:.2?} of {times:.2?}"
    ));
    assert!(median < FAILOVER_MAX, "median {median:?}");
    cluster.converge(Duration::from_secs(15));
}

/// The load alone, to see what the figures of the other stories are to be compared with.
#[test]
fn nothing_happens_and_no_request_fails() {
    let Some(mut cluster) = Cluster::start(Plan { seed: seed(), ..Plan::default() }) else {
        return;
    };
    let term = cluster.term();
    let workload = Workload::start(&cluster, seed());
    std::thread::sleep(Duration::from_secs(5));
    let record = workload.stop();
    cluster.converge(Duration::from_secs(15));
    crate::workload::verify(&cluster, &record, "no faults");
    // A machine that is busy with something else may have a client wait for too long.
    let late: u64 = record.reasons.values().sum();
    assert!(late * 200 <= record.done, "{late} of {}: {:?}", record.done, record.reasons);
    assert!(record.done > 500, "only {} operations", record.done);
    assert_eq!(cluster.term(), term, "an election without a reason");
}
