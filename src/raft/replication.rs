//! The log on its way to the others, and what is committed by it (Raft paper, sections 5.3 and
//! 5.4; thesis, chapter 5 for the state that replaces a log).

use super::configuration::{Configuration, Configurations};
use super::core::{Core, Refusal, Role};
use super::durable::Before;
use super::flaw::{Flaw, planted};
use super::message::{Content, Head, Payload};
use super::progress::{Mode, OnItsWay};
use super::ready::{Append, Install};
use super::shape::Shape;
use super::types::{EntryId, Index, NodeId};

impl Core {
    /// Puts a command at the log's end, to be saved and replicated.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] and [`Refusal::Transferring`]: nothing was proposed.
    pub fn propose(&mut self) -> Result<EntryId, Refusal> {
        self.check_leads()?;
        Ok(self.push(self.hard_state.term, Content::Command))
    }

    pub(super) fn check_leads(&self) -> Result<(), Refusal> {
        match &self.role {
            Role::Leader { .. } if planted(Flaw::TransferKeepsProposing) => Ok(()),
            Role::Leader { .. } if self.transfer.is_some() => Err(Refusal::Transferring),
            Role::Leader { .. } => Ok(()),
            _ => Err(Refusal::NotLeader),
        }
    }

    /// Says that the append to `to` did not get there, or that nobody knows.
    pub fn not_delivered(&mut self, to: &NodeId) {
        if let Some(progress) = self.peers.get_mut(to) {
            progress.on_its_way = None;
        }
    }

    /// Says how sending the state to `to` has ended: what was sent, or that it was not.
    pub fn snapshot_ended(&mut self, to: &NodeId, sent: Option<EntryId>) {
        if let Some(progress) = self.peers.get_mut(to)
            && progress.mode == Mode::Snapshot
        {
            progress.mode = Mode::Probe;
            progress.on_its_way = None;
            // If it was not sent, or is too old by now, the log still begins behind it.
            let next = sent.map_or(progress.next, |last| last.index + 1);
            progress.next = next.max(progress.matched + 1);
        }
    }

    /// Gives every member that has nothing on its way the next append it is due.
    pub(super) fn replicate(&mut self) {
        if !self.is_leader() {
            return;
        }
        let last = self.log.last().index;
        let start = self.log.start().index;
        let term = self.hard_state.term;
        for (id, progress) in &mut self.peers {
            if progress.on_its_way.is_some() || progress.mode == Mode::Snapshot {
                continue;
            }
            let is_due = progress.mode == Mode::Probe || progress.next <= last;
            if !is_due {
                continue;
            }
            let prev = progress.next - 1;
            let Some(prev_term) = self.log.term_at(prev) else {
                debug_assert!(prev < start, "a member's log is not longer than this one");
                progress.mode = Mode::Snapshot;
                self.ready.snapshots.push(id.clone());
                continue;
            };
            let to = match progress.mode {
                Mode::Probe => last.min(prev + 1),
                Mode::Replicate | Mode::Snapshot => last,
            };
            progress.on_its_way = Some(OnItsWay { prev, last: to, ticks: 0 });
            self.ready.appends.push(Append {
                to: id.clone(),
                term,
                prev: EntryId { term: prev_term, index: prev },
                last: to,
                commit: self.commit,
                round: self.reads.round(),
            });
        }
    }

    /// Appends that have not been answered for an election timeout are sent again.
    pub(super) fn resend_overdue(&mut self) {
        for progress in self.peers.values_mut() {
            if progress.on_its_way.is_some_and(|sent| sent.ticks >= self.election_ticks) {
                progress.on_its_way = None;
            }
        }
    }

    pub(super) fn append_asked(
        &mut self,
        from: &NodeId,
        prev: EntryId,
        entries: Vec<Head>,
        commit: Index,
        round: u64,
    ) {
        let end = prev.index + entries.len() as u64;
        let start = self.log.start().index;
        if prev.index > start && !self.log.holds(prev) {
            let hint = self.log.last_common(prev.index - 1, prev.term);
            self.send(from, Payload::Refused { prev: prev.index, hint, round });
            return;
        }
        if planted(Flaw::TruncatesAlways) && prev.index.max(start) >= self.commit {
            self.drop_after(prev.index.max(start).min(self.log.last().index));
        }
        for (index, head) in (prev.index + 1..).zip(entries) {
            // What a checkpoint covers was committed, and is the same everywhere.
            if index > start {
                self.take_in(EntryId { term: head.term, index }, head.content);
            }
        }
        let matched = end.max(start);
        self.agreed = self.agreed.max(matched);
        self.leader_commit = self.leader_commit.max(commit.min(matched));
        self.follow_commit();
        self.send_once_saved(from, Payload::Appended { matched, round }, matched);
    }

    /// Puts an entry of the leader's where it belongs. Only one that conflicts cuts the log: an
    /// append that comes late may end before what has been acknowledged since.
    fn take_in(&mut self, id: EntryId, content: Content) {
        if self.log.holds(id) {
            return;
        }
        if id.index <= self.log.last().index {
            self.drop_after(id.index - 1);
        }
        self.push(id.term, content);
    }

    /// What is committed on a follower: what the leader has said, as far as the own log is known
    /// to be the leader's and is durable.
    pub(super) fn follow_commit(&mut self) {
        let durable = if planted(Flaw::CommitsUnsynced) { Index::MAX } else { self.saved };
        self.commit = self.commit.max(self.followed().min(durable));
    }

    fn followed(&self) -> Index {
        self.leader_commit.min(self.agreed)
    }

    pub(super) fn heartbeat(&mut self, from: &NodeId, commit: Index, round: u64) {
        if planted(Flaw::HeartbeatBeyondMatched) {
            self.agreed = self.agreed.max(commit.min(self.log.last().index));
        }
        self.leader_commit = self.leader_commit.max(commit.min(self.agreed));
        self.follow_commit();
        let matched = self.agreed.min(self.saved);
        let last = self.log.last().index;
        self.send(from, Payload::HeartbeatReply { round, matched, last });
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        from: &NodeId,
        round: u64,
        matched: Index,
        last: Index,
    ) {
        let patience = 2 * self.heartbeat_ticks;
        let Some(progress) = self.peers.get_mut(from) else { return };
        progress.heard(round);
        progress.reported(matched, last, patience);
        self.advance_commit();
        self.confirm_reads();
        self.hand_over_if_ready();
    }

    pub(super) fn appended(&mut self, from: &NodeId, matched: Index, round: u64) {
        let last = self.log.last().index;
        let Some(progress) = self.peers.get_mut(from) else { return };
        assert!(matched <= last, "{from} holds entry {matched} of this term, which ends at {last}");
        progress.heard(round);
        progress.appended(matched);
        self.advance_commit();
        self.confirm_reads();
        self.hand_over_if_ready();
    }

    pub(super) fn append_refused(&mut self, from: &NodeId, prev: Index, hint: EntryId, round: u64) {
        let Some(progress) = self.peers.get_mut(from) else { return };
        progress.heard(round);
        let common = self.log.last_common(hint.index, hint.term).index;
        // What lies before the own start is not known here: only the state can help then.
        let common = if hint.index < self.log.start().index { hint.index } else { common };
        progress.refused(prev, common);
        self.confirm_reads();
    }

    pub(super) fn snapshot_offered(
        &mut self,
        from: &NodeId,
        last: EntryId,
        configuration: Configuration,
    ) {
        let round = 0;
        let known = self.commit.max(self.log.start().index);
        if self.log.holds(last) || last.index <= known {
            // Nothing is missing: the log goes on from there, or is past it (thesis, 5.1); or a
            // later state is on its way to the disk.
            self.agreed = self.agreed.max(last.index);
            self.leader_commit = self.leader_commit.max(last.index);
            self.follow_commit();
        } else {
            self.install(last, configuration);
        }
        self.send_once_saved(from, Payload::Appended { matched: last.index, round }, last.index);
    }

    /// Begins anew with the leader's state. A log that conflicts with it goes as a whole.
    fn install(&mut self, last: EntryId, configuration: Configuration) {
        let configurations = Configurations::new(last.index, configuration.clone());
        let log = std::mem::replace(&mut self.log, Shape::new(last, []));
        let configurations = std::mem::replace(&mut self.configurations, configurations);
        if planted(Flaw::StateWithoutConfiguration) {
            self.configurations = configurations.clone();
        }
        match &mut self.before {
            Some(before) => before.number = self.number,
            None => self.before = Some(Before { log, configurations, number: self.number }),
        }
        self.saved = self.commit;
        for saving in &mut self.saving {
            saving.last = saving.last.min(self.commit);
        }
        self.held.retain(|held| held.index == 0);
        self.agreed = last.index;
        self.leader_commit = self.leader_commit.max(last.index);
        self.ready.entries.clear();
        self.ready.install = Some(Install { last, configuration });
    }

    /// Commits what a majority holds, if it is of this term (Raft paper, section 5.4.2), and if
    /// this node holds it too: it could not apply it otherwise.
    pub(super) fn advance_commit(&mut self) {
        let is_hasty = planted(Flaw::CountsItselfUnsynced);
        let own = if is_hasty { self.log.last().index } else { self.saved };
        let held = self.held_by_majority(own).min(own);
        let is_own = self.log.term_at(held) == Some(self.hard_state.term);
        let counted = if is_own || planted(Flaw::CommitsOldTerms) { held } else { 0 };
        // What was said to be committed once durable is, though the members may be others by now.
        let promised = if self.saved >= self.released { self.released } else { 0 };
        let commit = counted.max(promised);
        if commit <= self.commit {
            return;
        }
        self.commit = commit;
        self.register_early_reads();
        self.confirm_reads();
        self.leave_if_removed();
    }

    /// What will be committed by the time this node's disk holds its whole log.
    pub(super) fn commit_once_durable(&self) -> Index {
        let held = if self.is_leader() {
            let held = self.held_by_majority(self.log.last().index).min(self.log.last().index);
            if self.log.term_at(held) == Some(self.hard_state.term) { held } else { 0 }
        } else {
            self.followed()
        };
        held.max(self.commit)
    }

    /// The last entry that a majority holds when this node holds `own`; 0 on a follower.
    fn held_by_majority(&self, own: Index) -> Index {
        if !self.is_leader() {
            return 0;
        }
        self.configuration().reached_by_majority(|id| {
            if *id == self.id { own } else { self.peers.get(id).map_or(0, |peer| peer.matched) }
        })
    }
}
