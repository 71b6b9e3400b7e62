//! SQL and files as they are named on the command line.
//!
//! `-` is standard input everywhere; SQL that is missing is read from there too, unless a person
//! sits at it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::rc::Rc;

use crate::client::failure::{Failure, Status};
use crate::client::terminal::{Progress, Terminal};
use crate::db::splitter::Statements;

/// Longest SQL that is held whole; a script may be of any length.
const SQL_BYTES_MAX: u64 = 64 << 20;

/// The statements of the SQL that was given, at least one.
pub(super) fn statements(sql: Option<&str>) -> Result<Vec<String>, Failure> {
    match sql {
        Some(sql) if sql != "-" => cut(&mut sql.as_bytes()),
        None if io::stdin().is_terminal() => {
            Err(Failure::usage("there is no SQL: give it as an argument, or on standard input"))
        }
        Some(_) | None => cut(&mut io::stdin().lock()),
    }
}

fn cut(source: &mut dyn Read) -> Result<Vec<String>, Failure> {
    // One byte more than allowed tells what is too long.
    let mut limited = source.take(SQL_BYTES_MAX + 1);
    let mut found = Vec::new();
    let mut statements = Statements::new(&mut limited);
    while let Some(statement) = statements.next().map_err(|error| bad_sql(&error))? {
        found.push(statement);
    }
    if limited.limit() == 0 {
        let text = format!("the SQL is longer than {} MiB: use `script`", SQL_BYTES_MAX >> 20);
        return Err(Failure::usage(text));
    }
    if found.is_empty() {
        return Err(Failure::usage("there is no statement in the SQL"));
    }
    Ok(found)
}

/// SQL on standard input is as wrong as it would be on the command line.
fn bad_sql(error: &io::Error) -> Failure {
    let failure = unreadable("stdin", error);
    match failure.status {
        Status::BadFile => Failure::usage(failure.text),
        _ => failure,
    }
}

/// What a file is to the caller that cannot be read, or is not what it should be.
pub(super) fn unreadable(what: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::new(Status::BadFile, format!("{what}: {error}")),
        _ => Failure::local(format!("cannot read {what}"), error),
    }
}

/// An open file, or standard input.
pub(super) struct Source {
    /// As messages name it.
    pub(super) name: String,
    /// Its length, where it has one.
    bytes: Option<u64>,
    reader: Box<dyn Read>,
    progress: Shown,
}

/// What moves as a file is read, until somebody takes it away: rows on the same terminal need
/// the place.
pub(super) type Shown = Rc<RefCell<Option<Progress>>>;

impl Source {
    /// # Errors
    /// That the file cannot be opened.
    pub(super) fn open(path: &str) -> Result<Source, Failure> {
        if path == "-" {
            let (name, reader) = ("stdin".to_owned(), Box::new(io::stdin()));
            return Ok(Source { name, bytes: None, reader, progress: Shown::default() });
        }
        let name = path.to_owned();
        let file = File::open(path)
            .map_err(|error| Failure::local(format!("cannot open {name}"), &error))?;
        let bytes =
            file.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
        Ok(Source { name, bytes, reader: Box::new(file), progress: Shown::default() })
    }
}

impl Source {
    /// Shows on `terminal` how far it has been read.
    pub(super) fn show(&self, terminal: Terminal, what: &'static str) -> Shown {
        *self.progress.borrow_mut() = Some(terminal.progress(what, self.bytes));
        Rc::clone(&self.progress)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(progress) = self.progress.borrow().as_ref() {
            progress.add(u64::try_from(count).unwrap_or(0));
        }
        Ok(count)
    }
}
