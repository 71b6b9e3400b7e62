//! Running a text of any size.
//!
//! A dump may be larger than memory, so it is read and run one statement at a time; only a single
//! statement must fit. All of it counts or none. The text may not touch the transaction around
//! it: its own BEGIN and COMMIT are passed over, but one that begins and does not commit is a dump
//! that was cut short, and none of it counts.

use std::io::{self, Read};
use std::time::Instant;

use rusqlite::config::DbConfig;

use super::apply::Applier;
use super::execute::{Enclosure, RowsOf, Run, Stop};
use super::fault::{self, Fault, FaultKind, Verdict};
use super::outcome::{Outcome, StatementResult};
use super::scan;
use super::splitter::Statements;
use super::work::Ended;
use crate::command::{Stamp, Statement};

/// What is wrong with a text that ends within its own transaction.
const CUT_SHORT: &str = "the text is cut short: it begins a transaction and does not commit it";

/// What a statement of a script is to the script.
enum Part {
    /// BEGIN: there is one transaction around all of it.
    Begin,
    /// COMMIT, END.
    Commit,
    /// `PRAGMA encoding`: the database keeps its own, and texts are the same in any.
    Encoding,
    /// `PRAGMA foreign_keys`: obeyed when it comes before everything else.
    ForeignKeys(bool),
    /// Anything else.
    Work,
}

fn part(sql: &str) -> Part {
    let words = scan::words(sql, 2);
    let word = |n: usize, text: &str| words.get(n).is_some_and(|w| w.eq_ignore_ascii_case(text));
    if word(0, "BEGIN") {
        return Part::Begin;
    }
    if word(0, "COMMIT") || word(0, "END") {
        return Part::Commit;
    }
    if word(0, "PRAGMA") && word(1, "encoding") {
        return Part::Encoding;
    }
    if word(0, "PRAGMA") && word(1, "foreign_keys") {
        let value = sql.rsplit(['=', '(']).next().unwrap_or_default();
        let value = value.trim_matches([' ', ';', ')', '\'', '"']).to_ascii_lowercase();
        return match value.as_str() {
            "off" | "0" | "no" | "false" => Part::ForeignKeys(false),
            "on" | "1" | "yes" | "true" => Part::ForeignKeys(true),
            _ => Part::Work,
        };
    }
    Part::Work
}

impl Applier {
    /// Runs a text of any size as one write: all of it, or nothing and why not. The outcome is that
    /// of the last statement that changed rows. `foreign_keys`
    /// is afterwards what it was.
    ///
    /// # Errors
    /// This node's own trouble, reading the text included; nothing of it was kept.
    pub fn apply_script(&mut self, stamp: Stamp, sql: &mut dyn Read) -> Result<Outcome, Fault> {
        let started = Instant::now();
        let foreign_keys = self.foreign_keys();
        self.set_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
        let result = self.script(stamp, sql);
        let settled = self.rollback().and_then(|()| {
            self.set_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            self.set_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, foreign_keys)?;
            self.read_schema_again()
        });
        settled.map_err(|fault| if result.is_ok() { fault.after_commit() } else { fault })?;
        let result = match result {
            Ok(result) => result,
            Err(Stop::Failed(message)) => StatementResult::Failed(message),
            Err(Stop::Lost) => StatementResult::Failed("the script was rolled back".to_owned()),
            Err(Stop::Interrupted) => match self.writer().meter.take_ended() {
                Ended::Exceeded => StatementResult::Failed("execute timeout".to_owned()),
                Ended::Stopped => {
                    return Err(Fault::new(FaultKind::Stopped, "interrupted".to_owned()));
                }
            },
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        Ok(Outcome { result, seconds: Some(started.elapsed().as_secs_f64()) })
    }

    fn script(&mut self, stamp: Stamp, source: &mut dyn Read) -> Result<StatementResult, Stop> {
        self.start(stamp, true).map_err(Stop::Fault)?;
        self.limit_growth(stamp).map_err(Stop::Fault)?;
        let mut statements = Statements::new(source);
        let (mut number, mut begun, mut is_open) = (0_u64, false, false);
        let mut last = StatementResult::Written { last_insert_id: 0, rows_affected: 0 };
        while let Some(sql) = next(&mut statements)? {
            number += 1;
            match part(&sql) {
                Part::Begin => is_open = true,
                Part::Commit => is_open = false,
                Part::Encoding => {}
                Part::ForeignKeys(on) if !begun => {
                    let config = DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY;
                    self.set_config(config, on).map_err(Stop::Fault)?;
                }
                Part::ForeignKeys(_) => {}
                Part::Work => {
                    if !begun {
                        self.begin().map_err(Stop::Fault)?;
                        begun = true;
                    }
                    if let Some(written) = self.script_statement(sql, number)? {
                        last = written;
                    }
                }
            }
        }
        if is_open {
            return Err(Stop::Failed(CUT_SHORT.to_owned()));
        }
        if begun {
            self.commit().map_err(|error| match fault::classify(&error) {
                Verdict::Outcome(message) => Stop::Failed(message),
                Verdict::Fault(fault) => Stop::Fault(fault),
            })?;
        }
        Ok(last)
    }

    /// Runs one statement; gives what it changed, if it changed anything.
    fn script_statement(&self, sql: String, number: u64) -> Result<Option<StatementResult>, Stop> {
        let statement = Statement::plain(sql);
        let run = Run {
            before_each: &|| self.writer().meter.start(0),
            ..self.run(RowsOf::Returning, Enclosure::Transaction)
        };
        match run.text(&statement) {
            Ok(written @ StatementResult::Written { rows_affected: 1.., .. }) => Ok(Some(written)),
            Ok(_) => Ok(None),
            Err(Stop::Failed(message)) => {
                Err(Stop::Failed(format!("{message} (statement {number})")))
            }
            Err(stop) => Err(stop),
        }
    }

    fn set_config(&self, config: DbConfig, on: bool) -> Result<(), Fault> {
        let set = self.writer().connection.set_db_config(config, on);
        set.map(drop).map_err(|error| Fault::of(&error))
    }
}

fn next(statements: &mut Statements<'_>) -> Result<Option<String>, Stop> {
    statements.next().map_err(|error| {
        let message = error.to_string();
        if error.kind() == io::ErrorKind::InvalidData {
            return Stop::Failed(message);
        }
        Stop::Fault(Fault::new(FaultKind::InputOutput, message))
    })
}
