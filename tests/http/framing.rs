//! Heads: what is refused, with which status, and that nothing after it is ever executed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorlite::http::{Count, Limits};

use super::support::{Node, quick, story};

/// A request that would count as executed if the bytes before it were misread.
const SMUGGLED: &str = "GET /marker HTTP/1.1\r\nHost: a\r\n\r\n";

fn assert_refused(node: &Node, request: &str, statuses: &[u16]) {
    let answer = node.exchange(request.as_bytes());
    let reply = answer.only();
    assert!(statuses.contains(&reply.status), "{request:?} got {}", reply.status);
    assert!(reply.closes(), "{request:?} got {}", reply.head);
    assert!(answer.ended.is_ok(), "{request:?}: {:?}", answer.ended);
    assert_eq!(node.routes.markers.load(Ordering::SeqCst), 0, "{request:?} smuggled");
}

/// T11, T12, T13: bodies whose length two parsers could see differently.
#[test]
fn nothing_is_smuggled_behind_doubtful_framing() {
    let framings = [
        "Content-Length: abc",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 5 5",
        "Content-Length: 5_0",
        "Content-Length:",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length : 5",
        " Content-Length: 5",
        "Content-Length: 5\r\n folded",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\x00",
        "Transfer-Encoding",
        "Transfer-Encoding : chunked",
        "Transfer Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: a\x00b",
        "X: a\x1bb",
        "X: a\x7fb",
        "X: \u{e9}",
        ": empty",
        "X y",
    ];
    story(quick(), |node| {
        for framing in framings {
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            assert_refused(node, &format!("{head}{SMUGGLED}"), &[400]);
        }
        let refused = u64::try_from(framings.len()).expect("few");
        assert_eq!(node.count(Count::BadRequests), refused);
        assert_eq!(node.count(Count::Requests), 0);
    });
}

#[test]
fn other_refusals_have_their_own_status() {
    story(quick(), |node| {
        let with =
            |header: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n{SMUGGLED}");
        assert_refused(node, &with("Transfer-Encoding: gzip, chunked"), &[501]);
        assert_refused(node, &with(&format!("Content-Length: 1{}", "0".repeat(30))), &[413]);
        assert_refused(node, &with("Expect: tea"), &[417]);
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_refused(node, &format!("{old}{SMUGGLED}"), &[400]);
        assert_refused(node, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", &[501]);
    });
}

/// T21, T22: one case for each laxness of parsers.
#[test]
fn malformed_heads_are_refused() {
    let heads = [
        "GET / HTTP/1.1 extra\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET /x?a\nX-Evil: 1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x\x1b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "\n",
    ];
    story(quick(), |node| {
        for head in heads {
            assert_refused(node, head, &[400]);
        }
    });
}

#[test]
fn what_the_standard_allows_is_taken() {
    story(quick(), |node| {
        let mut peer = node.connect();
        for (request, expected) in [
            ("\r\nGET /about?a=1?b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /about a=1?b 127.0.0.1"),
            ("GET http://h:1/about?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /about x 127.0.0.1"),
            ("BREW /about HTTP/1.1\r\nhOST:\r\n\r\n", "BREW /about  127.0.0.1"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "ready"),
            ("GET https://h HTTP/1.1\r\nHost: a\r\n\r\n", "ready"),
            ("GET /about HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /about  127.0.0.1"),
        ] {
            peer.send(request.as_bytes());
            let reply = peer.read_reply();
            assert_eq!(String::from_utf8_lossy(&reply.body), expected);
        }
    });
}

/// T9: HTTP/2 without TLS, and versions that do not exist.
#[test]
fn other_versions_are_told_so_and_leave_nothing_behind() {
    story(quick(), |node| {
        for _ in 0..50 {
            assert_refused(node, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]);
        }
        assert_refused(node, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", &[505]);
        assert_refused(node, "GET / HTTP/1.9\r\nHost: a\r\n\r\n", &[505]);
        node.await_at_most(Count::Open, 0);
        assert!(node.count(Count::Threads) < 10, "threads are used again");
    });
}

/// T8: limits of the head, none of which a client can make us exceed.
#[test]
fn heads_beyond_the_limits_are_refused() {
    story(quick(), |node| {
        let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
        assert_refused(node, &line, &[414]);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
        assert_refused(node, &many, &[431]);
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000));
        assert_refused(node, &long, &[431]);
        let fits = format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}X: {}\r\n\r\n",
            "a".repeat(8000),
            "X: y\r\n".repeat(97),
            "y".repeat(60_000)
        );
        assert_eq!(node.exchange(fits.as_bytes()).only().status, 200);
    });
}

#[test]
fn an_endless_line_is_cut() {
    story(quick(), |node| {
        let mut peer = node.connect();
        let piece = vec![b'a'; 1 << 20];
        let start = Instant::now();
        peer.send(b"GET /");
        for _ in 0..200 {
            peer.send(&piece);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
        assert!(node.count(Count::BytesIn) < 250 << 20, "it was not read to its end for ever");
    });
}

/// T7, T23: heads that come byte by byte, or half, or not at all.
#[test]
fn slow_heads_are_cut_at_the_deadline() {
    story(quick(), |node| {
        let mut peers: Vec<_> = (0..200).map(|_| node.connect()).collect();
        let start = Instant::now();
        let head = b"GET /marker HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyy";
        for byte in head {
            for peer in &mut peers {
                peer.send(&[*byte]);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        for peer in &mut peers {
            // Its bytes after the 408 may have met a closed socket, and then a reset follows it.
            let answer = peer.read_to_end();
            if !answer.bytes.is_empty() {
                assert_eq!(answer.only().status, 408);
            }
        }
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
        assert_eq!(node.count(Count::HeadTimeouts), 200);
        node.await_at_most(Count::Open, 0);

        let half = node.exchange(b"GET / HTTP/1.1\r\nHo");
        assert_eq!(half.only().status, 408);
        let silent = node.connect().read_to_end();
        assert!(silent.bytes.is_empty(), "a client that said nothing is told nothing");
    });
}

#[test]
fn an_idle_connection_is_closed_later_than_a_slow_head() {
    story(quick(), |node| {
        let mut peer = node.connect();
        peer.get("/");
        assert_eq!(peer.read_reply().status, 200);
        std::thread::sleep(Duration::from_millis(1000));
        peer.get("/");
        assert_eq!(peer.read_reply().status, 200);
        let start = Instant::now();
        assert!(peer.read_to_end().bytes.is_empty(), "closed without a word");
        assert!(start.elapsed() > Duration::from_millis(1000), "took {:?}", start.elapsed());
    });
}

/// T1: lengths nobody has memory for, on a path that does not read the body.
#[test]
fn announced_lengths_cost_nothing() {
    story(Limits { linger: Duration::from_millis(50), ..quick() }, |node| {
        for length in ["1000000000", "60000000000", "4611686018427387904", "9223372036854775813"] {
            let head =
                format!("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let reply = node.exchange(head.as_bytes()).only();
            assert_eq!(reply.status, 401);
            assert!(reply.closes(), "{}", reply.head);
        }
    });
}
