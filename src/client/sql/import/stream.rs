//! A file beyond one request: its rows as SQL text, made while they are sent.
//!
//! The text is `BEGIN; INSERT ...; COMMIT;`. When a row is bad the request is broken off: a server
//! runs nothing of a body that did not come whole.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use super::rows::{self, Gathered, Rows};
use super::{Import, with};
use crate::client::Session;
use crate::client::connection::{Body, Call, Effect, Opened, Patience};
use crate::client::failure::Failure;
use crate::client::results::Received;

/// How long the server may work between the last byte and its answer. It runs the whole text then,
/// so this is generous: a gigabyte takes minutes.
const ANSWER_MAX: Duration = Duration::from_secs(3600);

/// Bytes made at a time; more gets no faster.
const PIECE_BYTES: usize = 64 << 10;

/// The text while it is sent.
struct Text {
    rows: Rows,
    /// What is made and not sent yet begins at `at`.
    made: Vec<u8>,
    at: usize,
    count: u64,
    is_begun: bool,
    is_whole: bool,
    failure: Option<Failure>,
}

/// Sends all rows, those gathered first, and gives their number.
pub(super) fn send(
    session: &mut Session,
    import: &Import,
    rows: Rows,
    gathered: &Gathered,
) -> Result<u64, Failure> {
    let text = Rc::new(RefCell::new(Text::new(rows, gathered)));
    let mut open = || -> io::Result<Opened> {
        if text.borrow().is_begun {
            return Err(io::Error::other("the file was already on its way to another node"));
        }
        Ok((Box::new(Shared(Rc::clone(&text))), None))
    };
    let sent = session.client.send(Call {
        method: "POST",
        target: "db/load",
        headers: &[],
        body: Body::Stream(&mut open),
        effect: Effect::Some,
        patience: Patience::Moving(ANSWER_MAX),
    });
    let none = |failure: Failure| with(failure, "nothing was imported");
    if let Some(failure) = text.borrow_mut().failure.take() {
        return Err(none(failure));
    }
    let received = Received::of(sent?, Effect::Some).map_err(none)?;
    if let Some((_, why)) = received.results().map_err(none)?.failure() {
        return Err(none(refused(import, &text.borrow().rows, why)));
    }
    let count = text.borrow().count;
    Ok(count)
}

/// Names the row instead of the statement.
fn refused(import: &Import, rows: &Rows, why: &str) -> Failure {
    let name = rows.name();
    // BEGIN, and what creates the table.
    let before = 1 + u64::from(import.create);
    let number = why.rsplit_once(" (statement ").and_then(|(what, rest)| {
        let number: u64 = rest.strip_suffix(')')?.parse().ok()?;
        Some((what, number.checked_sub(before).filter(|row| *row > 0)?))
    });
    let Some((what, row)) = number else { return Failure::refused(format!("{name}: {why}")) };
    let is_file = import.file != "-";
    match is_file.then(|| rows::line_of(import, row, rows.is_single())) {
        Some(Ok(Some(line))) => Failure::refused(format!("{name}:{line}: {what}")),
        _ => Failure::refused(format!("{name}: row {row}: {what}")),
    }
}

impl Text {
    fn new(rows: Rows, gathered: &Gathered) -> Text {
        let mut made = b"BEGIN;\n".to_vec();
        if let Some(create) = rows.create() {
            made.extend_from_slice(create.as_bytes());
            made.extend_from_slice(b";\n");
        }
        made.extend_from_slice(gathered.text().as_bytes());
        let count = u64::try_from(gathered.len()).unwrap_or(u64::MAX);
        Text { rows, made, at: 0, count, is_begun: false, is_whole: false, failure: None }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.is_begun = true;
        if self.at == self.made.len() && !self.is_whole {
            self.at = 0;
            let mut gathered = Gathered::default();
            while gathered.bytes() < PIECE_BYTES && !self.is_whole {
                self.is_whole = !self.rows.next(&mut gathered)?;
            }
            self.made = gathered.text().as_bytes().to_vec();
            self.count += u64::try_from(gathered.len()).unwrap_or(u64::MAX);
            if self.is_whole {
                self.made.extend_from_slice(b"COMMIT;\n");
            }
        }
        let rest = &self.made[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// The text, as the request reads it.
struct Shared(Rc<RefCell<Text>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut text = self.0.borrow_mut();
        text.read(buffer).map_err(|failure| {
            let error = io::Error::other(failure.text.clone());
            text.failure = Some(failure);
            error
        })
    }
}
