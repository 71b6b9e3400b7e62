//! Bodies: read to their end or not at all.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorlite::http::{Count, Limits};

use super::support::{quick, story};

const CHUNKED: &[u8] = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n1;x=y\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
const SIZED: &[u8] =
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\nhello 0123456789";

#[test]
fn both_framings_give_the_same_body_also_byte_by_byte() {
    story(quick(), |node| {
        for request in [CHUNKED, SIZED] {
            let mut peer = node.connect();
            peer.send(request);
            assert_eq!(peer.read_reply().body, b"hello 0123456789");
            for byte in request {
                peer.send(&[*byte]);
            }
            assert_eq!(peer.read_reply().body, b"hello 0123456789");
        }
    });
}

/// T14: a statement whose end is missing must not run.
#[test]
fn a_body_cut_at_any_byte_is_never_taken_for_whole() {
    story(quick(), |node| {
        for request in [CHUNKED, SIZED] {
            for cut in 0..request.len() {
                let mut peer = node.connect();
                peer.send(&request[..cut]);
                peer.half_close();
                for reply in peer.read_to_end().replies() {
                    assert_eq!(reply.status, 400, "cut at {cut}");
                }
            }
        }
        assert_eq!(node.routes.whole_bodies.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn malformed_chunks_are_an_error() {
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\nT: a\nb\r\n\r\n",
    ];
    story(quick(), |node| {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let smuggled = "GET /marker HTTP/1.1\r\nHost: a\r\n\r\n";
        let endless = format!("0\r\n{}", "T: t\r\n".repeat(2000));
        for body in bodies.into_iter().chain([endless.as_str()]) {
            let reply = node.exchange(format!("{head}{body}{smuggled}").as_bytes()).only();
            assert_eq!(reply.status, 400, "{body:?}");
            assert_eq!(reply.body, b"broken body: InvalidData", "{body:?}");
            assert!(reply.closes(), "{body:?}");
        }
        assert_eq!(node.routes.markers.load(Ordering::SeqCst), 0);
        assert_eq!(node.routes.whole_bodies.load(Ordering::SeqCst), 0);
    });
}

/// T2: clients that announce a body and send nothing hold nobody up.
#[test]
fn silent_bodies_do_not_delay_others() {
    story(quick(), |node| {
        let mut silent: Vec<_> = (0..64).map(|_| node.connect()).collect();
        for peer in &mut silent {
            peer.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
        }
        node.assert_well();
        for peer in &mut silent {
            assert_eq!(peer.read_reply().status, 401, "before the body is there");
        }
        node.await_at_most(Count::Open, 0);
    });
}

#[test]
fn slow_bodies_are_cut_and_steady_ones_are_not() {
    let limits = Limits { body_rate_min: 200, ..quick() };
    story(limits, |node| {
        let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
        let mut still = node.connect();
        still.send(head);
        let start = Instant::now();
        assert_eq!(still.read_to_end().only().body, b"broken body: TimedOut");
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());

        let mut dripping = node.connect();
        dripping.send(head);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            dripping.send(b"x");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(node.count(Count::BadBodies), 2, "ten bytes a second are too few");

        let mut steady = node.connect();
        steady.send(head);
        for _ in 0..10 {
            steady.send(&[b'x'; 100]);
            std::thread::sleep(Duration::from_millis(150));
        }
        assert_eq!(steady.read_reply().body.len(), 1000);
    });
}

/// T13: what the handler leaves unread is read for it, or the connection ends.
#[test]
fn unread_bodies_never_become_requests() {
    story(quick(), |node| {
        let smuggled = "GET /marker HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut peer = node.connect();
        for length in [smuggled.len(), 60_000] {
            let body = format!("{smuggled:a<length$}");
            let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length:";
            peer.send(format!("{head} {length}\r\n\r\n{body}").as_bytes());
            let reply = peer.read_reply();
            assert_eq!((reply.status, reply.closes()), (401, false));
        }
        let size = smuggled.len();
        let body = format!("{size:x}\r\n{smuggled}\r\n0\r\n\r\n");
        let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        peer.send(format!("{head}{body}").as_bytes());
        assert_eq!(peer.read_reply().status, 401);
        peer.get("/");
        assert_eq!(peer.read_reply().body, b"ready", "small bodies keep the connection");

        let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        let body = smuggled.repeat(1_000_000 / size);
        let reply = node.exchange(format!("{head}{body}").as_bytes()).only();
        assert_eq!((reply.status, reply.closes()), (401, true));
        assert_eq!(node.routes.markers.load(Ordering::SeqCst), 0);
    });
}

/// A client that sends all of a large body before it reads still sees why it was refused.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let limits = Limits { linger: Duration::from_secs(2), ..quick() };
    story(limits, |node| {
        let mut peer = node.connect();
        peer.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
        for _ in 0..80 {
            peer.0.write_all(&[b'x'; 100_000]).expect("it may go on sending");
        }
        let answer = peer.read_to_end();
        assert_eq!(answer.only().status, 401);
        assert!(answer.ended.is_ok(), "{:?}", answer.ended);
    });
}

/// T15: an upgrade is not known here, and the body is what its length says.
#[test]
fn an_upgrade_is_ignored() {
    story(quick(), |node| {
        let mut peer = node.connect();
        peer.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
            Content-Length: 3\r\n\r\nabcGET /about HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        let replies = peer.read_to_end().replies();
        assert_eq!(replies[0].body, b"abc");
        assert_eq!(replies[1].body, b"GET /about  127.0.0.1");
    });
}

/// T24: the client is invited when the body is wanted, and only then.
#[test]
fn continue_is_sent_by_the_first_read_of_the_body() {
    story(quick(), |node| {
        let head = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
        };
        let mut peer = node.connect();
        peer.send(head("/echo").as_bytes());
        assert_eq!(peer.read_reply().status, 100);
        peer.send(b"ok");
        assert_eq!(peer.read_reply().body, b"ok");

        peer.send(format!("{}ok", head("/echo")).as_bytes());
        assert_eq!(peer.read_reply().body, b"ok", "no invitation for what is there");

        let reply = node.exchange(head("/refuse").as_bytes()).only();
        assert_eq!((reply.status, reply.closes()), (401, true));
    });
}

#[test]
fn large_bodies_pass_whole() {
    story(quick(), |node| {
        let body: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let mut peer = node.connect();
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        peer.send(head.as_bytes());
        peer.send(&body);
        assert!(peer.read_reply().body == body, "sized");

        peer.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(70_001) {
            peer.send(format!("{:X}\r\n", chunk.len()).as_bytes());
            peer.send(chunk);
            peer.send(b"\r\n");
        }
        peer.send(b"0\r\n\r\n");
        assert!(peer.read_reply().body == body, "chunked");
    });
}
