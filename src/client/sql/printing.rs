//! Results in the format asked for.

use std::io::Write as _;

use super::complain;
use crate::client::Session;
use crate::client::failure::{Failure, Status};
use crate::client::output::{self, Format, Style};
use crate::client::results::{Done, Outcome, Results, Rows};

/// What servers say of a statement that writes where only reading is allowed.
const WRITE_IN_QUERY: &str = "attempt to change database via query operation";

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Printing {
    /// How rows are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Print the names of the columns, also with list and insert
    #[arg(long, overrides_with = "no_headers")]
    headers: bool,
    /// Print no names of columns
    #[arg(long)]
    no_headers: bool,
    /// What stands for NULL, where the format has no word of its own for it
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// With --format insert: the table that the statements name
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Print on standard error how long each statement took on the server
    #[arg(long)]
    timings: bool,
}

impl Printing {
    /// The style, once it is known that the options go together.
    pub(super) fn style(&self, session: &Session) -> Result<Style, Failure> {
        let is_insert = self.format == Format::Insert;
        let has_names = matches!(self.format, Format::Json | Format::Jsonl | Format::Line);
        let has_null = matches!(self.format, Format::Json | Format::Jsonl | Format::Insert);
        let problem = match &self.table {
            None if is_insert => {
                Some("--format insert needs --table NAME, the table to insert into")
            }
            Some(_) if !is_insert => Some("--table is for --format insert"),
            _ if self.no_headers && has_names => Some("in this format every value has its name"),
            _ if self.null.is_some() && has_null => Some("this format has its own word for NULL"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Failure::usage(problem));
        }
        let headers = (self.headers || self.no_headers).then_some(self.headers);
        Ok(Style {
            format: self.format,
            headers,
            null: self.null.clone(),
            table: self.table.clone().unwrap_or_default(),
            is_rqlite: false,
            has_colours: session.terminal.has_colours(),
        })
    }

    /// Adds what the output needs to the parameters of a request.
    pub(super) fn add_to(&self, parameters: &mut Vec<String>) {
        if self.timings {
            parameters.push("timings".to_owned());
        }
        if self.format.needs_blob_array() {
            parameters.push("blob_array".to_owned());
        }
    }
}

/// Prints rows, and how long they took where that was asked for.
pub(super) fn print_rows(
    session: &mut Session,
    style: &Style,
    rows: &Rows<'_>,
) -> Result<(), Failure> {
    output::write(&mut session.output, style, rows)?;
    session.output.flush()?;
    print_seconds(session, rows.seconds);
    Ok(())
}

/// Says how long a statement took.
pub(super) fn print_seconds(session: &Session, seconds: Option<f64>) {
    if let Some(seconds) = seconds {
        session.terminal.remark(format_args!("Run Time: {seconds:.6} seconds"));
    }
}

/// Prints all results but failures, which are complained about under the statement's number; a
/// single statement's is the failure of the command.
pub(super) fn print_all(
    session: &mut Session,
    style: &Style,
    results: &Results<'_>,
    count: usize,
    mut print_done: impl FnMut(&mut Session, usize, Done) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut has_failed = false;
    for (place, outcome) in results.results.iter().enumerate() {
        match outcome {
            Outcome::Rows(rows) => print_rows(session, style, rows)?,
            Outcome::Done(done) => print_done(session, place, *done)?,
            Outcome::Failed(why) if count == 1 => return Err(Failure::refused(hinted(why))),
            Outcome::Failed(why) => {
                let why = hinted(why);
                session.output.flush()?;
                complain(format_args!("statement {}: {why}", place + 1));
                has_failed = true;
            }
        }
    }
    if has_failed { Err(Failure::silent(Status::Refused)) } else { Ok(()) }
}

/// What the server says of a statement, with what to do where that is known.
fn hinted(why: &str) -> String {
    match why {
        WRITE_IN_QUERY => format!("{why}; what writes is for \"quorlite execute\""),
        why => why.to_owned(),
    }
}
