//! Running one text of SQL: binding, stepping, collecting rows.
//!
//! The same for writes and reads; what differs is data in [`Run`]. This file knows what a
//! statement's result looks like to a client of rqlite, and must never know about requests,
//! batches or the log.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, StatementStatus, ffi};

use super::fault::{self, Fault, Verdict};
use super::guard::{Access, Guard, Refusal};
use super::outcome::{Rows, StatementResult};
use super::rowid::LargeRowIds;
use super::splitter::Splitter;
use super::{compile, raw, scan};
use crate::command::{Parameters, Statement, Value};

/// Bytes of one statement's rows, held in memory until they are sent: a client that wants more
/// asks in pieces. Twice as much would not fit a small node.
const RESULT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What a value costs beside its bytes.
const VALUE_BYTES: usize = size_of::<Value>();

const FOREIGN_KEY_FAILED: &str = "FOREIGN KEY constraint failed";

/// Which statements return their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsOf {
    /// All that have columns.
    All,
    /// Only INSERT, UPDATE and DELETE with RETURNING.
    Returning,
}

/// What stands around each statement, and so what undoes it when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enclosure {
    /// Nothing: it commits by itself, unless the user began a transaction. (One that changes
    /// rows has a savepoint of its own, which is the same, so that it can be undone.)
    None,
    /// The transaction of a request that asked for one: what fails undoes all of it.
    Request,
    /// A transaction of ours that must outlive it; SQLite's statement journal undoes it.
    Transaction,
    /// The same, and a savepoint for each statement, for what else a COMMIT would do: check
    /// deferred foreign keys, and make FTS5 write what it has gathered.
    Savepoint,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Stop {
    /// The statement failed, with these words, on every node.
    Failed(String),
    /// The progress handler ended it.
    Interrupted,
    /// The statement ended the transaction around it (`OR ROLLBACK`, for one).
    Lost,
    /// This node's own trouble.
    Fault(Fault),
}

/// How texts are run on one connection.
pub(super) struct Run<'c> {
    pub(super) connection: &'c Connection,
    pub(super) guard: &'c Guard,
    pub(super) access: Access,
    pub(super) rows: RowsOf,
    pub(super) enclosure: Enclosure,
    /// What the write connection has inserted.
    pub(super) large_row_ids: Option<&'c LargeRowIds>,
    /// Whether columns are named `table.column`.
    pub(super) qualify_columns: bool,
    /// Whether compiled statements are kept. Not where the guard's mood changes between uses.
    pub(super) keep_compiled: bool,
    /// Called before whatever may take long, to start its count or its clock.
    pub(super) before_each: &'c dyn Fn(),
}

impl Run<'_> {
    /// Runs all statements of a text. The result is that of the last; the first failure ends it.
    pub(super) fn text(&self, statement: &Statement) -> Result<StatementResult, Stop> {
        let sql = statement.sql.as_str();
        if sql.as_bytes().contains(&0) {
            return Err(Stop::Failed("the SQL text holds a NUL character".to_owned()));
        }
        check_names(&statement.parameters)?;
        let mut values = Values { parameters: &statement.parameters, taken: 0 };
        if scan::is_blank(sql) {
            return Ok(StatementResult::Written { last_insert_id: 0, rows_affected: 0 });
        }
        (self.before_each)();
        if self.keep_compiled && compile::is_kept(sql) {
            let compiled = self.connection.prepare_cached(sql);
            let mut compiled = compiled.map_err(|error| self.stop(&error))?;
            return self.compiled(&mut compiled, sql, &mut values);
        }
        let mut last = None;
        for piece in Splitter::pieces(sql) {
            last = Some(self.piece(piece, &mut values)?);
        }
        last.ok_or_else(|| Stop::Failed("incomplete input".to_owned()))
    }

    /// Runs one statement of a text.
    fn piece(&self, sql: &str, values: &mut Values<'_>) -> Result<StatementResult, Stop> {
        (self.before_each)();
        let compiled = compile::one(self.connection, sql).map_err(|error| self.stop(&error))?;
        match compiled {
            Some(mut compiled) => self.compiled(&mut compiled, sql, values),
            None => Ok(StatementResult::Written { last_insert_id: 0, rows_affected: 0 }),
        }
    }

    /// Binds, runs and undoes where that is not left to SQLite.
    fn compiled(
        &self,
        compiled: &mut rusqlite::Statement<'_>,
        sql: &str,
        values: &mut Values<'_>,
    ) -> Result<StatementResult, Stop> {
        if self.access == Access::Read && !reads_only(compiled, sql) {
            return Err(Stop::Failed(Refusal::WriteInQuery.sentence().to_owned()));
        }
        values.bind(compiled).map_err(|unbound| match unbound {
            Unbound::TooFew(message) => Stop::Failed(message),
            Unbound::Refused(error) => self.stop(&error),
        })?;
        // The handler counts from where the statement's own counter stands, which a restart would
        // have set to zero.
        compiled.reset_status(StatementStatus::VmStep);
        (self.before_each)();
        let changes_rows = self.access == Access::Write && scan::counts_changes(sql);
        let saved = match self.enclosure {
            Enclosure::None => changes_rows,
            Enclosure::Request | Enclosure::Transaction => false,
            Enclosure::Savepoint => true,
        };
        // Within a transaction of the user's, violated keys are for its end to find.
        let checks_keys = self.enclosure == Enclosure::Savepoint || self.connection.is_autocommit();
        if saved {
            self.keeping_row_id("SAVEPOINT quorlite_statement")?;
        }
        self.guard.run(true);
        let result = self.step(compiled, sql);
        self.guard.run(false);
        let shared = matches!(self.enclosure, Enclosure::Transaction | Enclosure::Savepoint);
        let ended = (saved || shared) && self.connection.is_autocommit();
        if ended && shared {
            // A fault ends the transaction too, and is then the reason that counts.
            return Err(match result {
                Err(stop @ (Stop::Fault(_) | Stop::Interrupted)) => stop,
                Ok(_) | Err(Stop::Failed(_) | Stop::Lost) => Stop::Lost,
            });
        }
        let used_up = self.large_row_ids.and_then(|seen| {
            (self.before_each)();
            seen.take_used_up(self.connection)
        });
        match used_up {
            _ if saved && !ended => self.release(result, used_up, checks_keys),
            Some(_) if shared => Err(Stop::Lost),
            Some(table) if self.enclosure == Enclosure::Request => {
                Err(Stop::Failed(used_up_message(&table)))
            }
            _ => result,
        }
    }

    /// Ends a statement's savepoint, and so the statement, undoing it if it cannot stay.
    fn release(
        &self,
        result: Result<StatementResult, Stop>,
        used_up: Option<String>,
        checks_keys: bool,
    ) -> Result<StatementResult, Stop> {
        if matches!(result, Err(Stop::Fault(_))) {
            return result;
        }
        let reason = if let Some(table) = used_up {
            used_up_message(&table)
        } else if checks_keys && raw::has_deferred_violations(self.connection) {
            FOREIGN_KEY_FAILED.to_owned()
        } else {
            match self.keeping_row_id("RELEASE quorlite_statement") {
                Ok(()) => return result,
                Err(Stop::Failed(message)) => message,
                Err(stop) => return Err(stop),
            }
        };
        self.own("ROLLBACK TO quorlite_statement")?;
        self.own("RELEASE quorlite_statement")?;
        self.reset_changes()?;
        Err(Stop::Failed(reason))
    }

    /// Makes `changes()` answer 0, as after a statement that failed.
    pub(super) fn reset_changes(&self) -> Result<(), Stop> {
        // Only a statement that changes rows sets it; this one can touch no user's table.
        self.guard.trust(true);
        let done = self.own("DELETE FROM sqlite_dbpage WHERE 0");
        self.guard.trust(false);
        done
    }

    /// Runs a bound statement to its end.
    fn step(
        &self,
        compiled: &mut rusqlite::Statement<'_>,
        sql: &str,
    ) -> Result<StatementResult, Stop> {
        let reads = compiled.readonly();
        let counts = !reads && scan::counts_changes(sql);
        let wanted = compiled.column_count() > 0 && (self.rows == RowsOf::All || counts);
        let row_id_before = self.connection.last_insert_rowid();
        let (mut values, mut bytes) = (Vec::new(), 0);
        let mut cursor = compiled.raw_query();
        loop {
            let row = match cursor.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => return Err(self.stop(&error)),
            };
            if !wanted && reads {
                break; // One step finds most errors; nobody sees the rest.
            }
            if !wanted || bytes > RESULT_BYTES_MAX {
                continue; // What changes data is never left half done.
            }
            let columns = row.as_ref().column_count();
            for column in 0..columns {
                let value = row.get_ref(column).map_err(|error| self.stop(&error))?;
                let value = owned(value);
                bytes += VALUE_BYTES + payload_bytes(&value);
                values.push(value);
            }
            if bytes > RESULT_BYTES_MAX && reads {
                break;
            }
        }
        drop(cursor);
        if !counts && !reads {
            // VACUUM and ANALYZE insert too, but into nothing a client has asked for.
            raw::set_last_insert_rowid(self.connection, row_id_before);
        }
        if bytes > RESULT_BYTES_MAX {
            return Err(Stop::Failed(too_large(reads)));
        }
        if wanted {
            return Ok(StatementResult::Rows(self.rows(compiled, values)));
        }
        let rows_affected = if counts { self.connection.changes() } else { 0 };
        let last_insert_id = self.connection.last_insert_rowid();
        Ok(StatementResult::Written { last_insert_id, rows_affected })
    }

    /// Names the columns. After the last step: a changed schema is noticed by the first.
    fn rows(&self, compiled: &rusqlite::Statement<'_>, values: Vec<Value>) -> Rows {
        let columns = compiled.columns();
        let mut rows = Rows { values, ..Rows::default() };
        for column in columns {
            rows.columns.push(column.name().to_owned());
            rows.declared.push(column.decl_type().unwrap_or_default().to_lowercase());
        }
        if self.qualify_columns {
            for (name, column) in rows.columns.iter_mut().zip(compiled.columns_with_metadata()) {
                if let Some(table) = column.table_name() {
                    *name = format!("{table}.{name}");
                }
            }
        }
        rows
    }

    /// Runs a statement of our own that makes FTS5 write, which would set the last row id.
    fn keeping_row_id(&self, sql: &str) -> Result<(), Stop> {
        let row_id = self.connection.last_insert_rowid();
        self.own(sql)?;
        raw::set_last_insert_rowid(self.connection, row_id);
        Ok(())
    }

    /// Runs a statement of our own.
    fn own(&self, sql: &str) -> Result<(), Stop> {
        (self.before_each)();
        let run = || self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run().map_err(|error| self.stop(&error))
    }

    fn stop(&self, error: &Error) -> Stop {
        let refusal = self.guard.take_refusal();
        match error.sqlite_error().map(|error| error.extended_code & 0xff) {
            Some(ffi::SQLITE_INTERRUPT) => return Stop::Interrupted,
            Some(ffi::SQLITE_AUTH) => {
                if let Some(refusal) = refusal {
                    return Stop::Failed(refusal.sentence().to_owned());
                }
            }
            Some(ffi::SQLITE_READONLY) if self.access == Access::Read => {
                return Stop::Failed(Refusal::WriteInQuery.sentence().to_owned());
            }
            _ => {}
        }
        match fault::classify(error) {
            Verdict::Outcome(message) => Stop::Failed(message),
            Verdict::Fault(fault) => Stop::Fault(fault),
        }
    }
}

fn used_up_message(table: &str) -> String {
    format!("the row ids of table {table} are used up: give one explicitly, below 2^32")
}

fn too_large(reads: bool) -> String {
    let limit = RESULT_BYTES_MAX / (1024 * 1024);
    let rest = if reads { "ask for less at a time" } else { "the change was made" };
    format!("the rows take more than {limit} MiB: {rest}")
}

fn payload_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// Whether a read-only connection may run it. A PRAGMA that may set something is never "read-only"
/// to SQLite, but the guard has let pass only those that do not.
pub(super) fn reads_only(compiled: &rusqlite::Statement<'_>, sql: &str) -> bool {
    compiled.readonly() || compiled.is_explain() != 0 || scan::is_pragma(sql)
}

/// What is bound to the statements of one text: each takes the values it needs from where the
/// one before it stopped. Names are for all of them.
struct Values<'a> {
    parameters: &'a Parameters,
    taken: usize,
}

/// Why values could not be bound.
enum Unbound {
    TooFew(String),
    /// By SQLite: too long, for one.
    Refused(Error),
}

impl From<Error> for Unbound {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Values<'_> {
    fn bind(&mut self, compiled: &mut rusqlite::Statement<'_>) -> Result<(), Unbound> {
        let wanted = compiled.parameter_count();
        match self.parameters {
            Parameters::Positional(values) => {
                let given = values.len() - self.taken;
                if given < wanted {
                    return Err(Unbound::TooFew(too_few(wanted, given)));
                }
                let values = &values[self.taken..self.taken + wanted];
                self.taken += wanted;
                for (position, value) in values.iter().enumerate() {
                    compiled.raw_bind_parameter(position + 1, Bound(value))?;
                }
            }
            Parameters::Named(values) => {
                let mut found = 0;
                for position in 1..=wanted {
                    let value = compiled
                        .parameter_name(position)
                        .and_then(|name| values.iter().find(|(key, _)| name[1..] == **key));
                    if let Some((_, value)) = value {
                        compiled.raw_bind_parameter(position, Bound(value))?;
                        found += 1;
                    }
                }
                // With as many names as parameters, those that are not named are NULL.
                if found < wanted && values.len() < wanted {
                    return Err(Unbound::TooFew(too_few(wanted, values.len())));
                }
            }
        }
        Ok(())
    }
}

fn too_few(wanted: usize, given: usize) -> String {
    format!("not enough args to execute query: want {wanted} got {given}")
}

fn check_names(parameters: &Parameters) -> Result<(), Stop> {
    let Parameters::Named(values) = parameters else { return Ok(()) };
    for (name, _) in values {
        if name.chars().next().is_some_and(|first| !first.is_alphabetic()) {
            return Err(Stop::Failed(format!("name {name:?} does not begin with a letter")));
        }
    }
    Ok(())
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
