//! The consensus thread: it alone owns the raft core, and does what the core decides.
//!
//! It must never touch a disk or run SQL, so that votes and heartbeats flow while the writer
//! spends ten minutes on one statement. It stamps what it proposes: the clock and the seed in an
//! entry are the leader's, whoever applies it and whenever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::answers::{Answer, ProposeError};
use super::board::Board;
use super::loads::Staged;
use super::membership::Membership;
use super::status::Member;
use super::writer;
use crate::command::{Batch, Command, Parameters, Stamp, Statement, Work, restamp};
use crate::os;
use crate::raft::{Core, EntryId, Index, NodeId, Ready, Role, Term};
use crate::stats::{self, Stat};
use crate::storage::Entry;

/// Events taken at one go. More would make one write and one sync larger than it pays.
const EVENTS_PER_TURN: usize = 1024;

/// Bytes of entries proposed but not yet applied, above which proposals are refused: a disk that
/// stalls must not fill the memory with what waits for it.
pub(super) const BYTES_IN_FLIGHT_MAX: u64 = 512 << 20;

/// Distance between the seeds of two entries: odd, so that none comes twice, and without a pattern
/// that a generator started from it would keep (the golden ratio of 2^64).
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

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
    /// Say goodbye to the writer and end.
    Stop,
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
    pub(super) id: NodeId,
    pub(super) core: Core,
    pub(super) events: Receiver<Event>,
    pub(super) writer: Sender<writer::Order>,
    pub(super) board: Arc<Board>,
    pub(super) membership: Membership,
    pub(super) membership_index: Index,
    /// This node as it was started: the members may know it by older addresses.
    pub(super) own: Member,
    /// Whether it was started to enforce foreign keys, and the database may not do so.
    pub(super) wants_foreign_keys: bool,
    /// The stamp of the last entry; time never goes back behind it.
    pub(super) clock: i64,
    /// Drawn at random at start; each entry takes the next one.
    pub(super) seed: u64,
    /// The length of a tick.
    pub(super) tick: Duration,
    pub(super) state: State,
}

/// What the thread keeps between turns.
#[derive(Default)]
pub(super) struct State {
    reads: BTreeMap<u64, Sender<Index>>,
    next_read: u64,
    /// Bodies of entries that the core has placed and the next ready will name.
    placed: Vec<Placed>,
    /// The last entry of what a leader proposes by itself, once it has.
    introduced_at: Option<Index>,
    /// The members before those in force, whose entry may yet fail to be written.
    members_before: Option<(Membership, Index)>,
    posted: Option<(Term, Index, Index, bool)>,
}

struct Placed {
    id: EntryId,
    body: Vec<u8>,
    waiting: Option<writer::Waiting>,
}

impl Consensus {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now();
        loop {
            if Instant::now() >= next_tick {
                self.core.saved(self.board.saved());
                self.core.tick();
                self.introduce();
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
        self.order(writer::Order::Stop);
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

    fn step(&mut self, event: Event) {
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
            // Seen before every event.
            Event::Saved | Event::Stop => {}
        }
    }

    fn propose(&mut self, mut proposal: Proposal) {
        let bytes = proposal.body.len() as u64;
        if self.board.bytes_in_flight() + bytes > BYTES_IN_FLIGHT_MAX {
            let text = format!(
                "more than {BYTES_IN_FLIGHT_MAX} bytes of writes wait for the disk; try again later"
            );
            proposal.refuse(ProposeError::Refused(text));
            return;
        }
        match self.core.propose() {
            Err(_) => proposal.refuse(ProposeError::NotLeader),
            Ok(id) => {
                self.board.add_in_flight(bytes);
                let stamp = self.stamp();
                proposal.command.stamp = stamp;
                restamp(&mut proposal.body, stamp);
                let Proposal { command, body, reply, staged } = proposal;
                let waiting = writer::Waiting { command, reply, staged };
                self.state.placed.push(Placed { id, body, waiting: Some(waiting) });
            }
        }
    }

    /// Proposes, as soon as this node leads, what its command line asks to be changed. As entries:
    /// what a replay gives must not depend on how the node was started.
    fn introduce(&mut self) {
        if !self.core.is_established() || self.state.introduced_at.is_some() {
            return;
        }
        let known = self.membership.members.get(&self.id);
        if self.membership.members.len() == 1 && known != Some(&self.own) {
            let mut membership = self.membership.clone();
            membership.members.insert(self.id.clone(), self.own.clone());
            self.propose_membership(membership);
        }
        if self.wants_foreign_keys {
            let (command, body) = enforce_foreign_keys();
            // Nobody waits for it: if it cannot be written, it is proposed again.
            let (reply, _) = bounded(1);
            self.propose(Proposal { command, body, reply, staged: None });
        }
        self.state.introduced_at = Some(self.core.last().index);
    }

    fn propose_membership(&mut self, membership: Membership) {
        if let Ok(id) = self.core.reconfigure(membership.configuration()) {
            let body = membership.encode().into_bytes();
            self.board.add_in_flight(body.len() as u64);
            self.state.placed.push(Placed { id, body, waiting: None });
            let before = std::mem::replace(&mut self.membership, membership);
            self.state.members_before = Some((before, self.membership_index));
            self.membership_index = id.index;
        }
    }

    /// The disk is full: what is behind `last` is gone, also what the writer has not seen yet.
    fn take_back(&mut self, last: EntryId) {
        self.core.append_failed(last);
        let (kept, gone) = std::mem::take(&mut self.state.placed)
            .into_iter()
            .partition(|placed| placed.id.index <= last.index);
        self.state.placed = kept;
        for Placed { body, waiting, .. } in gone {
            self.board.settle(body.len() as u64);
            if let Some(waiting) = waiting {
                let text = "the disk was full when this was to be written";
                waiting.answer(Err(ProposeError::Refused(text.to_owned())));
            }
        }
        if self.membership_index > last.index
            && let Some((members, index)) = self.state.members_before.take()
        {
            self.membership = members;
            self.membership_index = index;
        }
        if self.state.introduced_at.is_some_and(|index| index > last.index) {
            self.state.introduced_at = None;
        }
    }

    /// Carries out what the core asks for.
    fn settle(&mut self) {
        self.carry_out_all();
        let is_leading = self.core.is_established();
        let was_leading = self.state.posted.is_some_and(|(.., was_leading)| was_leading);
        if is_leading && !was_leading {
            self.introduce();
            self.carry_out_all();
        }
        let seen = (self.core.term(), self.core.last().index, self.core.commit(), is_leading);
        if self.state.posted != Some(seen) {
            if is_leading != was_leading {
                self.announce(is_leading);
            }
            self.state.posted = Some(seen);
            self.post(is_leading);
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(ready) = self.core.take_ready() {
            self.carry_out(ready);
        }
    }

    fn carry_out(&mut self, ready: Ready) {
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
        let mut placed = std::mem::take(&mut self.state.placed).into_iter().peekable();
        let entries = ready
            .entries
            .into_iter()
            .map(|(id, kind)| {
                let body = placed.next_if(|placed| placed.id == id);
                let (body, waiting) =
                    body.map_or((Vec::new(), None), |placed| (placed.body, placed.waiting));
                writer::NewEntry { entry: Entry { id, kind, body: body.into() }, waiting }
            })
            .collect();
        self.order(writer::Order::Append(writer::Append {
            number: ready.number,
            failures: ready.failures,
            hard_state: ready.hard_state,
            entries,
            commit: ready.commit,
            commit_once_durable: ready.commit_once_durable,
        }));
    }

    /// The writer outlives this thread, unless it has ended the process.
    fn order(&self, order: writer::Order) {
        drop(self.writer.send(order));
    }

    /// The time and the seed for the next entry.
    fn stamp(&mut self) -> Stamp {
        let now = i64::try_from(os::wall_clock().as_millis()).unwrap_or(i64::MAX);
        self.clock = self.clock.max(now);
        self.seed = self.seed.wrapping_add(SEED_STEP);
        let database_blocks_max = self.board.database_blocks_max();
        Stamp { unix_milliseconds: self.clock, seed: self.seed, database_blocks_max }
    }

    fn announce(&self, is_leading: bool) {
        stats::add(Stat::LeaderChanges, 1);
        let address = self.membership.members.get(&self.id).map(|member| &member.raft_address);
        let (id, address) = (&self.id, address.map_or("", String::as_str));
        let role = if is_leading { "now" } else { "no longer" };
        log::info!("this node (ID={id}, addr={address}) is {role} Leader");
    }

    fn post(&self, is_leading: bool) {
        let role = match self.core.role() {
            Role::Follower { .. } => "Follower",
            Role::PreCandidate { .. } | Role::Candidate { .. } => "Candidate",
            Role::Leader { .. } => "Leader",
        };
        self.board.post_raft(is_leading, |view| {
            view.role = role;
            view.term = self.core.term();
            view.leader = self.core.leader().filter(|_| is_leading).cloned();
            view.commit = self.core.commit();
            view.last = self.core.last();
            if view.membership_index != self.membership_index {
                view.membership = self.membership.clone();
                view.membership_index = self.membership_index;
            }
        });
    }
}

fn enforce_foreign_keys() -> (Command, Vec<u8>) {
    let sql = "PRAGMA foreign_keys=ON";
    let statement =
        Statement { sql: sql.to_owned(), parameters: Parameters::Positional(Vec::new()) };
    let work = Work::Batch(Batch {
        statements: vec![statement],
        transaction: false,
        returns_rows: false,
        qualify_columns: false,
        instructions_max: 0,
    });
    let command = Command { stamp: Stamp::default(), work };
    let body = command.encode(format!("[\"{sql}\"]").as_bytes());
    (command, body)
}

impl Proposal {
    /// Whoever proposed may have given up. Lets go of the body first, while they hold it too:
    /// the last one removes a file.
    fn refuse(self, error: ProposeError) {
        drop(self.staged);
        drop(self.reply.try_send(Err(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Core, HardState, Start};

    /// A leader of a cluster of one whose log ends with its no-op, entry 2, all saved.
    fn leader() -> (Consensus, Receiver<writer::Order>) {
        let member = Member {
            id: "a".to_owned(),
            raft_address: "localhost:2".to_owned(),
            http_address: "localhost:1".to_owned(),
            is_voter: true,
        };
        let membership = Membership::alone("c".to_owned(), member.clone());
        let core = Core::new(Start {
            id: "a".to_owned(),
            hard_state: HardState { term: 1, vote: None },
            log_start: EntryId::default(),
            terms: vec![1],
            commit: 1,
            configurations: vec![(1, membership.configuration())],
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 0,
        });
        let (writer, orders) = crossbeam_channel::unbounded();
        let (_, events) = bounded(1);
        let mut consensus = Consensus {
            id: "a".to_owned(),
            core,
            events,
            writer,
            board: Arc::default(),
            membership,
            membership_index: 1,
            own: member,
            wants_foreign_keys: true,
            clock: 0,
            seed: 0,
            tick: Duration::from_secs(1),
            state: State::default(),
        };
        for _ in 0..2 {
            consensus.core.tick();
            let ready = consensus.core.take_ready().expect("an election, then a no-op");
            consensus.core.saved(ready.number);
        }
        (consensus, orders)
    }

    fn propose(consensus: &mut Consensus) -> Receiver<Result<Answer, ProposeError>> {
        let (command, body) = enforce_foreign_keys();
        let (reply, answer) = bounded(1);
        consensus.step(Event::Propose(Proposal { command, body, reply, staged: None }));
        answer
    }

    #[test]
    fn what_a_full_disk_takes_back_is_refused_and_no_longer_counted() {
        let (mut consensus, _orders) = leader();
        consensus.settle();
        assert_eq!(consensus.core.last().index, 3, "it has introduced itself");
        // The writer's news comes when more has been placed that it has not even seen.
        let answer = propose(&mut consensus);
        let before = consensus.board.bytes_in_flight();
        consensus.step(Event::AppendFailed { last: EntryId { term: 2, index: 2 } });
        assert!(matches!(answer.try_recv(), Ok(Err(ProposeError::Refused(_)))), "nobody waits");
        let one = before / 2;
        assert_eq!(consensus.board.bytes_in_flight(), one, "the rest is the writer's to settle");
        // Nor is forgotten what the command line asked for.
        consensus.introduce();
        assert_eq!(consensus.core.last().index, 3);
        assert_eq!(consensus.state.introduced_at, Some(3));
    }
}
