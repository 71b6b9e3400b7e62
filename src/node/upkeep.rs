//! The writer's fourth step: what must not run while a batch does.
//!
//! Checkpoints when the log or the WAL has grown, snapshots pinned between two batches, and the
//! limits that keep a slow reader from growing the WAL without end. When a limit is reached the
//! oldest backup or read ends, never a write.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claims::Claims;
use super::consensus::Event;
use super::writer::{Order, Pinned, Writer};
use crate::command::{BLOCK_BYTES, BLOCKS_MAX};
use crate::db::fault::Fault;
use crate::os;
use crate::raft::{EntryId, Index};
use crate::stats::{self, Stat};
use crate::storage::durable;

/// Time between two looks at the size of WAL and log: short enough that a fast writer does not
/// outrun the limits by much, long enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Longest sleep of an idle writer.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// WAL bytes that make a checkpoint due at once. Twice this and a checkpoint takes noticeably
/// long; half of it and a busy writer makes them all the time.
const WAL_BYTES_AT_ONCE: u64 = 64 << 20;

/// Bytes of log written since the last checkpoint that make one due at once: they are what a
/// restart has to apply again.
const LOG_BYTES_AT_ONCE: u64 = 128 << 20;

/// WAL bytes at which reads that stand in the way of a checkpoint are ended.
const WAL_BYTES_BEFORE_READS_END: u64 = 512 << 20;

/// WAL bytes at which a checkpoint waits a little for readers that overlap, each of which alone
/// would let the WAL start over.
const WAL_BYTES_BEFORE_PATIENCE: u64 = 4 * WAL_BYTES_AT_ONCE;

/// How long it waits: writes stand still meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// Time without an entry after which memory is given back: past the pauses of a busy client.
const QUIET: Duration = Duration::from_secs(2);

/// Age a read must have to be ended for the WAL's sake.
const READ_AGE_MIN: Duration = Duration::from_secs(1);

/// Entries kept behind a checkpoint in a cluster: a member that was away for a moment, or a new
/// leader's followers, get them instead of the whole database.
const TAIL_ENTRIES: u64 = 10_000;

/// Bytes of log up to which members that do not answer are waited for; beyond, they will be sent
/// the database.
const TAIL_BYTES: u64 = 64 << 20;

/// Bytes of log up to which members that answer, but are behind, are waited for.
const TAIL_BYTES_FOR_LIVE: u64 = 512 << 20;

/// Time between two attempts at a checkpoint that a reader made partial.
const PARTIAL_RETRY: Duration = Duration::from_secs(1);

/// When a checkpoint is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Entries since the last one.
    pub(super) entries_max: u64,
    /// WAL bytes; 0 means that they do not count.
    pub(super) wal_bytes_max: u64,
    /// Time between looking at these two.
    pub(super) interval: Duration,
}

/// What upkeep remembers.
pub(super) struct Upkeep {
    policy: Policy,
    checkpoint: EntryId,
    /// Log bytes when the last checkpoint was made.
    log_bytes: u64,
    looked_at: Instant,
    policy_looked_at: Instant,
    tried_at: Option<Instant>,
    /// The entry applied last when this was looked at, and since when it has been.
    seen_index: Index,
    quiet_since: Option<Instant>,
    claims: Arc<Claims>,
    /// Bodies that entries still in the log name: a restart may need them again.
    named_bodies: VecDeque<(Index, String)>,
}

impl Upkeep {
    pub(super) fn new(
        policy: Policy,
        checkpoint: EntryId,
        claims: Arc<Claims>,
        named_bodies: Vec<(Index, String)>,
    ) -> Self {
        let now = Instant::now();
        Self {
            policy,
            checkpoint,
            log_bytes: 0,
            looked_at: now,
            policy_looked_at: now,
            tried_at: None,
            seen_index: checkpoint.index,
            quiet_since: None,
            claims,
            named_bodies: named_bodies.into(),
        }
    }

    pub(super) fn idle_max(&self) -> Duration {
        IDLE_MAX.min(self.policy.interval.max(LOOK_EVERY))
    }

    /// Remembers that an entry that is now in the log names a body.
    pub(super) fn names_body(&mut self, index: Index, sha256: String) {
        self.claims.claim(&sha256);
        self.named_bodies.push_back((index, sha256));
    }

    /// Where a body is; every node that holds an entry holds its body.
    pub(super) fn body(&self, sha256: &str) -> Result<PathBuf, Fault> {
        self.claims.path_of(sha256).ok_or_else(|| Fault::missing_file(sha256))
    }
}

impl Writer {
    /// Does what somebody waits for; false: stop.
    pub(super) fn attend(&mut self, order: Order) -> bool {
        match order {
            // What is committed stands for no entry: whoever waits sees the channel close.
            Order::Pin { .. } if self.is_amid_entry => {}
            Order::Pin { connection, reply } => {
                let standing = self.machine.standing().clone();
                let pinned = self.machine.pin(connection);
                let pinned = pinned.map(|snapshot| Pinned { snapshot, standing });
                drop(reply.try_send(pinned.map_err(|error| error.to_string())));
            }
            Order::Checkpoint { trailing, reply } => {
                let is_due = self.machine.applied() > self.upkeep.checkpoint;
                let result = if is_due {
                    self.checkpoint(trailing, Duration::ZERO).map(|()| true)
                } else {
                    Ok(false)
                };
                drop(reply.try_send(result.map_err(|fault| fault.to_string())));
            }
            Order::Append(append) => {
                self.save(vec![append]);
                self.apply_committed();
            }
            Order::GiveUp => self.give_up_waiting(),
            Order::Discard(file) => {
                if let Err(error) = durable::remove(&file) {
                    log::warn!("a file that nobody needs stays until the next start: {error}");
                }
            }
            Order::Stop => return false,
        }
        true
    }

    /// Looks at sizes now and then, and does what they call for.
    pub(super) fn keep_up(&mut self) {
        if self.upkeep.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.upkeep.looked_at = Instant::now();
        self.return_memory_when_quiet();
        self.upkeep.claims.end_visits();
        self.post_room();
        let wal = self.machine.wal().unwrap_or_default();
        self.machine.end_costly_backups(wal.bytes);
        if wal.bytes > WAL_BYTES_BEFORE_READS_END {
            self.machine.readers().expel(READ_AGE_MIN);
        }
        if self.is_checkpoint_due(wal.to_copy) {
            self.upkeep.tried_at = Some(Instant::now());
            let patience =
                if wal.bytes > WAL_BYTES_BEFORE_PATIENCE { PATIENCE } else { Duration::ZERO };
            if let Err(fault) = self.checkpoint(self.tail(), patience) {
                log::error!("checkpoint failed: {fault}; trying again");
            }
        }
    }

    /// Shows how large the disk lets the database become, in blocks and rounded down.
    pub(super) fn post_room(&mut self) {
        let blocks = self.machine.bytes_max().map_or(0, |bytes| bytes / BLOCK_BYTES);
        self.board.post_database_blocks_max(blocks.min(BLOCKS_MAX));
    }

    /// Bursts leave freed memory with the allocator; a small machine has better use for it.
    fn return_memory_when_quiet(&mut self) {
        let applied = self.machine.applied().index;
        if applied != self.upkeep.seen_index {
            self.upkeep.seen_index = applied;
            self.upkeep.quiet_since = Some(Instant::now());
        } else if self.upkeep.quiet_since.is_some_and(|since| since.elapsed() > QUIET) {
            self.upkeep.quiet_since = None;
            os::return_memory();
        }
    }

    fn is_checkpoint_due(&mut self, to_copy: u64) -> bool {
        let upkeep = &mut self.upkeep;
        let entries = self.machine.applied().index - upkeep.checkpoint.index;
        if entries == 0 || upkeep.tried_at.is_some_and(|at| at.elapsed() < PARTIAL_RETRY) {
            return false;
        }
        let log_bytes = self.log.bytes_on_disk().saturating_sub(upkeep.log_bytes);
        if to_copy > WAL_BYTES_AT_ONCE || log_bytes > LOG_BYTES_AT_ONCE {
            return true;
        }
        if upkeep.policy_looked_at.elapsed() < upkeep.policy.interval {
            return false;
        }
        upkeep.policy_looked_at = Instant::now();
        let policy = upkeep.policy;
        entries >= policy.entries_max
            || (policy.wal_bytes_max > 0 && to_copy >= policy.wal_bytes_max)
    }

    /// Folds the WAL into the database file and drops the log behind it.
    fn checkpoint(&mut self, trailing: u64, patience: Duration) -> Result<(), Fault> {
        if self.is_amid_entry {
            return Err(Fault::stopped("a checkpoint would hold half of an entry"));
        }
        match self.machine.checkpoint(patience) {
            Ok(checkpoint) => {
                stats::add(Stat::NumSnapshots, 1);
                stats::add(Stat::DbCheckpoints, 1);
                stats::add(Stat::DbCheckpointPartial, u64::from(!checkpoint.complete));
                self.compact(checkpoint.compacted_to, trailing);
                Ok(())
            }
            Err(fault) => {
                stats::add(Stat::NumSnapshotsFailed, 1);
                stats::add(Stat::DbCheckpointErrors, 1);
                if fault.needs_restart {
                    os::die(&format!("{fault}; the next start recovers"));
                }
                Err(fault)
            }
        }
    }

    /// Entries to keep behind a checkpoint, so that other members need not be sent the database.
    fn tail(&self) -> u64 {
        let needs = self.board.needs();
        if !needs.has_others {
            return 0;
        }
        let applied = self.machine.applied().index;
        let missing = |held: Option<Index>| held.map_or(0, |held| applied.saturating_sub(held));
        let bytes = self.log.bytes_on_disk();
        let live = if bytes < TAIL_BYTES_FOR_LIVE { missing(needs.held_by_live) } else { 0 };
        let all = if bytes < TAIL_BYTES { missing(needs.held_by_all).max(TAIL_ENTRIES) } else { 0 };
        live.max(all)
    }

    /// Drops what a checkpoint covers from the log, but for its last `trailing` entries.
    fn compact(&mut self, checkpoint: EntryId, trailing: u64) {
        self.upkeep.checkpoint = checkpoint;
        match self.log.compact(self.cut_at(checkpoint, trailing)) {
            Ok(()) => self.tell(Event::Compacted { start: self.log.start() }),
            Err(error) => os::die(&format!("{error}; cannot go on")),
        }
        self.upkeep.log_bytes = self.log.bytes_on_disk();
        let start = self.log.start().index;
        while let Some((index, _)) = self.upkeep.named_bodies.front() {
            if *index > start {
                break;
            }
            if let Some((_, sha256)) = self.upkeep.named_bodies.pop_front() {
                self.upkeep.claims.release(&sha256);
            }
        }
        self.post();
    }

    /// The last entry to drop when `trailing` of those before a checkpoint are to stay.
    fn cut_at(&self, checkpoint: EntryId, trailing: u64) -> EntryId {
        let start = self.log.start();
        let index = checkpoint.index.saturating_sub(trailing).max(start.index);
        let term = self.log.term_at(index).unwrap_or(start.term);
        EntryId { term, index }
    }

    /// After a load the mark stands at its entry: nothing before it is needed again.
    pub(super) fn after_load(&mut self, id: EntryId) {
        self.compact(id, 0);
    }

    /// The database is a copy of the leader's as of `last`, and the log begins there.
    pub(super) fn after_install(&mut self, last: EntryId) {
        self.upkeep.checkpoint = last;
        self.upkeep.log_bytes = self.log.bytes_on_disk();
        for (_, sha256) in std::mem::take(&mut self.upkeep.named_bodies) {
            self.upkeep.claims.release(&sha256);
        }
        self.board.post_disk(|disk| disk.changed = EntryId::default());
        self.post();
        self.board.catch_up(last.index);
    }

    /// Makes the next start quick.
    pub(super) fn last_checkpoint(&mut self) {
        if self.machine.applied() > self.upkeep.checkpoint
            && let Err(fault) = self.checkpoint(0, Duration::ZERO)
        {
            log::warn!("no last checkpoint: {fault}; the next start applies the log again");
        }
    }

    /// Shows what is on the disk.
    pub(super) fn post(&self) {
        let applied = self.machine.applied();
        let standing = self.machine.standing().clone();
        self.board.post_disk(|disk| {
            disk.applied = applied;
            disk.changed = disk.changed.max(standing.changed);
            disk.applied_unix_milliseconds = disk.applied_unix_milliseconds.max(standing.clock);
            disk.checkpoint = self.upkeep.checkpoint;
            disk.log_start = self.log.start();
            disk.log_bytes = self.log.bytes_on_disk();
            disk.foreign_keys = standing.settings.foreign_keys;
        });
    }
}
