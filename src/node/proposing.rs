//! Clients' writes on their way into the log, and what a leader proposes by itself.
//!
//! What is proposed is stamped here: the clock and the seed in an entry are the leader's, whoever
//! applies it and whenever.

use std::collections::VecDeque;

use crossbeam_channel::bounded;

use super::answers::ProposeError;
use super::consensus::{Consensus, Proposal};
use super::status::Member;
use super::writer::{NewEntry, Waiting};
use crate::command::{Batch, Command, Parameters, Stamp, Statement, Work, restamp};
use crate::os;
use crate::raft::{EntryId, EntryKind, Refusal};
use crate::storage::Entry;

/// Bytes of entries proposed but not yet applied, above which proposals are refused: a disk that
/// stalls must not fill the memory with what waits for it.
pub(super) const BYTES_IN_FLIGHT_MAX: u64 = 512 << 20;

/// Distance between the seeds of two entries: odd, so that none comes twice, and without a pattern
/// that a generator started from it would keep (the golden ratio of 2^64).
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// An entry that the core has placed, until the next ready names it.
pub(super) struct Placed {
    pub(super) id: EntryId,
    pub(super) body: Vec<u8>,
    pub(super) waiting: Option<Waiting>,
}

impl Consensus {
    pub(super) fn propose(&mut self, mut proposal: Proposal) {
        let bytes = proposal.body.len() as u64;
        if self.board.bytes_in_flight() + bytes > BYTES_IN_FLIGHT_MAX {
            let text = format!(
                "more than {BYTES_IN_FLIGHT_MAX} bytes of writes wait for the disk; try again later"
            );
            proposal.refuse(ProposeError::Refused(text));
            return;
        }
        match self.core.propose() {
            Err(Refusal::Transferring) => {
                let text = "leadership is being handed over; try again";
                proposal.refuse(ProposeError::Refused(text.to_owned()));
            }
            Err(_) => proposal.refuse(ProposeError::NotLeader),
            Ok(id) => {
                let stamp = self.stamp();
                proposal.command.stamp = stamp;
                restamp(&mut proposal.body, stamp);
                let Proposal { command, body, reply, staged } = proposal;
                self.place(id, body, Some(Waiting { command, reply, staged }));
            }
        }
    }

    /// Keeps the body of what the core has placed until it is to be written.
    pub(super) fn place(&mut self, id: EntryId, body: Vec<u8>, waiting: Option<Waiting>) {
        self.board.add_in_flight(body.len() as u64);
        self.state.placed.push_back(Placed { id, body, waiting });
    }

    /// Leadership was lost in the very turn in which these were placed: nobody has seen them.
    pub(super) fn refuse_unnamed(&mut self) {
        for Placed { body, waiting, .. } in std::mem::take(&mut self.state.placed) {
            self.board.settle(body.len() as u64);
            if let Some(waiting) = waiting {
                waiting.answer(Err(ProposeError::NotLeader));
            }
        }
    }

    /// An entry that the core wants written, with its body: one of those placed here, one that
    /// has just arrived, or a no-op.
    pub(super) fn entry(&mut self, id: EntryId, kind: EntryKind) -> NewEntry {
        // They are named in the order in which they were placed.
        let placed = self.state.placed.pop_front_if(|placed| placed.id == id);
        let new = if let Some(Placed { body, waiting, .. }) = placed {
            NewEntry { entry: Entry { id, kind, body: body.into() }, is_own: true, waiting }
        } else {
            let body = self.peers.arrived(id);
            if kind == EntryKind::Command
                && let Ok(outline) = Command::outline(&body)
            {
                // Time does not go back when this node leads next.
                self.clock = self.clock.max(outline.stamp.unix_milliseconds);
            }
            NewEntry { entry: Entry { id, kind, body }, is_own: false, waiting: None }
        };
        self.peers.keep_recent(&new.entry, self.core.durable());
        new
    }

    /// Proposes, as soon as this node leads, what its command line asks to be changed. As entries:
    /// what a replay gives must not depend on how the node was started.
    pub(super) fn introduce(&mut self) {
        if !self.core.is_established() || self.state.introduced_at.is_some() {
            return;
        }
        let members = self.memberships.latest();
        let known = members.members.get(&self.own.id);
        let own = known.map(|known| Member {
            is_voter: known.is_voter,
            is_joining: known.is_joining,
            ..self.own.clone()
        });
        if (own.as_ref() != known || self.owes_members)
            && let Some(own) = own
        {
            let mut members = members.clone();
            members.members.insert(own.id.clone(), own);
            if !self.propose_members(members) {
                return;
            }
            self.owes_members = false;
        }
        if self.wants_foreign_keys {
            let (command, body) = enforce_foreign_keys();
            // Nobody waits for it: if it cannot be written, it is proposed again.
            let (reply, _) = bounded(1);
            self.propose(Proposal { command, body, reply, staged: None });
        }
        self.state.introduced_at = Some(self.core.last().index);
    }

    /// The disk is full: what is behind `last` is gone, also what the writer has not seen yet.
    pub(super) fn take_back(&mut self, last: EntryId) {
        self.core.append_failed(last);
        let (kept, gone): (_, VecDeque<Placed>) = std::mem::take(&mut self.state.placed)
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
        self.peers.forget_recent(last.index);
        self.members_dropped();
        if self.state.introduced_at.is_some_and(|index| index > last.index) {
            self.state.introduced_at = None;
        }
    }

    /// The time and the seed for the next entry.
    fn stamp(&mut self) -> Stamp {
        let now = i64::try_from(os::wall_clock().as_millis()).unwrap_or(i64::MAX);
        self.clock = self.clock.max(now);
        self.seed = self.seed.wrapping_add(SEED_STEP);
        let database_blocks_max = self.board.database_blocks_max();
        Stamp { unix_milliseconds: self.clock, seed: self.seed, database_blocks_max }
    }
}

pub(super) fn enforce_foreign_keys() -> (Command, Vec<u8>) {
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
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam_channel::{Receiver, unbounded};

    use super::super::answers::Answer;
    use super::super::changing::Changes;
    use super::super::claims::Claims;
    use super::super::consensus::{Event, State};
    use super::super::inbox::{Copies, Gate};
    use super::super::membership::Membership;
    use super::super::memberships::Memberships;
    use super::super::peers::Peers;
    use super::super::writer::Order;
    use super::*;
    use crate::db::readers::Readers;
    use crate::raft::{Core, HardState, Start};
    use crate::storage::{Log, Options};
    use crate::transport::{Links, Own};

    /// A leader of a cluster of one whose log ends with its no-op, entry 2, all saved.
    fn leader(folder: &std::path::Path) -> (Consensus, Receiver<Order>) {
        let member = Member {
            id: "a".to_owned(),
            incarnation: "i".to_owned(),
            raft_address: "localhost:2".to_owned(),
            http_address: "localhost:1".to_owned(),
            is_voter: true,
            is_joining: false,
        };
        let membership = Membership::alone("c".to_owned(), member.clone());
        let core = Core::new(Start {
            id: member.node_id(),
            hard_state: HardState { term: 1, vote: None },
            log_start: EntryId::default(),
            terms: vec![1],
            commit: 1,
            configurations: vec![(1, membership.configuration())],
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 0,
        });
        let (writer, orders) = unbounded();
        let (events, event_queue) = unbounded();
        let board = Arc::default();
        let claims = Arc::new(Claims::open(&folder.join("bodies"), []).unwrap());
        let gate = Gate { events, board: Arc::clone(&board), claims: Arc::clone(&claims) };
        let readers = Arc::new(Readers::new(&folder.join("db"), 1));
        let copies = Copies { orders: writer.clone(), readers };
        let (log, _) = Log::open(&folder.join("raft"), Options::default()).unwrap();
        let own = Arc::new(Own::new(member.node_id(), None));
        let links =
            Links::new(Arc::clone(&own), log.reader(), Arc::new(copies), claims, Arc::new(gate));
        let mut consensus = Consensus {
            core,
            events: event_queue,
            writer,
            board,
            memberships: Memberships::new(vec![(1, membership)]),
            own: member,
            wants_foreign_keys: true,
            owes_members: false,
            clock: 0,
            seed: 0,
            tick: Duration::from_secs(1),
            peers: Peers::new(own, links),
            changes: Changes::new(super::super::changes::ReapAfter::default(), false),
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
        let folder = tempfile::tempdir().unwrap();
        let (mut consensus, _orders) = leader(folder.path());
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
