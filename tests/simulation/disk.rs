//! A node's disk: what is on it, and what a crash leaves of what was being written.

use std::collections::{BTreeMap, BTreeSet};

use super::super::configuration::Configuration;
use super::super::message::Content;
use super::super::types::{EntryId, HardState, Index, Term};
use super::machine::{Entry, Machine};

/// One step of a write, in the order in which they reach the disk.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Install(EntryId, Configuration, Box<Machine>),
    HardState(HardState),
    Append(Index, Entry),
}

/// What is synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    /// The last entry that is no longer in the log, and who belonged to the cluster then.
    pub(super) start: EntryId,
    pub(super) base: Configuration,
    pub(super) log: BTreeMap<Index, Entry>,
    pub(super) checkpoint: Machine,
    pub(super) bodies: BTreeSet<u64>,
}

impl Disk {
    pub(super) fn write(&mut self, write: Write) {
        match write {
            Write::Install(last, configuration, state) => {
                self.log.clear();
                self.start = last;
                self.base = configuration;
                self.checkpoint = *state;
            }
            Write::HardState(hard_state) => self.hard_state = hard_state,
            Write::Append(index, entry) => {
                drop(self.log.split_off(&index));
                self.log.insert(index, entry);
            }
        }
    }

    pub(super) fn last(&self) -> EntryId {
        let last = self.log.last_key_value();
        last.map_or(self.start, |(index, entry)| EntryId { index: *index, term: entry.term })
    }

    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        match index == self.start.index {
            true => Some(self.start.term),
            false => self.log.get(&index).map(|entry| entry.term),
        }
    }

    /// Whether this entry, or a state that covers it, would survive a crash now.
    pub(super) fn keeps(&self, id: EntryId) -> bool {
        self.start.index >= id.index || self.term_at(id.index) == Some(id.term)
    }

    /// Drops what lies behind the checkpoint, but for a tail; gives the new start if it moved.
    pub(super) fn compact(&mut self, applied: Index, trailing: u64) -> Option<EntryId> {
        let index = applied.saturating_sub(trailing);
        if index <= self.start.index {
            return None;
        }
        let start = EntryId { index, term: self.term_at(index)? };
        let kept = self.log.split_off(&(index + 1));
        for entry in std::mem::replace(&mut self.log, kept).into_values() {
            if let Content::Configuration(configuration) = entry.content {
                self.base = configuration;
            }
        }
        self.start = start;
        Some(start)
    }

    /// Where each configuration stands, as a core wants to know it when it starts.
    pub(super) fn configurations(&self) -> Vec<(Index, Configuration)> {
        let mut all = vec![(self.start.index, self.base.clone())];
        for (index, entry) in &self.log {
            if let Content::Configuration(configuration) = &entry.content {
                all.push((*index, configuration.clone()));
            }
        }
        all
    }
}
