//! HTTP/1.1 from the client's side: one request, one reply, on a connection that is kept.
//!
//! Made to cost next to nothing, since `bench` shares the machine with the server it measures:
//! a request is bytes made beforehand, a reply is taken from the socket in as few reads as it
//! comes in, and nothing is allocated for either. It follows no redirects and retries nothing.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::url::Url;
use crate::client::failure::{Failure, Status};

/// Time to reach one address of a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Headers one reply may have; servers of this API send a dozen.
const HEADERS_MAX: usize = 64;

/// Bytes of a reply that is kept whole; bulk results are far below.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Why an exchange has no result; the connection is of no further use.
#[derive(Debug)]
pub(super) enum Broken {
    /// Connecting, sending or receiving failed.
    Io(io::Error),
    /// The connection ended before the reply did.
    CutShort,
    /// What came is not HTTP as this client knows it.
    Malformed(&'static str),
}

/// A kept-alive connection; of no use any more once anything on it has failed.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    /// `buffer[start..end]` was received and not yet looked at.
    start: usize,
    end: usize,
}

/// The beginning of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether the server ends the connection after this reply.
    pub(super) closes: bool,
    body: Body,
}

/// How much of a reply's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// So many bytes; 0 is the end of every body.
    Bytes(u64),
    /// All until the connection ends.
    UntilClosed,
    /// A chunk's size line, of which so much is known.
    ChunkSize { size: u64, digits: u8, ignoring: bool },
    /// The bytes of a chunk and the line end after them.
    Chunk { left: u64 },
    /// Lines behind the last chunk; an empty one is the end.
    Trailer { is_empty: bool },
}

/// Finds the addresses of a server.
///
/// # Errors
/// [`Status::Unreachable`] when the name is unknown.
pub(super) fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let found = (url.host.as_str(), url.port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| {
            Failure::new(Status::Unreachable, format!("cannot find {}: {error}", url.host))
        })?
        .collect();
    if found.is_empty() {
        return Err(Failure::new(Status::Unreachable, format!("{} has no address", url.host)));
    }
    Ok(found)
}

/// The bytes of a request.
pub(super) fn request(url: &Url, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(url, method, target, body.len() as u64);
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes of a request up to its body of `length` bytes.
pub(super) fn head(url: &Url, method: &str, target: &str, length: u64) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", url.authority);
    if let Some(authorization) = &url.authorization {
        text.push_str(&format!("Authorization: {authorization}\r\n"));
    }
    if method != "GET" {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

impl Connection {
    /// Connects to the first address that answers; a read or write that takes longer than
    /// `timeout` fails.
    pub(super) fn open(
        addresses: &[SocketAddr],
        timeout: Duration,
        buffer_bytes: usize,
    ) -> io::Result<Connection> {
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses {
            match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    let buffer = vec![0; buffer_bytes];
                    return Ok(Connection { stream, buffer, start: 0, end: 0 });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Sends a request and receives the whole reply, whose body replaces what is in `body`.
    pub(super) fn exchange(&mut self, request: &[u8], body: &mut Vec<u8>) -> Result<Head, Broken> {
        self.stream.write_all(request)?;
        let head = self.receive_head()?;
        body.clear();
        self.receive_body(&head, |bytes| {
            let fits = body.len() + bytes.len() <= BODY_BYTES_MAX;
            if fits {
                body.extend_from_slice(bytes);
            }
            if fits { Ok(()) } else { Err(Broken::Malformed("the reply is too large")) }
        })?;
        Ok(head)
    }

    /// Receives a reply up to its body; interim replies are skipped.
    pub(super) fn receive_head(&mut self) -> Result<Head, Broken> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer[self.start..self.end])? {
                self.start += length;
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.end == self.buffer.len() {
                return Err(Broken::Malformed("the head of the reply is too large"));
            }
            if self.fill(self.end)? == 0 {
                return Err(Broken::CutShort);
            }
        }
    }

    /// Receives the body that belongs to `head`, giving each piece to `take`.
    pub(super) fn receive_body(
        &mut self,
        head: &Head,
        mut take: impl FnMut(&[u8]) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut body = head.body;
        while !body.is_over() {
            if self.start == self.end {
                self.start = 0;
                if self.fill(0)? == 0 {
                    return if body == Body::UntilClosed { Ok(()) } else { Err(Broken::CutShort) };
                }
            }
            self.start += body.advance(&self.buffer[self.start..self.end], &mut take)?;
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            Ok(())
        } else {
            Err(Broken::Malformed("bytes follow the reply"))
        }
    }

    /// Reads once, to `at` and further, and returns how much came.
    fn fill(&mut self, at: usize) -> io::Result<usize> {
        loop {
            match self.stream.read(&mut self.buffer[at..]) {
                Ok(count) => {
                    self.end = at + count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Parses a reply's head and tells its length; `None` when there is more to come.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| Broken::Malformed("the reply is not HTTP"))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    let mut closes = response.version == Some(0);
    let mut body = Body::UntilClosed;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") && body == Body::UntilClosed {
            body = Body::Bytes(parse_length(header.value)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Broken::Malformed("the reply has an unknown transfer encoding"));
            }
            body = Body::NEXT_CHUNK;
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    if status < 200 || matches!(status, 204 | 304) {
        body = Body::Bytes(0);
    }
    closes |= body == Body::UntilClosed;
    Ok(Some((Head { status, closes, body }, length)))
}

fn parse_length(value: &[u8]) -> Result<u64, Broken> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.parse().map_err(|_| Broken::Malformed("the reply's Content-Length is no number"))
}

impl Body {
    const NEXT_CHUNK: Body = Body::ChunkSize { size: 0, digits: 0, ignoring: false };

    fn is_over(self) -> bool {
        self == Body::Bytes(0)
    }

    /// Takes what it can of `input`, at least a byte, and returns how much.
    fn advance(
        &mut self,
        input: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Broken>,
    ) -> Result<usize, Broken> {
        match self {
            Body::UntilClosed => {
                take(input)?;
                Ok(input.len())
            }
            Body::Bytes(left) => {
                let piece = &input[..shorter(*left, input.len())];
                take(piece)?;
                *left -= piece.len() as u64;
                Ok(piece.len())
            }
            Body::Chunk { left } if *left > 2 => {
                let piece = &input[..shorter(*left - 2, input.len())];
                take(piece)?;
                *left -= piece.len() as u64;
                Ok(piece.len())
            }
            Body::Chunk { .. } | Body::ChunkSize { .. } | Body::Trailer { .. } => {
                *self = self.after(input[0])?;
                Ok(1)
            }
        }
    }

    /// What follows one byte of what stands between the pieces of a chunked body.
    fn after(self, byte: u8) -> Result<Body, Broken> {
        let bad = Err(Broken::Malformed("the reply's chunks are not framed"));
        Ok(match (self, byte) {
            (Body::Chunk { left: 2 }, b'\r') => Body::Chunk { left: 1 },
            (Body::Chunk { left: 1 }, b'\n') => Body::NEXT_CHUNK,
            (Body::ChunkSize { digits: 0, .. }, b'\r' | b'\n' | b';') => return bad,
            (Body::ChunkSize { size: 0, .. }, b'\n') => Body::Trailer { is_empty: true },
            (Body::ChunkSize { size, .. }, b'\n') => Body::Chunk { left: size + 2 },
            (Body::ChunkSize { size, digits, .. }, b'\r' | b';' | b' ') => {
                Body::ChunkSize { size, digits, ignoring: true }
            }
            (Body::ChunkSize { ignoring: true, .. }, _) => self,
            (Body::ChunkSize { size, digits, .. }, _) => {
                let Some(digit) = char::from(byte).to_digit(16).filter(|_| digits < 15) else {
                    return bad;
                };
                let size = size * 16 + u64::from(digit);
                Body::ChunkSize { size, digits: digits + 1, ignoring: false }
            }
            (Body::Trailer { is_empty: true }, b'\n') => Body::Bytes(0),
            (Body::Trailer { .. }, b'\n') => Body::Trailer { is_empty: true },
            (Body::Trailer { is_empty }, b'\r') => Body::Trailer { is_empty },
            (Body::Trailer { .. }, _) => Body::Trailer { is_empty: false },
            (Body::Chunk { .. } | Body::Bytes(_) | Body::UntilClosed, _) => return bad,
        })
    }
}

fn shorter(left: u64, length: usize) -> usize {
    usize::try_from(left).map_or(length, |left| left.min(length))
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Io(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("the server did not answer in time")
            }
            Broken::Io(error) => write!(f, "{error}"),
            Broken::CutShort => f.write_str("the server closed the connection before the end"),
            Broken::Malformed(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Receives `reply`, sent in pieces of `step` bytes on a real connection that then ends.
    fn receive(reply: &[u8], step: usize) -> Result<(Head, Vec<u8>), Broken> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut connection = Connection::open(&[address], CONNECT_TIMEOUT, 256).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                server.set_nodelay(true).unwrap();
                // The client goes as soon as it has seen enough.
                let sent = reply.chunks(step).try_for_each(|piece| server.write_all(piece));
                let ended = sent.and_then(|()| server.shutdown(std::net::Shutdown::Write));
                ended.and_then(|()| io::copy(&mut server, &mut io::sink())).ok();
            });
            let mut body = b"the last one".to_vec();
            let head = connection.exchange(b"GET / HTTP/1.1\r\n\r\n", &mut body);
            drop(connection);
            head.map(|head| (head, body))
        })
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let table: &[(&str, u16, bool, &str)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, false, "hello"),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, false, ""),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 X\r\ncontent-length:0\r\n\r\n",
                404,
                false,
                "",
            ),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", 200, true, "to the end"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9;x=y\r\n, \
                 worlds!\r\n0\r\nX: y\r\n\r\n",
                200,
                false,
                "hello, worlds!",
            ),
        ];
        for (reply, status, closes, expected) in table {
            for step in [1, 2, 7, 1000] {
                let (head, body) = receive(reply.as_bytes(), step).unwrap();
                assert_eq!((head.status, head.closes), (*status, *closes), "{reply:?}");
                assert_eq!(String::from_utf8_lossy(&body), *expected, "{reply:?} by {step}");
            }
        }
    }

    #[test]
    fn a_reply_cut_at_any_byte_is_an_error() {
        for reply in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            for end in 1..reply.len() {
                let result = receive(&reply.as_bytes()[..end], 1000);
                assert!(matches!(result, Err(Broken::CutShort)), "{end} bytes of {reply:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for reply in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
        ] {
            let result = receive(reply.as_bytes(), 1000);
            assert!(matches!(result, Err(Broken::Malformed(_))), "{reply:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(300));
        assert!(matches!(receive(endless.as_bytes(), 1000), Err(Broken::Malformed(_))), "head");
    }
}
