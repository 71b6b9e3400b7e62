//! Applying entries: many requests in one transaction, none noticing the others.
//!
//! What a client sees, and what the database becomes, must be as if each request had been run by
//! itself, each statement committing on its own (or all of a request's together, where it asks for
//! a transaction). Sharing a transaction is only for speed, so whatever could show through it
//! makes us run the request alone. This file must never answer before the commit, and never
//! make an answer of this node's own trouble.
//!
//! | request                                       | runs                                      |
//! |-----------------------------------------------|-------------------------------------------|
//! | plain                                         | in the batch's transaction                |
//! | plain, foreign keys on or virtual tables made | the same, a savepoint for each statement  |
//! | `transaction`                                 | in the batch's, within a savepoint        |
//! | PRAGMA, BEGIN, VACUUM, `OR ROLLBACK` ...      | alone, SQLite committing by itself        |
//! | found to have ended the batch's transaction   | all is undone, then the same              |

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::{self, Writer, WriterSettings};
use super::execute::{Enclosure, RowsOf, Run, Stop};
use super::fault::{self, Fault, FaultKind, Verdict};
use super::growth::{FULL, Growth};
use super::guard::Access;
use super::outcome::{Outcome, StatementResult};
use super::work::{Ended, Interrupter};
use super::{raw, scan};
use crate::command::{Batch, Stamp, Statement};
use crate::raft::EntryId;

const LEFT_OPEN: &str = "the transaction that the request left open was rolled back";

/// One entry to apply.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Which entry.
    pub id: EntryId,
    /// Its time and seed.
    pub stamp: Stamp,
    /// What to run.
    pub batch: &'a Batch,
}

/// What came of one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// One for each statement that was run; with `transaction`, the first failure is the last.
    pub outcomes: Vec<Outcome>,
    /// Whether foreign keys are enforced from here on: replicated state that belongs in the mark.
    pub foreign_keys: bool,
}

/// The write connection and all that makes it deterministic.
pub struct Applier {
    writer: Writer,
    foreign_keys: bool,
    /// Some request has called `changes()`, so it must start each one at 0.
    changes_matter: bool,
    virtual_tables: bool,
    growth: Growth,
}

/// Why a batch could not be run together; nothing of it is left.
enum Broken {
    /// The request at this place must run alone.
    By(usize),
    /// This node's own trouble.
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Applier {
    /// Opens the database for writing, making it if there is none.
    ///
    /// # Errors
    /// What keeps the file from being opened.
    pub fn open(
        path: &Path,
        settings: WriterSettings,
        interrupter: Interrupter,
    ) -> Result<Self, Fault> {
        let writer = connection::open_writer(path, settings, interrupter)?;
        // A virtual table has no root page.
        let sql = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type='table' AND rootpage=0)";
        let virtual_tables = writer.connection.query_row(sql, [], |row| row.get(0));
        let virtual_tables = virtual_tables.map_err(|error| Fault::of(&error))?;
        let foreign_keys = settings.foreign_keys;
        let growth = Growth::of(&writer)?;
        Ok(Self { writer, growth, foreign_keys, changes_matter: false, virtual_tables })
    }

    /// Applies entries in order and commits them: all, or those before one that met a fault, so
    /// that what is committed is always told. Whoever comes back with the rest learns of the fault.
    ///
    /// # Errors
    /// The first entry met a fault, and nothing of it is left: come back with it when the trouble
    /// is over. With `needs_restart`, only a restart helps.
    pub fn apply(&mut self, tasks: &[Task<'_>]) -> Result<Vec<Applied>, Fault> {
        let mut done = Vec::with_capacity(tasks.len());
        let mut alone = BTreeSet::new();
        while done.len() < tasks.len() {
            let next = done.len();
            let shares = |at: &usize| !alone.contains(at) && !runs_alone(tasks[*at].batch);
            let end = next + (next..tasks.len()).take_while(shares).count();
            let applied = if end == next {
                self.alone(&tasks[next]).map(|applied| vec![applied]).map_err(Broken::Fault)
            } else {
                self.together(&tasks[next..end])
            };
            match applied {
                Ok(applied) => done.extend(applied),
                Err(Broken::By(place)) => {
                    alone.insert(next + place);
                }
                Err(Broken::Fault(fault)) if done.is_empty() || fault.needs_restart => {
                    return Err(fault);
                }
                Err(Broken::Fault(_)) => break,
            }
        }
        Ok(done)
    }

    /// The connection, for what the server itself does between batches: the guard lets it pass.
    /// It must be back in autocommit mode afterwards.
    pub(in crate::db) fn unguarded<T>(&mut self, work: impl FnOnce(&mut Connection) -> T) -> T {
        self.writer.meter.start(0);
        self.writer.guard.trust(true);
        let result = work(&mut self.writer.connection);
        self.writer.guard.trust(false);
        result
    }

    fn together(&mut self, tasks: &[Task<'_>]) -> Result<Vec<Applied>, Broken> {
        let limits = tasks.iter().map(|task| task.stamp.database_blocks_max);
        let limit = limits.filter(|blocks| *blocks > 0).min().unwrap_or(0);
        if !self.growth.limit(&self.writer, limit)? {
            // How much each may add depends on what it finds.
            return Err(Broken::By(0));
        }
        self.begin()?;
        let mut applied = Vec::with_capacity(tasks.len());
        for (place, task) in tasks.iter().enumerate() {
            let outcomes =
                if task.batch.transaction { self.grouped(task) } else { self.separate(task) };
            let asked = self.writer.generator.take_changes_asked() && !self.changes_matter;
            self.changes_matter |= asked;
            match outcomes {
                Ok(outcomes) if !asked => {
                    applied.push(Applied { outcomes, foreign_keys: self.foreign_keys });
                }
                Err(Stop::Fault(fault)) => {
                    self.rollback()?;
                    return Err(Broken::Fault(fault));
                }
                Ok(_) | Err(Stop::Lost | Stop::Interrupted | Stop::Failed(_)) => {
                    self.rollback()?;
                    return Err(Broken::By(place));
                }
            }
        }
        let committed = self.commit();
        if let Err(error) = committed {
            self.rollback()?;
            return Err(match fault::classify(&error) {
                Verdict::Fault(fault) => Broken::Fault(fault),
                Verdict::Outcome(_) => Broken::By(0),
            });
        }
        Ok(applied)
    }

    /// A plain request within the batch's transaction.
    fn separate(&mut self, task: &Task<'_>) -> Result<Vec<Outcome>, Stop> {
        self.start(task.stamp, self.changes_matter).map_err(Stop::Fault)?;
        let mut outcomes = Vec::with_capacity(task.batch.statements.len());
        for statement in &task.batch.statements {
            self.virtual_tables |= self.writer.guard.made_virtual_table();
            let careful = self.foreign_keys || self.virtual_tables;
            let enclosure = if careful { Enclosure::Savepoint } else { Enclosure::Transaction };
            outcomes.push(self.outcome(task.batch, statement, enclosure)?);
        }
        Ok(outcomes)
    }

    /// A request with `transaction` within the batch's transaction.
    fn grouped(&mut self, task: &Task<'_>) -> Result<Vec<Outcome>, Stop> {
        self.start(task.stamp, self.changes_matter).map_err(Stop::Fault)?;
        self.own("SAVEPOINT quorlite_request").map_err(Stop::Fault)?;
        let mut outcomes = self.until_failure(task.batch, Enclosure::Transaction)?;
        let violated = raw::has_deferred_violations(&self.writer.connection);
        if violated && !has_failed(&outcomes) {
            fail_last(&mut outcomes, "FOREIGN KEY constraint failed");
        }
        if has_failed(&outcomes) {
            self.own("ROLLBACK TO quorlite_request").map_err(Stop::Fault)?;
        }
        self.own("RELEASE quorlite_request").map_err(Stop::Fault)?;
        Ok(outcomes)
    }

    /// A request that shares its transaction with no other.
    fn alone(&mut self, task: &Task<'_>) -> Result<Applied, Fault> {
        self.start(task.stamp, true)?;
        self.limit_growth(task.stamp)?;
        let result = if task.batch.transaction {
            self.alone_grouped(task.batch)
        } else {
            self.alone_separate(task.batch)
        };
        self.changes_matter |= self.writer.generator.take_changes_asked();
        let left_open = !self.writer.connection.is_autocommit();
        let rolled_back = self.rollback();
        let mut outcomes = result?;
        // From here on something may be committed that must not be done again.
        rolled_back.and_then(|()| self.settle(task.batch)).map_err(Fault::after_commit)?;
        if left_open {
            fail_last(&mut outcomes, LEFT_OPEN);
        }
        Ok(Applied { outcomes, foreign_keys: self.foreign_keys })
    }

    fn alone_separate(&mut self, batch: &Batch) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(batch.statements.len());
        for statement in &batch.statements {
            match self.outcome(batch, statement, Enclosure::None) {
                Ok(outcome) => outcomes.push(outcome),
                Err(stop) => {
                    let mut fault = unanswered(stop);
                    // What came before in this request has been committed.
                    fault.needs_restart |=
                        !outcomes.is_empty() || scan::has_several(&statement.sql);
                    return Err(fault);
                }
            }
        }
        Ok(outcomes)
    }

    fn alone_grouped(&mut self, batch: &Batch) -> Result<Vec<Outcome>, Fault> {
        self.begin()?;
        let mut outcomes = self.until_failure(batch, Enclosure::Request).map_err(unanswered)?;
        if has_failed(&outcomes) {
            self.rollback()?;
        } else if let Err(error) = self.commit() {
            self.rollback()?;
            match fault::classify(&error) {
                Verdict::Outcome(message) => fail_last(&mut outcomes, &message),
                Verdict::Fault(fault) => return Err(fault),
            }
        }
        Ok(outcomes)
    }

    fn until_failure(&mut self, batch: &Batch, enclosure: Enclosure) -> Result<Vec<Outcome>, Stop> {
        self.writer.guard.group(true);
        let mut outcomes = Vec::with_capacity(batch.statements.len());
        let mut stopped = None;
        for statement in &batch.statements {
            match self.outcome(batch, statement, enclosure) {
                Ok(outcome) => outcomes.push(outcome),
                Err(stop) => stopped = Some(stop),
            }
            if stopped.is_some() || has_failed(&outcomes) {
                break;
            }
        }
        self.writer.guard.group(false);
        stopped.map_or(Ok(outcomes), Err)
    }

    /// Runs one statement and times it.
    fn outcome(
        &self,
        batch: &Batch,
        statement: &Statement,
        enclosure: Enclosure,
    ) -> Result<Outcome, Stop> {
        let started = Instant::now();
        let shared = matches!(enclosure, Enclosure::Transaction | Enclosure::Savepoint);
        let rows = if batch.returns_rows { RowsOf::All } else { RowsOf::Returning };
        let run = Run {
            qualify_columns: batch.qualify_columns,
            keep_compiled: shared,
            before_each: &|| self.writer.meter.start(batch.instructions_max),
            ..self.run(rows, enclosure)
        };
        let result = match run.text(statement) {
            Ok(result) => result,
            // Of the batch's limit; its own may be another.
            Err(Stop::Failed(message)) if shared && message == FULL => return Err(Stop::Lost),
            Err(Stop::Failed(message)) => StatementResult::Failed(message),
            Err(Stop::Interrupted) => self.interrupted(batch, statement, shared)?,
            Err(stop @ (Stop::Lost | Stop::Fault(_))) => return Err(stop),
        };
        Ok(Outcome { result, seconds: Some(started.elapsed().as_secs_f64()) })
    }

    fn interrupted(
        &self,
        batch: &Batch,
        statement: &Statement,
        shared: bool,
    ) -> Result<StatementResult, Stop> {
        match self.writer.meter.take_ended() {
            Ended::Stopped => Err(Stop::Fault(unanswered(Stop::Interrupted))),
            // SQLite has rolled everything back, not this statement only.
            Ended::Exceeded if shared && self.writer.connection.is_autocommit() => Err(Stop::Lost),
            Ended::Exceeded => {
                let reads = batch.returns_rows && scan::is_query(&statement.sql);
                let message = if reads { "query timeout" } else { "execute timeout" };
                Ok(StatementResult::Failed(message.to_owned()))
            }
        }
    }

    pub(super) fn run(&self, rows: RowsOf, enclosure: Enclosure) -> Run<'_> {
        Run {
            connection: &self.writer.connection,
            guard: &self.writer.guard,
            access: Access::Write,
            rows,
            enclosure,
            large_row_ids: Some(&self.writer.large_row_ids),
            qualify_columns: false,
            keep_compiled: false,
            before_each: &|| (),
        }
    }

    /// Makes the connection what it is at the start of every request.
    pub(super) fn start(&self, stamp: Stamp, resets_changes: bool) -> Result<(), Fault> {
        self.writer.clock.set(stamp.unix_milliseconds);
        self.writer.generator.seed(stamp.seed);
        raw::set_last_insert_rowid(&self.writer.connection, 0);
        if !resets_changes {
            return Ok(());
        }
        self.writer.meter.start(0);
        let done = self.run(RowsOf::Returning, Enclosure::None).reset_changes();
        self.writer.generator.take_changes_asked();
        done.map_err(unanswered)
    }

    /// Takes back, after a request that ran alone, what it may have done to the connection.
    fn settle(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.writer.meter.start(0);
        let connection = &self.writer.connection;
        let error = |error| Fault::of(&error);
        connection.execute_batch("PRAGMA defer_foreign_keys=OFF").map_err(error)?;
        self.foreign_keys =
            connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).map_err(error)?;
        self.virtual_tables |= self.writer.guard.made_virtual_table();
        if batch.statements.iter().any(|statement| scan::touches_statistics(&statement.sql)) {
            self.read_schema_again()?;
        }
        Ok(())
    }

    /// Makes SQLite forget the schema and the planner's statistics, which it reads again from
    /// the file: as a node does that has just started. Rolling back a change of the schema does.
    pub(super) fn read_schema_again(&mut self) -> Result<(), Fault> {
        self.growth.limit(&self.writer, 0)?;
        let sql = "BEGIN IMMEDIATE; CREATE TABLE \"quorlite: read the schema again\"(a); ROLLBACK";
        let read = self.unguarded(|connection| connection.execute_batch(sql));
        self.rollback()?;
        read.map_err(|error| Fault::of(&error))
    }

    /// Sets how large the entry with this stamp may make the database.
    pub(super) fn limit_growth(&mut self, stamp: Stamp) -> Result<(), Fault> {
        self.growth.limit(&self.writer, stamp.database_blocks_max).map(drop)
    }

    pub(super) fn foreign_keys(&self) -> bool {
        self.foreign_keys
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(super) fn begin(&self) -> Result<(), Fault> {
        self.own("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.writer.meter.start(0);
        self.writer.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Ends the transaction, if SQLite has not done so by itself.
    pub(super) fn rollback(&self) -> Result<(), Fault> {
        if self.writer.connection.is_autocommit() { Ok(()) } else { self.own("ROLLBACK") }
    }

    fn own(&self, sql: &str) -> Result<(), Fault> {
        self.writer.meter.start(0);
        let run = || self.writer.connection.prepare_cached(sql)?.execute([]).map(drop);
        run().map_err(|error| Fault::of(&error))
    }
}

fn runs_alone(batch: &Batch) -> bool {
    batch.statements.iter().any(|statement| scan::must_run_alone(&statement.sql))
}

fn has_failed(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [.., Outcome { result: StatementResult::Failed(_), .. }])
}

fn fail_last(outcomes: &mut [Outcome], message: &str) {
    let Some(last) = outcomes.last_mut() else { return };
    last.result = StatementResult::Failed(match &last.result {
        StatementResult::Failed(why) => format!("{why} ({message})"),
        _ => message.to_owned(),
    });
}

/// The fault that stands behind a stop that is not an outcome.
fn unanswered(stop: Stop) -> Fault {
    match stop {
        Stop::Fault(fault) => fault,
        Stop::Interrupted => Fault::new(FaultKind::Stopped, "interrupted".to_owned()),
        Stop::Lost => unreachable!("only a transaction of the batch can be lost"),
        // A statement of our own that fails: this node's trouble, whatever SQLite calls it.
        Stop::Failed(message) => Fault::new(FaultKind::Unavailable, message),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::super::clock;
    use super::*;

    fn plain(statements: &[&str]) -> Batch {
        let statement = |sql: &&str| Statement::plain((*sql).to_owned());
        let statements = statements.iter().map(statement).collect();
        Batch { statements, ..Batch::default() }
    }

    /// After SQLite's own way of testing: every write in turn is the first that fails.
    #[test]
    fn no_entry_is_lost_or_doubled_by_a_failing_write() {
        let batches = [
            plain(&["INSERT INTO t VALUES(1, zeroblob(9000))", "INSERT INTO t VALUES(1, 0)"]),
            plain(&["PRAGMA user_version=7"]),
            plain(&["INSERT INTO t SELECT a + 1, b FROM t"]),
        ];
        let create = plain(&["CREATE TABLE t(a UNIQUE, b)"]);
        let task = |(place, batch)| {
            let id = EntryId { term: 1, index: place };
            Task { id, stamp: Stamp::default(), batch }
        };
        let tasks: Vec<_> = (1..).zip(&batches).map(task).collect();
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE] {
            for writes in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("db");
                let settings = WriterSettings::default();
                let mut applier = Applier::open(&path, settings, Interrupter::default()).unwrap();
                applier.apply(&[task((0, &create))]).unwrap();

                clock::fail_after(writes, code);
                let first = applier.apply(&tasks);
                clock::fail_after(u64::MAX, code);
                assert!(!first.as_ref().is_err_and(|fault| fault.needs_restart), "{first:?}");
                let failed = first.as_ref().map_or(0, Vec::len) < tasks.len();
                let mut applied = first.unwrap_or_default();
                while applied.len() < tasks.len() {
                    let before = applied.len();
                    applied.extend(applier.apply(&tasks[before..]).unwrap());
                    assert!(applied.len() > before, "a call that succeeds applies something");
                }
                assert_eq!(applied.len(), 3);
                let failure = "UNIQUE constraint failed: t.a".to_owned();
                assert_eq!(applied[0].outcomes[1].result, StatementResult::Failed(failure));
                let sql = "SELECT count(*) || ' ' || sum(a) || ' ' || user_version
                           FROM t, pragma_user_version";
                let found = applier.unguarded(|c| c.query_row(sql, [], |row| row.get(0)));
                assert_eq!(found, Ok("2 3 7".to_owned()), "{writes} writes");
                if !failed {
                    assert!(writes > 5, "some writes have failed");
                    break;
                }
            }
        }
    }
}
