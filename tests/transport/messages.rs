//! Messages and appends between two nodes, and what others feel of a peer that is slow or gone.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorlite::raft::{Append, Content, EntryId, EntryKind, Head, Message, Payload};
use quorlite::storage::Entry;

use crate::proxy::Proxy;
use crate::support::{Node, Told, heartbeat};

fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new("a/1"), Node::new("b/1"));
    let (at_a, at_b) = (a.address.clone(), b.address.clone());
    a.meets(&[(&b, &at_b)]);
    b.meets(&[(&a, &at_a)]);
    (a, b)
}

#[test]
fn messages_go_both_ways_and_answers_come_back_with_them() {
    let (a, b) = pair();
    a.links.send(&b.id, heartbeat(7), 0);
    assert_eq!(b.message(), (a.id.clone(), heartbeat(7), Vec::new()));
    let answer = Payload::HeartbeatReply { round: 7, matched: 0, last: 0 };
    assert_eq!(a.answer(), Message { term: 3, payload: answer });

    let last = EntryId { term: 2, index: 9 };
    let vote = Message { term: 4, payload: Payload::Vote { last, is_transfer: true } };
    b.links.send(&a.id, vote.clone(), 0);
    assert_eq!(a.message().1, vote);
    assert_eq!(b.answer().payload, Payload::VoteReply { granted: true });

    // What has no answer holds nothing up.
    let began = Instant::now();
    let campaign = Message { term: 4, payload: Payload::TimeoutNow };
    for _ in 0..20 {
        b.links.send(&a.id, campaign.clone(), 0);
    }
    (0..20).for_each(|_| assert_eq!(a.message().1, campaign));
    assert_eq!(a.connections(), 1, "one connection serves them all");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn an_answer_that_takes_too_long_is_not_waited_for() {
    let (a, b) = pair();
    b.ears.is_silent.store(true, Ordering::Relaxed);
    a.links.send(&b.id, heartbeat(1), 0);
    a.links.send(&b.id, Message { term: 3, payload: Payload::TimeoutNow }, 0);
    let began = Instant::now();
    b.message();
    assert_eq!(b.message().1.payload, Payload::TimeoutNow);
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    let told = a.heard();
    assert!(!told.iter().any(|told| matches!(told, Told::Answer(..))), "{told:?}");
}

#[test]
fn a_newer_heartbeat_takes_the_place_of_an_older_one() {
    let (a, b) = pair();
    b.ears.delay_millis.store(80, Ordering::Relaxed);
    for round in 1..=50 {
        a.links.send(&b.id, heartbeat(round), 0);
    }
    let rounds = || match b.message().1.payload {
        Payload::Heartbeat { round, .. } => round,
        payload => panic!("{payload:?}"),
    };
    let mut heard = vec![rounds()];
    while heard.last() != Some(&50) {
        heard.push(rounds());
    }
    assert!(heard.len() <= 5, "{heard:?}");
    assert_eq!(a.links.status()[0].dropped, 0);
}

#[test]
fn an_append_carries_what_is_in_memory_and_reads_the_rest() {
    let (mut a, b) = pair();
    a.write(3, EntryKind::Command, &[b"1", b"2", b"3", b"4"]);
    a.write(3, EntryKind::Membership, &[b"a/1,b/1"]);
    a.write(4, EntryKind::Noop, &[b""]);
    let entries = a.log.entries(1, 1 << 20).unwrap();
    let prev = EntryId { term: 3, index: 1 };
    let append = Append { to: b.id.clone(), term: 4, prev, last: 6, commit: 1, round: 5 };
    assert!(a.links.append(append.clone(), entries[1..3].to_vec(), 0));
    let (_, message, came) = b.message();
    assert_eq!(came, entries[1..]);
    let Payload::Append { entries: heads, prev: at, commit: 1, round: 5 } = message.payload else {
        panic!("it is an append");
    };
    assert_eq!((message.term, at, heads.len()), (4, prev, 5));
    assert_eq!(heads[0], Head { term: 3, content: Content::Command });
    assert!(matches!(&heads[3].content, Content::Configuration(all) if all.is_voter("b/1")));
    assert_eq!(heads[4], Head { term: 4, content: Content::Noop });
    assert_eq!(a.answer().payload, Payload::Appended { matched: 6, round: 5 });
    assert_eq!(a.wait_for(|told| matches!(told, Told::AppendEnded(_))), ended(&b));

    // Only as far as was asked, and with nothing when there is only something to ask.
    assert!(a.links.append(Append { last: 2, ..append.clone() }, entries[1..].to_vec(), 0));
    assert_eq!(b.message().2, entries[1..2]);
    a.wait_for(|told| matches!(told, Told::AppendEnded(_)));
    assert!(a.links.append(Append { last: 1, ..append }, Vec::new(), 0));
    assert_eq!(b.message().2, []);
}

fn ended(to: &Node) -> Told {
    Told::AppendEnded(to.id.clone())
}

#[test]
fn one_append_at_a_time_and_never_one_that_another_leader_wrote() {
    let (mut a, b) = pair();
    a.write(3, EntryKind::Command, &[b"1", b"2"]);
    b.ears.delay_millis.store(200, Ordering::Relaxed);
    assert!(a.append(&b, 0, 2));
    assert!(!a.append(&b, 0, 2), "one is on its way");
    a.wait_for(|told| *told == ended(&b));
    b.message();

    // The log holds entries of a later term than the append's: another leader has been there.
    let append = |last, recent: Vec<Entry>| {
        let (to, prev) = (b.id.clone(), EntryId { term: 0, index: 0 });
        let append = Append { to, term: 2, prev, last, commit: 0, round: 0 };
        assert!(a.links.append(append, recent, 0));
        a.wait_for(|told| *told == ended(&b));
        assert!(!b.heard().iter().any(|told| matches!(told, Told::Message(..))), "not sent");
    };
    append(2, Vec::new());
    append(2, a.log.entries(2, 1000).unwrap());
    append(2, a.log.entries(1, 1000).unwrap());
}

#[test]
fn what_a_former_leader_has_waiting_is_given_up() {
    let (mut a, b) = pair();
    a.write(3, EntryKind::Command, &[b"1"]);
    // The entry that is asked for is not there yet, so the append waits for it.
    let prev = EntryId { term: 3, index: 1 };
    let append = Append { to: b.id.clone(), term: 3, prev, last: 2, commit: 0, round: 0 };
    assert!(a.links.append(append, Vec::new(), 0));
    std::thread::sleep(Duration::from_millis(20));
    a.links.withdraw();
    a.write(3, EntryKind::Command, &[b"another leader's"]);
    a.wait_for(|told| *told == ended(&b));
    assert_eq!(b.heard(), []);
}

#[test]
fn a_process_that_is_gone_is_noticed_at_once_and_its_return_too() {
    let (a, mut b) = pair();
    a.links.send(&b.id, heartbeat(1), 0);
    a.answer();
    b.die();
    let began = Instant::now();
    let is_refused = |told: &Told| matches!(told, Told::Unreachable(_, true));
    a.links.send(&b.id, heartbeat(2), 0);
    a.wait_for(is_refused);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    a.links.probe(&b.id);
    a.wait_for(is_refused);
    assert_eq!(a.links.status()[0].is_reachable, Some(false));
    assert_eq!(a.links.status()[0].last_error.as_deref(), Some("connection refused"));

    b.come_back();
    a.links.send(&b.id, heartbeat(3), 0);
    a.wait_for(|told| *told == Told::Reachable(b.id.clone()));
    a.answer();
    a.links.probe(&b.id);
    a.links.send(&b.id, heartbeat(4), 0);
    a.answer();
    assert!(!a.heard().iter().any(is_refused), "a probe that is welcome says nothing");
}

#[test]
fn failing_appends_end_after_a_pause_that_the_return_of_the_peer_cuts_short() {
    let (mut a, mut b) = pair();
    a.write(3, EntryKind::Command, &[b"1"]);
    b.die();
    let began = Instant::now();
    for _ in 0..4 {
        assert!(a.append(&b, 0, 1));
        a.wait_for(|told| *told == ended(&b));
    }
    // 100, 200, 400 and 800 milliseconds.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    assert!(a.append(&b, 0, 1));
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    b.come_back();
    a.links.send(&b.id, heartbeat(1), 0);
    a.wait_for(|told| *told == ended(&b));
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    assert!(a.append(&b, 0, 1));
    assert_eq!(
        b.wait_for(|told| matches!(told, Told::Message(_, _, entries) if entries.len() == 1)),
        Told::Message(a.id.clone(), b_append(), a.log.entries(1, 1000).unwrap())
    );
}

fn b_append() -> Message {
    let entries = vec![Head { term: 3, content: Content::Command }];
    let prev = EntryId { term: 0, index: 0 };
    Message { term: 3, payload: Payload::Append { prev, entries, commit: 1, round: 5 } }
}

#[test]
fn a_slow_peer_delays_nobody_else() {
    let (mut a, b, c) = (Node::new("a/1"), Node::new("b/1"), Node::new("c/1"));
    let proxy = Proxy::to(&c.address);
    proxy.slow_down(Duration::from_millis(600));
    a.write(3, EntryKind::Command, &[b"1"]);
    let at_b = b.address.clone();
    a.meets(&[(&b, &at_b), (&c, &proxy.address)]);
    for round in 0..100 {
        a.links.send(&c.id, heartbeat(round), 0);
    }
    a.append(&c, 0, 1);
    let began = Instant::now();
    for round in 0..100 {
        a.links.send(&b.id, heartbeat(round), 0);
        a.wait_for(|told| matches!(told, Told::Answer(from, _) if *from == b.id));
        assert!(a.append(&b, 0, 1));
        a.wait_for(|told| *told == ended(&b));
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn peers_come_and_go_and_move_and_threads_end_promptly() {
    let (mut a, b) = pair();
    let old = b.address.clone();
    let proxy = Proxy::to(&b.address);
    a.meets(&[(&b, &proxy.address)]);
    a.links.send(&b.id, heartbeat(1), 0);
    a.answer();
    assert!(proxy.passed() > 0, "it goes by the new address");
    // An exchange that hangs ends with its peer.
    b.ears.delay_millis.store(3000, Ordering::Relaxed);
    let began = Instant::now();
    a.links.send(&b.id, heartbeat(2), 0);
    a.links.append(
        Append {
            to: b.id.clone(),
            term: 3,
            prev: EntryId::default(),
            last: 0,
            commit: 0,
            round: 0,
        },
        Vec::new(),
        0,
    );
    std::thread::sleep(Duration::from_millis(100));
    a.heard();
    a.links.set_peers(&[]);
    assert!(a.links.status().is_empty());
    a.links.send(&b.id, heartbeat(3), 0);
    a.links.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(a.heard(), [], "nothing is told of one who is gone");
    assert_ne!(old, proxy.address);
}
