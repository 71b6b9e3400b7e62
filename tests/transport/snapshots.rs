//! The state of a node on its way to another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorlite::raft::{EntryId, Message, Payload};
use quorlite::transport::ReceivedSnapshot;
use sha2::{Digest as _, Sha256};

use crate::proxy::Proxy;
use crate::raw::{self, Frame, Posted, u64s};
use crate::support::{Node, Told, is_same, noise};

const MIB: usize = 1 << 20;
const LAST: EntryId = EntryId { term: 3, index: 30 };

fn pair(bytes: usize) -> (Node, Node, Proxy) {
    let (mut a, b) = (Node::new("a/1"), Node::new("b/1"));
    let proxy = Proxy::to(&b.address);
    a.meets(&[(&b, &proxy.address)]);
    *a.ears.state.lock().expect("nobody panics holding it") = noise(bytes).into();
    (a, b, proxy)
}

fn ended(node: &Node) -> Option<EntryId> {
    match node.wait_for(|told| matches!(told, Told::SnapshotEnded(..))) {
        Told::SnapshotEnded(_, sent) => sent,
        told => panic!("{told:?}"),
    }
}

fn came(node: &Node) -> ReceivedSnapshot {
    match node.wait_for(|told| matches!(told, Told::SnapshotCame(..))) {
        Told::SnapshotCame(from, 3, snapshot) if from == "a/1" => snapshot,
        told => panic!("{told:?}"),
    }
}

#[test]
fn a_state_arrives_as_it_was_and_is_answered() {
    for bytes in [0, 1, MIB, 5 * MIB + 11] {
        let (a, b, _proxy) = pair(bytes);
        a.links.snapshot(&b.id, 3, 0);
        assert_eq!(ended(&a), Some(LAST));
        let payload = Payload::Appended { matched: 30, round: 0 };
        assert_eq!(a.answer(), Message { term: 3, payload });
        let snapshot = came(&b);
        assert!(is_same(&snapshot.path, &noise(bytes)));
        let hash: String =
            Sha256::digest(noise(bytes)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((snapshot.last, snapshot.bytes, snapshot.sha256), (LAST, bytes as u64, hash));
        assert_eq!((snapshot.membership.as_str(), snapshot.settings), ("a,b", vec![1, 255]));
        assert_eq!(b.files(), 1);
        assert!(a.links.status()[0].snapshot.is_none());
    }
}

#[test]
fn broken_connections_and_altered_bytes_cost_no_more_than_a_piece() {
    let (a, b, proxy) = pair(16 * MIB);
    proxy.cut_after(5 * MIB as u64 + 77);
    a.links.snapshot(&b.id, 3, 0);
    assert_eq!(ended(&a), Some(LAST));
    assert!(is_same(&came(&b).path, &noise(16 * MIB)));
    assert_eq!(proxy.cuts(), 1);
    assert!(proxy.passed() < 18 * MIB as u64, "{} bytes for 16 MiB", proxy.passed());

    proxy.turn_a_bit_after(3 * MIB as u64);
    a.links.snapshot(&b.id, 3, 0);
    assert_eq!(ended(&a), Some(LAST));
    assert!(is_same(&came(&b).path, &noise(16 * MIB)));
    assert!(a.links.status()[0].last_error.as_ref().unwrap().contains("altered on its way"));
}

#[test]
fn a_source_that_ends_early_makes_no_snapshot() {
    let (a, b, _proxy) = pair(3 * MIB);
    a.ears.state_breaks_at.store(2 * MIB as u64 + 5, Ordering::Relaxed);
    a.links.snapshot(&b.id, 3, 0);
    assert_eq!(ended(&a), None);
    assert_eq!(b.heard(), []);
    a.ears.state_breaks_at.store(u64::MAX, Ordering::Relaxed);
    a.links.snapshot(&b.id, 3, 0);
    assert_eq!(ended(&a), Some(LAST));
    came(&b);
    assert_eq!(b.files(), 1, "what was begun first is gone");
}

#[test]
fn a_receiver_that_starts_again_is_sent_all_of_it_again() {
    let (a, mut b, proxy) = pair(20 * MIB);
    proxy.slow_down(Duration::from_millis(1));
    a.links.snapshot(&b.id, 3, 0);
    b.wait_until(|| a.links.status()[0].snapshot.is_some_and(|(sent, _)| sent > 3 * MIB as u64));
    b.die();
    b.come_back();
    assert_eq!(ended(&a), None);
    a.links.snapshot(&b.id, 3, 0);
    assert_eq!(ended(&a), Some(LAST));
    assert!(is_same(&came(&b).path, &noise(20 * MIB)));
}

#[test]
fn a_leader_that_steps_down_stops_sending() {
    let (a, b, proxy) = pair(24 * MIB);
    proxy.slow_down(Duration::from_millis(20));
    a.links.snapshot(&b.id, 3, 0);
    b.wait_until(|| b.files() == 1);
    a.links.withdraw();
    std::thread::sleep(Duration::from_millis(500));
    let passed = proxy.passed();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(proxy.passed(), passed);
    assert!(!a.heard().iter().any(|told| matches!(told, Told::SnapshotEnded(..))));
    assert!(a.links.status()[0].snapshot.is_none());
    assert_eq!(Arc::strong_count(&a.ears.open_states), 1, "the copy is closed");
}

fn post(node: &Node, kind: u8, fields: &[&[u8]]) -> Posted {
    raw::post(node, "/raft/snapshot", &Frame::to(node, kind, fields).bytes())
}

fn begin(node: &Node, session: u64, bytes: u64) -> Posted {
    let settings = [2, 0, 0, 0, b'{', b'}', 0, 0, 0, 0];
    post(node, raw::SNAPSHOT_BEGIN, &[&u64s(&[session, 3, 30, bytes]), &settings])
}

fn piece(node: &Node, session: u64, offset: u64, bytes: &[u8]) -> Posted {
    post(node, raw::SNAPSHOT_PIECE, &[&u64s(&[session, offset]), bytes])
}

fn end(node: &Node, session: u64, sha256: &[u8]) -> Posted {
    post(node, raw::SNAPSHOT_END, &[&u64s(&[session]), sha256])
}

#[test]
fn a_state_that_is_cut_short_altered_or_too_large_is_refused() {
    let node = Node::new("a/1");
    let hash = Sha256::digest(b"abcdef");

    assert_eq!(begin(&node, 1, 6).frame(), (raw::HAVE, 0));
    assert_eq!(piece(&node, 1, 0, b"abc").frame(), (raw::HAVE, 3));
    let posted = end(&node, 1, &hash);
    assert_eq!(
        (posted.status, posted.text().as_str()),
        (422, "6 bytes were announced, and 3 have come")
    );
    assert_eq!((node.files(), piece(&node, 1, 3, b"def").status), (0, 404));

    assert_eq!(begin(&node, 2, 6).frame(), (raw::HAVE, 0));
    assert_eq!(piece(&node, 2, 0, b"abcdeg").frame(), (raw::HAVE, 6));
    let posted = end(&node, 2, &hash);
    assert_eq!(posted.status, 422);
    assert!(posted.text().ends_with("it was altered"), "{}", posted.text());
    assert_eq!((node.files(), end(&node, 2, &hash).status), (0, 404));

    assert_eq!(begin(&node, 3, 6).frame(), (raw::HAVE, 0));
    assert_eq!(piece(&node, 3, 0, b"abcdefg").status, 400);
    assert_eq!(node.files(), 0);

    let posted = begin(&node, 4, u64::MAX);
    assert_eq!(posted.status, 507);
    assert!(posted.text().starts_with("no room for 18446744073709551615 bytes: "));
    assert_eq!((node.files(), node.heard()), (0, Vec::new()));
}

#[test]
fn a_newer_state_takes_the_place_of_an_older_one() {
    let node = Node::new("a/1");
    assert_eq!(begin(&node, 1, 6).frame(), (raw::HAVE, 0));
    assert_eq!(piece(&node, 1, 0, b"abc").frame(), (raw::HAVE, 3));
    assert_eq!(begin(&node, 2, 6).frame(), (raw::HAVE, 0));
    assert_eq!(node.files(), 1);
    assert_eq!(piece(&node, 1, 3, b"def").status, 404);
    assert_eq!(piece(&node, 2, 0, b"abcdef").frame(), (raw::HAVE, 6));
    assert_eq!(piece(&node, 2, 0, b"abcdef").frame(), (raw::HAVE, 6), "twice is once");
    assert_eq!(end(&node, 2, &Sha256::digest(b"abcdef")).status, 200);
    assert_eq!(node.files(), 1);
    assert!(matches!(&node.heard()[..], [Told::SnapshotCame(_, 3, state)] if state.bytes == 6));
}
