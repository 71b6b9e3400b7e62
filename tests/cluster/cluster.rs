//! Several nodes on a network that can be disturbed, and what a test asks of them as a whole.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faults::{Fault, Faults};
use crate::links::Links;
use crate::node::{Node, Recipe};
use crate::spaces::Spaces;
use crate::support::disk::Disk;
use crate::support::golden::say;
use crate::support::server::free_port;
use crate::support::synced::PowerCut;
use crate::support::{Random, eventually};

/// Longest wait for a cluster to come up; generous, for a machine that runs many tests at once.
const START_MAX: Duration = Duration::from_secs(60);

/// Longest time from the end of all faults until all nodes hold the same.
pub(crate) const CONVERGE_MAX: Duration = Duration::from_secs(15);

/// Ports in a namespace, where nobody else listens.
const SPACE_PORTS: (u16, u16) = (4001, 4002);

/// What is between the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Between {
    /// Proxies on loopback.
    #[default]
    Links,
    /// Network namespaces.
    Spaces,
    /// Nothing but loopback, so that a node that is gone refuses connections at once.
    Nothing,
}

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) between: Between,
    /// Flags of every node.
    pub(crate) flags: Vec<&'static str>,
    /// Whether disks may stall and clocks be set.
    pub(crate) has_faults: bool,
    /// Megabytes of each node's own disk; 0: it has none of its own.
    pub(crate) megabytes: u32,
    /// Whether a kill is a power cut: what was not synced may be lost.
    pub(crate) has_power_cuts: bool,
    pub(crate) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let (nodes, between, flags) = (3, Between::Links, Vec::new());
        let (has_faults, has_power_cuts) = (false, false);
        Self { nodes, between, flags, has_faults, megabytes: 0, has_power_cuts, seed: 1 }
    }
}

/// A cluster, and everything that can happen to it.
pub(crate) struct Cluster {
    // In this order: the processes end first, what they run on goes after them.
    pub(crate) nodes: Vec<Node>,
    disks: Vec<Disk>,
    /// Nodes whose disks are full.
    full: BTreeSet<usize>,
    links: Option<Links>,
    spaces: Option<Spaces>,
    faults: Option<Faults>,
    /// One for each node, where kills are power cuts.
    power: Vec<PowerCut>,
    random: Random,
    plan: Plan,
    home: TempDir,
}

impl Cluster {
    /// Starts all nodes, the first alone and the others joining it, and waits until all are ready.
    /// `None`, with the reason printed, when something it takes is not permitted here.
    pub(crate) fn start(plan: Plan) -> Option<Self> {
        let mut cluster = Self::prepare(plan)?;
        for number in 1..=cluster.plan.nodes {
            cluster.add_node();
            let first = cluster.nodes[0].advertised;
            if number > 1 {
                cluster.nodes[number - 1].join = vec![first];
            }
            cluster.spawn(number);
        }
        cluster.await_all_ready(START_MAX);
        Some(cluster)
    }

    /// A cluster without nodes.
    pub(crate) fn prepare(plan: Plan) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let (mut links, mut spaces) = (None, None);
        match plan.between {
            Between::Links => links = Some(Links::new(plan.seed)),
            // Room for some that come later.
            Between::Spaces => spaces = Some(Spaces::make(plan.nodes + 2)?),
            Between::Nothing => {}
        }
        let faults = plan.has_faults.then(Faults::prepare);
        let (nodes, disks, full) = (Vec::new(), Vec::new(), BTreeSet::new());
        let (power, random) = (Vec::new(), Random(plan.seed));
        Some(Self { nodes, disks, full, links, spaces, faults, power, random, plan, home })
    }

    /// Makes one more node, which is not started yet; its number.
    pub(crate) fn add_node(&mut self) -> usize {
        let number = self.nodes.len() + 1;
        let loopback = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (http, raft) = match &self.spaces {
            Some(spaces) => {
                (spaces.socket(number, SPACE_PORTS.0), spaces.socket(number, SPACE_PORTS.1))
            }
            None => (loopback(), loopback()),
        };
        let mut node = Node::new(number, http, raft, self.home.path());
        if let Some(links) = &self.links {
            node.advertised = links.add(number, raft);
        }
        let flags = self.plan.flags.iter().map(|&flag| flag.to_owned()).collect();
        node.recipe = Recipe { flags, ..Recipe::default() };
        if let Some(spaces) = &self.spaces {
            node.recipe.prefix = spaces.prefix(number);
        }
        if let Some(faults) = &self.faults {
            node.recipe.environment.extend(faults.environment(&node.id()));
        }
        if self.plan.has_power_cuts {
            let power = PowerCut::prepare();
            node.recipe.environment.extend(power.environment());
            self.power.push(power);
        }
        if self.plan.megabytes > 0 {
            let disk = Disk::mount(self.plan.megabytes).expect("a disk was mounted before");
            node.set_directory(&disk.path().join("node"));
            self.disks.push(disk);
        }
        self.nodes.push(node);
        number
    }

    /// The proxies.
    pub(crate) fn links(&self) -> &Links {
        self.links.as_ref().expect("the plan has links")
    }

    /// The namespaces.
    pub(crate) fn spaces(&self) -> &Spaces {
        self.spaces.as_ref().expect("the plan has namespaces")
    }

    /// Something is wrong with a node's machine from now on.
    pub(crate) fn begin_fault(&self, number: usize, fault: Fault) {
        let faults = self.faults.as_ref().expect("the plan has faults");
        faults.begin(&self.node(number).id(), fault);
    }

    /// Nothing is wrong with it any more.
    pub(crate) fn end_fault(&self, number: usize) {
        self.faults.as_ref().expect("the plan has faults").end(&self.node(number).id());
    }

    /// Takes all the room on a node's own disk, if it has one.
    pub(crate) fn fill_disk(&mut self, number: usize) {
        if let Some(disk) = self.disks.get(number - 1)
            && self.full.insert(number)
        {
            disk.fill(0);
        }
    }

    /// Gives the room back, if it was taken.
    pub(crate) fn release_disk(&mut self, number: usize) {
        if self.full.remove(&number) {
            self.disks[number - 1].release();
        }
    }

    /// A folder for files of the test's.
    pub(crate) fn scratch(&self) -> &std::path::Path {
        self.home.path()
    }

    /// A node by its number.
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// A node by its number.
    pub(crate) fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// Numbers of all nodes but this.
    pub(crate) fn others(&self, number: usize) -> Vec<usize> {
        (1..=self.nodes.len()).filter(|&other| other != number).collect()
    }

    /// Starts a node.
    pub(crate) fn spawn(&mut self, number: usize) {
        self.node_mut(number).spawn();
        if let Some(links) = &self.links {
            links.is_process(number, self.node(number).pid().expect("it was started"));
        }
    }

    /// Kills a node, as a power cut where the plan says so; the sectors that were damaged.
    pub(crate) fn kill9(&mut self, number: usize) -> u64 {
        self.node_mut(number).kill9();
        let Some(power) = self.power.get(number - 1) else { return 0 };
        power.strike(self.nodes[number - 1].directory(), &mut self.random).sectors
    }

    /// Gives a node other addresses, from its next start.
    pub(crate) fn move_node(&mut self, number: usize) {
        assert!(self.spaces.is_none(), "nodes in namespaces stay where they are");
        let loopback = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (http, raft) = (loopback(), loopback());
        let advertised = self.links().add(number, raft);
        self.links().retarget(number, raft);
        let node = self.node_mut(number);
        (node.http, node.raft, node.advertised) = (http, raft, advertised);
    }

    /// Waits until every running node is ready.
    pub(crate) fn await_all_ready(&mut self, deadline: Duration) {
        for node in &mut self.nodes {
            let id = node.id();
            if node.is_running() {
                eventually(&format!("{id} is ready"), deadline, || {
                    let ended = node.ended();
                    assert!(ended.is_none(), "{id} ended with {ended:?} instead of starting");
                    node.is_ready().then_some(())
                });
            }
        }
    }

    /// Role and term of a node, as it sees itself.
    pub(crate) fn role(&self, number: usize) -> Option<(String, u64)> {
        let raft = self.node(number).ask("/status?key=store.raft");
        Some((raft["state"].as_str()?.to_owned(), raft["term"].as_u64()?))
    }

    /// The running node that leads in the highest term, if any does.
    pub(crate) fn current_leader(&self) -> Option<usize> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let roles = running.filter_map(|node| Some((self.role(node.number)?, node.number)));
        let leaders = roles.filter(|((role, _), _)| role == "Leader");
        leaders.max_by_key(|((_, term), _)| *term).map(|(_, number)| number)
    }

    /// Waits for a leader.
    pub(crate) fn leader(&self) -> usize {
        eventually("there is a leader", START_MAX, || self.current_leader())
    }

    /// Waits for a leader that is another than this.
    pub(crate) fn other_leader(&self, than: usize) -> usize {
        eventually("another node leads", Duration::from_secs(20), || {
            self.current_leader().filter(|&leader| leader != than)
        })
    }

    /// The highest term that any node knows.
    pub(crate) fn term(&self) -> u64 {
        let numbers = 1..=self.nodes.len();
        numbers.filter_map(|number| self.role(number)).map(|(_, term)| term).max().unwrap_or(0)
    }

    /// Whether its network is one of proxies.
    pub(crate) fn has_links(&self) -> bool {
        self.links.is_some()
    }

    /// Everything that nodes say arrives again.
    pub(crate) fn heal_network(&self) {
        if let Some(links) = &self.links {
            links.heal();
        }
        if let Some(spaces) = &self.spaces {
            spaces.heal();
        }
    }

    /// Hands leadership to another node, and waits until that leads.
    pub(crate) fn transfer(&self, asked: usize, target: usize) {
        let body = json!({ "id": self.node(target).id() }).to_string();
        let reply = self.node(asked).request("POST", "/leader?wait", body.as_bytes());
        assert_eq!(reply.status(), 200, "a transfer: {}", reply.text());
        eventually("the one named leads", Duration::from_secs(10), || {
            (self.current_leader() == Some(target)).then_some(())
        });
    }

    /// Ends all faults and starts what does not run.
    pub(crate) fn heal(&mut self) {
        self.heal_network();
        for number in 1..=self.nodes.len() {
            if let Some(faults) = &self.faults {
                faults.end(&self.node(number).id());
            }
            self.release_disk(number);
            self.node_mut(number).resume();
            let ended = self.node_mut(number).ended();
            if let Some(ended) = ended {
                say(&format!("{} had ended by itself: {ended}", self.node(number).id()));
            }
            if self.node(number).pid().is_none() && !self.node(number).is_retired() {
                self.spawn(number);
            }
        }
    }

    /// Waits until all running nodes are ready and hold the same after the same entry; which is
    /// their digest there.
    pub(crate) fn converge(&mut self, deadline: Duration) -> Value {
        let begin = Instant::now();
        self.await_all_ready(deadline);
        let left = || deadline.saturating_sub(begin.elapsed());
        loop {
            let first = self.leader();
            let index = self.node(first).ask("/db/digest")["index"].clone();
            let seconds = left().as_secs().max(1);
            let target = format!("/db/digest?timeout={seconds}s&index={index}");
            let running = self.nodes.iter().filter(|node| node.is_running());
            let digests: Vec<(String, Value)> =
                running.map(|node| (node.id(), node.ask(&target))).collect();
            let distinct = |key: &str| {
                let values = digests.iter().map(|(_, digest)| digest[key].to_string());
                values.collect::<BTreeSet<_>>()
            };
            let is_one_index = distinct("index").len() == 1 && !index.is_null();
            if is_one_index && distinct("digest").len() == 1 {
                return digests[0].1.clone();
            }
            if is_one_index && !distinct("index").contains("null") {
                self.explain_difference();
                panic!("nodes differ after one entry: {digests:#?}");
            }
            assert!(!left().is_zero(), "not at one entry within {deadline:?}: {digests:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Prints the first lines in which the nodes' dumps differ.
    fn explain_difference(&self) {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let dumps = running.map(|node| (node.id(), node.get("/db/backup?fmt=sql&noleader").text()));
        let dumps: Vec<(String, String)> = dumps.collect();
        let (first, text) = &dumps[0];
        for (id, other) in &dumps[1..] {
            let differing = text.lines().zip(other.lines()).filter(|(a, b)| a != b).take(3);
            for (a, b) in differing {
                say(&format!("{first}: {a}\n{id}: {b}"));
            }
        }
    }

    /// A write at this node, with a limit to its time; whether it was acknowledged.
    pub(crate) fn try_write(&self, number: usize, sql: &str) -> bool {
        let body = json!([sql]).to_string();
        let target = "/db/execute?timeout=2s";
        let reply = self.node(number).try_request("POST", target, body.as_bytes());
        reply.is_ok_and(|reply| reply.is_success())
    }
}
