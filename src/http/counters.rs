//! What the listener counts, for metrics and tests.
//!
//! Plain atomics without order between them: a snapshot may be a moment old in any of its numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. Everything only grows, but `Open` and `Threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Connections taken from the kernel.
    Accepted,
    /// Connections refused with a 503: too many of them, or no thread.
    Refused,
    /// Idle connections closed to make room for new ones.
    Evicted,
    /// Connections open now.
    Open,
    /// Threads alive now, with and without a connection.
    Threads,
    /// Failures of accept, descriptors running out among them.
    AcceptErrors,
    /// Requests given to the handler.
    Requests,
    /// Heads refused by the listener.
    BadRequests,
    /// Handlers that panicked.
    Panics,
    /// Heads that took too long.
    HeadTimeouts,
    /// Connections closed because nothing was asked for too long.
    IdleTimeouts,
    /// Bodies that were cut short, broken or too slow.
    BadBodies,
    /// Replies that the client did not accept in time.
    WriteTimeouts,
    /// Replies cut because their source failed or ended short.
    BrokenReplies,
    /// Bytes read from clients.
    BytesIn,
    /// Bytes written to clients.
    BytesOut,
}

/// Every count with its name, in the order of `Count`.
const NAMES: [(Count, &str); 16] = [
    (Count::Accepted, "connections_accepted"),
    (Count::Refused, "connections_refused"),
    (Count::Evicted, "connections_evicted"),
    (Count::Open, "connections_open"),
    (Count::Threads, "threads"),
    (Count::AcceptErrors, "accept_errors"),
    (Count::Requests, "requests"),
    (Count::BadRequests, "bad_requests"),
    (Count::Panics, "panics"),
    (Count::HeadTimeouts, "head_timeouts"),
    (Count::IdleTimeouts, "idle_timeouts"),
    (Count::BadBodies, "bad_bodies"),
    (Count::WriteTimeouts, "write_timeouts"),
    (Count::BrokenReplies, "broken_replies"),
    (Count::BytesIn, "bytes_in"),
    (Count::BytesOut, "bytes_out"),
];

/// What a server had counted at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counters([u64; NAMES.len()]);

impl Counters {
    /// One number.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// All numbers with their names, which suit a metric or a JSON key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().map(|&(count, name)| (name, self.get(count)))
    }
}

/// The numbers as they grow.
#[derive(Default)]
pub(super) struct Tally([AtomicU64; NAMES.len()]);

impl Tally {
    pub(super) fn add(&self, count: Count, amount: u64) {
        self.0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    /// For the two that also shrink.
    pub(super) fn one_less(&self, count: Count) {
        self.0[count as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Counters {
        Counters(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_their_counts() {
        for (at, (count, name)) in NAMES.iter().enumerate() {
            assert_eq!(*count as usize, at, "{name}");
        }
        let tally = Tally::default();
        tally.add(Count::BytesOut, 7);
        assert_eq!(tally.snapshot().iter().last(), Some(("bytes_out", 7)));
    }
}
