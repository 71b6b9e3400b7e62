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

mod copies;
mod report;
mod rounds;
mod sample;
mod server;
mod workload;

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use super::Failure;
use super::arguments::{Choice, Command, Given};
use report::Line;
use server::Server;
use workload::{Kind, Need, Workload};

/// The command as the table of commands has it.
pub(super) const COMMAND: Command = Command {
    name: "bench",
    words: &["URL"],
    summary: "measure a server's speed",
    options: &[
        Choice("clients", Some("N,..."), "connections at a time (default 1,16,64,256)"),
        Choice("seconds", Some("N"), "time to measure for each line (default 5)"),
        Choice("workload", Some("NAME,..."), "what to measure (default all but load)"),
        Choice("size", Some("BYTES"), "data to back up and load; K, M, G are known (default 100M)"),
        Choice("json", None, "print JSON"),
    ],
    details: "\
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
",
    run,
};

/// Connections beyond this are no measurement of a server any more.
const CLIENTS_MAX: usize = 4096;

struct Settings {
    clients: Vec<usize>,
    time: Duration,
    workloads: Vec<&'static Workload>,
    size: u64,
}

fn run(given: &Given, output: &mut dyn Write) -> Result<(), Failure> {
    let settings = Settings::from(given)?;
    let server = Server::find(&given.words[0])?;
    let mut lines = Vec::new();
    let measured = measure_all(&server, &settings, &mut lines);
    show_progress("");
    // What was measured before a failure is worth showing, and the table must go all the same.
    let cleaned = server.clean_up();
    if given.has("json") {
        let seconds = settings.time.as_secs_f64();
        report::write_json(output, &server.url.authority, seconds, &lines)?;
    } else {
        report::write_tables(output, &lines)?;
    }
    measured.and(cleaned)?;
    match lines.iter().filter(|line| line.is_all_errors()).count() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("nothing succeeded in {count} of the lines"))),
    }
}

fn measure_all(server: &Server, settings: &Settings, lines: &mut Vec<Line>) -> Result<(), Failure> {
    let mut ready = None;
    for workload in &settings.workloads {
        let is_copy = matches!(workload.kind, Kind::Backup(_) | Kind::Load);
        let clients = if is_copy { &[1] } else { settings.clients.as_slice() };
        for &clients in clients {
            let need = workload.need();
            if need == Need::Empty || ready != Some(need) {
                show_progress(&format!("{}: preparing", workload.name));
                server.prepare(need, settings.size)?;
                ready = Some(need);
            }
            show_progress(&format!("{}, {clients} clients", workload.name));
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

impl Settings {
    fn from(given: &Given) -> Result<Settings, Failure> {
        let is_sane = |clients: &usize| (1..=CLIENTS_MAX).contains(clients);
        let clients =
            given.list("clients", &format!("a number from 1 to {CLIENTS_MAX}"), is_sane)?;
        let seconds: f64 = match given.text("seconds") {
            None => 5.0,
            Some(text) => {
                text.parse().ok().filter(|time| (0.1..=3600.0).contains(time)).ok_or_else(|| {
                    Failure::Usage(format!("--seconds: {text} is not a number from 0.1 to 3600"))
                })?
            }
        };
        let size = match given.text("size") {
            None => 100 << 20,
            Some(text) => parse_size(text).ok_or_else(|| {
                Failure::Usage(format!("--size: {text} is not a number of bytes"))
            })?,
        };
        Ok(Settings {
            clients: clients.unwrap_or_else(|| vec![1, 16, 64, 256]),
            time: Duration::from_secs_f64(seconds),
            workloads: workload::select(given.text("workload"))?,
            size,
        })
    }
}

/// A number of bytes, which may end in K, M or G (powers of 1024).
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Replaces the progress line, on a terminal only; an empty text removes it.
fn show_progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        // A line that cannot be shown is no loss.
        write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("1", Some(1)),
            ("2K", Some(2048)),
            ("1g", Some(1 << 30)),
            ("G", None),
            ("", None),
            ("-1", None),
            ("1T", None),
            ("99999999999999999999", None),
            ("99999999999G", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }
}
