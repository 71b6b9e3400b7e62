//! A node with a small handler, a raw client, and the check that ends every story.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorlite::http::{Content, Count, Handler, Limits, Listener, Reply, Request, Server};

/// Deadlines short enough for tests, long enough for a busy machine.
pub(crate) fn quick() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(700),
        idle_timeout: Duration::from_secs(3),
        body_timeout: Duration::from_millis(800),
        write_timeout: Duration::from_millis(700),
        linger: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Answers by path; see `answer`.
#[derive(Default)]
pub(crate) struct Routes {
    /// Requests for `/marker`, which only a smuggled request asks for.
    pub(crate) markers: AtomicU64,
    /// Bodies that were read to their end.
    pub(crate) whole_bodies: AtomicU64,
    /// Milliseconds after which `/watch` saw its client gone.
    pub(crate) gone_after: AtomicU64,
    /// Sources that were dropped.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Handler for Routes {
    fn answer(&self, request: &mut Request<'_>) -> Reply {
        let number = |name: &str| parameter(&request.query, name);
        match request.path.as_str() {
            "/marker" => {
                self.markers.fetch_add(1, Ordering::SeqCst);
                text(200, "marker")
            }
            "/echo" => self.echo(request),
            "/refuse" => text(401, "no"),
            "/sleep" => {
                std::thread::sleep(Duration::from_millis(number("ms").unwrap_or(0)));
                text(200, "slept")
            }
            "/watch" => self.watch(request),
            "/bytes" => bytes(vec![b'x'; to_usize(number("n").unwrap_or(0))]),
            "/stream" => self.stream(&request.query),
            "/panic" => resume_unwind(Box::new("asked for")),
            "/header" => Reply {
                headers: vec![("Location", "/a\r\nX-Evil: 1".into())],
                ..text(200, "never sent")
            },
            "/about" => {
                let peer = request.peer.ip();
                let method = request.method.as_str();
                text(200, &format!("{method} {} {} {peer}", request.path, request.query))
            }
            _ => text(200, "ready"),
        }
    }
}

impl Routes {
    fn echo(&self, request: &mut Request<'_>) -> Reply {
        let mut body = Vec::new();
        match request.body.read_to_end(&mut body) {
            Ok(_) => {
                self.whole_bodies.fetch_add(1, Ordering::SeqCst);
                bytes(body)
            }
            Err(error) => text(400, &format!("broken body: {:?}", error.kind())),
        }
    }

    fn watch(&self, request: &Request<'_>) -> Reply {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            if request.client.is_gone() {
                let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.gone_after.store(millis.max(1), Ordering::SeqCst);
                return text(200, "gone");
            }
            if parameter(&request.query, "ms")
                .is_some_and(|ms| start.elapsed() >= Duration::from_millis(ms))
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        text(200, "stayed")
    }

    /// `bytes=N` come; `fail=N` fails there; `panic=N` panics there; `length=N` is announced.
    fn stream(&self, query: &str) -> Reply {
        let source = Source {
            left: parameter(query, "bytes").unwrap_or(0),
            sent: 0,
            fails_at: parameter(query, "fail"),
            panics_at: parameter(query, "panic"),
            dropped: Arc::clone(&self.dropped),
        };
        let length = parameter(query, "length");
        Reply {
            status: 200,
            headers: Vec::new(),
            content: Content::Stream { length, source: Box::new(source) },
        }
    }
}

struct Source {
    left: u64,
    sent: u64,
    fails_at: Option<u64>,
    panics_at: Option<u64>,
    dropped: Arc<AtomicU64>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.panics_at == Some(self.sent) {
            // As a panic does, but without a backtrace, whose memory would be taken for a leak.
            resume_unwind(Box::new("asked for"));
        }
        if self.fails_at == Some(self.sent) {
            return Err(io::Error::other("asked for"));
        }
        let stop = [self.fails_at, self.panics_at].into_iter().flatten().min();
        let until = stop.map_or(self.left, |stop| self.left.min(stop - self.sent));
        let count = buffer.len().min(to_usize(until));
        buffer[..count].fill(b'y');
        self.left -= count as u64;
        self.sent += count as u64;
        Ok(count)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// A listener with its handler.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) routes: Arc<Routes>,
    pub(crate) address: SocketAddr,
}

impl Node {
    pub(crate) fn start(limits: Limits) -> Self {
        let listener = Listener::bind("127.0.0.1:0", limits).expect("loopback can be bound");
        let address = listener.local_address();
        let routes = Arc::new(Routes::default());
        let server = listener.start("test", Arc::<Routes>::clone(&routes)).expect("threads");
        Self { server, routes, address }
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// Sends `bytes` on a new connection and reads all there is to its end.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut peer = self.connect();
        peer.send(bytes);
        peer.read_to_end()
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.server.counters().get(count)
    }

    /// Waits until a count is at most this.
    pub(crate) fn await_at_most(&self, count: Count, wanted: u64) {
        eventually(&format!("{count:?} <= {wanted}"), || self.count(count) <= wanted);
    }

    /// A fresh request is answered within a second.
    pub(crate) fn assert_well(&self) {
        let start = Instant::now();
        let answer = self.exchange(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.only().status, 200, "a fresh request");
        assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    }
}

/// One story at a time: deadlines and memory are looked at, and belong to the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn.
pub(crate) fn take_turn() -> MutexGuard<'static, ()> {
    // A story that failed before does not matter to this one.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a story on a node, and checks that the node is well afterwards.
pub(crate) fn story(limits: Limits, tell: impl FnOnce(&Node)) {
    let _turn = take_turn();
    let node = Node::start(limits);
    let before = resident_bytes();
    tell(&node);
    node.assert_well();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
}

/// Memory of this process.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).expect("the second field is the resident set");
    pages.parse::<u64>().expect("a number") * 4096
}

pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(5), "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that sends what it is told to.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a socket option");
        Self(stream)
    }

    /// Sends; a connection that the node has closed already is no failure of the test.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).ok();
    }

    pub(crate) fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }

    pub(crate) fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).expect("it is open");
    }

    /// Everything until the connection ends, and whether it ended cleanly.
    pub(crate) fn read_to_end(&mut self) -> Answer {
        let mut bytes = Vec::new();
        let ended = self.0.read_to_end(&mut bytes).map(|_| ());
        Answer { bytes, ended }
    }

    /// The next whole reply of a connection that goes on.
    pub(crate) fn read_reply(&mut self) -> Parsed {
        let mut bytes = Vec::new();
        let mut piece = [0; 64 * 1024];
        loop {
            if let Some((parsed, length)) = parse(&bytes, false) {
                assert_eq!(length, bytes.len(), "more than one reply");
                return parsed;
            }
            let count = self.0.read(&mut piece).expect("a reply comes");
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&piece[..count]);
        }
    }
}

/// What came on a connection until its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ended: io::Result<()>,
}

impl Answer {
    /// The whole replies in it.
    pub(crate) fn replies(&self) -> Vec<Parsed> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some((parsed, length)) = parse(&self.bytes[at..], false) {
            found.push(parsed);
            at += length;
        }
        assert_eq!(at, self.bytes.len(), "a partial reply: {self:?}");
        found
    }

    /// The one reply in it.
    pub(crate) fn only(&self) -> Parsed {
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "{:?}", String::from_utf8_lossy(&self.bytes));
        replies.remove(0)
    }

    /// Whether a client would take this for a whole reply to GET.
    pub(crate) fn looks_complete(&self) -> bool {
        self.ended.is_ok() && parse(&self.bytes, true).is_some()
    }
}

#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Parsed {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// The first reply in `bytes` and its length; `None` when it is not whole. Without any framing it
/// lasts to the end, which counts as whole only for `is_ended`.
pub(crate) fn parse(bytes: &[u8], is_ended: bool) -> Option<(Parsed, usize)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("heads are ASCII");
    let status = head.split(' ').nth(1)?.parse().expect("a status");
    let mut parsed = Parsed { status, head, body: Vec::new() };
    let rest = &bytes[head_end..];
    if status == 100 || status == 204 || status == 304 {
        return Some((parsed, head_end));
    }
    if parsed.header("transfer-encoding") == Some("chunked") {
        let mut at = 0;
        loop {
            let line = rest[at..].windows(2).position(|two| two == b"\r\n")?;
            let digits = str::from_utf8(&rest[at..at + line]).expect("a size");
            let size = usize::from_str_radix(digits, 16).expect("a size");
            at += line + 2;
            let chunk = rest.get(at..at + size + 2)?;
            assert!(chunk.ends_with(b"\r\n"), "a chunk has its line end");
            parsed.body.extend_from_slice(&chunk[..size]);
            at += size + 2;
            if size == 0 {
                return Some((parsed, head_end + at));
            }
        }
    }
    let length = match parsed.header("content-length") {
        Some(length) => length.parse().expect("a length"),
        None if is_ended => rest.len(),
        None => return None,
    };
    parsed.body = rest.get(..length)?.to_vec();
    Some((parsed, head_end + length))
}

fn parameter(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(crate) fn text(status: u16, body: &str) -> Reply {
    Reply { status, ..bytes(body.as_bytes().to_vec()) }
}

fn bytes(body: Vec<u8>) -> Reply {
    Reply { status: 200, headers: Vec::new(), content: Content::Bytes(body) }
}
