//! The upload: sent as a stream, and what the answer says of it.
//!
//! A file is sent once. Whether it was taken is known from the answer, and also when the upload
//! broke off before its end: a server takes all of a file or nothing. Only when the answer to a
//! whole upload is lost nobody knows, and that is what the failure says.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use super::source::Source;
use crate::client::connection::{Answer, Body, Call, Client, Effect, Opened, Patience};
use crate::client::failure::{Failure, Status};
use crate::client::terminal::{Progress, Terminal, Waiting};

/// Longest time a server may check a file and replicate it to a quorum: a terabyte at the pace of
/// a slow disk takes some hours.
const WORK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An upload that was answered.
pub(in crate::client) struct Sent {
    pub(in crate::client) answer: Answer,
    /// How many went by.
    pub(super) bytes: u64,
}

/// Sends a source to `target`, and sees to it that it was taken.
///
/// # Errors
/// What kept it from being taken; see the status.
pub(super) fn send(
    client: &mut Client,
    target: &'static str,
    source: &Source,
    terminal: Terminal,
) -> Result<Sent, Failure> {
    let sent = transfer(client, target, source, b"", terminal)?;
    let answer = judge(sent.answer).map_err(|failure| explain(failure, source))?;
    // A server takes nothing for a text without statements; here it is a pipe that broke.
    if sent.bytes == 0 {
        let text = format!("{}: it is empty, nothing was changed", source.name());
        return Err(Failure::new(Status::BadFile, text));
    }
    Ok(Sent { answer, ..sent })
}

/// Sends a source to `target`, with `tail` behind it; the answer may be a refusal.
///
/// # Errors
/// That it cannot be read, or why there is no answer.
pub(in crate::client) fn transfer(
    client: &mut Client,
    target: &'static str,
    source: &Source,
    tail: &[u8],
    terminal: Terminal,
) -> Result<Sent, Failure> {
    let bytes = Rc::new(Cell::new(0));
    let broken = Rc::new(RefCell::new(None));
    let mut open = || {
        let (reader, length) = source.open()?;
        let length = length.map(|length| length + tail.len() as u64);
        let progress = Some(terminal.progress("sending", length));
        bytes.set(0);
        broken.take();
        let moving = Moving {
            reader: Box::new(reader.chain(io::Cursor::new(tail.to_vec()))),
            left: length,
            terminal,
            progress,
            waiting: None,
            broken: Rc::clone(&broken),
            bytes: Rc::clone(&bytes),
        };
        Ok::<Opened, io::Error>((Box::new(moving), length))
    };
    let sent = client.send(Call {
        method: "POST",
        target,
        headers: &[],
        body: Body::Stream(&mut open),
        effect: Effect::Some,
        patience: Patience::Moving(WORK_MAX),
    });
    // Whatever was answered to a part of it, that part was not taken.
    if let Some(error) = broken.take() {
        let what = format!("cannot read {}, nothing was changed", source.name());
        return Err(Failure::local(what, &error));
    }
    let answer = sent.map_err(|failure| explain(failure, source))?;
    Ok(Sent { answer, bytes: bytes.get() })
}

/// Adds to a failure what it means for the database.
pub(super) fn explain(failure: Failure, source: &Source) -> Failure {
    let (status, text) = (failure.status, failure.text);
    let text = match status {
        Status::BadFile => format!("{}: {text}", source.name()),
        Status::Unreachable => format!("{text}; nothing was changed"),
        Status::Unknown => format!("{text}; compare it with \"quorlite restore --dry-run\""),
        Status::Done
        | Status::Refused
        | Status::Usage
        | Status::NotReady
        | Status::Unauthorised
        | Status::LocalFile
        | Status::Interrupted
        | Status::Unchanged => text,
    };
    Failure::new(status, text)
}

/// Tells a bad file from other refusals.
fn judge(answer: Answer) -> Result<Answer, Failure> {
    let code = answer.status;
    answer.successful().map_err(|failure| {
        match (code, failure.text.as_str()) {
            (400 | 413 | 415 | 422, _) if failure.status == Status::Refused => {
                Failure::new(Status::BadFile, failure.text)
            }
            // What `/boot` says to the first bytes of a file, and on a cluster.
            (503, "EOF") => Failure::new(Status::BadFile, "the file is too short for a database"),
            (503, "not single-node") => {
                Failure::refused("not single-node: on a cluster use \"quorlite restore\"")
            }
            _ => failure,
        }
    })
}

/// A body on its way: how far it is shows, then that the server works.
struct Moving {
    reader: Box<dyn Read>,
    left: Option<u64>,
    terminal: Terminal,
    progress: Option<Progress>,
    waiting: Option<Waiting>,
    /// Where its error goes: sending it does not tell whose it was.
    broken: Rc<RefCell<Option<io::Error>>>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Moving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer).and_then(|count| match self.left {
            // A file that has become shorter.
            Some(1..) if count == 0 && !buffer.is_empty() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter"))
            }
            _ => Ok(count),
        });
        let count = match read {
            Ok(count) => count,
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted {
                    *self.broken.borrow_mut() = Some(error);
                }
                return Err(kind.into());
            }
        };
        if let Some(progress) = &self.progress {
            progress.add(count as u64);
        }
        self.bytes.set(self.bytes.get() + count as u64);
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        if count == 0 || self.left == Some(0) {
            self.progress = None;
            self.waiting.get_or_insert_with(|| self.terminal.waiting("the server checks it"));
        }
        Ok(count)
    }
}
