//! What a frame says: its kinds and their fields.
//!
//! | kind | says | fields |
//! |-----:|------|--------|
//! |  1 | pre-vote | last: term 8, index 8 |
//! |  2 | its answer | granted 1 |
//! |  3 | vote | last: term 8, index 8; transfer 1 |
//! |  4 | its answer | granted 1 |
//! |  5 | heartbeat | commit 8, round 8 |
//! |  6 | its answer | round 8, matched 8, last 8 |
//! |  7 | append | prev: term 8, index 8; commit 8, round 8; entries to the end, each: term 8, kind 1 as in the log, body length 4, body |
//! |  8 | appended | matched 8, round 8 |
//! |  9 | refused | prev 8; hint: term 8, index 8; round 8 |
//! | 10 | campaign now | |
//! | 16 | a piece of a body | SHA-256 32, the body's length 8, offset 8, bytes to the end; without bytes it asks how much is there |
//! | 17 | a state begins | session 8; last: term 8, index 8; length 8; membership: length 4, bytes; settings: length 4, bytes |
//! | 18 | a piece of the state | session 8, offset 8, bytes to the end |
//! | 19 | the state is complete | session 8, SHA-256 32 |
//! | 32 | answer: so much is there | offset 8 |
//! | 33 | answer: the body is held | |
//! | 34 | answer: a body is needed first | SHA-256 32 |
//! | 35 | answer: you are no member | membership index 8 |
//!
//! The state of a node never travels as a message: who has received all of it says so to its own
//! core. Entries carry no index: they follow `prev` without a gap.

use std::sync::Arc;

use super::fields::{Reader, Writer};
use super::frame::{BadFrame, Draft, Envelope};
use super::limits::{LARGE_BYTES, PIECE_BYTES, SETTINGS_BYTES_MAX};
use crate::raft::{EntryId, EntryKind, Index, Payload};
use crate::storage::{Entry, Kind};

const PRE_VOTE: u8 = 1;
const PRE_VOTE_REPLY: u8 = 2;
const VOTE: u8 = 3;
const VOTE_REPLY: u8 = 4;
const HEARTBEAT: u8 = 5;
const HEARTBEAT_REPLY: u8 = 6;
const APPEND: u8 = 7;
const APPENDED: u8 = 8;
const REFUSED: u8 = 9;
const TIMEOUT_NOW: u8 = 10;
const BODY_PIECE: u8 = 16;
const SNAPSHOT_BEGIN: u8 = 17;
const SNAPSHOT_PIECE: u8 = 18;
const SNAPSHOT_END: u8 = 19;
const HAVE: u8 = 32;
const HELD: u8 = 33;
const BODY_NEEDED: u8 = 34;
const REMOVED: u8 = 35;

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents<'a> {
    /// Any message but an append and the state itself.
    Message(Payload),
    Append {
        prev: EntryId,
        commit: Index,
        round: u64,
        entries: Vec<Entry>,
    },
    BodyPiece {
        sha256: Digest,
        bytes: u64,
        offset: u64,
        piece: &'a [u8],
    },
    SnapshotBegin {
        session: u64,
        last: EntryId,
        bytes: u64,
        membership: &'a str,
        settings: &'a [u8],
    },
    SnapshotPiece {
        session: u64,
        offset: u64,
        piece: &'a [u8],
    },
    SnapshotEnd {
        session: u64,
        sha256: Digest,
    },
    Have {
        offset: u64,
    },
    Held,
    BodyNeeded {
        sha256: Digest,
    },
    Removed {
        index: Index,
    },
}

impl Contents<'_> {
    /// A frame that says this. It takes `memory`, so that it can be used again.
    pub(super) fn seal(&self, envelope: &Envelope, memory: Vec<u8>) -> Vec<u8> {
        let mut draft = Draft::new(envelope, self.kind(), memory);
        self.write(&mut draft.fields);
        draft.seal()
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Message(payload) => payload_kind(payload),
            Self::Append { .. } => APPEND,
            Self::BodyPiece { .. } => BODY_PIECE,
            Self::SnapshotBegin { .. } => SNAPSHOT_BEGIN,
            Self::SnapshotPiece { .. } => SNAPSHOT_PIECE,
            Self::SnapshotEnd { .. } => SNAPSHOT_END,
            Self::Have { .. } => HAVE,
            Self::Held => HELD,
            Self::BodyNeeded { .. } => BODY_NEEDED,
            Self::Removed { .. } => REMOVED,
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::Message(payload) => write_payload(payload, to),
            Self::Append { prev, commit, round, entries } => {
                to.id(*prev);
                to.u64(*commit);
                to.u64(*round);
                for entry in entries {
                    to.u64(entry.id.term);
                    to.u8(Kind::Entry(entry.kind).code());
                    to.counted(&entry.body);
                }
            }
            Self::BodyPiece { sha256, bytes, offset, piece } => {
                to.bytes(sha256);
                to.u64(*bytes);
                to.u64(*offset);
                to.bytes(piece);
            }
            Self::SnapshotBegin { session, last, bytes, membership, settings } => {
                to.u64(*session);
                to.id(*last);
                to.u64(*bytes);
                to.counted(membership.as_bytes());
                to.counted(settings);
            }
            Self::SnapshotPiece { session, offset, piece } => {
                to.u64(*session);
                to.u64(*offset);
                to.bytes(piece);
            }
            Self::SnapshotEnd { session, sha256 } => {
                to.u64(*session);
                to.bytes(sha256);
            }
            Self::Have { offset } => to.u64(*offset),
            Self::Held => {}
            Self::BodyNeeded { sha256 } => to.bytes(sha256),
            Self::Removed { index } => to.u64(*index),
        }
    }

    /// What the fields of a frame of this kind say.
    pub(super) fn decode(kind: u8, mut fields: Reader<'_>) -> Result<Contents<'_>, BadFrame> {
        let is_known = matches!(kind, PRE_VOTE..=TIMEOUT_NOW)
            || matches!(kind, BODY_PIECE..=SNAPSHOT_END)
            || matches!(kind, HAVE..=REMOVED);
        if !is_known {
            return Err(BadFrame::Kind(kind));
        }
        let contents = if kind == APPEND {
            read_append(&mut fields)
        } else if kind <= TIMEOUT_NOW {
            read_payload(kind, &mut fields).map(Contents::Message)
        } else {
            read_other(kind, &mut fields)
        };
        contents.filter(|_| fields.is_empty()).ok_or(BadFrame::Content(kind))
    }
}

fn payload_kind(payload: &Payload) -> u8 {
    match payload {
        Payload::PreVote { .. } => PRE_VOTE,
        Payload::PreVoteReply { .. } => PRE_VOTE_REPLY,
        Payload::Vote { .. } => VOTE,
        Payload::VoteReply { .. } => VOTE_REPLY,
        Payload::Heartbeat { .. } => HEARTBEAT,
        Payload::HeartbeatReply { .. } => HEARTBEAT_REPLY,
        Payload::Appended { .. } => APPENDED,
        Payload::Refused { .. } => REFUSED,
        Payload::TimeoutNow => TIMEOUT_NOW,
        Payload::Append { .. } | Payload::Snapshot { .. } => {
            panic!("appends and states are sent in ways of their own")
        }
    }
}

fn write_payload(payload: &Payload, to: &mut Writer) {
    match payload {
        Payload::PreVote { last } => to.id(*last),
        Payload::PreVoteReply { granted } | Payload::VoteReply { granted } => {
            to.u8(u8::from(*granted));
        }
        Payload::Vote { last, is_transfer } => {
            to.id(*last);
            to.u8(u8::from(*is_transfer));
        }
        Payload::Heartbeat { commit, round } => {
            to.u64(*commit);
            to.u64(*round);
        }
        Payload::HeartbeatReply { round, matched, last } => {
            to.u64(*round);
            to.u64(*matched);
            to.u64(*last);
        }
        Payload::Appended { matched, round } => {
            to.u64(*matched);
            to.u64(*round);
        }
        Payload::Refused { prev, hint, round } => {
            to.u64(*prev);
            to.id(*hint);
            to.u64(*round);
        }
        Payload::TimeoutNow | Payload::Append { .. } | Payload::Snapshot { .. } => {}
    }
}

fn read_payload(kind: u8, from: &mut Reader<'_>) -> Option<Payload> {
    Some(match kind {
        PRE_VOTE => Payload::PreVote { last: from.id()? },
        PRE_VOTE_REPLY => Payload::PreVoteReply { granted: from.bool()? },
        VOTE => Payload::Vote { last: from.id()?, is_transfer: from.bool()? },
        VOTE_REPLY => Payload::VoteReply { granted: from.bool()? },
        HEARTBEAT => Payload::Heartbeat { commit: from.u64()?, round: from.u64()? },
        HEARTBEAT_REPLY => {
            Payload::HeartbeatReply { round: from.u64()?, matched: from.u64()?, last: from.u64()? }
        }
        APPENDED => Payload::Appended { matched: from.u64()?, round: from.u64()? },
        REFUSED => Payload::Refused { prev: from.u64()?, hint: from.id()?, round: from.u64()? },
        TIMEOUT_NOW => Payload::TimeoutNow,
        _ => return None,
    })
}

fn read_append<'a>(from: &mut Reader<'_>) -> Option<Contents<'a>> {
    let (prev, commit, round) = (from.id()?, from.u64()?, from.u64()?);
    let is_large = from.0.len() as u64 > LARGE_BYTES;
    let mut entries = Vec::new();
    let mut index = prev.index;
    while !from.is_empty() {
        index = index.checked_add(1)?;
        let term = from.u64()?;
        let kind = entry_kind(from.u8()?)?;
        let body: Arc<[u8]> = from.counted()?.into();
        entries.push(Entry { id: EntryId { term, index }, kind, body });
        // Only a single entry may make an append that long.
        if is_large && entries.len() > 1 {
            return None;
        }
    }
    Some(Contents::Append { prev, commit, round, entries })
}

fn entry_kind(code: u8) -> Option<EntryKind> {
    let kinds = [EntryKind::Noop, EntryKind::Command, EntryKind::Membership];
    kinds.into_iter().find(|kind| Kind::Entry(*kind).code() == code)
}

fn read_other<'a>(kind: u8, from: &mut Reader<'a>) -> Option<Contents<'a>> {
    Some(match kind {
        BODY_PIECE => {
            let (sha256, bytes) = (from.array()?, from.u64()?);
            let (offset, piece) = read_piece(from)?;
            Contents::BodyPiece { sha256, bytes, offset, piece }
        }
        SNAPSHOT_BEGIN => {
            let (session, last, bytes) = (from.u64()?, from.id()?, from.u64()?);
            let membership = str::from_utf8(from.counted()?).ok()?;
            let settings = from.counted()?;
            if membership.len().max(settings.len()) > SETTINGS_BYTES_MAX {
                return None;
            }
            Contents::SnapshotBegin { session, last, bytes, membership, settings }
        }
        SNAPSHOT_PIECE => {
            let session = from.u64()?;
            let (offset, piece) = read_piece(from)?;
            Contents::SnapshotPiece { session, offset, piece }
        }
        SNAPSHOT_END => Contents::SnapshotEnd { session: from.u64()?, sha256: from.array()? },
        HAVE => Contents::Have { offset: from.u64()? },
        HELD => Contents::Held,
        BODY_NEEDED => Contents::BodyNeeded { sha256: from.array()? },
        REMOVED => Contents::Removed { index: from.u64()? },
        _ => return None,
    })
}

fn read_piece<'a>(from: &mut Reader<'a>) -> Option<(u64, &'a [u8])> {
    let offset = from.u64()?;
    let piece = from.rest();
    (piece.len() <= PIECE_BYTES && offset.checked_add(piece.len() as u64).is_some())
        .then_some((offset, piece))
}

/// A SHA-256 as it names a file.
pub(super) fn name_of(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 that a name stands for; `None` when it is no such name.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let is_name = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut digest = [0; 32];
    if name.len() != 2 * digest.len() || !is_name {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        let pair = str::from_utf8(pair).expect("hexadecimal digits are ASCII");
        *byte = u8::from_str_radix(pair, 16).expect("two hexadecimal digits are a byte");
    }
    Some(digest)
}
