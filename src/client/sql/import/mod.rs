//! `import`: the rows of a CSV file into a table, all of them or none.
//!
//! A row is an INSERT with its values as literals. What fits one request goes as a transaction of
//! `/db/execute`, whose answer tells which row failed. What is larger is streamed as SQL text to
//! `/db/load`, which runs it in one transaction too, whatever its size. Only `--batch` gives up
//! all-or-nothing, for users who may not load.
//!
//! | file   | is for                                                                        |
//! |--------|-------------------------------------------------------------------------------|
//! | csv    | records, with their quotes and lines                                          |
//! | rows   | records as INSERT statements                                                  |
//! | stream | a file beyond one request                                                     |

mod csv;
mod rows;
mod stream;

use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::{Failure, Status};

use super::batch::Batch;
use rows::{Gathered, Rows};

/// Bytes of SQL that go in one request. It is held here and on the server; more is streamed.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Bytes of SQL in one request with `--batch`: a server takes no more than 256 MiB.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What stands below the options in the help text.
const DETAILS: &str = "\
All rows go in or none. What is more than 4 MiB as SQL is streamed to /db/load, for which the user
needs the permission `load`; with --batch the permission `execute` is enough, but the batches before
an error stay in.

Values are text, of which the column's type makes numbers. A field that is empty and not quoted is
NULL, and \"\" is empty text, just as `query --format csv` writes them; with --null TEXT it is TEXT
without quotes that is NULL.
";

#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(in crate::client) struct Import {
    /// The file; - is standard input
    #[arg(value_name = "CSV")]
    file: String,
    /// The table
    table: String,
    /// The columns that the fields go to, in the order of the fields [default: the first line]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    columns: Vec<String>,
    /// The first line is a row, not names; without --columns, a row is a row of the table
    #[arg(long)]
    no_header: bool,
    /// Create the table, with columns of type TEXT, if it does not exist
    #[arg(long)]
    create: bool,
    /// What separates the fields; tab or \t for a tab
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = read_separator)]
    separator: u8,
    /// The unquoted field that is NULL
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    null: String,
    /// Write so many rows at a time, each time all of them or none
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
}

fn read_separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("not a single ASCII character other than a quote or a line end".to_owned()),
    }
}

impl Import {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let rows = Rows::open(self, session)?;
        let count = match self.batch {
            Some(size) => self.in_batches(session, rows, size),
            None => self.at_once(session, rows),
        }?;
        let plural = if count == 1 { "" } else { "s" };
        session.terminal.remark(format_args!("{count} row{plural} imported into {}", self.table));
        Ok(())
    }

    /// Imports all rows or none, and gives their number.
    fn at_once(&self, session: &mut Session, mut rows: Rows) -> Result<u64, Failure> {
        let none = |failure: Failure| with(failure, "nothing was imported");
        let mut gathered = Gathered::default();
        while gathered.bytes() <= REQUEST_BYTES_MAX {
            if !rows.next(&mut gathered).map_err(none)? {
                return send(session, &rows, &gathered).map_err(none);
            }
        }
        stream::send(session, self, rows, &gathered)
    }

    fn in_batches(&self, session: &mut Session, mut rows: Rows, size: u32) -> Result<u64, Failure> {
        let mut done = 0_u64;
        let mut gathered = Gathered::default();
        loop {
            let so_far = |failure: Failure| with(failure, &format!("rows that are in: {done}"));
            let mut is_over = false;
            for _ in 0..size {
                is_over = !rows.next(&mut gathered).map_err(so_far)?;
                if is_over {
                    break;
                }
                if gathered.bytes() > BATCH_BYTES_MAX {
                    let limit = BATCH_BYTES_MAX >> 20;
                    let text = format!("{size} rows are more than {limit} MiB: take fewer");
                    return Err(so_far(Failure::usage(text)));
                }
            }
            let count = gathered.len() as u64;
            done += send(session, &rows, &gathered).map_err(|failure| match failure.status {
                Status::Unknown => {
                    let text = format!("rows that are in: {done} or {}", done + count);
                    said(failure, &text)
                }
                _ => so_far(failure),
            })?;
            rows.created();
            gathered.clear();
            if is_over {
                return Ok(done);
            }
        }
    }
}

/// Sends rows as one transaction, and gives their number.
fn send(session: &mut Session, rows: &Rows, gathered: &Gathered) -> Result<u64, Failure> {
    let mut batch = Batch::default();
    let created = rows.create();
    if let Some(create) = created {
        batch.push(create, "", 1);
    }
    for (line, sql) in gathered.statements() {
        batch.push(sql, "", line);
    }
    if batch.is_empty() {
        return Ok(0);
    }
    let asked = ["transaction".to_owned()];
    let received = batch.send(session, "db/execute", &asked, Effect::Some)?;
    if let Some((place, why)) = received.results_of(batch.len())?.failure() {
        return Err(rows.at(batch.line(place), why));
    }
    Ok(u64::try_from(gathered.len()).unwrap_or(u64::MAX))
}

/// A failure with what it means for the table; where that is not known the failure says so itself.
fn with(failure: Failure, what: &str) -> Failure {
    if failure.status == Status::Unknown {
        return failure;
    }
    said(failure, what)
}

fn said(failure: Failure, what: &str) -> Failure {
    let Failure { status, text } = failure;
    Failure { status, text: format!("{text} ({what})") }
}
