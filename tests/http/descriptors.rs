//! Descriptors and threads run out, in a child process with lowered limits.
//!
//! A child is this test binary again, asked for the same test with `CHILD` set. It serves until its
//! standard input ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorlite::http::Limits;
use rustix::process::{Resource, Rlimit, getuid, setrlimit};

use super::support::{Node, Peer, quick, take_turn};

const CHILD: &str = "QUORLITE_TEST_CHILD";

/// T3, T4: an even and an odd number, for clients that sit idle and for requests that take long.
#[test]
fn accepting_survives_running_out_of_descriptors() {
    if let Ok(limit) = std::env::var(CHILD) {
        let limits = Limits { head_timeout: Duration::from_secs(20), ..quick() };
        return serve_as_child(limits, Resource::Nofile, limit.parse().expect("a number"));
    }
    let _turn = take_turn();
    for limit in [32, 33] {
        let node = Served::start("accepting_survives_running_out_of_descriptors", limit);
        let mut idle: Vec<Peer> = (0..60).map(|_| Peer::connect(node.address)).collect();
        node.assert_well("60 idle connections");
        idle.clear();
        node.assert_well("they are gone");

        let mut working: Vec<Peer> = Vec::new();
        for _ in 0..60 {
            let mut peer = Peer::connect(node.address);
            peer.send(b"GET /sleep?ms=800 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            working.push(peer);
            // It gets to work before the next one needs its place.
            std::thread::sleep(Duration::from_millis(2));
        }
        let answers: Vec<_> = working.iter_mut().map(Peer::read_to_end).collect();
        let with = |status: &str| {
            answers.iter().filter(|answer| answer.bytes.starts_with(status.as_bytes())).count()
        };
        let (slept, refused) = (with("HTTP/1.1 200"), with("HTTP/1.1 503"));
        assert!(slept >= 10 && refused >= 1, "{slept} answered, {refused} refused");
        drop(working);
        node.assert_well("all are answered");
    }
}

/// T5: no thread left to give. (A process of root has no limit of threads, so the child is nobody.)
#[test]
fn accepting_survives_running_out_of_threads() {
    if std::env::var(CHILD).is_ok() {
        return serve_as_child(quick(), Resource::Nproc, 1);
    }
    let _turn = take_turn();
    let node = Served::start("accepting_survives_running_out_of_threads", 1);
    let mut first = Peer::connect(node.address);
    first.get("/sleep?ms=500");
    std::thread::sleep(Duration::from_millis(100));
    let mut more: Vec<Peer> = (0..30).map(|_| Peer::connect(node.address)).collect();
    for peer in &mut more {
        assert_eq!(peer.read_to_end().only().status, 503);
    }
    assert_eq!(first.read_reply().body, b"slept");
    drop(first);
    node.assert_well("its thread is free again");
}

/// The child's side: a node with one thread, then the limit, then service.
fn serve_as_child(limits: Limits, resource: Resource, limit: u64) {
    let node = Node::start(limits);
    node.assert_well();
    // Its one thread goes back to the pool.
    std::thread::sleep(Duration::from_millis(200));
    setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }).expect("lower");
    writeln!(std::io::stdout(), "\nlistening {}", node.address).expect("the parent reads it");
    let ended = std::io::stdin().read(&mut [0; 1]);
    assert_eq!(ended.ok(), Some(0), "the parent says nothing, and goes");
}

/// The parent's side.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(test: &str, limit: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args([&format!("descriptors::{test}"), "--exact", "--nocapture"]);
        command.env(CHILD, limit.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        if getuid().is_root() && limit == 1 {
            command.uid(65_534).gid(65_534);
        }
        let mut child = command.spawn().expect("this binary can be run");
        let output = child.stdout.as_mut().expect("it is piped");
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines
            .filter_map(|line| line.strip_prefix("listening ").map(str::to_owned))
            .next()
            .expect("the child says where it listens");
        Self { child, address: address.parse().expect("an address") }
    }

    fn assert_well(&self, when: &str) {
        let start = Instant::now();
        loop {
            // A thread or descriptor may be on its way back.
            let mut peer = Peer::connect(self.address);
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            if peer.read_to_end().bytes.starts_with(b"HTTP/1.1 200") {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(1), "not answered: {when}");
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}: {when}", start.elapsed());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends when its input does");
    }
}
