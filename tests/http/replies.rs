//! Replies: whole or visibly broken, at once, and with nothing in them that is not ours.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorlite::http::Count;

use super::support::{quick, story};

const OLD: &str = "HTTP/1.0\r\n\r\n";
const NEW: &str = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// T16: a backup that failed half way must not look like one that worked.
#[test]
fn a_reply_whose_source_fails_never_looks_complete() {
    story(quick(), |node| {
        let mut asked = 0;
        for offset in [0, 1, 4096, 20_000, 65_535, 65_536, 65_537, 131_072, 199_999] {
            for how in ["fail", "panic"] {
                for framing in ["&length=200000", ""] {
                    for version in [NEW, OLD] {
                        let query = format!("bytes=200000&{how}={offset}{framing}");
                        let request = format!("GET /stream?{query} {version}");
                        let answer = node.exchange(request.as_bytes());
                        assert!(!answer.looks_complete(), "{request:?}");
                        asked += 1;
                    }
                }
            }
            let short = format!("GET /stream?bytes={offset}&length=200000 {NEW}");
            assert!(!node.exchange(short.as_bytes()).looks_complete(), "short at {offset}");
            asked += 1;
        }
        assert_eq!(node.count(Count::BrokenReplies), asked);
        assert_eq!(node.routes.dropped.load(Ordering::SeqCst), asked);
        assert_eq!(node.count(Count::Panics), 0, "a source's panic is a failed source");
    });
}

#[test]
fn whole_sources_arrive_whole_in_every_framing() {
    story(quick(), |node| {
        for bytes in [0, 1, 65_536, 200_000] {
            for framing in [format!("&length={bytes}"), String::new()] {
                for version in [NEW, OLD] {
                    let request = format!("GET /stream?bytes={bytes}{framing} {version}");
                    let answer = node.exchange(request.as_bytes());
                    assert!(answer.looks_complete(), "{request:?}");
                    let end = answer.bytes.iter().filter(|byte| **byte == b'y').count();
                    assert!(end >= bytes, "{request:?} gave {end} bytes");
                }
            }
        }
        let surplus = format!("GET /stream?bytes=9&length=5 {NEW}");
        assert_eq!(node.exchange(surplus.as_bytes()).only().body, b"yyyyy");
        assert_eq!(node.count(Count::BrokenReplies), 0);
    });
}

/// T17: a large body is never held in memory, whatever the client says it prefers.
#[test]
fn streams_are_not_buffered() {
    story(quick(), |node| {
        let length = 300_000_000_u64;
        for head in [
            format!("GET /stream?bytes={length} {OLD}"),
            format!(
                "GET /stream?bytes={length}&length={length} HTTP/1.1\r\nHost: a\r\nTE: identity\r\n\
                Connection: close\r\n\r\n"
            ),
        ] {
            let mut peer = node.connect();
            peer.send(head.as_bytes());
            let mut received = 0;
            let mut piece = vec![0; 1 << 18];
            while let count @ 1.. = peer.0.read(&mut piece).expect("it goes on") {
                received += count as u64;
            }
            assert!(received > length, "received {received}");
        }
    });
}

/// T18: no size of reply meets a delayed acknowledgement.
#[test]
fn replies_of_any_size_come_at_once() {
    story(quick(), |node| {
        let mut peer = node.connect();
        for size in [10, 500, 1000, 4000, 9000, 20_000, 40_000, 200_000] {
            let mut times: Vec<Duration> = (0..30)
                .map(|_| {
                    let start = Instant::now();
                    peer.get(&format!("/bytes?n={size}"));
                    assert_eq!(peer.read_reply().body.len(), size);
                    start.elapsed()
                })
                .collect();
            times.sort();
            assert!(times[10] < Duration::from_millis(20), "{size} bytes took {:?}", times[10]);
        }
    });
}

/// T19: a client that leaves is noticed; one that sends its next request, or waits, has not left.
#[test]
fn a_client_that_left_is_seen_by_its_handler() {
    story(quick(), |node| {
        let mut staying = node.connect();
        staying.send(
            b"GET /watch?ms=300 HTTP/1.1\r\nHost: a\r\n\r\nGET /about HTTP/1.1\r\nHost: a\r\n\
            Connection: close\r\n\r\n",
        );
        let replies = staying.read_to_end().replies();
        assert_eq!(replies[0].body, b"stayed", "pipelined bytes do not mean that it is gone");
        assert_eq!(replies[1].status, 200);

        let mut leaving = node.connect();
        leaving.get("/watch");
        std::thread::sleep(Duration::from_millis(50));
        drop(leaving);
        super::support::eventually("the handler sees it", || {
            node.routes.gone_after.load(Ordering::SeqCst) > 0
        });
        assert!(node.routes.gone_after.load(Ordering::SeqCst) < 1000);
    });
}

#[test]
fn a_client_that_only_stops_sending_gets_its_answer() {
    story(quick(), |node| {
        let mut peer = node.connect();
        peer.get("/sleep?ms=100");
        peer.half_close();
        assert_eq!(peer.read_to_end().only().body, b"slept");
    });
}

/// T20: clients that never read hold a thread until the write deadline, and a source no longer.
#[test]
fn clients_that_do_not_read_are_cut() {
    story(quick(), |node| {
        let mut peers: Vec<_> = (0..16).map(|_| node.connect()).collect();
        for peer in &mut peers {
            peer.get("/stream?bytes=100000000");
        }
        node.assert_well();
        node.await_at_most(Count::Open, 0);
        assert_eq!(node.count(Count::WriteTimeouts), 16);
        assert_eq!(node.routes.dropped.load(Ordering::SeqCst), 16);
        for peer in &mut peers {
            assert!(!peer.read_to_end().looks_complete(), "cut, not ended");
        }
    });
}

/// T21: what a handler puts into a header cannot become another one.
#[test]
fn a_header_with_a_line_end_is_not_sent() {
    story(quick(), |node| {
        let mut peer = node.connect();
        peer.get("/header");
        let reply = peer.read_reply();
        assert_eq!(reply.status, 500);
        assert!(!reply.head.contains("Evil"), "{}", reply.head);
    });
}

/// T26: a panic costs its own request.
#[test]
fn a_panic_is_a_500_and_nothing_worse() {
    std::panic::set_hook(Box::new(|_| {}));
    story(quick(), |node| {
        for _ in 0..1000 {
            let reply = node.exchange(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").only();
            assert_eq!((reply.status, reply.closes()), (500, true));
        }
        assert_eq!(node.count(Count::Panics), 1000);
        assert!(node.count(Count::Threads) < 10, "threads survive");
    });
    drop(std::panic::take_hook());
}

/// T29: HEAD has the head of GET and no body, for every kind of content.
#[test]
fn head_is_get_without_a_body() {
    story(quick(), |node| {
        for target in ["/", "/bytes?n=100000", "/stream?bytes=9&length=9", "/stream?bytes=9"] {
            let undated = |head: &str| {
                let lines = head.lines().skip(1).filter(|line| !line.starts_with("Date: "));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let got = node.exchange(format!("GET {target} {NEW}").as_bytes()).only();
            let head = node.exchange(format!("HEAD {target} {NEW}").as_bytes());
            let text = String::from_utf8(head.bytes).expect("only a head");
            assert!(text.ends_with("\r\n\r\n"), "{text:?}");
            assert_eq!(undated(&text), undated(&got.head), "{target}");
        }
        assert_eq!(node.routes.dropped.load(Ordering::SeqCst), 4, "sources are dropped");
    });
}

/// T31: who we are, and nobody else.
#[test]
fn replies_name_us_and_no_library() {
    story(quick(), |node| {
        for request in [format!("GET / {NEW}"), "rubbish\r\n\r\n".to_owned()] {
            let head = node.exchange(request.as_bytes()).only().head;
            assert!(head.contains("Server: quorlite\r\n"), "{head}");
            assert!(!head.to_lowercase().contains("tiny"), "{head}");
        }
    });
}

#[test]
fn connections_live_as_long_as_both_sides_want() {
    story(quick(), |node| {
        let closing = |request: &str| node.exchange(request.as_bytes()).only().closes();
        assert!(closing("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(closing("GET / HTTP/1.0\r\n\r\n"));
        let mut peer = node.connect();
        for _ in 0..3 {
            peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!(peer.read_reply().header("connection"), Some("keep-alive"));
        }
    });
}
