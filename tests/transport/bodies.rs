//! Detached bodies: handed over ahead of their entry, or because an append cannot do without.

use std::fs;
use std::time::{Duration, Instant};

use quorlite::command::{Command, Stamp, Work};
use quorlite::raft::{EntryKind, Payload};

use crate::proxy::Proxy;
use crate::raw::{self, Frame, u64s};
use crate::support::{Node, Told, body, heartbeat, is_same, noise};

const MIB: usize = 1 << 20;

fn pair() -> (Node, Node, Proxy) {
    let (mut a, b) = (Node::new("a/1"), Node::new("b/1"));
    let proxy = Proxy::to(&b.address);
    a.meets(&[(&b, &proxy.address)]);
    (a, b, proxy)
}

fn held(to: &Node, sha256: &str) -> Told {
    Told::BodyHeld(to.id.clone(), sha256.to_owned())
}

fn load(sha256: &str) -> Vec<u8> {
    let work = Work::Load { sha256: sha256.to_owned() };
    Command { stamp: Stamp::default(), work }.encode(b"")
}

#[test]
fn a_body_is_handed_over_and_told_once_it_is_there() {
    let (a, b, _proxy) = pair();
    for bytes in [0, 1, MIB - 1, MIB, 3 * MIB + 17] {
        let sha256 = body(&a, bytes);
        assert!(a.links.hand_body(&b.id, &sha256));
        assert_eq!(a.wait_for(|told| matches!(told, Told::BodyHeld(..))), held(&b, &sha256));
        let came = b.wait_for(|told| matches!(told, Told::BodyCame(..)));
        assert_eq!(came, Told::BodyCame(sha256.clone(), bytes as u64));
        assert!(is_same(&b.ears.bodies.path_of(&sha256).unwrap(), &noise(bytes)));
        // Again it costs only the question.
        let before = a.links.status()[0].bytes_sent;
        assert!(a.links.hand_body(&b.id, &sha256));
        a.wait_for(|told| *told == held(&b, &sha256));
        assert!(a.links.status()[0].bytes_sent - before < 200);
    }
    assert_eq!(b.files(), 5);
}

#[test]
fn a_broken_connection_costs_no_more_than_a_piece() {
    let (a, b, proxy) = pair();
    let sha256 = body(&a, 12 * MIB);
    proxy.cut_after(5 * MIB as u64 + 1000);
    assert!(a.links.hand_body(&b.id, &sha256));
    a.wait_for(|told| *told == held(&b, &sha256));
    assert_eq!(proxy.cuts(), 1);
    let passed = proxy.passed();
    assert!(passed < 14 * MIB as u64, "{passed} bytes were sent for 12 MiB");
    assert!(is_same(&b.ears.bodies.path_of(&sha256).unwrap(), &noise(12 * MIB)));
    assert_eq!(b.files(), 1);
}

#[test]
fn what_is_altered_on_the_way_is_sent_again() {
    let (a, b, proxy) = pair();
    let sha256 = body(&a, 4 * MIB);
    proxy.turn_a_bit_after(2 * MIB as u64 + 5000);
    assert!(a.links.hand_body(&b.id, &sha256));
    a.wait_for(|told| *told == held(&b, &sha256));
    assert!(a.links.status()[0].last_error.as_ref().unwrap().contains("altered on its way"));
    assert!(is_same(&b.ears.bodies.path_of(&sha256).unwrap(), &noise(4 * MIB)));
}

#[test]
fn a_body_that_is_not_what_its_name_says_never_arrives() {
    let (a, b, _proxy) = pair();
    let sha256 = body(&a, 2 * MIB);
    let path = a.ears.bodies.path_of(&sha256).unwrap();
    let mut bytes = noise(2 * MIB);
    bytes[MIB + 3] ^= 4;
    fs::write(path, bytes).unwrap();
    assert!(a.links.hand_body(&b.id, &sha256));
    let until = Instant::now() + Duration::from_secs(10);
    while a.links.status()[0].bodies_waiting > 0 {
        assert!(Instant::now() < until, "it is given up");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(a.links.status()[0].last_error.as_ref().unwrap().contains("it was altered"));
    assert_eq!(b.files(), 0, "nothing is left of it");
    assert!(!b.heard().iter().any(|told| matches!(told, Told::BodyCame(..))));
    assert!(!a.heard().iter().any(|told| matches!(told, Told::BodyHeld(..))));
}

#[test]
fn an_append_that_names_a_body_arrives_after_it() {
    let (mut a, b, proxy) = pair();
    let sha256 = body(&a, 5 * MIB);
    a.write(3, EntryKind::Command, &[b"before", &load(&sha256), b"behind"]);
    proxy.cut_after(2 * MIB as u64);
    loop {
        assert!(a.append(&b, 0, 3));
        let told = a.wait_for(|told| matches!(told, Told::AppendEnded(_) | Told::Answer(..)));
        if matches!(told, Told::Answer(..)) {
            break;
        }
    }
    let told = b.heard();
    assert_eq!(told[0], Told::BodyCame(sha256, 5 * MIB as u64));
    let Told::Message(_, message, entries) = &told[1] else { panic!("{told:?}") };
    assert_eq!(*entries, a.log.entries(1, 1 << 20).unwrap());
    assert!(matches!(message.payload, Payload::Append { .. }));
    assert_eq!((told.len(), proxy.cuts()), (2, 1));
}

#[test]
fn a_body_that_was_used_up_is_not_asked_for_again() {
    let (mut a, mut b, _proxy) = pair();
    let sha256 = "0123456789abcdef".repeat(4);
    a.write(3, EntryKind::Command, &[&load(&sha256)]);
    assert!(a.append(&b, 0, 1));
    a.wait_for(|told| matches!(told, Told::AppendEnded(_)));
    assert_eq!(b.heard(), [], "nobody has the body: the entry may not come");
    b.write(3, EntryKind::Command, &[&load(&sha256)]);
    assert!(a.append(&b, 0, 1));
    assert_eq!(a.answer().payload, Payload::Appended { matched: 1, round: 5 });
}

#[test]
fn appends_and_heartbeats_go_on_while_a_body_is_handed_over() {
    let (mut a, b, proxy) = pair();
    proxy.slow_down(Duration::from_millis(2));
    a.write(3, EntryKind::Command, &[b"1"]);
    let sha256 = body(&a, 24 * MIB);
    assert!(a.links.hand_body(&b.id, &sha256));
    let (mut appends, mut slowest) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        a.links.send(&b.id, heartbeat(appends), 0);
        assert!(a.append(&b, 0, 1));
        let told = a.wait_for(|told| matches!(told, Told::AppendEnded(_) | Told::BodyHeld(..)));
        if told == held(&b, &sha256) {
            break;
        }
        appends += 1;
        slowest = slowest.max(began.elapsed());
    }
    assert!(appends >= 10, "{appends} appends went between the pieces");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}

#[test]
fn what_is_withdrawn_or_not_there_is_not_sent() {
    let (a, b, proxy) = pair();
    proxy.slow_down(Duration::from_millis(20));
    let sha256 = body(&a, 24 * MIB);
    assert!(a.links.hand_body(&b.id, &sha256));
    b.wait_until(|| b.files() == 1);
    a.links.withdraw_body(&sha256);
    assert!(a.links.hand_body(&b.id, &"ab".repeat(32)), "it is taken, and then found missing");
    assert!(a.links.hand_body(&b.id, "../nonsense"));
    b.wait_until(|| a.links.status()[0].bodies_waiting == 0);
    let passed = proxy.passed();
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.passed() <= passed + 2 * MIB as u64, "at most the piece that was on its way");
    assert!(!a.links.hand_body(&"nobody".to_owned(), &sha256));
}

#[test]
fn so_many_bodies_may_wait_and_no_more() {
    let (mut a, mut b) = (Node::new("a/1"), Node::new("b/1"));
    let at_b = b.address.clone();
    a.meets(&[(&b, &at_b)]);
    b.die();
    let names: Vec<_> = (0..17).map(|bytes| body(&a, bytes)).collect();
    for name in &names[..16] {
        assert!(a.links.hand_body(&b.id, name));
    }
    assert!(a.links.hand_body(&b.id, &names[0]), "it waits already");
    assert!(!a.links.hand_body(&b.id, &names[16]));
    b.come_back();
    for name in &names[..16] {
        a.wait_for(|told| *told == held(&b, name));
    }
    assert!(a.links.hand_body(&b.id, &names[16]));
}

#[test]
fn bodies_larger_than_the_disk_or_than_announced_are_refused() {
    let node = Node::new("a/1");
    let piece = |bytes: u64, offset: u64, piece: &[u8]| {
        let fields = [&[7; 32][..], &u64s(&[bytes, offset]), piece];
        raw::post(&node, "/raft/body", &Frame::to(&node, raw::BODY_PIECE, &fields).bytes())
    };
    let posted = piece(1 << 60, 0, b"");
    assert_eq!(posted.status, 507, "{}", posted.text());
    assert!(posted.text().starts_with("no room for 1152921504606846976 bytes: "));
    assert_eq!(node.files(), 0);
    assert_eq!(piece(100, 50, b"x").frame(), (raw::HAVE, 0), "the beginning comes first");
    assert_eq!(piece(100, 0, b"0123456789").frame(), (raw::HAVE, 10));
    assert_eq!(piece(100, 0, b"0123456789").frame(), (raw::HAVE, 10), "twice is once");
    assert_eq!(piece(100, 50, b"x").frame(), (raw::HAVE, 10));
    assert_eq!(piece(100, 10, &[0; 91]).status, 400);
    assert_eq!(node.files(), 0, "what contradicts itself is given up");
    assert_eq!(piece(3, 0, b"abc").status, 422, "its name is another");
    assert_eq!((node.files(), node.heard()), (0, Vec::new()));
}

#[test]
fn so_many_bodies_come_in_at_a_time_and_no_more() {
    let node = Node::new("a/1");
    let begin = |name: u8| {
        let fields = [&[name; 32][..], &u64s(&[100, 0]), b"x"];
        raw::post(&node, "/raft/body", &Frame::to(&node, raw::BODY_PIECE, &fields).bytes())
    };
    for name in 0..4 {
        assert_eq!(begin(name).frame(), (raw::HAVE, 1));
    }
    let posted = begin(4);
    assert_eq!(posted.status, 503);
    assert_eq!(posted.text(), "too many bodies are coming in, try again soon");
    assert_eq!((begin(3).frame(), node.files()), ((raw::HAVE, 1), 4));
}
