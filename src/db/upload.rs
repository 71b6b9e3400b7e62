//! The bytes of an uploaded file as they stream by: recognised, unpacked, and refused as soon as
//! the header or the length rules them out.
//!
//! Works in bounded memory: nothing is sized by a number in the file. It writes nothing and opens
//! nothing; the caller stages what it reads here, and [`crate::db::load::check`] looks at that.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::bufread::MultiGzDecoder;

use super::header::{BEGINNING, HEADER_BYTES, Header};
use super::load::LoadError;
use super::replace::{JOURNAL_BYTES_AT, WAL_BYTES};
use crate::os;

/// Bytes by which gzip is recognised (RFC 1952, section 2.3.1).
pub const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Packed bytes read from the source at a time.
const READ_BYTES: usize = 128 << 10;

/// How often the free space is looked at: this much may be written in between.
const SPACE_CHECK_BYTES: u64 = 16 << 20;

/// What an uploaded file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite database.
    Database,
    /// SQL text.
    Script,
    /// Nothing at all.
    Empty,
}

/// The disk that an upload must not fill.
#[derive(Clone, Debug)]
pub struct Room {
    /// Any place on the file system where the upload is staged.
    pub folder: PathBuf,
    /// Bytes that must stay free.
    pub reserve: u64,
}

/// An upload, unpacked: reading it yields the bytes to stage.
///
/// A database is handed on as a WAL database, so that the staged file needs no change to become
/// the node's. Errors of reading carry a [`LoadError`]: see [`LoadError::from`].
pub struct Upload<'a> {
    source: Box<dyn Read + 'a>,
    /// The source's own error, which a decoder would dress up as its own.
    source_error: Arc<Mutex<Option<io::Error>>>,
    is_packed: bool,
    kind: Kind,
    header: Option<Header>,
    is_wal: bool,
    head: Cursor<Vec<u8>>,
    handed_on: u64,
    room: Room,
    room_check_at: u64,
    text: Text,
}

impl<'a> Upload<'a> {
    /// Reads the beginning of `source`, recognises it, and checks a database's header.
    ///
    /// # Errors
    /// What the first bytes already rule out.
    pub fn new(source: impl Read + 'a, room: Room) -> Result<Self, LoadError> {
        let source_error = Arc::new(Mutex::new(None));
        let mut source = Noted { source, error: Arc::clone(&source_error) };
        let packed_head = read_head(&mut source, GZIP.len()).map_err(LoadError::Read)?;
        let is_packed = packed_head == GZIP;
        let source = Cursor::new(packed_head).chain(source);
        let source: Box<dyn Read + 'a> = if is_packed {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, source)))
        } else {
            Box::new(source)
        };
        let mut upload = Self {
            source,
            source_error,
            is_packed,
            kind: Kind::Script,
            header: None,
            is_wal: false,
            head: Cursor::new(Vec::new()),
            handed_on: 0,
            room,
            room_check_at: 0,
            text: Text::default(),
        };
        let head = read_head(&mut upload.source, HEADER_BYTES);
        let head = head.map_err(|error| upload.explain(error))?;
        upload.recognise(head)?;
        Ok(upload)
    }

    /// What the file is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is a database that is to be opened with a WAL.
    pub fn is_wal(&self) -> bool {
        self.is_wal
    }

    /// Whether it came as gzip.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    fn recognise(&mut self, mut head: Vec<u8>) -> Result<(), LoadError> {
        if head.is_empty() {
            self.kind = Kind::Empty;
        } else if head.len() > BEGINNING.len() && head.starts_with(BEGINNING) {
            let found = head.len() as u64;
            let Ok(bytes) = <&[u8; HEADER_BYTES]>::try_from(head.as_slice()) else {
                return Err(LoadError::HeaderShort { found });
            };
            self.kind = Kind::Database;
            self.header = Some(Header::parse(bytes)?);
            let at = JOURNAL_BYTES_AT;
            self.is_wal = bytes[at..].starts_with(&WAL_BYTES);
            head[at..at + WAL_BYTES.len()].copy_from_slice(&WAL_BYTES);
        }
        self.head = Cursor::new(head);
        Ok(())
    }

    fn check_room(&mut self) -> Result<(), LoadError> {
        let free = os::free_bytes(&self.room.folder).map_err(LoadError::Read)?;
        let needed = self.header.and_then(|header| header.bytes()).unwrap_or(0);
        let needed = needed.saturating_sub(self.handed_on).saturating_add(self.room.reserve);
        if free < needed {
            return Err(LoadError::NoSpace { free, needed });
        }
        self.room_check_at = self.handed_on + SPACE_CHECK_BYTES;
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, LoadError> {
        if self.handed_on >= self.room_check_at {
            self.check_room()?;
        }
        let mut count = self.head.read(buffer).map_err(LoadError::Read)?;
        if count == 0 {
            count = self.source.read(buffer).map_err(|error| self.explain(error))?;
        }
        self.handed_on += count as u64;
        match (self.kind, self.header) {
            (Kind::Database, Some(header)) if count == 0 => header.check_length(self.handed_on)?,
            (Kind::Database, Some(header)) => header.check_not_longer(self.handed_on)?,
            _ if count == 0 => self.text.finish()?,
            _ => self.text.take(&buffer[..count])?,
        }
        Ok(count)
    }

    /// Tells a broken upload from a broken file.
    fn explain(&self, error: io::Error) -> LoadError {
        let noted = os::lock(&self.source_error).take();
        match noted {
            Some(source) => LoadError::Read(source),
            None if !self.is_packed => LoadError::Read(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => LoadError::GzipShort,
            None => LoadError::GzipDamaged(error.to_string()),
        }
    }
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.next(buffer).map_err(|error| match error {
            LoadError::Read(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({:?}, {} bytes)", self.kind, self.handed_on)
    }
}

/// A reader that keeps its error aside.
struct Noted<R> {
    source: R,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let kind = error.kind();
            *os::lock(&self.error) = Some(error);
            io::Error::from(kind)
        })
    }
}

/// Whether bytes, in pieces, may be SQL text: UTF-8 without NUL.
#[derive(Default)]
struct Text {
    /// A character's bytes so far: 3 at most.
    partial: Vec<u8>,
    checked: u64,
}

impl Text {
    fn take(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let mut bytes = bytes;
        while !self.partial.is_empty() && !bytes.is_empty() {
            self.partial.push(bytes[0]);
            bytes = &bytes[1..];
            match std::str::from_utf8(&self.partial) {
                Ok(_) => {
                    self.checked += self.partial.len() as u64;
                    self.partial.clear();
                }
                Err(error) if error.error_len().is_some() => return self.refuse(0),
                Err(_) => {}
            }
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return self.refuse(at);
        }
        let good = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_some() => return self.refuse(error.valid_up_to()),
            Err(error) => error.valid_up_to(),
        };
        self.checked += good as u64;
        self.partial.extend_from_slice(&bytes[good..]);
        Ok(())
    }

    fn finish(&self) -> Result<(), LoadError> {
        if self.partial.is_empty() { Ok(()) } else { self.refuse(0) }
    }

    fn refuse(&self, at: usize) -> Result<(), LoadError> {
        Err(LoadError::Unknown { at: self.checked + at as u64 })
    }
}

/// Whether bytes may begin a SQLite file, plain or packed, rather than SQL text.
pub fn may_be_file(start: &[u8]) -> bool {
    start.starts_with(BEGINNING) || start.starts_with(&GZIP)
}

/// Why a file that begins like this cannot have this many bytes; `None` when it can.
pub fn judge_length(start: &[u8], bytes: u64) -> Option<LoadError> {
    let header = Header::parse(start.first_chunk::<HEADER_BYTES>()?).ok()?;
    header.check_length(bytes).err()
}

/// Reads `count` bytes, or less if the source ends.
fn read_head(source: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(count);
    source.by_ref().take(count as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_judged_alike_however_it_is_cut() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z".as_bytes();
        for at in 0..text.len() {
            let mut check = Text::default();
            check.take(&text[..at]).unwrap();
            check.take(&text[at..]).unwrap();
            check.finish().unwrap();
        }
        let mut broken = Text::default();
        broken.take(b"ok \xe2").unwrap();
        assert!(matches!(broken.finish(), Err(LoadError::Unknown { at: 3 })));
        assert!(matches!(broken.take(b"x"), Err(LoadError::Unknown { at: 3 })));
        let mut with_nul = Text::default();
        assert!(matches!(with_nul.take(b"ab\0"), Err(LoadError::Unknown { at: 2 })));
    }
}
