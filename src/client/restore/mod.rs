//! Files into the database.
//!
//! A file is looked at before anything is sent: by the server's own checks, and against the
//! sidecar that `backup` wrote beside it. What cannot be right is not sent.
//!
//! | file     | is for                                                        |
//! |----------|---------------------------------------------------------------|
//! | source   | a file, or a stream that can be read only once                |
//! | upload   | sending it, and what the answer says                          |
//! | live     | what the server holds                                         |
//! | compare  | how that differs                                              |
//! | describe | all of it in words                                            |

mod compare;
mod describe;
mod live;
mod source;
mod upload;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::Session;
use super::connection::Effect;
use super::failure::{Failure, Status};
use super::inspect::{self, Found};
use super::interrupt::Unfinished;
use super::results::{Outcome, Received};
use super::sidecar::Sidecar;
use crate::db::upload::Kind;
use describe::Description;
use upload::Sent;

pub(super) use source::Source;
pub(super) use upload::transfer;

/// What `restore --help` ends with.
const RESTORE_HELP: &str = "\
A SQLite file replaces the database of the whole cluster; SQL text is run in it, which adds to what
is there. All of it is done or nothing. Either may be packed with gzip.

The file is checked before anything is sent, every page or statement of it, and against the sidecar
FILE.json of a backup; then the server checks it too. A file that is no good changes nothing.

On a terminal restore asks before it goes on; in a script, where standard input is no terminal, and
of FILE - it does not.";

/// What `boot --help` ends with.
const BOOT_HELP: &str = "\
This is for a node that is alone, where it is the fastest way to load a large file; restore does the
same on a cluster. The file is checked first as by restore, and on a terminal boot asks before it
goes on.";

/// The database, or SQL text, from a file.
#[derive(Debug, clap::Args)]
#[command(after_help = RESTORE_HELP)]
pub(super) struct Restore {
    /// The file; `-` is standard input, which only the server checks
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say what the file is and how it differs from what is live; change nothing
    #[arg(long, conflicts_with_all = ["no_verify", "yes"])]
    dry_run: bool,
    /// With --dry-run, do not ask the server what is live
    #[arg(long, requires = "dry_run")]
    offline: bool,
    #[command(flatten)]
    common: Common,
}

/// The database of a node that is alone, from a file.
#[derive(Debug, clap::Args)]
#[command(after_help = BOOT_HELP)]
pub(super) struct Boot {
    /// The SQLite file, plain or gzip
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What both take.
#[derive(Debug, clap::Args)]
struct Common {
    /// Send the file unseen; the server checks it all the same
    #[arg(long)]
    no_verify: bool,
    /// Do not ask on a terminal whether to go on
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// How a source gets into the database.
struct Way {
    target: &'static str,
    verb: &'static str,
}

/// What was done.
struct Done {
    way: Way,
    bytes: u64,
    /// What the text changed, as JSON; null for a database.
    written: Value,
    /// What the check found.
    kind: Option<Kind>,
    started: Instant,
}

impl Restore {
    pub(super) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let source = Source::of(&self.file)?;
        if self.dry_run {
            return self.describe(&source, session);
        }
        let found = self.common.verify(&source, session)?;
        let kind = self.common.confirm(&source, found, session)?;
        let started = Instant::now();
        let way = Way { target: "db/load", verb: "restored" };
        let sent = upload::send(&mut session.client, way.target, &source, session.terminal)?;
        let bytes = sent.bytes;
        let written = written(sent, &source, kind)?;
        let done = Done { way, bytes, written, kind, started };
        self.common.report(&source, &done, session)
    }

    fn describe(&self, source: &Source, session: &mut Session) -> Result<(), Failure> {
        let name = source.name();
        let (path, _spooled) = match source {
            Source::File(kept) => (kept.path().to_owned(), None),
            Source::Stream(_) => {
                let spooled = spool(source)?;
                (spooled.path().to_owned(), Some(spooled))
            }
        };
        let is_file = matches!(source, Source::File(_));
        let sidecar = if is_file { Sidecar::proven(&path, session.terminal)? } else { None };
        let scratch = inspect::scratch_folder();
        let found = inspect::check_as(&name, &path, &scratch, session.terminal).map_err(hint)?;
        let elements = found.elements()?;
        let live = if self.offline { None } else { Some(live::ask(&mut session.client)) };
        let (live, failure) = match live {
            Some(Ok(live)) => (Some(live), None),
            Some(Err(failure)) => (None, Some(failure)),
            None => (None, None),
        };
        let description = Description {
            name: &name,
            found: &found,
            elements: &elements,
            sidecar: sidecar.as_ref(),
            modified: describe::modified(&path).filter(|_| is_file),
            live: live.as_ref(),
        };
        if self.common.json {
            writeln!(session.output, "{}", description.json())?;
        } else {
            description.write(&mut session.output)?;
        }
        session.output.flush()?;
        failure.map_or(Ok(()), Err)
    }
}

impl Boot {
    pub(super) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let source = Source::of(&self.file)?;
        let found = self.common.verify(&source, session)?;
        if found.as_ref().is_some_and(|found| found.kind != Kind::Database) {
            let text =
                format!("{}: a node boots from SQLite files only; use restore", source.name());
            return Err(Failure::new(Status::BadFile, text));
        }
        let kind = self.common.confirm(&source, found, session)?;
        let started = Instant::now();
        let way = Way { target: "boot", verb: "booted from" };
        let Sent { answer, bytes } =
            upload::send(&mut session.client, way.target, &source, session.terminal)?;
        let said = answer.bytes()?;
        if !said.is_empty() && serde_json::from_slice::<Value>(&said).is_err() {
            return Err(Failure::refused(
                "the answer is not what a server of this API gives; is the port right?",
            ));
        }
        let done = Done { way, bytes, written: Value::Null, kind, started };
        self.common.report(&source, &done, session)
    }
}

impl Common {
    /// Looks at a file; a stream can be read only once, so that only the server looks at it.
    fn verify(&self, source: &Source, session: &Session) -> Result<Option<Found>, Failure> {
        let Source::File(kept) = source else { return Ok(None) };
        let path = kept.path();
        if self.no_verify {
            return Ok(None);
        }
        Sidecar::proven(path, session.terminal)?;
        let found = inspect::check(path, &inspect::scratch_folder(), session.terminal);
        found.map(Some).map_err(hint)
    }

    /// Asks the person whether to go on, where there is one. What was found is given up: its
    /// scratch files are in nobody's way any more.
    fn confirm(
        &self,
        source: &Source,
        found: Option<Found>,
        session: &mut Session,
    ) -> Result<Option<Kind>, Failure> {
        if io::stdin().is_terminal() && !source.is_stdin() && !self.yes {
            if !io::stderr().is_terminal() {
                let text = "nobody can be asked whether to go on, as standard error is no \
                            terminal; --yes goes on unasked";
                return Err(Failure::usage(text));
            }
            ask(source, found.as_ref(), session)?;
        }
        Ok(found.map(|found| found.kind))
    }

    fn report(&self, source: &Source, done: &Done, session: &mut Session) -> Result<(), Failure> {
        let seconds = done.started.elapsed().as_secs_f64();
        let (name, node) = (source.name(), session.client.node());
        if self.json {
            let is_database = done.kind.map(|kind| kind == Kind::Database);
            let object = json!({
                "file": name,
                "node": node,
                "kind": is_database.map(|is| if is { "database" } else { "sql" }),
                "bytes": done.bytes,
                "verified": done.kind.is_some(),
                "result": done.written,
                "duration_seconds": seconds,
            });
            writeln!(session.output, "{object}")?;
            return Ok(());
        }
        let (verb, bytes) = (done.way.verb, done.bytes);
        let text = format!("{verb} {name} on {node}, {bytes} bytes in {seconds:.2}s");
        session.terminal.remark(text);
        Ok(())
    }
}

/// Says what will be lost for what, and waits for a yes.
fn ask(source: &Source, found: Option<&Found>, session: &mut Session) -> Result<(), Failure> {
    let sizes = |totals| format!(" ({})", live::sizes(totals));
    let live = live::ask(&mut session.client).map(|live| sizes(live.totals())).unwrap_or_default();
    let held = match found {
        Some(found) => sizes(live::totals(&found.elements()?)),
        None => String::new(),
    };
    let (name, node) = (source.name(), session.client.node());
    let what = match found.map(|found| found.kind) {
        Some(Kind::Script) => {
            format!("This runs {name}{held} in the database of {node}{live}.")
        }
        Some(Kind::Database | Kind::Empty) => {
            format!("This replaces the database of {node}{live} by {name}{held}.")
        }
        // Nothing but a look at it tells whether it is SQL text.
        None => format!("This puts {name} into the database of {node}{live}, or replaces it."),
    };
    // Nobody is left to ask when it cannot be written; then there is no answer either.
    write!(io::stderr(), "{what} Go on? [y/N] ").ok();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::local("cannot read the terminal", &error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Status::Interrupted, "nothing was changed")),
    }
}

/// What SQL text has changed, as JSON.
fn written(sent: Sent, source: &Source, kind: Option<Kind>) -> Result<Value, Failure> {
    let received = Received::of_success(sent.answer, Effect::Some);
    let received = received.map_err(|failure| upload::explain(failure, source))?;
    let results = received.results().map_err(|failure| upload::explain(failure, source))?;
    let mut written = Value::Null;
    for outcome in &results.results {
        match outcome {
            Outcome::Failed(why) => {
                let is_database = kind == Some(Kind::Database);
                let status = if is_database { Status::BadFile } else { Status::Refused };
                let text = format!("{}: {why}; nothing of it was kept", source.name());
                return Err(Failure::new(status, text));
            }
            Outcome::Done(done) if done.rows_affected.is_some() => {
                written = json!({
                    "last_insert_id": done.last_insert_id,
                    "rows_affected": done.rows_affected,
                });
            }
            Outcome::Done(_) | Outcome::Rows(_) => {}
        }
    }
    Ok(written)
}

/// Says what to do with SQL text that is no dump.
fn hint(failure: Failure) -> Failure {
    let is_of_statement = failure.text.contains(" (statement ");
    // What SQLite cannot read is wrong in every database.
    let is_syntax = ["syntax error", "incomplete input", "unrecognized token"]
        .iter()
        .any(|what| failure.text.contains(what));
    if failure.status != Status::BadFile || !is_of_statement || is_syntax {
        return failure;
    }
    let text = format!(
        "{}, when it is run into an empty database; SQL that changes what is there is for \
         \"quorlite script\"",
        failure.text
    );
    Failure::new(failure.status, text)
}

/// Copies a stream into a file of its own, to look at it.
fn spool(source: &Source) -> Result<Unfinished, Failure> {
    let (mut file, unfinished) = inspect::make_scratch(&inspect::scratch_folder())?;
    let unreadable =
        |error: io::Error| Failure::local(format!("cannot copy {}", source.name()), &error);
    let (mut reader, _) = source.open().map_err(unreadable)?;
    io::copy(&mut reader, &mut file).map_err(unreadable)?;
    Ok(unfinished)
}
