//! Records waiting for the next sync.
//!
//! Small bodies are copied behind their headers into one buffer, which is kept and leaves in one
//! write. Long ones are only referred to, and written from where they are. Knows no file's
//! state: where a batch goes is said when it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::record::{self, Header, Kind, Place};
use crate::raft::EntryId;

/// From this length on a body is not copied. A copy of less is cheaper than a write of its own.
const SHARED_BYTES_MIN: usize = 256 << 10;

/// The buffer that is kept between batches; a busy node's batch fits.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Batch {
    /// All but the shared bodies.
    buffer: Vec<u8>,
    /// Long bodies, and at which place of the buffer each belongs.
    shared: Vec<(usize, Arc<[u8]>)>,
    shared_bytes: u64,
    /// Checksum of the last record.
    chain: u32,
}

impl Batch {
    /// Adds a record, copying its body.
    pub(super) fn push(&mut self, kind: Kind, id: EntryId, body: &[u8], place: Place) {
        let header = Header::new(kind, id, body, place);
        record::push(&mut self.buffer, &header, body);
        self.chain = header.checksum;
    }

    /// Adds a record, sharing its body if it is long.
    pub(super) fn push_shared(&mut self, kind: Kind, id: EntryId, body: &Arc<[u8]>, place: Place) {
        if body.len() < SHARED_BYTES_MIN {
            self.push(kind, id, body, place);
            return;
        }
        let header = Header::new(kind, id, body, place);
        self.buffer.extend_from_slice(&header.encode());
        self.shared.push((self.buffer.len(), Arc::clone(body)));
        self.shared_bytes += body.len() as u64;
        self.buffer.resize(self.buffer.len() + record::padding(body.len()), 0);
        self.chain = header.checksum;
    }

    /// Writes everything from `offset` on; in one write when no body is shared.
    pub(super) fn write(&self, file: &File, offset: u64) -> io::Result<()> {
        let mut at = offset;
        let mut from = 0;
        for (to, body) in &self.shared {
            file.write_all_at(&self.buffer[from..*to], at)?;
            at += (*to - from) as u64;
            file.write_all_at(body, at)?;
            at += body.len() as u64;
            from = *to;
        }
        file.write_all_at(&self.buffer[from..], at)
    }

    /// Forgets the records, and memory that only an unusual batch needs.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.shared.clear();
        self.shared_bytes = 0;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.buffer.len() as u64 + self.shared_bytes
    }

    /// Checksum of the last record, which is `before` when the batch is empty.
    pub(super) const fn chain(&self, before: u32) -> u32 {
        if self.is_empty() { before } else { self.chain }
    }
}
