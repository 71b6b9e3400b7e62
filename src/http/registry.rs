//! The connections that are open: who may come, who has to go, who is still at work.
//!
//! A connection is *at rest* while it waits for a whole head and *at work* from then until its reply
//! is sent. Only one at rest is ever closed from outside (or any, once a shutdown's grace is over),
//! so no request is cut after it was taken up. The two sides meet in one atomic word.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::counters::{Count, Tally};
use super::limits::Limits;
use crate::os;

/// States of a link beside "at rest since millisecond N", which is N.
const AT_WORK: u64 = u64::MAX;
const CLOSED: u64 = u64::MAX - 1;

/// A connection's socket as everybody else sees it.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    number: u64,
    state: AtomicU64,
}

impl Link {
    /// Whether the client has closed or reset the connection, by one look.
    pub(super) fn is_gone(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut polled = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut polled, Some(&at_once)) {
            Ok(_) => polled[0].revents().intersects(gone),
            Err(_) => false,
        }
    }

    /// Closes both directions, which wakes whoever reads or writes.
    pub(super) fn cut(&self) {
        // It fails when the client has closed already, and then nothing is left to do.
        self.socket.shutdown(Shutdown::Both).ok();
    }

    /// Ends the connection with a reset, which no client takes for the end of a message.
    pub(super) fn reset(&self) {
        if rustix::net::connect_unspec(&self.socket).is_err() {
            self.cut();
        }
    }

    /// Closes it if it was at rest; a request that comes in the same moment is not taken up.
    fn cut_at_rest(&self, since: u64) -> bool {
        let state = &self.state;
        let free = state.compare_exchange(since, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
        if free.is_ok() {
            self.cut();
        }
        free.is_ok()
    }
}

/// All open connections of one server.
pub(super) struct Registry {
    open: Mutex<Open>,
    changed: Condvar,
    closing: AtomicBool,
    start: Instant,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Open {
    links: BTreeMap<u64, Arc<Link>>,
    by_origin: BTreeMap<IpAddr, usize>,
    next: u64,
}

impl Registry {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self {
            open: Mutex::default(),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            start: Instant::now(),
            tally,
        }
    }

    /// Lets a connection in, closing the longest idle one if there is no room; gives it back when
    /// there is none even so.
    pub(super) fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        limits: &Limits,
    ) -> Result<Arc<Link>, TcpStream> {
        let origin = origin(peer.ip());
        let mut open = self.lock();
        let of_origin = open.by_origin.get(&origin).copied().unwrap_or(0);
        let has_room = if of_origin >= limits.connections_per_address_max {
            self.evict(&mut open, Some(origin))
        } else {
            open.links.len() < limits.connections_max || self.evict(&mut open, None)
        };
        if !has_room {
            return Err(socket);
        }
        let number = open.next;
        open.next += 1;
        let link = Arc::new(Link { socket, peer, number, state: AtomicU64::new(self.now()) });
        open.links.insert(number, Arc::clone(&link));
        *open.by_origin.entry(origin).or_default() += 1;
        self.tally.one(Count::Open);
        Ok(link)
    }

    /// Closes the longest idle connection, if one is idle: for when descriptors have run out.
    pub(super) fn make_room(&self) -> bool {
        let mut open = self.lock();
        self.evict(&mut open, None)
    }

    fn evict(&self, open: &mut Open, origin_wanted: Option<IpAddr>) -> bool {
        let mut idle: Vec<(u64, u64)> = open
            .links
            .values()
            .filter(|link| origin_wanted.is_none_or(|wanted| origin(link.peer.ip()) == wanted))
            .map(|link| (link.state.load(Ordering::SeqCst), link.number))
            .filter(|&(since, _)| since < CLOSED)
            .collect();
        idle.sort_unstable();
        for (since, number) in idle {
            if open.links[&number].cut_at_rest(since) {
                self.tally.one(Count::Evicted);
                self.forget(open, number);
                return true;
            }
        }
        false
    }

    /// Takes a connection off the list; its thread calls this, whoever closed it.
    pub(super) fn remove(&self, link: &Link) {
        let mut open = self.lock();
        self.forget(&mut open, link.number);
    }

    fn forget(&self, open: &mut Open, number: u64) {
        let Some(link) = open.links.remove(&number) else { return };
        let origin = origin(link.peer.ip());
        let left = open.by_origin.get(&origin).map_or(0, |count| count - 1);
        if left == 0 {
            open.by_origin.remove(&origin);
        } else {
            open.by_origin.insert(origin, left);
        }
        self.tally.one_less(Count::Open);
        self.changed.notify_all();
    }

    /// Says that a whole head has come; false when the connection was closed before.
    pub(super) fn begin_work(&self, link: &Link) -> bool {
        if link.state.swap(AT_WORK, Ordering::SeqCst) == CLOSED {
            link.state.store(CLOSED, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Says that the reply is sent; false when no further request may be waited for. (First the
    /// state, then the question: a shutdown that was not seen here sees the connection at rest.)
    pub(super) fn begin_rest(&self, link: &Link) -> bool {
        link.state.store(self.now(), Ordering::SeqCst);
        !self.is_closing()
    }

    /// Whether the server is shutting down, so that replies say `Connection: close`.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Closes what is at rest, waits for what is at work, and cuts what still is when `grace` is
    /// over.
    pub(super) fn close(&self, grace: Duration) {
        self.closing.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + grace;
        let mut open = self.lock();
        for link in open.links.values() {
            let since = link.state.load(Ordering::SeqCst);
            if since < CLOSED {
                link.cut_at_rest(since);
            }
        }
        while !open.links.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for link in open.links.values() {
            link.cut();
        }
    }

    /// Milliseconds since the server started.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(CLOSED - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        os::lock(&self.open)
    }
}

/// Whom an address belongs to: an IPv4 address, or a /64 network, which is what one subscriber of
/// IPv6 has.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| origin(text.parse().unwrap()).to_string();
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
