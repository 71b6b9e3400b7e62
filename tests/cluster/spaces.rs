//! A network of real packets: each node in a network namespace of its own, all on one bridge.
//!
//! Packets from one node to another are dropped by the receiver's own filter, all of them or some
//! by chance. Clients come over the bridge from outside and are never disturbed. Needs root and
//! the programs `ip` and `nft`; where it cannot be, [`Spaces::make`] says why.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::golden::say;

/// Networks made by this process so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The network of one cluster; gone when the value is dropped.
pub(crate) struct Spaces {
    /// Begins the names of its namespaces and interfaces.
    name: String,
    /// The third number of its addresses.
    subnet: u8,
    nodes: usize,
}

impl Spaces {
    /// `None`, with the reason printed, where it is not permitted.
    pub(crate) fn make(nodes: usize) -> Option<Self> {
        let number = std::process::id().wrapping_mul(8) + MADE.fetch_add(1, Ordering::Relaxed);
        let subnet = u8::try_from(number % 250).expect("below 250");
        let spaces = Self { name: format!("ql{}", number % 1_000_000), subnet, nodes };
        match spaces.set_up() {
            Ok(()) => Some(spaces),
            Err(why) => {
                say(&format!("skipped: no network namespaces here (needs root, ip, nft): {why}"));
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let (hub, subnet) = (self.hub(), self.subnet);
        let outer = format!("{}h", self.name);
        run("nft", &["--version"])?;
        run("ip", &["netns", "add", &hub])?;
        run("ip", &["-n", &hub, "link", "add", "bridge0", "type", "bridge"])?;
        run("ip", &["-n", &hub, "link", "set", "bridge0", "up"])?;
        run(
            "ip",
            &["link", "add", &outer, "type", "veth", "peer", "name", "outer0", "netns", &hub],
        )?;
        run("ip", &["-n", &hub, "link", "set", "outer0", "master", "bridge0", "up"])?;
        // Addresses that are set aside for tests of networks (RFC 2544).
        run("ip", &["addr", "add", &format!("198.18.{subnet}.254/24"), "dev", &outer])?;
        run("ip", &["link", "set", &outer, "up"])?;
        for node in 1..=self.nodes {
            let (space, port) = (self.space(node), format!("p{node}"));
            run("ip", &["netns", "add", &space])?;
            run("ip", &["-n", &space, "link", "set", "lo", "up"])?;
            let pair = ["link", "add", "eth0", "type", "veth", "peer", "name", &port];
            run("ip", &[&["-n", &space][..], &pair, &["netns", &hub]].concat())?;
            run("ip", &["-n", &hub, "link", "set", &port, "master", "bridge0", "up"])?;
            let address = format!("{}/24", self.address(node));
            run("ip", &["-n", &space, "addr", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &space, "link", "set", "eth0", "up"])?;
            self.nft(node, "add table inet test")?;
            let chain = "add chain inet test in { type filter hook input priority 0; }";
            self.nft(node, chain)?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-0", self.name)
    }

    fn space(&self, node: usize) -> String {
        format!("{}-{node}", self.name)
    }

    /// The address of a node.
    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.subnet, u8::try_from(node).expect("few nodes"))
    }

    /// A place where a node may listen: ports are its own.
    pub(crate) fn socket(&self, node: usize, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(node), port))
    }

    /// What comes before a command that is to run as this node; it becomes that command.
    pub(crate) fn prefix(&self, node: usize) -> Vec<String> {
        let space = self.space(node);
        ["ip", "netns", "exec", &space].iter().map(|&word| word.to_owned()).collect()
    }

    fn nft(&self, node: usize, rule: &str) -> Result<(), String> {
        run("ip", &["netns", "exec", &self.space(node), "nft", rule])
    }

    fn add_rule(&self, from: usize, to: usize, what: &str) {
        let rule = format!("add rule inet test in ip saddr {} {what}", self.address(from));
        self.nft(to, &rule).expect("a rule can be added");
    }

    /// Packets from one node to another get lost from now on.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.add_rule(from, to, "drop");
    }

    /// So many of a hundred do, between all nodes.
    pub(crate) fn lose(&self, percent: u8) {
        for to in 1..=self.nodes {
            for from in (1..=self.nodes).filter(|&from| from != to) {
                self.add_rule(from, to, &format!("numgen random mod 100 < {percent} drop"));
            }
        }
    }

    /// Every packet arrives again.
    pub(crate) fn heal(&self) {
        for node in 1..=self.nodes {
            self.nft(node, "flush chain inet test in").expect("rules can be taken away");
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for node in 0..=self.nodes {
            run("ip", &["netns", "del", &self.space(node)]).ok();
        }
        run("ip", &["link", "del", &format!("{}h", self.name)]).ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), errors.trim()))
}
