//! A frame: what goes over the wire in one direction of one exchange.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |  0 | 3 | `QLT` |
//! |  3 | 1 | version, 1 |
//! |  4 | 1 | kind: see `contents` |
//! |  5 | 8 | the sender's term |
//! | 13 | 8 | index of the membership that the sender goes by; 0: none |
//! | 21 | 1+n | cluster: length and UTF-8 |
//! |    | 1+n | sender: length and UTF-8 |
//! |    | 1+n | receiver: length and UTF-8 |
//! |    |   | what the kind says |
//! |    | 4 | CRC32C of all bytes before it |
//!
//! All numbers are little-endian, as in the log. The first four bytes mean the same in every
//! version to come, so that a node can say which one it does not know. Nothing is allocated by a
//! number in a frame: what it announces must be there already.

use std::fmt;

use super::contents::Contents;
use super::fields::{Reader, Writer};
use crate::raft::{Index, NodeId, Term};

/// What every frame begins with.
const MAGIC: [u8; 3] = *b"QLT";

/// The version that is spoken here.
pub(super) const VERSION: u8 = 1;

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 4;

/// The longest head: what is before the kind's own fields.
pub(super) const HEAD_BYTES_MAX: usize = 21 + 3 * 256;

/// Who says something to whom, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) term: Term,
    pub(super) membership_index: Index,
    pub(super) cluster: String,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// Why bytes are no frame. Each is a sentence that the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFrame {
    /// They are something else.
    Foreign,
    /// Its version is not known here.
    Version(u8),
    /// It was altered on the way.
    Checksum,
    /// Its kind is not known here, or has no place there.
    Kind(u8),
    /// It is whole, and what it says cannot be said.
    Content(u8),
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("this is no message from node to node"),
            Self::Version(version) => write!(
                f,
                "this node speaks version {VERSION} of the messages between nodes, and was sent \
                 one of version {version}: run the same release on all nodes"
            ),
            Self::Checksum => f.write_str("the message was cut or altered on its way"),
            Self::Kind(kind) => write!(f, "a message of kind {kind} has no meaning here"),
            Self::Content(kind) => write!(f, "a message of kind {kind} is malformed"),
        }
    }
}

impl std::error::Error for BadFrame {}

/// A frame in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) fields: Writer,
}

impl Draft {
    /// Begins a frame in `memory`, which is emptied first.
    pub(super) fn new(envelope: &Envelope, kind: u8, mut memory: Vec<u8>) -> Self {
        memory.clear();
        let mut fields = Writer(memory);
        fields.bytes(&MAGIC);
        fields.u8(VERSION);
        fields.u8(kind);
        fields.u64(envelope.term);
        fields.u64(envelope.membership_index);
        fields.name(&envelope.cluster);
        fields.name(&envelope.from);
        fields.name(&envelope.to);
        Self { fields }
    }

    /// Ends it.
    pub(super) fn seal(self) -> Vec<u8> {
        let mut fields = self.fields;
        fields.u32(crc32c::crc32c(&fields.0));
        fields.0
    }
}

/// The envelope and the kind of a frame of which only the beginning is there: enough to refuse
/// it. Whether it arrived as it was sent is not known yet.
pub(super) fn peek(bytes: &[u8]) -> Result<(Envelope, u8), BadFrame> {
    let (envelope, kind, _) = open(bytes)?;
    Ok((envelope, kind))
}

/// A whole frame.
pub(super) fn decode(bytes: &[u8]) -> Result<(Envelope, Contents<'_>), BadFrame> {
    check_version(bytes)?;
    let end = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(BadFrame::Checksum)?;
    let (sealed, checksum) = bytes.split_at(end);
    if crc32c::crc32c(sealed).to_le_bytes() != checksum {
        return Err(BadFrame::Checksum);
    }
    let (envelope, kind, fields) = open(sealed)?;
    let contents = Contents::decode(kind, fields)?;
    Ok((envelope, contents))
}

fn check_version(bytes: &[u8]) -> Result<(), BadFrame> {
    let Some(([magic @ .., version], _)) = bytes.split_first_chunk::<4>() else {
        return Err(BadFrame::Foreign);
    };
    match (*magic == MAGIC, *version) {
        (true, VERSION) => Ok(()),
        (true, version) => Err(BadFrame::Version(version)),
        (false, _) => Err(BadFrame::Foreign),
    }
}

fn open(bytes: &[u8]) -> Result<(Envelope, u8, Reader<'_>), BadFrame> {
    check_version(bytes)?;
    let mut fields = Reader(&bytes[4..]);
    let mut envelope = || {
        let kind = fields.u8()?;
        let (term, membership_index) = (fields.u64()?, fields.u64()?);
        let cluster = fields.name()?.to_owned();
        let (from, to) = (fields.name()?.to_owned(), fields.name()?.to_owned());
        Some((Envelope { term, membership_index, cluster, from, to }, kind))
    };
    let (envelope, kind) = envelope().ok_or(BadFrame::Checksum)?;
    Ok((envelope, kind, fields))
}
