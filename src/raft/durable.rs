//! What is on this node's disk, and what waits for it: a promise leaves only once it is durable
//! (Raft paper, figure 2; thesis, 3.8 and 10.2.1).
//!
//! Whatever a message promises is numbered by the ready that asks for it to be saved. What leaves
//! the log before it is saved takes its promises with it: something else may stand there by then.

use super::configuration::Configurations;
use super::core::{Core, Role};
use super::flaw::{Flaw, planted};
use super::message::{Message, Payload};
use super::shape::Shape;
use super::types::{EntryId, Index, NodeId};

/// In place of the number of a ready: the hard state could not be written, and waits for a tick.
pub(super) const UNWRITTEN: u64 = u64::MAX;

/// A message that promises what is not yet on the disk.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) to: NodeId,
    pub(super) message: Message,
    /// To be saved first: this ready's hard state,
    pub(super) hard_state: u64,
    /// and the log up to here.
    pub(super) index: Index,
}

/// A ready whose contents are on their way to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saving {
    pub(super) number: u64,
    /// The log's end as of this ready, or what is left of it by now.
    pub(super) last: Index,
    /// Where it cuts the log before it appends; `Index::MAX` when it does not.
    pub(super) cut: Index,
}

/// What an install takes the place of, until the disk holds it.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) log: Shape,
    pub(super) configurations: Configurations,
    /// The ready that the install is in.
    pub(super) number: u64,
}

impl Core {
    /// Says that the disk holds what every ready up to `number` asked to be saved.
    ///
    /// What of it has been dropped from the log since is not counted: something else may stand
    /// there now.
    pub fn saved(&mut self, number: u64) {
        if number <= self.saved_number {
            return;
        }
        self.saved_number = number;
        while let Some(saving) = self.saving.pop_front_if(|saving| saving.number <= number) {
            self.saved = self.saved.max(saving.last);
        }
        self.before.take_if(|before| before.number <= number);
        self.count_own_vote();
        self.advance_commit();
        self.follow_commit();
        self.release_held();
    }

    /// Says that a ready could not be written (the disk is full): what it asked to be put behind
    /// `last` is not in the log.
    ///
    /// None of the readies taken before this call will be saved from here on, but for those already
    /// reported; each later one says in its `failures` that it knows. The entries are gone, and
    /// nobody was told that they are durable. A node that is all by itself leads on, for nobody
    /// could do better; among others, one who can write should lead. A sole voter with learners
    /// begins another term too: they may hold what is gone, and its place is given again.
    pub fn append_failed(&mut self, last: EntryId) {
        assert!(last.index >= self.commit, "what is committed has been written");
        self.failures += 1;
        // Where a ready has replaced what the disk still holds, the two logs part earlier.
        let cuts = self.saving.drain(..).map(|saving| saving.cut);
        let end = cuts.fold(last.index.min(self.cut), Index::min).max(self.commit);
        let was_alone = self.is_all_by_itself();
        self.undo_install();
        self.drop_after(end);
        self.ready.entries.clear();
        self.released = 0;
        self.ready.install = None;
        self.held.clear();
        if self.hard_state_number > self.saved_number {
            self.ready.hard_state = None;
            self.hard_state_number = UNWRITTEN;
        }
        let is_alone = was_alone && self.is_all_by_itself();
        if self.is_leader() && !is_alone && !self.keeps_term() {
            self.step_down();
        } else if matches!(self.role, Role::Candidate { .. }) {
            self.become_follower(self.hard_state.term, None);
        }
    }

    fn is_all_by_itself(&self) -> bool {
        let configuration = self.configuration();
        configuration.is_only_voter(&self.id) && configuration.learners().is_empty()
    }

    fn keeps_term(&self) -> bool {
        planted(Flaw::PlaceGivenAgain) && self.configuration().is_only_voter(&self.id)
    }

    /// Takes up the log again that an install was to replace. How much of it is the leader's is
    /// not known, but for what is committed.
    fn undo_install(&mut self) {
        if let Some(before) = self.before.take() {
            self.log = before.log;
            self.configurations = before.configurations;
            self.agreed = self.commit;
        }
    }

    pub(super) fn save_hard_state(&mut self) {
        self.ready.hard_state = Some(self.hard_state.clone());
        self.hard_state_number = self.number;
        for held in self.held.iter_mut().filter(|held| held.hard_state == UNWRITTEN) {
            held.hard_state = self.number;
        }
    }

    /// Sends what the current term, once it is durable, is all it promises.
    pub(super) fn send(&mut self, to: &NodeId, payload: Payload) {
        self.send_once_saved(to, payload, 0);
    }

    /// Sends what promises that the log up to `index` is durable, once it is.
    pub(super) fn send_once_saved(&mut self, to: &NodeId, payload: Payload, index: Index) {
        let message = Message { term: self.hard_state.term, payload };
        self.send_message(to, message, index);
    }

    pub(super) fn send_message(&mut self, to: &NodeId, message: Message, index: Index) {
        let hard_state = self.hard_state_number;
        let is_vote = matches!(message.payload, Payload::VoteReply { .. });
        let is_hasty = (planted(Flaw::VoteNotSynced) && is_vote)
            || (planted(Flaw::AcknowledgesBeforeSync) && index > 0);
        if is_hasty || (hard_state <= self.saved_number && index <= self.saved) {
            self.ready.messages.push((to.clone(), message));
        } else {
            self.held.push_back(Held { to: to.clone(), message, hard_state, index });
        }
    }

    /// Lets go of the messages that the disk has caught up with.
    pub(super) fn release_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if held.hard_state <= self.saved_number && held.index <= self.saved {
                self.ready.messages.push((held.to, held.message));
            } else {
                self.held.push_back(held);
            }
        }
    }

    /// Drops entries from the log's end, and all that was built on them.
    pub(super) fn drop_after(&mut self, index: Index) {
        assert!(index >= self.commit, "what is committed stays");
        self.cut = self.cut.min(index);
        self.log.truncate_after(index);
        self.saved = self.saved.min(index);
        self.agreed = self.agreed.min(index);
        self.released = self.released.min(index);
        self.held.retain(|held| held.index <= index);
        for saving in &mut self.saving {
            if !planted(Flaw::StaleCallback) {
                saving.last = saving.last.min(index);
            }
        }
        self.ready.entries.retain(|(id, _)| id.index <= index);
        if self.configurations.truncate_after(index) {
            self.refresh_peers();
        }
    }
}
