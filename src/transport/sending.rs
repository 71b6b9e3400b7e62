//! The state of this node on its way to a peer, a piece at a time.
//!
//! The stream cannot go back, so the last piece is kept until the peer has it: a broken connection
//! costs that piece again, and a peer that has lost what it had costs the whole.

use std::io::{self, Read};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::contents::Contents;
use super::exchange::{Connection, Reply, Trouble};
use super::limits::{PIECE_BYTES, SNAPSHOT_PATIENCE};
use super::peer::SnapshotOrder;
use super::receiving::{BUSY, MALFORMED, UNKNOWN};
use super::seams::{SnapshotSource, SnapshotStream};
use crate::os;
use crate::raft::EntryId;

/// Where the pieces of a state are posted to.
pub(super) const SNAPSHOT_PATH: &str = "/raft/snapshot";

/// What came of one exchange.
#[derive(Debug)]
pub(super) enum Progress {
    /// It goes on.
    Onwards,
    /// It may go on after a pause.
    Stuck,
    /// It is over, and the peer has nothing.
    Failed,
    /// It is over: the peer has taken it, and may have answered.
    Sent(EntryId, Reply),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Beginning,
    Pieces,
    Ending,
}

/// A state being sent.
pub(super) struct Sending {
    stream: SnapshotStream,
    session: u64,
    stage: Stage,
    hash: Sha256,
    /// What the peer has for certain.
    offset: u64,
    /// What comes next.
    piece: Vec<u8>,
    /// When it last got on.
    moved: Instant,
    /// The end was sent, and its answer lost.
    is_end_lost: bool,
}

impl Sending {
    pub(super) fn open(source: &dyn SnapshotSource) -> io::Result<Self> {
        Ok(Self {
            stream: source.open()?,
            session: os::random_u64(),
            stage: Stage::Beginning,
            hash: Sha256::new(),
            offset: 0,
            piece: Vec::new(),
            moved: Instant::now(),
            is_end_lost: false,
        })
    }

    /// Does one exchange.
    pub(super) fn step(&mut self, connection: &mut Connection, order: SnapshotOrder) -> Progress {
        if self.stage == Stage::Pieces
            && self.piece.is_empty()
            && let Err(error) = self.fill()
        {
            log::warn!("a snapshot for {} broke off: {error}", connection.peer.id);
            return Progress::Failed;
        }
        let (offset, bytes) = (self.offset, self.stream.bytes);
        connection.peer.count(|figures| figures.snapshot = Some((offset, bytes)));
        let reply = self.exchange(connection, order);
        self.judge(reply)
    }

    fn exchange(
        &self,
        connection: &mut Connection,
        order: SnapshotOrder,
    ) -> Result<Reply, Trouble> {
        let session = self.session;
        let contents = match self.stage {
            Stage::Beginning => Contents::SnapshotBegin {
                session,
                last: self.stream.last,
                bytes: self.stream.bytes,
                membership: &self.stream.membership,
                settings: &self.stream.settings,
            },
            Stage::Pieces => {
                Contents::SnapshotPiece { session, offset: self.offset, piece: &self.piece }
            }
            Stage::Ending => {
                let sha256 = self.hash.clone().finalize().into();
                Contents::SnapshotEnd { session, sha256 }
            }
        };
        let envelope = connection.envelope(order.term, order.membership_index);
        connection.exchange(SNAPSHOT_PATH, &envelope, &contents)
    }

    fn judge(&mut self, reply: Result<Reply, Trouble>) -> Progress {
        let end = self.offset + self.piece.len() as u64;
        match (self.stage, reply) {
            (Stage::Beginning, Ok(Reply::Have(0))) => {
                self.moved = Instant::now();
                self.stage = self.stage_at(0);
                Progress::Onwards
            }
            (Stage::Pieces, Ok(Reply::Have(have))) if have == end => {
                self.moved = Instant::now();
                self.piece.clear();
                self.offset = end;
                self.stage = self.stage_at(end);
                Progress::Onwards
            }
            (Stage::Ending, Ok(reply @ (Reply::Nothing | Reply::Message(_)))) => {
                Progress::Sent(self.stream.last, reply)
            }
            (Stage::Ending, Err(Trouble::Lost)) => {
                self.is_end_lost = true;
                self.wait()
            }
            // It has been taken, most likely: the next append finds out.
            (Stage::Ending, Err(Trouble::Refused(UNKNOWN))) if self.is_end_lost => {
                Progress::Sent(self.stream.last, Reply::Nothing)
            }
            // What arrived altered, or at a bad time, is still here.
            (_, Err(Trouble::Lost | Trouble::Refused(MALFORMED | BUSY))) => self.wait(),
            (Stage::Pieces, Ok(Reply::Have(have))) if have == self.offset => self.wait(),
            // It has lost what it had, gave another leader its place, has no room, or does not
            // find what was sent.
            (_, Ok(_) | Err(Trouble::Refused(_))) => Progress::Failed,
        }
    }

    fn stage_at(&self, offset: u64) -> Stage {
        if offset == self.stream.bytes { Stage::Ending } else { Stage::Pieces }
    }

    /// A copy of the state that is held open keeps the node from tidying up: not for ever.
    fn wait(&self) -> Progress {
        if self.moved.elapsed() < SNAPSHOT_PATIENCE { Progress::Stuck } else { Progress::Failed }
    }

    /// Reads the next piece.
    fn fill(&mut self) -> io::Result<()> {
        let left = self.stream.bytes - self.offset;
        let length = left.min(PIECE_BYTES as u64);
        (&mut self.stream.reader).take(length).read_to_end(&mut self.piece)?;
        if self.piece.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hash.update(&self.piece);
        Ok(())
    }
}
