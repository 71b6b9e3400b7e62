//! From a data directory to a running node, and back.
//!
//! The order matters: the lock first, then the log (which says what was promised), then the
//! database (which says what was applied), and only then threads. A directory that holds
//! something unexpected stops the start with a sentence; nothing is ever guessed or repaired
//! silently.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};

use super::backups::Backups;
use super::board::Board;
use super::claims::Claims;
use super::consensus::{Consensus, Event, State};
use super::handle::{Handle, Inner};
use super::loads::Loads;
use super::maintenance;
use super::membership::Membership;
use super::status::{Identity, Member};
use super::upkeep::{Policy, Upkeep};
use super::writer::Writer;
use crate::command::Command;
use crate::db::mark;
use crate::db::state_machine::{self, StateMachine};
use crate::db::work::Interrupter;
use crate::os;
use crate::raft::{Core, EntryId, EntryKind, HardState, Index, Start, Term};
use crate::stats::{self, Stat};
use crate::storage::durable;
use crate::storage::lock::DirectoryLock;
use crate::storage::{Entry, Log, Options, Recovered};

/// Events that may wait for the consensus thread; beyond this, callers block.
const EVENTS_MAX: usize = 8192;

/// Bytes of log read at one go when it is looked through at start.
const SCAN_BYTES: usize = 4 << 20;

/// Ticks in an election timeout: the core's unit of time is a tenth of it.
const TICKS_PER_ELECTION: u32 = 20;

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
}

/// Why a node did not start: a sentence for the one who started it.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A running node.
pub struct Node {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    maintenance: Option<maintenance::Timetable>,
    /// Ends a statement that the writer is in.
    interrupter: Interrupter,
    /// Closed by the writer thread when it ends.
    writer_ended: Receiver<()>,
    /// Held until everything has ended.
    _lock: DirectoryLock,
}

/// What the log says, looked through from end to end.
struct LogContent {
    terms: Vec<Term>,
    membership: Option<(Index, Membership)>,
    bodies: Vec<(Index, String)>,
    /// The latest stamp.
    clock: i64,
}

impl Node {
    /// Opens the data directory and starts the threads. Returns once the node leads and has
    /// applied its log, or soon after if that takes long.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the directory, and what to do.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let lock = DirectoryLock::take(&settings.directory).map_err(sentence)?;
        durable::sweep(&settings.directory).map_err(sentence)?;
        let folder = settings.directory.join("raft");
        check_log_is_there(&folder, &settings.directory.join("db"))?;
        let (mut log, recovered) = Log::open(&folder, Options::default()).map_err(sentence)?;
        let machine = open_machine(settings)?;
        if machine.applied() != EntryId::default() {
            stats::add(Stat::NumRestoresStartSkipped, 1);
        }
        let mut content = look_through(&log)?;
        if content.membership.is_none() {
            content.membership = membership_of_mark(&machine)?;
        }
        let (hard_state, membership_index, membership) =
            settle_membership(settings, &mut log, recovered, &mut content)?;
        check_continuity(&log, machine.applied())?;
        let id = own_id(settings, &membership)?;
        // The log may yet change what the mark says.
        let enforces = machine.standing().settings.foreign_keys && machine.applied() == log.last();
        let wants_foreign_keys = settings.foreign_keys && !enforces;
        let own = own_member(settings, id.clone());
        let identity = Identity { id: id.clone(), directory: settings.directory.clone() };
        let bodies = settings.directory.join("bodies");
        // A replay begins behind the mark. The body of a load before it is the database by now.
        content.bodies.retain(|(index, _)| *index > machine.applied().index);
        let named = content.bodies.iter().map(|(_, sha256)| sha256.clone());
        let claims = Arc::new(Claims::open(&bodies, named).map_err(sentence)?);
        let core = Core::new(Start {
            id,
            hard_state,
            log_start: log.start(),
            terms: content.terms,
            commit: machine.applied().index,
            configurations: vec![(
                membership_index.min(log.start().index),
                membership.configuration(),
            )],
            election_ticks: TICKS_PER_ELECTION,
            heartbeat_ticks: TICKS_PER_HEARTBEAT,
            seed: os::random_u64(),
        });
        let parts = Parts {
            lock,
            core,
            log,
            machine,
            claims,
            named_bodies: content.bodies,
            clock: content.clock,
            membership,
            membership_index,
            own,
            wants_foreign_keys,
            identity,
        };
        let mut node = parts.start(settings)?;
        await_lead(&node.handle);
        node.maintenance = Some(maintenance::start(&node.handle, settings).map_err(sentence)?);
        Ok(node)
    }

    /// A door to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the threads, in order: nothing new is proposed, what was proposed is saved and
    /// applied, and a last checkpoint makes the next start quick.
    pub fn stop(mut self) {
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

/// Everything that the threads are made of.
struct Parts {
    lock: DirectoryLock,
    core: Core,
    log: Log,
    machine: StateMachine,
    claims: Arc<Claims>,
    named_bodies: Vec<(Index, String)>,
    clock: i64,
    membership: Membership,
    membership_index: Index,
    own: Member,
    wants_foreign_keys: bool,
    identity: Identity,
}

impl Parts {
    fn start(mut self, settings: &Settings) -> Result<Node, StartError> {
        let (events, event_queue) = bounded(EVENTS_MAX);
        // Never full: what it holds is bounded by the bytes in flight and by the callers.
        let (orders, order_queue) = unbounded();
        let board = Arc::new(Board::default());
        let readers = self.machine.readers();
        let pins = self.machine.pins();
        let interrupter = self.machine.interrupter();
        let writer_pragmas = self.machine.pragmas().map_err(sentence)?;
        let policy = Policy {
            entries_max: settings.checkpoint_entries,
            wal_bytes_max: settings.checkpoint_wal_bytes,
            interval: settings.checkpoint_interval,
        };
        let cluster = self.membership.cluster.clone();
        let loads = Loads::new(Arc::clone(&self.claims), settings.directory.clone());
        let consensus = Consensus {
            id: self.identity.id.clone(),
            core: self.core,
            events: event_queue,
            writer: orders.clone(),
            board: Arc::clone(&board),
            clock: self.clock.max(self.machine.standing().clock),
            seed: os::random_u64(),
            tick: settings.election_timeout / TICKS_PER_ELECTION,
            membership: self.membership,
            membership_index: self.membership_index,
            own: self.own,
            wants_foreign_keys: self.wants_foreign_keys,
            state: State::default(),
        };
        let checkpoint = self.machine.applied();
        let upkeep = Upkeep::new(policy, checkpoint, self.claims, self.named_bodies);
        let writer =
            Writer::new(self.log, self.machine, upkeep, events.clone(), Arc::clone(&board));
        let (ends, writer_ended) = bounded(0);
        let threads = vec![
            os::spawn_owner("consensus", CONSENSUS_STACK_BYTES, move || consensus.run())
                .map_err(sentence)?,
            os::spawn_owner("writer", WRITER_STACK_BYTES, move || {
                writer.run(&order_queue);
                drop(ends);
            })
            .map_err(sentence)?,
        ];
        let backups = Backups::new(cluster, Arc::clone(&readers), pins, &settings.directory);
        let inner = Inner {
            events,
            orders,
            board,
            readers,
            backups,
            loads,
            identity: self.identity,
            writer_pragmas,
        };
        Ok(Node {
            handle: Handle { inner: Arc::new(inner) },
            threads,
            maintenance: None,
            interrupter,
            writer_ended,
            _lock: self.lock,
        })
    }
}

fn open_machine(settings: &Settings) -> Result<StateMachine, StartError> {
    let options = state_machine::Options {
        directory: settings.directory.join("db"),
        readers_max: settings.readers_max,
        backup_limits: settings.backup_limits,
    };
    StateMachine::open(&options).map_err(sentence)
}

fn look_through(log: &Log) -> Result<LogContent, StartError> {
    let mut content =
        LogContent { terms: Vec::new(), membership: None, bodies: Vec::new(), clock: 0 };
    let mut next = log.start().index + 1;
    while next <= log.last().index {
        let entries = log.entries(next, SCAN_BYTES).map_err(sentence)?;
        for entry in entries {
            next = entry.id.index + 1;
            content.terms.push(entry.id.term);
            match entry.kind {
                EntryKind::Noop => {}
                EntryKind::Membership => {
                    let membership = Membership::decode(&entry.body).ok_or_else(|| {
                        StartError(format!(
                            "entry {} names no members: it was written by another version",
                            entry.id.index
                        ))
                    })?;
                    content.membership = Some((entry.id.index, membership));
                }
                EntryKind::Command => {
                    let outline = Command::outline(&entry.body).map_err(sentence)?;
                    content.clock = content.clock.max(outline.stamp.unix_milliseconds);
                    let body = Command::body_named_by(&entry.body).map_err(sentence)?;
                    content.bodies.extend(body.map(|sha256| (entry.id.index, sha256)));
                }
            }
        }
    }
    Ok(content)
}

fn membership_of_mark(machine: &StateMachine) -> Result<Option<(Index, Membership)>, StartError> {
    let text = &machine.standing().membership;
    if text.is_empty() {
        return Ok(None);
    }
    let membership = Membership::decode(text.as_bytes());
    let error = || {
        StartError(
            "the mark of the database names no members: it was written by another version"
                .to_owned(),
        )
    };
    Ok(Some((0, membership.ok_or_else(error)?)))
}

/// The members by the log, or a new cluster of one in an empty directory.
fn settle_membership(
    settings: &Settings,
    log: &mut Log,
    recovered: Recovered,
    content: &mut LogContent,
) -> Result<(HardState, Index, Membership), StartError> {
    if let Some((index, membership)) = content.membership.take() {
        return Ok((recovered.hard_state, index, membership));
    }
    if log.last() != EntryId::default() {
        let text = "the log has entries but names no members: files of the data directory are missing; \
             restore a backup into an empty one";
        return Err(StartError(text.to_owned()));
    }
    let id = settings.id.clone().unwrap_or_else(|| settings.raft_address.clone());
    let membership = Membership::alone(os::random_name(), own_member(settings, id));
    let hard_state = HardState { term: 1, vote: None };
    let first = EntryId { term: 1, index: 1 };
    log.set_hard_state(&hard_state);
    let body = membership.encode().into_bytes().into();
    log.append(&Entry { id: first, kind: EntryKind::Membership, body });
    log.sync().map_err(sentence)?;
    content.terms.push(first.term);
    log::info!("bootstrapping single new node");
    Ok((hard_state, first.index, membership))
}

fn own_member(settings: &Settings, id: String) -> Member {
    Member {
        id,
        raft_address: settings.raft_address.clone(),
        http_address: settings.http_address.clone(),
        is_voter: true,
    }
}

/// A first start makes the log before the database, and the log never goes away again.
fn check_log_is_there(log: &Path, database: &Path) -> Result<(), StartError> {
    let mark = database.join(mark::NAME);
    if mark.exists() && !Log::is_in(log).map_err(sentence)? {
        return Err(StartError(format!(
            "{} holds no log, though there is {}: files of the data directory are missing. \
             Bring them back, or restore a backup into an empty data directory",
            log.display(),
            mark.display()
        )));
    }
    Ok(())
}

/// The database must not be ahead of the log, and no entry may be missing between them.
fn check_continuity(log: &Log, applied: EntryId) -> Result<(), StartError> {
    if applied.index < log.start().index || applied.index > log.last().index {
        return Err(StartError(format!(
            "the database stands at entry {}, the log holds entries {} to {}: they do not belong \
             together; restore a backup into an empty data directory",
            applied.index,
            log.start().index + 1,
            log.last().index
        )));
    }
    Ok(())
}

/// The name is what the directory says; a cluster of one has only one to give.
fn own_id(settings: &Settings, membership: &Membership) -> Result<String, StartError> {
    let wanted = settings.id.as_ref().unwrap_or(&settings.raft_address);
    if membership.members.contains_key(wanted) {
        return Ok(wanted.clone());
    }
    let mut ids = membership.members.keys();
    match (&settings.id, ids.next(), ids.next()) {
        (None, Some(only), None) => Ok(only.clone()),
        (Some(_) | None, _, _) => Err(StartError(format!(
            "this data directory belongs to node {}, not to {wanted}: start it with -node-id of \
             that name, or give {wanted} a directory of its own",
            membership.members.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        ))),
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

fn sentence(error: impl fmt::Display) -> StartError {
    StartError(error.to_string())
}
