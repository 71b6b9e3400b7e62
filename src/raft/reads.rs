//! Reads that see every write acknowledged before they began, without the log (thesis, 6.4).
//!
//! A read notes what is committed, and may be served at that index once a majority has answered a
//! round of heartbeats that was sent after the note. All reads that come while a round is under
//! way share the next one. Rounds are numbered and no number is used twice, so an answer that
//! comes late confirms nothing it should not.

use std::collections::VecDeque;

use super::core::{Core, Role};
use super::flaw::{Flaw, planted};
use super::message::Payload;
use super::types::{Index, NodeId};

/// The reads of one leadership, and the rounds of one life.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// The last round that was sent.
    round: u64,
    /// The last round that a majority has answered.
    confirmed: u64,
    /// Wait for an entry of this term to be committed.
    early: Vec<u64>,
    /// Name, index noted, and the round that must be confirmed; the rounds rise.
    noted: VecDeque<(u64, Index, u64)>,
}

impl Reads {
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Nothing can be confirmed any more: who leads must be asked.
    pub(super) fn refuse_all(&mut self) -> Vec<u64> {
        let noted = self.noted.drain(..).map(|(name, ..)| name);
        self.early.drain(..).chain(noted).collect()
    }
}

impl Core {
    /// Asks for a read index under a name that is never used twice.
    ///
    /// The answer comes in a [`super::Ready`].
    pub fn read(&mut self, name: u64) {
        if !self.is_leader() {
            self.ready.reads_refused.push(name);
        } else if planted(Flaw::ReadWithoutRound) && self.is_established() {
            self.ready.reads.push((name, self.commit));
        } else if self.is_established() || planted(Flaw::ReadBeforeNoop) {
            self.note_read(name);
            self.confirm_reads();
        } else {
            self.reads.early.push(name);
        }
    }

    fn note_read(&mut self, name: u64) {
        let later = u64::from(!planted(Flaw::ReadWithOldRound));
        self.reads.noted.push_back((name, self.commit, self.reads.round + later));
    }

    /// What is committed is known from now on (thesis, 6.4, step 1).
    pub(super) fn register_early_reads(&mut self) {
        if self.is_established() {
            for name in std::mem::take(&mut self.reads.early) {
                self.note_read(name);
            }
        }
    }

    /// Begins a round if reads wait and none is under way. It asks just enough voters, those heard
    /// last: rounds come by the thousand, and the rest of the answers would be of no use.
    pub(super) fn start_round_if_due(&mut self) {
        if self.reads.noted.is_empty() || self.reads.confirmed < self.reads.round {
            return;
        }
        let configuration = self.configurations.latest();
        let own = usize::from(configuration.is_voter(&self.id));
        let enough = configuration.voters().len() / 2 + 1 - own;
        let voters = self.peers.iter().filter(|(id, _)| configuration.is_voter(id));
        let mut voters: Vec<_> = voters.map(|(id, peer)| (peer.silent_ticks, id)).collect();
        voters.sort_unstable();
        let chosen = voters.into_iter().take(enough).map(|(_, id)| id.clone()).collect();
        self.ask(chosen);
    }

    /// Asks everybody if the round that reads wait for was not answered within a tick.
    pub(super) fn widen_round(&mut self) {
        if !self.reads.noted.is_empty() && self.reads.confirmed < self.reads.round {
            self.start_round();
        }
    }

    /// Sends a heartbeat to everybody.
    pub(super) fn start_round(&mut self) {
        self.heartbeat_elapsed = 0;
        self.ask(self.peers.keys().cloned().collect());
    }

    fn ask(&mut self, whom: Vec<NodeId>) {
        self.reads.round += 1;
        let round = self.reads.round;
        for to in whom {
            // Never more than it is known to hold: the rest may conflict.
            let matched = self.peers.get(&to).map_or(0, |peer| peer.matched);
            let known = if planted(Flaw::HeartbeatBeyondMatched) { Index::MAX } else { matched };
            let commit = self.commit.min(known);
            self.send(&to, Payload::Heartbeat { commit, round });
        }
        self.confirm_reads();
    }

    /// Lets reads go whose round a majority has answered.
    pub(super) fn confirm_reads(&mut self) {
        if !matches!(self.role, Role::Leader { .. }) {
            return;
        }
        let own = self.reads.round;
        let answered = self.configuration().reached_by_majority(|id| {
            if *id == self.id { own } else { self.peers.get(id).map_or(0, |peer| peer.round) }
        });
        self.reads.confirmed = self.reads.confirmed.max(answered);
        let confirmed = self.reads.confirmed;
        while let Some((name, index, _)) =
            self.reads.noted.pop_front_if(|(_, _, round)| *round <= confirmed)
        {
            self.ready.reads.push((name, index));
        }
    }
}
