//! From a data directory to a running node, and back.
//!
//! What the directory says is for `directory` to find out. Here it is decided how a node without
//! members begins, and the threads are started and stopped, in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::backups::Backups;
use super::board::Board;
use super::calls::Doorstep;
use super::changes::ReapAfter;
use super::changing::Changes;
use super::claims::Claims;
use super::consensus::{Consensus, Event, State};
use super::directory::{Directory, StartError, sentence};
use super::handle::{Handle, Inner};
use super::identity::IdentityFile;
use super::inbox::{Copies, Gate};
use super::loads::Loads;
use super::maintenance;
use super::memberships::Memberships;
use super::neighbours::Neighbours;
use super::peers::Peers;
use super::status::{Identity, Member};
use super::upkeep::{Policy, Upkeep};
use super::writer::{Order, Writer};
use crate::db::readers::Readers;
use crate::db::work::Interrupter;
use crate::os;
use crate::raft::{Core, Start};
use crate::storage::Log;
use crate::storage::lock::DirectoryLock;
use crate::transport::{Inbound, Links, Own, Secret};

/// Events that may wait for the consensus thread; beyond this, callers block.
const EVENTS_MAX: usize = 8192;

/// Ticks in an election timeout: the core's unit of time is a twentieth of it.
pub(super) const TICKS_PER_ELECTION: u32 = 20;

/// Ticks between two heartbeats.
const TICKS_PER_HEARTBEAT: u32 = 2;

/// Stack of the thread that runs users' writes. SQLite compiles a trigger within the one that sets
/// it off, up to a thousand deep and some 2 KiB each; a write that is in the log must never end the
/// process. Only what is used of it is memory.
const WRITER_STACK_BYTES: usize = 16 << 20;

/// Stack of the consensus thread, which calls nothing deep.
const CONSENSUS_STACK_BYTES: usize = 2 << 20;

/// Longest wait for the node to lead and to have applied its log, before the start goes on
/// without: a log that takes longer is applied while `/readyz` says so.
const READY_WAIT_MAX: Duration = Duration::from_millis(500);

/// Time between two looks at whether the node leads: short against a sync.
const LEAD_LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a statement may go on once the node is to stop.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(3);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub directory: PathBuf,
    /// The name given by the user; else the one in the directory, else the Raft address.
    pub id: Option<String>,
    /// Advertised Raft address, host:port.
    pub raft_address: String,
    /// Advertised HTTP address, host:port.
    pub http_address: String,
    /// Whether a new database enforces foreign keys; an old one keeps its own setting unless
    /// this asks for it.
    pub foreign_keys: bool,
    /// Read connections at the most; 0 means no limit.
    pub readers_max: usize,
    /// Entries since the last checkpoint that make one due.
    pub checkpoint_entries: u64,
    /// WAL bytes that make one due; 0 means that they do not count.
    pub checkpoint_wal_bytes: u64,
    /// Time between looking at these two.
    pub checkpoint_interval: Duration,
    /// Time without a leader after which a voter campaigns.
    pub election_timeout: Duration,
    /// Time between two VACUUMs; zero means never.
    pub vacuum_interval: Duration,
    /// Time between two runs of PRAGMA optimize; zero means never.
    pub optimize_interval: Duration,
    /// What ends the oldest backup.
    pub backup_limits: crate::db::snapshot::Limits,
    /// Other nodes.
    pub cluster: ClusterSettings,
}

/// How a node comes to other nodes, and how it leaves them. The default joins nobody, as a
/// replica.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// Raft addresses of nodes to join.
    pub join: Vec<String>,
    /// Attempts to join, for each address.
    pub join_attempts: u32,
    /// Time between them.
    pub join_interval: Duration,
    /// Nodes that make the first members; 0 when they are not waited for.
    pub bootstrap_expect: usize,
    /// Time to wait for them; `None` is no limit.
    pub bootstrap_expect_timeout: Option<Duration>,
    /// Whether this node is to count towards a quorum.
    pub is_voter: bool,
    /// Hand over leadership before stopping.
    pub steps_down_on_stop: bool,
    /// Stop when removed from the cluster.
    pub stops_when_removed: bool,
    /// Leave the cluster when stopping.
    pub leaves_on_stop: bool,
    /// Silence after which a voter is removed; `None` is never.
    pub reap_voters_after: Option<Duration>,
    /// The same for a read replica.
    pub reap_replicas_after: Option<Duration>,
    /// Longest silence of another node that was asked something.
    pub connect_timeout: Duration,
    /// What all nodes of the cluster know.
    pub secret: Option<Secret>,
}

/// A running node.
pub struct Node {
    handle: Handle,
    /// Answers other nodes.
    inbound: Arc<Inbound>,
    neighbours: Arc<Neighbours>,
    /// Dropped, it ends the thread that joins.
    joining: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    maintenance: Option<maintenance::Timetable>,
    /// Whether another node is to lead before this one stops.
    steps_down: bool,
    /// Whether this one leaves the cluster then.
    leaves: bool,
    /// Ends a statement that the writer is in.
    interrupter: Interrupter,
    /// Closed by the writer thread when it ends.
    writer_ended: Receiver<()>,
    /// Held until everything has ended.
    _lock: DirectoryLock,
}

impl Node {
    /// Opens the data directory and starts the threads. Returns once the node leads and has
    /// applied its log, or soon after if that takes long.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the directory, and what to do.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let mut directory = Directory::open(settings)?;
        begin(settings, &mut directory)?;
        let is_alone = directory.membership().is_some_and(|(_, members)| {
            members.configuration().is_only_voter(&directory.identity.node_id())
        });
        let mut node = run(directory, settings)?;
        if is_alone {
            await_lead(&node.handle);
        }
        node.maintenance = Some(maintenance::start(&node.handle, settings).map_err(sentence)?);
        Ok(node)
    }

    /// What answers other nodes, under `/raft/`.
    pub fn inbound(&self) -> Arc<Inbound> {
        Arc::clone(&self.inbound)
    }

    /// What answers other nodes' small questions, under `/node/`.
    pub fn neighbours(&self) -> Arc<Neighbours> {
        Arc::clone(&self.neighbours)
    }

    /// Joins the cluster, if there is one to join. Other nodes must be able to reach this one by
    /// now.
    ///
    /// # Errors
    /// A sentence.
    pub fn join(&mut self, settings: &Settings) -> Result<(), StartError> {
        let joining = self.neighbours.start_joining(settings.cluster.clone());
        self.joining = Some(joining.map_err(sentence)?);
        Ok(())
    }

    /// A door to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Leaves the cluster before it stops, if it was told to; or lets another node lead, so that
    /// clients need not wait for an election.
    pub fn hand_over(&self) {
        let has_others = self.handle.cluster().members.len() > 1;
        if self.leaves && has_others {
            match self.neighbours.leave() {
                Ok(()) => log::info!("this node has left its cluster"),
                Err(why) => log::error!("this node has not left its cluster: {why}"),
            }
            return;
        }
        if !self.steps_down || !has_others || !self.handle.inner.board.is_leading() {
            return;
        }
        match self.handle.step_down(None) {
            Ok(()) => log::info!("leadership was handed over before stopping"),
            Err(error) => log::warn!("leadership was not handed over before stopping: {error:?}"),
        }
    }

    /// Ends the threads, in order: nothing new is proposed, what was proposed is saved and
    /// applied, and a last checkpoint makes the next start quick.
    pub fn stop(mut self) {
        drop(self.joining.take());
        self.handle.inner.board.post_stopping();
        if let Some(maintenance) = &mut self.maintenance {
            maintenance.begin_stop();
        }
        self.handle.inner.readers.stop();
        drop(self.handle.inner.events.send(Event::Stop));
        self.interrupt_late_statement();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the node had panicked");
            }
        }
        // Last: it may be waiting for a VACUUM that only the threads' end answers.
        drop(self.maintenance.take());
    }

    /// A statement that goes on for longer than the patience of whoever stops the node is ended;
    /// it is in the log, and the next start begins it again.
    fn interrupt_late_statement(&self) {
        if let Err(RecvTimeoutError::Timeout) = self.writer_ended.recv_timeout(STATEMENT_PATIENCE) {
            self.interrupter.interrupt();
        }
    }
}

impl Settings {
    /// This node, as it is started now.
    pub(super) fn own_member(&self, identity: &IdentityFile) -> Member {
        Member {
            id: identity.id.clone(),
            incarnation: identity.incarnation.clone(),
            raft_address: self.raft_address.clone(),
            http_address: self.http_address.clone(),
            is_voter: self.cluster.is_voter,
            is_joining: false,
        }
    }
}

/// How a node begins that has no members yet: alone, or with nobody until it has joined others.
fn begin(settings: &Settings, directory: &mut Directory) -> Result<(), StartError> {
    let ClusterSettings { join, bootstrap_expect, is_voter, .. } = &settings.cluster;
    if let Some((_, membership)) = directory.membership() {
        let is_alone = membership.members.len() == 1
            && membership.members.contains_key(&directory.identity.id);
        if is_alone && !join.is_empty() && *bootstrap_expect == 0 {
            let text = "node is the only node in a single-node cluster, joining other clusters \
                        not supported";
            return Err(StartError(text.to_owned()));
        }
        return Ok(());
    }
    // Who has been told to which cluster it belongs begins no other.
    let waits = !join.is_empty() || *bootstrap_expect > 1 || directory.identity.cluster().is_some();
    if waits {
        log::info!("no members yet: waiting for a cluster to belong to");
        return Ok(());
    }
    if !is_voter {
        let text = "clustering failure: cannot create a new non-voting node without joining it to \
                    an existing cluster";
        return Err(StartError(text.to_owned()));
    }
    let own = settings.own_member(&directory.identity);
    directory.bootstrap(own)?;
    log::info!("bootstrapping single new node");
    Ok(())
}

/// What every thread can reach of the others.
#[derive(Clone)]
struct Wires {
    events: Sender<Event>,
    orders: Sender<Order>,
    board: Arc<Board>,
}

/// Starts the threads.
fn run(mut directory: Directory, settings: &Settings) -> Result<Node, StartError> {
    let core = core_of(&mut directory);
    let memberships = Memberships::new(std::mem::take(&mut directory.memberships));
    let Directory { lock, identity, log, mut machine, claims, .. } = directory;
    let member = settings.own_member(&identity);
    let own = Arc::new(Own::new(identity.node_id(), settings.cluster.secret.clone()));
    if let Some(cluster) = identity.cluster() {
        own.set_cluster(cluster);
    }
    let (events, event_queue) = bounded(EVENTS_MAX);
    // Never full: what it holds is bounded by the bytes in flight and by the callers.
    let (orders, order_queue) = unbounded();
    let wires = Wires { events, orders, board: Arc::new(Board::default()) };
    let readers = machine.readers();
    let interrupter = machine.interrupter();
    let backups = Backups::new(
        Arc::clone(&wires.board),
        Arc::clone(&readers),
        machine.pins(),
        &settings.directory,
    );
    let writer_pragmas = machine.pragmas().map_err(sentence)?;
    let loads = Loads::new(Arc::clone(&claims), settings.directory.clone());
    let (links, inbound) = connect(&wires, &own, &log, &claims, Arc::clone(&readers));
    // The log may yet change what the mark says.
    let enforces = machine.standing().settings.foreign_keys && machine.applied() == log.last();
    let consensus = Consensus {
        core,
        events: event_queue,
        writer: wires.orders.clone(),
        board: Arc::clone(&wires.board),
        clock: directory.clock.max(machine.standing().clock),
        seed: os::random_u64(),
        tick: settings.election_timeout / TICKS_PER_ELECTION,
        memberships,
        own: member.clone(),
        peers: Peers::new(Arc::clone(&own), links),
        changes: Changes::new(reap_after(settings), settings.cluster.stops_when_removed),
        owes_members: directory.owes_members,
        wants_foreign_keys: settings.foreign_keys && !enforces,
        state: State::default(),
    };
    let upkeep = Upkeep::new(policy(settings), machine.applied(), claims, directory.named_bodies);
    let writer = Writer::new(log, machine, upkeep, wires.events.clone(), Arc::clone(&wires.board));
    let (threads, writer_ended) = spawn(consensus, writer, order_queue)?;
    let doorstep = Doorstep::new(member, identity.clone());
    let Wires { events, orders, board } = wires;
    let identity = Identity { id: identity.id, directory: settings.directory.clone() };
    let inner = Inner { events, orders, board, readers, backups, loads, identity, writer_pragmas };
    let handle = Handle { inner: Arc::new(inner) };
    let neighbours =
        Neighbours::new(handle.clone(), own, doorstep, settings.cluster.connect_timeout);
    Ok(Node {
        handle,
        inbound: Arc::new(inbound),
        neighbours: Arc::new(neighbours),
        joining: None,
        threads,
        maintenance: None,
        steps_down: settings.cluster.steps_down_on_stop,
        leaves: settings.cluster.leaves_on_stop,
        interrupter,
        writer_ended,
        _lock: lock,
    })
}

fn core_of(directory: &mut Directory) -> Core {
    Core::new(Start {
        id: directory.identity.node_id(),
        hard_state: directory.hard_state.clone(),
        log_start: directory.log.start(),
        terms: std::mem::take(&mut directory.terms),
        commit: directory.machine.applied().index,
        configurations: directory.configurations(),
        election_ticks: TICKS_PER_ELECTION,
        heartbeat_ticks: TICKS_PER_HEARTBEAT,
        seed: os::random_u64(),
    })
}

/// The two sides of the node towards others: what it says, and what it hears.
fn connect(
    wires: &Wires,
    own: &Arc<Own>,
    log: &Log,
    claims: &Arc<Claims>,
    readers: Arc<Readers>,
) -> (Links, Inbound) {
    let Wires { events, orders, board } = wires.clone();
    let gate = Arc::new(Gate { events, board, claims: Arc::clone(claims) });
    let copies = Arc::new(Copies { orders, readers });
    let bodies = Arc::clone(claims);
    let told = Arc::clone(&gate);
    let links = Links::new(Arc::clone(own), log.reader(), copies, bodies, told);
    let inbound = Inbound::new(Arc::clone(own), log.reader(), gate, claims.folder());
    (links, inbound)
}

/// Starts the two threads that own the node's state; what is returned beside them is closed when
/// the writer has ended.
fn spawn(
    consensus: Consensus,
    writer: Writer,
    orders: Receiver<Order>,
) -> Result<(Vec<JoinHandle<()>>, Receiver<()>), StartError> {
    let (ends, writer_ended) = bounded(0);
    let consensus = move || consensus.run();
    let writer = move || {
        writer.run(&orders);
        drop(ends);
    };
    let threads = vec![
        os::spawn_owner("consensus", CONSENSUS_STACK_BYTES, consensus).map_err(sentence)?,
        os::spawn_owner("writer", WRITER_STACK_BYTES, writer).map_err(sentence)?,
    ];
    Ok((threads, writer_ended))
}

fn reap_after(settings: &Settings) -> ReapAfter {
    ReapAfter {
        voters: settings.cluster.reap_voters_after,
        replicas: settings.cluster.reap_replicas_after,
    }
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        entries_max: settings.checkpoint_entries,
        wal_bytes_max: settings.checkpoint_wal_bytes,
        interval: settings.checkpoint_interval,
    }
}

/// Waits until this node leads and has applied its log, and what it proposes as a new leader.
fn await_lead(handle: &Handle) {
    let board = &handle.inner.board;
    let deadline = Instant::now() + READY_WAIT_MAX;
    while !board.is_leading() && Instant::now() < deadline {
        std::thread::sleep(LEAD_LOOK_EVERY);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let is_ready = board.is_leading() && board.wait_applied(board.raft().last.index, left).is_ok();
    if !is_ready {
        log::info!("applying the log; the node is ready when that is done");
    }
}
