//! The log's one owner: buffers records, writes and syncs them in one go, drops what is not needed.
//!
//! Everything between two calls of `sync` is one batch: one write, one sync, and on a power cut
//! as a whole or in part gone, since none of it was promised. Nothing here waits for anything
//! but the disk, and nothing here decides what an entry means.
//!
//! Invariants: `end` is synced, and is where the next batch goes; bytes from there to
//! `blank_end`, the file's length, are zeros but while a batch is being written.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Batch;
use super::durable;
use super::reader::{ReadError, Reader};
use super::record::{Kind, Place};
use super::recovery::{self, OpenError, Recovered, Restored};
use super::segment::{self, Opening, Segment, ZEROS};
use super::view::Entry;
use crate::raft::{EntryId, HardState, Index, Term};

/// Zeros pay only if this many batches fit into them: every byte is written twice for it.
const SMALL_BATCHES: u64 = 8;

/// How the log uses disk and memory. The default is right for all but tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment that has reached this length is followed by a new one. The log shrinks by
    /// whole segments, so twice this is what a log takes that is cut often.
    pub segment_bytes: u64,
    /// Zeros are written this far ahead of the records, so that a sync need not record a new
    /// file length: small batches then take two thirds of the time. With four times this the
    /// unlucky batch waits twice as long and nothing is gained. 0 means none.
    pub ahead_bytes: u64,
    /// Newest entries kept in memory for those who send them on.
    pub recent_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, ahead_bytes: 256 << 10, recent_bytes_max: 2 << 20 }
    }
}

/// Why a batch is not on disk.
#[derive(Debug)]
pub enum LogError {
    /// There is no room. The batch is dropped, as if it had never been appended; the log is as
    /// it was after the last sync. May be tried again when there is room.
    Full {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not known any more. The process must end; only a new start, which
    /// reads everything again, can tell. Every later call fails alike.
    SyncFailed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { path, source } => {
                write!(f, "no room to write {}: {source}", path.display())
            }
            Self::SyncFailed { path, source } => {
                write!(f, "cannot sync {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for LogError {}

/// The Raft log on disk. One thread owns it; the others have a `Reader`.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    options: Options,
    reader: Reader,
    segment: Arc<Segment>,
    end: u64,
    blank_end: u64,
    /// Checksum of the last record that is synced.
    chain: u32,
    batch: Batch,
    /// The last one buffered.
    hard_state: HardState,
    /// Set by the first failure that leaves the disk's contents unknown.
    has_failed: bool,
}

impl Log {
    /// Whether there is a log in `folder`, of whatever kind.
    ///
    /// # Errors
    /// The system's, with the folder in it.
    pub fn is_in(folder: &Path) -> io::Result<bool> {
        Ok(folder.is_dir() && !segment::list(folder)?.is_empty())
    }

    /// Opens the log in `folder`, making it if it is not there, and reads all of it.
    ///
    /// # Errors
    /// `Damaged` and `Version` need a person; `Io` may pass.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Recovered), OpenError> {
        let restored = recovery::restore(folder)?;
        let recovered = Recovered {
            hard_state: restored.hard_state.clone(),
            start: restored.view.start(),
            last: restored.view.last(),
            terms: restored.view.terms().iter().copied().collect(),
            memberships: restored.memberships,
            cut: restored.cut,
        };
        let segment = restored.view.segments().back().expect("a restored log has a segment");
        let log = Self {
            folder: folder.to_owned(),
            options,
            segment: Arc::clone(segment),
            reader: Reader::new(restored.view),
            end: restored.end,
            blank_end: restored.blank_end,
            chain: restored.chain,
            batch: Batch::default(),
            hard_state: restored.hard_state,
            has_failed: false,
        };
        Ok((log, recovered))
    }

    /// Buffers the next entry. Readers see it at once.
    ///
    /// # Panics
    /// When its index is not the one after the last, or its body exceeds `BODY_BYTES_MAX`.
    pub fn append(&mut self, entry: &Entry) {
        let offset = self.end + self.batch.bytes();
        self.buffer_shared(Kind::Entry(entry.kind), entry.id, &entry.body);
        let mut view = self.reader.lock();
        view.push(entry.id, offset);
        view.keep_recent(entry.clone());
    }

    /// Buffers a new hard state.
    pub fn set_hard_state(&mut self, hard_state: &HardState) {
        let (id, vote) = segment::hard_state_parts(hard_state);
        self.buffer(Kind::HardState, id, vote);
        self.hard_state.clone_from(hard_state);
    }

    /// Buffers that the entries from `from` on are dropped, since they conflict with a leader's.
    ///
    /// # Panics
    /// When it reaches back behind the start: what is compacted was committed.
    pub fn truncate_from(&mut self, from: Index) {
        if from > self.last().index {
            return;
        }
        let term = from.checked_sub(1).and_then(|index| self.term_at(index));
        let term = term.expect("only entries behind the start are ever dropped from the end");
        let last = EntryId { term, index: from - 1 };
        self.buffer(Kind::Truncate, last, &[]);
        self.reader.lock().truncate(last);
    }

    /// Writes and syncs all that was buffered: one write, one sync.
    ///
    /// # Errors
    /// `Full` drops the batch and the log is usable; `SyncFailed` is final.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let end = self.end + self.batch.bytes();
        if let Err(error) = self.batch.write(&self.segment.file, self.end) {
            return Err(self.abandon(error));
        }
        if end > self.blank_end {
            self.blank_end = end;
            self.write_ahead();
        }
        self.segment.file.sync_data().map_err(|error| self.failure(error))?;
        self.end = end;
        self.chain = self.batch.chain(self.chain);
        self.batch.clear();
        self.reader.lock().shrink_recent(self.options.recent_bytes_max);
        if self.end >= self.options.segment_bytes {
            self.roll()?;
        }
        Ok(())
    }

    /// Drops the entries up to `start`, and the segments that are not needed any more.
    ///
    /// What they did must be durable elsewhere. The new start is remembered from the next sync
    /// on; a crash before it brings some of the entries back, which harms nobody.
    ///
    /// # Errors
    /// `SyncFailed`, and it is final.
    ///
    /// # Panics
    /// When the log does not hold that very entry.
    pub fn compact(&mut self, start: EntryId) -> Result<(), LogError> {
        if start.index <= self.start().index {
            return Ok(());
        }
        self.check()?;
        assert_eq!(self.term_at(start.index), Some(start.term), "only what is held is compacted");
        self.buffer(Kind::Compact, start, &[]);
        self.reader.lock().compact(start);
        self.remove_dead_segments()
    }

    /// Drops everything and goes on after `start`, which stands for a snapshot; synced at once.
    ///
    /// # Errors
    /// `Full` leaves the log as it was after the last sync; `SyncFailed` is final.
    pub fn reset(&mut self, start: EntryId) -> Result<(), LogError> {
        self.buffer(Kind::Reset, start, &[]);
        self.reader.lock().reset(start);
        self.sync()?;
        self.roll()?;
        self.remove_dead_segments()
    }

    /// A handle for other threads.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The entry at `index`; see [`Reader::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, index: Index) -> Result<Entry, ReadError> {
        self.reader.read(index)
    }

    /// The entries from `from` on; see [`Reader::entries`].
    ///
    /// # Errors
    /// As there.
    pub fn entries(&self, from: Index, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        self.reader.entries(from, bytes_max)
    }

    /// The last entry that was dropped from the beginning.
    pub fn start(&self) -> EntryId {
        self.reader.start()
    }

    /// The last entry, buffered or synced; `start` when there is none.
    pub fn last(&self) -> EntryId {
        self.reader.last()
    }

    /// The term of an entry that is held, or of the last one dropped from the beginning.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.reader.term_at(index)
    }

    /// The hard state, buffered or synced.
    pub const fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Bytes that the segments take on disk.
    pub fn bytes_on_disk(&self) -> u64 {
        let view = self.reader.lock();
        let sealed = view.segments().iter().filter(|segment| segment.path != self.segment.path);
        let lengths = sealed.map(|segment| segment.file.metadata().map_or(0, |found| found.len()));
        lengths.sum::<u64>() + self.blank_end
    }

    fn check(&mut self) -> Result<(), LogError> {
        if self.has_failed {
            return Err(self.failure(io::Error::other("a sync failed before")));
        }
        Ok(())
    }

    fn buffer(&mut self, kind: Kind, id: EntryId, body: &[u8]) {
        let place = self.place();
        self.batch.push(kind, id, body, place);
    }

    fn buffer_shared(&mut self, kind: Kind, id: EntryId, body: &Arc<[u8]>) {
        let place = self.place();
        self.batch.push_shared(kind, id, body, place);
    }

    fn place(&self) -> Place {
        Place { salt: self.segment.salt, synced: self.end, chain: self.batch.chain(self.chain) }
    }

    /// Writes zeros behind the records, unless batches are so large that it would not pay.
    ///
    /// There being no room for them is no failure: the records have theirs.
    fn write_ahead(&mut self) {
        if self.batch.bytes() > self.options.ahead_bytes / SMALL_BATCHES {
            return;
        }
        let target = self.blank_end + self.options.ahead_bytes;
        while self.blank_end < target {
            let length = usize::try_from(target - self.blank_end).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..length.min(ZEROS.len())];
            match self.segment.file.write_at(zeros, self.blank_end) {
                Ok(count) if count > 0 => self.blank_end += count as u64,
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Takes a batch back that could not be written.
    ///
    /// The file is cut to what was synced, and that is synced too, so that the batch cannot
    /// come back later. Then the shape is read anew, as at start: rare enough to be slow.
    fn abandon(&mut self, error: io::Error) -> LogError {
        if !is_full(&error) {
            return self.failure(error);
        }
        let cut = self.segment.file.set_len(self.end);
        if let Err(error) = cut.and_then(|()| self.segment.file.sync_all()) {
            return self.failure(error);
        }
        match recovery::restore(&self.folder) {
            Ok(restored) => self.adopt(restored),
            Err(error) => return self.failure(io::Error::other(error)),
        }
        LogError::Full { path: self.segment.path.clone(), source: error }
    }

    fn adopt(&mut self, restored: Restored) {
        let segment = restored.view.segments().back().expect("a restored log has a segment");
        self.segment = Arc::clone(segment);
        self.end = restored.end;
        self.blank_end = restored.blank_end;
        self.chain = restored.chain;
        self.hard_state = restored.hard_state;
        self.batch.clear();
        *self.reader.lock() = restored.view;
    }

    /// Begins a new segment; when there is no room for one, the old one is long enough.
    fn roll(&mut self) -> Result<(), LogError> {
        let opening = Opening {
            sequence: self.segment.sequence + 1,
            previous: self.last(),
            chain: self.chain,
            hard_state: &self.hard_state,
        };
        let (segment, length, chain) = match Segment::create(&self.folder, opening) {
            Ok(created) => created,
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(self.failure(error)),
        };
        // Gives the zeros back. If a crash undoes it, they are only zeros.
        self.segment.file.set_len(self.end).ok();
        self.segment = Arc::new(segment);
        self.end = length;
        self.blank_end = length;
        self.chain = chain;
        self.reader.lock().add_segment(Arc::clone(&self.segment));
        Ok(())
    }

    /// Removes segments oldest first, syncing after each: a gap would look like a loss.
    fn remove_dead_segments(&mut self) -> Result<(), LogError> {
        loop {
            let dead = self.reader.lock().take_dead_segment();
            let Some(dead) = dead else { return Ok(()) };
            durable::remove(&dead.path).map_err(|error| self.failure(error))?;
        }
    }

    fn failure(&mut self, source: io::Error) -> LogError {
        self.has_failed = true;
        LogError::SyncFailed { path: self.segment.path.clone(), source }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::raft::EntryKind;

    fn log_on(device: &str) -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(folder.path(), Options::default()).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(device).unwrap();
        let path = log.segment.path.clone();
        log.segment = Arc::new(Segment { sequence: 1, path, file, salt: 0 });
        let id = EntryId { term: 1, index: 1 };
        log.append(&Entry { id, kind: EntryKind::Noop, body: Arc::default() });
        (folder, log)
    }

    #[test]
    fn a_failed_sync_is_final() {
        // A device that takes every write and cannot be synced.
        let (folder, mut log) = log_on("/dev/null");
        assert!(matches!(log.sync(), Err(LogError::SyncFailed { .. })));
        log.segment = {
            let (_, path) = segment::list(folder.path()).unwrap().remove(0);
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            Arc::new(Segment { sequence: 1, path, file, salt: 0 })
        };
        assert!(matches!(log.sync(), Err(LogError::SyncFailed { .. })));
        assert!(matches!(log.reset(EntryId::default()), Err(LogError::SyncFailed { .. })));
    }

    #[test]
    fn a_full_device_that_cannot_be_cut_back_is_final() {
        let (_folder, mut log) = log_on("/dev/full");
        assert!(matches!(log.sync(), Err(LogError::SyncFailed { .. })));
    }
}
