//! Replies: the head printed by tiny_http, the framing and the body by us.
//!
//! tiny_http chooses chunking by its own rules, buffers what HTTP/1.0 asks for, and ends a chunked
//! body cleanly even when its source failed. So it prints heads only, always with a length of 0,
//! and that last line is replaced by the one that is true.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tiny_http::{HTTPVersion, Response, StatusCode};

use super::limits::STREAM_BYTES;
use super::stream::Stream;
use super::types::{Content, Header, Reply};

/// The product, in the `Server` header. Without a version: scanners look for those.
const SERVER: &str = "quorlite";

/// Headers that are set here and by nobody else.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The end of each head that tiny_http prints for us.
const PRINTED_END: &[u8] = b"Content-Length: 0\r\n\r\n";

/// How a reply is to be sent.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Whether the request was HEAD: the head of the reply is all.
    pub(super) is_head: bool,
    pub(super) is_http_1_0: bool,
    /// Whether the connection shall go on; a body of unknown length for HTTP/1.0 overrules it.
    pub(super) keeps_alive: bool,
}

/// Why a reply was not sent to its end. The connection must be reset then.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client went away, or did not accept bytes in time.
    Client,
    /// The source failed, panicked or ended short.
    Source(io::Error),
}

/// How a client knows where a body ends.
enum Ending {
    /// There is none and may be none: 204, 304.
    NoBody,
    Length(u64),
    Chunks,
    Close,
}

/// Sends `reply`; says whether the connection may go on. `scratch` is memory to print into.
pub(super) fn send(
    stream: &mut Stream,
    scratch: &mut Vec<u8>,
    reply: Reply,
    terms: Terms,
) -> Result<bool, SendError> {
    let Reply { status, headers, content } = reply;
    let ending = match &content {
        _ if matches!(status, 204 | 304) => Ending::NoBody,
        Content::Empty => Ending::Length(0),
        Content::Bytes(bytes) => Ending::Length(bytes.len() as u64),
        Content::Stream { length: Some(length), .. } => Ending::Length(*length),
        Content::Stream { length: None, .. } if terms.is_http_1_0 => Ending::Close,
        Content::Stream { length: None, .. } => Ending::Chunks,
    };
    let keeps_alive = terms.keeps_alive && !matches!(ending, Ending::Close);
    let terms = Terms { keeps_alive, ..terms };
    let Some(()) = print_head(scratch, status, &headers, &ending, terms) else {
        log::error!("a reply was not sent: a header or the status ({status}) is not valid");
        return send(stream, scratch, text(500, "the reply has an invalid header"), terms);
    };
    let is_bare = terms.is_head || matches!(ending, Ending::NoBody);
    match content {
        Content::Stream { source, .. } if !is_bare => {
            Streaming { stream, head: scratch, source }.send(&ending)?;
        }
        Content::Bytes(bytes) if !is_bare => write(stream, &[scratch, &bytes])?,
        Content::Empty | Content::Bytes(_) | Content::Stream { .. } => write(stream, &[scratch])?,
    }
    Ok(keeps_alive)
}

/// A reply of one sentence.
pub(super) fn text(status: u16, sentence: &str) -> Reply {
    Reply {
        status,
        headers: vec![("Content-Type", "text/plain; charset=utf-8".into())],
        content: Content::Bytes(format!("{sentence}\n").into_bytes()),
    }
}

/// Prints a head over what `out` held; `None` when a header cannot be sent.
fn print_head(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[Header],
    ending: &Ending,
    terms: Terms,
) -> Option<()> {
    out.clear();
    if !(200..=599).contains(&status) {
        return None;
    }
    let mut printed = Vec::with_capacity(headers.len() + 1);
    printed.push(header("Server", SERVER)?);
    for (name, value) in headers {
        if !RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            printed.push(header(name, value)?);
        }
    }
    let response = Response::new(StatusCode(status), printed, io::empty(), Some(0), None);
    response.raw_print(&mut *out, HTTPVersion(1, 1), &[], true, None).ok()?;
    assert!(out.ends_with(PRINTED_END), "tiny_http prints the length last");
    out.truncate(out.len() - PRINTED_END.len());

    match ending {
        Ending::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(length.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Ending::Chunks => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Ending::NoBody | Ending::Close => {}
    }
    if !terms.keeps_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if terms.is_http_1_0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Some(())
}

/// A header that cannot become two.
fn header(name: &str, value: &str) -> Option<tiny_http::Header> {
    let is_sound = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
        && value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    if !is_sound {
        return None;
    }
    tiny_http::Header::from_bytes(name, value).ok()
}

/// A body on its way from its source to the client. The head leaves with the first bytes.
struct Streaming<'s> {
    stream: &'s mut Stream,
    head: &'s mut Vec<u8>,
    source: Box<dyn Read + Send>,
}

impl Streaming<'_> {
    fn send(mut self, ending: &Ending) -> Result<(), SendError> {
        let mut buffer = vec![0; STREAM_BYTES];
        match *ending {
            Ending::NoBody => {}
            Ending::Length(length) => self.send_sized(&mut buffer, length)?,
            Ending::Chunks => {
                while let count @ 1.. = self.read(&mut buffer)? {
                    let size = format!("{count:x}\r\n");
                    self.write(&[size.as_bytes(), &buffer[..count], b"\r\n"])?;
                }
                self.write(&[b"0\r\n\r\n"])?;
            }
            Ending::Close => {
                while let count @ 1.. = self.read(&mut buffer)? {
                    self.write(&[&buffer[..count]])?;
                }
            }
        }
        self.write(&[])
    }

    fn send_sized(&mut self, buffer: &mut [u8], length: u64) -> Result<(), SendError> {
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = self.read(&mut buffer[..wanted])?;
            if count == 0 {
                return Err(SendError::Source(ErrorKind::UnexpectedEof.into()));
            }
            self.write(&[&buffer[..count]])?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Reads from the source, whose panic is a failure like any other.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SendError> {
        loop {
            let source = &mut self.source;
            match catch_unwind(AssertUnwindSafe(|| source.read(buffer))) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(done) => return done.map_err(SendError::Source),
                Err(_) => return Err(SendError::Source(io::Error::other("the source panicked"))),
            }
        }
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<(), SendError> {
        let all: Vec<&[u8]> = [self.head.as_slice()].iter().chain(parts).copied().collect();
        write(self.stream, &all)?;
        self.head.clear();
        Ok(())
    }
}

fn write(stream: &mut Stream, parts: &[&[u8]]) -> Result<(), SendError> {
    let mut slices = [IoSlice::new(&[]); 4];
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    stream.write_all(&mut slices[..parts.len()]).map_err(|_| SendError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[Header], ending: &Ending, terms: Terms) -> Option<String> {
        let mut out = b"old".to_vec();
        print_head(&mut out, 200, headers, ending, terms)?;
        Some(String::from_utf8(out).unwrap())
    }

    const PLAIN: Terms = Terms { is_head: false, is_http_1_0: false, keeps_alive: true };

    #[test]
    fn a_head_carries_our_framing_and_no_library_name() {
        let printed = head(&[("X-A", "b".into())], &Ending::Length(7), PLAIN).unwrap();
        assert!(printed.starts_with("HTTP/1.1 200 OK\r\n"), "{printed}");
        assert!(printed.contains("Server: quorlite\r\n"), "{printed}");
        assert!(printed.ends_with("X-A: b\r\nContent-Length: 7\r\n\r\n"), "{printed}");
        assert!(!printed.contains("tiny"), "{printed}");
        let terms = Terms { keeps_alive: false, ..PLAIN };
        let printed = head(&[], &Ending::Chunks, terms).unwrap();
        assert!(printed.ends_with("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_header_cannot_become_two() {
        for value in ["a\r\nX: y", "a\nb", "a\rb", "\0", "\u{e9}"] {
            assert!(head(&[("Location", value.into())], &Ending::NoBody, PLAIN).is_none());
        }
        let reserved = [("Content-Length", "98765".into()), ("server", "x".into())];
        assert!(!head(&reserved, &Ending::NoBody, PLAIN).unwrap().contains("98765"));
    }
}
