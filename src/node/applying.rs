//! The writer's third step: committed entries into SQLite, each exactly once and in order.
//!
//! An entry that cannot be applied for a reason of this node's own (its disk is full) is not
//! answered and not skipped: the writer keeps it, says so, and tries again.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::answers::Answer;
use super::writer::{NewEntry, Writer};
use crate::command::{Command, Stamp, Work};
use crate::db::apply::Task;
use crate::db::fault::{Fault, FaultKind};
use crate::db::outcome::{Outcome, StatementResult};
use crate::os;
use crate::raft::{EntryKind, Index};
use crate::stats::{self, Stat};

/// Entries in one SQLite transaction: enough to spread the cost of a commit, few enough that the
/// first of them is answered soon.
const ENTRIES_PER_TRANSACTION: usize = 512;

/// Bytes of entries read back from the log at one go.
const REPLAY_BYTES: usize = 4 << 20;

/// Time until what this node could not do is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl Writer {
    /// Applies all that is committed, as far as this node can.
    pub(super) fn apply_committed(&mut self) {
        if self.is_amid_entry || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let mut entries_max = if self.retry_at.is_some() { 1 } else { ENTRIES_PER_TRANSACTION };
        while self.machine.applied().index < self.commit {
            self.fetch();
            match self.apply_next(entries_max) {
                Ok(()) => self.recover(),
                // One entry must not keep those before it from being applied.
                Err(fault)
                    if entries_max > 1
                        && !fault.needs_restart
                        && self.machine.applied().index + 1 < self.commit =>
                {
                    entries_max = 1;
                }
                Err(fault) => {
                    self.stall(&fault);
                    return;
                }
            }
        }
    }

    /// Makes sure that the next entry to apply is in memory: after a start it is only in the log.
    fn fetch(&mut self) {
        let next = self.machine.applied().index + 1;
        let in_memory =
            self.pending.front().map_or(self.commit + 1, |pending| pending.entry.id.index);
        if in_memory == next {
            return;
        }
        assert!(in_memory > next, "entries are applied in order");
        let found = self.log.entries(next, REPLAY_BYTES);
        let found = found.unwrap_or_else(|error| os::die(&format!("{error}; cannot go on")));
        for entry in found.into_iter().rev().filter(|entry| entry.id.index < in_memory) {
            self.pending_bytes += entry.body.len();
            self.pending.push_front(NewEntry { entry, is_own: false, waiting: None });
        }
    }

    /// Applies the next entry, or as many as fit into one transaction.
    fn apply_next(&mut self, entries_max: usize) -> Result<(), Fault> {
        let mut commands = Vec::new();
        for pending in self.pending.iter().take(entries_max) {
            let id = pending.entry.id;
            if id.index > self.commit {
                break;
            }
            let Some(command) = command_of(pending) else { break };
            if !matches!(command.work, Work::Batch(_)) {
                break;
            }
            commands.push((id, command));
        }
        if commands.is_empty() {
            return self.apply_single();
        }
        let tasks: Vec<Task<'_>> = commands
            .iter()
            .filter_map(|(id, command)| match &command.work {
                Work::Batch(batch) => Some(Task { id: *id, stamp: command.stamp, batch }),
                Work::Load { .. } | Work::Script { .. } | Work::Read => None,
            })
            .collect();
        let applied = self.machine.apply(&tasks)?;
        let stamp = tasks[..applied.len()].last().map(|task| task.stamp);
        drop(tasks);
        drop(commands);
        let outcomes: Vec<Vec<Outcome>> = applied.into_iter().map(|one| one.outcomes).collect();
        self.finish(outcomes, stamp, true);
        Ok(())
    }

    /// Applies an entry that cannot share a transaction, or that changes nothing.
    fn apply_single(&mut self) -> Result<(), Fault> {
        let Some(pending) = self.pending.front() else {
            os::die("a committed entry is neither in memory nor in the log: cannot go on");
        };
        let entry = &pending.entry;
        let id = entry.id;
        let Some(command) = command_of(pending) else {
            if entry.kind == EntryKind::Membership {
                let text = String::from_utf8_lossy(&entry.body).into_owned();
                self.machine.set_membership(text);
            }
            self.machine.skip(id, None);
            self.finish(vec![Vec::new()], None, false);
            return Ok(());
        };
        let stamp = command.stamp;
        let (outcomes, changes) = match &command.work {
            Work::Read => {
                self.machine.skip(id, Some(stamp));
                (Vec::new(), false)
            }
            Work::Load { sha256 } => {
                let body = self.upkeep.body(sha256)?;
                let outcome = self.machine.replace(id, stamp, &body)?;
                (outcome.err().map(failed).into_iter().collect(), true)
            }
            Work::Script { sha256 } => {
                let body = self.upkeep.body(sha256)?;
                (vec![self.machine.run_script(id, stamp, &body)?], true)
            }
            Work::Batch(_) => unreachable!("batches share a transaction"),
        };
        let has_replaced = matches!(command.work, Work::Load { .. }) && outcomes.is_empty();
        drop(command);
        if has_replaced {
            stats::add(Stat::NumRestores, 1);
            // First, so that whoever learns of the load may load the same file again.
            self.after_load(id);
        }
        self.finish(vec![outcomes], Some(stamp), changes);
        Ok(())
    }

    /// Lets go of the entries that were applied, and answers whoever waits for them.
    fn finish(&mut self, outcomes: Vec<Vec<Outcome>>, stamp: Option<Stamp>, changes: bool) {
        let applied = self.machine.applied();
        let foreign_keys = self.machine.standing().settings.foreign_keys;
        self.board.post_disk(|disk| {
            disk.applied = applied;
            disk.foreign_keys = foreign_keys;
            if changes {
                disk.changed = applied;
            }
            if let Some(stamp) = stamp {
                disk.applied_unix_milliseconds = stamp.unix_milliseconds;
            }
        });
        self.board.catch_up(applied.index);
        for outcomes in outcomes {
            let Some(new) = self.pending.pop_front() else { break };
            self.pending_bytes -= new.entry.body.len();
            self.settle(&new);
            if let Some(waiting) = new.waiting {
                waiting.answer(Ok(Answer { index: new.entry.id.index, outcomes }));
            }
        }
    }

    fn stall(&mut self, fault: &Fault) {
        if fault.needs_restart && fault.kind == FaultKind::Stopped && self.board.is_stopping() {
            log::info!("stopped amid an entry; the next start applies it from its beginning");
            self.is_amid_entry = true;
            return;
        }
        if fault.needs_restart {
            os::die(&format!("{fault}; the next start goes on from the last checkpoint"));
        }
        let next: Index = self.machine.applied().index + 1;
        if self.retry_at.is_none() {
            log::error!("entry {next} cannot be applied: {fault}; trying again until it can");
        }
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        self.board.post_fault(Some(fault.to_string()));
    }

    fn recover(&mut self) {
        if self.retry_at.take().is_some() {
            log::info!("applying goes on at entry {}", self.machine.applied().index);
            self.board.post_fault(None);
        }
    }
}

/// What an entry asks for; `None` when it is not for the state machine.
fn command_of(pending: &NewEntry) -> Option<Cow<'_, Command>> {
    let entry = &pending.entry;
    if entry.kind != EntryKind::Command {
        return None;
    }
    if let Some(waiting) = &pending.waiting {
        return Some(Cow::Borrowed(&waiting.command));
    }
    match Command::decode(&entry.body) {
        Ok(command) => Some(Cow::Owned(command)),
        Err(error) => os::die(&format!(
            "entry {} cannot be read: {error}; was it written by a later version?",
            entry.id.index
        )),
    }
}

/// What is answered for a file that every node finds unusable.
fn failed(text: String) -> Outcome {
    Outcome { result: StatementResult::Failed(text), seconds: None }
}
