//! What a data directory says: opened in an order in which each part can vouch for the next.
//!
//! First the lock, then the identity (whose promises these are), then the log (what was promised),
//! then the database (what was applied). A directory that holds something unexpected stops the
//! start with a sentence; nothing is ever guessed or repaired silently. No thread starts here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::claims::Claims;
use super::identity::IdentityFile;
use super::membership::Membership;
use super::peers_file;
use super::start::Settings;
use super::status::Member;
use crate::command::Command;
use crate::db::mark;
use crate::db::state_machine::{self, StateMachine};
use crate::os;
use crate::raft::{Configuration, EntryId, EntryKind, HardState, Index, Term};
use crate::stats::{self, Stat};
use crate::storage::durable;
use crate::storage::lock::DirectoryLock;
use crate::storage::{Entry, Log, Options};

/// Bytes of log read at one go when it is looked through at start.
const SCAN_BYTES: usize = 4 << 20;

/// Why a node did not start: a sentence for the one who started it.
#[derive(Debug)]
pub struct StartError(pub(super) String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

pub(super) fn sentence(error: impl fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// An opened data directory.
pub(super) struct Directory {
    /// Held until everything has ended.
    pub(super) lock: DirectoryLock,
    pub(super) identity: IdentityFile,
    pub(super) log: Log,
    pub(super) machine: StateMachine,
    pub(super) claims: Arc<Claims>,
    pub(super) hard_state: HardState,
    /// The term of each entry in the log.
    pub(super) terms: Vec<Term>,
    /// Detached bodies that entries behind the mark name.
    pub(super) named_bodies: Vec<(Index, String)>,
    /// The latest stamp in the log.
    pub(super) clock: i64,
    /// The members as of the log's start, and of each entry in it that names some: those that
    /// count. Empty in a directory that has never had any.
    pub(super) memberships: Vec<(Index, Membership)>,
    /// The members were set by hand, and no entry of the log says so yet.
    pub(super) owes_members: bool,
}

impl Directory {
    /// Opens the directory, making an empty one where there is none.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, and what to do.
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let directory = &settings.directory;
        let lock = DirectoryLock::take(directory).map_err(sentence)?;
        durable::sweep(directory).map_err(sentence)?;
        let identity = IdentityFile::read(directory).map_err(sentence)?;
        let folder = directory.join("raft");
        check_log_is_there(&folder, directory, identity.is_some())?;
        let (mut log, recovered) = Log::open(&folder, Options::default()).map_err(sentence)?;
        let mut machine = open_machine(settings)?;
        if machine.applied() != EntryId::default() {
            stats::add(Stat::NumRestoresStartSkipped, 1);
        }
        join_log_and_database(&mut log, &mut machine)?;
        let mut content = look_through(&log)?;
        content.memberships.splice(..0, membership_of_mark(&log, &machine)?);
        let last = content.memberships.last().map(|(_, membership)| membership);
        let identity = match identity {
            Some(identity) => identity,
            None => new_identity(settings, last)?,
        };
        check_name(settings, &identity.id)?;
        // A replay begins behind the mark. The body of a load before it is the database by now.
        content.bodies.retain(|(index, _)| *index > machine.applied().index);
        let named = content.bodies.iter().map(|(_, sha256)| sha256.clone());
        let claims = Claims::open(&directory.join("bodies"), named).map_err(sentence)?;
        let mut opened = Self {
            lock,
            identity,
            log,
            machine,
            claims: Arc::new(claims),
            hard_state: recovered.hard_state,
            terms: content.terms,
            named_bodies: content.bodies,
            clock: content.clock,
            memberships: content.memberships,
            owes_members: false,
        };
        opened.drop_superseded();
        opened.recover_by_hand(settings)?;
        opened.check_members()?;
        Ok(opened)
    }

    /// The members in force, and the entry that made them so; `None` before there were any.
    pub(super) fn membership(&self) -> Option<&(Index, Membership)> {
        self.memberships.last()
    }

    /// The same for the core: that at the log's start, then each that the log holds.
    pub(super) fn configurations(&self) -> Vec<(Index, Configuration)> {
        let configurations = self.memberships.iter();
        let mut all: Vec<_> = configurations
            .map(|(index, membership)| (*index, membership.configuration()))
            .collect();
        let start = self.log.start().index;
        if all.first().is_none_or(|(index, _)| *index > start) {
            all.insert(0, (start, Configuration::default()));
        }
        all
    }

    /// Begins a cluster of one: the first entry of its log.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn bootstrap(&mut self, member: Member) -> Result<(), StartError> {
        let cluster = os::random_name();
        let membership = Membership::alone(cluster.clone(), member);
        let first = EntryId { term: 1, index: 1 };
        self.hard_state = HardState { term: first.term, vote: None };
        self.log.set_hard_state(&self.hard_state);
        let body = membership.encode().into_bytes().into();
        self.log.append(&Entry { id: first, kind: EntryKind::Membership, body });
        self.log.sync().map_err(sentence)?;
        self.terms.push(first.term);
        self.memberships.push((first.index, membership));
        self.identity.adopt(&cluster).map_err(sentence)
    }

    /// What was decided before a recovery by hand does not count after it.
    fn drop_superseded(&mut self) {
        let Some(forced) = self.identity.forced() else { return };
        self.memberships.retain(|(_, membership)| membership.since >= forced.since);
        self.owes_members = self.memberships.is_empty();
        let start = self.log.start().index;
        if self.memberships.first().is_none_or(|(index, _)| *index > start) {
            self.memberships.insert(0, (start, forced.clone()));
        }
    }

    fn recover_by_hand(&mut self, settings: &Settings) -> Result<(), StartError> {
        let folder = settings.directory.join("raft");
        let Some(text) = peers_file::read(&folder).map_err(StartError)? else { return Ok(()) };
        let known = self.membership().map(|(_, known)| known.clone()).unwrap_or_default();
        let own = settings.own_member(&self.identity);
        let term = self.hard_state.term.max(self.log.last().term);
        let mut forced = peers_file::membership(&text, &known, &own, term).map_err(StartError)?;
        // After a crash in the middle of this: all survivors must count from the same term.
        if self.identity.forced() == Some(&known) && known.members == forced.members {
            forced = known;
        }
        self.identity.force(forced.clone()).map_err(sentence)?;
        if self.hard_state.term < forced.since {
            self.hard_state = HardState { term: forced.since, vote: None };
            self.log.set_hard_state(&self.hard_state);
            self.log.sync().map_err(sentence)?;
        }
        peers_file::set_aside(&folder).map_err(sentence)?;
        let ids: Vec<&str> = forced.members.keys().map(String::as_str).collect();
        log::warn!("the members were set by hand, by peers.json: {}", ids.join(", "));
        self.drop_superseded();
        Ok(())
    }

    fn check_members(&mut self) -> Result<(), StartError> {
        let Some((_, membership)) = self.memberships.last() else {
            if self.log.last() == EntryId::default() {
                return Ok(());
            }
            let text = "the log has entries but names no members: files of the data directory are \
                        missing; restore a backup into an empty one";
            return Err(StartError(text.to_owned()));
        };
        let own = membership.members.get(&self.identity.id);
        if own.is_some_and(|own| own.incarnation != self.identity.incarnation) {
            // Another directory has taken the name over; this one votes no more, and will be told.
            log::warn!("node {} has another data directory by now", self.identity.id);
        }
        let cluster = membership.cluster.clone();
        self.identity.adopt(&cluster).map_err(sentence)
    }
}

/// What the log says, looked through from end to end.
#[derive(Default)]
struct LogContent {
    terms: Vec<Term>,
    memberships: Vec<(Index, Membership)>,
    bodies: Vec<(Index, String)>,
    /// The latest stamp.
    clock: i64,
}

fn open_machine(settings: &Settings) -> Result<StateMachine, StartError> {
    let options = state_machine::Options {
        directory: settings.directory.join("db"),
        readers_max: settings.readers_max,
        backup_limits: settings.backup_limits,
    };
    StateMachine::open(&options).map_err(sentence)
}

/// A first start makes the log before the identity and the database, and it never goes away again.
fn check_log_is_there(log: &Path, directory: &Path, is_known: bool) -> Result<(), StartError> {
    let mark = directory.join("db").join(mark::NAME);
    if (is_known || mark.exists()) && !Log::is_in(log).map_err(sentence)? {
        let witness = if is_known {
            "it has an identity".to_owned()
        } else {
            format!("there is {}", mark.display())
        };
        return Err(StartError(format!(
            "{} holds no log, though {witness}: files of the data directory are missing. Bring \
             them back, or start with an empty data directory and restore a backup, or join again",
            log.display()
        )));
    }
    Ok(())
}

/// The log must hold the very entry that the database stands for, or end before it because a
/// leader's database has just taken the place of everything.
fn join_log_and_database(log: &mut Log, machine: &mut StateMachine) -> Result<(), StartError> {
    let applied = machine.applied();
    let is_held = log.term_at(applied.index) == Some(applied.term);
    if !is_held {
        if !machine.standing().begins_log || applied.index < log.start().index {
            return Err(StartError(format!(
                "the database stands at entry {} of term {}, the log holds entries {} to {}: they \
                 do not belong together; restore a backup into an empty data directory",
                applied.index,
                applied.term,
                log.start().index + 1,
                log.last().index
            )));
        }
        log::info!("the log begins anew behind entry {}, as the database does", applied.index);
        log.reset(applied).map_err(sentence)?;
    }
    machine.note_log_begun();
    Ok(())
}

fn look_through(log: &Log) -> Result<LogContent, StartError> {
    let mut content = LogContent::default();
    let mut next = log.start().index + 1;
    while next <= log.last().index {
        for entry in log.entries(next, SCAN_BYTES).map_err(sentence)? {
            next = entry.id.index + 1;
            content.terms.push(entry.id.term);
            content.take(&entry)?;
        }
    }
    Ok(content)
}

impl LogContent {
    fn take(&mut self, entry: &Entry) -> Result<(), StartError> {
        match entry.kind {
            EntryKind::Noop => {}
            EntryKind::Membership => {
                let membership = Membership::decode(&entry.body).ok_or_else(|| {
                    StartError(format!(
                        "entry {} names no members: it was written by another version",
                        entry.id.index
                    ))
                })?;
                self.memberships.push((entry.id.index, membership));
            }
            EntryKind::Command => {
                let outline = Command::outline(&entry.body).map_err(sentence)?;
                self.clock = self.clock.max(outline.stamp.unix_milliseconds);
                let body = Command::body_named_by(&entry.body).map_err(sentence)?;
                self.bodies.extend(body.map(|sha256| (entry.id.index, sha256)));
            }
        }
        Ok(())
    }
}

/// The members as the database has them. They stand for those at the log's start: what is
/// applied is committed, so no earlier ones ever come back.
fn membership_of_mark(
    log: &Log,
    machine: &StateMachine,
) -> Result<Option<(Index, Membership)>, StartError> {
    let text = &machine.standing().membership;
    if text.is_empty() {
        return Ok(None);
    }
    let Some(membership) = Membership::decode(text.as_bytes()) else {
        let text = "the mark of the database names no members: it was written by another version";
        return Err(StartError(text.to_owned()));
    };
    Ok(Some((log.start().index, membership)))
}

/// A directory without one is new, or an older program's, which knew clusters of one only.
fn new_identity(
    settings: &Settings,
    membership: Option<&Membership>,
) -> Result<IdentityFile, StartError> {
    let wanted = settings.id.as_ref().unwrap_or(&settings.raft_address);
    let (id, incarnation) = match membership {
        None => (wanted, None),
        Some(membership) => match membership.members.values().next() {
            Some(only) if membership.members.len() == 1 && only.incarnation.is_empty() => {
                check_name(settings, &only.id)?;
                (&only.id, Some(String::new()))
            }
            Some(_) | None => {
                let text = "the data directory has lost its file identity: bring it back, or \
                            remove the directory and let the node join again";
                return Err(StartError(text.to_owned()));
            }
        },
    };
    IdentityFile::create(&settings.directory, id.clone(), incarnation).map_err(sentence)
}

/// The name is what the directory says.
fn check_name(settings: &Settings, id: &str) -> Result<(), StartError> {
    match &settings.id {
        Some(wanted) if wanted != id => Err(StartError(format!(
            "this data directory belongs to node {id}, not to {wanted}: start it with -node-id of \
             that name, or give {wanted} a directory of its own"
        ))),
        Some(_) | None => Ok(()),
    }
}
