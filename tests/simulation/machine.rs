//! What the entries are applied to: registers, with a digest of all that was applied.

use std::collections::BTreeMap;

use super::super::configuration::Configuration;
use super::super::message::Content;
use super::super::types::{EntryId, Term};
use super::linear::{Answer, Call};
use super::random::chain;

/// A client's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The client's call.
    pub(super) name: u64,
    pub(super) key: u64,
    pub(super) call: Call,
    /// The detached body it names.
    pub(super) body: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: Term,
    pub(super) content: Content,
    pub(super) command: Option<Command>,
}

impl Entry {
    pub(super) fn hash(&self, before: u64) -> u64 {
        let mut hash = chain(before, self.term);
        match &self.content {
            Content::Noop => hash = chain(hash, 1),
            Content::Command => hash = chain(hash, 2),
            Content::Configuration(configuration) => {
                hash = chain(hash, 3);
                for id in configuration.members().flat_map(|id| id.bytes()) {
                    hash = chain(hash, u64::from(id));
                }
                hash = chain(hash, configuration.voters().len() as u64);
            }
        }
        self.command.as_ref().map_or(hash, |command| chain(hash, command.name))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) registers: BTreeMap<u64, u64>,
    pub(super) applied: EntryId,
    pub(super) digest: u64,
    /// Who belonged to the cluster by then.
    pub(super) configuration: Configuration,
}

impl Machine {
    pub(super) fn apply(&mut self, id: EntryId, entry: &Entry) -> Answer {
        self.applied = id;
        self.digest = entry.hash(chain(self.digest, id.index));
        if let Content::Configuration(configuration) = &entry.content {
            self.configuration = configuration.clone();
        }
        let Some(command) = &entry.command else { return Answer::Done };
        let answer = match command.call {
            Call::Read => Answer::Done,
            Call::Write(value) => {
                self.registers.insert(command.key, value);
                Answer::Done
            }
            Call::Cas(from, to) if self.registers.get(&command.key) == Some(&from) => {
                self.registers.insert(command.key, to);
                Answer::Done
            }
            Call::Cas(..) => Answer::Mismatch,
        };
        let value = self.registers.get(&command.key).copied().unwrap_or_default();
        self.digest = chain(self.digest, value);
        answer
    }
}
