//! A database in a temporary folder, with the doors the tests go through.

use std::path::PathBuf;
use std::sync::Arc;

use quorlite::command::{Batch, Stamp, Statement, Value};
use quorlite::db::apply::{Applied, Applier, Task};
use quorlite::db::connection::WriterSettings;
use quorlite::db::outcome::{Outcome, Rows, StatementResult};
use quorlite::db::readers::{Gone, QueryOptions, Readers};
use quorlite::db::work::Interrupter;
use quorlite::raft::EntryId;
use tempfile::TempDir;

/// One database and its next index.
pub(crate) struct Database {
    pub(crate) folder: TempDir,
    pub(crate) applier: Option<Applier>,
    pub(crate) interrupter: Interrupter,
    pub(crate) index: u64,
    pub(crate) foreign_keys: bool,
}

impl Database {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let interrupter = Interrupter::default();
        let mut database =
            Self { folder, applier: None, interrupter, index: 0, foreign_keys: false };
        database.reopen();
        database
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data.sqlite")
    }

    pub(crate) fn reopen(&mut self) {
        drop(self.applier.take());
        let settings = WriterSettings { foreign_keys: self.foreign_keys };
        let applier = Applier::open(&self.path(), settings, self.interrupter.clone());
        self.applier = Some(applier.expect("the database opens"));
    }

    /// Applies entries that follow each other; each is stamped by its index.
    pub(crate) fn apply(&mut self, batches: &[Batch]) -> Vec<Applied> {
        let first = self.index + 1;
        let tasks: Vec<_> =
            (first..).zip(batches).map(|(index, batch)| task(index, batch)).collect();
        self.index += batches.len() as u64;
        let applied = self.applier.as_mut().expect("open").apply(&tasks).expect("no fault");
        self.foreign_keys = applied.last().map_or(self.foreign_keys, |last| last.foreign_keys);
        applied
    }

    /// Applies one request of `/db/execute` and shows what came of each statement.
    pub(crate) fn execute(&mut self, statements: &[&str]) -> Vec<String> {
        show(&self.apply(&[batch(statements)])[0].outcomes)
    }

    /// The same for a request with `transaction`.
    pub(crate) fn transaction(&mut self, statements: &[&str]) -> Vec<String> {
        let batch = Batch { transaction: true, ..batch(statements) };
        show(&self.apply(&[batch])[0].outcomes)
    }

    /// The same for `/db/request`.
    pub(crate) fn request(&mut self, statements: &[&str]) -> Vec<String> {
        let batch = Batch { returns_rows: true, ..batch(statements) };
        show(&self.apply(&[batch])[0].outcomes)
    }

    pub(crate) fn readers(&self) -> Readers {
        Readers::new(&self.path(), 0)
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        show(&query(&self.readers(), &[sql], &QueryOptions::default()))
    }

    /// Everything in it, hidden tables and page numbers included.
    pub(crate) fn contents(&self) -> Vec<String> {
        let readers = self.readers();
        let options = QueryOptions::default();
        let tables = "SELECT name FROM sqlite_schema WHERE type='table' AND rootpage>0 ORDER BY 1";
        let outcomes = query(&readers, &[tables], &options);
        let mut contents =
            vec![self.query("SELECT * FROM sqlite_schema ORDER BY rootpage, name").join("")];
        for name in &rows(&outcomes[0]).values {
            let Value::Text(name) = name else { panic!("a table without a name") };
            let sql = format!("SELECT * FROM \"{name}\"");
            let outcome = query(&readers, &[&sql], &options).remove(0);
            contents.push(format!("{name}: {:?}", rows(&outcome).values));
        }
        contents.push(self.query("PRAGMA user_version").join(""));
        contents.push(self.query("PRAGMA integrity_check").join(""));
        contents
    }
}

pub(crate) fn task(index: u64, batch: &Batch) -> Task<'_> {
    let seed = index.wrapping_mul(0x1234_5678_9abc_def1);
    let unix_milliseconds = 1_700_000_000_000 + i64::try_from(index).expect("small") * 1_001;
    Task {
        id: EntryId { term: 1, index },
        stamp: Stamp { unix_milliseconds, seed, database_blocks_max: 0 },
        batch,
    }
}

pub(crate) fn statement(sql: &str) -> Statement {
    Statement::plain(sql)
}

pub(crate) fn batch(statements: &[&str]) -> Batch {
    let statements = statements.iter().map(|sql| statement(sql)).collect();
    Batch {
        statements,
        transaction: false,
        returns_rows: false,
        qualify_columns: false,
        instructions_max: 0,
    }
}

pub(crate) fn nobody_leaves() -> Gone {
    Arc::new(|| false)
}

pub(crate) fn query(
    readers: &Readers,
    statements: &[&str],
    options: &QueryOptions,
) -> Vec<Outcome> {
    let statements: Vec<_> = statements.iter().map(|sql| statement(sql)).collect();
    readers.query(&statements, options, &nobody_leaves()).expect("readable")
}

pub(crate) fn rows(outcome: &Outcome) -> &Rows {
    match &outcome.result {
        StatementResult::Rows(rows) => rows,
        other => panic!("no rows: {other:?}"),
    }
}

/// Outcomes in a short form: `id=1 rows=2`, `a b: 1 'x' | 2 NULL`, `error: ...`.
pub(crate) fn show(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(|outcome| show_one(&outcome.result)).collect()
}

fn show_one(result: &StatementResult) -> String {
    match result {
        StatementResult::Written { last_insert_id, rows_affected } => {
            format!("id={last_insert_id} rows={rows_affected}")
        }
        StatementResult::Failed(message) => format!("error: {message}"),
        StatementResult::Rows(rows) => {
            let width = rows.columns.len().max(1);
            let lines = rows
                .values
                .chunks(width)
                .map(|line| line.iter().map(show_value).collect::<Vec<_>>().join(" "));
            format!("{}: {}", rows.columns.join(" "), lines.collect::<Vec<_>>().join(" | "))
        }
    }
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => format!("{bytes:x?}"),
    }
}

/// SplitMix64, for tests that try many things.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) >> 1).expect("63 bits") % sides
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}
