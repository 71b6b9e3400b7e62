//! What can be asked for, and what contradicts itself.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::run::{self, FileOrder, Order, Output, Telling};
use super::source::{Form, Format, Origin};
use super::target::Place;
use crate::client::Session;
use crate::client::failure::Failure;
use crate::client::values::{read_duration, read_size};

/// What backup and dump have in common.
#[derive(Debug, clap::Args)]
struct Options {
    /// Pack the copy with gzip
    #[arg(long)]
    compress: bool,
    /// The node that makes the copy: the leader, any (the one that is asked, whatever it is), or
    /// this one. Without it the node that is asked passes the request on to the leader
    #[arg(long, value_name = "leader|any|URL")]
    from: Option<Origin>,
    /// With --from any or a URL: the node refuses when its copy may be staler than this
    #[arg(long, value_name = "DURATION", value_parser = read_age)]
    max_age: Option<Duration>,
    /// Do nothing if nothing changed since the newest backup, which FILE.json knows
    #[arg(long)]
    if_changed: bool,
    /// With --if-changed: exit with status 10, not 0, if nothing changed
    #[arg(long, requires = "if_changed")]
    exit_unchanged: bool,
    /// With a pattern: keep the newest N backups, and always the newest verified one
    #[arg(long, value_name = "N", value_parser = read_count)]
    keep: Option<usize>,
    /// Fail rather than leave less than this free on the file's disk: 500M, 2G
    #[arg(long, value_name = "BYTES", value_parser = read_size)]
    min_free: Option<u64>,
    /// Do not look into the finished copy; its length, digest and beginning are checked anyway
    #[arg(long)]
    no_verify: bool,
    /// Print what was done as a JSON object
    #[arg(long)]
    json: bool,
}

/// What a script must know, below the options of `backup`.
const BACKUP_HELP: &str = "\
The copy is written to .FILE.part, checked, synced and then renamed: FILE is the old backup until
it is the new one. FILE.json says what it is. FILE keeps its permissions; a new one is for its
owner only. With a status other than 0 and 10 FILE is what it was, unless the text says otherwise.

  3  no node was reached, or the transfer broke off twice
  4  there is no leader, or the node's copy may be staler than --max-age
  7  what came is not what was announced, or is damaged
  8  a file cannot be written or removed, the disk is full, or another run for FILE is under way
 10  nothing changed (--exit-unchanged)

Every night, keep seven (a crontab wants \\% for each %):
  quorlite backup -q -o 'app-%Y%m%d.db' --keep 7 --if-changed";

/// The same for `dump`.
const DUMP_HELP: &str = "\
With -o FILE it is a backup in another form: as \"quorlite backup --fmt sql\", whose help says more.";

/// Copies the database into a file, verified, while everything goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_HELP)]
pub(in crate::client) struct Backup {
    /// The file; %Y %m %d %H %M %S in its name are the time (UTC), %% is a %; - is standard output
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    /// How the copy is written
    #[arg(long, value_enum, default_value = "binary")]
    fmt: Format,
    /// Have the copy rebuilt without free pages, which takes longer
    #[arg(long)]
    vacuum: bool,
    /// With --fmt sql: only these tables, with their indexes and triggers
    #[arg(long, value_name = "TABLE,...", value_delimiter = ',')]
    tables: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Writes the database as SQL text.
#[derive(Debug, clap::Args)]
#[command(after_help = DUMP_HELP)]
pub(in crate::client) struct Dump {
    /// Only these tables, with their indexes and triggers
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// The file; %Y %m %d %H %M %S in its name are the time (UTC), %% is a %
    #[arg(short, long, value_name = "FILE|-", default_value = "-", hide_default_value = true)]
    output: PathBuf,
    #[command(flatten)]
    options: Options,
}

/// Copies the database into this one file, as SQL text of these tables, or of all, where `sql_of`
/// is given. It is as careful as `backup -o`, and says nothing.
pub(in crate::client) fn to_file(
    path: &Path,
    sql_of: Option<Vec<String>>,
    session: &mut Session,
) -> Result<(), Failure> {
    let format = if sql_of.is_some() { Format::Sql } else { Format::Binary };
    let tables = sql_of.unwrap_or_default();
    let file = FileOrder {
        place: Place::literal(path)?,
        keep: None,
        free_min: 0,
        if_changed: false,
        exit_unchanged: false,
        verify: true,
        telling: Telling::Nothing,
    };
    let form = Form { format, vacuum: false, compress: false, tables };
    let order = Order { form, from: None, age_max: None, output: Output::File(file) };
    run::run(&order, session)
}

impl Backup {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let Some(output) = &self.output else {
            let text = "say where the copy goes: -o FILE, or -o - for standard output";
            return Err(Failure::usage(text));
        };
        let form = Form {
            format: self.fmt,
            vacuum: self.vacuum,
            compress: self.options.compress,
            tables: self.tables.clone(),
        };
        run::run(&self.options.order(form, output)?, session)
    }
}

impl Dump {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let form = Form {
            format: Format::Sql,
            vacuum: false,
            compress: self.options.compress,
            tables: self.tables.clone(),
        };
        run::run(&self.options.order(form, &self.output)?, session)
    }
}

impl Options {
    fn order(&self, form: Form, output: &Path) -> Result<Order, Failure> {
        if let Some(fault) = form.fault() {
            return Err(Failure::usage(fault));
        }
        if self.max_age.is_some() && !matches!(self.from, Some(Origin::Any | Origin::Node(..))) {
            let text = "--max-age goes with --from any or a URL only: the leader is never stale";
            return Err(Failure::usage(text));
        }
        let output =
            if output == Path::new("-") { self.stdout(&form)? } else { self.file(output)? };
        Ok(Order { form, from: self.from.clone(), age_max: self.max_age, output })
    }

    fn stdout(&self, form: &Form) -> Result<Output, Failure> {
        if (form.compress || form.format != Format::Sql) && io::stdout().is_terminal() {
            let text = "a copy is no text for a terminal: -o FILE, or send it elsewhere";
            return Err(Failure::usage(text));
        }
        let needing_a_file = [
            (self.if_changed, "--if-changed"),
            (self.keep.is_some(), "--keep"),
            (self.min_free.is_some(), "--min-free"),
            (self.json, "--json"),
        ];
        match needing_a_file.iter().find(|(is_given, _)| *is_given) {
            Some((_, name)) => {
                let text = format!("{name} needs a file: -o FILE rather than standard output");
                Err(Failure::usage(text))
            }
            None => Ok(Output::Stdout),
        }
    }

    fn file(&self, path: &Path) -> Result<Output, Failure> {
        let place = Place::of(path)?;
        if self.keep.is_some() && !place.pattern.has_fields() {
            let text = "--keep needs a pattern, such as -o app-%Y%m%d.db: one name is one backup";
            return Err(Failure::usage(text));
        }
        Ok(Output::File(FileOrder {
            place,
            keep: self.keep,
            free_min: self.min_free.unwrap_or(0),
            if_changed: self.if_changed,
            exit_unchanged: self.exit_unchanged,
            verify: !self.no_verify,
            telling: if self.json { Telling::LineAndObject } else { Telling::Line },
        }))
    }
}

fn read_age(text: &str) -> Result<Duration, String> {
    match read_duration(text)? {
        Duration::ZERO => Err("no copy is of this very moment: give it some time".to_owned()),
        age => Ok(age),
    }
}

fn read_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| "not a number from 1 on".to_owned())
}
