//! Many clients at once, and clients that ask for much.

use std::io::Write;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use quorlite::http::{Count, Limits};

use super::support::{Node, Peer, quick, resident_bytes, story};

/// T6: as many kept-alive connections at once as you like, each is answered.
#[test]
fn a_burst_of_connections_is_answered_whole() {
    story(quick(), |node| {
        for crowd in [40, 40, 40, 400] {
            let mut peers: Vec<Peer> = (0..crowd).map(|_| node.connect()).collect();
            let start = Instant::now();
            for peer in &mut peers {
                peer.get("/");
            }
            for peer in &mut peers {
                assert_eq!(peer.read_reply().status, 200);
            }
            // One that waits behind another would be answered when that one has been idle too long.
            assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
        }
    });
}

/// T7: half-open connections by the thousand keep nobody out, and cost no more than the limit.
#[test]
fn thousands_of_silent_connections_make_room_for_a_real_one() {
    let limits = Limits {
        connections_max: 200,
        connections_per_address_max: 200,
        head_timeout: Duration::from_secs(20),
        ..quick()
    };
    story(limits, |node| {
        let mut silent = Vec::new();
        for at in 0..3000 {
            let mut peer = node.connect();
            if at % 2 == 0 {
                peer.send(b"GET / HTTP/1.1\r\nHo");
            }
            silent.push(peer);
            if at % 500 == 0 {
                node.assert_well();
            }
        }
        node.assert_well();
        assert!(node.count(Count::Open) <= 200);
        assert!(node.count(Count::Threads) <= 200 + 32);
        assert!(node.count(Count::Evicted) >= 2800);
        assert_eq!(node.count(Count::Refused), 0);
    });
}

#[test]
fn the_longest_idle_connection_goes_first_and_none_at_work() {
    let limits = Limits { connections_max: 3, connections_per_address_max: 3, ..quick() };
    story(limits, |node| {
        let mut working = node.connect();
        working.get("/sleep?ms=400");
        let mut older = node.connect();
        older.get("/");
        assert_eq!(older.read_reply().status, 200);
        std::thread::sleep(Duration::from_millis(20));
        let mut newer = node.connect();
        newer.get("/");
        assert_eq!(newer.read_reply().status, 200);

        let mut next = node.connect();
        next.get("/");
        assert_eq!(next.read_reply().status, 200);
        assert!(older.read_to_end().bytes.is_empty(), "the longest idle one was closed");
        newer.get("/");
        assert_eq!(newer.read_reply().status, 200);
        assert_eq!(working.read_reply().body, b"slept");
    });
}

#[test]
fn beyond_the_limits_with_all_at_work_the_answer_is_503() {
    for (all, of_one) in [(4, 100), (100, 4)] {
        let limits =
            Limits { connections_max: all, connections_per_address_max: of_one, ..quick() };
        story(limits, |node| {
            let mut working: Vec<Peer> = (0..4).map(|_| node.connect()).collect();
            for peer in &mut working {
                peer.get("/sleep?ms=500");
            }
            super::support::eventually("all are at work", || node.count(Count::Requests) == 4);
            let reply = node.connect().read_to_end().only();
            assert_eq!((reply.status, reply.closes()), (503, true));
            assert_eq!(node.count(Count::Refused), 1);
            for peer in &mut working {
                assert_eq!(peer.read_reply().body, b"slept");
            }
        });
    }
}

/// T10: what is pipelined waits at the client, and other clients do not wait for it.
#[test]
fn pipelined_requests_have_back_pressure() {
    story(quick(), |node| {
        const REQUESTS: usize = 300_000;
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut peer = node.connect();
        let mut sender = peer.0.try_clone().expect("a descriptor");
        let before = resident_bytes();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let batch = request.repeat(1000);
                sender.write_all(b"GET /sleep?ms=500 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
                for _ in 0..REQUESTS / 1000 {
                    sender.write_all(&batch).expect("it is read in time");
                }
                sender.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
            });
            std::thread::sleep(Duration::from_millis(200));
            node.assert_well();
            let grown = resident_bytes().saturating_sub(before);
            assert!(grown < 16 << 20, "grew by {grown} while the first is answered");
            count_replies(&mut peer, REQUESTS + 2);
        });
    });
}

/// Reads until the end, counting status lines.
fn count_replies(peer: &mut Peer, wanted: usize) {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(&mut peer.0).split(b'\n');
    let mut found = 0;
    while let Some(line) = lines.next().transpose().expect("it ends cleanly") {
        // A body of "ready" has no line end: the next status line follows it.
        found += usize::from(line.windows(12).any(|part| part == b"HTTP/1.1 200"));
    }
    assert_eq!(found, wanted, "each request has its reply");
}

/// T30: clients that connect and reset at once.
#[test]
fn a_storm_of_resets_passes() {
    story(quick(), |node| {
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for at in 0..1000 {
                        let mut peer = node.connect();
                        if at % 3 == 0 {
                            peer.get("/");
                        }
                        reset(peer);
                    }
                });
            }
        });
        node.await_at_most(Count::Open, 0);
        assert_eq!(node.count(Count::Panics), 0);
    });
}

fn reset(peer: Peer) {
    let socket = socket2::Socket::from(peer.0);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
}

#[test]
fn requests_on_many_connections_do_not_mix() {
    story(quick(), |node: &Node| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for client in 0..8 {
                scope.spawn(move || {
                    let mut peer = node.connect();
                    for at in 0..200 {
                        peer.get(&format!("/about?{client}-{at}"));
                        let expected = format!("GET /about {client}-{at} 127.0.0.1");
                        assert_eq!(String::from_utf8_lossy(&peer.read_reply().body), expected);
                    }
                });
            }
        });
        assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
        assert_eq!(node.count(Count::Requests), 1600);
    });
}
