//! One simulated node: a core, what its driver remembers, and its disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::configuration::Configuration;
use super::super::core::{Core, Start};
use super::super::flaw::{Flaw, planted};
use super::super::types::{EntryId, HardState, Index, NodeId, Term};
use super::disk::{Disk, Write};
use super::machine::{Entry, Machine};
use super::plan::Plan;

/// A ready on its way to the disk.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) writes: Vec<Write>,
    pub(super) commit: Index,
    pub(super) once_durable: Index,
    /// Whose majority that was, and in which term.
    pub(super) configuration: Configuration,
    pub(super) term: Term,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) machine: usize,
    /// Rises with each start: what was under way before is not this life's.
    pub(super) life: u64,
    /// Nothing while it is down.
    pub(super) core: Option<Core>,
    pub(super) disk: Disk,
    /// The disk is gone, and the name with it.
    pub(super) is_dead: bool,
    /// The log as the core has it, with bodies.
    pub(super) log: BTreeMap<Index, Entry>,
    /// What came with the last message.
    pub(super) stash: BTreeMap<EntryId, Entry>,
    /// States that came, by the last entry they cover.
    pub(super) received: BTreeMap<EntryId, Box<Machine>>,
    pub(super) queue: VecDeque<Pending>,
    /// How many of them the write under way takes.
    pub(super) writing: usize,
    pub(super) failures: u64,
    pub(super) state: Machine,
    /// What may be applied.
    pub(super) commit: Index,
    pub(super) waiting: BTreeMap<Index, (Term, u64)>,
    /// Reads that have their index.
    pub(super) readable: Vec<(u64, Index)>,
    /// Dropped from the log, and not told to the core yet.
    pub(super) compacted: Option<EntryId>,
    /// To whom an append was lost, which the core will hear.
    pub(super) reporting: BTreeSet<NodeId>,
    /// The last that was said to be committed once durable, and by whose majority.
    pub(super) promised: Option<(Index, Configuration)>,
    pub(super) paused_until: u64,
    pub(super) stalled_until: u64,
    pub(super) full_until: u64,
    /// Units of time between two ticks.
    pub(super) interval: u64,
    pub(super) ticks: u64,
    /// By its own ticks, when each other was heard to follow it.
    pub(super) heard: BTreeMap<NodeId, u64>,
    /// Which leadership the laws have seen it begin.
    pub(super) led: Term,
    pub(super) last_hard_state: HardState,
    /// What the laws have seen it know of others, by their names and its terms.
    pub(super) matched: BTreeMap<(NodeId, Term), Index>,
}

impl Node {
    pub(super) fn new(machine: usize, incarnation: u64, interval: u64, disk: Disk) -> Self {
        Self {
            id: format!("{machine}.{incarnation}"),
            machine,
            life: 0,
            core: None,
            state: disk.checkpoint.clone(),
            disk,
            is_dead: false,
            log: BTreeMap::new(),
            stash: BTreeMap::new(),
            received: BTreeMap::new(),
            queue: VecDeque::new(),
            writing: 0,
            failures: 0,
            commit: 0,
            waiting: BTreeMap::new(),
            readable: Vec::new(),
            compacted: None,
            reporting: BTreeSet::new(),
            promised: None,
            paused_until: 0,
            stalled_until: 0,
            full_until: 0,
            interval,
            ticks: 0,
            heard: BTreeMap::new(),
            led: 0,
            last_hard_state: HardState::default(),
            matched: BTreeMap::new(),
        }
    }

    /// Starts with what the disk has.
    pub(super) fn boot(&mut self, plan: &Plan, seed: u64) {
        self.life += 1;
        if planted(Flaw::ForgetsVote) {
            self.disk.hard_state.vote = None;
        }
        self.state = self.disk.checkpoint.clone();
        self.commit = self.state.applied.index;
        if planted(Flaw::AppliesTwice)
            && let Some(term) = self.disk.term_at(self.commit.saturating_sub(1))
            && self.commit > self.disk.start.index
        {
            self.state.applied = EntryId { index: self.commit - 1, term };
        }
        self.log = self.disk.log.clone();
        self.last_hard_state = self.disk.hard_state.clone();
        self.core = Some(Core::new(Start {
            id: self.id.clone(),
            hard_state: self.disk.hard_state.clone(),
            log_start: self.disk.start,
            terms: self.disk.log.values().map(|entry| entry.term).collect(),
            commit: self.commit,
            configurations: self.disk.configurations(),
            election_ticks: plan.election_ticks,
            heartbeat_ticks: plan.heartbeat_ticks,
            seed,
        }));
    }

    /// The process ends; what `kept` writes of the one under way have done stays.
    pub(super) fn crash(&mut self, kept: usize) {
        self.core = None;
        let under_way = self.queue.drain(..).take(self.writing).flat_map(|pending| pending.writes);
        for write in under_way.take(kept) {
            self.disk.write(write);
        }
        self.writing = 0;
        self.stash.clear();
        self.received.clear();
        self.waiting.clear();
        self.readable.clear();
        self.heard.clear();
        self.failures = 0;
        self.compacted = None;
        self.promised = None;
        self.reporting.clear();
        self.led = 0;
    }

    pub(super) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub(super) fn core(&mut self) -> &mut Core {
        self.core.as_mut().expect("it was asked whether it is up")
    }

    pub(super) fn leads(&self) -> bool {
        self.core.as_ref().is_some_and(Core::is_leader)
    }
}
