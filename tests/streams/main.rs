//! Large bodies forwarded in both directions: whole or visibly cut, and never held in memory.
//!
//! A program of its own, because its memory is measured; see the tests of forwarding for the rest.

#[path = "../forwarding/support.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorlite::api::forward::{Forwarder, Leader, Lookup, Outgoing, Passed, Terms, Upload};
use quorlite::http::{Content, Handler, Limits, Listener, Method, Reply, Request, Server};

use support::{Fake, header, terms, why};

/// More than any buffer on the way.
const LARGE: u64 = 200 << 20;
/// Resident memory of this whole process, tests and scripts included.
const RESIDENT_MAX_KB: u64 = 40 << 10;

/// A follower's listener: everything goes to one leader, uploads and downloads as transfers.
struct Front {
    forwarder: Forwarder,
    leader: Leader,
}

impl Front {
    fn start(leader: Leader) -> (Server, SocketAddr) {
        let front = Self { forwarder: Forwarder::new(None), leader };
        let listener =
            Listener::bind("127.0.0.1:0", Limits::default()).expect("the test can go on");
        let address = listener.local_address();
        (listener.start("front", Arc::new(front)).expect("the test can go on"), address)
    }
}

impl Handler for Front {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        let Request { method, path, query, headers, body, .. } = request;
        let outgoing = Outgoing { method, path, query, headers };
        let upload = match method {
            Method::Post => Upload::Stream(body),
            _ => Upload::Bytes(&[], None),
        };
        let terms = Terms { is_transfer: true, ..terms(Duration::from_secs(5)) };
        let find = || Lookup::There(self.leader.clone());
        match self.forwarder.pass_on(outgoing, upload, &terms, &find) {
            Passed::Answer(reply) => reply,
            other => Reply {
                status: 500,
                headers: Vec::new(),
                content: Content::Bytes(why(other).into_bytes()),
            },
        }
    }
}

fn resident_peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the test can go on");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the test can go on");
    line.split_whitespace().nth(1).expect("the test can go on").parse().expect("the test can go on")
}

fn assert_bounded(began: Instant) {
    let peak = resident_peak_kb();
    assert!(peak < RESIDENT_MAX_KB, "{peak} KB after {:?}", began.elapsed());
}

/// Reads a head, byte by byte, so that nothing of the body is taken with it.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the test can go on");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("the test can go on")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the test can go on");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("the test can go on");
    stream
}

#[test]
fn a_large_answer_passes_with_its_length_and_is_not_held() {
    let fake = Fake::start(|_, talk| {
        talk.head();
        talk.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nETag: \"t\"\r\n\r\n"));
        let mut source = io::repeat(b'd').take(LARGE);
        drop(io::copy(&mut source, talk.stream.get_mut()));
    });
    let (_server, address) = Front::start(fake.leader());
    let mut client = connect(address);
    client.write_all(b"GET /db/backup HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n").unwrap();
    let began = Instant::now();
    let head = read_head(&mut client);
    assert_eq!(header(&head, "content-length"), Some("209715200"), "{head}");
    assert_eq!(header(&head, "etag"), Some("\"t\""));
    let received = io::copy(&mut client, &mut io::sink()).unwrap();
    assert_eq!(received, LARGE);
    assert_bounded(began);
}

#[test]
fn a_large_upload_passes_and_is_not_held() {
    let fake = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        let mut bytes = 0;
        while let Ok(Some(count)) = talk.chunk() {
            bytes += count;
        }
        talk.answer("200 OK", "", &bytes.to_string());
    });
    let (_server, address) = Front::start(fake.leader());
    let mut client = connect(address);
    let head = format!(
        "POST /db/load HTTP/1.1\r\nHost: f\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n"
    );
    let began = Instant::now();
    client.write_all(head.as_bytes()).unwrap();
    io::copy(&mut io::repeat(b'u').take(LARGE), &mut client).unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = String::new();
    client.read_to_string(&mut body).unwrap();
    assert_eq!(body, LARGE.to_string());
    assert_bounded(began);
}

#[test]
fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    let scripts: [(&str, &[u8]); 2] = [
        ("Content-Length: 900000\r\n", &[b'x'; 300_000]),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n"),
    ];
    for (framing, body) in scripts {
        let body = body.to_vec();
        let fake = Fake::start(move |_, talk| {
            talk.head();
            talk.say(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
            drop(talk.stream.get_mut().write_all(&body));
        });
        let (_server, address) = Front::start(fake.leader());
        let mut client = connect(address);
        client.write_all(b"GET /db/backup HTTP/1.1\r\nHost: f\r\n\r\n").unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut received = Vec::new();
        let end = client.read_to_end(&mut received);
        // A reset, or an end; in no case the ending of a whole body.
        assert!(received.len() < 900_000 && !received.ends_with(b"0\r\n\r\n"), "{framing}");
        assert!(end.is_err() || !received.ends_with(b"\r\n\r\n"), "{framing}: {end:?}");
    }
}

#[test]
fn an_answer_before_the_end_of_an_upload_stops_the_upload() {
    let fake = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(matches!(talk.chunk(), Ok(Some(_))));
        talk.answer("400 Bad Request", "Connection: close\r\n", "no SQLite file");
        // What comes is dropped for a while, as our listener does.
        for _ in 0..200 {
            if !matches!(talk.chunk(), Ok(Some(_))) {
                return;
            }
        }
    });
    let (_server, address) = Front::start(fake.leader());
    let mut client = connect(address);
    let head = format!("POST /db/load HTTP/1.1\r\nHost: f\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'u'; 64 << 10];
    let mut sent = 0;
    // The front stops reading, so sending fails or stands still long before the end.
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    while sent < LARGE && client.write_all(&piece).is_ok() {
        sent += piece.len() as u64;
    }
    assert!(sent < LARGE / 2, "{sent} bytes were taken");
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}
