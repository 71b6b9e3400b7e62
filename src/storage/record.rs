//! The frame around everything in the log: how one record lies in a segment.
//!
//! Bytes to header and back, and nothing else: no file is opened here, and nothing is decided
//! about what a bad record means. All numbers are little-endian; a record starts at a multiple
//! of 8 and is filled up with zeros to the next one.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |  0 | 3 | `QLR` |
//! |  3 | 1 | kind: see [`Kind::code`] |
//! |  4 | 4 | body length, without the padding |
//! |  8 | 8 | term |
//! | 16 | 8 | index |
//! | 24 | 8 | synced: all of this segment before this offset was synced before this record was written |
//! | 32 | 4 | chain: the header checksum of the record before this one, across segments |
//! | 36 | 4 | CRC32C of the body and its padding |
//! | 40 | 4 | header checksum: CRC32C of bytes 0 to 40, started from the segment's salt |
//! | 44 |   | body, padding |
//!
//! The header has a checksum of its own so that its length can be believed before the body is
//! read. The salt is a random number that never leaves the node: without it a client could send
//! a body that holds a record, which a search for records behind a torn one would believe.

use std::fmt;

use crate::raft::{EntryId, EntryKind};

/// Bytes of a record before its body.
pub(super) const HEADER_BYTES: usize = 44;

/// The longest body: SQLite's own limit of a value or a statement fits, and an entry this long
/// already takes seconds to write. A header that claims more is not believed.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// Records start at multiples of this, so that a search need not try every byte.
pub(super) const ALIGNMENT: usize = 8;

/// What every record begins with.
pub(super) const MAGIC: [u8; 3] = *b"QLR";

/// What a record says; the term and index in its header belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment begins. The id is that of the entry before its first one.
    Head,
    /// The hard state from here on; the term is its term, the body names the vote, if any.
    HardState,
    /// The log's end is dropped: the entry of this id is the last one.
    Truncate,
    /// The log's beginning is dropped: it starts after the entry of this id.
    Compact,
    /// Everything is dropped: the log goes on after the entry of this id, which it does not hold.
    Reset,
    /// An entry.
    Entry(EntryKind),
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Head,
        Self::HardState,
        Self::Truncate,
        Self::Compact,
        Self::Reset,
        Self::Entry(EntryKind::Noop),
        Self::Entry(EntryKind::Command),
        Self::Entry(EntryKind::Membership),
    ];

    /// The byte that stands for it on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::HardState => 2,
            Self::Truncate => 3,
            Self::Compact => 4,
            Self::Reset => 5,
            Self::Entry(EntryKind::Noop) => 16,
            Self::Entry(EntryKind::Command) => 17,
            Self::Entry(EntryKind::Membership) => 18,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Why the bytes at some place are not a record that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing was ever written here: zeros, or the end of the file.
    Blank,
    /// The file ends inside the record.
    Short,
    /// The header's checksum, magic or kind is wrong.
    Header,
    /// The body's checksum is wrong.
    Body,
    /// It does not follow the record before it.
    Chain,
    /// It is whole, but says what cannot be said there.
    Order,
    /// The segment before this one is missing.
    Gap,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "nothing was written there",
            Self::Short => "the file ends inside a record",
            Self::Header => "a record's header is broken",
            Self::Body => "a record's body is broken",
            Self::Chain => "a record does not follow the one before it",
            Self::Order => "a record stands where it cannot",
            Self::Gap => "the file before it is missing",
        })
    }
}

/// A record without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: EntryId,
    /// `BODY_BYTES_MAX` at most.
    pub(super) body_bytes: usize,
    pub(super) synced: u64,
    pub(super) chain: u32,
    pub(super) body_checksum: u32,
    /// This header's checksum, which the next record repeats as its chain.
    pub(super) checksum: u32,
}

impl Header {
    /// Makes the header of a record whose body is `body`.
    ///
    /// # Panics
    /// When the body is longer than `BODY_BYTES_MAX`, which callers refuse long before.
    pub(super) fn new(kind: Kind, id: EntryId, body: &[u8], place: Place) -> Self {
        assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes is too long", body.len());
        let body_checksum = body_checksum(body);
        let mut header = Self {
            kind,
            id,
            body_bytes: body.len(),
            synced: place.synced,
            chain: place.chain,
            body_checksum,
            checksum: 0,
        };
        let bytes = header.encode();
        header.checksum = crc32c::crc32c_append(place.salt, &bytes[..HEADER_BYTES - 4]);
        header
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.body_bytes).expect("the longest body fits 32 bits");
        let mut bytes = [0; HEADER_BYTES];
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = self.kind.code();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.term.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.index.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.chain.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.body_checksum.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads a header whose checksum agrees; `None` for anything else.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES], salt: u32) -> Option<Self> {
        let checksum = u32_at(bytes, 40);
        if bytes[..3] != MAGIC
            || crc32c::crc32c_append(salt, &bytes[..HEADER_BYTES - 4]) != checksum
        {
            return None;
        }
        let body_bytes = usize::try_from(u32_at(bytes, 4)).ok()?;
        if body_bytes > BODY_BYTES_MAX {
            return None;
        }
        Some(Self {
            kind: Kind::from_code(bytes[3])?,
            id: EntryId { term: u64_at(bytes, 8), index: u64_at(bytes, 16) },
            body_bytes,
            synced: u64_at(bytes, 24),
            chain: u32_at(bytes, 32),
            body_checksum: u32_at(bytes, 36),
            checksum,
        })
    }

    /// Bytes from this record's start to the next one's.
    pub(super) fn record_bytes(&self) -> u64 {
        (HEADER_BYTES + self.body_bytes + padding(self.body_bytes)) as u64
    }
}

/// Where a record is written, as far as its header must know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u32,
    pub(super) synced: u64,
    pub(super) chain: u32,
}

/// Zero bytes behind a body of this length.
pub(super) const fn padding(body_bytes: usize) -> usize {
    (ALIGNMENT - (HEADER_BYTES + body_bytes) % ALIGNMENT) % ALIGNMENT
}

/// The checksum of a body and of the zeros behind it.
pub(super) fn body_checksum(body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(body), &[0; ALIGNMENT][..padding(body.len())])
}

/// Adds a whole record to the end of `bytes`.
pub(super) fn push(bytes: &mut Vec<u8>, header: &Header, body: &[u8]) {
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&[0; ALIGNMENT][..padding(body.len())]);
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let bytes: [u8; 4] = bytes[offset..offset + 4].try_into().expect("the slice has four bytes");
    u32::from_le_bytes(bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let bytes: [u8; 8] = bytes[offset..offset + 8].try_into().expect("the slice has eight bytes");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { salt: 7, synced: 104, chain: 9 };

    #[test]
    fn every_kind_comes_back() {
        for kind in Kind::ALL {
            let header = Header::new(kind, EntryId { term: 3, index: 4 }, b"body", PLACE);
            assert_eq!(Header::decode(&header.encode(), PLACE.salt), Some(header));
        }
    }

    #[test]
    fn a_flipped_bit_or_another_salt_is_noticed() {
        let id = EntryId { term: 3, index: 4 };
        let bytes = Header::new(Kind::HardState, id, b"n1", PLACE).encode();
        assert_eq!(Header::decode(&bytes, PLACE.salt + 1), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, PLACE.salt), None, "bit {bit}");
        }
    }

    #[test]
    fn records_end_at_multiples_of_eight() {
        for length in 0..32 {
            let body = vec![1; length];
            let header = Header::new(Kind::Head, EntryId::default(), &body, PLACE);
            let mut bytes = Vec::new();
            push(&mut bytes, &header, &body);
            assert_eq!(bytes.len() as u64, header.record_bytes());
            assert_eq!(bytes.len() % ALIGNMENT, 0);
        }
    }
}
