//! The writer thread: the only one that writes, to the Raft log and to SQLite.
//!
//! Whatever has queued up while it was busy is one batch: one log write, one sync, one SQLite
//! transaction. So a slow disk makes larger batches, and nothing needs tuning. It must never
//! answer for an entry that its own log does not hold durably, and never apply one.
//!
//! One turn, in the one safe order:
//!
//! 1. gather: take every order that waits;
//! 2. save: append to the log, sync once, tell the consensus thread;
//! 3. apply: run what is committed, answer whoever waits (`applying`);
//! 4. attend: pin snapshots, make checkpoints when they are due (`upkeep`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::answers::{Answer, ProposeError};
use super::board::Board;
use super::consensus::Event;
use super::loads::Staged;
use super::upkeep::Upkeep;
use crate::command::Command;
use crate::db::mark::Standing;
use crate::db::snapshot::{Snapshot, Unpinned};
use crate::db::state_machine::StateMachine;
use crate::os;
use crate::raft::{EntryId, EntryKind, HardState, Index};
use crate::stats::{self, Stat};
use crate::storage::durable;
use crate::storage::{Entry, Log, LogError};

/// Orders taken at one go; the consensus thread already gathers proposals into few of them.
const ORDERS_PER_TURN: usize = 64;

/// Bytes of entries that a follower keeps in memory until they are committed.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// What the writer thread is told.
pub(super) enum Order {
    /// Save this, and apply what is committed.
    Append(Append),
    /// Open a read transaction between two batches.
    Pin { connection: Unpinned, reply: Sender<Result<Pinned, String>> },
    /// Nobody knows any more whether what waits will be committed: tell those who wait.
    GiveUp,
    /// Remove a file that arrived and was not wanted.
    Discard(PathBuf),
    /// Make a checkpoint now, keeping `trailing` entries in the log.
    Checkpoint { trailing: u64, reply: Sender<Result<bool, String>> },
    /// Make a last checkpoint and end.
    Stop,
}

/// A snapshot and what it stands for.
pub(super) struct Pinned {
    pub(super) snapshot: Snapshot,
    pub(super) standing: Standing,
}

/// A copy of the leader's database that takes the place of everything.
pub(super) struct Install {
    /// The copy, whole and synced; removed once it is in place.
    pub(super) file: PathBuf,
    pub(super) standing: Standing,
}

/// What one ready of the core asks of the disk and of SQLite.
#[derive(Default)]
pub(super) struct Append {
    /// The ready's number; 0 when there is nothing to save.
    pub(super) number: u64,
    /// Failed writes that the core knew of.
    pub(super) failures: u64,
    pub(super) hard_state: Option<HardState>,
    pub(super) install: Option<Install>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) commit: Index,
    pub(super) commit_once_durable: Index,
}

/// What goes to the disk in one write.
struct Saving {
    number: u64,
    /// What may be applied once it is there.
    commit: Index,
    /// The log is as it was up to here, should it fail.
    common: Index,
    entries: Vec<NewEntry>,
    /// Somebody waits for it.
    matters: bool,
}

/// An entry to append, or one read back from the log.
pub(super) struct NewEntry {
    pub(super) entry: Entry,
    /// Proposed by this node, and counted as in flight until it is settled.
    pub(super) is_own: bool,
    /// On the leader: the parsed command and whoever waits for its outcome.
    pub(super) waiting: Option<Waiting>,
}

/// The parsed command of an entry and whoever waits for its outcome.
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) reply: Sender<Result<Answer, ProposeError>>,
    /// The body that the command names, until the entry in the log does.
    pub(super) staged: Option<Arc<Staged>>,
}

impl Waiting {
    /// Gives the outcome; whoever waited may have given up.
    pub(super) fn answer(self, result: Result<Answer, ProposeError>) {
        drop(self.staged);
        drop(self.reply.try_send(result));
    }
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) log: Log,
    pub(super) machine: StateMachine,
    pub(super) events: Sender<Event>,
    pub(super) board: Arc<Board>,
    /// Saved entries that are not applied yet, without gaps, ending with the log's last.
    pub(super) pending: VecDeque<NewEntry>,
    /// Bytes of their bodies.
    pub(super) pending_bytes: usize,
    /// Everything up to here may be applied.
    pub(super) commit: Index,
    pub(super) upkeep: Upkeep,
    /// Writes that have failed for want of room: what the core asked for before it knew is refused.
    pub(super) failures: u64,
    /// When to try again what this node could not apply.
    pub(super) retry_at: Option<Instant>,
    /// Stopped within an entry, part of which is committed: the files on the disk stand for no
    /// entry until the next start has undone that.
    pub(super) is_amid_entry: bool,
}

impl Writer {
    /// A writer that has applied nothing since `machine` was opened.
    pub(super) fn new(
        log: Log,
        machine: StateMachine,
        upkeep: Upkeep,
        events: Sender<Event>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            log,
            events,
            board,
            pending: VecDeque::new(),
            pending_bytes: 0,
            commit: machine.applied().index,
            upkeep,
            failures: 0,
            machine,
            retry_at: None,
            is_amid_entry: false,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        self.post();
        self.post_room();
        while self.turn(orders) {}
        self.last_checkpoint();
    }

    /// One batch; false: stop.
    fn turn(&mut self, orders: &Receiver<Order>) -> bool {
        let mut goes_on = true;
        let mut appends = Vec::new();
        let mut visits = Vec::new();
        let mut next = match orders.recv_timeout(self.idle_max()) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        for _ in 0..ORDERS_PER_TURN {
            match next.take() {
                None => break,
                Some(Order::Append(append)) => appends.push(append),
                Some(Order::Stop) => {
                    goes_on = false;
                    break;
                }
                Some(visit) => visits.push(visit),
            }
            next = orders.try_recv().ok();
        }
        let leftover = next;
        self.save(appends);
        self.apply_committed();
        for visit in visits.into_iter().chain(leftover) {
            goes_on &= self.attend(visit);
        }
        self.keep_up();
        goes_on
    }

    /// How long nothing may happen before upkeep looks around, or a fault is tried again.
    fn idle_max(&self) -> Duration {
        let upkeep = self.upkeep.idle_max();
        self.retry_at.map_or(upkeep, |at| upkeep.min(at.saturating_duration_since(Instant::now())))
    }

    /// Makes everything gathered durable: one write, one sync.
    pub(super) fn save(&mut self, appends: Vec<Append>) {
        let mut batch = self.begin();
        for mut append in appends {
            if append.failures < self.failures {
                for new in append.entries {
                    self.refuse(new, "the disk was full when this was to be written");
                }
                continue;
            }
            if let Some(install) = append.install.take() {
                self.finish_saving(batch);
                self.install(install);
                batch = self.begin();
                batch.matters = true;
            }
            self.gather(append, &mut batch);
        }
        self.finish_saving(batch);
    }

    fn begin(&self) -> Saving {
        Saving {
            number: 0,
            commit: self.commit,
            common: self.log.last().index,
            entries: Vec::new(),
            matters: false,
        }
    }

    fn finish_saving(&mut self, batch: Saving) {
        if batch.number > 0 {
            self.sync(batch);
        } else {
            self.commit = batch.commit;
        }
    }

    /// Puts the leader's database in the place of the own one, and begins the log behind it. The
    /// mark comes first and says that the log begins there, should a crash come between.
    fn install(&mut self, install: Install) {
        let last = install.standing.applied;
        let Install { file, standing } = install;
        if let Err(fault) = self.machine.install(&file, standing) {
            os::die(&format!(
                "the leader's copy of the database cannot take the place of this one: {fault}; \
                 the next start asks for it again"
            ));
        }
        if let Err(error) = self.log.reset(last) {
            os::die(&format!("{error}; the next start goes on from there"));
        }
        self.machine.note_log_begun();
        if let Err(error) = durable::remove(&file) {
            log::warn!("a file that nobody needs stays until the next start: {error}");
        }
        for new in std::mem::take(&mut self.pending) {
            self.give_up(new, "this node fell too far behind the leader to see what became of it");
        }
        self.pending_bytes = 0;
        self.commit = last.index;
        log::info!("took over the leader's database as of entry {}", last.index);
        self.after_install(last);
    }

    /// Puts what a ready asks for into the log's next write.
    fn gather(&mut self, append: Append, batch: &mut Saving) {
        if let Some(hard_state) = append.hard_state {
            self.log.set_hard_state(&hard_state);
            batch.matters = true;
        }
        for new in append.entries {
            let index = new.entry.id.index;
            if index <= self.log.last().index {
                self.replace_from(index, batch);
            }
            self.log.append(&new.entry);
            // What the core waits for, or what others must be told, is worth waking it.
            batch.matters |=
                new.entry.kind != EntryKind::Command || index > append.commit_once_durable;
            batch.entries.push(new);
        }
        let reach = append.commit_once_durable.min(self.log.last().index);
        batch.commit = batch.commit.max(append.commit).max(reach);
        batch.number = batch.number.max(append.number);
    }

    /// Drops entries that conflict with the leader's. They may yet be committed by way of others.
    fn replace_from(&mut self, index: Index, batch: &mut Saving) {
        self.log.truncate_from(index);
        batch.common = batch.common.min(index - 1);
        let all = self.pending.iter().position(|new| new.entry.id.index >= index);
        let saved = all.map(|from| self.pending.split_off(from)).unwrap_or_default();
        self.pending_bytes -= saved.iter().map(|new| new.entry.body.len()).sum::<usize>();
        let kept = batch.entries.iter().position(|new| new.entry.id.index >= index);
        let unsaved = kept.map(|from| batch.entries.split_off(from)).unwrap_or_default();
        for new in saved.into_iter().chain(unsaved) {
            self.give_up(new, "another leader took over before it was committed");
        }
    }

    fn sync(&mut self, batch: Saving) {
        self.board.post_syncing(true);
        let synced = self.log.sync();
        self.board.post_syncing(false);
        match synced {
            Ok(()) => {
                stats::add(Stat::LogSyncs, 1);
                stats::add(Stat::LogEntries, batch.entries.len() as u64);
                let bytes = batch.entries.iter().map(|entry| entry.entry.body.len() as u64).sum();
                stats::add(Stat::LogBytes, bytes);
                for new in &batch.entries {
                    self.name_body(&new.entry);
                }
                self.keep_pending(batch.entries);
                self.commit = batch.commit;
                self.board.post_saved(batch.number);
                if batch.matters {
                    self.tell(Event::Saved);
                }
            }
            Err(error @ LogError::Full { .. }) => {
                log::error!("{error}; nothing is lost, writing goes on when there is space");
                self.failures += 1;
                let text = error.to_string();
                for new in batch.entries {
                    self.refuse(new, &text);
                }
                let index = batch.common;
                let term = self.log.term_at(index).unwrap_or_default();
                self.tell(Event::AppendFailed { last: EntryId { term, index } });
            }
            Err(error) => os::die(&format!("{error}; what the disk holds is unknown: stopping")),
        }
    }

    /// Keeps saved entries in memory until they are applied. Of those that come faster than they
    /// are committed, on a node that follows, the log's own copy will do.
    fn keep_pending(&mut self, entries: Vec<NewEntry>) {
        self.pending_bytes += entries.iter().map(|new| new.entry.body.len()).sum::<usize>();
        self.pending.extend(entries);
        if self.pending_bytes > PENDING_BYTES_MAX && self.pending.iter().all(|new| !new.is_own) {
            self.pending.clear();
            self.pending_bytes = 0;
        }
    }

    /// Tells those whose entry is not committed that it may yet be, or not.
    pub(super) fn give_up_waiting(&mut self) {
        let commit = self.commit;
        for new in self.pending.iter_mut().filter(|new| new.entry.id.index > commit) {
            if let Some(waiting) = new.waiting.take() {
                let why = "leadership was lost before it was committed; it may be done yet, or not";
                waiting.answer(Err(ProposeError::OutcomeUnknown(why.to_owned())));
            }
        }
    }

    /// Keeps the body that a saved entry names: whoever proposed it may let go of it now.
    fn name_body(&mut self, entry: &Entry) {
        if entry.kind != EntryKind::Command {
            return;
        }
        match Command::body_named_by(&entry.body) {
            Ok(Some(sha256)) => self.upkeep.names_body(entry.id.index, sha256),
            Ok(None) => {}
            Err(error) => os::die(&format!("entry {} cannot be read: {error}", entry.id.index)),
        }
    }

    /// Says that an entry was not written. It may have been sent to others before that was known.
    fn refuse(&self, entry: NewEntry, why: &str) {
        self.settle(&entry);
        if let Some(waiting) = entry.waiting {
            waiting.answer(Err(if self.board.needs().has_others {
                let text = format!("{why}; other nodes may have written it, so it may be done yet");
                ProposeError::OutcomeUnknown(text)
            } else {
                ProposeError::Refused(why.to_owned())
            }));
        }
    }

    /// Says that nobody knows what becomes of an entry.
    fn give_up(&self, entry: NewEntry, why: &str) {
        self.settle(&entry);
        if let Some(waiting) = entry.waiting {
            waiting.answer(Err(ProposeError::OutcomeUnknown(why.to_owned())));
        }
    }

    pub(super) fn settle(&self, entry: &NewEntry) {
        if entry.is_own {
            self.board.settle(entry.entry.body.len() as u64);
        }
    }

    /// The consensus thread ends before this one only when the node stops.
    pub(super) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }
}
