//! Addresses, the accept loop, and shutting down.
//!
//! The accept loop survives whatever accept gives: it pauses, makes room, and goes on. It never
//! reads from a client and never waits for one, so nobody can hold it up.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::connection::{self, Shared};
use super::counters::{Count, Counters, Tally};
use super::limits::{ACCEPT_PAUSE, ACCEPT_PAUSE_MAX, BACKLOG, KEEPALIVE, Limits, THREADS_SPARE};
use super::pool::Pool;
use super::registry::Registry;
use super::types::Handler;
use crate::os;

/// What a client beyond the limits is told, printed beforehand: memory or descriptors may be short.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nServer: quorlite\r\n\
    Content-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\nContent-Length: 46\r\n\
    Connection: close\r\n\r\nthere are too many connections, try again soon";

/// An address that is bound, and not served yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: Limits,
    tally: Arc<Tally>,
}

impl Listener {
    /// Binds `host:port`: a name, an IPv4 address, an IPv6 address in brackets, or no host for all
    /// addresses. Of a name's addresses the first that can be bound is taken, IPv4 before IPv6.
    ///
    /// # Errors
    /// The system's, with the address: not found, in use, not allowed.
    pub fn bind(address: &str, limits: Limits) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for candidate in resolve(address).map_err(|error| at(address, &error))? {
            match bind(candidate) {
                Ok(socket) => {
                    let address = socket.local_addr()?;
                    return Ok(Self { socket, address, limits, tally: Arc::default() });
                }
                Err(error) => last = error,
            }
        }
        Err(at(address, &last))
    }

    /// Where it listens; the port is a real one, also if 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What will be counted, for whoever shows it.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Serves requests until the server is shut down or dropped. `name` begins the threads' names.
    ///
    /// # Errors
    /// The system's, when there is no thread or descriptor to begin with.
    pub fn start(self, name: &str, handler: Arc<dyn Handler>) -> io::Result<Server> {
        let tally = self.tally;
        let shared = Arc::new(Shared {
            handler,
            registry: Registry::new(Arc::clone(&tally)),
            tally: Arc::clone(&tally),
            limits: self.limits,
        });
        let worker = Arc::clone(&shared);
        let threads_max = shared.limits.connections_max + THREADS_SPARE;
        let work = Box::new(move |link| connection::serve(&worker, &link));
        let pool = Pool::new(name, threads_max, tally, work);
        let (waker, woken) = UnixStream::pair()?;
        let acceptor = Acceptor {
            listener: self.socket,
            woken,
            shared: Arc::clone(&shared),
            pool: Arc::clone(&pool),
            spare: File::open("/dev/null").ok(),
        };
        let thread = os::spawn(&format!("{name}-accept"), move || acceptor.run())?;
        Ok(Server { shared, pool, running: Some((thread, waker)) })
    }
}

/// A listener at work. Dropping it shuts it down without grace.
pub struct Server {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// The accept thread, and what ends it when dropped.
    running: Option<(JoinHandle<()>, UnixStream)>,
}

impl Server {
    /// What was counted up to now.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Stops accepting, closes idle connections, and lets requests in flight be answered, with
    /// `Connection: close`. Returns when all are, or when `grace` is over; then it cuts the rest.
    pub fn shutdown(mut self, grace: Duration) {
        self.stop(grace);
    }

    fn stop(&mut self, grace: Duration) {
        let Some((acceptor, waker)) = self.running.take() else { return };
        drop(waker);
        if acceptor.join().is_err() {
            log::error!("the accept thread panicked");
        }
        self.shared.registry.close(grace);
        self.pool.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// What the accept thread owns.
struct Acceptor {
    listener: TcpListener,
    /// Readable (ended) when it is time to stop.
    woken: UnixStream,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// A descriptor to give up when none is left, so that a client can be told.
    spare: Option<File>,
}

impl Acceptor {
    fn run(mut self) {
        let mut pause = ACCEPT_PAUSE;
        while self.wait_for_client() {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    pause = ACCEPT_PAUSE;
                    self.shared.tally.one(Count::Accepted);
                    self.welcome(socket, peer);
                }
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => {
                    self.shared.tally.one(Count::AcceptErrors);
                    if pause == ACCEPT_PAUSE {
                        log::warn!("cannot accept connections: {error}");
                    }
                    if !self.shared.registry.make_room() {
                        self.refuse_with_spare();
                    }
                    if self.is_stopped_within(pause) {
                        return;
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    /// Finds a connection its place and its thread.
    fn welcome(&self, socket: TcpStream, peer: SocketAddr) {
        let Shared { registry, limits, .. } = &*self.shared;
        match registry.admit(socket, peer, limits) {
            Ok(link) => {
                if let Err(link) = self.pool.serve(link) {
                    self.refuse(&link.socket);
                    registry.remove(&link);
                }
            }
            Err(socket) => self.refuse(&socket),
        }
    }

    /// Says 503, as far as that can be done without waiting.
    fn refuse(&self, mut socket: &TcpStream) {
        self.shared.tally.one(Count::Refused);
        let told = socket.set_nonblocking(true).and_then(|()| socket.write_all(TOO_MANY));
        if told.is_ok() {
            // What has come is read, for closing with unread bytes is a reset, which may overtake
            // the reply. Whatever that gives, and though the client may be gone: the end is next.
            match socket.read(&mut [0; 4096]) {
                Ok(_) | Err(_) => socket.shutdown(Shutdown::Write).ok(),
            };
        }
    }

    /// With no descriptor left and no idle connection: uses the spare one to refuse, one after the
    /// other, the clients that wait and would otherwise hang.
    fn refuse_with_spare(&mut self) {
        self.spare = None;
        for _ in 0..BACKLOG {
            let Ok((socket, _)) = self.listener.accept() else { break };
            self.refuse(&socket);
        }
        self.spare = File::open("/dev/null").ok();
    }

    /// Waits until a client is there; false when it is time to stop.
    fn wait_for_client(&self) -> bool {
        let mut polled =
            [PollFd::new(&self.woken, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) => polled[0].revents().is_empty(),
            // Interrupted or out of memory: accept will say what is the matter.
            Err(_) => true,
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        let mut polled = [PollFd::new(&self.woken, PollFlags::IN)];
        let pause = Timespec::try_from(pause).expect("a pause is under a second");
        rustix::event::poll(&mut polled, Some(&pause)).is_ok_and(|ready| ready > 0)
    }
}

/// Failures of accept that concern one client only, or none.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
    )
}

/// The addresses that `host:port` may mean, in the order in which to try them.
fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().map_err(|_| ErrorKind::InvalidInput)?;
        let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        return Ok(all.map(|host| SocketAddr::new(host, port)).to_vec());
    }
    let mut found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

/// A listening socket. What is set here holds for accepted sockets too, on Linux and the BSDs.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn at(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_means_all_of_them() {
        let found = resolve(":4001").unwrap();
        assert_eq!(found[0].to_string(), "[::]:4001");
        assert_eq!(found[1].to_string(), "0.0.0.0:4001");
        assert_eq!(resolve("[::1]:4001").unwrap()[0].to_string(), "[::1]:4001");
        assert!(resolve("4001").is_err());
        assert!(resolve(":x").is_err());
    }

    #[test]
    fn the_refusal_announces_its_own_length() {
        let text = str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
