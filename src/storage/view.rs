//! Where every live entry lies: the log's shape in memory.
//!
//! One value, changed by the log's owner and looked at by its readers, behind a lock that is
//! never held while a file is touched. What it knows of a gigabyte of log is some kilobytes:
//! where terms begin, and an anchor every `ANCHOR_BYTES`, from which a reader walks on.
//!
//! Invariants: `start.index <= last.index`; anchors and terms are in order of index and all lie
//! in `start.index < index <= last.index`, but that the first of each may lie before it; from an
//! anchor to the next one the entries lie in one segment, in order, none dropped between them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::segment::Segment;
use crate::raft::{EntryId, EntryKind, Index, Term};

/// Bytes of a segment between two anchors. To find an entry, half of this is read in vain; with
/// a tenth of it the anchors of a large log would take megabytes.
const ANCHOR_BYTES: u64 = 64 << 10;

/// What an entry in memory takes beside its body, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// One numbered element of the log, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place and term.
    pub id: EntryId,
    /// What it is for.
    pub kind: EntryKind,
    /// What it asks for. Shared, so that sending, keeping and writing it copies nothing.
    pub body: Arc<[u8]>,
}

impl Entry {
    fn bytes(&self) -> usize {
        bytes_in_memory(self.body.len())
    }
}

/// What an entry with a body of this length takes in memory.
pub(super) const fn bytes_in_memory(body_bytes: usize) -> usize {
    body_bytes + ENTRY_OVERHEAD_BYTES
}

/// The place of an entry in a file.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    pub(super) index: Index,
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
}

/// Entries of one segment that can be read in one go: from the anchor's up to `last`.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) anchor: Anchor,
    pub(super) last: Index,
}

#[derive(Debug, Default)]
pub(super) struct View {
    /// The last entry that was dropped from the beginning.
    start: EntryId,
    /// The last entry there is; `start` when there is none.
    last: EntryId,
    /// The first entry of each term.
    terms: VecDeque<EntryId>,
    anchors: VecDeque<Anchor>,
    /// Whether the next entry cannot be reached from the last anchor.
    is_anchor_due: bool,
    /// In order of sequence; the last one is written to.
    segments: VecDeque<Arc<Segment>>,
    /// The newest entries, the last of which is `last`.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
}

impl View {
    /// Starts over after `id`: no entry is held.
    pub(super) fn reset(&mut self, id: EntryId) {
        self.start = id;
        self.last = id;
        self.terms.clear();
        self.anchors.clear();
        self.is_anchor_due = true;
        self.recent.clear();
        self.recent_bytes = 0;
    }

    pub(super) fn add_segment(&mut self, segment: Arc<Segment>) {
        self.segments.push_back(segment);
        self.is_anchor_due = true;
    }

    /// Adds the next entry, which lies in the last segment.
    ///
    /// # Panics
    /// When it is not the next one: then the core and the log disagree about the log's end.
    pub(super) fn push(&mut self, id: EntryId, offset: u64) {
        assert_eq!(id.index, self.last.index + 1, "entries are appended in order");
        if self.terms.back().is_none_or(|run| run.term != id.term) {
            self.terms.push_back(id);
        }
        let is_near = |anchor: &Anchor| offset - anchor.offset < ANCHOR_BYTES;
        if self.is_anchor_due || !self.anchors.back().is_some_and(is_near) {
            let segment = self.segments.back().expect("there is always a segment to write to");
            let segment = Arc::clone(segment);
            self.anchors.push_back(Anchor { index: id.index, segment, offset });
            self.is_anchor_due = false;
        }
        self.last = id;
    }

    /// Keeps an entry in memory that was pushed just now.
    pub(super) fn keep_recent(&mut self, entry: Entry) {
        self.recent_bytes += entry.bytes();
        self.recent.push_back(entry);
    }

    /// Drops the oldest entries from memory until the rest fits. They must be in the file.
    pub(super) fn shrink_recent(&mut self, bytes_max: usize) {
        while self.recent_bytes > bytes_max {
            let Some(entry) = self.recent.pop_front() else { break };
            self.recent_bytes -= entry.bytes();
        }
    }

    /// Drops what is behind `last`, which becomes the last entry.
    pub(super) fn truncate(&mut self, last: EntryId) {
        while self.terms.pop_back_if(|run| run.index > last.index).is_some() {}
        while self.anchors.pop_back_if(|anchor| anchor.index > last.index).is_some() {}
        while let Some(entry) = self.recent.pop_back_if(|entry| entry.id.index > last.index) {
            self.recent_bytes -= entry.bytes();
        }
        self.is_anchor_due = true;
        self.last = last;
        // Only at start: what was cut off reached back into segments that are gone by now.
        if last.index < self.start.index {
            self.start = last;
        }
    }

    /// Drops the entries up to `start`, unless more has been dropped already.
    pub(super) fn compact(&mut self, start: EntryId) {
        if start.index <= self.start.index {
            return;
        }
        self.start = start;
        let first = start.index + 1;
        while self.terms.get(1).is_some_and(|run| run.index <= first) {
            self.terms.pop_front();
        }
        while self.anchors.get(1).is_some_and(|anchor| anchor.index <= first) {
            self.anchors.pop_front();
        }
        while let Some(entry) = self.recent.pop_front_if(|entry| entry.id.index < first) {
            self.recent_bytes -= entry.bytes();
        }
        if self.start.index == self.last.index {
            self.terms.clear();
            self.anchors.clear();
            self.is_anchor_due = true;
        }
    }

    /// Takes out the oldest segment if no live entry is in it and it is not written to.
    pub(super) fn take_dead_segment(&mut self) -> Option<Arc<Segment>> {
        let oldest = self.segments.front()?.sequence;
        let needed = match self.anchors.front() {
            Some(anchor) => anchor.segment.sequence,
            None => self.segments.back()?.sequence,
        };
        if oldest < needed { self.segments.pop_front() } else { None }
    }

    pub(super) const fn start(&self) -> EntryId {
        self.start
    }

    pub(super) const fn last(&self) -> EntryId {
        self.last
    }

    pub(super) const fn segments(&self) -> &VecDeque<Arc<Segment>> {
        &self.segments
    }

    pub(super) const fn terms(&self) -> &VecDeque<EntryId> {
        &self.terms
    }

    pub(super) const fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// The term of an entry that is held, or of the last one dropped.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last.index {
            return None;
        }
        let runs = self.terms.partition_point(|run| run.index <= index);
        Some(self.terms[runs - 1].term)
    }

    /// Entries in memory from `from` on, and whether `from` itself is one of them.
    pub(super) fn recent_from(&self, from: Index) -> Option<impl Iterator<Item = &Entry>> {
        let first = self.recent.front()?.id.index;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        (skipped < self.recent.len()).then(|| self.recent.range(skipped..))
    }

    /// The entries around `index` that can be read in one go; `index` is not a recent one.
    ///
    /// It ends before the recent ones, since the last of those may not be in the file yet.
    pub(super) fn span(&self, index: Index) -> Option<Span> {
        let anchors = self.anchors.partition_point(|anchor| anchor.index <= index);
        let anchor = self.anchors.get(anchors.checked_sub(1)?)?.clone();
        let last = self.anchors.get(anchors).map_or(self.last.index, |next| next.index - 1);
        let last = self.recent.front().map_or(last, |first| last.min(first.id.index - 1));
        Some(Span { anchor, last })
    }
}
