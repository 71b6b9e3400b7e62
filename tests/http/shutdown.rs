//! Starting and stopping.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use quorlite::http::{Count, Limits, Listener};

use super::support::{Node, quick, story, take_turn};

/// T25: what is in flight is answered, what is idle is closed, what hangs is cut.
#[test]
fn a_shutdown_answers_what_is_in_flight() {
    let _turn = take_turn();
    let node = Node::start(quick());
    let address = node.address;
    let mut idle = node.connect();
    idle.get("/");
    assert_eq!(idle.read_reply().status, 200);
    let mut working = node.connect();
    working.send(
        b"GET /sleep?ms=300 HTTP/1.1\r\nHost: a\r\n\r\nGET /marker HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    super::support::eventually("it is at work", || node.count(Count::Requests) == 2);

    let start = Instant::now();
    node.server.shutdown(Duration::from_secs(5));
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert!(idle.read_to_end().bytes.is_empty(), "the idle one was closed");
    let reply = working.read_to_end().only();
    assert_eq!(reply.body, b"slept");
    assert!(reply.closes(), "{}", reply.head);
}

#[test]
fn a_shutdown_does_not_wait_longer_than_its_grace() {
    let _turn = take_turn();
    let node = Node::start(quick());
    let mut working = node.connect();
    working.get("/sleep?ms=2000");
    let mut uploading = node.connect();
    uploading.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    let mut downloading = node.connect();
    downloading.get("/stream?bytes=100000000");
    super::support::eventually("all are at work", || node.count(Count::Requests) == 3);
    let start = Instant::now();
    node.server.shutdown(Duration::from_millis(200));
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert!(working.read_to_end().bytes.is_empty());
    assert!(!downloading.read_to_end().looks_complete());
}

#[test]
fn a_shutdown_under_load_loses_no_request_that_was_taken_up() {
    let _turn = take_turn();
    let node = Node::start(quick());
    let address = node.address;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut peer = super::support::Peer::connect(address);
                    loop {
                        peer.get("/");
                        let answer = read_one(&mut peer);
                        match answer {
                            Some(true) => {}
                            Some(false) => return true,
                            None => return false,
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        node.server.shutdown(Duration::from_secs(5));
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
        for client in clients {
            assert!(client.join().expect("no panic"), "a reply was cut");
        }
    });
}

/// Reads one reply: whether the connection goes on, or `None` when a reply was cut.
fn read_one(peer: &mut super::support::Peer) -> Option<bool> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some((parsed, _)) = super::support::parse(&bytes, false) {
            return Some(!parsed.closes());
        }
        match peer.0.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            Ok(_) | Err(_) => return bytes.is_empty().then_some(false),
        }
    }
}

#[test]
fn addresses_are_taken_in_every_form() {
    for address in ["localhost:0", "0.0.0.0:0", "127.0.0.1:0", "[::1]:0", ":0"] {
        let listener = match Listener::bind(address, Limits::default()) {
            Ok(listener) => listener,
            // A machine without IPv6.
            Err(_) if address == "[::1]:0" => continue,
            Err(error) => panic!("{address}: {error}"),
        };
        assert_ne!(listener.local_address().port(), 0, "{address}");
        if address == ":0" {
            let port = listener.local_address().port();
            assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "IPv4 reaches it too");
        }
    }
}

#[test]
fn an_address_in_use_is_named() {
    story(quick(), |node| {
        let address = node.address.to_string();
        let error = Listener::bind(&address, Limits::default()).err().expect("it is in use");
        assert!(error.to_string().contains(&address), "{error}");
        let error = Listener::bind("no port", Limits::default()).err().expect("no address");
        assert!(error.to_string().contains("no port"), "{error}");
    });
}

#[test]
fn threads_carry_the_listeners_name() {
    story(quick(), |node| {
        node.assert_well();
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
        let names: Vec<String> = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .collect();
        assert!(names.iter().any(|name| name == "test-0\n"), "{names:?}");
        assert!(names.iter().any(|name| name == "test-accept\n"), "{names:?}");
    });
}
