//! A digest of what the database holds, to compare nodes by.
//!
//! It is the SHA-256 of the database as SQL text, read from a snapshot that is pinned to one
//! entry. So it depends on every row, name and setting, and on nothing that may differ between
//! nodes: not on the place of a page, on free pages, on when a checkpoint was made, or on which
//! requests were applied in one transaction. Memory is that of a dump.

use std::io::Read as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::answers::{BackupError, Format};
use super::board::NotApplied;
use super::handle::Handle;
use crate::raft::{EntryId, Index};

/// Bytes hashed at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What the database holds after one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// That entry.
    pub id: EntryId,
    /// SHA-256 of the database as SQL text, in hexadecimal digits.
    pub sha256: String,
    /// Bytes of that text.
    pub bytes: u64,
}

/// Why there is no digest.
#[derive(Debug, PartialEq, Eq)]
pub enum DigestError {
    /// The entry waited for was not applied in time, and up to where it is.
    TooEarly {
        /// The last entry that is.
        applied: Index,
    },
    /// The node is stopping.
    Stopped,
    /// As for a backup.
    Backup(BackupError),
}

impl Handle {
    /// Digests the database as it is after the entry at `index`, or after a later one that has
    /// been applied already. Waits for it no longer than `wait_max`.
    ///
    /// # Errors
    /// See [`DigestError`].
    pub fn digest(&self, index: Index, wait_max: Duration) -> Result<Digest, DigestError> {
        let board = &self.inner.board;
        board.wait_applied(index, wait_max).map_err(|error| match error {
            NotApplied::TimedOut => DigestError::TooEarly { applied: board.disk().applied.index },
            NotApplied::Stopping => DigestError::Stopped,
        })?;
        let whole = Format::Sql { tables: Vec::new() };
        let mut backup = self.backup(&whole, false).map_err(DigestError::Backup)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let count = backup
                .source
                .read(&mut piece)
                .map_err(|error| DigestError::Backup(BackupError::Failed(error.to_string())))?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            bytes += count as u64;
        }
        let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Digest { id: backup.id, sha256: digits, bytes })
    }
}
