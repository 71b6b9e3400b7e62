//! Members come and go, and leadership moves: one change at a time, each to be committed before
//! the next.
//!
//! What a request makes of the members is decided in `changes`, without any state; whether the
//! protocol allows it now, in the core.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::answers::MemberError;
use super::changes::{self, Change, ChangeRequest, ReapAfter};
use super::consensus::Consensus;
use super::membership::Membership;
use super::start::TICKS_PER_ELECTION;
use super::status::Member;
use super::writer::NewEntry;
use crate::raft::{EntryKind, Index, NodeId, Refusal};

/// Requests that may wait for their turn: far more than a cluster has members.
const WAITING_MAX: usize = 64;

type Reply = Sender<Result<(), MemberError>>;

/// What is to be changed, and what is known for it.
pub(super) struct Changes {
    waiting: VecDeque<(ChangeRequest, Option<Reply>)>,
    /// A step of a change, in the log and to be committed.
    pending: Option<(Index, ChangeRequest, Option<Reply>)>,
    /// Leadership on its way to another.
    handing_over: Option<Reply>,
    /// Where the log ended a tick ago.
    last: Index,
    /// Since when a member has been silent.
    silent_since: BTreeMap<NodeId, Instant>,
    reap_after: ReapAfter,
    /// Another node has said that this one was removed.
    is_removed: bool,
    /// Whether to end the process then.
    stops_when_removed: bool,
}

impl Changes {
    pub(super) fn new(reap_after: ReapAfter, stops_when_removed: bool) -> Self {
        Self {
            waiting: VecDeque::new(),
            pending: None,
            handing_over: None,
            last: 0,
            silent_since: BTreeMap::new(),
            reap_after,
            is_removed: false,
            stops_when_removed,
        }
    }
}

impl Consensus {
    /// Takes a request to change the members; it is answered once that is committed.
    pub(super) fn change(&mut self, request: ChangeRequest, reply: Reply) {
        if !self.core.is_leader() {
            drop(reply.try_send(Err(MemberError::NotLeader)));
        } else if self.changes.waiting.len() >= WAITING_MAX {
            let text = "too many changes of members wait for their turn; try again later";
            drop(reply.try_send(Err(MemberError::Refused(text.to_owned()))));
        } else {
            self.changes.waiting.push_back((request, Some(reply)));
            self.go_on_with_changes();
        }
    }

    /// Once a tick, and when something was asked: the next change, if it is time for one.
    pub(super) fn go_on_with_changes(&mut self) {
        if !self.core.is_established() {
            return;
        }
        if self.changes.waiting.is_empty() {
            self.find_changes();
        }
        self.changes.last = self.core.last().index;
        while self.changes.pending.is_none() && !self.core.is_transferring() {
            let Some((request, reply)) = self.changes.waiting.pop_front() else { return };
            let result = match self.next_step(&request) {
                Err(refused) => Err(MemberError::Refused(refused.to_string())),
                Ok(Change::Nothing) => Ok(()),
                Ok(Change::Propose(members)) => {
                    if self.propose_members(members) {
                        let index = self.core.last().index;
                        self.changes.pending = Some((index, request, reply));
                    } else {
                        // Not yet: what is in the log must be committed first.
                        self.changes.waiting.push_front((request, reply));
                    }
                    return;
                }
            };
            answer(reply, result);
        }
    }

    fn next_step(&self, request: &ChangeRequest) -> Result<Change, changes::Refused> {
        let is_heard = |member: &Member| {
            let id = member.node_id();
            let silent = self.core.silent_ticks(&id);
            id == self.own.node_id() || silent.is_some_and(|ticks| ticks < TICKS_PER_ELECTION)
        };
        changes::next(self.memberships.latest(), request, is_heard)
    }

    /// What a leader changes by itself: members that have caught up begin to count, and those that
    /// have been away for too long are removed.
    fn find_changes(&mut self) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.changes.silent_since);
        let mut silent_since = BTreeMap::new();
        let members = self.memberships.latest();
        for member in members.members.values() {
            let id = member.node_id();
            // All that was in the log a tick ago is there by now (thesis, 4.2.1).
            let matched = self.core.matched(&id).unwrap_or(0);
            if member.is_joining && matched > 0 && matched >= self.changes.last {
                let request = ChangeRequest::Promote { id: member.id.clone() };
                self.changes.waiting.push_back((request, None));
            }
            if self.core.silent_ticks(&id).is_some_and(|ticks| ticks >= TICKS_PER_ELECTION) {
                let since = before.get(&id).copied().unwrap_or(now);
                silent_since.insert(id, since);
            }
        }
        let silence = |member: &Member| {
            let since = silent_since.get(&member.node_id());
            since.map(|since| now.duration_since(*since))
        };
        if let Some(request) = changes::reap(members, self.changes.reap_after, silence) {
            log::warn!("a member has been away for too long and is removed: {request:?}");
            self.changes.waiting.push_back((request, None));
        }
        self.changes.silent_since = silent_since;
    }

    /// Puts other members into the log; false: not now.
    pub(super) fn propose_members(&mut self, members: Membership) -> bool {
        let body = members.encode().into_bytes();
        match self.core.reconfigure(members.configuration()) {
            Ok(id) => {
                self.place(id, body, None);
                self.memberships.push(id.index, members);
                self.members_changed();
                true
            }
            Err(Refusal::Unsafe) => {
                log::error!("a change of members would be unsafe: it is not made");
                false
            }
            Err(_) => false,
        }
    }

    /// Begins the log of a new cluster.
    pub(super) fn found(&mut self, members: Membership, reply: &Sender<Result<(), String>>) {
        let body = members.encode().into_bytes();
        let result = match self.core.found(members.configuration()) {
            Ok(id) => {
                self.place(id, body, None);
                self.memberships.push(id.index, members);
                self.members_changed();
                Ok(())
            }
            Err(_) => Err("this node has members or a log already".to_owned()),
        };
        drop(reply.try_send(result));
    }

    /// Takes note of members named by entries that come from a leader.
    pub(super) fn note_members(&mut self, entries: &[NewEntry]) {
        let Some(first) = entries.first() else { return };
        let before = self.memberships.index();
        if before >= first.entry.id.index && !first.is_own {
            self.memberships.drop_after(first.entry.id.index - 1);
        }
        for new in entries {
            if new.entry.kind == EntryKind::Membership
                && !new.is_own
                && let Some(members) = Membership::decode(&new.entry.body)
            {
                self.memberships.push(new.entry.id.index, members);
            }
        }
        if self.memberships.index() != before {
            self.members_changed();
        }
    }

    /// Entries have left the log.
    pub(super) fn members_dropped(&mut self) {
        let before = self.memberships.index();
        self.memberships.drop_after(self.core.last().index);
        if self.memberships.index() != before {
            self.members_changed();
        }
    }

    /// Brings the links in line with the members in force.
    pub(super) fn members_changed(&mut self) {
        self.memberships.forget_before(self.core.commit());
        let members = self.memberships.latest();
        let own = self.own.node_id();
        let others: Vec<(NodeId, String)> = members
            .members
            .values()
            .filter(|member| member.node_id() != own)
            .map(|member| (member.node_id(), member.raft_address.clone()))
            .collect();
        if !members.cluster.is_empty() {
            self.peers.own.set_cluster(&members.cluster);
        }
        self.peers.links.set_peers(&others);
    }

    /// Answers those whose change is committed, or will not be by this node.
    pub(super) fn finish_changes(&mut self) {
        let commit = self.core.commit();
        let is_leader = self.core.is_leader();
        if let Some((_, request, reply)) =
            self.changes.pending.take_if(|(index, ..)| *index <= commit)
        {
            match self.next_step(&request) {
                // Also when this was the leader's own removal, and it leads no more.
                Ok(Change::Nothing) => {
                    answer(reply, Ok(()));
                    self.note_own_removal();
                }
                Ok(Change::Propose(_)) | Err(_) => {
                    self.changes.waiting.push_front((request, reply));
                    self.go_on_with_changes();
                }
            }
        }
        if !is_leader {
            let waiting = std::mem::take(&mut self.changes.waiting);
            for (_, reply) in waiting {
                answer(reply, Err(MemberError::NotLeader));
            }
            if let Some((_, _, reply)) = self.changes.pending.take() {
                let text = "leadership was lost before the change was committed; look at /nodes \
                     whether it was made";
                answer(reply, Err(MemberError::Unknown(text.to_owned())));
            }
        }
        if !self.core.is_transferring()
            && let Some(reply) = self.changes.handing_over.take()
        {
            let text = "leadership was not taken over in time; this node goes on leading";
            let result = Err(MemberError::Refused(text.to_owned()));
            answer(Some(reply), if is_leader { result } else { Ok(()) });
        }
    }

    /// Hands leadership to the node of this name, or to the voter that is best.
    pub(super) fn hand_over(&mut self, name: Option<&str>, reply: Reply) {
        let result = self.choose_successor(name).and_then(|to| {
            self.core.transfer(&to).map_err(|refusal| match refusal {
                Refusal::NotLeader => MemberError::NotLeader,
                Refusal::Transferring => {
                    MemberError::Refused("leadership transfer in progress".to_owned())
                }
                Refusal::NoSuchVoter | Refusal::Pending | Refusal::Unsafe => {
                    MemberError::Refused("cannot find peer".to_owned())
                }
            })
        });
        match result {
            Ok(()) => self.changes.handing_over = Some(reply),
            Err(error) => answer(Some(reply), Err(error)),
        }
    }

    fn choose_successor(&self, name: Option<&str>) -> Result<NodeId, MemberError> {
        if !self.core.is_leader() {
            return Err(MemberError::NotLeader);
        }
        let refused = |text: &str| MemberError::Refused(text.to_owned());
        let members = &self.memberships.latest().members;
        if let Some(name) = name {
            let member = members.get(name).ok_or_else(|| refused("node not found in cluster"))?;
            if !member.is_voter {
                return Err(refused("the node does not vote, so it cannot lead"));
            }
            return Ok(member.node_id());
        }
        let own = self.own.node_id();
        let voters = members.values().filter(|member| member.is_voter);
        let others = voters.map(Member::node_id).filter(|id| *id != own);
        // One that answers before one that does not, then the one that has the most.
        let best = others.max_by_key(|id| {
            let silent = self.core.silent_ticks(id).unwrap_or(u32::MAX);
            let is_live = silent < TICKS_PER_ELECTION / 2;
            (is_live, self.core.matched(id).unwrap_or(0))
        });
        best.ok_or_else(|| refused("cannot find peer"))
    }

    fn note_own_removal(&mut self) {
        let own = self.own.node_id();
        let members = &self.memberships.latest().members;
        if !members.values().any(|member| member.node_id() == own) {
            self.stop_belonging(self.memberships.index());
        }
    }

    /// Another node says that this one is no member any more.
    pub(super) fn removed(&mut self, index: Index) {
        if index > self.memberships.index() {
            self.stop_belonging(index);
        }
    }

    fn stop_belonging(&mut self, index: Index) {
        if std::mem::replace(&mut self.changes.is_removed, true) {
            return;
        }
        log::warn!(
            "this node has been removed from its cluster (by entry {index}); to join again, give it \
             an empty data directory"
        );
        if self.changes.stops_when_removed {
            crate::os::ask_to_stop();
        }
    }
}

/// Whoever asked may have gone.
fn answer(reply: Option<Reply>, result: Result<(), MemberError>) {
    if let Some(reply) = reply {
        drop(reply.try_send(result));
    }
}
