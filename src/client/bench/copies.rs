//! Whole databases on their way: backups received, and one sent back as a load.
//!
//! What is received is counted and thrown away, but for the file that a load needs: that one is
//! a backup taken a moment before, kept in the folder for temporary files and removed after.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::time::{Duration, Instant};

use super::http::{self, Broken};
use super::sample::{Errors, median};
use super::server::{Server, describe, has_error, refusal};
use crate::client::failure::{Failure, Status};
use crate::client::inspect;

/// Copies a line of the table is the median of.
pub(super) const COPIES: usize = 3;

/// A silence that long ends a copy; a server may check or rewrite gigabytes before it answers.
const TIMEOUT: Duration = Duration::from_secs(900);

/// Bytes received at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a reply kept to describe it when it turns out to be an error.
const REPLY_BYTES_MAX: usize = 1024;

/// Medians over the copies that succeeded; zeros when none did.
#[derive(Default)]
pub(super) struct Figures {
    /// Of the last copy; they differ only when somebody else writes.
    pub(super) bytes: u64,
    /// Milliseconds from the request to the first byte of the body (backup) or to the reply,
    /// from the last byte sent (load).
    pub(super) wait_milliseconds: f64,
    pub(super) seconds: f64,
    /// 10^6 bytes a second.
    pub(super) megabytes_per_second: f64,
    pub(super) errors: Errors,
}

#[derive(Clone, Copy)]
struct Copy {
    bytes: u64,
    wait: Duration,
    total: Duration,
}

/// A request that was answered, but not well.
enum Refusal {
    Reply(u16, Vec<u8>),
    Broken(Broken),
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Refusal {
        Refusal::Broken(broken)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Broken(error.into())
    }
}

/// Fetches backups with the given parameters.
pub(super) fn measure_backup(server: &Server, parameters: &str) -> Result<Figures, Failure> {
    repeat(|| fetch(server, parameters, &mut io::sink()))
}

/// Fetches one backup and loads it, several times.
pub(super) fn measure_load(server: &Server) -> Result<Figures, Failure> {
    let (mut file, _kept) = inspect::make_scratch(&inspect::scratch_folder())?;
    fetch(server, "fmt=binary", &mut file)?.map_err(|why| match why {
        Refusal::Reply(status, body) => {
            refusal(status, format!("no backup to load: {}", describe(status, &body)))
        }
        Refusal::Broken(broken) => {
            Failure::new(Status::Unreachable, format!("no backup to load: {broken}"))
        }
    })?;
    repeat(|| send(server, &mut file))
}

fn repeat(
    mut copy: impl FnMut() -> Result<Result<Copy, Refusal>, Failure>,
) -> Result<Figures, Failure> {
    let (mut copies, mut errors) = (Vec::new(), Errors::default());
    for _ in 0..COPIES {
        let refusal = match copy()? {
            Ok(copy) => {
                copies.push(copy);
                continue;
            }
            Err(refusal) => refusal,
        };
        let text = match refusal {
            Refusal::Reply(status, body) => {
                let counter = if status == 200 { &mut errors.sql } else { &mut errors.status };
                *counter += 1;
                describe(status, &body)
            }
            Refusal::Broken(broken) => {
                errors.broken += 1;
                broken.to_string()
            }
        };
        errors.first.get_or_insert(text);
    }
    let over = |figure: fn(&Copy) -> f64| median(copies.iter().map(figure).collect());
    Ok(Figures {
        bytes: copies.last().map_or(0, |copy| copy.bytes),
        wait_milliseconds: over(|copy| copy.wait.as_secs_f64() * 1e3),
        seconds: over(|copy| copy.total.as_secs_f64()),
        megabytes_per_second: over(|copy| copy.bytes as f64 / 1e6 / copy.total.as_secs_f64()),
        errors,
    })
}

/// Receives one backup. The outer error is one of this machine, the inner one of the server.
fn fetch(
    server: &Server,
    parameters: &str,
    sink: &mut dyn io::Write,
) -> Result<Result<Copy, Refusal>, Failure> {
    let mut connection = server.connect(TIMEOUT, BUFFER_BYTES)?;
    let request = http::request(&server.url, "GET", &format!("/db/backup?{parameters}"), b"");
    let mut full = None;
    let mut attempt = || -> Result<Copy, Refusal> {
        let begun = Instant::now();
        connection.stream.write_all(&request)?;
        let head = connection.receive_head()?;
        let (mut first, mut bytes, mut refused) = (None, 0, Vec::new());
        connection.receive_body(&head, |piece| {
            first.get_or_insert_with(|| begun.elapsed());
            bytes += piece.len() as u64;
            if head.status != 200 {
                let room = REPLY_BYTES_MAX - refused.len();
                refused.extend_from_slice(&piece[..piece.len().min(room)]);
                return Ok(());
            }
            sink.write_all(piece).map_err(|error| {
                full = Some(error);
                Broken::Malformed("it could not be kept")
            })
        })?;
        if head.status != 200 {
            return Err(Refusal::Reply(head.status, refused));
        }
        let total = begun.elapsed();
        Ok(Copy { bytes, wait: first.unwrap_or(total), total })
    };
    let copy = attempt();
    match full {
        Some(error) => Err(Failure::local("cannot keep the backup", &error)),
        None => Ok(copy),
    }
}

/// Sends one file as a load.
fn send(server: &Server, file: &mut File) -> Result<Result<Copy, Refusal>, Failure> {
    let unreadable = |error: io::Error| Failure::local("cannot read the kept backup", &error);
    let bytes = file.metadata().map_err(unreadable)?.len();
    file.rewind().map_err(unreadable)?;
    let mut connection = server.connect(TIMEOUT, BUFFER_BYTES)?;
    let mut attempt = || -> Result<Copy, Refusal> {
        let begun = Instant::now();
        connection.stream.write_all(&http::head(&server.url, "POST", "/db/load", bytes))?;
        let sent = io::copy(file, &mut connection.stream);
        let waiting = Instant::now();
        // A server that refuses may answer and close before it has taken everything.
        let head = match (sent, connection.receive_head()) {
            (_, Ok(head)) => head,
            (Err(error), Err(_)) => return Err(error.into()),
            (Ok(_), Err(broken)) => return Err(broken.into()),
        };
        let mut reply = Vec::new();
        connection.receive_body(&head, |piece| {
            let room = REPLY_BYTES_MAX - reply.len();
            reply.extend_from_slice(&piece[..piece.len().min(room)]);
            Ok(())
        })?;
        if head.status != 200 || has_error(&reply) {
            return Err(Refusal::Reply(head.status, reply));
        }
        Ok(Copy { bytes, wait: waiting.elapsed(), total: begun.elapsed() })
    };
    Ok(attempt())
}
