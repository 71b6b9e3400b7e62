//! Commands that copy the database to files and back, and that read files of commands.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Outcome, Shell, Trouble, script, usage};
use crate::client::Session;
use crate::client::backup;
use crate::client::connection::{Answer, Effect};
use crate::client::failure::{Failure, Status};
use crate::client::restore::{self, Source};
use crate::client::results::{self, Received};
use crate::db::upload;

/// How every SQLite file begins.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Files that read files, so that one that reads itself comes to an end.
const READ_DEPTH_MAX: usize = 16;

pub(super) fn backup(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let path = file(argument, "please specify an output file for the backup")?;
    copy(shell, &path, None)?;
    shell.say("backup file written successfully")
}

pub(super) fn dump(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let missing = "please specify an output file for the SQL text";
    let (name, tables) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let path = file(name, missing)?;
    let tables = tables.split(',').map(str::trim).filter(|table| !table.is_empty());
    copy(shell, &path, Some(tables.map(str::to_owned).collect()))?;
    shell.say("SQL text file written successfully")
}

pub(super) fn restore(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let path = file(argument, "please specify an input file to restore from")?;
    let restored = load(shell, &path);
    shell.is_schema_changed = true;
    restored
}

pub(super) fn boot(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let path = file(argument, "please specify an input file to boot with")?;
    let (source, start) = source(&path)?;
    if start != SQLITE_MAGIC {
        let text = format!("{} is not a valid SQLite file", path.display());
        return Err(Failure::new(Status::BadFile, text).into());
    }
    let sent = send(shell, "boot", &source, b"");
    shell.is_schema_changed = true;
    sent?
        .worded(|line, text| match text {
            "" => format!("boot failed, status code: {line}"),
            text => format!("boot failed, status code: {line}, {text}"),
        })?
        .bytes()?;
    shell.say("Node booted successfully.")
}

pub(super) fn read(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let path = file(argument, "please specify an input file to read from")?;
    if shell.depth == READ_DEPTH_MAX {
        return Err(usage(format!("{}: files that read files go no deeper", path.display())));
    }
    let unreadable = |error: &io::Error| Failure::local(path.display(), error);
    let mut source = BufReader::new(File::open(&path).map_err(|error| unreadable(&error))?);
    let by_line = is_by_line(&mut source).map_err(|error| unreadable(&error))?;
    let run = if by_line { script::run_lines } else { script::run };
    shell.depth += 1;
    let done = run(shell, &mut source, &path.display().to_string());
    shell.depth -= 1;
    done
}

/// Whether it was written for rqlite's shell: a statement a line, and no semicolon behind any. A
/// pipe, which can be read only once, is not.
fn is_by_line(source: &mut BufReader<File>) -> io::Result<bool> {
    if !source.get_ref().metadata()?.is_file() {
        return Ok(false);
    }
    let mut has_semicolon = false;
    loop {
        let bytes = source.fill_buf()?;
        has_semicolon |= bytes.contains(&b';');
        let length = bytes.len();
        if length == 0 || has_semicolon {
            source.rewind()?;
            return Ok(!has_semicolon);
        }
        source.consume(length);
    }
}

fn file(argument: &str, missing: &str) -> Result<PathBuf, Trouble> {
    if argument.is_empty() { Err(usage(missing)) } else { Ok(PathBuf::from(argument)) }
}

/// Makes a verified copy of the database, or SQL text of these tables or all.
fn copy(shell: &mut Shell<'_>, path: &Path, sql_of: Option<Vec<String>>) -> Outcome {
    let copied = backup::to_file(path, sql_of, shell.session).map_err(|failure| {
        let is_refused = failure.status == Status::Unauthorised;
        if is_refused { Failure::new(failure.status, "unauthorized") } else { failure }
    });
    Ok(copied?)
}

/// What is to be sent, and how it begins.
fn source(path: &Path) -> Result<(Source, Vec<u8>), Failure> {
    let opened = Source::at(path).and_then(|source| {
        let start = source.start(SQLITE_MAGIC.len() as u64)?;
        Ok((source, start))
    });
    opened.map_err(|error| Failure::local(path.display(), &error))
}

/// Sends it as it is, with `tail` behind it.
fn send(
    shell: &mut Shell<'_>,
    target: &'static str,
    source: &Source,
    tail: &[u8],
) -> Result<Answer, Failure> {
    let Session { client, terminal, .. } = &mut *shell.session;
    Ok(restore::transfer(client, target, source, tail, *terminal)?.answer)
}

fn load(shell: &mut Shell<'_>, path: &Path) -> Outcome {
    let (source, start) = source(path)?;
    let is_text = !upload::may_be_file(&start);
    let tail = if is_text { foreign_keys(shell)? } else { Vec::new() };
    let answer = send(shell, "db/load", &source, &tail)?.worded(|line, text| match text {
        "" => format!("server responded with: {line}"),
        text => format!("server responded with: {line}: {text}"),
    })?;
    let received = Received::of_success(answer, Effect::Some)?;
    let results = received.results().map_err(Trouble::Sql)?;
    for outcome in &results.results {
        match outcome {
            results::Outcome::Failed(text) => return Err(Trouble::Sql(Failure::refused(text))),
            results::Outcome::Done(done) => {
                if let Some(id) = done.last_insert_id {
                    shell.say(&format!("last inserted ID: {id}"))?;
                }
                if let Some(count) = done.rows_affected {
                    shell.say(&format!("rows affected: {count}"))?;
                }
            }
            results::Outcome::Rows(_) => {}
        }
    }
    shell.say("Database restored successfully.")
}

/// What restores the server's own setting after a text, as dumps turn it off. It ends the last
/// statement of the text first, which need not have a semicolon.
fn foreign_keys(shell: &mut Shell<'_>) -> Result<Vec<u8>, Failure> {
    let bytes = shell.get("status?key=store")?.bytes()?;
    let store: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let places = ["/sqlite3/fk_constraints", "/db_conf/fk_constraints"];
    let setting = places.iter().find_map(|place| store.pointer(place));
    let is_on = match setting {
        Some(Value::Bool(is_on)) => *is_on,
        Some(Value::String(text)) => text == "enabled",
        Some(_) | None => false,
    };
    let value = if is_on { "ON" } else { "OFF" };
    Ok(format!("\n;\nPRAGMA foreign_keys={value};\n").into_bytes())
}
