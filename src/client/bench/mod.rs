//! `quorlite bench URL`: how fast a server is that speaks this API, whoever made it.
//!
//! Every line of the result is the median of several rounds after a warm-up. The clients share
//! the machine with the server as often as not, so they do as little as they can for themselves.
//!
//! | file     | is for                                                        |
//! |----------|---------------------------------------------------------------|
//! | workload | what can be measured, and the requests for it                 |
//! | server   | the server's address, and its table made and removed          |
//! | rounds   | requests per second and their latencies                       |
//! | copies   | backups and loads                                             |
//! | sample   | histograms, percentiles, medians                              |
//! | report   | the tables and the JSON                                       |

mod columns;
mod copies;
mod http;
mod report;
mod rounds;
mod sample;
mod server;
mod url;
mod workload;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::Session;
use super::values::read_size;
use crate::client::failure::Failure;
use report::Line;
use server::Server;
use url::Url;
use workload::{Kind, Need, Workload};

/// What stands below the options in the help text.
const DETAILS: &str = "\
Workloads, each with its kin (--workload point means all four of them):
  insert        one row, synced before it is answered
  bulk          1,000 rows in one transaction
  queue         one row, queued; the answer does not wait for the disk
  point-none    one row by its key, at the level of the name;
                also point-weak, point-linearizable, point-strong
  range-none    100 rows by a range of keys;
                also range-weak, range-linearizable, range-strong
  backup-binary a whole copy of the database, one client;
                also backup-delete, backup-sql, backup-vacuum, backup-compress
  load          fetches a backup of the server's whole database and loads it back

The table quorlite_bench is made for it, and dropped when it is done; the database file keeps
the space until the next VACUUM.
load REPLACES ALL DATA by the backup it has just taken: what others write meanwhile is lost.
It runs only when it is named.

Figures are medians of 5 rounds after a warm-up (of 3 copies for backup and load).
wait is the time to a backup's first byte, or from a load's last byte to its answer.
Errors are replies other than 200, replies that hold an error, and broken connections.
It connects by plain HTTP only.
";

#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(super) struct Arguments {
    /// The server, as `http://user:password@host:port` or less [default: the connection's]
    url: Option<String>,
    /// Connections at a time
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,16,64,256",
        value_parser = clap::value_parser!(u16).range(1..=CLIENTS_MAX))]
    clients: Vec<u16>,
    /// Seconds to measure for each line, from 0.1 to 3600
    #[arg(long, value_name = "N", default_value = "5", value_parser = read_seconds)]
    seconds: Duration,
    /// What to measure [default: all but load]
    #[arg(long, value_name = "NAME,...")]
    workload: Option<String>,
    /// Bytes to back up and load; K, M, G and T are known
    #[arg(long, value_name = "BYTES", default_value = "100M", value_parser = read_size)]
    size: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Connections beyond this are no measurement of a server any more.
const CLIENTS_MAX: i64 = 4096;

struct Settings {
    clients: Vec<usize>,
    time: Duration,
    workloads: Vec<&'static Workload>,
    size: u64,
}

impl Arguments {
    pub(super) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let settings = Settings {
            clients: self.clients.iter().copied().map(usize::from).collect(),
            time: self.seconds,
            workloads: workload::select(self.workload.as_deref())?,
            size: self.size,
        };
        let url = match &self.url {
            Some(text) => Url::parse(text)?,
            None => Url::of(session.client.settings())?,
        };
        let server = Server::find(url)?;
        let mut lines = Vec::new();
        let progress = Progress(!session.terminal.is_quiet && io::stderr().is_terminal());
        let measured = measure_all(&server, &settings, &progress, &mut lines);
        progress.show("");
        // What was measured before a failure is worth showing, and the table must go all the same.
        let cleaned = server.clean_up();
        let output = &mut session.output;
        if self.json {
            let seconds = settings.time.as_secs_f64();
            report::write_json(output, &server.url.authority, seconds, &lines)?;
        } else {
            report::write_tables(output, &lines)?;
        }
        measured.and(cleaned)?;
        let failed: Vec<_> = lines.iter().filter_map(Line::failed).collect();
        match failed.first() {
            None => Ok(()),
            Some(first) => {
                let text = format!("nothing succeeded in {} of the lines", failed.len());
                Err(Failure::new(*first, text))
            }
        }
    }
}

fn measure_all(
    server: &Server,
    settings: &Settings,
    progress: &Progress,
    lines: &mut Vec<Line>,
) -> Result<(), Failure> {
    let mut ready = None;
    for workload in &settings.workloads {
        let is_copy = matches!(workload.kind, Kind::Backup(_) | Kind::Load);
        let clients = if is_copy { &[1] } else { settings.clients.as_slice() };
        for &clients in clients {
            let need = workload.need();
            if need == Need::Empty || ready != Some(need) {
                progress.show(&format!("{}: preparing", workload.name));
                server.prepare(need, settings.size)?;
                ready = Some(need);
            }
            progress.show(&format!("{}, {clients} clients", workload.name));
            lines.push(measure(server, settings, workload, clients)?);
        }
    }
    Ok(())
}

fn measure(
    server: &Server,
    settings: &Settings,
    workload: &Workload,
    clients: usize,
) -> Result<Line, Failure> {
    let workload_name = workload.name;
    let figures = match workload.kind {
        Kind::Backup(parameters) => copies::measure_backup(server, parameters)?,
        Kind::Load => copies::measure_load(server)?,
        Kind::Insert | Kind::Bulk | Kind::Queue | Kind::Point(_) | Kind::Range(_) => {
            let plan = rounds::Plan {
                server,
                requests: &workload.requests(&server.url),
                is_bulk: workload.kind == Kind::Bulk,
                clients,
                time: settings.time,
            };
            return Ok(Line::Requests {
                workload: workload_name,
                clients,
                rows_per_request: workload.rows_per_request(),
                figures: rounds::measure(&plan)?,
            });
        }
    };
    Ok(Line::Copies { workload: workload_name, figures })
}

fn read_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|time| (0.1..=3600.0).contains(time));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "not a number from 0.1 to 3600".to_owned())
}

/// The progress line, where it is shown: on a terminal whose person wants it.
struct Progress(bool);

impl Progress {
    /// Replaces the line; an empty text removes it.
    fn show(&self, text: &str) {
        if self.0 {
            let mut stderr = io::stderr().lock();
            // A line that cannot be shown is no loss.
            write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).ok();
        }
    }
}
