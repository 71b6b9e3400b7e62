//! Looking at a log without opening it: every record there is, good or not, for a person to read.
//!
//! Changes nothing, and works beside a node that is running: what that one is just writing may
//! show as torn, and segments may go while they are looked at. It judges a bad record as a
//! start would, but goes on behind it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use super::durable;
use super::record::{self, Flaw, Header, Kind};
use super::segment::{self, Window};
use crate::raft::EntryId;

/// Bytes of a segment read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// What is to be thought of a piece of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As it was written.
    Good,
    /// Of a write that never ended, or behind such a piece: a start cuts it off.
    Torn(Flaw),
    /// It was synced and is not there any more: a start is refused.
    Damaged(Flaw),
}

/// A record, or a piece of a segment that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The segment.
    pub path: PathBuf,
    /// Where in it the piece begins.
    pub offset: u64,
    /// Its length there, to the next piece.
    pub bytes: u64,
    /// What it is worth.
    pub condition: Condition,
    /// What it says, if so much could be read.
    pub record: Option<Record>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What kind of thing.
    pub kind: Kind,
    /// The term and index in its header.
    pub id: EntryId,
    /// All of this segment before this offset was synced when it was written.
    pub synced: u64,
    /// Length of the body.
    pub body_bytes: usize,
    /// The body; `None` if it is not whole.
    pub body: Option<Arc<[u8]>>,
}

/// All pieces of all segments, in order. An error ends the segment it is about.
pub struct Pieces {
    segments: IntoIter<(u64, PathBuf)>,
    open: Option<Open>,
    /// Checksum that the next record repeats; `None` if it is not known.
    chain: Option<u32>,
}

/// Begins to look at the log in `folder`.
///
/// # Errors
/// The system's, with the path in it.
pub fn inspect(folder: &Path) -> io::Result<Pieces> {
    let segments = segment::list(folder)?.into_iter();
    Ok(Pieces { segments, open: None, chain: None })
}

/// The segment that is being looked at.
struct Open {
    path: PathBuf,
    window: Window<File>,
    length: u64,
    salt: u32,
    offset: u64,
    is_last: bool,
    /// Set behind a torn piece.
    torn: Option<Flaw>,
}

impl Iterator for Pieces {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(open) = &mut self.open {
                match open.next(&mut self.chain) {
                    Ok(Some(piece)) => return Some(Ok(piece)),
                    Ok(None) => self.open = None,
                    Err(error) => {
                        let error = durable::at(&open.path, &error);
                        self.open = None;
                        return Some(Err(error));
                    }
                }
            }
            let (_, path) = self.segments.next()?;
            let is_last = self.segments.as_slice().is_empty();
            match Open::new(path.clone(), is_last) {
                Ok(open) => self.open = Some(open),
                // Dropped by the running node since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(durable::at(&path, &error))),
            }
        }
    }
}

impl Open {
    fn new(path: PathBuf, is_last: bool) -> io::Result<Self> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        let mut window = Window::new(file, length, WINDOW_BYTES);
        // A head that is damaged shows as the first piece; no salt fits what follows then.
        let salt = window.head()?.map_or(0, |head| head.salt);
        Ok(Self { path, window, length, salt, offset: 0, is_last, torn: None })
    }

    fn next(&mut self, chain: &mut Option<u32>) -> io::Result<Option<Piece>> {
        let offset = self.offset;
        let is_head = offset == 0;
        if !is_head && offset >= self.length {
            return Ok(None);
        }
        let salt = if is_head { 0 } else { self.salt };
        let (header, flaw) = match self.window.header(offset, salt)? {
            Ok(header) => (Some(header), self.flaw_of(&header, *chain)?),
            Err(Flaw::Blank) if !is_head && self.window.is_blank(offset)? => return Ok(None),
            Err(flaw) => (None, Some(flaw)),
        };
        let record = match &header {
            Some(header) => Some(self.record(header)?),
            None => None,
        };
        let condition = self.judge(flaw)?;
        *chain = header.map(|header| header.checksum);
        self.offset = self.end_of(header.as_ref())?;
        Ok(Some(self.piece(offset, condition, record)))
    }

    /// Where the piece at `offset` ends: without a header, at the next one that is sound.
    fn end_of(&mut self, header: Option<&Header>) -> io::Result<u64> {
        if let Some(header) = header {
            return Ok(self.offset + header.record_bytes());
        }
        let from = self.offset + record::ALIGNMENT as u64;
        let found = self.window.find_header(from, self.salt)?;
        // An empty file is a piece too, once.
        Ok(found.map_or(self.length.max(1), |(at, _)| at))
    }

    fn piece(&self, offset: u64, condition: Condition, record: Option<Record>) -> Piece {
        let bytes = self.offset.min(self.length) - offset;
        Piece { path: self.path.clone(), offset, bytes, condition, record }
    }

    /// What is wrong with the record at `offset`, whose header is sound.
    fn flaw_of(&mut self, header: &Header, chain: Option<u32>) -> io::Result<Option<Flaw>> {
        if chain.is_some_and(|chain| chain != header.chain) {
            return Ok(Some(Flaw::Chain));
        }
        Ok(self.window.check_body(self.offset, header)?.err())
    }

    fn record(&mut self, header: &Header) -> io::Result<Record> {
        Ok(Record {
            kind: header.kind,
            id: header.id,
            synced: header.synced,
            body_bytes: header.body_bytes,
            body: self.window.body(self.offset, header)?.ok(),
        })
    }

    fn judge(&mut self, flaw: Option<Flaw>) -> io::Result<Condition> {
        let Some(flaw) = flaw else {
            return Ok(self.torn.map_or(Condition::Good, Condition::Torn));
        };
        let is_damaged =
            self.offset == 0 || !self.is_last || self.window.was_synced(self.offset, self.salt)?;
        if is_damaged {
            return Ok(Condition::Damaged(flaw));
        }
        self.torn = Some(flaw);
        Ok(Condition::Torn(flaw))
    }
}
