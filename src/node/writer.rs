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
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::answers::{Answer, ProposeError};
use super::board::Board;
use super::consensus::Event;
use super::loads::Staged;
use super::upkeep::Upkeep;
use crate::command::Command;
use crate::db::snapshot::{Snapshot, Unpinned};
use crate::db::state_machine::StateMachine;
use crate::os;
use crate::raft::{EntryId, EntryKind, HardState, Index, Term};
use crate::stats::{self, Stat};
use crate::storage::{Entry, Log, LogError};

/// Orders taken at one go; the consensus thread already gathers proposals into few of them.
const ORDERS_PER_TURN: usize = 64;

/// What the writer thread is told.
pub(super) enum Order {
    /// Save this, and apply what is committed.
    Append(Append),
    /// Open a read transaction between two batches.
    Pin { connection: Unpinned, reply: Sender<Result<Pinned, String>> },
    /// Make a checkpoint now, keeping `trailing` entries in the log.
    Checkpoint { trailing: u64, reply: Sender<Result<bool, String>> },
    /// Make a last checkpoint and end.
    Stop,
}

/// A snapshot, what it stands for, and the last entry that changed anything in it.
pub(super) struct Pinned {
    pub(super) snapshot: Snapshot,
    pub(super) changed: EntryId,
}

/// What one ready of the core asks of the disk and of SQLite.
#[derive(Default)]
pub(super) struct Append {
    pub(super) hard_state: Option<HardState>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) commit: Index,
    pub(super) commit_once_durable: Index,
}

/// An entry to append, or one read back from the log.
pub(super) struct NewEntry {
    pub(super) entry: Entry,
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
    /// Everything up to here may be applied.
    pub(super) commit: Index,
    /// The last entry in the log when the node started.
    pub(super) caught_up_at: Index,
    pub(super) upkeep: Upkeep,
    /// The term that was saved last.
    pub(super) term: Term,
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
        term: Term,
    ) -> Self {
        let caught_up_at = log.last().index;
        Self {
            log,
            events,
            board,
            pending: VecDeque::new(),
            commit: machine.applied().index,
            caught_up_at,
            upkeep,
            term,
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
        let mut has_hard_state = false;
        let mut promised = 0;
        let mut gathered = Vec::new();
        for append in appends {
            if let Some(hard_state) = append.hard_state {
                self.log.set_hard_state(&hard_state);
                self.term = hard_state.term;
                has_hard_state = true;
            }
            for entry in append.entries {
                // Entries behind ones that could not be written are gone with them.
                let expected =
                    gathered.last().map_or(self.log.last(), |last: &NewEntry| last.entry.id);
                if entry.entry.id.index == expected.index + 1 {
                    gathered.push(entry);
                } else {
                    self.refuse(entry, "the disk was full when this was to be written");
                }
            }
            let reach = gathered.last().map_or(self.log.last(), |last| last.entry.id).index;
            let commit = append.commit.max(append.commit_once_durable.min(reach));
            self.commit = self.commit.max(commit);
            promised = promised.max(append.commit_once_durable);
        }
        if has_hard_state || !gathered.is_empty() {
            // What the core waits for, or what others must be told, is worth waking it.
            let matters = has_hard_state
                || gathered.iter().any(|new| {
                    new.entry.kind != EntryKind::Command || new.entry.id.index > promised
                });
            self.sync(gathered, matters);
        }
    }

    fn sync(&mut self, gathered: Vec<NewEntry>, matters: bool) {
        for entry in &gathered {
            self.log.append(&entry.entry);
        }
        match self.log.sync() {
            Ok(()) => {
                stats::add(Stat::LogSyncs, 1);
                stats::add(Stat::LogEntries, gathered.len() as u64);
                let bytes = gathered.iter().map(|entry| entry.entry.body.len() as u64).sum();
                stats::add(Stat::LogBytes, bytes);
                for new in &gathered {
                    self.name_body(&new.entry);
                }
                self.pending.extend(gathered);
                self.board.post_saved(self.term, self.log.last());
                if matters {
                    self.tell(Event::Saved);
                }
            }
            Err(error @ LogError::Full { .. }) => {
                log::error!("{error}; nothing is lost, writing goes on when there is space");
                let before = self.log.last();
                self.term = self.log.hard_state().term;
                self.commit = self.commit.min(before.index);
                let text = error.to_string();
                for entry in gathered {
                    self.refuse(entry, &text);
                }
                self.tell(Event::AppendFailed { last: before });
            }
            Err(error) => os::die(&format!("{error}; what the disk holds is unknown: stopping")),
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

    /// Says that an entry was not written.
    fn refuse(&self, entry: NewEntry, why: &str) {
        self.board.settle(entry.entry.body.len() as u64);
        if let Some(waiting) = entry.waiting {
            waiting.answer(Err(ProposeError::Refused(why.to_owned())));
        }
    }

    /// The consensus thread ends before this one only when the node stops.
    pub(super) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }
}
