//! Elections: pre-votes, votes, and what a leader needs to stay one (Raft paper, section 5.2;
//! thesis, 3.10, 4.2.3, 6.4.1 and 9.6).
//!
//! A node asks first whether it would win, and nobody's term or vote changes for the asking. A
//! leader that hears no majority for an election timeout steps down, and whoever hears a leader
//! does not vote for another. So one node that cannot hear, or a removed one, disturbs nobody.

use std::collections::BTreeSet;

use super::core::{Core, Role};
use super::flaw::{Flaw, planted};
use super::message::{Content, Message, Payload};
use super::progress::Progress;
use super::types::{EntryId, HardState, NodeId, Term};

/// How many times longer than a heartbeat's interval the next in line waits for the first, once
/// the leader's process is known to be gone: an election needs two round trips and a sync.
const HEARTBEATS_PER_RANK: u32 = 2;

/// How many times longer a node waits that could not write: the others have had two elections by
/// then, and if none of them leads, none could do better.
const UNFIT_PATIENCE: u32 = 4;

impl Core {
    /// Says that the leader's process has died: there is no use in waiting for it.
    ///
    /// The voters campaign one after the other, by name, so that they do not split the vote.
    pub fn leader_is_gone(&mut self, leader: &NodeId) {
        if self.leader() != Some(leader) || self.is_leader() {
            return;
        }
        self.role = Role::Follower { leader: None };
        let others = self.configuration().voters().iter().filter(|id| *id != leader);
        let rank = others.take_while(|id| **id != self.id).count();
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let wait = rank.saturating_mul(HEARTBEATS_PER_RANK * self.heartbeat_ticks);
        // Past the time in which it would not vote for others.
        self.elapsed_ticks = self.election_ticks;
        self.patience_ticks = self.election_ticks.saturating_add(wait);
    }

    /// Says whether this node could not write if it led: then it campaigns only after everybody
    /// else has had the time to, and does not take over when it is asked to.
    pub fn set_unfit(&mut self, is_unfit: bool) {
        self.is_unfit = is_unfit;
    }

    /// Stops leading, for a reason of this node's own, and asks the best of the others to lead.
    pub fn step_down(&mut self) {
        if !self.is_leader() {
            return;
        }
        let voters = self.peers.iter().filter(|(id, _)| self.configuration().is_voter(id));
        let best = voters.max_by_key(|(_, progress)| progress.matched).map(|(id, _)| id.clone());
        if let Some(best) = best {
            self.send(&best, Payload::TimeoutNow);
        }
        self.become_follower(self.hard_state.term, None);
    }

    /// Whether votes for others are refused, since there is a leader already.
    pub(super) fn hears_leader(&self) -> bool {
        if planted(Flaw::NoStickiness) {
            return false;
        }
        self.is_leader() || (self.leader().is_some() && self.elapsed_ticks < self.election_ticks)
    }

    pub(super) fn hear_leader(&mut self, from: &NodeId) {
        match &self.role {
            Role::Follower { leader: Some(leader) } => {
                assert!(leader == from, "two leaders in one term: {leader} and {from}");
            }
            _ => self.follow(Some(from.clone())),
        }
        self.elapsed_ticks = 0;
    }

    pub(super) fn draw_patience(&mut self) {
        self.patience_ticks = self.election_ticks + self.random.below(self.election_ticks.max(1));
    }

    pub(super) fn tick_waiting(&mut self) {
        self.elapsed_ticks = self.elapsed_ticks.saturating_add(1);
        if !self.configurations.may_lead(&self.id, self.commit) {
            return;
        }
        let is_alone = self.configuration().is_only_voter(&self.id);
        let waits_for_disk = matches!(self.role, Role::Candidate { .. });
        let patience = self.patience_ticks * if self.is_unfit { UNFIT_PATIENCE } else { 1 };
        if (is_alone && !waits_for_disk) || self.elapsed_ticks >= patience {
            self.pre_campaign();
        }
    }

    fn pre_campaign(&mut self) {
        self.elapsed_ticks = 0;
        self.draw_patience();
        self.leave_leadership();
        self.agreed = 0;
        self.role = Role::PreCandidate { granted: BTreeSet::from([self.id.clone()]) };
        let term = self.hard_state.term + 1;
        let last = self.log.last();
        for to in self.other_voters() {
            // It promises nothing, so it need not wait for the disk.
            self.ready.messages.push((to, Message { term, payload: Payload::PreVote { last } }));
        }
        self.count_pre_votes();
    }

    pub(super) fn pre_vote_asked(&mut self, from: &NodeId, term: Term, last: EntryId) {
        if planted(Flaw::PreVoteBumpsTerm) && term > self.hard_state.term {
            self.become_follower(term, None);
        }
        let own = self.hard_state.term;
        let granted = term > own && !self.hears_leader() && self.is_up_to_date(last);
        let payload = Payload::PreVoteReply { granted };
        // A refusal tells the own term: the other may be behind, and could not win by asking on.
        let message = Message { term: if granted { term } else { own }, payload };
        self.send_message(from, message, 0);
    }

    pub(super) fn pre_vote_answered(&mut self, from: &NodeId, term: Term, is_granted: bool) {
        let asked = self.hard_state.term + 1;
        if let Role::PreCandidate { granted } = &mut self.role
            && is_granted
            && term == asked
        {
            granted.insert(from.clone());
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        if let Role::PreCandidate { granted } = &self.role
            && self.configuration().is_majority(|id| granted.contains(id))
        {
            self.campaign(false);
        }
    }

    /// The leader hands over: nobody is asked first.
    pub(super) fn campaign_now(&mut self) {
        let may_lead = self.configurations.may_lead(&self.id, self.commit);
        if matches!(self.role, Role::Follower { .. }) && may_lead && !self.is_unfit {
            self.campaign(true);
        }
    }

    /// Begins an election. Its own vote counts once it is saved, and only then is anybody asked.
    fn campaign(&mut self, is_transfer: bool) {
        let term = self.hard_state.term + 1;
        self.enter_term(HardState { term, vote: Some(self.id.clone()) });
        self.role = Role::Candidate { granted: BTreeSet::new(), is_transfer };
        self.elapsed_ticks = 0;
        self.draw_patience();
        let last = self.log.last();
        for to in self.other_voters() {
            self.send(&to, Payload::Vote { last, is_transfer });
        }
    }

    pub(super) fn count_own_vote(&mut self) {
        let is_saved = self.hard_state_number <= self.saved_number;
        if is_saved && matches!(self.role, Role::Candidate { .. }) {
            let own = self.id.clone();
            self.vote_answered(&own, true);
        }
    }

    pub(super) fn vote_asked(&mut self, from: &NodeId, last: EntryId) {
        let is_free = self.hard_state.vote.as_ref().is_none_or(|vote| vote == from);
        let is_free = is_free || planted(Flaw::TwoVotesATerm);
        let may_lead = matches!(self.role, Role::Follower { leader: None });
        let granted = is_free && may_lead && self.is_up_to_date(last);
        if granted {
            if self.hard_state.vote.is_none() {
                self.hard_state.vote = Some(from.clone());
                self.save_hard_state();
            }
            self.elapsed_ticks = 0;
        }
        self.send(from, Payload::VoteReply { granted });
    }

    pub(super) fn vote_answered(&mut self, from: &NodeId, is_granted: bool) {
        let Role::Candidate { granted, .. } = &mut self.role else { return };
        if is_granted {
            granted.insert(from.clone());
        }
        if let Role::Candidate { granted, .. } = &self.role
            && self.configuration().is_majority(|id| granted.contains(id))
        {
            self.lead();
        }
    }

    /// Whether a log that ends at `last` has all that is committed (Raft paper, section 5.4.1).
    fn is_up_to_date(&self, last: EntryId) -> bool {
        // Term first, then index: that is how entries compare.
        last >= self.log.last() || planted(Flaw::VotesForOlderLogs)
    }

    fn lead(&mut self) {
        let last = self.log.last().index;
        let first = if planted(Flaw::NoNoop) { 0 } else { last + 1 };
        self.role = Role::Leader { first };
        self.agreed = 0;
        self.heartbeat_elapsed = self.heartbeat_ticks;
        if !planted(Flaw::OldProgressCounts) {
            self.peers.clear();
        }
        self.refresh_peers();
        if !planted(Flaw::NoNoop) {
            self.push(self.hard_state.term, Content::Noop);
        }
        self.start_round();
    }

    pub(super) fn tick_leader(&mut self) {
        for progress in self.peers.values_mut() {
            progress.silent_ticks = progress.silent_ticks.saturating_add(1);
            if let Some(sent) = &mut progress.on_its_way {
                sent.ticks = sent.ticks.saturating_add(1);
            }
        }
        if !self.hears_majority() && !planted(Flaw::NoCheckQuorum) {
            self.become_follower(self.hard_state.term, None);
            return;
        }
        self.resend_overdue();
        if let Role::Leader { first } = self.role
            && self.log.last().index < first
        {
            // A sole voter whose disk was full.
            self.push(self.hard_state.term, Content::Noop);
        }
        self.tick_transfer();
        self.widen_round();
        self.heartbeat_elapsed += 1;
        if self.heartbeat_elapsed >= self.heartbeat_ticks {
            self.start_round();
        }
    }

    /// Whether a majority has been heard within an election timeout (thesis, 6.2).
    fn hears_majority(&self) -> bool {
        let is_heard = |id: &NodeId| {
            let peer = self.peers.get(id);
            *id == self.id || peer.is_some_and(|peer| peer.silent_ticks < self.election_ticks)
        };
        self.configuration().is_majority(is_heard)
    }

    /// Follows whoever leads `term`, which is not older than the own one.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard_state.term {
            self.enter_term(HardState { term, vote: None });
        }
        self.elapsed_ticks = 0;
        self.draw_patience();
        self.follow(leader);
    }

    fn follow(&mut self, leader: Option<NodeId>) {
        self.leave_leadership();
        self.role = Role::Follower { leader };
    }

    pub(super) fn enter_term(&mut self, hard_state: HardState) {
        self.leave_leadership();
        self.hard_state = hard_state;
        // What was to be said in an older term says nothing in this one.
        self.held.clear();
        self.agreed = 0;
        self.save_hard_state();
    }

    fn leave_leadership(&mut self) {
        if !planted(Flaw::OldProgressCounts) {
            self.peers.clear();
        }
        self.transfer = None;
        self.ready.appends.clear();
        self.ready.snapshots.clear();
        let refused = self.reads.refuse_all();
        self.ready.reads_refused.extend(refused);
    }

    fn other_voters(&self) -> Vec<NodeId> {
        let voters = self.configuration().voters().iter();
        voters.filter(|id| **id != self.id).cloned().collect()
    }

    /// Brings `peers` in line with the configuration in force.
    pub(super) fn refresh_peers(&mut self) {
        if !self.is_leader() {
            return;
        }
        let last = self.log.last().index;
        let configuration = self.configurations.latest();
        self.peers.retain(|id, _| configuration.contains(id));
        for id in configuration.members().filter(|id| **id != self.id) {
            self.peers.entry(id.clone()).or_insert_with(|| Progress::new(last));
        }
    }
}
