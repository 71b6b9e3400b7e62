//! Networks that let only some of what is said pass, or all of it late and in another order.
//!
//! With proxies bytes are held back and come later, as TCP makes it look to a program; with network
//! namespaces packets are really dropped.

use std::time::Duration;

use crate::cluster::{Between, Cluster, Plan};
use crate::links::Rule;
use crate::story::Story;
use crate::support::eventually;
use crate::support::golden::say;

/// Longest time in which the larger part of a cluster finds a leader and writes.
const RECOVERS_MAX: Duration = Duration::from_secs(15);

const CUT: Rule = Rule {
    is_cut: true,
    is_refused: false,
    delay_max: Duration::ZERO,
    bytes_per_second: 0,
    echo_one_in: 0,
};

/// What is between two nodes, in both directions.
fn cut_pair(cluster: &Cluster, one: usize, other: usize) {
    cut(cluster, one, other);
    cut(cluster, other, one);
}

/// One direction, on whichever network it is.
fn cut(cluster: &Cluster, from: usize, to: usize) {
    if cluster.has_links() {
        cluster.links().set(from, to, CUT);
    } else {
        cluster.spaces().cut(from, to);
    }
}

/// Whether this node acknowledges writes.
fn writes(story: &Story, number: usize) -> bool {
    story.cluster.try_write(number, "UPDATE counter SET n = n + 1")
}

fn await_writes_at(story: &Story, numbers: &[usize]) {
    eventually("the larger part writes", RECOVERS_MAX, || {
        numbers.iter().any(|&number| writes(story, number)).then_some(())
    });
}

/// The others have a new leader at about the time at which the old one gives up: in between it
/// must not answer from what it has.
#[test]
fn a_leader_cut_off_tells_nothing_old() {
    let Some(mut story) = Story::begin("cut off", Plan::default()) else { return };
    for _ in 0..4 {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        for &other in &others {
            cut_pair(&story.cluster, leader, other);
        }
        await_writes_at(&story, &others);
        let milliseconds = 500 + story.random.below(500);
        story.pass(milliseconds);
        story.cluster.heal_network();
        let milliseconds = 200 + story.random.below(500);
        story.pass(milliseconds);
    }
    story.end();
}

/// Leader alone, follower alone, and a leader with a minority of five.
fn halves(name: &'static str, between: Between) {
    let Some(mut story) = Story::begin(name, Plan { nodes: 5, between, ..Plan::default() }) else {
        return;
    };
    for turn in 0..3 {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        let (small, large) = match turn {
            0 => (vec![leader], others),
            1 => (vec![leader, others[0]], others[1..].to_vec()),
            _ => (others[..2].to_vec(), [&[leader], &others[2..]].concat()),
        };
        for one in &small {
            for other in &large {
                cut_pair(&story.cluster, *one, *other);
            }
        }
        await_writes_at(&story, &large);
        story.await_writes(20);
        let milliseconds = story.random.below(2_000);
        story.pass(milliseconds);
        story.cluster.heal_network();
        story.pass(500);
    }
    story.end();
}

#[test]
fn halves_of_five_with_held_bytes() {
    halves("halves, links", Between::Links);
}

#[test]
fn halves_of_five_with_dropped_packets() {
    halves("halves, packets", Between::Spaces);
}

/// A leader that is heard and hears nothing, and one that hears and is not heard.
fn one_way(name: &'static str, between: Between) {
    let Some(story) = Story::begin(name, Plan { between, ..Plan::default() }) else { return };
    for is_deaf in [true, false] {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        for &other in &others {
            let (from, to) = if is_deaf { (other, leader) } else { (leader, other) };
            cut(&story.cluster, from, to);
        }
        await_writes_at(&story, &others);
        story.await_writes(20);
        story.pass(1_000);
        story.cluster.heal_network();
        story.pass(500);
    }
    story.end();
}

#[test]
fn a_deaf_leader_and_a_mute_one_with_held_bytes() {
    one_way("one way, links", Between::Links);
}

#[test]
fn a_deaf_leader_and_a_mute_one_with_dropped_packets() {
    one_way("one way, packets", Between::Spaces);
}

/// Two nodes that do not hear each other and a third that hears both: first the leader is one of
/// the two, then the one in the middle.
#[test]
fn two_that_meet_only_over_a_third() {
    let Some(story) = Story::begin("bridge", Plan::default()) else { return };
    for turn in 0..2 {
        let leader = story.cluster.leader();
        let others = story.cluster.others(leader);
        let pair = if turn == 0 { (leader, others[0]) } else { (others[0], others[1]) };
        cut_pair(&story.cluster, pair.0, pair.1);
        await_writes_at(&story, &[1, 2, 3]);
        let before = story.cluster.term();
        story.pass(4_000);
        story.await_writes(20);
        let elections = story.cluster.term() - before;
        assert!(elections <= 2, "{elections} more terms while nothing changed");
        story.cluster.heal_network();
        story.pass(500);
    }
    story.end();
}

/// Five nodes of which each hears only its two neighbours: all in all a majority is in touch with
/// each, and nobody with all.
#[test]
fn a_ring_of_five_writes_on() {
    let Some(story) = Story::begin("ring", Plan { nodes: 5, ..Plan::default() }) else { return };
    for one in 1..=5 {
        for other in one + 1..=5 {
            let distance = other - one;
            if distance != 1 && distance != 4 {
                cut_pair(&story.cluster, one, other);
            }
        }
    }
    let leader = eventually("somebody writes", RECOVERS_MAX, || {
        (1..=5).find(|&number| writes(&story, number))
    });
    say(&format!("n{leader} answers in a ring"));
    story.pass(2_000);
    story.await_writes(10);
    story.end();
}

#[test]
fn every_fifth_packet_is_lost() {
    let plan = Plan { between: Between::Spaces, ..Plan::default() };
    let Some(story) = Story::begin("20 % loss", plan) else { return };
    story.cluster.spaces().lose(20);
    story.await_writes(100);
    story.pass(8_000);
    story.await_writes(20);
    story.end();
}

#[test]
fn messages_are_late_overtake_each_other_and_come_twice() {
    let Some(story) = Story::begin("delays", Plan::default()) else { return };
    let delay_max = Duration::from_millis(150);
    story.cluster.links().set_all(3, Rule { delay_max, echo_one_in: 2, ..Rule::default() });
    // Connections are kept for long: new ones are what can be said again.
    for _ in 0..4 {
        story.cluster.links().set_all(3, Rule { is_refused: true, ..Rule::default() });
        story.pass(150);
        story.cluster.links().set_all(3, Rule { delay_max, echo_one_in: 2, ..Rule::default() });
        story.pass(2_000);
    }
    story.await_writes(20);
    let echoes = story.cluster.links().echoes();
    assert!(echoes > 0, "nothing was said twice");
    say(&format!("{echoes} connections were said again"));
    story.end();
}

#[test]
fn a_thin_line_is_slow_and_no_reason_for_elections() {
    let Some(story) = Story::begin("200 kbit", Plan::default()) else { return };
    let term = story.cluster.term();
    story.cluster.links().set_all(3, Rule { bytes_per_second: 25_000, ..Rule::default() });
    // A row that takes seconds on this line: heartbeats must not wait behind it.
    let leader = story.cluster.leader();
    story.cluster.node(leader).execute(&["CREATE TABLE wide (b)"]);
    let text = "x".repeat(150_000);
    let insert = format!("INSERT INTO wide VALUES('{text}')");
    assert!(story.cluster.try_write(leader, &insert), "a wide row is written, slowly");
    story.pass(2_000);
    assert_eq!(story.cluster.term(), term, "an election because of a wide row");
    story.end();
}

/// Connections that neither side closes and that say nothing: as when a machine loses its power.
#[test]
fn a_machine_that_vanishes_with_its_connections_open() {
    let Some(mut story) = Story::begin("half open", Plan::default()) else { return };
    for _ in 0..2 {
        let leader = story.cluster.leader();
        for other in story.cluster.others(leader) {
            cut_pair(&story.cluster, leader, other);
        }
        story.kill9(leader);
        story.await_writes(20);
        story.spawn(leader);
        story.cluster.heal_network();
        story.cluster.await_all_ready(RECOVERS_MAX);
    }
    story.end();
}

/// Cut and healed so often that no election is left in peace.
#[test]
fn a_line_that_comes_and_goes() {
    let Some(mut story) = Story::begin("flapping", Plan::default()) else { return };
    for _ in 0..12 {
        let (one, two) = (1 + story.random.below(3), 1 + story.random.below(3));
        let number = |n: u64| usize::try_from(n).expect("small");
        if one != two {
            cut(&story.cluster, number(one), number(two));
        }
        let milliseconds = 200 + story.random.below(700);
        story.pass(milliseconds);
        if story.random.below(2) == 0 {
            story.cluster.heal_network();
        }
    }
    story.end();
}
