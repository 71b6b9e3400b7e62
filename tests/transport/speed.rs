//! How fast it is. Run one of these alone, in release, with `--ignored --nocapture`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorlite::raft::EntryKind;

use crate::support::{Node, Told, heartbeat, noise};

fn pair() -> (Node, Node) {
    let (mut a, b) = (Node::new("a/1"), Node::new("b/1"));
    let at_b = b.address.clone();
    a.meets(&[(&b, &at_b)]);
    for node in [&a, &b] {
        node.ears.is_forgetful.store(true, Ordering::Relaxed);
    }
    (a, b)
}

#[test]
#[ignore = "measures"]
fn round_trips_of_a_heartbeat() {
    let (a, b) = pair();
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(3) {
        round += 1;
        a.links.send(&b.id, heartbeat(round), 0);
        a.answer();
    }
    let each = began.elapsed() / u32::try_from(round).unwrap();
    eprintln!("{round} round trips in 3 s, {each:?} each");
    assert!(each < Duration::from_millis(2), "{each:?}");
}

#[test]
#[ignore = "measures"]
fn appends_one_after_the_other() {
    let (mut a, b) = pair();
    a.write(3, EntryKind::Command, &[&[b'x'; 200][..]; 64]);
    let began = Instant::now();
    let mut appends = 0;
    while began.elapsed() < Duration::from_secs(3) {
        appends += 1;
        while !a.append(&b, 0, 64) {
            std::hint::spin_loop();
        }
        a.answer();
    }
    let each = began.elapsed() / appends;
    eprintln!("{appends} appends of 64 entries in 3 s, {each:?} each");
    assert!(each < Duration::from_millis(5), "{each:?}");
}

#[test]
#[ignore = "measures"]
fn bytes_of_a_snapshot() {
    let (a, b) = pair();
    for node in [&a, &b] {
        node.ears.is_forgetful.store(false, Ordering::Relaxed);
    }
    let bytes = 400 << 20;
    *a.ears.state.lock().unwrap() = noise(bytes).into();
    let began = Instant::now();
    a.links.snapshot(&b.id, 3, 0);
    a.wait_for(|told| matches!(told, Told::SnapshotEnded(_, Some(_))));
    let took = began.elapsed();
    eprintln!("{} MB/s", bytes as f64 / 1e6 / took.as_secs_f64());
    assert!(took < Duration::from_secs(20), "{took:?}");
}
