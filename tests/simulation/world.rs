//! The world: what happens when, in one thread, from one seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::super::configuration::Configuration;
use super::super::core::Core;
use super::super::message::Content;
use super::super::types::{EntryId, HardState, NodeId};
use super::clients::Client;
use super::disk::Disk;
use super::laws::Laws;
use super::linear::Operation;
use super::machine::{Entry, Machine};
use super::network::{Cuts, Packet};
use super::node::Node;
use super::plan::{Plan, TICK};
use super::random::{Random, chain};

/// Events remembered for the report of a failure.
const REMEMBERED: usize = 200;

/// Election timeouts after the faults have stopped: until there is a leader, until clients ask
/// nothing new, and until everybody has to agree.
const HEALED_LEADER: u64 = 15;
const HEALED_QUIET: u64 = 22;
const HEALED_END: u64 = 30;

/// Events after which a run is taken to have lost itself.
const EVENTS_MAX: u64 = 1_000_000;

/// Terms that a healed cluster may take to settle.
const HEALED_TERMS: u64 = 6;

#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick {
        node: NodeId,
        life: u64,
    },
    Deliver {
        from: NodeId,
        to: NodeId,
        packet: Packet,
    },
    NotDelivered {
        node: NodeId,
        life: u64,
        to: NodeId,
    },
    StateSent {
        node: NodeId,
        life: u64,
        to: NodeId,
        sent: Option<EntryId>,
    },
    DiskDone {
        node: NodeId,
        life: u64,
    },
    Saved {
        node: NodeId,
        life: u64,
        number: u64,
    },
    WriteFailed {
        node: NodeId,
        life: u64,
    },
    Restart {
        machine: usize,
    },
    Client(usize),
    GiveUp {
        client: usize,
        name: u64,
    },
    Operator,
    Handover,
    Fault(&'static str),
    Cut((usize, usize)),
    Mend((usize, usize)),
    MendAll,
    Heal,
    HasLeader,
    /// A node starts anew after the last write: it has to catch up without another.
    LastRestart,
}

pub(super) type Memory = Rc<RefCell<VecDeque<String>>>;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// Which node runs on each machine.
    pub(super) machines: Vec<NodeId>,
    pub(super) cuts: Cuts,
    pub(super) is_healing: bool,
    pub(super) laws: Laws,
    pub(super) clients: Vec<Client>,
    pub(super) history: Vec<Operation>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// All that happened, as one number.
    pub(super) trace: u64,
    memory: Option<Memory>,
    healed_at: u64,
    healed_term: u64,
}

impl World {
    pub(super) fn new(seed: u64, memory: Option<Memory>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let mut world = Self {
            clients: (0..plan.clients).map(Client::new).collect(),
            plan,
            random,
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            nodes: BTreeMap::new(),
            machines: Vec::new(),
            cuts: Cuts::default(),
            is_healing: false,
            laws: Laws::default(),
            history: Vec::new(),
            counts: BTreeMap::new(),
            trace: 0,
            memory,
            healed_at: 0,
            healed_term: 0,
        };
        world.found();
        world
    }

    /// The first voters know of each other; the others know nothing.
    fn found(&mut self) {
        let names: Vec<NodeId> = (0..self.plan.voters).map(|n| format!("{n}.0")).collect();
        let members = Configuration::new(names, []);
        let first = EntryId { term: 1, index: 1 };
        let entry = Entry { term: 1, content: Content::Configuration(members), command: None };
        let mut checkpoint = Machine::default();
        checkpoint.apply(first, &entry);
        self.laws.found(first, &entry, checkpoint.digest);
        for machine in 0..super::random::place(self.plan.voters + self.plan.spares) {
            let is_voter = (machine as u64) < self.plan.voters;
            let disk = match is_voter {
                false => Disk::default(),
                true => Disk {
                    hard_state: HardState { term: 1, vote: None },
                    log: BTreeMap::from([(1, entry.clone())]),
                    checkpoint: checkpoint.clone(),
                    ..Disk::default()
                },
            };
            let interval = if self.plan.is_uneven { self.random.between(50, 200) } else { TICK };
            let node = Node::new(machine, 0, interval, disk);
            self.machines.push(node.id.clone());
            let id = node.id.clone();
            self.nodes.insert(id.clone(), node);
            self.boot(&id);
        }
        self.plan_faults();
        for client in 0..self.clients.len() {
            self.at(1, Event::Client(client));
        }
        self.at(self.plan.length, Event::Heal);
    }

    pub(super) fn at(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Remembers what happens, if somebody will read it.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if let Some(memory) = &self.memory {
            let mut memory = memory.borrow_mut();
            if memory.len() >= REMEMBERED {
                memory.pop_front();
            }
            memory.push_back(format!("{:>8} {}", self.now, text()));
        }
    }

    /// Runs to the end; a broken law is a panic.
    pub(super) fn run(&mut self) {
        while let Some(((time, sequence), event)) = self.events.pop_first() {
            if self.healed_at > 0 && time > self.healed_at + HEALED_END * self.plan.timeout() {
                break;
            }
            assert!(sequence < EVENTS_MAX, "they talk for ever");
            self.now = time;
            self.trace = chain(chain(self.trace, time), sequence);
            self.happen(event);
        }
        self.check_convergence();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.tick(&node, life),
            Event::Deliver { from, to, packet } => self.deliver(from, to, packet),
            Event::NotDelivered { node, life, to } => {
                if self.lives(&node, life) {
                    self.node(&node).reporting.remove(&to);
                    self.node(&node).core().not_delivered(&to);
                    self.settle(&node);
                }
            }
            Event::StateSent { node, life, to, sent } => {
                if self.lives(&node, life) {
                    self.node(&node).core().snapshot_ended(&to, sent);
                    self.settle(&node);
                }
            }
            Event::DiskDone { node, life } => {
                if self.lives(&node, life) {
                    self.disk_done(&node);
                }
            }
            Event::Saved { node, life, number } => {
                if self.lives(&node, life) {
                    self.note(|| format!("{node} hears that {number} is saved"));
                    self.node(&node).core().saved(number);
                    self.tell_compacted(&node);
                    self.settle(&node);
                }
            }
            Event::WriteFailed { node, life } => {
                if self.lives(&node, life) {
                    self.write_failed(&node);
                }
            }
            Event::Restart { machine } => self.restart(machine),
            Event::Client(client) => self.client_asks(client),
            Event::GiveUp { client, name } => self.client_gives_up(client, name),
            Event::Operator => self.operator_asks(),
            Event::Handover => self.hand_over(),
            Event::Fault(kind) => self.fault(kind),
            Event::Cut(link) => {
                if !self.is_healing {
                    self.cuts.0.insert(link);
                }
            }
            Event::Mend(link) => drop(self.cuts.0.remove(&link)),
            Event::MendAll => self.cuts.0.clear(),
            Event::Heal => self.heal(),
            Event::HasLeader => self.check_leader(),
            Event::LastRestart => self.restart_follower(),
        }
    }

    pub(super) fn lives(&self, id: &NodeId, life: u64) -> bool {
        self.nodes.get(id).is_some_and(|node| node.life == life && node.is_up())
    }

    pub(super) fn node(&mut self, id: &NodeId) -> &mut Node {
        self.nodes.get_mut(id).expect("nodes stay, even dead ones")
    }

    pub(super) fn any_machine(&mut self) -> usize {
        super::random::place(self.random.below(self.machines.len() as u64))
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_healing && self.now > self.healed_at + HEALED_QUIET * self.plan.timeout()
    }

    pub(super) fn boot(&mut self, id: &NodeId) {
        let seed = self.random.next();
        let plan = self.plan.clone();
        let node = self.node(id);
        node.boot(&plan, seed);
        let (life, interval) = (node.life, node.interval);
        let first = self.random.between(1, interval);
        self.note(|| format!("{id} starts"));
        self.at(first, Event::Tick { node: id.clone(), life });
        self.settle(id);
    }

    fn tick(&mut self, id: &NodeId, life: u64) {
        if !self.lives(id, life) {
            return;
        }
        let now = self.now;
        let is_healing = self.is_healing;
        let node = self.node(id);
        let interval = if is_healing { TICK } else { node.interval };
        let paused = node.paused_until.saturating_sub(now);
        if paused > 0 {
            self.at(paused, Event::Tick { node: id.clone(), life });
            return;
        }
        node.ticks += 1;
        node.core().tick();
        self.settle(id);
        self.check_contact(id);
        self.at(interval, Event::Tick { node: id.clone(), life });
    }

    /// All faults stop, and all that is down starts.
    fn heal(&mut self) {
        self.is_healing = true;
        self.healed_at = self.now;
        self.cuts.0.clear();
        let now = self.now;
        for node in self.nodes.values_mut() {
            node.paused_until = now;
            node.stalled_until = now;
            node.full_until = now;
        }
        for id in self.machines.clone() {
            if !self.node(&id).is_up() {
                self.boot(&id);
            }
        }
        self.healed_term = self.highest_term();
        self.at(HEALED_LEADER * self.plan.timeout(), Event::HasLeader);
        self.at((HEALED_QUIET + 3) * self.plan.timeout(), Event::LastRestart);
        self.at(1, Event::Operator);
        for client in 0..self.clients.len() {
            self.at(1, Event::Client(client));
        }
    }

    fn restart_follower(&mut self) {
        let machine = self.any_machine();
        let id = self.machines[machine].clone();
        if !self.nodes[&id].leads() && self.nodes[&id].is_up() {
            self.node(&id).crash(0);
            self.boot(&id);
        }
    }

    fn highest_term(&self) -> u64 {
        self.nodes.values().filter_map(|node| node.core.as_ref()).map(Core::term).max().unwrap_or(0)
    }

    /// Leaders, the latest term's first.
    pub(super) fn leaders(&self) -> Vec<NodeId> {
        let mut leaders: Vec<(u64, NodeId)> = Vec::new();
        for node in self.nodes.values().filter(|node| node.leads()) {
            let term = node.core.as_ref().map_or(0, Core::term);
            leaders.push((u64::MAX - term, node.id.clone()));
        }
        leaders.sort();
        leaders.into_iter().map(|(_, id)| id).collect()
    }

    fn check_leader(&mut self) {
        let leaders = self.leaders();
        assert!(!leaders.is_empty(), "no leader long after all faults have stopped");
        assert!(leaders.len() == 1, "leaders after all faults have stopped: {leaders:?}");
    }

    /// Everybody that belongs to the cluster has the same log, has applied it, and to the same end.
    fn check_convergence(&mut self) {
        self.check_leader();
        let id = self.leaders()[0].clone();
        let leader = &self.nodes[&id];
        let core = leader.core.as_ref().expect("it leads");
        let expected = (core.last(), core.commit(), leader.state.applied, leader.state.digest);
        assert!(core.commit() == core.last().index, "{id} has not committed its whole log");
        let dead: BTreeSet<&NodeId> =
            self.nodes.values().filter(|node| node.is_dead).map(|node| &node.id).collect();
        for member in core.configuration().members().filter(|member| !dead.contains(member)) {
            let node = &self.nodes[member];
            let core = node.core.as_ref().expect("all run");
            let found = (core.last(), core.commit(), node.state.applied, node.state.digest);
            assert!(found == expected, "{member} has {found:?}, and the leader {id} {expected:?}");
            assert!(node.state.registers == leader.state.registers, "{member} differs from {id}");
        }
        let terms = self.highest_term() - self.healed_term;
        assert!(terms <= HEALED_TERMS, "{terms} terms after all faults have stopped");
        self.check_clients(self.healed_at + HEALED_LEADER * self.plan.timeout());
    }
}
