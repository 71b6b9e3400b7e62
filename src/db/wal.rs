//! SQLite's WAL as bytes: its header, its frames and their checksums.
//!
//! Recovery must know, before SQLite opens anything, that the frames the mark speaks of are there
//! and good. This file reads, cuts and syncs WAL files; it must never open the database file,
//! whose POSIX locks a closing descriptor would drop. The WAL carries no lock.
//!
//! | offset | size | header (SQLite: fileformat2.html, section 4.1), big-endian   |
//! |--------|------|--------------------------------------------------------------|
//! | 0      | 4    | magic, 0x377f0682; the last bit set: big-endian checksums    |
//! | 4      | 4    | version, 3007000                                             |
//! | 8      | 4    | page size                                                    |
//! | 12     | 4    | checkpoint sequence number                                   |
//! | 16     | 8    | two salts                                                    |
//! | 24     | 8    | checksum of the above                                        |
//!
//! A frame is 24 bytes and a page: page number, pages in the database after a commit (else 0), the
//! two salts, and the checksum over everything from the header on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::storage::durable;

/// Bytes before the first frame (SQLite: fileformat2.html, section 4.1).
const HEADER_BYTES: usize = 32;

/// Bytes before the page in each frame.
pub(super) const FRAME_HEADER_BYTES: usize = 24;

/// How a WAL begins; the lowest bit says in which byte order its checksums are made.
const MAGIC: u32 = 0x377f_0682;

/// Read at a time: large enough that the system reads ahead, small beside a node's memory.
const READ_BYTES: usize = 256 << 10;

/// What a WAL's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Changed whenever the WAL starts over; frames with other salts do not count.
    pub salts: [u32; 2],
    big_endian: bool,
    sum: [u32; 2],
}

/// Where SQLite keeps the WAL of a database.
pub fn path_of(database: &Path) -> PathBuf {
    with_ending(database, "-wal")
}

/// Where SQLite keeps the index of that WAL.
pub fn shared_memory_of(database: &Path) -> PathBuf {
    with_ending(database, "-shm")
}

/// Reads the header; `None` when the file is missing or its header is not a good one.
///
/// # Errors
/// The system's, with `path` in it.
pub fn header(path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(Header::from_bytes(&bytes)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
        {
            Ok(None)
        }
        Err(error) => Err(durable::at(path, &error)),
    }
}

/// Counts the good frames at the beginning, `frames_max` at most, that end with a commit.
///
/// # Errors
/// The system's, with `path` in it.
pub fn count_good_frames(path: &Path, header: &Header, frames_max: u32) -> io::Result<u32> {
    let file = File::open(path).map_err(|error| durable::at(path, &error))?;
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut skipped = [0; HEADER_BYTES];
    reader.read_exact(&mut skipped).map_err(|error| durable::at(path, &error))?;
    let page_bytes = usize::try_from(header.page_bytes).expect("a page has 65,536 bytes at most");
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut sum = header.sum;
    let mut committed = 0;
    for number in 1..=frames_max {
        match reader.read_exact(&mut frame) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(durable::at(path, &error)),
        }
        let salts = [word(&frame, 8), word(&frame, 12)];
        sum = checksum(header.big_endian, &frame[..8], sum);
        sum = checksum(header.big_endian, &frame[FRAME_HEADER_BYTES..], sum);
        if salts != header.salts || sum != [word(&frame, 16), word(&frame, 20)] {
            break;
        }
        if word(&frame, 4) != 0 {
            committed = number;
        }
    }
    Ok(committed)
}

/// Cuts the file behind its first `frames` frames. The caller need not sync: cutting again after
/// a crash gives the same.
///
/// # Errors
/// The system's, with `path` in it.
pub fn cut(path: &Path, header: &Header, frames: u32) -> io::Result<()> {
    let frame_bytes = FRAME_HEADER_BYTES as u64 + u64::from(header.page_bytes);
    let length = HEADER_BYTES as u64 + u64::from(frames) * frame_bytes;
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(length))
        .map_err(|error| durable::at(path, &error))
}

impl Header {
    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(bytes, 0);
        let big_endian = magic & 1 == 1;
        let sum = checksum(big_endian, &bytes[..24], [0, 0]);
        let page_bytes = word(bytes, 8);
        let good = magic & !1 == MAGIC
            && page_bytes.is_power_of_two()
            && (512..=65_536).contains(&page_bytes)
            && sum == [word(bytes, 24), word(bytes, 28)];
        good.then(|| Self {
            page_bytes,
            salts: [word(bytes, 16), word(bytes, 20)],
            big_endian,
            sum,
        })
    }
}

/// The running checksum over words taken in pairs (SQLite: fileformat2.html, section 4.2).
fn checksum(big_endian: bool, bytes: &[u8], start: [u32; 2]) -> [u32; 2] {
    let [mut first, mut second] = start;
    for pair in bytes.chunks_exact(8) {
        let (one, other) = if big_endian {
            (word(pair, 0), word(pair, 4))
        } else {
            (word(pair, 0).swap_bytes(), word(pair, 4).swap_bytes())
        };
        first = first.wrapping_add(one).wrapping_add(second);
        second = second.wrapping_add(other).wrapping_add(first);
    }
    [first, second]
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
