//! The database file as a stream of bytes, read page by page from a snapshot.
//!
//! No temporary file, no thread, a few pages of memory: whoever sends the bytes pulls them. It
//! must yield exactly [`Pages::length`] bytes or fail; an end before that would pass for a backup.

use std::io::{self, Read};

use super::replace::{JOURNAL_BYTES_AT, WAL_BYTES};
use super::snapshot::Snapshot;

/// Bytes read at a time, while the snapshot is locked: some tens of microseconds of work.
const CHUNK_BYTES: usize = 256 << 10;

/// What the copy says of itself in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// A WAL database, as the node's own file.
    Wal,
    /// A rollback-journal database, for programs that want a single file.
    Delete,
}

/// The pages of a snapshot, in order.
#[derive(Debug)]
pub struct Pages {
    snapshot: Snapshot,
    journal: Journal,
    next_page: u32,
    chunk: Vec<u8>,
    chunk_at: usize,
}

impl Pages {
    /// Begins at the first page, which is read to see that it can be.
    ///
    /// # Errors
    /// SQLite's, or the limit that ended the snapshot.
    pub fn new(snapshot: Snapshot, journal: Journal) -> io::Result<Self> {
        let chunk = Vec::with_capacity(CHUNK_BYTES.max(snapshot.page_bytes() as usize));
        let mut pages = Self { snapshot, journal, next_page: 1, chunk, chunk_at: 0 };
        pages.fill()?;
        Ok(pages)
    }

    /// Length of the whole stream.
    pub fn length(&self) -> u64 {
        self.snapshot.bytes()
    }

    /// The snapshot that is read.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Reads the next chunk; none is left when it stays empty.
    fn fill(&mut self) -> io::Result<()> {
        let page_bytes = self.snapshot.page_bytes() as usize;
        let chunk_pages = u32::try_from((CHUNK_BYTES / page_bytes).max(1)).unwrap_or(1);
        let behind = self.next_page.saturating_add(chunk_pages).min(self.snapshot.pages() + 1);
        self.chunk.clear();
        self.chunk_at = 0;
        let chunk = &mut self.chunk;
        let range = self.next_page..behind;
        self.snapshot.read(|connection| {
            let sql = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";
            let mut statement = connection.prepare_cached(sql).map_err(io::Error::other)?;
            for page in range {
                let mut rows = statement.query([page]).map_err(io::Error::other)?;
                let row = rows.next().map_err(io::Error::other)?;
                let bytes = row
                    .map(|row| row.get_ref(0)?.as_blob().map_err(Into::into))
                    .transpose()
                    .map_err(|error: rusqlite::Error| io::Error::other(error))?;
                match bytes {
                    Some(bytes) if bytes.len() == page_bytes => chunk.extend_from_slice(bytes),
                    _ => return Err(io::Error::other(format!("page {page} cannot be read"))),
                }
            }
            Ok(())
        })?;
        if self.next_page == 1 {
            let bytes = match self.journal {
                Journal::Wal => WAL_BYTES,
                Journal::Delete => [1, 1],
            };
            self.chunk[JOURNAL_BYTES_AT..JOURNAL_BYTES_AT + 2].copy_from_slice(&bytes);
        }
        self.next_page = behind;
        Ok(())
    }
}

impl Read for Pages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk_at == self.chunk.len() && self.next_page <= self.snapshot.pages() {
            self.fill()?;
        }
        let count = buffer.len().min(self.chunk.len() - self.chunk_at);
        buffer[..count].copy_from_slice(&self.chunk[self.chunk_at..self.chunk_at + count]);
        self.chunk_at += count;
        Ok(count)
    }
}
