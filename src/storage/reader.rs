//! Reading entries back, from any thread, while the log's owner goes on writing.
//!
//! Recent entries come out of memory, older ones out of their segment's file. The lock is held
//! to look up where something is, never while a file is read. A reader may see an entry that
//! is not synced yet (that is how a leader sends while it syncs) and, on a node that follows,
//! one that is replaced a moment later: who sends must check the term.
//!
//! An entry that cannot be read is an error and never "no such entry".

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::record::{Flaw, Kind};
use super::segment::Window;
use super::view::{Entry, Span, View, bytes_in_memory};
use crate::os;
use crate::raft::{EntryId, Index, Term};

/// Bytes read from a file at a time: as much as lies between two anchors.
const WINDOW_BYTES: usize = 64 << 10;

/// A cloneable view of the log for the threads that do not own it.
#[derive(Clone, Debug)]
pub struct Reader {
    view: Arc<Mutex<View>>,
}

/// Why an entry could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// It was dropped from the beginning: the one who needs it needs a snapshot.
    Compacted {
        /// The last entry that was dropped.
        start: EntryId,
    },
    /// It is behind the log's end: it was dropped there, or asked for too early.
    Absent {
        /// The last entry there is.
        last: EntryId,
    },
    /// The file no longer holds what was written to it: this node must stop.
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
    /// The file could not be read: this node must stop.
    Io {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Compacted { start } => {
                write!(f, "the log begins after entry {}", start.index)
            }
            Self::Absent { last } => write!(f, "the log ends at entry {}", last.index),
            Self::Damaged { path, offset, flaw } => {
                write!(f, "{} is damaged at byte {offset}: {flaw}", path.display())
            }
            Self::Io { path, source } => {
                write!(f, "cannot read {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl Reader {
    pub(super) fn new(view: View) -> Self {
        Self { view: Arc::new(Mutex::new(view)) }
    }

    /// The entry at `index`.
    ///
    /// # Errors
    /// `Compacted` and `Absent` are answers; the others end the process.
    pub fn read(&self, index: Index) -> Result<Entry, ReadError> {
        let mut entries = self.entries(index, 0)?;
        entries.pop().ok_or_else(|| ReadError::Absent { last: self.last() })
    }

    /// The entries from `from` on that take `bytes_max` of memory at most.
    ///
    /// There is at least one, however long, unless `from` is behind the log's end: then there
    /// is none.
    ///
    /// # Errors
    /// `Compacted` is an answer; `Damaged` and `Io` end the process.
    pub fn entries(&self, from: Index, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let mut batch = Batch { entries: Vec::new(), next: from, bytes_left: bytes_max };
        while !batch.is_full() {
            let span = {
                let view = self.lock();
                if batch.next <= view.start().index {
                    // The beginning may be dropped between two spans; what is read stays read.
                    if batch.entries.is_empty() {
                        return Err(ReadError::Compacted { start: view.start() });
                    }
                    break;
                }
                if let Some(recent) = view.recent_from(batch.next) {
                    batch.take_recent(recent);
                    break;
                }
                if batch.next > view.last().index {
                    break;
                }
                view.span(batch.next).expect("every live entry is behind an anchor")
            };
            batch.take_span(&span)?;
        }
        Ok(batch.entries)
    }

    /// The last entry that was dropped from the beginning.
    pub fn start(&self) -> EntryId {
        self.lock().start()
    }

    /// The last entry, synced or not; `start` when there is none.
    pub fn last(&self) -> EntryId {
        self.lock().last()
    }

    /// The term of an entry that is held, or of the last one dropped from the beginning.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.lock().term_at(index)
    }

    /// Bytes of entries in memory.
    pub fn recent_bytes(&self) -> usize {
        self.lock().recent_bytes()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, View> {
        os::lock(&self.view)
    }
}

/// Entries being gathered, in order.
struct Batch {
    entries: Vec<Entry>,
    next: Index,
    bytes_left: usize,
}

impl Batch {
    const fn is_full(&self) -> bool {
        !self.entries.is_empty() && self.bytes_left == 0
    }

    /// Adds an entry, unless it is too long for what is left and there is one already.
    fn add(&mut self, entry: Entry) {
        let bytes = bytes_in_memory(entry.body.len());
        if bytes > self.bytes_left && !self.entries.is_empty() {
            self.bytes_left = 0;
            return;
        }
        self.next = entry.id.index + 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.entries.push(entry);
    }

    fn take_recent<'a>(&mut self, recent: impl Iterator<Item = &'a Entry>) {
        for entry in recent {
            if self.is_full() {
                break;
            }
            self.add(entry.clone());
        }
    }

    /// Reads on in one segment, from an anchor at or before `next`.
    fn take_span(&mut self, span: &Span) -> Result<(), ReadError> {
        let segment = &span.anchor.segment;
        let io = |source| ReadError::Io { path: segment.path.clone(), source };
        let mut window = Window::new(&segment.file, u64::MAX, WINDOW_BYTES);
        let mut offset = span.anchor.offset;
        let mut index = span.anchor.index;
        while index <= span.last && !self.is_full() {
            let damaged = |flaw| ReadError::Damaged { path: segment.path.clone(), offset, flaw };
            let header = window.header(offset, segment.salt).map_err(io)?.map_err(damaged)?;
            if let Kind::Entry(kind) = header.kind {
                if header.id.index != index {
                    return Err(damaged(Flaw::Order));
                }
                if index >= self.next {
                    let bytes = bytes_in_memory(header.body_bytes);
                    if bytes > self.bytes_left && !self.entries.is_empty() {
                        self.bytes_left = 0;
                        return Ok(());
                    }
                    let body = window.body(offset, &header).map_err(io)?.map_err(damaged)?;
                    self.add(Entry { id: header.id, kind, body });
                }
                index += 1;
            }
            offset += header.record_bytes();
        }
        Ok(())
    }
}
