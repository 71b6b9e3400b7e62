//! Everything that can go wrong, at random, for as long as one likes.
//!
//! `CLUSTER_TORTURE_MINUTES` says how long (`scripts/torture MINUTES`), `CLUSTER_SEED` which run it
//! is. Time goes in rounds: some faults, alone and together, then all end, and the nodes and the
//! clients' records are compared.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, Plan};
use crate::faults::Fault;
use crate::links::Rule;
use crate::story::{Story, seed};
use crate::support::disk::Disk;
use crate::support::environment_number;
use crate::support::golden::say;

/// Seconds of an ordinary test run.
const SECONDS: u64 = 40;

/// Faults in one round.
const FAULTS: u64 = 8;

/// Size of each node's own disk, where it can have one.
const MEGABYTES: u32 = 192;

/// Longest wait for a cluster whose leader was asked to change.
const READY_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Tally {
    rounds: u64,
    kills: u64,
    pauses: u64,
    cuts: u64,
    disks: u64,
    clocks: u64,
    transfers: u64,
    wipes: u64,
    written: u64,
}

impl Tally {
    fn report(&self, begin: Instant) {
        say(&format!(
            "seed {}: {} rounds in {:.0?}: {} kills, {} pauses, {} disturbed links, {} faults of \
             disks, {} clocks set, {} transfers, {} disks lost; {} acknowledged writes, 0 lost",
            seed(),
            self.rounds,
            begin.elapsed(),
            self.kills,
            self.pauses,
            self.cuts,
            self.disks,
            self.clocks,
            self.transfers,
            self.wipes,
            self.written
        ));
    }
}

/// A node by chance.
fn any(story: &mut Story) -> usize {
    let nodes = story.cluster.nodes.len() as u64;
    1 + usize::try_from(story.random.below(nodes)).expect("small")
}

fn disturb_a_link(story: &mut Story) {
    let (from, to) = (any(story), any(story));
    if from == to {
        return;
    }
    let milliseconds = story.random.below(300);
    let rule = match story.random.below(5) {
        0 | 1 => Rule { is_cut: true, ..Rule::default() },
        2 => Rule { is_refused: true, ..Rule::default() },
        3 => Rule {
            delay_max: Duration::from_millis(milliseconds),
            echo_one_in: 2,
            ..Rule::default()
        },
        _ => Rule { bytes_per_second: 20_000 + 1_000 * milliseconds, ..Rule::default() },
    };
    story.cluster.links().set(from, to, rule);
    if story.random.below(2) == 0 {
        story.cluster.links().set(to, from, rule);
    }
}

/// Kills one, two or all, and starts them again sooner or later.
fn kill_some(story: &mut Story, tally: &mut Tally) {
    let nodes = story.cluster.nodes.len();
    let count = [1, 1, 1, 2, nodes][usize::try_from(story.random.below(5)).expect("small")];
    let first = any(story);
    let victims: Vec<usize> = (0..count).map(|step| 1 + (first - 1 + step) % nodes).collect();
    for &victim in &victims {
        story.kill9(victim);
        tally.kills += 1;
    }
    let milliseconds = story.random.below(1_500);
    story.pass(milliseconds);
    for &victim in &victims {
        story.spawn(victim);
    }
}

fn disk_fault(story: &mut Story) {
    let number = any(story);
    match story.random.below(4) {
        0 => story.cluster.begin_fault(number, Fault::Stall),
        1 => story.cluster.begin_fault(number, Fault::Fail),
        2 => story.cluster.begin_fault(number, Fault::Slow(100)),
        _ => story.cluster.fill_disk(number),
    }
}

/// One node loses everything and joins again. Only when all is well: two would be a majority.
fn lose_a_disk(story: &mut Story) {
    story.cluster.heal_network();
    let number = any(story);
    let asked = story.cluster.others(number)[0];
    let address = story.cluster.node(asked).advertised;
    story.kill9(number);
    story.cluster.node_mut(number).wipe();
    story.cluster.node_mut(number).join = vec![address];
    story.spawn(number);
}

fn one_fault(story: &mut Story, tally: &mut Tally) {
    match story.random.below(16) {
        0..=4 => kill_some(story, tally),
        5..=6 => {
            let number = any(story);
            if story.cluster.node(number).is_running() {
                story.cluster.node_mut(number).pause();
                tally.pauses += 1;
            }
        }
        7..=10 => {
            disturb_a_link(story);
            tally.cuts += 1;
        }
        11..=12 => {
            disk_fault(story);
            tally.disks += 1;
        }
        13 => {
            let number = any(story);
            let hours = i32::try_from(story.random.below(5)).expect("small") - 2;
            story.cluster.begin_fault(number, Fault::Clock(hours * 3600));
            tally.clocks += 1;
        }
        14 => {
            let (asked, target) = (any(story), any(story));
            if story.cluster.node(asked).is_running() {
                let body = json!({ "id": story.cluster.node(target).id() }).to_string();
                // Whether it can be done now is not the question.
                let _asked =
                    story.cluster.node(asked).try_request("POST", "/leader", body.as_bytes());
                tally.transfers += 1;
            }
        }
        _ => {
            let number = any(story);
            if story.cluster.node(number).is_running() {
                let target = "/snapshot?trailing_logs=5";
                let _asked = story.cluster.node(number).try_request("POST", target, b"");
            }
        }
    }
}

fn round(cluster: Cluster, number: u64, tally: &mut Tally) -> Cluster {
    let mut story = Story::go_on("torture", cluster, seed().wrapping_mul(7_919) + number);
    for _ in 0..FAULTS {
        one_fault(&mut story, tally);
        let milliseconds = story.random.below(1_500);
        story.pass(milliseconds);
        // Most faults end before the round does.
        if story.random.below(2) == 0 {
            story.heal();
        }
    }
    story.heal();
    story.cluster.await_all_ready(READY_MAX);
    if number % 3 == 2 {
        lose_a_disk(&mut story);
        tally.wipes += 1;
        story.cluster.await_all_ready(READY_MAX);
    }
    let (cluster, written) = story.end();
    tally.rounds += 1;
    tally.written += written;
    cluster
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost() {
    let seconds = environment_number("CLUSTER_TORTURE_MINUTES", 0) * 60;
    let seconds = if seconds == 0 { SECONDS } else { seconds };
    let megabytes = if Disk::mount(1).is_some() { MEGABYTES } else { 0 };
    let nodes = if seed().is_multiple_of(3) { 5 } else { 3 };
    let plan = Plan { nodes, has_faults: true, megabytes, seed: seed(), ..Plan::default() };
    let Some(mut cluster) = Cluster::start(plan) else { return };
    let begin = Instant::now();
    let mut tally = Tally::default();
    for number in 0.. {
        cluster = round(cluster, number, &mut tally);
        tally.report(begin);
        if begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    assert!(tally.kills > 0 && tally.written > 200, "too little was done to show anything");
}
