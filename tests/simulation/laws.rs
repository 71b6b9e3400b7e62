//! What must hold after every step, whatever goes wrong (Raft paper, figure 3; thesis, chapters 3
//! to 6). A broken law is a panic.

use std::collections::{BTreeMap, BTreeSet};

use super::super::configuration::Configuration;
use super::super::core::Role;
use super::super::message::{Message, Payload};
use super::super::ready::Ready;
use super::super::types::{EntryId, HardState, Index, NodeId, Term};
use super::machine::Entry;
use super::node::Pending;
use super::world::World;

/// What is known of the whole history of a run.
#[derive(Debug, Default)]
pub(super) struct Laws {
    leaders: BTreeMap<Term, NodeId>,
    /// The hash of each entry and all before it, by its name.
    chains: BTreeMap<EntryId, u64>,
    /// What was ever committed, from index 1.
    committed: Vec<EntryId>,
    /// The state after each index.
    digests: BTreeMap<Index, u64>,
    /// Where each call was applied.
    placed: BTreeMap<u64, Index>,
    refused: BTreeSet<u64>,
    acknowledged: Index,
    /// What each node has ever made durable.
    hard_states: BTreeMap<NodeId, HardState>,
}

/// What a node was before a message.
pub(super) struct Before {
    term: Term,
    vote: Option<NodeId>,
    role: Role,
    elapsed: u32,
    hears: bool,
}

impl Laws {
    pub(super) fn found(&mut self, first: EntryId, entry: &Entry, digest: u64) {
        self.chains.insert(first, entry.hash(0));
        self.committed.push(first);
        self.digests.insert(first.index, digest);
    }

    pub(super) fn acknowledged(&self) -> Index {
        self.acknowledged
    }

    pub(super) fn acknowledge(&mut self, index: Index) {
        self.acknowledged = self.acknowledged.max(index);
    }

    pub(super) fn refused(&mut self, name: u64) {
        self.refused.insert(name);
    }

    /// A node that is all by itself has lost what nobody else has ever seen.
    pub(super) fn forget(&mut self, term: Term, last: Index) {
        self.chains.retain(|id, _| id.term != term || id.index <= last);
    }

    fn committed_at(&self, index: Index) -> Option<EntryId> {
        let place = usize::try_from(index).ok()?.checked_sub(1)?;
        self.committed.get(place).copied()
    }

    /// Logs that agree on an entry agree on all before it.
    fn appended(&mut self, node: &NodeId, prev: EntryId, id: EntryId, entry: &Entry) {
        let before = match prev.index {
            0 => Some(0),
            _ => self.chains.get(&prev).copied(),
        };
        let before = before.unwrap_or_else(|| panic!("{node} appends behind {prev:?}, unheard of"));
        let hash = entry.hash(before);
        let known = *self.chains.entry(id).or_insert(hash);
        assert!(known == hash, "{node} has another entry {id:?} than others had");
    }

    /// One change at a time, after an entry of the own term, and majorities that overlap.
    pub(super) fn check_change(
        &self,
        leader: &NodeId,
        (before, at): (&Configuration, Index),
        to: &Configuration,
        term: Term,
    ) {
        let committed = self.committed.len() as Index;
        assert!(at <= committed, "{leader} changes members while the last change is pending");
        let is_own = self.committed.iter().rev().any(|id| id.term == term);
        assert!(is_own, "{leader} changes members before an entry of its own term is committed");
        assert!(before.voters_changed(to) <= 1, "{leader} changes two voters at once");
        assert!(!to.voters().is_empty(), "{leader} leaves no voters");
    }
}

impl World {
    /// What holds of a core at any time.
    pub(super) fn check_core(&mut self, id: &NodeId) {
        let node = self.nodes.get_mut(id).expect("it was asked");
        let core = node.core.as_ref().expect("it is up");
        let (term, commit, last) = (core.term(), core.commit(), core.last().index);
        assert!(commit <= last, "{id} has committed {commit} of a log that ends at {last}");
        assert!(core.log_start().index <= last, "{id}: a log that ends before it begins");
        assert!(core.held.len() < 5000, "{id} holds messages back without end");
        self.trace = super::random::chain(self.trace, term ^ (commit << 20) ^ (last << 40));
        if core.is_leader() && node.led != term {
            node.led = term;
            node.heard.clear();
            let ticks = node.ticks;
            for member in core.configuration().members() {
                node.heard.insert(member.clone(), ticks);
            }
            self.check_leadership(id, term);
        }
        self.check_progress(id);
        let committed = self.laws.committed.len() as Index;
        if commit > committed {
            let node = &self.nodes[id];
            let core = node.core.as_ref().expect("it is up");
            // One that leads no more by now has counted when it did.
            let (led, top) = (node.led, core.term_at(commit));
            assert!(top == Some(led), "{id} commits {commit} of {top:?}, which no leader has");
            let mut majorities = vec![core.configuration().clone()];
            // What was said to be committed once durable may have been so by other members.
            let promised = node.promised.iter().filter(|(index, _)| *index >= commit);
            majorities.extend(promised.map(|(_, configuration)| configuration.clone()));
            self.extend(id, commit, &majorities, led);
        }
    }

    /// One leader a term, with everything that is committed, and one of the voters.
    fn check_leadership(&mut self, id: &NodeId, term: Term) {
        self.note(|| format!("{id} leads term {term}"));
        self.count("elections won");
        let leader = self.laws.leaders.entry(term).or_insert_with(|| id.clone());
        assert!(leader == id, "two leaders in term {term}: {leader} and {id}");
        let core = self.nodes[id].core.as_ref().expect("it leads");
        let from = core.log_start().index;
        // One of an older term than has led already need not know what was committed since.
        let is_latest = self.laws.leaders.last_key_value().is_some_and(|(last, _)| *last == term);
        let to = if is_latest { self.laws.committed.len() as Index } else { 0 };
        for index in from.max(1)..=to {
            let committed = self.laws.committed_at(index).expect("it is in the range");
            let own = core.term_at(index);
            assert!(own == Some(committed.term), "{id} leads and has {own:?} for {committed:?}");
        }
        let is_pending = core.configuration_index() > core.commit();
        let is_voter = core.configuration().is_voter(id);
        assert!(is_voter || is_pending, "{id} leads, and does not count");
    }

    /// What a leader knows of the others is true.
    fn check_progress(&mut self, id: &NodeId) {
        let core = self.nodes[id].core.as_ref().expect("it is up");
        // What an older leader was told may have been replaced since.
        let is_latest = self.laws.leaders.last_key_value().is_some_and(|(t, _)| *t == core.term());
        if !core.is_leader() || !is_latest {
            return;
        }
        let mut news = Vec::new();
        for member in core.configuration().members().filter(|member| *member != id) {
            let matched = core.matched(member).unwrap_or(0);
            if matched == 0 {
                continue;
            }
            let node = self.nodes.get(member).expect("members were started");
            let term = core.term_at(matched);
            let holds = term.is_none_or(|term| node.disk.keeps(EntryId { term, index: matched }));
            assert!(holds, "{id} takes {member} to hold {matched}@{term:?}");
            news.push((member.clone(), matched, core.term()));
        }
        let members = core.configuration().clone();
        let node = self.nodes.get_mut(id).expect("it leads");
        // Who was removed and comes back is a stranger.
        node.matched.retain(|(member, _), _| members.contains(member));
        node.heard.retain(|member, _| members.contains(member));
        for (member, matched, term) in news {
            let known = node.matched.entry((member.clone(), term)).or_default();
            assert!(matched >= *known, "{id}: what {member} holds goes back from {known}");
            *known = matched;
        }
    }

    /// What is committed is so for ever, by an entry of the term, on a majority's disks.
    fn extend(&mut self, id: &NodeId, commit: Index, majorities: &[Configuration], term: Term) {
        let core = self.nodes[id].core.as_ref().expect("it is up");
        let known = self.laws.committed.len() as Index;
        let top = core.term_at(commit);
        assert!(top == Some(term), "{id} commits {commit} of {top:?} by counting in term {term}");
        for index in known + 1..=commit {
            let term = core.term_at(index).expect("it is in the log");
            let entry = EntryId { term, index };
            let holds = |voter: &NodeId| self.nodes.get(voter).is_some_and(|n| n.disk.keeps(entry));
            let is_majority = majorities.iter().any(|configuration| {
                let count = configuration.voters().iter().filter(|voter| holds(voter)).count();
                count * 2 > configuration.voters().len()
            });
            assert!(
                is_majority,
                "{id} commits {entry:?}, which no majority of {majorities:?} holds"
            );
            self.laws.committed.push(entry);
        }
    }

    /// Before a disk's news let entries be applied.
    pub(super) fn check_commit(&mut self, id: &NodeId, pending: &Pending) {
        let commit = pending.commit.max(pending.once_durable);
        if commit > self.laws.committed.len() as Index {
            self.extend(id, commit, std::slice::from_ref(&pending.configuration), pending.term);
        }
    }

    pub(super) fn check_ready(&mut self, id: &NodeId, ready: &Ready) {
        let node = &self.nodes[id];
        let core = node.core.as_ref().expect("it is up");
        if let Some(new) = &ready.hard_state {
            let old = &node.last_hard_state;
            let is_kept = old.vote.is_none() || old.vote == new.vote;
            assert!(
                new.term > old.term || (new.term == old.term && is_kept),
                "{id} goes from {old:?} to {new:?}"
            );
        }
        if let Some(install) = &ready.install {
            let (last, at) = (core.last().index, core.configuration_index());
            let appended = ready.entries.len() as Index;
            assert!(last == install.last.index + appended, "{id} installs, and keeps its log");
            assert!(at >= install.last.index, "{id} installs, and keeps its members");
        }
        let durable = node.disk.last().index;
        assert!(ready.commit <= durable, "{id} may apply {}, and has {durable}", ready.commit);
        if core.is_leader()
            && let Some((first, _)) = ready.entries.first()
        {
            let is_new = node.log.range(first.index..).all(|(_, entry)| entry.term == core.term());
            assert!(is_new, "{id} leads and replaces entries of its own log");
        }
        if let Some(hard_state) = ready.hard_state.clone() {
            self.node(id).last_hard_state = hard_state;
        }
    }

    /// What a message says is durable by then.
    pub(super) fn check_promise(&mut self, id: &NodeId, to: &NodeId, message: &Message) {
        let node = &self.nodes[id];
        let durable = &node.disk.hard_state;
        let core = node.core.as_ref().expect("it sends");
        let is_question = matches!(
            message.payload,
            Payload::PreVote { .. } | Payload::PreVoteReply { granted: true }
        );
        assert!(
            is_question || durable.term >= message.term,
            "{id} speaks in term {}, and its disk has {durable:?}",
            message.term
        );
        let is_same = durable.term == message.term;
        let vote = match &message.payload {
            Payload::VoteReply { granted: true } => Some(to),
            Payload::Vote { .. } => Some(id),
            _ => None,
        };
        if let (Some(vote), true) = (vote, is_same) {
            let is_durable = durable.vote.as_ref() == Some(vote);
            assert!(is_durable, "{id} votes for {vote}, and its disk has {durable:?}");
        }
        let matched = match &message.payload {
            Payload::Appended { matched, .. } | Payload::HeartbeatReply { matched, .. } => *matched,
            _ => 0,
        };
        if matched > 0 && message.term == core.term() {
            let term = core.term_at(matched).or(node.disk.term_at(matched));
            let holds = term.is_none_or(|term| node.disk.keeps(EntryId { term, index: matched }));
            assert!(holds, "{id} acknowledges {matched}@{term:?} to {to}, and does not hold it");
        }
    }

    /// A disk never goes back, and what is on it agrees with all others.
    pub(super) fn check_disk(&mut self, id: &NodeId) {
        let node = &self.nodes[id];
        let disk = &node.disk;
        let new = disk.hard_state.clone();
        let old = self.laws.hard_states.entry(id.clone()).or_default();
        let is_kept = old.term < new.term
            || (old.term == new.term && (old.vote.is_none() || old.vote == new.vote));
        assert!(is_kept, "the disk of {id} goes from {old:?} to {new:?}");
        *old = new;
        let mut prev = disk.start;
        for (index, entry) in &disk.log {
            let at = EntryId { term: entry.term, index: *index };
            assert!(prev.index + 1 == *index, "the log of {id} has a gap before {index}");
            self.laws.appended(id, prev, at, entry);
            prev = at;
        }
        let applied = disk.checkpoint.applied.index;
        let start = disk.start.index;
        assert!(
            start <= applied,
            "the log of {id} begins after {start}, its state ends at {applied}"
        );
    }

    pub(super) fn check_restart(&mut self, id: &NodeId) {
        self.check_disk(id);
    }

    /// Once, in order, to the same end everywhere, with its body at hand.
    pub(super) fn check_applied(&mut self, id: &NodeId, at: EntryId) {
        let node = &self.nodes[id];
        let committed = self.laws.committed_at(at.index);
        assert!(committed == Some(at), "{id} applies {at:?}, and {committed:?} is committed");
        let digest = node.state.digest;
        let known = *self.laws.digests.entry(at.index).or_insert(digest);
        assert!(known == digest, "{id} is in another state at {at:?} than others were");
        let Some(command) = &node.disk.log[&at.index].command else { return };
        let place = *self.laws.placed.entry(command.name).or_insert(at.index);
        assert!(place == at.index, "{} is applied at {place} and at {at:?}", command.name);
        let is_refused = self.laws.refused.contains(&command.name);
        assert!(!is_refused, "{} was refused, and {id} applies it", command.name);
        let body = command.body.is_none_or(|body| node.disk.bodies.contains(&body));
        assert!(body, "{id} applies {at:?} and lacks its body");
    }

    pub(super) fn before_message(
        &mut self,
        id: &NodeId,
        from: &NodeId,
        message: &Message,
    ) -> Before {
        let node = self.nodes.get_mut(id).expect("it is told");
        let core = node.core.as_ref().expect("it is up");
        let is_answer = matches!(
            message.payload,
            Payload::HeartbeatReply { .. } | Payload::Appended { .. } | Payload::Refused { .. }
        );
        if is_answer && message.term == core.term() {
            node.heard.insert(from.clone(), node.ticks);
        }
        let hears = match core.role() {
            Role::Leader { .. } => true,
            Role::Follower { leader: Some(_) } => core.ticks_without_leader() < core.election_ticks,
            _ => false,
        };
        Before {
            term: core.term(),
            vote: core.hard_state.vote.clone(),
            role: core.role().clone(),
            elapsed: core.ticks_without_leader(),
            hears,
        }
    }

    /// Pre-votes change nothing, and nobody who hears a leader is moved to vote.
    pub(super) fn check_message(&mut self, id: &NodeId, message: &Message, before: &Before) {
        let core = self.nodes[id].core.as_ref().expect("it was told");
        let is_same = core.term() == before.term && core.hard_state.vote == before.vote;
        match &message.payload {
            Payload::PreVote { .. } => {
                let is_same = is_same && core.role() == &before.role;
                let is_same = is_same && core.ticks_without_leader() == before.elapsed;
                assert!(is_same, "a pre-vote changes {id}");
            }
            Payload::Vote { is_transfer: false, .. } if before.hears => {
                assert!(is_same, "{id} hears its leader, and a vote request changes it");
            }
            _ => assert!(core.term() >= before.term, "the term of {id} goes back"),
        }
    }

    /// A leader that has heard no majority for an election timeout, by its own clock, is none.
    pub(super) fn check_contact(&mut self, id: &NodeId) {
        let ticks = u64::from(self.plan.election_ticks);
        let node = self.nodes.get_mut(id).expect("it ticks");
        if !node.leads() {
            return;
        }
        let now = node.ticks;
        let members = node.core.as_ref().expect("it leads").configuration().clone();
        for member in members.members() {
            node.heard.entry(member.clone()).or_insert(now);
        }
        let hears = |voter: &&NodeId| {
            *voter == id || node.heard.get(*voter).is_some_and(|at| now - at <= ticks)
        };
        let count = members.voters().iter().filter(hears).count();
        assert!(count * 2 > members.voters().len(), "{id} leads, and hears {count}");
    }
}
