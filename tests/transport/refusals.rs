//! Strangers, wrong clusters, wrong secrets, wrong versions, and bytes that are nothing: each costs
//! a sentence, and nothing is told to the node.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use quorlite::http::{Content, Handler, Limits, Listener, Reply, Request};
use quorlite::stats::{self, Stat};
use quorlite::transport::{CallError, Known, SECRET_HEADER, Secret, call, marked};
use serde_json::json;

use crate::raw::{self, Frame, Posted, u64s};
use crate::support::{Node, PATIENCE, Told, heartbeat, noise};

const PATHS: [&str; 3] = ["/raft/message", "/raft/body", "/raft/snapshot"];

fn refused() -> u64 {
    stats::snapshot()
        .find(|(row, _)| row.stat == Stat::TransportRefused)
        .map_or(0, |(_, count)| count)
}

fn beat(node: &Node) -> Frame {
    Frame::to(node, raw::HEARTBEAT, &[&u64s(&[1, 2])])
}

fn post(node: &Node, frame: &Frame) -> Posted {
    let before = refused();
    let posted = raw::post(node, "/raft/message", &frame.bytes());
    assert!(posted.status == 200 || refused() > before, "what is refused is counted");
    assert!(posted.head.contains("x-quorlite-raft: 1"), "{}", posted.head);
    posted
}

#[test]
fn the_frame_in_the_documentation_is_understood() {
    let node = Node::new("a/1");
    let posted = post(&node, &beat(&node));
    assert_eq!(posted.frame(), (6, 0));
    let (from, message, _) = node.message();
    assert_eq!((from.as_str(), message.payload), ("x/1", heartbeat_of(1, 2)));
}

fn heartbeat_of(commit: u64, round: u64) -> quorlite::raft::Payload {
    quorlite::raft::Payload::Heartbeat { commit, round }
}

#[test]
fn whoever_does_not_belong_here_is_told_so() {
    let node = Node::new("a/1");
    let table = [
        (
            Frame { version: 9, ..beat(&node) },
            400,
            "this node speaks version 1 of the messages \
            between nodes, and was sent one of version 9: run the same release on all nodes",
        ),
        (
            Frame { cluster: "c2".to_owned(), ..beat(&node) },
            403,
            "this node belongs to another cluster",
        ),
        (Frame { to: "a/2".to_owned(), ..beat(&node) }, 421, "this node is a/1, and not a/2"),
        (Frame { kind: 99, ..beat(&node) }, 400, "a message of kind 99 has no meaning here"),
        (Frame { fields: vec![1], ..beat(&node) }, 400, "a message of kind 5 is malformed"),
        (
            Frame::to(&node, raw::HAVE, &[&u64s(&[1])]),
            400,
            "this message has no meaning under this path",
        ),
    ];
    for (frame, status, text) in table {
        let posted = post(&node, &frame);
        assert_eq!((posted.status, posted.text().as_str()), (status, text));
    }
    *node.ears.known.lock().unwrap() = Known::Stranger;
    let posted = post(&node, &beat(&node));
    assert_eq!((posted.status, posted.text().as_str()), (403, "x/1 is no member of this cluster"));
    *node.ears.known.lock().unwrap() = Known::Removed { index: 77 };
    assert_eq!(post(&node, &beat(&node)).frame(), (raw::REMOVED, 77));
    let fresh = Node::with("b/1", "", None);
    let posted = post(&fresh, &beat(&fresh));
    assert_eq!(
        (posted.status, posted.text().as_str()),
        (409, "this node belongs to no cluster yet")
    );
    assert_eq!((node.heard(), fresh.heard()), (Vec::new(), Vec::new()));
}

#[test]
fn a_removed_node_hears_of_it() {
    let (mut a, b) = (Node::new("a/1"), Node::new("b/1"));
    let at_b = b.address.clone();
    a.meets(&[(&b, &at_b)]);
    *b.ears.known.lock().unwrap() = Known::Removed { index: 12 };
    a.links.send(&b.id, heartbeat(1), 0);
    assert_eq!(
        a.wait_for(|told| matches!(told, Told::Removed(..))),
        Told::Removed(b.id.clone(), 12)
    );
    assert_eq!(b.heard(), []);
}

#[test]
fn only_who_knows_the_secret_is_heard() {
    let node = Node::with("a/1", "c1", Some("correct horse battery"));
    let bytes = beat(&node).bytes();
    let ask = |headers: &str| PATHS.map(|path| raw::post_with(&node, path, headers, &bytes).status);
    let line = |secret: &[u8]| format!("{SECRET_HEADER}: {}\r\n", Secret::new(secret).header());
    assert_eq!(ask(""), [403; 3]);
    assert_eq!(ask(&line(b"correct horse batter")), [403; 3]);
    assert_eq!(ask(&line(b"correct horse battery")), [200, 400, 400]);

    let mut friend = Node::with("b/1", "c1", Some("correct horse battery"));
    let mut foe = Node::with("e/1", "c1", Some("incorrect horse"));
    for other in [&mut friend, &mut foe] {
        other.meets(&[(&node, &node.address)]);
        other.links.send(&node.id, heartbeat(5), 0);
    }
    friend.answer();
    let status = || foe.links.status()[0].last_error.clone();
    while status().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = "refused (403): the secret between the nodes is missing or wrong";
    assert_eq!(status().as_deref(), Some(text));
    assert!(!foe.heard().iter().any(|told| matches!(told, Told::Answer(..))));
}

#[test]
fn bytes_that_are_nothing_are_refused_on_every_path() {
    let node = Node::new("a/1");
    let noise = noise(300_000);
    let whole = beat(&node).bytes();
    for path in PATHS {
        for length in [0, 1, 3, 4, 20, 788, 789, 790, 5000, 299_999] {
            assert_eq!(raw::post(&node, path, &noise[..length]).status, 400, "{path} {length}");
            let headed = [&whole[..], &noise[..length + 1]].concat();
            let posted = raw::post(&node, path, &headed);
            assert_eq!(posted.status, 400, "{path}: a frame and {length} more bytes");
        }
    }
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 0x10;
        let status = raw::post(&node, PATHS[0], &altered).status;
        assert!((400..500).contains(&status), "{status} for a change at {at}");
    }
    assert_eq!(raw::post(&node, "/raft/other", &whole).status, 404);
    assert_eq!(node.heard(), []);
    assert_eq!(raw::post(&node, PATHS[0], &whole).status, 200);
}

#[test]
fn large_messages_are_read_one_at_a_time_and_small_ones_meanwhile() {
    let node = Node::new("a/1");
    let large = Frame::to(&node, raw::APPEND, &[&u64s(&[1, 1, 0, 0]), &entry(5 << 20)]).bytes();
    let mut slow = TcpStream::connect(&node.address).unwrap();
    let head = format!(
        "POST /raft/message HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    slow.write_all(&[head.as_bytes(), &large[..5000]].concat()).unwrap();
    let until = Instant::now() + PATIENCE;
    while raw::post(&node, PATHS[0], &large).status != 503 {
        assert!(Instant::now() < until, "the first one has its place");
    }
    assert_eq!(raw::post(&node, PATHS[0], &beat(&node).bytes()).status, 200);
    slow.write_all(&large[5000..]).unwrap();
    node.wait_for(|told| matches!(told, Told::Message(_, _, entries) if entries.len() == 1));
    // The place is free once the first one has been answered.
    node.wait_until(|| raw::post(&node, PATHS[0], &large).status == 200);
}

/// An entry of an append, with a body of this length.
fn entry(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).expect("tests are small").to_le_bytes();
    [&u64s(&[1])[..], &[17], &length, &vec![b'x'; bytes]].concat()
}

/// A web server that is no node.
struct Web;

impl Handler for Web {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        let text = |status, text: &str| Reply {
            status,
            headers: Vec::new(),
            content: Content::Bytes(text.as_bytes().to_vec()),
        };
        match request.path.as_str() {
            "/node/hello" => marked(text(200, "{\"hello\":1}")),
            "/node/no" => marked(text(409, "there is somebody of that name")),
            "/node/long" => {
                std::thread::sleep(Duration::from_secs(2));
                marked(text(200, "{}"))
            }
            "/node/html" => marked(text(200, "<html>")),
            _ => text(200, "{}"),
        }
    }
}

#[test]
fn a_call_tells_apart_why_there_is_no_answer() {
    let server = Listener::bind("127.0.0.1:0", Limits::default()).unwrap();
    let address = server.local_address().to_string();
    let server = server.start("web", std::sync::Arc::new(Web)).unwrap();
    let secret = Secret::new(b"something secret");
    let ask = |address: &str, name: &str| {
        call(address, name, &json!({"a": 1}), Some(&secret), Duration::from_millis(700))
    };
    assert_eq!(ask(&address, "hello"), Ok(json!({"hello": 1})));
    let text = "there is somebody of that name".to_owned();
    assert_eq!(ask(&address, "no"), Err(CallError::Refused { status: 409, text }));
    assert!(matches!(ask(&address, "long"), Err(CallError::NoAnswer { .. })));
    assert!(matches!(ask(&address, "html"), Err(CallError::NoAnswer { .. })));
    let text = ask(&address, "other").unwrap_err().to_string();
    assert_eq!(
        text,
        format!("join address {address} appears to be serving HTTP when it should be Raft")
    );
    drop(server);
    assert!(matches!(ask(&address, "hello"), Err(CallError::ConnectionRefused { .. })));
    for nowhere in ["no.such.name.invalid:1", "nonsense", "a b:1", "127.0.0.1", ":4", "http://x:1"]
    {
        let error = ask(nowhere, "hello").unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{nowhere}: {error:?}");
    }
    let chatty = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = chatty.local_addr().unwrap().to_string();
    let talk = quorlite::os::spawn("chatty", move || {
        let (mut stream, _) = chatty.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(300));
    })
    .unwrap();
    assert_eq!(ask(&address, "hello"), Err(CallError::Foreign { address: address.clone() }));
    talk.join().unwrap();
}
