//! One file of the log: its name, its first two records, and reading it through a window.
//!
//! A segment is made under a temporary name with its head and the hard state in it, synced, and
//! only then named. So a file that bears a segment's name always has both; one that has not is
//! damaged, whatever its length. Nothing here decides which records count: see `recovery`.
//!
//! The name is `<sequence>-<index>.log`, both zero-padded: segments follow each other by
//! sequence; the index, for people, is that of the first entry when the segment was made. (An
//! index alone would not do: it goes back when the log's end is dropped.)
//!
//! The head's body:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |  0 | 8 | `quorlog` and a line feed |
//! |  8 | 4 | format version: 1 |
//! | 12 | 4 | salt of this segment's header checksums (the head's own is made with 0) |

use std::borrow::Borrow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable;
use super::record::{self, Flaw, HEADER_BYTES, Header, Kind, Place};
use crate::raft::{EntryId, HardState};

/// The format that is written. A reader refuses what is newer.
pub(super) const VERSION: u32 = 1;

/// How a segment's head says what the file is.
const HEAD_TEXT: [u8; 8] = *b"quorlog\n";

/// Bytes of a head's body; see the table.
const HEAD_BODY_BYTES: usize = 16;

/// What a file holds behind its records.
pub(super) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Ending of a segment's name.
const ENDING: &str = ".log";

/// An open segment. Reading it needs no lock: what is in it never changes, it only grows.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) salt: u32,
}

/// What a new segment begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub(super) sequence: u64,
    /// The entry before the segment's first.
    pub(super) previous: EntryId,
    /// Checksum of the last record of the segment before.
    pub(super) chain: u32,
    pub(super) hard_state: &'a HardState,
}

/// A segment's head, once read.
pub(super) struct Head {
    pub(super) header: Header,
    pub(super) version: u32,
    pub(super) salt: u32,
}

impl Segment {
    /// Makes a segment; also returns its length and its last record's checksum.
    ///
    /// # Errors
    /// Any step's. There is then no such segment, unless it was the folder's sync that failed,
    /// which is of kind `Other`.
    pub(super) fn create(folder: &Path, opening: Opening<'_>) -> io::Result<(Self, u64, u32)> {
        let path = folder.join(file_name(opening.sequence, opening.previous.index + 1));
        let temporary = durable::temporary_path(&path);
        let salt = random_salt()?;
        let (bytes, chain) = opening_bytes(opening, salt);
        let named = write_new(&temporary, &bytes)
            .and_then(|file| fs::rename(&temporary, &path).map(|()| file));
        let file = match named {
            Ok(file) => file,
            Err(error) => {
                // Whatever hindered it, the file under its temporary name means nothing.
                fs::remove_file(&temporary).ok();
                return Err(durable::at(&temporary, &error));
            }
        };
        // Full or not: it has its name, and nothing may go on as if it had not.
        durable::sync_folder(folder).map_err(io::Error::other)?;
        let segment = Self { sequence: opening.sequence, path, file, salt };
        Ok((segment, bytes.len() as u64, chain))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn random_salt() -> io::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(bytes))
}

fn opening_bytes(opening: Opening<'_>, salt: u32) -> (Vec<u8>, u32) {
    let mut body = [0; HEAD_BODY_BYTES];
    body[..8].copy_from_slice(&HEAD_TEXT);
    body[8..12].copy_from_slice(&VERSION.to_le_bytes());
    body[12..].copy_from_slice(&salt.to_le_bytes());
    let place = Place { salt: 0, synced: 0, chain: opening.chain };
    let head = Header::new(Kind::Head, opening.previous, &body, place);
    let mut bytes = Vec::new();
    record::push(&mut bytes, &head, &body);
    let (id, vote) = hard_state_parts(opening.hard_state);
    let place = Place { salt, synced: 0, chain: head.checksum };
    let second = Header::new(Kind::HardState, id, vote, place);
    record::push(&mut bytes, &second, vote);
    (bytes, second.checksum)
}

/// A hard state as id and body of its record: an empty body says that no vote was given.
pub(super) fn hard_state_parts(hard_state: &HardState) -> (EntryId, &[u8]) {
    let vote = hard_state.vote.as_deref().unwrap_or_default();
    assert!(hard_state.vote.is_none() || !vote.is_empty(), "a node's name is never empty");
    (EntryId { term: hard_state.term, index: 0 }, vote.as_bytes())
}

/// The reverse of `hard_state_parts`; `None` for a name that is not text.
pub(super) fn hard_state_from(id: EntryId, body: &[u8]) -> Option<HardState> {
    let vote = std::str::from_utf8(body).ok()?;
    let vote = (!vote.is_empty()).then(|| vote.to_owned());
    Some(HardState { term: id.term, vote })
}

/// The name of a segment's file.
fn file_name(sequence: u64, first: u64) -> String {
    format!("{sequence:010}-{first:020}{ENDING}")
}

/// The segments of a folder with their sequence numbers, in order.
///
/// # Errors
/// The system's, when the folder cannot be read.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for found in fs::read_dir(folder).map_err(|error| durable::at(folder, &error))? {
        let path = found.map_err(|error| durable::at(folder, &error))?.path();
        if let Some(sequence) = sequence_of(&path) {
            segments.push((sequence, path));
        }
    }
    segments.sort();
    Ok(segments)
}

fn sequence_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    let (sequence, first) = name.split_once('-')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(sequence) && is_number(first)).then(|| sequence.parse().ok())?
}

/// A part of a file in memory, moved along as it is read.
///
/// A length in the file never sizes more than the window, but for a body that is asked for
/// and whose header, with the length in it, has proved right.
pub(super) struct Window<F> {
    file: F,
    /// Where the file ends, as far as this reader is concerned.
    end: u64,
    bytes: Vec<u8>,
    at: u64,
    capacity: usize,
}

impl<F: Borrow<File>> Window<F> {
    pub(super) const fn new(file: F, end: u64, capacity: usize) -> Self {
        Self { file, end, bytes: Vec::new(), at: 0, capacity }
    }

    /// Bytes from `offset` on: as many as wanted, or as the file or the window has.
    pub(super) fn slice(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let rest = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(rest).min(self.capacity);
        let held = self.at..=self.at + self.bytes.len() as u64;
        if !held.contains(&offset) || !held.contains(&(offset + wanted as u64)) {
            self.load(offset, rest.min(self.capacity))?;
        }
        let start = usize::try_from(offset - self.at).expect("a place in the window fits");
        Ok(&self.bytes[start..self.bytes.len().min(start + wanted)])
    }

    fn load(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.bytes.resize(length, 0);
        self.at = offset;
        let mut done = 0;
        while done < length {
            match self.file.borrow().read_at(&mut self.bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(done);
        Ok(())
    }

    /// The header at `offset`, if it is whole and its body lies inside the file.
    pub(super) fn header(&mut self, offset: u64, salt: u32) -> io::Result<Result<Header, Flaw>> {
        let rest = self.end.saturating_sub(offset);
        let header = self.bare_header(offset, salt)?;
        Ok(header.and_then(|header| {
            if header.record_bytes() > rest { Err(Flaw::Short) } else { Ok(header) }
        }))
    }

    /// The header at `offset`, wherever its body would end.
    fn bare_header(&mut self, offset: u64, salt: u32) -> io::Result<Result<Header, Flaw>> {
        let bytes = self.slice(offset, HEADER_BYTES)?;
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(Err(Flaw::Blank));
        }
        let Ok(bytes) = <&[u8; HEADER_BYTES]>::try_from(bytes) else {
            return Ok(Err(Flaw::Short));
        };
        Ok(Header::decode(bytes, salt).ok_or(Flaw::Header))
    }

    /// Checks a body, padding included, without holding more of it than the window.
    pub(super) fn check_body(
        &mut self,
        offset: u64,
        header: &Header,
    ) -> io::Result<Result<(), Flaw>> {
        let end = offset + header.record_bytes();
        let mut at = offset + HEADER_BYTES as u64;
        let mut checksum = 0;
        while at < end {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = self.slice(at, rest)?;
            if piece.is_empty() {
                return Ok(Err(Flaw::Short));
            }
            checksum = crc32c::crc32c_append(checksum, piece);
            at += piece.len() as u64;
        }
        let is_whole = checksum == header.body_checksum;
        Ok(if is_whole { Ok(()) } else { Err(Flaw::Body) })
    }

    /// Reads a body into memory of its own, copying it from the window if it is there.
    pub(super) fn body(
        &mut self,
        offset: u64,
        header: &Header,
    ) -> io::Result<Result<Arc<[u8]>, Flaw>> {
        let at = offset + HEADER_BYTES as u64;
        let body: Arc<[u8]> = if header.body_bytes <= self.capacity {
            self.slice(at, header.body_bytes)?.into()
        } else {
            let mut body: Arc<[u8]> = std::iter::repeat_n(0, header.body_bytes).collect();
            let bytes = Arc::get_mut(&mut body).expect("nobody else has it yet");
            match self.file.borrow().read_exact_at(bytes, at) {
                Ok(()) => body,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Err(Flaw::Short));
                }
                Err(error) => return Err(error),
            }
        };
        let is_whole =
            body.len() == header.body_bytes && record::body_checksum(&body) == header.body_checksum;
        Ok(if is_whole { Ok(body) } else { Err(Flaw::Body) })
    }

    /// Reads the head, which is what gives the salt for everything after it.
    pub(super) fn head(&mut self) -> io::Result<Result<Head, Flaw>> {
        let header = match self.header(0, 0)? {
            Ok(header) => header,
            Err(flaw) => return Ok(Err(flaw)),
        };
        if header.kind != Kind::Head || header.body_bytes < HEAD_BODY_BYTES {
            return Ok(Err(Flaw::Order));
        }
        if let Err(flaw) = self.check_body(0, &header)? {
            return Ok(Err(flaw));
        }
        let body = self.slice(HEADER_BYTES as u64, HEAD_BODY_BYTES)?;
        if body.len() < HEAD_BODY_BYTES || body[..8] != HEAD_TEXT {
            return Ok(Err(Flaw::Order));
        }
        let (version, salt) = (record::u32_at(body, 8), record::u32_at(body, 12));
        Ok(Ok(Head { header, version, salt }))
    }

    /// Finds the next sound header at or after `from`; its body is not looked at.
    pub(super) fn find_header(
        &mut self,
        from: u64,
        salt: u32,
    ) -> io::Result<Option<(u64, Header)>> {
        let mut at = from;
        while at < self.end {
            let piece = self.slice(at, self.capacity)?;
            if piece.is_empty() {
                break;
            }
            let found =
                piece.chunks(record::ALIGNMENT).position(|chunk| chunk.starts_with(&record::MAGIC));
            let Some(position) = found else {
                at += piece.len() as u64;
                continue;
            };
            at += (position * record::ALIGNMENT) as u64;
            if let Ok(header) = self.bare_header(at, salt)? {
                return Ok(Some((at, header)));
            }
            at += record::ALIGNMENT as u64;
        }
        Ok(None)
    }

    /// Whether some record behind `offset` was written when `offset` had already been synced.
    ///
    /// Then what stands at `offset` was whole once, and a bad record there is damage. Otherwise
    /// it belongs to the last batch, of which a power cut leaves what it likes.
    pub(super) fn was_synced(&mut self, offset: u64, salt: u32) -> io::Result<bool> {
        let mut from = offset + record::ALIGNMENT as u64;
        while let Some((at, header)) = self.find_header(from, salt)? {
            if header.synced > offset {
                return Ok(true);
            }
            from = at + record::ALIGNMENT as u64;
        }
        Ok(false)
    }

    /// Whether there are only zeros from `offset` to the end.
    pub(super) fn is_blank(&mut self, offset: u64) -> io::Result<bool> {
        let mut at = offset;
        while at < self.end {
            let piece = self.slice(at, self.capacity)?;
            if piece.is_empty() {
                break;
            }
            if piece.chunks(ZEROS.len()).any(|chunk| *chunk != ZEROS[..chunk.len()]) {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }
}
