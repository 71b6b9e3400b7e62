//! A network that a test can disturb, made of proxies on loopback: one in front of each node.
//!
//! A node is known to the others by its proxy's address only. A proxy finds out who connects by
//! looking up whose socket it is, so each ordered pair of nodes has rules of its own: a cut from A
//! to B holds back every byte that A sends to B, in connections that either of them has opened,
//! and gives them on once it is healed, as TCP does. Needs no root. What packets do is `spaces`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use quorlite::os::{lock, spawn};

use crate::support::Random;

/// Time between two looks at whether something may go on.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks for a socket before it counts as nobody's.
const LOOKS: u32 = 5;

/// A byte that comes this long after the last begins another message, with a delay of its own.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of one connection that may be said again on another.
const ECHO_BYTES_MAX: usize = 256 << 10;

/// What happens to bytes on their way from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Nothing passes.
    pub(crate) is_cut: bool,
    /// Connections are refused, and those that are there are reset.
    pub(crate) is_refused: bool,
    /// Longest time a message takes; each takes another, so those of two connections overtake.
    pub(crate) delay_max: Duration,
    /// Bytes a second of each connection; 0: any number.
    pub(crate) bytes_per_second: u64,
    /// Of so many connections one is said again later on a connection of its own; 0: none.
    pub(crate) echo_one_in: u64,
}

/// The network of one cluster.
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    random: Mutex<Random>,
    is_over: AtomicBool,
    echoes: AtomicU64,
}

#[derive(Default)]
struct State {
    rules: BTreeMap<(usize, usize), Rule>,
    /// Process of each node, to know who connects.
    processes: BTreeMap<usize, u32>,
    /// Where the node behind each proxy listens.
    targets: BTreeMap<usize, SocketAddr>,
}

impl Links {
    /// A network without nodes.
    pub(crate) fn new(seed: u64) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            random: Mutex::new(Random(seed)),
            is_over: AtomicBool::new(false),
            echoes: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Puts a proxy in front of this node; its address.
    pub(crate) fn add(&self, node: usize, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a listener can be polled");
        self.lock().targets.insert(node, target);
        let shared = Arc::clone(&self.shared);
        start(move || shared.serve(&listener, node));
        address
    }

    /// This node listens elsewhere from now on.
    pub(crate) fn retarget(&self, node: usize, target: SocketAddr) {
        self.lock().targets.insert(node, target);
    }

    /// This node is that process from now on.
    pub(crate) fn is_process(&self, node: usize, process: u32) {
        self.lock().processes.insert(node, process);
    }

    /// Sets what happens to bytes from one node to another.
    pub(crate) fn set(&self, from: usize, to: usize, rule: Rule) {
        self.lock().rules.insert((from, to), rule);
    }

    /// Sets it for all pairs that there may be among so many nodes.
    pub(crate) fn set_all(&self, nodes: usize, rule: Rule) {
        for from in 1..=nodes {
            for to in (1..=nodes).filter(|&to| to != from) {
                self.set(from, to, rule);
            }
        }
    }

    /// Everything passes.
    pub(crate) fn heal(&self) {
        self.lock().rules.clear();
    }

    /// Connections that were said again.
    pub(crate) fn echoes(&self) -> u64 {
        self.shared.echoes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// One direction of one connection.
struct Way {
    from: Option<usize>,
    to: Option<usize>,
    source: TcpStream,
    sink: TcpStream,
    /// What passed, as long as it may be said again.
    said: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn below(&self, bound: u64) -> u64 {
        lock(&self.random).below(bound.max(1))
    }

    fn rule(&self, from: Option<usize>, to: Option<usize>) -> Rule {
        let (Some(from), Some(to)) = (from, to) else { return Rule::default() };
        self.lock().rules.get(&(from, to)).copied().unwrap_or_default()
    }

    fn serve(self: Arc<Self>, listener: &TcpListener, node: usize) {
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let shared = Arc::clone(&self);
                    start(move || shared.connection(stream, peer, node));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Carries one connection to `node`.
    fn connection(self: Arc<Self>, near: TcpStream, peer: SocketAddr, node: usize) {
        let target = lock(&self.state).targets[&node];
        // First, and cheaply: those that run ask those that do not many times a second.
        let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { return };
        let from = near.local_addr().ok().and_then(|own| self.who(peer, own));
        // A connection that is over already is nobody's; while rules are in force it stays so.
        let is_nobodys = from.is_none() && !lock(&self.state).rules.is_empty();
        if is_nobodys || self.rule(from, Some(node)).is_refused {
            return;
        }
        let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else { return };
        let one_in = self.rule(from, Some(node)).echo_one_in;
        let is_echoed = one_in > 0 && self.below(one_in) == 0;
        let said = is_echoed.then(|| Arc::new(Mutex::new(Vec::new())));
        let to = Some(node);
        let there = Way { from, to, source: near, sink: far, said: said.clone() };
        let back = Way { from: to, to: from, source: far_again, sink: near_again, said: None };
        let shared = Arc::clone(&self);
        start(move || shared.carry(back));
        if let Some(said) = said {
            let shared = Arc::clone(&self);
            start(move || shared.echo(&said, target));
        }
        self.carry(there);
    }

    /// Which node has opened the connection that comes from there.
    fn who(&self, peer: SocketAddr, own: SocketAddr) -> Option<usize> {
        // The kernel's list leaves something out now and then while it changes.
        let inode = (0..LOOKS).find_map(|look| {
            std::thread::sleep(Duration::from_millis(2) * look.min(1));
            socket_inode(peer, own)
        })?;
        let processes = self.lock().processes.clone();
        processes.into_iter().find(|(_, process)| owns(*process, &inode)).map(|(node, _)| node)
    }

    /// Moves bytes one way until either end has enough.
    fn carry(&self, mut way: Way) {
        way.source.set_nodelay(true).ok();
        way.source.set_read_timeout(Some(Duration::from_millis(100))).ok();
        let mut bytes = vec![0; 64 << 10];
        let mut last = Instant::now();
        let mut is_first = true;
        while !self.is_over() && !self.rule(way.from, way.to).is_refused {
            let count = match way.source.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            let is_new = is_first || last.elapsed() > PAUSE;
            is_first = false;
            if !self.hold(&way, count, is_new) || way.sink.write_all(&bytes[..count]).is_err() {
                break;
            }
            if let Some(said) = &way.said {
                let mut said = lock(said);
                if said.len() + count <= ECHO_BYTES_MAX {
                    said.extend_from_slice(&bytes[..count]);
                }
            }
            last = Instant::now();
        }
        way.source.shutdown(Shutdown::Both).ok();
        way.sink.shutdown(Shutdown::Both).ok();
    }

    /// Waits as long as these bytes take; false when they never arrive.
    fn hold(&self, way: &Way, count: usize, is_new: bool) -> bool {
        let rule = self.rule(way.from, way.to);
        if is_new && !rule.delay_max.is_zero() {
            let longest = u64::try_from(rule.delay_max.as_micros()).expect("a short time");
            std::thread::sleep(Duration::from_micros(self.below(longest)));
        }
        let microseconds = (count as u64 * 1_000_000).checked_div(rule.bytes_per_second);
        std::thread::sleep(Duration::from_micros(microseconds.unwrap_or(0)));
        loop {
            let rule = self.rule(way.from, way.to);
            if rule.is_refused || self.is_over() {
                return false;
            }
            if !rule.is_cut {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Says later, on a connection of its own, what was said on another. What clients have asked
    /// is not said again: no network does that to a connection, and only messages between nodes
    /// are made for it.
    fn echo(&self, said: &Mutex<Vec<u8>>, target: SocketAddr) {
        std::thread::sleep(Duration::from_millis(50 + self.below(1_500)));
        let bytes = lock(said).clone();
        let is_a_clients = bytes.windows(8).any(|window| window == b"/forward");
        if is_a_clients || bytes.is_empty() || self.is_over() {
            return;
        }
        if let Ok(mut stream) = TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
            stream.write_all(&bytes).ok();
            stream.set_read_timeout(Some(Duration::from_millis(500))).ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok();
            self.echoes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) {
    drop(spawn("links", work).expect("there is a thread"));
}

/// The inode of the socket at this end of a connection, as the kernel lists it. A port may be in
/// use to several ends, and some lines are of connections that are over.
fn socket_inode(here: SocketAddr, there: SocketAddr) -> Option<String> {
    let (here, there) = (listed(here)?, listed(there)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let at = table.find(&format!(" {here} {there} "))?;
    let line = table[at..].lines().next()?;
    line.split_whitespace().nth(8).filter(|inode| *inode != "0").map(str::to_owned)
}

fn listed(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(v4) = address else { return None };
    let bits = u32::from_ne_bytes(v4.ip().octets());
    Some(format!("{bits:08X}:{:04X}", v4.port()))
}

fn owns(process: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
    })
}

#[test]
fn bytes_are_held_one_way_and_given_on_later() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let links = Links::new(1);
    let address = links.add(2, server.local_addr().unwrap());
    links.is_process(1, std::process::id());
    let mut near = TcpStream::connect(address).unwrap();
    let (mut far, _) = server.accept().unwrap();
    let mut byte = [0; 1];
    near.write_all(b"a").unwrap();
    far.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");

    links.set(1, 2, Rule { is_cut: true, ..Rule::default() });
    near.write_all(b"b").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(far.read_exact(&mut byte).is_err(), "from 1 to 2 nothing passes");
    far.write_all(b"c").unwrap();
    near.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"c", "from 2 to 1 it does");
    links.heal();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    far.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b", "nothing is lost");

    links.set(1, 2, Rule { is_refused: true, ..Rule::default() });
    assert!(!matches!(near.read(&mut byte), Ok(1..)), "it is closed");
}
