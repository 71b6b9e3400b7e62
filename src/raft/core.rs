//! The state machine: what a node decides, from what it is told.
//!
//! One file for the whole decision, since roles, terms and the log change together; it must never
//! do what it decides. See the folder's documentation for the driver's duties.

use std::collections::{BTreeMap, BTreeSet};

use super::quorum::Voters;
use super::shape::Shape;
use super::types::{EntryId, EntryKind, HardState, Index, NodeId, Term};

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
    /// Who counts, by the last membership in the log.
    pub voters: Voters,
    /// Ticks without a leader after which to campaign; a sole voter does not wait.
    pub election_ticks: u32,
}

/// What this node is doing in the current term (Raft paper, figure 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, if one is known.
    Follower {
        /// Who leads this term.
        leader: Option<NodeId>,
    },
    /// Asks for votes.
    Candidate {
        /// Who has granted one, durably.
        granted: BTreeSet<NodeId>,
    },
    /// Leads the current term.
    Leader {
        /// The last entry known to be on each other member's disk.
        matched: BTreeMap<NodeId, Index>,
        /// The no-op that began this leadership.
        first: Index,
    },
}

/// What the core wants saved, applied and answered. Empty means: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// To be synced before anything else of this ready is acted upon.
    pub hard_state: Option<HardState>,
    /// To be appended and synced, with the hard state.
    pub entries: Vec<(EntryId, EntryKind)>,
    /// Held by a quorum: may be applied. Never goes back.
    pub commit: Index,
    /// Held by a quorum as soon as this node's own disk holds it.
    pub commit_once_durable: Index,
    /// Reads that may be served once the index beside them is applied.
    pub reads: Vec<(u64, Index)>,
    /// Reads that must be sent to another leader.
    pub reads_refused: Vec<u64>,
}

/// Another node leads, or none does: nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader;

/// One node's part in the protocol.
///
/// * `saved <= last`, `commit <= last`
/// * a leader's term is the hard state's
#[derive(Clone, Debug)]
pub struct Core {
    id: NodeId,
    hard_state: HardState,
    role: Role,
    voters: Voters,
    log: Shape,
    /// Last index on this node's disk.
    saved: Index,
    commit: Index,
    election_ticks: u32,
    elapsed_ticks: u32,
    /// Reads that wait for an entry of this term to be committed.
    waiting_reads: Vec<u64>,
    /// What the driver may apply by the readies it has, once it is durable.
    released: Index,
    ready: Ready,
}

impl Core {
    /// A node as it starts: a follower that knows no leader (Raft paper, section 5.2).
    pub fn new(start: Start) -> Self {
        let log = Shape::new(start.log_start, start.terms);
        let saved = log.last().index;
        assert!(start.commit <= saved, "the database stands for entries that the log lacks");
        Self {
            id: start.id,
            hard_state: start.hard_state,
            role: Role::Follower { leader: None },
            voters: start.voters,
            log,
            saved,
            commit: start.commit,
            election_ticks: start.election_ticks,
            elapsed_ticks: 0,
            waiting_reads: Vec::new(),
            released: start.commit,
            ready: Ready::default(),
        }
    }

    /// Advances logical time by one tick.
    ///
    /// A voter campaigns once it has heard no leader for an election timeout; one that counts
    /// alone has nobody to wait for. A leader whose no-op could not be written tries again.
    pub fn tick(&mut self) {
        match &self.role {
            Role::Leader { first, .. } => {
                if self.log.last().index < *first {
                    self.append(EntryKind::Noop);
                }
            }
            Role::Follower { .. } | Role::Candidate { .. } => {
                self.elapsed_ticks += 1;
                let is_due = self.elapsed_ticks >= self.election_ticks
                    || (self.voters.is_only(&self.id) && !self.is_candidate());
                if is_due && self.voters.contains(&self.id) {
                    self.campaign();
                }
            }
        }
    }

    /// Puts a new entry at the log's end, to be saved and replicated.
    ///
    /// # Errors
    /// [`NotLeader`]: nothing was proposed.
    pub fn propose(&mut self, kind: EntryKind) -> Result<EntryId, NotLeader> {
        match self.role {
            Role::Leader { .. } => Ok(self.append(kind)),
            Role::Follower { .. } | Role::Candidate { .. } => Err(NotLeader),
        }
    }

    /// Asks for a read index under a name that is never used twice (thesis, 6.4).
    ///
    /// The answer comes in a [`Ready`], once an entry of this term is committed.
    pub fn read(&mut self, name: u64) {
        if matches!(self.role, Role::Leader { .. }) {
            self.waiting_reads.push(name);
            self.release_reads();
        } else {
            self.ready.reads_refused.push(name);
        }
    }

    /// Says that the disk holds the hard state of `term` and everything up to `last`.
    ///
    /// A report about an entry that has since been replaced by another term's says nothing about
    /// the one that stands there now, and is passed over.
    pub fn saved(&mut self, term: Term, last: EntryId) {
        if self.log.holds(last) {
            self.saved = self.saved.max(last.index);
        }
        let is_vote_durable =
            term == self.hard_state.term && self.hard_state.vote.as_ref() == Some(&self.id);
        if is_vote_durable && self.is_candidate() {
            let own = self.id.clone();
            self.granted(own);
        }
        self.advance_commit();
    }

    /// Says that nothing behind `last` could be written (the disk is full).
    ///
    /// The entries are gone, and nobody was told that they exist. A sole voter leads on, for
    /// nobody could do better; among others, one who can write should lead.
    pub fn append_failed(&mut self, last: EntryId) {
        assert!(last.index >= self.commit, "what is committed has been written");
        self.log.truncate_after(last.index);
        self.saved = self.saved.min(last.index);
        self.released = self.released.min(last.index);
        self.ready.entries.retain(|(id, _)| id.index <= last.index);
        if self.is_candidate() || !self.voters.is_only(&self.id) {
            self.become_follower();
        }
    }

    /// Puts new voters in force, as soon as their entry is in the log (thesis, 4.1).
    pub fn set_voters(&mut self, voters: Voters) {
        self.voters = voters;
        self.advance_commit();
    }

    /// Forgets the entries up to `start`, which a checkpoint covers.
    pub fn compacted_to(&mut self, start: EntryId) {
        assert!(start.index <= self.commit, "only what is committed is compacted");
        self.log.compact_to(start);
    }

    /// What is to be done since this was last asked; `None` when nothing is.
    pub fn take_ready(&mut self) -> Option<Ready> {
        self.ready.commit = self.commit;
        self.ready.commit_once_durable = self.commit_once_durable();
        let is_empty = self.commit <= self.released
            && self.ready.hard_state.is_none()
            && self.ready.entries.is_empty()
            && self.ready.reads.is_empty()
            && self.ready.reads_refused.is_empty();
        self.released = self.released.max(self.ready.commit_once_durable);
        (!is_empty).then(|| std::mem::take(&mut self.ready))
    }

    /// What this node is doing.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Who leads the current term, if known.
    pub fn leader(&self) -> Option<&NodeId> {
        match &self.role {
            Role::Follower { leader } => leader.as_ref(),
            Role::Candidate { .. } => None,
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

    /// The last entry known to be committed.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Whether an entry of this node's own leadership is committed: it knows what the others
    /// before it have committed, and may serve reads.
    pub fn is_established(&self) -> bool {
        matches!(&self.role, Role::Leader { first, .. } if self.commit >= *first)
    }

    fn is_candidate(&self) -> bool {
        matches!(self.role, Role::Candidate { .. })
    }

    /// Begins an election; the vote for itself counts once it is saved.
    fn campaign(&mut self) {
        self.hard_state = HardState { term: self.hard_state.term + 1, vote: Some(self.id.clone()) };
        self.ready.hard_state = Some(self.hard_state.clone());
        self.role = Role::Candidate { granted: BTreeSet::new() };
        self.elapsed_ticks = 0;
    }

    /// Counts a vote, and leads once a majority has granted theirs.
    fn granted(&mut self, by: NodeId) {
        let Role::Candidate { granted } = &mut self.role else { return };
        granted.insert(by);
        if self.voters.elected_by(granted) {
            let first = self.log.last().index + 1;
            self.role = Role::Leader { matched: BTreeMap::new(), first };
            self.append(EntryKind::Noop);
        }
    }

    fn become_follower(&mut self) {
        self.role = Role::Follower { leader: None };
        self.elapsed_ticks = 0;
        self.ready.reads_refused.append(&mut self.waiting_reads);
    }

    fn append(&mut self, kind: EntryKind) -> EntryId {
        let id = self.log.push(self.hard_state.term);
        self.ready.entries.push((id, kind));
        id
    }

    /// Commits what a majority holds, if it is of this term (Raft paper, section 5.4.2).
    fn advance_commit(&mut self) {
        let held = self.held_by_majority(self.saved);
        if held > self.commit {
            self.commit = held;
            self.release_reads();
        }
    }

    /// What will be committed by the time this node's disk holds its whole log.
    fn commit_once_durable(&self) -> Index {
        self.held_by_majority(self.log.last().index).max(self.commit)
    }

    /// The last entry of this term that a majority holds when this node holds `own`; else 0.
    fn held_by_majority(&self, own: Index) -> Index {
        let Role::Leader { matched, .. } = &self.role else { return 0 };
        let held = self.voters.held_by_majority(|id| {
            if *id == self.id { own } else { matched.get(id).copied().unwrap_or(0) }
        });
        if self.log.term_at(held) == Some(self.hard_state.term) { held } else { 0 }
    }

    /// Lets reads go that nothing stands in the way of. A sole voter needs no round to know that
    /// nobody else leads.
    fn release_reads(&mut self) {
        if self.is_established() && self.voters.is_only(&self.id) {
            let commit = self.commit;
            self.ready.reads.extend(self.waiting_reads.drain(..).map(|name| (name, commit)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(voters: &[&str]) -> Start {
        Start {
            id: "a".to_owned(),
            hard_state: HardState { term: 1, vote: None },
            log_start: EntryId::default(),
            terms: vec![1],
            commit: 0,
            voters: Voters::new(voters.iter().map(|id| (*id).to_owned())),
            election_ticks: 3,
        }
    }

    fn leader() -> Core {
        let mut core = Core::new(start(&["a"]));
        core.tick();
        core.take_ready().unwrap();
        core.saved(2, core.last());
        core
    }

    #[test]
    fn a_vote_counts_only_once_it_is_saved() {
        let mut core = Core::new(start(&["a"]));
        core.tick();
        let ready = core.take_ready().unwrap();
        assert_eq!(ready.hard_state, Some(HardState { term: 2, vote: Some("a".to_owned()) }));
        assert_eq!(core.leader(), None, "the vote is not on the disk yet");
        core.saved(1, core.last());
        assert_eq!(core.leader(), None, "a report about an older term");
        core.saved(2, core.last());
        assert_eq!(core.leader(), Some(&"a".to_owned()));
    }

    #[test]
    fn an_entry_is_committed_only_once_it_is_saved() {
        let mut core = leader();
        let noop = core.take_ready().unwrap();
        assert_eq!(noop.entries, [(EntryId { term: 2, index: 2 }, EntryKind::Noop)]);
        assert_eq!((noop.commit, noop.commit_once_durable), (0, 2));
        let id = core.propose(EntryKind::Command).unwrap();
        assert_eq!(core.commit(), 0, "nothing of this term is saved");
        core.saved(2, EntryId { term: 2, index: 2 });
        assert_eq!(core.commit(), 2, "the no-op commits what came before it");
        core.saved(2, id);
        assert_eq!(core.commit(), 3);
    }

    #[test]
    fn reads_wait_for_an_entry_of_this_term() {
        let mut core = leader();
        core.read(7);
        assert_eq!(core.take_ready().unwrap().reads, []);
        core.saved(2, core.last());
        core.read(8);
        assert_eq!(core.take_ready().unwrap().reads, [(7, 2), (8, 2)]);
    }

    #[test]
    fn a_minority_neither_leads_nor_commits() {
        let mut core = Core::new(start(&["a", "b", "c"]));
        core.tick();
        assert_eq!(core.take_ready(), None, "others may lead: wait for the timeout");
        core.tick();
        core.tick();
        core.saved(2, core.last());
        assert!(core.is_candidate());
        assert_eq!(core.propose(EntryKind::Command), Err(NotLeader));
        core.read(1);
        assert_eq!(core.take_ready().unwrap().reads_refused, [1]);
    }

    #[test]
    fn a_full_disk_takes_back_what_was_not_written() {
        let mut core = leader();
        core.saved(2, core.last());
        let written = core.last();
        core.take_ready();
        core.propose(EntryKind::Command).unwrap();
        core.append_failed(written);
        assert_eq!(core.last(), written);
        assert_eq!(core.take_ready(), None, "what failed is not to be written again");
        assert_eq!(core.propose(EntryKind::Command), Ok(EntryId { term: 2, index: 3 }));
    }

    #[test]
    fn a_report_about_a_replaced_entry_is_passed_over() {
        let mut core = leader();
        let stale = EntryId { term: 1, index: core.last().index };
        core.saved(2, stale);
        assert_eq!(core.commit(), 0);
    }
}
