//! Every limit of the listener, each with its reason.
//!
//! What an operator or a test may want to change is in `Limits`; what nobody should is a constant.
//! Nothing here is read from a request.

use std::time::Duration;

/// Headers of one request. Browsers send 20; twice as many would only feed a flood.
pub(super) const HEADERS_MAX: usize = 100;

/// Bytes of a chunk-size line with its line end. 16 hex digits fit and a short extension; longer
/// ones are a known way to make parsers disagree.
pub(super) const CHUNK_LINE_BYTES_MAX: usize = 32;

/// Bytes of all trailer lines after a chunked body. They are dropped, so few are tolerated. Must
/// fit the input buffer.
pub(super) const TRAILER_BYTES_MAX: usize = 4096;

/// Bytes of the input buffer of a connection at rest: a head with a small body arrives in one read.
/// It exists for each open connection, so doubling costs 8 MiB at 1,024 of them.
pub(super) const INPUT_BYTES: usize = 8 * 1024;

/// Bytes of a streamed reply sent in one write, and of a chunk. More does not get faster; it is held
/// while a reply is streamed.
pub(super) const STREAM_BYTES: usize = 64 * 1024;

/// Stack of a connection's thread. Deep JSON and SQL are bounded by their parsers.
pub(super) const STACK_BYTES: usize = 1024 * 1024;

/// Threads beyond the maximum of connections, for those that are still saying goodbye.
pub(super) const THREADS_SPARE: usize = 32;

/// Bytes a refused client may still send while the connection lingers: what may have been on its
/// way when the reply left, and not a body without end.
pub(super) const LINGER_BYTES_MAX: usize = 16 << 20;

/// How long a thread without a connection stays. Longer keeps memory, shorter makes threads for each
/// burst.
pub(super) const THREAD_IDLE: Duration = Duration::from_secs(10);

/// First pause after a failed accept; it doubles up to `ACCEPT_PAUSE_MAX`.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause after a failed accept, so that service is back within this time.
pub(super) const ACCEPT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Connections that may wait in the kernel to be accepted (it cuts this to `somaxconn`).
pub(super) const BACKLOG: i32 = 1024;

/// Silence after which the kernel asks whether the peer is still there. Finds clients that lost
/// power while their query runs; the asking costs one packet.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(30);

/// How much clients may cost, and how long they may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. Above it the longest idle one is closed, else the new one gets a 503. Each
    /// costs a thread and a buffer.
    pub connections_max: usize,
    /// Open connections of one address (of one /64 network for IPv6), so that nobody has them all.
    pub connections_per_address_max: usize,
    /// From a head's first byte to its last; also how long a new connection may stay silent.
    pub head_timeout: Duration,
    /// Silence between two requests of a connection.
    pub idle_timeout: Duration,
    /// How long a body may stand still; also what a slow sender has before its speed is looked at.
    pub body_timeout: Duration,
    /// Bytes per second a body must bring on average, counted while we wait for it.
    pub body_rate_min: u64,
    /// How long a client may accept nothing of a reply.
    pub write_timeout: Duration,
    /// Bytes of the request line; longer is a 414.
    pub request_line_bytes_max: usize,
    /// Bytes of all header lines; more is a 431.
    pub headers_bytes_max: usize,
    /// Bytes of an unread body that are read and dropped to keep the connection; above it a new
    /// connection is cheaper.
    pub drain_bytes_max: u64,
    /// How long a refused client may go on sending before the connection is cut. Without it, the
    /// kernel would answer what is still on its way with a reset and the reply could be lost.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_address_max: 768,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(10),
            body_rate_min: 1024,
            write_timeout: Duration::from_secs(30),
            request_line_bytes_max: 8 * 1024,
            headers_bytes_max: 64 * 1024,
            drain_bytes_max: 64 * 1024,
            linger: Duration::from_secs(2),
        }
    }
}
