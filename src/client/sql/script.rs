//! `script`: many statements from a file, cut where SQLite cuts them, one request each.
//!
//! Only what goes in one request is ever in memory. A request is a statement, or all of
//! `BEGIN ... COMMIT`: a server of this API knows no transaction beyond one request, so what stands
//! between is gathered and sent as one.

use super::batch::Batch;
use super::complain;
use super::levels::Levels;
use super::printing::{self, Printing};
use super::source::{self, Shown, Source};
use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::{Failure, Status};
use crate::client::output::Style;
use crate::client::results::Outcome;
use crate::db::scan;
use crate::db::splitter::Statements;

/// Bytes of statements that go in one transaction. The server holds a request about three times
/// and takes none of more than 256 MiB; what is larger is streamed by `restore`.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// Statements, and their bytes, that share a request with `--keep-going`; more gets no faster.
const SHARED_STATEMENTS_MAX: usize = 256;
const SHARED_BYTES_MAX: usize = 1 << 20;

/// What stands below the options in the help text.
const DETAILS: &str = "\
Stops at the first error, with FILE:LINE and status 1: what came before it is done. What stands
between BEGIN and COMMIT is sent as one transaction: all of it is done or nothing, up to 64 MiB.
A larger file that must be all or nothing is for `restore`, which runs SQL of any size at once.
";

#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(in crate::client) struct Script {
    /// The file; - is standard input
    file: String,
    /// Run all of it or nothing; a BEGIN and COMMIT in it are passed over
    #[arg(long)]
    transaction: bool,
    /// Go on after an error; the status is 1 all the same
    #[arg(long, conflicts_with = "transaction")]
    keep_going: bool,
    #[command(flatten)]
    levels: Levels,
    #[command(flatten)]
    printing: Printing,
}

/// What a statement is to the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Begin,
    Commit,
    Rollback,
    /// Refuses a whole request when it is not allowed, so it has one of its own.
    Pragma,
    /// Changes nothing.
    Select,
    Work,
}

/// Where the script stands.
struct Runner<'a> {
    script: &'a Script,
    session: &'a mut Session,
    style: Style,
    asked: Vec<String>,
    name: String,
    batch: Batch,
    /// The line of the BEGIN that has no COMMIT yet.
    begun: Option<u64>,
    has_failed: bool,
    progress: Shown,
}

impl Script {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let style = self.printing.style(session)?;
        let mut asked = Vec::new();
        self.levels.add_to(&mut asked)?;
        self.printing.add_to(&mut asked);
        let mut source = Source::open(&self.file)?;
        let progress = source.show(session.terminal, "running");
        let mut runner = Runner {
            script: self,
            session,
            style,
            asked,
            name: source.name.clone(),
            batch: Batch::default(),
            begun: None,
            has_failed: false,
            progress,
        };
        let mut statements = Statements::new(&mut source);
        loop {
            let next = statements.next();
            let line = statements.line();
            let unreadable = |error| source::unreadable(&format!("{}:{line}", runner.name), &error);
            let Some(sql) = next.map_err(unreadable)? else { break };
            // Editors put a byte order mark in front of a file.
            runner.take(sql.strip_prefix('\u{feff}').unwrap_or(&sql), line)?;
        }
        runner.finish()
    }
}

impl Runner<'_> {
    fn take(&mut self, sql: &str, line: u64) -> Result<(), Failure> {
        match (part(sql), self.begun) {
            (Part::Begin | Part::Commit, _) if self.script.transaction => Ok(()),
            (Part::Rollback, _) if self.script.transaction => {
                let text = "a ROLLBACK cannot stand in a script that is one transaction";
                Err(self.at(line, &Failure::refused(text)))
            }
            (Part::Begin, None) => {
                self.send(Effect::Some)?;
                self.begun = Some(line);
                Ok(())
            }
            (Part::Begin, Some(_)) => {
                let text = "cannot start a transaction within a transaction";
                self.fail(line, text)
            }
            (Part::Commit, Some(_)) => {
                let sent = self.send(Effect::Some);
                self.begun = None;
                sent
            }
            (Part::Rollback, Some(_)) => {
                self.batch.clear();
                self.begun = None;
                Ok(())
            }
            (Part::Commit | Part::Rollback, None) => {
                self.fail(line, "no transaction is active: there was no BEGIN")
            }
            (part @ (Part::Pragma | Part::Select | Part::Work), _) => self.work(part, sql, line),
        }
    }

    fn work(&mut self, part: Part, sql: &str, line: u64) -> Result<(), Failure> {
        if self.script.transaction || self.begun.is_some() {
            return self.gather(sql, line);
        }
        if self.script.keep_going && part != Part::Pragma {
            self.batch.push(sql, "", line);
            let is_full =
                self.batch.len() >= SHARED_STATEMENTS_MAX || self.batch.bytes() >= SHARED_BYTES_MAX;
            return if is_full { self.send(Effect::Some) } else { Ok(()) };
        }
        self.send(Effect::Some)?;
        self.batch.push(sql, "", line);
        self.send(if part == Part::Select { Effect::None } else { Effect::Some })
    }

    /// Adds to a transaction.
    fn gather(&mut self, sql: &str, line: u64) -> Result<(), Failure> {
        self.batch.push(sql, "", line);
        if self.batch.bytes() <= TRANSACTION_BYTES_MAX {
            return Ok(());
        }
        let text = format!(
            "a transaction of more than {} MiB is too large for one request, and nothing of it was \
             sent: `quorlite restore` runs a file of any size, all of it or nothing",
            TRANSACTION_BYTES_MAX >> 20
        );
        Err(self.at(line, &Failure::refused(text)))
    }

    /// Sends what has been gathered and prints what comes back.
    fn send(&mut self, effect: Effect) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        let mut asked = self.asked.clone();
        let is_transaction = self.script.transaction || self.begun.is_some();
        if is_transaction {
            asked.push("transaction".to_owned());
        }
        let received = match batch.send(self.session, "db/request", &asked, effect) {
            Ok(received) => received,
            Err(failure) => return self.fail_all_of(&batch, &failure),
        };
        let results = match received.results_of(batch.len()) {
            Ok(results) => results,
            Err(failure) => return self.fail_all_of(&batch, &failure),
        };
        if is_transaction && let Some((place, why)) = results.failure() {
            let why = format!("{why} (nothing of the transaction was done)");
            return self.fail(batch.line(place), &why);
        }
        for (place, outcome) in results.results.iter().enumerate() {
            match outcome {
                Outcome::Rows(rows) => {
                    self.progress.borrow_mut().take();
                    printing::print_rows(self.session, &self.style, rows)?;
                }
                Outcome::Done(done) => printing::print_seconds(self.session, done.seconds),
                Outcome::Failed(why) => self.fail(batch.line(place), why)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if let Some(line) = self.begun {
            let text = "this BEGIN has no COMMIT: nothing of the transaction was sent";
            return Err(self.at(line, &Failure::refused(text)));
        }
        self.send(Effect::Some)?;
        if self.has_failed { Err(Failure::silent(Status::Refused)) } else { Ok(()) }
    }

    /// An error of a statement.
    fn fail(&mut self, line: u64, why: &str) -> Result<(), Failure> {
        let failure = self.at(line, &Failure::refused(why));
        self.give_up(failure)
    }

    /// An error of a whole request, named by all lines of what was sent.
    fn fail_all_of(&mut self, batch: &Batch, failure: &Failure) -> Result<(), Failure> {
        let (first, last) = (batch.line(0), batch.line(usize::MAX));
        let text = if first == last {
            failure.text.clone()
        } else {
            format!("lines {first} to {last}: {}", failure.text)
        };
        let failure = self.at(first, &Failure::new(failure.status, text));
        self.give_up(failure)
    }

    /// The end; or a complaint, with `--keep-going` and where another statement may do better.
    fn give_up(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.script.keep_going || failure.status != Status::Refused {
            return Err(failure);
        }
        complain(failure);
        self.has_failed = true;
        Ok(())
    }

    fn at(&self, line: u64, failure: &Failure) -> Failure {
        Failure::new(failure.status, format!("{}:{line}: {}", self.name, failure.text))
    }
}

fn part(sql: &str) -> Part {
    let words = scan::words(sql, 3);
    let is = |place: usize, word: &str| {
        words.get(place).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    // ROLLBACK TO a savepoint ends nothing.
    let is_partial = is(1, "TO") || (is(1, "TRANSACTION") && is(2, "TO"));
    match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
        Some("BEGIN") => Part::Begin,
        Some("COMMIT" | "END") => Part::Commit,
        Some("ROLLBACK") if !is_partial => Part::Rollback,
        Some("PRAGMA") => Part::Pragma,
        Some("SELECT" | "VALUES") => Part::Select,
        _ => Part::Work,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_told_from_work() {
        for (sql, expected) in [
            ("/* x */ begin immediate;", Part::Begin),
            ("COMMIT TRANSACTION;", Part::Commit),
            ("end;", Part::Commit),
            ("ROLLBACK;", Part::Rollback),
            ("ROLLBACK TRANSACTION TO x;", Part::Work),
            ("rollback to x;", Part::Work),
            ("-- BEGIN\nSELECT 1;", Part::Select),
            ("PRAGMA user_version", Part::Pragma),
            ("INSERT INTO t VALUES('BEGIN');", Part::Work),
        ] {
            assert_eq!(part(sql), expected, "{sql}");
        }
    }
}
