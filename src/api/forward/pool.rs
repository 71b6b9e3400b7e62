//! Connections to the leader that wait for their next request.
//!
//! A connection is one ureq agent with its signals, so that what is known of one never touches
//! another. Only a connection whose last answer was read to its end is kept: one that failed is
//! dropped with its agent. There is one leader at a time, so only its connections are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::{AutoHeaderValue, Config};

use super::wire::{Dial, NoResolver, Signals};
use crate::os;

/// Connections kept; each costs its buffers here and a thread at the leader.
const KEPT_MAX: usize = 128;
/// How long one is kept; less than our listener lets a connection rest.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// Buffer of a connection for requests and answers that are small, each way.
const SMALL_BYTES: usize = 16 * 1024;
/// Buffer of a connection that moves a database, each way.
const LARGE_BYTES: usize = 128 * 1024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One connection, open or not.
pub(super) struct Link {
    pub(super) agent: Agent,
    pub(super) signals: Arc<Signals>,
    /// Made for one transfer, and not kept.
    pub(super) is_large: bool,
}

impl Link {
    /// For one large transfer.
    pub(super) fn large() -> Self {
        Self { is_large: true, ..Self::with_buffers(LARGE_BYTES) }
    }

    /// For requests and answers that are small.
    pub(super) fn new() -> Self {
        Self::with_buffers(SMALL_BYTES)
    }

    fn with_buffers(buffer_bytes: usize) -> Self {
        let signals = Arc::new(Signals::default());
        let config = Config::builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(HEAD_BYTES_MAX)
            .input_buffer_size(buffer_bytes)
            .output_buffer_size(buffer_bytes)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(KEPT_FOR)
            .build();
        let dial = Dial { signals: Arc::clone(&signals) };
        Self { agent: Agent::with_parts(config, dial, NoResolver), signals, is_large: false }
    }
}

/// The connections at rest.
#[derive(Default)]
pub(super) struct Pool {
    resting: Mutex<Resting>,
}

#[derive(Default)]
struct Resting {
    /// Where they lead.
    address: String,
    /// The one used last is at the end, and used next.
    links: VecDeque<(Link, Instant)>,
}

impl Pool {
    /// A connection to `address`, perhaps a new one.
    pub(super) fn take(&self, address: &str) -> Link {
        let mut resting = os::lock(&self.resting);
        if resting.address == address
            && let Some((link, since)) = resting.links.pop_back()
            && since.elapsed() < KEPT_FOR
        {
            return link;
        }
        resting.links.clear();
        drop(resting);
        Link::new()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn keep(&self, address: &str, link: Link) {
        link.signals.rest();
        let mut resting = os::lock(&self.resting);
        if resting.address != address {
            resting.links.clear();
            address.clone_into(&mut resting.address);
        }
        if resting.links.front().is_some_and(|(_, since)| since.elapsed() >= KEPT_FOR)
            || resting.links.len() == KEPT_MAX
        {
            resting.links.pop_front();
        }
        resting.links.push_back((link, Instant::now()));
    }
}
