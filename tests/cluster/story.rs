//! What every story has in common: a healthy cluster under load in the beginning, one whose nodes
//! agree with each other and with the clients in the end.

use std::time::{Duration, Instant};

use crate::cluster::{CONVERGE_MAX, Cluster, Plan};
use crate::support::golden::say;
use crate::support::{Random, environment_number};
use crate::workload::{Workload, verify};

/// Writes that must be acknowledged before anything is hurt, and after all is well again: else
/// nothing was shown.
const WRITES_MIN: u64 = 100;

/// Longest wait for these.
const WRITES_MAX_TIME: Duration = Duration::from_secs(30);

/// A cluster under load.
pub(crate) struct Story {
    pub(crate) cluster: Cluster,
    pub(crate) workload: Workload,
    pub(crate) random: Random,
    name: &'static str,
    begin: Instant,
}

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    environment_number("CLUSTER_SEED", 1)
}

impl Story {
    /// Begins with a cluster as planned; `None`, with the reason printed, where that cannot be.
    pub(crate) fn begin(name: &'static str, plan: Plan) -> Option<Self> {
        let begin = Instant::now();
        let seed = seed();
        let cluster = Cluster::start(Plan { seed, ..plan })?;
        let story = Self::go_on(name, cluster, seed);
        Some(Self { begin, ..story })
    }

    /// Begins with a cluster that has no tables of another story's.
    pub(crate) fn go_on(name: &'static str, cluster: Cluster, seed: u64) -> Self {
        let workload = Workload::start(&cluster, seed);
        workload.await_writes(WRITES_MIN, WRITES_MAX_TIME);
        Self { cluster, workload, random: Random(seed), name, begin: Instant::now() }
    }

    /// Lets time pass: the clients work, the faults last.
    pub(crate) fn pass(&self, milliseconds: u64) {
        // Time itself is what this is about: there is nothing to wait for.
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    /// Waits until so many writes more were acknowledged, whatever goes on.
    pub(crate) fn await_writes(&self, more: u64) {
        self.workload.await_writes(more, WRITES_MAX_TIME);
    }

    /// Kills a node; the sectors of its disk that were damaged by that.
    pub(crate) fn kill9(&mut self, number: usize) -> u64 {
        let sectors = self.cluster.kill9(number);
        self.workload.is_reborn(&self.cluster, number);
        sectors
    }

    /// Starts a node, wherever it listens now.
    pub(crate) fn spawn(&mut self, number: usize) {
        self.cluster.spawn(number);
        self.workload.is_reborn(&self.cluster, number);
    }

    /// Ends all faults and starts what does not run.
    pub(crate) fn heal(&mut self) {
        for number in 1..=self.cluster.nodes.len() {
            let ended = self.cluster.node_mut(number).ended();
            if ended.is_some() || self.cluster.node(number).pid().is_none() {
                self.workload.is_reborn(&self.cluster, number);
            }
        }
        self.cluster.heal();
    }

    /// Ends all faults; the cluster works again, its nodes hold the same, and the clients were
    /// told nothing but the truth. What is left of it: the cluster, and how much was acknowledged.
    pub(crate) fn end(mut self) -> (Cluster, u64) {
        self.heal();
        let healed = Instant::now();
        self.cluster.await_all_ready(CONVERGE_MAX);
        self.await_writes(WRITES_MIN);
        let written = self.workload.written();
        let record = self.workload.stop();
        let left = CONVERGE_MAX.saturating_sub(healed.elapsed());
        let digest = self.cluster.converge(left.max(Duration::from_secs(5)));
        say(&format!(
            "{}: seed {}, {:.1?} in all, healed in {:.1?}, digest {digest}",
            self.name,
            seed(),
            self.begin.elapsed(),
            healed.elapsed()
        ));
        verify(&self.cluster, &record, self.name);
        (self.cluster, written)
    }

    /// Starts one node more, which asks `asked` to be taken in; its number.
    pub(crate) fn add(&mut self, asked: usize, flags: &[&str]) -> usize {
        let number = self.cluster.add_node();
        let address = self.cluster.node(asked).advertised;
        let node = self.cluster.node_mut(number);
        node.join = vec![address];
        node.recipe.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self.spawn(number);
        self.cluster.await_all_ready(WRITES_MAX_TIME);
        number
    }
}
