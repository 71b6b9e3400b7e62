//! A command as the bytes of a log entry, and back.
//!
//! The layout is in the module above. Bytes that this file wrote are read by it for as long as
//! logs live: a new field takes a zero byte of the head or a new version. It must never fill in
//! a stamp by itself.

use std::fmt;

use serde_json::json;

use super::body::{BadBody, parse_statements};
use super::{BLOCKS_MAX, Batch, Command, Stamp, Work};

/// Bytes before the payload.
const HEAD_LENGTH: usize = 32;
/// The layout in the table above. A reader refuses any other.
const VERSION: u8 = 1;
/// The only flag.
const FLAG_TRANSACTION: u8 = 1;
const FLAG_QUALIFY_COLUMNS: u8 = 2;

/// Kinds of entries: never reused for anything else, since logs live long.
const KIND_EXECUTE: u8 = 1;
const KIND_REQUEST: u8 = 2;
const KIND_LOAD: u8 = 3;
const KIND_SCRIPT: u8 = 4;
const KIND_READ: u8 = 5;

/// What an entry's bytes say of themselves, without the cost of parsing statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline<'a> {
    /// `execute`, `request`, `load`, `script` or `read`.
    pub kind: &'static str,
    /// When it was proposed, and its seed.
    pub stamp: Stamp,
    /// All of it or none.
    pub transaction: bool,
    /// The request as it came in.
    pub payload: &'a [u8],
}

/// Why bytes are not a command. The log's checksum was good, so another version wrote them or a
/// disk lied: the node must not go on past them.
#[derive(Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// Less than a head.
    Short(usize),
    /// A version this program does not know.
    Version(u8),
    /// A kind this program does not know.
    Kind(u8),
    /// Statements that cannot be read.
    Statements(BadBody),
    /// A load that does not name its body.
    Digest,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "entry of {length} bytes has no whole head"),
            Self::Version(version) => write!(f, "entry of unknown version {version}"),
            Self::Kind(kind) => write!(f, "entry of unknown kind {kind}"),
            Self::Statements(_) => f.write_str("entry with unreadable statements"),
            Self::Digest => f.write_str("entry that loads a body without naming it"),
        }
    }
}

impl std::error::Error for BadEntry {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Statements(body) => Some(body),
            Self::Short(_) | Self::Version(_) | Self::Kind(_) | Self::Digest => None,
        }
    }
}

impl Command {
    /// The bytes of an entry. `payload` is a batch's array of statements as it came in (see
    /// [`parse_statements`]); a read's is for people only; the others make their own and ignore it.
    pub fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let (kind, flags, instructions_max) = match &self.work {
            Work::Batch(batch) => (
                if batch.returns_rows { KIND_REQUEST } else { KIND_EXECUTE },
                flags(batch),
                batch.instructions_max,
            ),
            Work::Load { .. } => (KIND_LOAD, 0, 0),
            Work::Script { .. } => (KIND_SCRIPT, 0, 0),
            Work::Read => (KIND_READ, 0, 0),
        };
        let mut bytes = Vec::with_capacity(HEAD_LENGTH + payload.len());
        bytes.extend([VERSION, kind, flags, 0, 0, 0, 0, 0]);
        bytes.extend(self.stamp.unix_milliseconds.to_le_bytes());
        bytes.extend(self.stamp.seed.to_le_bytes());
        bytes.extend(instructions_max.to_le_bytes());
        match &self.work {
            Work::Batch(_) | Work::Read => bytes.extend_from_slice(payload),
            Work::Load { sha256 } | Work::Script { sha256 } => {
                bytes.extend(json!({ "sha256": sha256 }).to_string().into_bytes());
            }
        }
        bytes
    }

    /// What an entry is, for people and for looking through a log.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub fn outline(bytes: &[u8]) -> Result<Outline<'_>, BadEntry> {
        let (head, payload) = split(bytes)?;
        let kind = match head[1] {
            KIND_EXECUTE => "execute",
            KIND_REQUEST => "request",
            KIND_LOAD => "load",
            KIND_SCRIPT => "script",
            KIND_READ => "read",
            kind => return Err(BadEntry::Kind(kind)),
        };
        let transaction = head[2] & FLAG_TRANSACTION != 0;
        Ok(Outline { kind, stamp: stamp(head), transaction, payload })
    }

    /// The body that an entry names, if it names one.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub fn body_named_by(bytes: &[u8]) -> Result<Option<String>, BadEntry> {
        let (head, payload) = split(bytes)?;
        matches!(head[1], KIND_LOAD | KIND_SCRIPT).then(|| digest(payload)).transpose()
    }

    /// The command in an entry's bytes.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadEntry> {
        let (head, payload) = split(bytes)?;
        let batch = |returns_rows| {
            let (statements, _) = parse_statements(payload).map_err(BadEntry::Statements)?;
            let transaction = head[2] & FLAG_TRANSACTION != 0;
            let instructions_max = u64::from_le_bytes(field(head, 24));
            Ok(Work::Batch(Batch {
                statements,
                transaction,
                returns_rows,
                qualify_columns: head[2] & FLAG_QUALIFY_COLUMNS != 0,
                instructions_max,
            }))
        };
        let work = match head[1] {
            KIND_EXECUTE => batch(false)?,
            KIND_REQUEST => batch(true)?,
            KIND_LOAD => Work::Load { sha256: digest(payload)? },
            KIND_SCRIPT => Work::Script { sha256: digest(payload)? },
            KIND_READ => Work::Read,
            kind => return Err(BadEntry::Kind(kind)),
        };
        Ok(Self { stamp: stamp(head), work })
    }
}

fn flags(batch: &Batch) -> u8 {
    let transaction = if batch.transaction { FLAG_TRANSACTION } else { 0 };
    let qualify_columns = if batch.qualify_columns { FLAG_QUALIFY_COLUMNS } else { 0 };
    transaction | qualify_columns
}

/// The head of a version that this program knows, and the payload.
fn split(bytes: &[u8]) -> Result<(&[u8; HEAD_LENGTH], &[u8]), BadEntry> {
    let Some((head, payload)) = bytes.split_first_chunk::<HEAD_LENGTH>() else {
        return Err(BadEntry::Short(bytes.len()));
    };
    if head[0] == VERSION { Ok((head, payload)) } else { Err(BadEntry::Version(head[0])) }
}

fn stamp(head: &[u8; HEAD_LENGTH]) -> Stamp {
    Stamp {
        unix_milliseconds: i64::from_le_bytes(field(head, 8)),
        seed: u64::from_le_bytes(field(head, 16)),
        database_blocks_max: u64::from_le_bytes(field(head, 0)) >> 24,
    }
}

/// Puts another stamp into an encoded command.
///
/// # Panics
/// When `bytes` is shorter than a head, and so not an encoded command, or a number too large.
pub fn restamp(bytes: &mut [u8], stamp: Stamp) {
    assert!(bytes.len() >= HEAD_LENGTH, "only encoded commands are stamped");
    bytes[8..16].copy_from_slice(&stamp.unix_milliseconds.to_le_bytes());
    bytes[16..24].copy_from_slice(&stamp.seed.to_le_bytes());
    assert!(stamp.database_blocks_max <= BLOCKS_MAX, "it has five bytes");
    bytes[3..8].copy_from_slice(&stamp.database_blocks_max.to_le_bytes()[..5]);
}

fn field(head: &[u8; HEAD_LENGTH], offset: usize) -> [u8; 8] {
    head[offset..offset + 8].try_into().expect("all fields lie within the head")
}

/// A SHA-256 as it names a file in `bodies/`: 64 lower-case hex digits and nothing else.
fn digest(payload: &[u8]) -> Result<String, BadEntry> {
    let fields: serde_json::Value =
        serde_json::from_slice(payload).map_err(|_| BadEntry::Digest)?;
    let text = fields["sha256"].as_str().ok_or(BadEntry::Digest)?;
    let is_digest =
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_digest { Ok(text.to_owned()) } else { Err(BadEntry::Digest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { unix_milliseconds: -5, seed: u64::MAX - 1, database_blocks_max: 0x12_3456_789a };

    #[test]
    fn commands_survive_the_way_to_bytes_and_back() {
        let payload = br#"["a",["b",1]]"#;
        let (statements, _) = parse_statements(payload).unwrap();
        let sha256 = "0123456789abcdef".repeat(4);
        for work in [
            Work::Batch(Batch {
                statements: statements.clone(),
                transaction: true,
                returns_rows: false,
                qualify_columns: false,
                instructions_max: 7,
            }),
            Work::Batch(Batch {
                statements,
                transaction: false,
                returns_rows: true,
                qualify_columns: true,
                instructions_max: 0,
            }),
            Work::Load { sha256: sha256.clone() },
            Work::Script { sha256 },
            Work::Read,
        ] {
            let command = Command { stamp: Stamp::default(), work };
            let mut bytes = command.encode(payload);
            assert_eq!(Command::decode(&bytes).unwrap(), command);
            restamp(&mut bytes, STAMP);
            assert_eq!(Command::decode(&bytes).unwrap().stamp, STAMP);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let command = Command { stamp: STAMP, work: Work::Load { sha256: "../x".to_owned() } };
        assert_eq!(Command::decode(&command.encode(b"")), Err(BadEntry::Digest));
        let mut bytes = Command { stamp: STAMP, work: Work::Read }.encode(b"");
        assert_eq!(Command::decode(&bytes[..31]), Err(BadEntry::Short(31)));
        bytes[1] = 9;
        assert_eq!(Command::decode(&bytes), Err(BadEntry::Kind(9)));
        bytes[1] = KIND_EXECUTE;
        let empty = BadEntry::Statements(BadBody::NoStatements);
        assert_eq!(Command::decode(&bytes), Err(empty));
        bytes[0] = 2;
        assert_eq!(Command::decode(&bytes), Err(BadEntry::Version(2)));
    }
}
