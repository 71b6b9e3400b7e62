//! The connection to a leader under ureq: a socket that knows what has left it.
//!
//! ureq prints and parses the messages; this file moves their bytes, because what may be done
//! after a failure depends on what was sent before it, and because waiting here must end when
//! nobody waits for the answer any more. It resolves names only to connect, never uses a proxy,
//! and never repeats anything.
//!
//! A leader may answer before it has read a whole upload (the file is no good, the disk is full).
//! Then sending stops, the rest is not taken from the client, and the answer is still read: the
//! connection is *deaf* from there on, and is not used again.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::{SockRef, TcpKeepalive};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use crate::os;

/// Longest sleep between two looks at whether somebody still waits for the answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest time in which not one byte moves while a body is sent or received. A leader that makes
/// a slow backup moves some; one that moves none for this long is stopped or cut off.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Silence after which the kernel asks whether the leader's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Asked, with the address of the node that is waited for, whether to go on; the text says why not.
pub type Watch = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What the connection and the one who uses it tell each other.
#[derive(Default)]
pub(super) struct Signals {
    /// A byte was handed to the kernel.
    has_sent: AtomicBool,
    /// A write failed: the leader cannot have the whole request.
    has_failed_to_send: AtomicBool,
    /// Nothing more is sent, only the answer is read.
    is_deaf: AtomicBool,
    /// An answer may come before the body has left.
    is_upload: AtomicBool,
    watch: Mutex<Option<(Watch, String)>>,
}

impl Signals {
    /// A new request begins.
    pub(super) fn begin(&self, is_upload: bool, watch: Option<(Watch, String)>) {
        self.has_sent.store(false, Ordering::Relaxed);
        self.has_failed_to_send.store(false, Ordering::Relaxed);
        self.is_deaf.store(false, Ordering::Relaxed);
        self.is_upload.store(is_upload, Ordering::Relaxed);
        *os::lock(&self.watch) = watch;
    }

    /// Nobody is waited for any more.
    pub(super) fn rest(&self) {
        *os::lock(&self.watch) = None;
    }

    pub(super) fn has_sent(&self) -> bool {
        self.has_sent.load(Ordering::Relaxed)
    }

    pub(super) fn has_failed_to_send(&self) -> bool {
        self.has_failed_to_send.load(Ordering::Relaxed)
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Relaxed)
    }

    fn look(&self) -> Result<(), Error> {
        let watch = os::lock(&self.watch).clone();
        let looked = watch.map_or(Ok(()), |(watch, address)| watch(&address));
        looked.map_err(|why| Error::Io(io::Error::other(why)))
    }
}

/// Opens connections whose state is in `signals`.
pub(super) struct Dial {
    pub(super) signals: Arc<Signals>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl Connector for Dial {
    type Out = Line;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Line>, Error> {
        let authority = details.uri.authority().ok_or(Error::HostNotFound)?;
        let time = details.timeout.not_zero().map_or(STALL_MAX, |time| *time);
        let deadline = Instant::now() + time;
        let mut last = Error::HostNotFound;
        for address in addresses(authority.as_str(), time)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(Timeout::Connect));
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                    SockRef::from(&stream).set_tcp_keepalive(&probes)?;
                    let sizes =
                        (details.config.input_buffer_size(), details.config.output_buffer_size());
                    let buffers = LazyBuffers::new(sizes.0, sizes.1);
                    let signals = Arc::clone(&self.signals);
                    return Ok(Some(Line { stream, buffers, signals }));
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    last = Error::Timeout(Timeout::Connect);
                }
                Err(error) => last = Error::Io(error),
            }
        }
        Err(last)
    }
}

/// The addresses of `host:port`, IPv4 first. A name is looked up on a thread of its own, for the
/// system's resolver knows no deadline.
fn addresses(authority: &str, time: Duration) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = authority.parse() {
        return Ok(vec![address]);
    }
    let name = authority.to_owned();
    let (sender, found) = bounded(1);
    os::spawn("resolve", move || drop(sender.try_send(name.to_socket_addrs())))?;
    let found = found.recv_timeout(time).map_err(|_| Error::Timeout(Timeout::Resolve))?;
    let mut found: Vec<SocketAddr> = found.map_err(|_| Error::HostNotFound)?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

/// Leaves resolving to [`Dial`]: a connection that is used again needs none.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// One connection.
pub(super) struct Line {
    stream: TcpStream,
    buffers: LazyBuffers,
    signals: Arc<Signals>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Line {
    /// Waits until the socket is ready; fails when time is up or nobody waits any more.
    fn wait(&self, flags: PollFlags, timeout: NextTimeout) -> Result<(), Error> {
        let time_max = timeout.not_zero().map_or(STALL_MAX, |time| *time);
        let began = Instant::now();
        loop {
            let left = time_max.saturating_sub(began.elapsed());
            if self.is_ready(flags, left.min(LOOK_EVERY))? {
                return Ok(());
            }
            if began.elapsed() >= time_max {
                return Err(Error::Timeout(timeout.reason));
            }
            self.signals.look()?;
        }
    }

    fn is_ready(&self, flags: PollFlags, wait: Duration) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.stream, flags)];
        let wait = Timespec::try_from(wait).expect("half a second at most");
        match rustix::event::poll(&mut polled, Some(&wait)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut sent = 0;
        while sent < amount {
            let rest = &self.buffers.output()[sent..amount];
            match rustix::net::send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.signals.has_sent.store(true, Ordering::Relaxed);
                    sent += count;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, timeout)?,
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
        Ok(())
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let signals = Arc::clone(&self.signals);
        let is_under_way = signals.is_upload.load(Ordering::Relaxed) && signals.has_sent();
        if is_under_way && !signals.is_deaf() && self.is_ready(PollFlags::IN, Duration::ZERO)? {
            signals.is_deaf.store(true, Ordering::Relaxed);
        }
        if signals.is_deaf() {
            return Ok(());
        }
        let sent = self.send(amount, timeout);
        if let Err(error) = sent {
            signals.has_failed_to_send.store(true, Ordering::Relaxed);
            // Its reason may be in the answer, which has come before the end of the connection.
            let is_cut = matches!(&error, Error::Io(error) if is_cut(error.kind()));
            if !is_cut || !signals.has_sent() {
                return Err(error);
            }
            signals.is_deaf.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let waited = self.wait(PollFlags::IN, timeout);
        // Without a word from the leader, ureq would send the body all the same.
        if matches!(waited, Err(Error::Timeout(Timeout::Await100))) {
            return Err(Error::Io(ErrorKind::TimedOut.into()));
        }
        waited?;
        let room = self.buffers.input_append_buf();
        let count = (&self.stream).read(room).map_err(Error::Io)?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// Nothing to read and not ended: what else could be there is not ours.
    fn is_open(&mut self) -> bool {
        !self.signals.is_deaf() && self.is_ready(PollFlags::IN, Duration::ZERO).is_ok_and(|is| !is)
    }
}

fn is_cut(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}
