//! What the two threads that own the node's state let others see of it.
//!
//! Each number has one writer: the consensus thread posts its role and its log's end, the writer
//! thread posts what is applied and what is on the disk. Everybody else only reads, and may wait
//! until an index is applied. Nothing is decided here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::membership::Membership;
use crate::os::lock;
use crate::raft::{EntryId, Index, NodeId, Term};

/// Longest sleep between two looks at whether the node is stopping.
const PATIENCE: Duration = Duration::from_millis(200);

/// The consensus thread's part.
#[derive(Clone, Debug, Default)]
pub(super) struct RaftView {
    pub(super) role: &'static str,
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    pub(super) commit: Index,
    pub(super) last: EntryId,
    pub(super) membership: Membership,
    pub(super) membership_index: Index,
}

/// The writer thread's part, as of its last batch.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskView {
    pub(super) applied: EntryId,
    pub(super) applied_unix_milliseconds: i64,
    /// The last entry that may have changed the database.
    pub(super) changed: EntryId,
    pub(super) checkpoint: EntryId,
    pub(super) log_start: EntryId,
    pub(super) log_bytes: u64,
    pub(super) foreign_keys: bool,
}

/// The shared picture.
#[derive(Debug, Default)]
pub(super) struct Board {
    raft: Mutex<RaftView>,
    disk: Mutex<DiskView>,
    /// Signalled when `disk.applied` moves and somebody waits.
    moved: Condvar,
    /// Waiters on `moved`, so that the writer need not signal when there are none.
    waiting: AtomicU64,
    /// Leads, and has committed an entry of its own term.
    is_leading: AtomicBool,
    /// What was committed when this node first heard of it, plus 1; 0 until then.
    catch_up_to: AtomicU64,
    /// All of that has been applied.
    is_caught_up: AtomicBool,
    /// Since when the writer has waited for a sync, by `elapsed`; 0 means that it does not.
    syncing_since: AtomicU64,
    /// When the leader was last heard, by `elapsed`; 0 means never.
    leader_heard_at: AtomicU64,
    /// What the log must keep for the other members.
    needs: Mutex<Needs>,
    is_stopping: AtomicBool,
    /// Number of the last ready on the writer's disk. Here rather than in a message, because a
    /// message would wake the consensus thread for what it mostly need not know at once.
    saved: AtomicU64,
    /// Bytes of entries that are proposed and not yet applied or refused.
    bytes_in_flight: AtomicU64,
    /// How large the database may become, for the stamp of entries; 0 means not known.
    database_blocks_max: AtomicU64,
    /// Why the writer cannot go on for now.
    fault: Mutex<Option<String>>,
}

/// What the log must keep for the other members, by what each is known to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Whether there are others.
    pub(super) has_others: bool,
    /// What all who answer hold.
    pub(super) held_by_live: Option<Index>,
    /// What everybody holds.
    pub(super) held_by_all: Option<Index>,
}

/// Milliseconds since the process began to count, and never 0.
fn elapsed() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Why an index was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    TimedOut,
    Stopping,
}

impl Board {
    pub(super) fn post_raft(&self, is_leading: bool, change: impl FnOnce(&mut RaftView)) {
        change(&mut lock(&self.raft));
        self.is_leading.store(is_leading, Ordering::Release);
    }

    pub(super) fn post_disk(&self, change: impl FnOnce(&mut DiskView)) {
        change(&mut lock(&self.disk));
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.moved.notify_all();
        }
    }

    pub(super) fn post_saved(&self, number: u64) {
        self.saved.store(number, Ordering::Release);
    }

    pub(super) fn saved(&self) -> u64 {
        self.saved.load(Ordering::Acquire)
    }

    pub(super) fn bytes_in_flight(&self) -> u64 {
        self.bytes_in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn add_in_flight(&self, bytes: u64) {
        self.bytes_in_flight.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn settle(&self, bytes: u64) {
        self.bytes_in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn post_database_blocks_max(&self, blocks: u64) {
        self.database_blocks_max.store(blocks, Ordering::Relaxed);
    }

    pub(super) fn database_blocks_max(&self) -> u64 {
        self.database_blocks_max.load(Ordering::Relaxed)
    }

    pub(super) fn post_fault(&self, fault: Option<String>) {
        *lock(&self.fault) = fault;
    }

    /// Says what is committed; the first to say so after a start sets what is to be caught up with.
    pub(super) fn post_catch_up_to(&self, commit: Index) {
        let first = self.catch_up_to.compare_exchange(
            0,
            commit.saturating_add(1),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if first.is_ok() {
            let applied = self.disk().applied.index;
            self.catch_up(applied);
        }
    }

    /// Says what is applied.
    pub(super) fn catch_up(&self, applied: Index) {
        let to = self.catch_up_to.load(Ordering::Acquire);
        if to > 0 && applied + 1 >= to {
            self.is_caught_up.store(true, Ordering::Release);
        }
    }

    pub(super) fn post_syncing(&self, is_syncing: bool) {
        self.syncing_since.store(if is_syncing { elapsed() } else { 0 }, Ordering::Release);
    }

    /// How long the writer has waited for the disk.
    pub(super) fn syncing_for(&self) -> Duration {
        match self.syncing_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis(elapsed().saturating_sub(since)),
        }
    }

    pub(super) fn post_leader_heard(&self) {
        self.leader_heard_at.store(elapsed(), Ordering::Release);
    }

    /// Time since the leader was heard; `None` if it never was.
    pub(super) fn leader_silent_for(&self) -> Option<Duration> {
        match self.leader_heard_at.load(Ordering::Acquire) {
            0 => None,
            // Some time has always passed.
            at => Some(Duration::from_millis(elapsed().saturating_sub(at).max(1))),
        }
    }

    pub(super) fn post_needs(&self, needs: Needs) {
        *lock(&self.needs) = needs;
    }

    pub(super) fn needs(&self) -> Needs {
        *lock(&self.needs)
    }

    pub(super) fn post_stopping(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    pub(super) fn raft(&self) -> RaftView {
        self.with_raft(RaftView::clone)
    }

    /// Looks without taking a copy; nobody can look meanwhile.
    pub(super) fn with_raft<T>(&self, look: impl FnOnce(&RaftView) -> T) -> T {
        look(&lock(&self.raft))
    }

    pub(super) fn has_leader(&self) -> bool {
        lock(&self.raft).leader.is_some()
    }

    pub(super) fn disk(&self) -> DiskView {
        lock(&self.disk).clone()
    }

    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    pub(super) fn is_leading(&self) -> bool {
        self.is_leading.load(Ordering::Acquire)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.is_caught_up.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Waits until `index` is applied.
    pub(super) fn wait_applied(&self, index: Index, wait_max: Duration) -> Result<(), NotApplied> {
        let deadline = Instant::now() + wait_max;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut disk = lock(&self.disk);
        let result = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match disk.applied.index {
                applied if applied >= index => break Ok(()),
                _ if self.is_stopping() => break Err(NotApplied::Stopping),
                _ if left.is_zero() => break Err(NotApplied::TimedOut),
                _ => {
                    let waited = self.moved.wait_timeout(disk, left.min(PATIENCE));
                    disk = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        drop(disk);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }
}
