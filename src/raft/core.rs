//! The state machine: what a node is, and what it may be told.
//!
//! The decisions are in the files beside this one, a chapter of the thesis each: `election`,
//! `replication`, `reads`, `membership`. They share this one state, since roles, terms and the log
//! change together; none of them does what it decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::configuration::{Configuration, Configurations};
use super::durable::{Before, Held, Saving, UNWRITTEN};
use super::flaw::{Flaw, planted};
use super::message::{Content, Message, Payload};
use super::progress::Progress;
use super::random::Random;
use super::reads::Reads;
use super::ready::Ready;
use super::shape::Shape;
use super::types::{EntryId, HardState, Index, NodeId, Term};

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// This node's name.
    pub id: NodeId,
    /// The last term and vote that were synced.
    pub hard_state: HardState,
    /// The last entry that is no longer in the log.
    pub log_start: EntryId,
    /// The term of each entry in the log, first to last.
    pub terms: Vec<Term>,
    /// Last entry known to be committed: what the database file stands for.
    pub commit: Index,
    /// Where each configuration in the log stands, the one in force at its start before them (at
    /// the start's index or before); never empty.
    pub configurations: Vec<(Index, Configuration)>,
    /// Ticks without a leader after which to campaign, at least; twice as many at the most. A
    /// sole voter does not wait.
    pub election_ticks: u32,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: u32,
    /// Where its random numbers begin; to differ from node to node and start to start.
    pub seed: u64,
}

/// What this node is doing in the current term (Raft paper, figure 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, if one is known.
    Follower {
        /// Who leads this term.
        leader: Option<NodeId>,
    },
    /// Asks whether it would be elected (thesis, 9.6).
    PreCandidate {
        /// Who would vote for it.
        granted: BTreeSet<NodeId>,
    },
    /// Asks for votes.
    Candidate {
        /// Who has granted one, durably.
        granted: BTreeSet<NodeId>,
        /// The leader itself asked it to.
        is_transfer: bool,
    },
    /// Leads the current term.
    Leader {
        /// The no-op that began this leadership.
        first: Index,
    },
}

/// Why nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node leads, or none does.
    NotLeader,
    /// Leadership is being handed over: the next leader will take it.
    Transferring,
    /// Another change of members is not committed yet, or nothing of this term is.
    Pending,
    /// More than one voter would change at once, or none would be left.
    Unsafe,
    /// That member is not there, does not count, or is this node.
    NoSuchVoter,
}

/// Leadership on its way to another.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    pub(super) ticks: u32,
    pub(super) is_asked: bool,
}

/// One node's part in the protocol.
///
/// * `commit <= saved <= last`: nothing is applied that the own log could lose
/// * a leader's term is the hard state's, and has been saved
/// * `peers` is filled on a leader only, with everybody else in the latest configuration
#[derive(Clone, Debug)]
pub struct Core {
    pub(super) id: NodeId,
    pub(super) hard_state: HardState,
    pub(super) role: Role,
    pub(super) log: Shape,
    pub(super) configurations: Configurations,
    /// Last index on this node's disk.
    pub(super) saved: Index,
    pub(super) commit: Index,
    /// What a leader has said to be committed.
    pub(super) leader_commit: Index,
    /// Equal to the log of this term's leader up to here; 0 when nothing is known.
    pub(super) agreed: Index,
    pub(super) election_ticks: u32,
    pub(super) heartbeat_ticks: u32,
    pub(super) random: Random,
    /// Ticks since a leader was heard, or since the campaign began.
    pub(super) elapsed_ticks: u32,
    /// At which of them to campaign.
    pub(super) patience_ticks: u32,
    /// Ticks since the last heartbeat was sent.
    pub(super) heartbeat_elapsed: u32,
    pub(super) peers: BTreeMap<NodeId, Progress>,
    pub(super) transfer: Option<Transfer>,
    pub(super) reads: Reads,
    pub(super) held: VecDeque<Held>,
    pub(super) saving: VecDeque<Saving>,
    /// How far the log was cut since the last ready that appends; `Index::MAX` when it was not.
    pub(super) cut: Index,
    /// What an install that is not saved yet would replace.
    pub(super) before: Option<Before>,
    /// The number of the next ready that has to be saved.
    pub(super) number: u64,
    /// The ready that the latest hard state is in, or `UNWRITTEN`.
    pub(super) hard_state_number: u64,
    /// The last ready that has been saved.
    pub(super) saved_number: u64,
    pub(super) failures: u64,
    /// Could not write if it led.
    pub(super) is_unfit: bool,
    /// What the driver may apply by the readies it has, once it is durable.
    pub(super) released: Index,
    pub(super) ready: Ready,
}

impl Core {
    /// A node as it starts: a follower that knows no leader (Raft paper, section 5.2).
    pub fn new(start: Start) -> Self {
        let log = Shape::new(start.log_start, start.terms);
        let saved = log.last().index;
        assert!(start.commit <= saved, "the database stands for entries that the log lacks");
        let mut configurations = start.configurations.into_iter();
        let (index, first) = configurations.next().unwrap_or_default();
        let mut known = Configurations::new(index, first);
        for (index, configuration) in configurations {
            known.push(index, configuration);
        }
        let mut core = Self {
            id: start.id,
            hard_state: start.hard_state,
            role: Role::Follower { leader: None },
            log,
            configurations: known,
            saved,
            commit: start.commit,
            leader_commit: start.commit,
            agreed: 0,
            election_ticks: start.election_ticks,
            heartbeat_ticks: start.heartbeat_ticks,
            random: Random::new(start.seed),
            elapsed_ticks: 0,
            patience_ticks: 0,
            heartbeat_elapsed: 0,
            peers: BTreeMap::new(),
            transfer: None,
            reads: Reads::default(),
            held: VecDeque::new(),
            saving: VecDeque::new(),
            cut: Index::MAX,
            before: None,
            number: 1,
            hard_state_number: 0,
            saved_number: 0,
            failures: 0,
            is_unfit: false,
            released: start.commit,
            ready: Ready::default(),
        };
        core.draw_patience();
        core
    }

    /// Advances logical time by one tick.
    pub fn tick(&mut self) {
        if self.hard_state_number == UNWRITTEN {
            self.save_hard_state();
        }
        if self.is_leader() { self.tick_leader() } else { self.tick_waiting() }
    }

    /// Takes in a message from another node.
    pub fn step(&mut self, from: &NodeId, message: Message) {
        debug_assert!(*from != self.id, "nobody writes to itself");
        if !self.accepts(from, &message) {
            return;
        }
        match message.payload {
            Payload::PreVote { last } => self.pre_vote_asked(from, message.term, last),
            Payload::PreVoteReply { granted } => {
                self.pre_vote_answered(from, message.term, granted);
            }
            Payload::Vote { last, .. } => self.vote_asked(from, last),
            Payload::VoteReply { granted } => self.vote_answered(from, granted),
            Payload::Heartbeat { commit, round } => self.heartbeat(from, commit, round),
            Payload::HeartbeatReply { round, matched, last } => {
                self.heartbeat_answered(from, round, matched, last);
            }
            Payload::Append { prev, entries, commit, round } => {
                self.append_asked(from, prev, entries, commit, round);
            }
            Payload::Appended { matched, round } => self.appended(from, matched, round),
            Payload::Refused { prev, hint, round } => self.append_refused(from, prev, hint, round),
            Payload::Snapshot { last, configuration } => {
                self.snapshot_offered(from, last, configuration);
            }
            Payload::TimeoutNow => self.campaign_now(),
        }
    }

    /// Compares terms, as every message begins (Raft paper, figure 2, rules for all servers);
    /// false: the message has been dealt with.
    fn accepts(&mut self, from: &NodeId, message: &Message) -> bool {
        let own = self.hard_state.term;
        match &message.payload {
            // A pre-vote's term is one that nobody is in, and says nothing about the sender.
            Payload::PreVote { .. } | Payload::PreVoteReply { granted: true } => return true,
            Payload::Vote { is_transfer, .. }
                if message.term > own
                // Whoever hears its leader well does not let others disturb it (thesis, 4.2.3).
                && !is_transfer && self.hears_leader() =>
            {
                return false;
            }
            _ => {}
        }
        if message.term > own {
            let leader = message.payload.is_from_leader().then(|| from.clone());
            self.become_follower(message.term, leader);
            return true;
        }
        if message.term < own && planted(Flaw::OlderTermsCount) {
            return !message.payload.is_from_leader();
        }
        if message.term < own {
            // Not silence: a leader or candidate of an older term must learn that it is one.
            self.answer_older(from, &message.payload);
            return false;
        }
        if message.payload.is_from_leader() {
            assert!(!self.is_leader(), "two leaders in term {own}: {from} and this node");
            self.hear_leader(from);
        }
        true
    }

    fn answer_older(&mut self, from: &NodeId, payload: &Payload) {
        let answer = match payload {
            Payload::Vote { .. } => Payload::VoteReply { granted: false },
            Payload::Heartbeat { round, .. } => {
                Payload::HeartbeatReply { round: *round, matched: 0, last: 0 }
            }
            Payload::Append { prev, round, .. } => {
                Payload::Refused { prev: prev.index, hint: EntryId::default(), round: *round }
            }
            Payload::Snapshot { .. } => {
                Payload::Refused { prev: 0, hint: EntryId::default(), round: 0 }
            }
            _ => return,
        };
        self.send(from, answer);
    }

    /// Forgets the entries up to `start`, which a checkpoint covers.
    pub fn compacted_to(&mut self, start: EntryId) {
        if let Some(before) = &mut self.before
            && start.index > before.log.start().index
        {
            before.log.compact_to(start);
            before.configurations.compact_to(start.index);
        }
        if start.index <= self.log.start().index {
            return;
        }
        assert!(start.index <= self.commit, "only what is committed is compacted");
        self.log.compact_to(start);
        self.configurations.compact_to(start.index);
    }

    /// What is to be done since this was last asked; `None` when nothing is.
    pub fn take_ready(&mut self) -> Option<Ready> {
        self.start_round_if_due();
        self.replicate();
        self.ready.commit = self.commit;
        self.ready.commit_once_durable = self.commit_once_durable();
        self.ready.failures = self.failures;
        let is_empty = self.ready.commit_once_durable <= self.released
            && !self.ready.has_to_be_saved()
            && self.ready.messages.is_empty()
            && self.ready.appends.is_empty()
            && self.ready.snapshots.is_empty()
            && self.ready.reads.is_empty()
            && self.ready.reads_refused.is_empty();
        self.released = self.released.max(self.ready.commit_once_durable);
        if is_empty {
            return None;
        }
        let mut ready = std::mem::take(&mut self.ready);
        if ready.has_to_be_saved() {
            ready.number = self.number;
            // The disk follows when there is something to append.
            let cut = match ready.entries.is_empty() {
                true => Index::MAX,
                false => std::mem::replace(&mut self.cut, Index::MAX),
            };
            let last = self.log.last().index;
            self.saving.push_back(Saving { number: self.number, last, cut });
            self.number += 1;
        }
        Some(ready)
    }

    /// What this node is doing.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Who leads the current term, if known.
    pub fn leader(&self) -> Option<&NodeId> {
        match &self.role {
            Role::Follower { leader } => leader.as_ref(),
            Role::PreCandidate { .. } | Role::Candidate { .. } => None,
            Role::Leader { .. } => Some(&self.id),
        }
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The log's last entry.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// The last entry that is no longer in the log.
    pub fn log_start(&self) -> EntryId {
        self.log.start()
    }

    /// The term at `index`, where it is known.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The last entry known to be committed.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The last entry known to be on this node's disk.
    pub fn durable(&self) -> Index {
        self.saved
    }

    /// Who belongs to the cluster, by the latest entry that says so.
    pub fn configuration(&self) -> &Configuration {
        self.configurations.latest()
    }

    /// Where that entry stands.
    pub fn configuration_index(&self) -> Index {
        self.configurations.index()
    }

    /// On a leader: the last entry known to be on `peer`'s disk.
    pub fn matched(&self, peer: &str) -> Option<Index> {
        self.peers.get(peer).map(|progress| progress.matched)
    }

    /// On a leader: ticks since `peer` was heard.
    pub fn silent_ticks(&self, peer: &str) -> Option<u32> {
        self.peers.get(peer).map(|progress| progress.silent_ticks)
    }

    /// Ticks since the leader was heard; 0 on a leader.
    pub fn ticks_without_leader(&self) -> u32 {
        if self.is_leader() { 0 } else { self.elapsed_ticks }
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Whether an entry of this node's own leadership is committed: it knows what the others
    /// before it have committed, and may serve reads.
    pub fn is_established(&self) -> bool {
        matches!(&self.role, Role::Leader { first, .. } if self.commit >= *first)
    }

    /// Puts an entry at the log's end.
    pub(super) fn push(&mut self, term: Term, content: Content) -> EntryId {
        let id = self.log.push(term);
        self.ready.entries.push((id, content.kind()));
        if let Content::Configuration(configuration) = content {
            self.configurations.push(id.index, configuration);
            self.refresh_peers();
        }
        id
    }
}
