//! The consensus thread: it alone owns the raft core, and does what the core decides.
//!
//! It must never touch a disk, wait for a socket or run SQL, so that votes and heartbeats flow
//! while the writer spends ten minutes on one statement. What it does beside the core is in the
//! files named after it: `proposing` (clients' writes), `peers` (other nodes), `changing`
//! (members and leadership).

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::answers::{Answer, MemberError, ProposeError};
use super::board::Board;
use super::changes::ChangeRequest;
use super::changing::Changes;
use super::loads::Staged;
use super::membership::{Membership, id_of};
use super::memberships::Memberships;
use super::peers::Peers;
use super::proposing::Placed;
use super::status::{Member, PeerStatus};
use super::writer;
use crate::command::Command;
use crate::db::mark::Standing;
use crate::raft::{Core, EntryId, Index, Message, NodeId, Ready, Role, Term};
use crate::stats::{self, Stat};
use crate::storage::Entry;

/// Events taken at one go. More would make one write and one sync larger than it pays.
const EVENTS_PER_TURN: usize = 1024;

/// Ticks after which those who wait are told that leadership was lost: what was under way is
/// mostly committed by the next leader before that, and then their answer is a good one.
const GIVE_UP_TICKS: u32 = 20;

/// What the consensus thread is told.
pub(super) enum Event {
    /// Put this into the log.
    Propose(Proposal),
    /// Give a read index to `reply`, or nothing when this node does not lead.
    Read { reply: Sender<Index> },
    /// The writer's disk holds more than it did, as the board says, and it matters now.
    Saved,
    /// The writer could not write anything behind `last`.
    AppendFailed { last: EntryId },
    /// Entries up to `start` have left the log.
    Compacted { start: EntryId },
    /// Another node says something.
    Message(Arrival),
    /// Another node has sent its whole database.
    Copy { from: NodeId, term: Term, copy: Copy, reply: Sender<Message> },
    /// An append has ended without an answer.
    AppendEnded { to: NodeId },
    /// Sending the database has ended: what was sent, or that it was not.
    CopyEnded { to: NodeId, sent: Option<EntryId> },
    /// A member does not answer; its process is not there if `is_refused`.
    Unreachable { from: NodeId, is_refused: bool },
    /// A member says that this node was removed by the entry at `index`.
    Removed { index: Index },
    /// Hand this body to the others; `reply` when a majority holds it.
    HandBody { sha256: String, reply: Sender<()> },
    /// Nobody is to be handed this body any more.
    KeepBody { sha256: String },
    /// A member holds a body.
    BodyHeld { by: NodeId, sha256: String },
    /// Say how the other members are doing.
    Peers { reply: Sender<Vec<PeerStatus>> },
    /// Change the members.
    Change { request: ChangeRequest, reply: Sender<Result<(), MemberError>> },
    /// Begin the log of a new cluster with these members.
    Found { membership: Membership, reply: Sender<Result<(), String>> },
    /// Hand leadership to the node of this name, or to whoever is best.
    StepDown { to: Option<String>, reply: Sender<Result<(), MemberError>> },
    /// Say goodbye to the writer and end.
    Stop,
}

/// A message from another node.
pub(super) struct Arrival {
    pub(super) from: NodeId,
    pub(super) message: Message,
    /// The entries of an append, with their bodies.
    pub(super) entries: Vec<Entry>,
    /// Takes an answer, while the other waits for one.
    pub(super) reply: Option<Sender<Message>>,
}

/// A database received from a leader.
pub(super) struct Copy {
    pub(super) file: PathBuf,
    pub(super) standing: Standing,
}

/// A command on its way into the log, with whoever waits for it.
pub(super) struct Proposal {
    /// What to do; its stamp is filled in here.
    pub(super) command: Command,
    /// The entry's body, with room for the stamp.
    pub(super) body: Vec<u8>,
    /// Gets the outcome, or why there is none.
    pub(super) reply: Sender<Result<Answer, ProposeError>>,
    /// Keeps the detached body that the command names until the entry itself does.
    pub(super) staged: Option<Arc<Staged>>,
}

/// The thread's state.
pub(super) struct Consensus {
    pub(super) core: Core,
    pub(super) events: Receiver<Event>,
    pub(super) writer: Sender<writer::Order>,
    pub(super) board: Arc<Board>,
    pub(super) memberships: Memberships,
    /// This node as it was started: the members may know it by older addresses.
    pub(super) own: Member,
    /// The members were set by hand, and no entry of the log says so yet.
    pub(super) owes_members: bool,
    /// Whether it was started to enforce foreign keys, and the database may not do so.
    pub(super) wants_foreign_keys: bool,
    /// The stamp of the last entry; time never goes back behind it.
    pub(super) clock: i64,
    /// Drawn at random at start; each entry takes the next one.
    pub(super) seed: u64,
    /// The length of a tick.
    pub(super) tick: Duration,
    pub(super) peers: Peers,
    pub(super) changes: Changes,
    pub(super) state: State,
}

/// What the thread keeps between turns.
#[derive(Default)]
pub(super) struct State {
    reads: BTreeMap<u64, Sender<Index>>,
    next_read: u64,
    /// Bodies of entries that the core has placed and the next ready will name, in order.
    pub(super) placed: VecDeque<Placed>,
    /// The last entry of what a leader proposes by itself, once it has.
    pub(super) introduced_at: Option<Index>,
    /// When leadership was lost with writes under way, until those who wait are told.
    gives_up_at: Option<Instant>,
    /// What the writer was last told of commits, and of failures that are known.
    said: (Index, Index, u64),
    /// Led when the last ready was taken.
    has_led: bool,
    posted: Option<Posted>,
}

/// What was last shown on the board.
#[derive(Clone, PartialEq, Eq)]
struct Posted {
    term: Term,
    last: Index,
    commit: Index,
    is_leading: bool,
    leader: Option<NodeId>,
    membership: Index,
}

impl Consensus {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now();
        self.members_changed();
        loop {
            if Instant::now() >= next_tick {
                self.on_tick();
                next_tick = Instant::now() + self.tick;
            }
            self.settle();
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
                Ok(event) => {
                    if !self.take(event) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.settle();
        self.peers.stop();
        self.order(writer::Order::Stop);
    }

    fn on_tick(&mut self) {
        self.core.saved(self.board.saved());
        self.leave_bad_disk();
        self.core.tick();
        self.introduce();
        self.look_after_peers();
        self.go_on_with_changes();
        if self.state.gives_up_at.is_some_and(|at| Instant::now() >= at) {
            self.state.gives_up_at = None;
            self.order(writer::Order::GiveUp);
        }
    }

    /// Takes one event and those that have queued up behind it; false: stop.
    fn take(&mut self, event: Event) -> bool {
        let mut next = Some(event);
        for _ in 0..EVENTS_PER_TURN {
            match next {
                None => break,
                Some(Event::Stop) => return false,
                Some(event) => self.step(event),
            }
            next = self.events.try_recv().ok();
        }
        match next {
            None => true,
            Some(Event::Stop) => false,
            Some(event) => {
                self.step(event);
                true
            }
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        self.core.saved(self.board.saved());
        match event {
            Event::Propose(proposal) => self.propose(proposal),
            Event::Read { reply } => {
                self.state.next_read += 1;
                self.state.reads.insert(self.state.next_read, reply);
                self.core.read(self.state.next_read);
            }
            Event::AppendFailed { last } => self.take_back(last),
            Event::Compacted { start } => self.core.compacted_to(start),
            Event::Message(arrival) => self.receive(arrival),
            Event::Copy { from, term, copy, reply } => self.receive_copy(&from, term, copy, reply),
            Event::AppendEnded { to } => self.core.not_delivered(&to),
            Event::CopyEnded { to, sent } => self.core.snapshot_ended(&to, sent),
            Event::Unreachable { from, is_refused } => self.lost_sight_of(&from, is_refused),
            Event::Removed { index } => self.removed(index),
            Event::HandBody { sha256, reply } => self.hand_body(sha256, reply),
            Event::KeepBody { sha256 } => self.keep_body(&sha256),
            Event::BodyHeld { by, sha256 } => self.body_held(by, &sha256),
            Event::Peers { reply } => self.show_peers(&reply),
            Event::Change { request, reply } => self.change(request, reply),
            Event::Found { membership, reply } => self.found(membership, &reply),
            Event::StepDown { to, reply } => self.hand_over(to.as_deref(), reply),
            // Seen before every event.
            Event::Saved | Event::Stop => {}
        }
    }

    /// Carries out what the core asks for.
    pub(super) fn settle(&mut self) {
        self.carry_out_all();
        let is_leading = self.core.is_established();
        let was_leading = self.state.posted.as_ref().is_some_and(|posted| posted.is_leading);
        if is_leading && !was_leading {
            self.introduce();
            self.carry_out_all();
        }
        if let Some(file) = self.peers.forget_arrivals() {
            self.order(writer::Order::Discard(file));
        }
        self.finish_changes();
        let seen = Posted {
            term: self.core.term(),
            last: self.core.last().index,
            commit: self.core.commit(),
            is_leading,
            leader: self.core.leader().cloned(),
            membership: self.memberships.index(),
        };
        if self.state.posted.as_ref() != Some(&seen) {
            self.announce(&seen, was_leading);
            self.state.posted = Some(seen);
            self.post(is_leading);
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(ready) = self.core.take_ready() {
            self.carry_out(ready);
        }
        self.refuse_unnamed();
    }

    fn carry_out(&mut self, ready: Ready) {
        if !self.core.is_leader() && self.state.has_led {
            // Before the log is cut: nobody must be sent what takes the place of its entries.
            self.peers.links.withdraw();
            self.stop_handing();
        }
        self.state.has_led = self.core.is_leader();
        for (name, index) in ready.reads {
            if let Some(reply) = self.state.reads.remove(&name) {
                // Whoever asked may have given up.
                reply.try_send(index).ok();
            }
        }
        for name in ready.reads_refused {
            // The asker sees its channel close.
            self.state.reads.remove(&name);
        }
        let install = ready.install.map(|install| self.install(install.last));
        let entries: Vec<_> =
            ready.entries.into_iter().map(|(id, kind)| self.entry(id, kind)).collect();
        self.note_members(&entries);
        let append = writer::Append {
            number: ready.number,
            failures: ready.failures,
            hard_state: ready.hard_state,
            install,
            entries,
            commit: ready.commit,
            commit_once_durable: ready.commit_once_durable,
        };
        let said = (append.commit, append.commit_once_durable, append.failures);
        if append.number > 0 || said != self.state.said {
            self.state.said = said;
            self.order(writer::Order::Append(append));
        }
        for (to, message) in ready.messages {
            self.send(&to, message);
        }
        for append in ready.appends {
            self.send_append(append);
        }
        for to in ready.snapshots {
            self.peers.links.snapshot(&to, self.core.term(), self.memberships.index());
        }
    }

    /// The writer outlives this thread, unless it has ended the process.
    pub(super) fn order(&self, order: writer::Order) {
        drop(self.writer.send(order));
    }

    fn announce(&mut self, seen: &Posted, was_leading: bool) {
        if let Some(posted) = &self.state.posted
            && posted.leader != seen.leader
            && seen.leader.is_some()
        {
            stats::add(Stat::LeaderChanges, 1);
        }
        if seen.is_leading != was_leading {
            let role = if seen.is_leading { "now" } else { "no longer" };
            let (id, address) = (&self.own.id, &self.own.raft_address);
            log::info!("this node (ID={id}, addr={address}) is {role} Leader");
        }
        if was_leading && !seen.is_leading {
            self.state.gives_up_at = Some(Instant::now() + self.tick * GIVE_UP_TICKS);
        }
        if seen.is_leading {
            self.state.gives_up_at = None;
        }
    }

    fn post(&self, is_leading: bool) {
        let role = match self.core.role() {
            Role::Follower { .. } => "Follower",
            Role::PreCandidate { .. } | Role::Candidate { .. } => "Candidate",
            Role::Leader { .. } => "Leader",
        };
        if is_leading {
            self.board.post_catch_up_to(self.core.commit());
        }
        let latest = self.memberships.latest();
        // A leader that cannot yet say what is committed is none to those who ask.
        let leader = self.core.leader().filter(|_| is_leading || !self.core.is_leader());
        let leader = leader.map(|node| id_of(node).to_owned());
        self.board.post_raft(is_leading, |view| {
            view.role = role;
            view.term = self.core.term();
            view.leader = leader;
            view.commit = self.core.commit();
            view.last = self.core.last();
            if view.membership_index != self.memberships.index() || view.membership != *latest {
                view.membership = latest.clone();
                view.membership_index = self.memberships.index();
            }
        });
    }
}
