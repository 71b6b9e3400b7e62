//! One backup, from the request to its report.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::download::{self, Broken};
use super::fetch::{ATTEMPTS, Request, cut, no_such_table};
use super::report::{Done, in_words, print};
use super::shelf::Shelf;
use super::source::{Form, Format, Origin};
use super::target::{Folder, Part, Place};
use crate::client::Session;
use crate::client::failure::{Failure, Status};
use crate::client::inspect;
use crate::client::sidecar::Sidecar;
use crate::client::terminal::Terminal;
use crate::db::upload::Kind;

/// A backup that is asked for, without contradictions.
pub(super) struct Order {
    pub(super) form: Form,
    pub(super) from: Option<Origin>,
    pub(super) age_max: Option<Duration>,
    pub(super) output: Output,
}

pub(super) enum Output {
    Stdout,
    File(FileOrder),
}

/// What is asked for where the copy is a file.
pub(super) struct FileOrder {
    pub(super) place: Place,
    pub(super) keep: Option<usize>,
    /// Bytes.
    pub(super) free_min: u64,
    pub(super) if_changed: bool,
    pub(super) exit_unchanged: bool,
    pub(super) verify: bool,
    pub(super) telling: Telling,
}

/// How it is told what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    Nothing,
    /// To the person, on standard error.
    Line,
    /// Also to a script, as JSON on standard output.
    LineAndObject,
}

/// Does what is asked for.
///
/// # Errors
/// [`Failure`]; the target is then what it was, unless its text says otherwise.
pub(super) fn run(order: &Order, session: &mut Session) -> Result<(), Failure> {
    let Session { client, terminal, output } = session;
    let named = order.from.as_ref().map(|from| from.client(client.settings())).transpose()?;
    let mut named = named.flatten();
    let mut request = Request {
        client: named.as_mut().unwrap_or(client),
        terminal: *terminal,
        form: &order.form,
        is_bounded: order.age_max.is_some(),
        level: order.from.as_ref().and_then(Origin::level),
        target: order.form.request(order.from.as_ref(), order.age_max),
    };
    match &order.output {
        Output::Stdout => {
            request.look_for_tables()?;
            request.stream(output)
        }
        Output::File(file) => request.keep(file, output),
    }
}

impl Request<'_> {
    /// Writes the copy to standard output. Nothing is sent twice there.
    fn stream(&mut self, output: &mut impl Write) -> Result<(), Failure> {
        // Progress would get into what the person reads.
        let is_quiet = self.terminal.is_quiet || io::stdout().is_terminal();
        let terminal = Terminal { is_quiet };
        for attempt in 1.. {
            let mut answer = self.ask(None)?;
            let mut write = |piece: &[u8]| Ok(output.write_all(piece)?);
            match download::copy(&mut answer, self.form, terminal, &mut write) {
                Ok(_) => break,
                Err(Broken::Cut(0, _)) if attempt < ATTEMPTS => {}
                Err(Broken::Cut(_, why)) => return Err(cut(&why)),
                Err(Broken::Failed(failure)) => return Err(failure),
            }
        }
        Ok(output.flush()?)
    }

    /// Makes a file of the copy.
    fn keep(&mut self, order: &FileOrder, output: &mut impl Write) -> Result<(), Failure> {
        let began = Instant::now();
        let mut part = order.place.begin()?;
        let known = if order.if_changed {
            Shelf::read(&order.place)?.newest_whole(order.verify, self.terminal)
        } else {
            None
        };
        let etag = known.as_ref().and_then(|(_, sidecar)| sidecar.etag());
        let Some((head, copied)) = self.download(&mut part, order, etag)? else {
            let (path, sidecar) = known.expect("only what is known is unchanged");
            return self.unchanged(order, &path, &sidecar, output);
        };
        if order.verify {
            self.verify(&part, order)?;
        }
        let target = order.place.target(head.taken_at);
        let folder = Folder::lock(order.place.folder());
        let sequence = Shelf::read(&order.place)?.next_sequence();
        let done = Done { target, head, copied, sequence, took: began.elapsed() };
        let sidecar = self.describe(order, &done);
        part.check_target(&done.target, self.form)?;
        let published = part.publish(&order.place, &folder, &done.target, &sidecar)?;
        let mut removed = Vec::new();
        let pruned = prune(order, &folder, &mut removed);
        drop(folder);
        if order.telling != Telling::Nothing {
            self.report(order, &done, &sidecar, &removed);
        }
        let more = json!({ "removed": removed });
        let printed = print(order, &done.target, &sidecar, more, output);
        drop(published);
        printed.and(pruned).map_err(|failure| but("written", &done.target, &failure))
    }

    fn unchanged(
        &self,
        order: &FileOrder,
        path: &Path,
        sidecar: &Sidecar,
        output: &mut impl Write,
    ) -> Result<(), Failure> {
        let folder = Folder::lock(order.place.folder());
        let mut removed = Vec::new();
        let pruned = prune(order, &folder, &mut removed);
        drop(folder);
        let index = sidecar.raft_index().map(|index| format!(" (raft index {index})"));
        let index = index.unwrap_or_default();
        let removal = in_words(&removed);
        self.terminal.remark(format!("unchanged: {}{index}{removal}", path.display()));
        print(order, path, sidecar, json!({ "unchanged": true, "removed": removed }), output)?;
        pruned.map_err(|failure| but("unchanged", path, &failure))?;
        if order.exit_unchanged { Err(Failure::silent(Status::Unchanged)) } else { Ok(()) }
    }

    /// Looks at every page, or runs every statement.
    fn verify(&self, part: &Part, order: &FileOrder) -> Result<(), Failure> {
        let bad = |text: String| Failure::new(Status::BadFile, text);
        let scratch = order.place.make_scratch()?;
        let found =
            inspect::check_leaving(part.path(), scratch.path(), order.free_min, self.terminal);
        let found = found.map_err(|failure| match failure.status {
            Status::BadFile => bad(format!("the copy is bad: {failure}")),
            _ => failure,
        })?;
        let is_text = self.form.format == Format::Sql;
        if (found.kind == Kind::Script) != is_text || found.is_packed != self.form.compress {
            return Err(bad("the server sent a copy of another kind".to_owned()));
        }
        if self.form.format == Format::Delete && found.form.is_wal {
            let text = "the server sent a database in WAL mode: it does not know --fmt delete";
            return Err(bad(text.to_owned()));
        }
        if self.form.tables.is_empty() {
            return Ok(());
        }
        let elements = found.elements()?;
        let is_there = |name: &String| {
            elements.iter().any(|element| element.kind == "table" && element.name == *name)
        };
        match self.form.tables.iter().find(|name| !is_there(name)) {
            Some(name) => Err(no_such_table(name)),
            None => Ok(()),
        }
    }
}

/// Removes what is not kept, and adds its paths to `removed`.
fn prune(order: &FileOrder, folder: &Folder, removed: &mut Vec<PathBuf>) -> Result<(), Failure> {
    match order.keep {
        Some(keep) => Shelf::read(&order.place)?.prune(folder, keep, removed),
        None => Ok(()),
    }
}

/// What failed after all was well with this backup.
fn but(what: &str, path: &Path, failure: &Failure) -> Failure {
    // Without a text the reader of the output has gone, but not that of this sentence.
    let why = if failure.text.is_empty() { "nobody reads the output" } else { &failure.text };
    Failure::new(failure.status, format!("{} is {what}, but {why}", path.display()))
}
