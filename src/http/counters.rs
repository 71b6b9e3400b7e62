//! What the listener counts, for metrics and tests.
//!
//! Plain atomics without order between them: a snapshot may be a moment old in any of its numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
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

impl Count {
    /// Whether it also shrinks: it says how many there are, not how many there were.
    pub fn is_gauge(self) -> bool {
        matches!(self, Self::Open | Self::Threads)
    }
}

/// How a count is shown.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub count: Count,
    /// Its name, which suits a metric or a JSON key.
    pub name: &'static str,
    /// What it counts, as a sentence.
    pub help: &'static str,
}

const fn row(count: Count, name: &'static str, help: &'static str) -> Row {
    Row { count, name, help }
}

/// All counts, in the order of [`Count`].
const TABLE: [Row; 16] = [
    row(Count::Accepted, "connections_accepted", "Connections taken from the kernel."),
    row(
        Count::Refused,
        "connections_refused",
        "Connections refused with a 503: too many of them, or no thread.",
    ),
    row(
        Count::Evicted,
        "connections_evicted",
        "Idle connections closed to make room for new ones.",
    ),
    row(Count::Open, "connections_open", "Connections open now."),
    row(Count::Threads, "threads", "Threads alive now, with and without a connection."),
    row(
        Count::AcceptErrors,
        "accept_errors",
        "Failures of accept, descriptors running out among them.",
    ),
    row(Count::Requests, "requests", "Requests given to the handler."),
    row(Count::BadRequests, "bad_requests", "Heads refused by the listener."),
    row(Count::Panics, "panics", "Handlers that panicked."),
    row(Count::HeadTimeouts, "head_timeouts", "Heads that took too long."),
    row(
        Count::IdleTimeouts,
        "idle_timeouts",
        "Connections closed because nothing was asked for too long.",
    ),
    row(Count::BadBodies, "bad_bodies", "Bodies that were cut short, broken or too slow."),
    row(Count::WriteTimeouts, "write_timeouts", "Replies that the client did not accept in time."),
    row(
        Count::BrokenReplies,
        "broken_replies",
        "Replies cut because their source failed or ended short.",
    ),
    row(Count::BytesIn, "bytes_in", "Bytes read from clients."),
    row(Count::BytesOut, "bytes_out", "Bytes written to clients."),
];

/// What a server had counted at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counters([u64; TABLE.len()]);

impl Counters {
    /// One number.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// All numbers, with how they are shown.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Row, u64)> + '_ {
        TABLE.iter().map(|row| (row, self.get(row.count)))
    }
}

/// The numbers as they grow, shared by the listener and whoever shows them.
#[derive(Default)]
pub struct Tally([AtomicU64; TABLE.len()]);

impl Tally {
    pub(super) fn add(&self, count: Count, amount: u64) {
        self.0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    /// For gauges.
    pub(super) fn one_less(&self, count: Count) {
        self.0[count as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// All numbers now.
    pub fn snapshot(&self) -> Counters {
        Counters(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_their_counts() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.count as usize, at, "{}", row.name);
        }
        let tally = Tally::default();
        tally.add(Count::BytesOut, 7);
        let last = tally.snapshot().iter().last().map(|(row, value)| (row.name, value));
        assert_eq!(last, Some(("bytes_out", 7)));
    }
}
