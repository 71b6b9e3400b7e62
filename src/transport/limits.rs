//! Every number of the transport, each with its reason. Nothing here is read from a message.

use std::time::Duration;

use crate::storage::BODY_BYTES_MAX;

/// Bytes of entries in one append, unless a single one is longer. Fewer cost throughput on links
/// with a long way; more hold up what waits behind them, and are in memory on both sides.
pub const APPEND_BYTES_MAX: usize = 2 << 20;

/// Bytes of a message: the longest entry that the log takes fits, with what is around it.
pub(super) const MESSAGE_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + (1 << 20);

/// A message above this takes the one place there is for large ones, so that many at a time
/// cannot fill the memory. Above `APPEND_BYTES_MAX` with its heads, so that most need it not.
pub(super) const LARGE_BYTES: u64 = 4 << 20;

/// Bytes of an answer; all that are expected are far shorter.
pub(super) const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Bytes of an answer to a [`super::call()`]: the members of a large cluster fit.
pub(super) const CALL_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a name: node ids with their incarnation, cluster ids. One byte says how many.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a snapshot's membership or settings. A thousand members fit into it.
pub(super) const SETTINGS_BYTES_MAX: usize = 1 << 20;

/// Bytes of a piece of a body or of a snapshot: some milliseconds of a fast disk or network, so
/// that an append waits no longer than that for its turn.
pub const PIECE_BYTES: usize = 1 << 20;

/// Received bytes after which a file is synced, behind what comes next: the last answer, which
/// waits for all to be synced, does not wait for much more than this.
pub(super) const SYNC_BYTES: u64 = 32 << 20;

/// Bytes that a transfer leaves free on the disk: the log must be able to go on.
pub(super) const SPACE_RESERVE: u64 = 64 << 20;

/// Messages waiting for one peer's now connection. They are of use for a tick or two; the oldest
/// goes when there are more.
pub(super) const NOW_WAITING_MAX: usize = 64;

/// Bodies waiting to be handed to one peer. Loads are checked one after the other, so more than a
/// few are a mistake; what is too much is refused.
pub(super) const BODIES_WAITING_MAX: usize = 16;

/// Bodies that come in at a time. Each costs an open file.
pub(super) const BODIES_INCOMING_MAX: usize = 4;

/// Silence after which what has come in of a body or snapshot is given up and its file freed.
pub(super) const INCOMING_IDLE_MAX: Duration = Duration::from_secs(120);

/// Silence after which what comes in gives way to another transfer that wants its place.
pub(super) const INCOMING_IDLE_MIN: Duration = Duration::from_secs(10);

/// Time to connect. A packet lost on the way is sent again after a second.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Time of a probe. It asks whether a process is there: an answer takes one way there and back.
pub(super) const PROBE_MAX: Duration = Duration::from_millis(300);

/// Time for a message on the now connection and its answer. Later it would be of no use.
pub(super) const NOW_MAX: Duration = Duration::from_secs(1);

/// Time for an exchange on the bulk connection: it is answered once it is on the other's disk.
pub(super) const BULK_MAX: Duration = Duration::from_secs(10);

/// How long a now message's answer is waited for at the receiver: a vote's sync fits. Longer would
/// hold up the messages behind it; the answer then comes as a message of its own.
pub(super) const NOW_REPLY_MAX: Duration = Duration::from_millis(100);

/// How long an append's answer is waited for at the receiver: a bit less than `BULK_MAX`.
pub(super) const BULK_REPLY_MAX: Duration = Duration::from_secs(8);

/// Pause of a now connection after a failure: messages are made faster than a dead peer needs.
pub(super) const NOW_PAUSE: Duration = Duration::from_millis(20);

/// First pause of a bulk connection after a failure; doubles up to `BULK_PAUSE_MAX`.
pub(super) const BULK_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause of a bulk connection. It ends early when the now connection gets through.
pub(super) const BULK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long the log is looked at again when an append's entries are not in it yet.
pub(super) const LOG_WAIT_MAX: Duration = Duration::from_millis(100);

/// Between two of these looks.
pub(super) const LOG_WAIT_STEP: Duration = Duration::from_millis(2);

/// Times a body is sent from its beginning again because it arrived altered.
pub(super) const ALTERED_MAX: u32 = 3;

/// Stack of a peer's thread.
pub(super) const STACK_BYTES: usize = 512 << 10;

/// How long a snapshot that does not get on is kept open: it holds back checkpoints.
pub(super) const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);
