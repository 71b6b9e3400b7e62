//! Bodies of requests: `Content-Length` or chunked, read strictly and never past their end.
//!
//! A body that stops short, stands still or is not framed as RFC 9112 (section 7.1) says is an
//! error, never an end: half an SQL statement must not run. After an error it only gives errors,
//! and the connection closes. What a client announces is counted down, never allocated.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::time::{Duration, Instant};

use super::counters::Count;
use super::input::Input;
use super::limits::{CHUNK_LINE_BYTES_MAX, Limits, TRAILER_BYTES_MAX};
use super::stream::Stream;

/// A request's body: `Content-Length` or chunked, read strictly. The first read sends
/// `100 Continue` where the client waits for it, so authorization comes before.
pub struct Body<'c> {
    incoming: &'c mut Incoming,
}

impl<'c> Body<'c> {
    pub(super) fn new(incoming: &'c mut Incoming) -> Self {
        Self { incoming }
    }

    /// Bytes announced by `Content-Length`; `None` when chunked; `Some(0)` without a body.
    pub fn length(&self) -> Option<u64> {
        self.incoming.length
    }
}

impl Read for Body<'_> {
    /// # Errors
    /// `UnexpectedEof` when the client stopped short, `TimedOut` when it is too slow, `InvalidData`
    /// when the chunks are malformed, else the socket's.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Sized { left: u64 },
    /// A line with the size of a chunk comes next.
    ChunkSize,
    /// So many bytes of a chunk, then its line end.
    ChunkData { left: u64 },
    /// The line end of a chunk.
    ChunkEnd,
    /// Trailer lines, in so many bytes at most.
    Trailers { left: usize },
    /// Nothing: the last chunk and its trailers are read.
    Done,
}

/// What a handler has left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// So little that reading it is cheaper than a new connection.
    Little,
    /// Too much, or it cannot be told.
    Much,
}

/// What a connection receives: its stream, its buffer, and where in a body it is.
pub(super) struct Incoming {
    pub(super) stream: Stream,
    pub(super) input: Input,
    framing: Framing,
    length: Option<u64>,
    expects_continue: bool,
    failed: Option<ErrorKind>,
    patience: Patience,
}

impl Incoming {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Input::new(),
            framing: Framing::Done,
            length: None,
            expects_continue: false,
            failed: None,
            patience: Patience::default(),
        }
    }

    /// Says that a body comes next.
    pub(super) fn begin(&mut self, framing: Framing, expects_continue: bool, limits: &Limits) {
        self.length = if let Framing::Sized { left } = framing { Some(left) } else { None };
        self.framing = framing;
        self.expects_continue = expects_continue && !self.is_finished();
        self.failed = None;
        self.patience = Patience::new(limits);
    }

    /// Looks at what the handler has left, using up what is in the buffer already.
    pub(super) fn rest(&mut self, drain_bytes_max: u64) -> Rest {
        if !self.is_finished() && !self.expects_continue && self.failed.is_none() {
            self.patience.may_wait = false;
            self.drain(drain_bytes_max);
            self.patience.may_wait = true;
        }
        match self.framing {
            _ if self.failed.is_some() || self.expects_continue => Rest::Much,
            Framing::Done | Framing::Sized { left: 0 } => Rest::Nothing,
            Framing::Sized { left } if left <= drain_bytes_max => Rest::Little,
            Framing::Sized { .. }
            | Framing::ChunkSize
            | Framing::ChunkData { .. }
            | Framing::ChunkEnd
            | Framing::Trailers { .. } => Rest::Much,
        }
    }

    /// Reads and drops what is left; false when it is more than `bytes_max` or does not come.
    pub(super) fn drain(&mut self, bytes_max: u64) -> bool {
        let mut dropped = [0; 4096];
        let mut left = bytes_max;
        while left > 0 && !self.is_finished() {
            let Ok(count @ 1..) = self.read(&mut dropped[..at_most(4096, left)]) else { break };
            left -= count as u64;
        }
        self.is_finished()
    }

    fn is_finished(&self) -> bool {
        matches!(self.framing, Framing::Done | Framing::Sized { left: 0 })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        if buffer.is_empty() || self.is_finished() {
            return Ok(0);
        }
        if self.expects_continue {
            self.expects_continue = false;
            if self.input.is_empty() {
                self.stream.write_all(&mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")])?;
            }
        }
        let result = self.decode(buffer);
        if let Err(error) = &result
            && error.kind() != ErrorKind::WouldBlock
        {
            self.failed = Some(error.kind());
            self.stream.tally().one(Count::BadBodies);
        }
        result
    }

    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.framing {
                Framing::Done | Framing::Sized { left: 0 } => return Ok(0),
                Framing::Sized { left } => {
                    let count = self.take(buffer, left)?;
                    self.framing = Framing::Sized { left: left - count as u64 };
                    return Ok(count);
                }
                Framing::ChunkData { left: 0 } => self.framing = Framing::ChunkEnd,
                Framing::ChunkData { left } => {
                    let count = self.take(buffer, left)?;
                    self.framing = Framing::ChunkData { left: left - count as u64 };
                    return Ok(count);
                }
                Framing::ChunkEnd => {
                    self.line(2)?;
                    self.input.consume(2);
                    self.framing = Framing::ChunkSize;
                }
                Framing::ChunkSize => {
                    let length = self.line(CHUNK_LINE_BYTES_MAX)?;
                    let size = chunk_size(&self.input.pending()[..length]);
                    self.input.consume(length + 2);
                    self.framing = match size {
                        None => return Err(invalid("a chunk has no valid size")),
                        Some(0) => Framing::Trailers { left: TRAILER_BYTES_MAX },
                        Some(left) => Framing::ChunkData { left },
                    };
                }
                Framing::Trailers { left } => {
                    let length = self.line(left)?;
                    let is_valid = is_trailer(&self.input.pending()[..length]);
                    self.input.consume(length + 2);
                    self.framing = match length {
                        0 => Framing::Done,
                        _ if is_valid => Framing::Trailers { left: left - length - 2 },
                        _ => return Err(invalid("a trailer is not valid")),
                    };
                }
            }
        }
    }

    /// Reads up to `left` bytes of the body, from the buffer or past it.
    fn take(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        let wanted = at_most(buffer.len(), left);
        let buffer = &mut buffer[..wanted];
        if self.input.is_empty() {
            if wanted >= self.input.room().len() {
                return self.patience.receive(&mut self.stream, buffer);
            }
            self.fill()?;
        }
        let count = wanted.min(self.input.pending().len());
        buffer[..count].copy_from_slice(&self.input.pending()[..count]);
        self.input.consume(count);
        Ok(count)
    }

    /// Waits for a whole line of up to `bytes_max` bytes with its end; gives its length without.
    fn line(&mut self, bytes_max: usize) -> io::Result<usize> {
        loop {
            let pending = self.input.pending();
            let seen = &pending[..pending.len().min(bytes_max)];
            if let Some(end) = seen.iter().position(|byte| *byte == b'\n') {
                let is_whole = end > 0 && seen[end - 1] == b'\r';
                return is_whole.then(|| end - 1).ok_or_else(|| invalid("a line has a bare end"));
            }
            if seen.len() == bytes_max {
                return Err(invalid("a line between chunks is too long"));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let count = self.patience.receive(&mut self.stream, self.input.room())?;
        self.input.filled(count);
        Ok(())
    }
}

/// How long a body is waited for: it may stand still for a while, and must come at a rate. Only
/// waiting counts, not the time the handler takes between two reads.
#[derive(Default)]
struct Patience {
    still_max: Duration,
    rate_min: u64,
    received: u64,
    waited: Duration,
    /// False while only what is there is looked at; then a read fails with `WouldBlock`.
    may_wait: bool,
}

impl Patience {
    fn new(limits: &Limits) -> Self {
        Self {
            still_max: limits.body_timeout,
            rate_min: limits.body_rate_min.max(1),
            may_wait: true,
            ..Self::default()
        }
    }

    /// Reads at least one byte.
    fn receive(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.may_wait {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            match stream.read_at_once(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.received += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = self.left();
            let start = Instant::now();
            if left.is_zero() || !stream.wait(left)? {
                return Err(ErrorKind::TimedOut.into());
            }
            self.waited += start.elapsed();
        }
    }

    /// How long the next wait may take.
    fn left(&self) -> Duration {
        let earned = Duration::from_secs(self.received / self.rate_min);
        (self.still_max + earned).saturating_sub(self.waited).min(self.still_max)
    }
}

/// The size in a chunk-size line. An extension is skipped; what stands before it is exact.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let is_exact = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_exact || !extension.iter().all(|byte| is_printable(*byte)) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn is_trailer(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    line.iter().all(|byte| is_printable(*byte))
        && !name.is_empty()
        && name.len() < line.len()
        && name.iter().all(u8::is_ascii_graphic)
}

fn is_printable(byte: u8) -> bool {
    byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()
}

/// The smaller of a size in memory and a size that was announced.
fn at_most(room: usize, left: u64) -> usize {
    usize::try_from(left).map_or(room, |left| room.min(left))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_size_is_hex_digits_and_perhaps_an_extension() {
        assert_eq!(chunk_size(b"1aF"), Some(0x1af));
        assert_eq!(chunk_size(b"5;a=b"), Some(5));
        for line in [&b""[..], b" 5", b"5 ", b"+5", b"0x5", b"-1", b"5_0", b";a", b"5;a\x01"] {
            assert_eq!(chunk_size(line), None, "{line:?}");
        }
        assert_eq!(chunk_size(b"fffffffffffffff"), Some(0xfff_ffff_ffff_ffff));
        assert_eq!(chunk_size(b"1000000000000000"), None);
    }

    #[test]
    fn patience_grows_with_what_came_but_never_beyond_one_stand_still() {
        let mut patience = Patience::new(&Limits::default());
        assert_eq!(patience.left(), Duration::from_secs(10));
        patience.waited = Duration::from_secs(12);
        patience.received = 4 * 1024;
        assert_eq!(patience.left(), Duration::from_secs(2));
        patience.received = 1 << 30;
        assert_eq!(patience.left(), Duration::from_secs(10));
    }
}
