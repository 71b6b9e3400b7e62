//! A scripted leader on a raw socket, and requests that are forwarded to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use quorlite::api::forward::{Fate, Forwarder, Leader, Lookup, Outgoing, Passed, Terms, Upload};
use quorlite::http::{Content, Method};

/// What a scripted leader has read of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A leader that does as its script says, and keeps what it was asked.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One connection of a scripted leader.
pub(crate) struct Talk {
    pub(crate) stream: BufReader<TcpStream>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Runs `script` for each connection, with its number from 0.
    pub(crate) fn start(script: impl Fn(usize, &mut Talk) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the test can go on");
        let address = listener.local_addr().expect("the test can go on");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let script = Arc::new(script);
        let accepting = thread::Builder::new().name("leader".to_owned());
        let accept = move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let mut talk = Talk { stream: BufReader::new(stream), seen: Arc::clone(&kept) };
                let script = Arc::clone(&script);
                let talking = thread::Builder::new().name("talk".to_owned());
                drop(talking.spawn(move || script(number, &mut talk)).expect("a thread"));
            }
        };
        drop(accepting.spawn(accept).expect("a thread"));
        Self { address, seen }
    }

    pub(crate) fn leader(&self) -> Leader {
        leader_at(&self.address.to_string())
    }

    /// The requests whose heads came in, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn leader_at(raft_address: &str) -> Leader {
    Leader { raft_address: raft_address.to_owned(), http_address: "leader.example:4001".to_owned() }
}

impl Talk {
    /// Reads a head; `None` when the connection ended instead.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let seen = Seen { head: head.clone(), body: Vec::new() };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        Some(head)
    }

    /// Reads a head and its body, if that has a length.
    pub(crate) fn request(&mut self) -> Option<Seen> {
        let head = self.head()?;
        let length = header(&head, "content-length").and_then(|value| value.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.last_mut()?;
        last.body = body;
        Some(last.clone())
    }

    pub(crate) fn say(&mut self, text: &str) {
        // A script may talk to somebody who has gone.
        drop(self.stream.get_mut().write_all(text.as_bytes()));
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.say(&format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"));
    }

    /// What a node says that does not lead.
    pub(crate) fn refuse(&mut self) {
        self.answer("421 Misdirected Request", "X-QUORLITE-NOT-LEADER: 1\r\n", "not leader\n");
    }

    /// The next data of a chunked body; `None` after the last, an error when it is cut.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<u64>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let copied = io::copy(&mut (&mut self.stream).take(size + 2), &mut io::sink())?;
        if copied < size + 2 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((size > 0).then_some(size))
    }
}

/// The value of a header in a head's text.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn terms(timeout: Duration) -> Terms {
    Terms { timeout, retries: 0, is_transfer: false, watch: None }
}

/// Posts `body` to `/db/execute?timings` by way of `find`.
pub(crate) fn execute(forwarder: &Forwarder, body: &str, find: &dyn Fn() -> Lookup) -> Passed {
    let headers = [
        ("Authorization".to_owned(), "Basic Ym9iOnNlY3JldA==".to_owned()),
        ("Content-Type".to_owned(), "application/json; charset=UTF-8".to_owned()),
        ("Host".to_owned(), "follower:4001".to_owned()),
        ("Connection".to_owned(), "keep-alive".to_owned()),
    ];
    let outgoing = Outgoing {
        method: &Method::Post,
        path: "/db/execute",
        query: "timings",
        headers: &headers,
    };
    let upload = Upload::Bytes(body.as_bytes(), None);
    forwarder.pass_on(outgoing, upload, &terms(Duration::from_secs(5)), find)
}

/// The answer's status, headers and body; panics on anything else.
pub(crate) fn answered(passed: Passed) -> (u16, Vec<(String, String)>, String) {
    let Passed::Answer(reply) = passed else { panic!("no answer: {}", why(passed)) };
    let headers = reply.headers.into_iter();
    let headers = headers.map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
    let body = match reply.content {
        Content::Bytes(bytes) => String::from_utf8(bytes).expect("the test can go on"),
        Content::Empty => String::new(),
        Content::Stream { mut source, .. } => {
            let mut text = String::new();
            source.read_to_string(&mut text).expect("the test can go on");
            text
        }
    };
    (reply.status, headers, body)
}

/// What is certain of a request without an answer.
pub(crate) fn fate(passed: &Passed) -> Option<Fate> {
    match passed {
        Passed::Failed { fate, .. } => Some(*fate),
        Passed::Here | Passed::Answer(_) | Passed::NoLeader => None,
    }
}

pub(crate) fn why(passed: Passed) -> String {
    match passed {
        Passed::Failed { why, fate } => format!("{fate:?}: {why}"),
        Passed::Here => "here".to_owned(),
        Passed::NoLeader => "no leader".to_owned(),
        Passed::Answer(reply) => format!("status {}", reply.status),
    }
}
