//! The door to the running node: what the HTTP API may ask of it.
//!
//! A handle owns nothing: it sends a message to the thread that does and waits for the answer,
//! or reads on the caller's own thread. It never waits for the writer to read.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::answers::{
    Accept, Answer, Backup, BackupError, BackupHead, Format, Freshness, Level, LoadError,
    MemberError, ProposeError, Query, ReadError,
};
use super::backups::Backups;
use super::board::{Board, NotApplied};
use super::changes::ChangeRequest;
use super::consensus::{Event, Proposal};
use super::loads::{Loads, Staged};
use super::status::{Cluster, Identity, PeerStatus, Status};
use super::writer::Order;
use crate::command::{Batch, Command, Stamp, Statement, Work};
use crate::db::connection::Pragmas;
use crate::db::outcome::{Rows, StatementResult};
use crate::db::readers::{Gone, QueryOptions, ReadError as QueryError, Readers};
use crate::os;
use crate::raft::Index;

/// Time between two looks at whether a proposal that takes long still has a prospect.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long handing a file to the other nodes may take at least,
const HAND_OVER_MIN: Duration = Duration::from_secs(60);

/// and how many bytes a second it must go at, else.
const HAND_OVER_RATE_MIN: u64 = 256 << 10;

/// A cloneable door to the running node.
#[derive(Clone)]
pub struct Handle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) events: Sender<Event>,
    pub(super) orders: Sender<Order>,
    pub(super) board: Arc<Board>,
    pub(super) readers: Arc<Readers>,
    pub(super) backups: Backups,
    pub(super) loads: Loads,
    pub(super) identity: Identity,
    /// How the write connection works, but for what entries change.
    pub(super) writer_pragmas: Pragmas,
}

impl Inner {
    /// Runs queries of the node's own on one connection; fails in SQLite's words.
    pub(super) fn ask(&self, queries: &[Statement]) -> Result<Vec<Rows>, String> {
        let nobody: Gone = Arc::new(|| false);
        let outcomes = self.readers.query(queries, &QueryOptions::default(), &nobody);
        let outcomes = outcomes.map_err(|error| error.to_string())?.into_iter();
        let rows = outcomes.map(|outcome| match outcome.result {
            StatementResult::Rows(rows) => Ok(rows),
            StatementResult::Failed(text) => Err(text),
            StatementResult::Written { .. } => Err("no rows".to_owned()),
        });
        rows.collect()
    }
}

impl Handle {
    /// Replicates and applies `batch`; `payload` is the request as JSON (an array of statements),
    /// kept in the log for people. Long statements are waited for; when the node cannot apply
    /// for longer than `wait_max`, the answer is `OutcomeUnknown`.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub fn execute(
        &self,
        batch: Batch,
        payload: &[u8],
        wait_max: Duration,
    ) -> Result<Answer, ProposeError> {
        self.propose(Work::Batch(batch), payload, wait_max)
    }

    /// Puts `work` into the log and waits for what comes of it.
    pub(super) fn propose(
        &self,
        work: Work,
        payload: &[u8],
        wait_max: Duration,
    ) -> Result<Answer, ProposeError> {
        self.propose_with(work, payload, wait_max, None)
    }

    /// The same; `staged` goes with the entry, whether it is waited for or not.
    fn propose_with(
        &self,
        work: Work,
        payload: &[u8],
        wait_max: Duration,
        staged: Option<&Arc<Staged>>,
    ) -> Result<Answer, ProposeError> {
        if let Some(fault) = self.inner.board.fault() {
            let text = format!("this node cannot write now: {fault}");
            return Err(ProposeError::Refused(text));
        }
        let command = Command { stamp: Stamp::default(), work };
        let body = command.encode(payload);
        let (reply, answer) = bounded(1);
        let staged = staged.map(Arc::clone);
        let event = Event::Propose(Proposal { command, body, reply, staged });
        self.inner.events.send(event).map_err(|_| ProposeError::Stopped)?;
        self.wait(&answer, wait_max)
    }

    fn wait(
        &self,
        answer: &Receiver<Result<Answer, ProposeError>>,
        wait_max: Duration,
    ) -> Result<Answer, ProposeError> {
        let mut waited = Duration::ZERO;
        loop {
            match answer.recv_timeout(PATIENCE) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(stopped_meanwhile()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match self.inner.board.fault() {
                None => waited = Duration::ZERO,
                Some(fault) => {
                    waited += PATIENCE;
                    if waited >= wait_max {
                        let text = format!(
                            "it is in the log, but this node cannot apply it now and will try again: {fault}"
                        );
                        return Err(ProposeError::OutcomeUnknown(text));
                    }
                }
            }
        }
    }

    /// Runs statements that change nothing. `is_gone` is asked now and then whether the client
    /// has left.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn query(&self, query: &Query<'_>, is_gone: &Gone) -> Result<Answer, ReadError> {
        let index = self.await_level(query)?;
        let options = QueryOptions {
            transaction: query.transaction,
            qualify_columns: query.qualify_columns,
            timeout: query.statement_time_max,
        };
        let outcomes = self.inner.readers.query(query.statements, &options, is_gone);
        Ok(Answer { index, outcomes: outcomes.map_err(read_error)? })
    }

    /// Waits until a read at this level may be served; gives the index of the entry it made.
    fn await_level(&self, query: &Query<'_>) -> Result<Index, ReadError> {
        let board = &self.inner.board;
        match query.level {
            Level::None => match query.freshness {
                Some(freshness) if !board.is_leading() => self.check_freshness(freshness),
                Some(_) | None => Ok(0),
            },
            Level::Weak if board.is_leading() && board.is_caught_up() => Ok(0),
            Level::Weak => Err(ReadError::NotLeader),
            Level::Linearizable => {
                let (reply, index) = bounded(1);
                self.send(Event::Read { reply })?;
                let index = index.recv_timeout(query.wait_max).map_err(|error| match error {
                    RecvTimeoutError::Timeout => ReadError::TimedOut,
                    RecvTimeoutError::Disconnected => ReadError::NotLeader,
                })?;
                board.wait_applied(index, query.wait_max).map_err(not_applied)?;
                Ok(0)
            }
            Level::Strong => {
                let payload = describe(query.statements);
                let answer = self.propose(Work::Read, payload.as_bytes(), query.wait_max);
                answer.map(|answer| answer.index).map_err(|error| match error {
                    ProposeError::NotLeader => ReadError::NotLeader,
                    ProposeError::OutcomeUnknown(_) => ReadError::TimedOut,
                    ProposeError::Refused(text) => ReadError::Unavailable(text),
                    ProposeError::Stopped => ReadError::Stopped,
                })
            }
        }
    }

    /// Whether what this node has is no staler than this; the leader's always is.
    ///
    /// # Errors
    /// [`ReadError::Stale`].
    pub fn is_fresh(&self, freshness: Freshness) -> Result<(), ReadError> {
        if self.inner.board.is_leading() {
            return Ok(());
        }
        self.check_freshness(freshness).map(drop)
    }

    /// Whether the leader was heard, and what was applied last was appended, not too long ago.
    fn check_freshness(&self, freshness: Freshness) -> Result<Index, ReadError> {
        let board = &self.inner.board;
        let silent_for = board.leader_silent_for().ok_or(ReadError::Stale)?;
        if silent_for > freshness.staleness_max {
            return Err(ReadError::Stale);
        }
        let disk = board.disk();
        if freshness.strict && disk.applied.index != board.with_raft(|view| view.commit) {
            let now = i64::try_from(os::wall_clock().as_millis()).unwrap_or(i64::MAX);
            let age = u64::try_from(now - disk.applied_unix_milliseconds).unwrap_or(0);
            if Duration::from_millis(age) > freshness.staleness_max {
                return Err(ReadError::Stale);
            }
        }
        Ok(0)
    }

    fn send(&self, event: Event) -> Result<(), ReadError> {
        self.inner.events.send(event).map_err(|_| ReadError::Stopped)
    }

    /// Whether every statement's first SQL statement is read-only, by SQLite's own judgement; one
    /// that does not compile counts as read-only (running it will say why).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn is_read_only(&self, statements: &[Statement]) -> Result<bool, ReadError> {
        for statement in statements {
            if !self.inner.readers.is_read_only(statement).map_err(read_error)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Why SQLite would not compile this text; `None` when it does.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn syntax_error(&self, sql: &str) -> Result<Option<String>, ReadError> {
        self.inner.readers.syntax_error(sql).map_err(read_error)
    }

    /// Pins a snapshot and starts to make a backup of it.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn backup(&self, format: &Format, compress: bool) -> Result<Backup, BackupError> {
        self.inner.backups.start(&self.inner.orders, format, compress)
    }

    /// What a backup would be, without making it.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn backup_head(&self, format: &Format, compress: bool) -> Result<BackupHead, BackupError> {
        self.inner.backups.head(&self.inner.orders, format, compress)
    }

    /// Takes an upload, checks it and loads it. Answers with the last outcome of SQL text, with
    /// none for a file.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        &self,
        upload: &mut dyn Read,
        accept: Accept,
        wait_max: Duration,
    ) -> Result<Answer, LoadError> {
        if !self.inner.board.is_leading() {
            return Err(LoadError::Propose(ProposeError::NotLeader));
        }
        let Some(staged) = self.inner.loads.stage(upload, accept)? else {
            return Ok(Answer { index: 0, outcomes: Vec::new() });
        };
        self.hand_over(&staged)?;
        let work = staged.work();
        let staged = Arc::new(staged);
        let answer = self.propose_with(work, &[], wait_max, Some(&staged));
        answer.map_err(LoadError::Propose)
    }

    /// Has a majority hold the file before its entry is proposed: writes go on meanwhile.
    fn hand_over(&self, staged: &Staged) -> Result<(), LoadError> {
        let (reply, held) = bounded(1);
        let sha256 = staged.sha256().to_owned();
        let event = Event::HandBody { sha256: sha256.clone(), reply };
        let stopped = |_| LoadError::Propose(ProposeError::Stopped);
        self.inner.events.send(event).map_err(stopped)?;
        let wait_max = HAND_OVER_MIN + Duration::from_secs(staged.bytes() / HAND_OVER_RATE_MIN);
        held.recv_timeout(wait_max).map_err(|error| match error {
            RecvTimeoutError::Disconnected => LoadError::Propose(ProposeError::NotLeader),
            RecvTimeoutError::Timeout => {
                drop(self.inner.events.send(Event::KeepBody { sha256 }));
                let text = format!(
                    "no majority of the nodes has taken the file within {} s (is a disk full?); \
                     nothing was changed",
                    wait_max.as_secs()
                );
                LoadError::Propose(ProposeError::Refused(text))
            }
        })
    }

    /// Makes a checkpoint and drops the log behind it but for `trailing` entries. False: there
    /// was nothing new.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn checkpoint(&self, trailing: u64) -> Result<bool, String> {
        let (reply, result) = bounded(1);
        let stopping = "the node is stopping";
        self.inner.orders.send(Order::Checkpoint { trailing, reply }).map_err(|_| stopping)?;
        result.recv().map_err(|_| stopping)?
    }

    /// A picture of the node. Costs a walk through its folder and some queries: see
    /// [`Self::cluster`] and the questions after it for what is asked often.
    pub fn status(&self) -> Status {
        Status::of(&self.inner)
    }

    /// Waits until all that is committed now is applied.
    ///
    /// # Errors
    /// A sentence when it took longer.
    pub fn wait_applied(&self, wait_max: Duration) -> Result<(), String> {
        let commit = self.inner.board.raft().commit;
        self.inner.board.wait_applied(commit, wait_max).map_err(|error| match error {
            NotApplied::TimedOut => format!("timeout waiting for entry {commit} to be applied"),
            NotApplied::Stopping => "the node is stopping".to_owned(),
        })
    }

    /// One trivial read, to see that SQLite answers.
    ///
    /// # Errors
    /// SQLite's words.
    pub fn probe_database(&self) -> Result<(), String> {
        self.inner.ask(&[Statement::plain("SELECT 1")]).map(drop)
    }

    /// The members and who leads.
    pub fn cluster(&self) -> Cluster {
        Cluster::of(&self.inner, self.inner.board.raft())
    }

    /// How the other members are doing; nothing when the node is stopping.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let (reply, peers) = bounded(1);
        drop(self.inner.events.send(Event::Peers { reply }));
        peers.recv().unwrap_or_default()
    }

    /// Whether this node leads and may serve reads and writes as the leader. Costs nothing.
    pub fn is_leader(&self) -> bool {
        self.inner.board.is_leading()
    }

    /// Whether a leader is known: this node or another.
    pub fn has_leader(&self) -> bool {
        self.inner.board.has_leader()
    }

    /// Whether everything committed before the start has been applied again. Costs nothing.
    pub fn is_caught_up(&self) -> bool {
        self.inner.board.is_caught_up()
    }

    /// Why entries wait to be applied; `None` when all is well.
    pub fn fault(&self) -> Option<String> {
        self.inner.board.fault()
    }

    /// Removes a member; an unknown id is a success. Returns once that is committed.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub fn remove(&self, id: &str) -> Result<(), MemberError> {
        self.change(ChangeRequest::Remove { id: id.to_owned() })
    }

    /// Changes the members as asked, and returns once that is committed.
    pub(super) fn change(&self, request: ChangeRequest) -> Result<(), MemberError> {
        self.ask_member(|reply| Event::Change { request, reply })
    }

    /// Hands leadership to `target`, or to the voter that is best, and returns once it is taken.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub fn step_down(&self, target: Option<&str>) -> Result<(), MemberError> {
        let to = target.map(str::to_owned);
        self.ask_member(|reply| Event::StepDown { to, reply })
    }

    fn ask_member(
        &self,
        event: impl FnOnce(Sender<Result<(), MemberError>>) -> Event,
    ) -> Result<(), MemberError> {
        let (reply, result) = bounded(1);
        let stopping = || MemberError::Refused("the node is stopping".to_owned());
        self.inner.events.send(event(reply)).map_err(|_| stopping())?;
        result.recv().map_err(|_| stopping())?
    }
}

/// A strong read as the log shows it: its statements, without what is bound to them.
fn describe(statements: &[Statement]) -> String {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
    serde_json::json!(texts).to_string()
}

fn stopped_meanwhile() -> ProposeError {
    let text = "the node stopped before this was answered; it may have been done, or be done later";
    ProposeError::OutcomeUnknown(text.to_owned())
}

fn not_applied(error: NotApplied) -> ReadError {
    match error {
        NotApplied::TimedOut => ReadError::TimedOut,
        NotApplied::Stopping => ReadError::Stopped,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn read_error(error: QueryError) -> ReadError {
    match error {
        QueryError::Gone => ReadError::ClientGone,
        QueryError::Stopped => ReadError::Stopped,
        QueryError::Expelled | QueryError::Fault(_) => ReadError::Unavailable(error.to_string()),
    }
}
