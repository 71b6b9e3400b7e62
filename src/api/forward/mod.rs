//! Requests that the leader must answer, sent there and answered with what it says.
//!
//! A request goes to the leader's Raft address under [`PREFIX`] with its own path, query, headers
//! and body, and the answer comes back as it is, with the leader's Raft address in
//! `X-RQLITE-SERVED-BY`. One hop only: a node that gets such a request and does not lead says so
//! and does nothing.
//!
//! **Invariant:** a request whose last byte may have left is never sent again. What became of it
//! is not known then, and the answer says so.
//! **Invariant:** memory does not grow with a body that is streamed, in either direction.
//!
//! | file | is for |
//! |---|---|
//! | `attempt` | one request to one node, once |
//! | `verdict` | what is certain after a failure, and whether to try again |
//! | `wire`, `pool` | connections, in use and at rest |
//! | `headers` | what passes, and where a request goes |
//! | `gate` | the other end: forwarded requests on the Raft listener |

mod attempt;
mod gate;
mod headers;
mod pool;
mod verdict;
mod wire;

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use gate::{Admits, Gate};
pub use verdict::Fate;
pub use wire::Watch;

use crate::http::{Method, Reply};
use attempt::{Attempt, Failed};
use pool::Pool;
use verdict::Patience;

pub(super) use headers::{NOT_LEADER, NOT_LEADER_STATUS};

/// What forwarded paths begin with on the Raft listener.
pub const PREFIX: &str = "/forward";

/// How long another leader is looked for after one could not be reached, before the same is tried
/// again; about what an election takes.
const LOOK_FOR: Duration = Duration::from_secs(1);
/// Time between two such looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where the leader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Where nodes call it, host:port.
    pub raft_address: String,
    /// Where clients call it, host:port.
    pub http_address: String,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This node.
    Here,
    /// Another one.
    There(Leader),
    /// Nobody, as far as is known.
    Nobody,
}

/// A request as it goes on, but for its body.
#[derive(Clone, Copy)]
pub struct Outgoing<'r> {
    /// The client's.
    pub method: &'r Method,
    /// The client's, not decoded.
    pub path: &'r str,
    /// The client's, not decoded.
    pub query: &'r str,
    /// The client's; those about its connection stay here.
    pub headers: &'r [(String, String)],
}

/// Where the body of a request is.
pub enum Upload<'u> {
    /// Here, and of this type if it is no longer what the client sent.
    Bytes(&'u [u8], Option<&'static str>),
    /// Still with the client, to be streamed once the leader asks for it.
    Stream(&'u mut dyn Read),
}

/// How long and how often.
#[derive(Clone)]
pub struct Terms {
    /// Time for an answer to begin. A transfer has it only until it begins itself.
    pub timeout: Duration,
    /// Attempts on top of two; see [`Fate`] for when there is another at all.
    pub retries: u32,
    /// Takes as long as it makes progress.
    pub is_transfer: bool,
    /// Asked while waiting.
    pub watch: Option<Watch>,
}

/// What came of it.
pub enum Passed {
    /// This node leads by now; the body is as it was.
    Here,
    /// The leader's answer.
    Answer(Reply),
    /// There is no leader; nothing was done.
    NoLeader,
    /// There is no answer.
    Failed {
        /// What is certain.
        fate: Fate,
        /// A sentence without its end: which node, and what was the matter.
        why: String,
    },
}

/// The header by which nodes of a cluster know each other.
#[derive(Clone)]
pub struct SecretHeader {
    /// Its name.
    pub name: &'static str,
    /// The secret, as it is sent.
    pub value: String,
}

impl fmt::Debug for SecretHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What sends requests to the leader.
#[derive(Default)]
pub struct Forwarder {
    pool: Arc<Pool>,
    secret: Option<SecretHeader>,
}

impl Forwarder {
    /// With the header, if any, that other nodes want to see.
    pub fn new(secret: Option<SecretHeader>) -> Self {
        Self { pool: Arc::default(), secret }
    }

    /// Has a request answered by whom `find` names.
    pub fn pass_on(
        &self,
        outgoing: Outgoing<'_>,
        mut upload: Upload<'_>,
        terms: &Terms,
        find: &dyn Fn() -> Lookup,
    ) -> Passed {
        let deadline = Instant::now() + terms.timeout;
        let mut patience = Patience::new(terms.retries);
        let mut found = find();
        loop {
            let leader = match found {
                Lookup::Here => return Passed::Here,
                Lookup::Nobody => return Passed::NoLeader,
                Lookup::There(leader) => leader,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = Attempt {
                pool: &self.pool,
                address: &leader.raft_address,
                secret: self.secret.as_ref(),
                outgoing,
                terms: &Terms { timeout: left, ..terms.clone() },
            };
            let Failed { fate, why } = match attempt.run(&mut upload) {
                Ok(reply) => return Passed::Answer(reply),
                Err(failed) => failed,
            };
            let why = format!("the leader at {}: {why}", leader.raft_address);
            log::debug!("{} was not answered by {why} ({fate:?})", outgoing.path);
            if !patience.allows_another(fate) || Instant::now() >= deadline {
                return Passed::Failed { fate, why };
            }
            found = look_for_another(&leader, deadline.min(Instant::now() + LOOK_FOR), find);
        }
    }

    /// Asks a node by `POST /node/<name>`, within `timeout` in all.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) fn ask(
        &self,
        raft_address: &str,
        name: &str,
        question: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        attempt::ask(raft_address, name, question, self.secret.as_ref(), timeout)
    }
}

/// Waits until somebody else leads; the same one after all when time is up.
fn look_for_another(failed: &Leader, until: Instant, find: &dyn Fn() -> Lookup) -> Lookup {
    loop {
        let found = find();
        let is_other = match &found {
            Lookup::Here => true,
            Lookup::There(leader) => leader.raft_address != failed.raft_address,
            Lookup::Nobody => false,
        };
        if is_other || Instant::now() >= until {
            return found;
        }
        sleep(LOOK_EVERY);
    }
}
