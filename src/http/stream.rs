//! The socket of one connection: reads and writes that end, whatever the client does.
//!
//! Everything a connection sends or receives passes here, so this is where TLS will stand. Nothing
//! here knows HTTP. Waiting is by the socket's own timeouts where that saves a system call on each
//! request (the first read of a head, every write), else by `poll`, and only when nothing is there.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::RecvFlags;

use super::counters::{Count, Tally};
use super::limits::{LINGER_BYTES_MAX, Limits};
use super::registry::Link;

/// Reads and writes of one connection.
pub(super) struct Stream {
    link: Arc<Link>,
    tally: Arc<Tally>,
}

impl Stream {
    /// Sets the timeouts that stay. A new connection's silence is bounded by the head's time.
    pub(super) fn new(link: Arc<Link>, tally: Arc<Tally>, limits: &Limits) -> io::Result<Self> {
        link.socket.set_read_timeout(Some(limits.head_timeout))?;
        link.socket.set_write_timeout(Some(limits.write_timeout))?;
        Ok(Self { link, tally })
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How long `read_at_rest` waits from now on.
    pub(super) fn set_rest(&self, rest: Duration) -> io::Result<()> {
        self.link.socket.set_read_timeout(Some(rest))
    }

    /// Reads what comes next, waiting as long as a connection may rest; 0 is the end. `TimedOut`
    /// when it has rested too long.
    pub(super) fn read_at_rest(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.link.socket).read(buffer) {
                Ok(count) => return Ok(self.counted(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is there; `WouldBlock` when nothing is; 0 is the end.
    pub(super) fn read_at_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(&self.link.socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(self.counted(count))
    }

    /// Reads what comes before `deadline`, else fails with `TimedOut`; 0 is the end.
    pub(super) fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            match self.read_at_once(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => return done,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait(left)? {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// Waits until there is something to read (or the end); false when time was up first.
    pub(super) fn wait(&self, time: Duration) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.link.socket, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timespec(time))) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends all of `parts`, in one write where the kernel takes it so. Fails with `TimedOut` when
    /// the client accepts nothing for the time a write may take.
    pub(super) fn write_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match (&self.link.socket).write_vectored(parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.tally.add(Count::BytesOut, count as u64);
                    IoSlice::advance_slices(&mut parts, count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.tally.one(Count::WriteTimeouts);
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the connection so that the client can still read what was sent: closes our direction,
    /// then drops what arrives for a while.
    pub(super) fn close_gently(&mut self, linger: Duration) {
        if self.link.socket.shutdown(Shutdown::Write).is_ok() {
            let deadline = Instant::now() + linger;
            let mut left = LINGER_BYTES_MAX;
            let mut dropped = [0; 16 * 1024];
            while left > 0 && Instant::now() < deadline {
                match self.read_until(&mut dropped, deadline) {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    Ok(_) | Err(_) => break,
                }
            }
        }
        self.link.cut();
    }

    fn counted(&self, count: usize) -> usize {
        self.tally.add(Count::BytesIn, count as u64);
        count
    }
}

/// A time to wait as the system wants it. Longer than a day is a day: nothing waits that long.
fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time.min(Duration::from_secs(86_400))).expect("a day fits a timespec")
}
