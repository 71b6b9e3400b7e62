//! The other nodes, as the consensus thread sees them: what arrives, what is sent, who is there.
//!
//! Bodies are matched here with the entries that the core places; the core itself never sees one.
//! Nothing here waits for the network: the links have threads of their own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::board::Needs;
use super::consensus::{Arrival, Consensus, Copy};
use super::membership::{Membership, id_of};
use super::start::TICKS_PER_ELECTION;
use super::status::PeerStatus;
use super::writer;
use crate::raft::{Append, EntryId, Index, Message, NodeId, Payload, Term};
use crate::storage::Entry;
use crate::transport::{APPEND_BYTES_MAX, Links, Own};

/// Bytes of the newest entries that are sent from memory. Older ones are read from the log.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// Ticks without a word of the leader after which it is asked whether it is there at all: more
/// than one heartbeat that is late, and far less than an election timeout.
const PROBE_TICKS: u32 = 3;

/// Ticks of silence after which a member is not waited for when the log is cut: some seconds.
const LIVE_TICKS: u32 = 200;

/// Time after which a leader that cannot write asks again whether another could.
const LEAVE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long members that are there, but do not hold a body yet, are waited for at least.
const STRAGGLERS_WAIT_MIN: Duration = Duration::from_secs(1);

/// What the consensus thread keeps of other nodes.
pub(super) struct Peers {
    pub(super) own: Arc<Own>,
    pub(super) links: Links,
    /// The newest entries, without gaps, ending with the log's last.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// Whoever waits for an answer to a request, by sender and by whether it was an append.
    slots: BTreeMap<(NodeId, bool), Sender<Message>>,
    /// Entries that have arrived since the last settling.
    arrived: BTreeMap<EntryId, Arc<[u8]>>,
    copy: Option<Copy>,
    handing: BTreeMap<String, Handing>,
    /// When leadership was last given up for a reason of this node's own.
    left_at: Option<Instant>,
}

/// A body on its way to the others.
struct Handing {
    since: Instant,
    holders: BTreeSet<NodeId>,
    /// When a majority held it.
    settled: Option<Instant>,
    reply: Sender<()>,
}

impl Handing {
    /// Whether to wait no more for those who do not hold it yet: they would be sent the whole
    /// database, which takes as long again.
    fn is_overdue(&self) -> bool {
        self.settled.is_some_and(|settled| {
            let took = settled.duration_since(self.since);
            settled.elapsed() >= took.max(STRAGGLERS_WAIT_MIN)
        })
    }
}

impl Peers {
    pub(super) fn new(own: Arc<Own>, links: Links) -> Self {
        Self {
            own,
            links,
            recent: VecDeque::new(),
            recent_bytes: 0,
            slots: BTreeMap::new(),
            arrived: BTreeMap::new(),
            copy: None,
            handing: BTreeMap::new(),
            left_at: None,
        }
    }

    pub(super) fn stop(&mut self) {
        self.links.stop();
    }

    /// The body of an entry that has just arrived; that of a no-op is empty.
    pub(super) fn arrived(&mut self, id: EntryId) -> Arc<[u8]> {
        self.arrived.remove(&id).unwrap_or_else(|| Arc::from([]))
    }

    /// What the core has not taken is not wanted.
    pub(super) fn forget_arrivals(&mut self) -> Option<PathBuf> {
        self.arrived.clear();
        self.copy.take().map(|copy| copy.file)
    }

    pub(super) fn keep_recent(&mut self, entry: &Entry, durable: Index) {
        self.forget_recent(entry.id.index - 1);
        self.recent_bytes += entry.body.len();
        self.recent.push_back(entry.clone());
        // What the log does not hold yet can be had nowhere else.
        while self.recent_bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.recent.pop_front_if(|oldest| oldest.id.index <= durable)
        {
            self.recent_bytes -= oldest.body.len();
        }
    }

    /// Lets go of what is behind `index`: other entries take its place.
    pub(super) fn forget_recent(&mut self, index: Index) {
        while let Some(last) = self.recent.pop_back_if(|last| last.id.index > index) {
            self.recent_bytes -= last.body.len();
        }
    }

    /// The entries from `from` to `last` that are in memory, as many as one append takes; none
    /// unless `from` is among them.
    fn recent_from(&self, from: Index, last: Index, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.recent.front().map(|entry| entry.id.index) else {
            return Vec::new();
        };
        let Some(skipped) = from.checked_sub(first) else { return Vec::new() };
        let mut bytes = 0;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let wanted = self.recent.iter().skip(skipped);
        wanted
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.body.len() + 1;
                entry.id.index <= last && (is_first || bytes <= bytes_max)
            })
            .cloned()
            .collect()
    }
}

impl Consensus {
    /// Takes in what another node says.
    pub(super) fn receive(&mut self, arrival: Arrival) {
        let Arrival { from, message, entries, reply } = arrival;
        let is_append = matches!(message.payload, Payload::Append { .. });
        if let Some(reply) = reply {
            self.peers.slots.insert((from.clone(), is_append), reply);
        }
        self.peers.arrived.extend(entries.into_iter().map(|entry| (entry.id, entry.body)));
        let commit = match &message.payload {
            Payload::Append { commit, .. } => Some(*commit),
            _ => None,
        };
        self.core.step(&from, message);
        self.heard(&from, commit);
    }

    /// Takes in the database of a leader.
    pub(super) fn receive_copy(
        &mut self,
        from: &NodeId,
        term: Term,
        copy: Copy,
        reply: Sender<Message>,
    ) {
        let last = copy.standing.applied;
        let Some(members) = Membership::decode(copy.standing.membership.as_bytes()) else {
            log::error!("{from} has sent a database without members: it is of another version");
            self.order(writer::Order::Discard(copy.file));
            return;
        };
        self.peers.slots.insert((from.clone(), true), reply);
        self.peers.copy = Some(copy);
        let configuration = members.configuration();
        self.core.step(from, Message { term, payload: Payload::Snapshot { last, configuration } });
        self.heard(from, Some(last.index));
    }

    fn heard(&mut self, from: &NodeId, commit: Option<Index>) {
        if self.core.leader() != Some(from) {
            return;
        }
        self.board.post_leader_heard();
        if let Some(commit) = commit {
            self.board.post_catch_up_to(commit);
        }
    }

    /// What the core has decided to take over.
    pub(super) fn install(&mut self, last: EntryId) -> writer::Install {
        let copy = self.peers.copy.take().expect("the core takes what has just arrived");
        let Copy { file, mut standing } = copy;
        assert_eq!(standing.applied, last, "one copy arrives at a time");
        standing.begins_log = true;
        self.clock = self.clock.max(standing.clock);
        self.peers.forget_recent(0);
        if let Some(members) = Membership::decode(standing.membership.as_bytes()) {
            self.memberships.reset(last.index, members);
            self.members_changed();
        }
        writer::Install { file, standing }
    }

    /// Sends a message: as the answer to a request if one waits, else by itself.
    pub(super) fn send(&mut self, to: &NodeId, message: Message) {
        let about_append =
            matches!(message.payload, Payload::Appended { .. } | Payload::Refused { .. });
        let mut message = message;
        if let Some(slot) = self.peers.slots.remove(&(to.clone(), about_append)) {
            match slot.try_send(message) {
                Ok(()) => return,
                // Whoever waited has given up.
                Err(error) => message = error.into_inner(),
            }
        }
        self.peers.links.send(to, message, self.memberships.index());
    }

    /// Sends entries. If the last ones are still under way, the core says so again later.
    pub(super) fn send_append(&mut self, append: Append) {
        let from = append.prev.index + 1;
        let recent = self.peers.recent_from(from, append.last, APPEND_BYTES_MAX);
        self.peers.links.append(append, recent, self.memberships.index());
    }

    pub(super) fn look_after_peers(&mut self) {
        self.board.post_needs(self.needs());
        self.answer_if_held();
        if !self.core.is_leader()
            && self.core.ticks_without_leader() >= PROBE_TICKS
            && let Some(leader) = self.core.leader()
        {
            self.peers.links.probe(leader);
        }
    }

    /// How the others are doing, as the links and, on a leader, the core see it.
    pub(super) fn show_peers(&self, reply: &Sender<Vec<PeerStatus>>) {
        let links = self.peers.links.status().into_iter();
        let peers = links.map(|link| PeerStatus {
            matched: self.core.matched(&link.id),
            id: id_of(&link.id).to_owned(),
            link,
        });
        // Whoever asked may have gone.
        drop(reply.try_send(peers.collect()));
    }

    fn needs(&self) -> Needs {
        let members = self.core.configuration().members();
        let others = members.filter(|id| *id != &self.own.node_id());
        let mut needs = Needs::default();
        for id in others {
            needs.has_others = true;
            let Some(held) = self.core.matched(id) else { continue };
            let least = |known: Option<Index>| Some(known.map_or(held, |least| least.min(held)));
            needs.held_by_all = least(needs.held_by_all);
            if self.core.silent_ticks(id).is_some_and(|ticks| ticks < LIVE_TICKS) {
                needs.held_by_live = least(needs.held_by_live);
            }
        }
        needs
    }

    /// A member does not answer. If it leads and its process is gone, waiting is of no use.
    pub(super) fn lost_sight_of(&mut self, id: &NodeId, is_refused: bool) {
        let is_silent = self.core.ticks_without_leader() >= PROBE_TICKS;
        if is_refused && is_silent && self.core.leader() == Some(id) {
            log::info!("the leader's process is gone: asking for an election");
            self.core.leader_is_gone(id);
        }
    }

    /// A leader whose disk does not answer, or that cannot apply what is committed, lets another
    /// lead. If it is elected again, since the others are no better, it tries them again later.
    pub(super) fn leave_bad_disk(&mut self) {
        let limit = self.tick * TICKS_PER_ELECTION;
        let stalled = self.board.syncing_for() > limit;
        let fault = self.board.fault();
        self.core.set_unfit(stalled || fault.is_some());
        let has_others = self.core.configuration().voters().len() > 1;
        let is_due = self.peers.left_at.is_none_or(|at| at.elapsed() >= LEAVE_AGAIN_AFTER);
        if !self.core.is_leader() || !has_others || !is_due {
            return;
        }
        let why = match fault {
            Some(fault) => fault,
            None if stalled => format!("the disk has not answered for {limit:?}"),
            None => return,
        };
        log::error!("another node should lead: {why}");
        self.peers.left_at = Some(Instant::now());
        self.core.step_down();
    }

    /// Hands a body to everybody, so that its entry can follow.
    pub(super) fn hand_body(&mut self, sha256: String, reply: Sender<()>) {
        if !self.core.is_leader() {
            return;
        }
        let own = self.own.node_id();
        for id in self.core.configuration().members().filter(|id| **id != own) {
            self.peers.links.hand_body(id, &sha256);
        }
        let holders = BTreeSet::from([own]);
        let handing = Handing { since: Instant::now(), holders, settled: None, reply };
        self.peers.handing.insert(sha256, handing);
        self.answer_if_held();
    }

    pub(super) fn keep_body(&mut self, sha256: &str) {
        self.peers.handing.remove(sha256);
        self.peers.links.withdraw_body(sha256);
    }

    pub(super) fn body_held(&mut self, by: NodeId, sha256: &str) {
        if let Some(handing) = self.peers.handing.get_mut(sha256) {
            handing.holders.insert(by);
            self.answer_if_held();
        }
    }

    /// A majority makes a load safe; the others are waited for a little, if they are there.
    fn answer_if_held(&mut self) {
        let configuration = self.core.configuration();
        let core = &self.core;
        let own = self.own.node_id();
        let is_there = |id: &NodeId| {
            *id == own || core.silent_ticks(id).is_some_and(|ticks| ticks < TICKS_PER_ELECTION)
        };
        self.peers.handing.retain(|_, handing| {
            if !configuration.is_majority(|id| handing.holders.contains(id)) {
                return true;
            }
            handing.settled.get_or_insert_with(Instant::now);
            let mut live = configuration.members().filter(|id| is_there(id));
            let is_over = live.all(|id| handing.holders.contains(id)) || handing.is_overdue();
            if is_over {
                // Whoever loads may have gone.
                handing.reply.try_send(()).ok();
            }
            !is_over
        });
    }

    /// Those who wait for a body to be handed over see their channel close.
    pub(super) fn stop_handing(&mut self) {
        self.peers.handing.clear();
    }
}
