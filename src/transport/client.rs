//! One connection to one address, over which requests go one at a time.
//!
//! ureq frames the requests; what it must not do is switched off: proxies of the environment,
//! redirects, looking up a name for each request. A connection on which anything has failed is
//! never used again, and nothing is ever sent twice.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use ureq::config::{AutoHeaderValue, RedirectAuthHeaders};
use ureq::{Agent, Error, Timeout};

use super::call::MARK;
use super::limits::{CONNECT_MAX, PROBE_MAX, STACK_BYTES};
use super::own::SECRET_HEADER;
use crate::os;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether it comes from the node-to-node side of a node.
    pub(super) is_marked: bool,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The machine says that nobody listens there.
    Refused,
    /// There was no connection: nothing was sent.
    Unreachable(String),
    /// What answered does not speak HTTP.
    Foreign,
    /// It broke off, or took too long: perhaps it was received, and perhaps it was not.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(why) => write!(f, "cannot connect: {why}"),
            Self::Foreign => f.write_str("what answers there is no node"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Ends what a client has on its way, from another thread.
#[derive(Clone, Debug)]
pub(super) struct Cutter(Agent);

impl Cutter {
    pub(super) fn cut(self) {
        self.0.shutdown();
    }
}

/// A client of one address.
#[derive(Debug)]
pub(super) struct Client {
    address: Arc<str>,
    secret: Option<String>,
    agent: Agent,
    /// The address as numbers, while it is known to be right.
    base: Option<String>,
    /// Which of the addresses of a name is tried next.
    turn: usize,
}

impl Client {
    /// Without a connection yet. Its silence, in sending or receiving, lasts `silence_max`.
    pub(super) fn new(address: Arc<str>, secret: Option<&str>, silence_max: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(Duration::from_secs(50))
            .max_response_header_size(16 << 10)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_per_read(Some(silence_max))
            .timeout_per_write(Some(silence_max))
            .build();
        let secret = secret.map(str::to_owned);
        Self { address, secret, agent: config.new_agent(), base: None, turn: 0 }
    }

    pub(super) fn cutter(&self) -> Cutter {
        Cutter(self.agent.clone())
    }

    /// Sends `body` and waits for an answer of `answer_max` bytes at most.
    pub(super) fn post(
        &mut self,
        path: &str,
        body: &[u8],
        answer_max: u64,
    ) -> Result<Answer, Failure> {
        let answered = self.try_post(path, body, answer_max);
        if answered.is_err() {
            // The name may mean another address by now.
            self.base = None;
        }
        answered
    }

    fn try_post(&mut self, path: &str, body: &[u8], answer_max: u64) -> Result<Answer, Failure> {
        if self.base.is_none() {
            self.base = Some(format!("http://{}", self.resolve()?));
        }
        let base = self.base.as_deref().unwrap_or_default();
        let mut request = self
            .agent
            .post([base, path].concat())
            .header("content-type", "application/octet-stream");
        if let Some(secret) = &self.secret {
            request = request.header(SECRET_HEADER, secret);
        }
        let mut response = request.send(body).map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let is_marked = response.headers().contains_key(MARK);
        let body = response.body_mut().with_config().limit(answer_max).read_to_vec();
        let body = body.map_err(|error| failure(&error))?;
        Ok(Answer { status, body, is_marked })
    }

    /// Asks whether somebody listens there, without saying anything.
    pub(super) fn probe(&mut self) -> Result<(), Failure> {
        let address = self.resolve()?;
        match TcpStream::connect_timeout(&address, PROBE_MAX) {
            Ok(_) => Ok(()),
            Err(error) => Err(of_io(&error)),
        }
    }

    /// One of the addresses, in turn.
    fn resolve(&mut self) -> Result<SocketAddr, Failure> {
        if let Ok(address) = self.address.parse() {
            return Ok(address);
        }
        let found = look_up(&self.address).map_err(|error| {
            Failure::Unreachable(format!("the name {} has no address: {error}", self.address))
        })?;
        self.turn = self.turn.wrapping_add(1);
        Ok(found[self.turn % found.len()])
    }
}

/// Looks a name up in a thread of its own: the system's way to do it has no time limit.
fn look_up(address: &Arc<str>) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = bounded(1);
    let name = Arc::clone(address);
    os::spawn_with_stack("look-up", STACK_BYTES, move || {
        let found = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits any more when it took too long.
        drop(sender.send(found));
    })?;
    let found = receiver.recv_timeout(CONNECT_MAX).unwrap_or(Err(ErrorKind::TimedOut.into()))?;
    if found.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(found) }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Io(error) => of_io(error),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Failure::Unreachable("no answer".to_owned())
        }
        Error::Timeout(_) => Failure::Broken("no answer in time".to_owned()),
        Error::HostNotFound | Error::ConnectionFailed | Error::BadUri(_) | Error::Http(_) => {
            Failure::Unreachable(error.to_string())
        }
        Error::Protocol(_) => Failure::Foreign,
        error => Failure::Broken(error.to_string()),
    }
}

fn of_io(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Failure::Unreachable(error.to_string()),
        _ => Failure::Broken(error.to_string()),
    }
}
