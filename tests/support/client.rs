//! A minimal HTTP/1.1 client over one kept-alive connection.
//!
//! It is its own file, and not a crate, because the tests need to see what real clients hide:
//! whether an answer ended as its framing says, and what came before a connection was cut. It
//! never retries and never follows a redirect. An answer that is cut short is an error.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest silence of a server before a test gives up on it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// By `Content-Length`.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection: cannot be told from one that was cut.
    Close,
}

/// What comes before a body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// As sent, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// How the body ends.
    pub(crate) framing: Framing,
}

impl Head {
    /// The first header of this name, compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// What came before the body.
    pub(crate) head: Head,
    /// The body, complete.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of this name, or the empty string.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.header(name).unwrap_or("")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is not.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether it is a 200 in which neither the request nor any statement failed.
    pub(crate) fn is_success(&self) -> bool {
        let json = self.json();
        let failed = |result: &Value| result.get("error").is_some();
        self.status() == 200
            && !failed(&json)
            && !json["results"].as_array().is_none_or(|results| results.iter().any(failed))
    }

    /// Whether it says that something is wrong: by status, for the request, or for a statement.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status() >= 400
            || (self.status() == 200 && !self.is_success() && self.text().contains("\"error\""))
    }
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects, with a generous limit on every later silence.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_within(address, SILENCE_MAX)
    }

    /// Connects, with this limit on every silence.
    pub(crate) fn connect_within(address: SocketAddr, silence_max: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, silence_max.min(CONNECT_MAX))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(silence_max))?;
        stream.set_write_timeout(Some(silence_max))?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_string() })
    }

    /// The connection itself, to send what is no request or to leave in the middle.
    pub(crate) fn raw(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        self.send(method, target, headers, Some(body))?;
        self.reply(method)
    }

    /// Reads a whole answer to a request with this method.
    pub(crate) fn reply(&mut self, method: &str) -> io::Result<Reply> {
        let head = self.head(method)?;
        let mut body = Vec::new();
        self.body(&head, &mut body)?;
        Ok(Reply { head, body })
    }

    /// Sends a request's head, and the body with its length unless it comes later.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body
            && (!body.is_empty() || !matches!(method, "GET" | "HEAD" | "OPTIONS"))
        {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.raw().write_all(&bytes)
    }

    /// Reads the head of the answer to a request with this method; skips interim answers.
    pub(crate) fn head(&mut self, method: &str) -> io::Result<Head> {
        loop {
            let mut head = self.one_head()?;
            if head.status != 100 {
                head.framing = framing(&head, method)?;
                return Ok(head);
            }
        }
    }

    fn one_head(&mut self) -> io::Result<Head> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid(&first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers, framing: Framing::None });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Copies a body to `sink` as it comes; fails when it is cut short.
    pub(crate) fn body(&mut self, head: &Head, sink: &mut dyn Write) -> io::Result<u64> {
        match head.framing {
            Framing::None => Ok(0),
            Framing::Length(length) => self.exactly(length, sink),
            Framing::Close => io::copy(&mut self.stream, sink),
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let line = self.line()?;
                    let size = line.split(';').next().unwrap_or_default();
                    let size = u64::from_str_radix(size, 16).map_err(|_| invalid(&line))?;
                    total += self.exactly(size, sink)?;
                    if !self.line()?.is_empty() {
                        return Err(invalid("no line end after a chunk"));
                    }
                    if size == 0 {
                        return Ok(total);
                    }
                }
            }
        }
    }

    fn exactly(&mut self, length: u64, sink: &mut dyn Write) -> io::Result<u64> {
        let copied = io::copy(&mut self.stream.by_ref().take(length), sink)?;
        if copied == length {
            return Ok(copied);
        }
        Err(Error::new(ErrorKind::UnexpectedEof, format!("{copied} of {length} bytes of a body")))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(Error::new(ErrorKind::UnexpectedEof, format!("line cut short: {line:?}")));
        };
        Ok(line.to_owned())
    }
}

fn framing(head: &Head, method: &str) -> io::Result<Framing> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(Framing::None);
    }
    if let Some(coding) = head.header("Transfer-Encoding") {
        return if coding == "chunked" { Ok(Framing::Chunked) } else { Err(invalid(coding)) };
    }
    match head.header("Content-Length") {
        Some(text) => Ok(Framing::Length(text.parse().map_err(|_| invalid(text))?)),
        None => Ok(Framing::Close),
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}

/// Sends these bytes on a connection of their own, and gives all that comes until it is closed.
/// An answer after which the server resets the connection still counts as an answer.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        _ => Ok(answer),
    }
}
