//! One detached body on its way to a peer, a piece at a time.
//!
//! The receiver says how much it has, and the next piece goes there: so a broken connection costs
//! a piece. It hashes the whole before it gives it its name; what has been altered begins anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::contents::{Contents, Digest, digest_of};
use super::exchange::{Connection, Reply, Trouble};
use super::limits::{ALTERED_MAX, PIECE_BYTES};
use super::receiving::ALTERED;
use super::seams::BodySource;

/// Where pieces of bodies are posted to.
pub(super) const BODY_PATH: &str = "/raft/body";

/// What came of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    Onwards,
    /// The peer has it.
    Held,
    /// It may go on after a pause.
    Failed,
    /// It never will.
    Impossible,
}

/// A body, and how much of it the peer has.
pub(super) struct Handing {
    sha256: String,
    digest: Digest,
    bytes: u64,
    file: File,
    /// `None`: it has to be asked.
    offset: Option<u64>,
    altered: u32,
    piece: Vec<u8>,
}

impl Handing {
    pub(super) fn open(source: &dyn BodySource, sha256: &str) -> io::Result<Self> {
        let digest = digest_of(sha256).ok_or(io::ErrorKind::NotFound)?;
        let (bytes, file) = source.open(sha256)?;
        let sha256 = sha256.to_owned();
        Ok(Self { sha256, digest, bytes, file, offset: None, altered: 0, piece: Vec::new() })
    }

    pub(super) fn is_of(&self, sha256: &str) -> bool {
        self.sha256 == sha256
    }

    /// Sends the next piece, or asks which one that is.
    pub(super) fn step(&mut self, connection: &mut Connection) -> Step {
        let offset = self.offset.unwrap_or(0);
        let left = if self.offset.is_none() { 0 } else { self.bytes - offset };
        let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        self.piece.resize(length, 0);
        if let Err(error) = self.file.read_exact_at(&mut self.piece, offset) {
            log::warn!("cannot read body {}: {error}", self.sha256);
            return Step::Failed;
        }
        let contents = Contents::BodyPiece {
            sha256: self.digest,
            bytes: self.bytes,
            offset,
            piece: &self.piece,
        };
        let reply = connection.exchange(BODY_PATH, &connection.envelope(0, 0), &contents);
        match reply {
            Ok(Reply::Held) => Step::Held,
            Ok(Reply::Have(have)) if have <= self.bytes => {
                // It has to get somewhere: whoever stands still is asked again after a pause.
                let is_progress = self.offset.is_none() || have > offset;
                self.offset = Some(have);
                if is_progress { Step::Onwards } else { Step::Failed }
            }
            Err(Trouble::Refused(ALTERED)) if self.altered + 1 == ALTERED_MAX => {
                log::error!("body {} arrives altered each time: is it damaged?", self.sha256);
                Step::Impossible
            }
            Err(Trouble::Refused(ALTERED)) => {
                self.altered += 1;
                self.offset = None;
                Step::Failed
            }
            Ok(Reply::Have(_) | Reply::Nothing | Reply::Message(_) | Reply::BodyNeeded(_))
            | Err(Trouble::Refused(_) | Trouble::Lost) => {
                self.offset = None;
                Step::Failed
            }
        }
    }
}
