//! The log's shape: which term stands at which index, without bodies.
//!
//! Terms never go down along the log, so it is kept as runs: a log of millions of entries written
//! in three terms takes three pairs of numbers.

use super::types::{EntryId, Index, Term};

/// Where the log begins, where it ends, and the term of everything between.
///
/// * `start.index <= last index`
/// * runs have rising first indexes, the first of them `start.index + 1`, and rising terms
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The last entry that is no longer in the log; index 0 when nothing was dropped.
    start: EntryId,
    /// First index of each run, and the run's term.
    runs: Vec<(Index, Term)>,
    last: Index,
}

impl Shape {
    /// A log that begins after `start` and holds one entry for each of `terms`.
    pub(super) fn new(start: EntryId, terms: impl IntoIterator<Item = Term>) -> Self {
        let mut shape = Self { start, runs: Vec::new(), last: start.index };
        for term in terms {
            shape.push(term);
        }
        shape
    }

    /// Adds an entry to the end, giving its place.
    pub(super) fn push(&mut self, term: Term) -> EntryId {
        debug_assert!(term >= self.last().term, "terms never go down along the log");
        self.last += 1;
        if self.last().term != term || self.runs.is_empty() {
            self.runs.push((self.last, term));
        }
        EntryId { term, index: self.last }
    }

    /// Drops everything behind `index`, which is not before the start.
    pub(super) fn truncate_after(&mut self, index: Index) {
        assert!(index >= self.start.index, "what was compacted cannot be truncated");
        self.runs.retain(|(first, _)| *first <= index);
        self.last = self.last.min(index);
    }

    /// Drops everything up to and including `start` (a checkpoint covers it).
    pub(super) fn compact_to(&mut self, start: EntryId) {
        if start.index >= self.last {
            *self = Self::new(start, []);
            return;
        }
        let kept = self.runs.iter().rposition(|(first, _)| *first <= start.index + 1);
        self.runs.drain(..kept.unwrap_or(0));
        if let Some(run) = self.runs.first_mut() {
            run.0 = start.index + 1;
        }
        self.start = start;
    }

    /// The last entry, or the start when there is none.
    pub(super) fn last(&self) -> EntryId {
        match self.runs.last() {
            Some((_, term)) => EntryId { term: *term, index: self.last },
            None => self.start,
        }
    }

    /// The term at `index`; `None` outside of the log (the start's own term is known).
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last {
            return None;
        }
        self.runs.iter().rev().find(|(first, _)| *first <= index).map(|(_, term)| *term)
    }

    /// The last entry that is no longer in the log.
    pub(super) fn start(&self) -> EntryId {
        self.start
    }

    /// The last entry at or before `index` whose term is at most `term`, or the start: where two
    /// logs may last have been equal, seen from the one that ends its terms there.
    pub(super) fn last_common(&self, index: Index, term: Term) -> EntryId {
        let index = index.min(self.last);
        let run = self
            .runs
            .iter()
            .enumerate()
            .rev()
            .find(|(_, (first, own))| *first <= index && *own <= term);
        let Some((place, (_, term))) = run else { return self.start };
        let end = self.runs.get(place + 1).map_or(self.last, |(next, _)| next - 1);
        EntryId { term: *term, index: end.min(index) }
    }

    /// Whether this very entry is in the log (or is its start).
    pub(super) fn holds(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(shape: &Shape) -> Vec<Option<Term>> {
        (0..=shape.last + 1).map(|index| shape.term_at(index)).collect()
    }

    #[test]
    fn runs_give_the_terms_that_were_pushed() {
        let shape = Shape::new(EntryId::default(), [1, 1, 2, 4, 4]);
        assert_eq!(terms(&shape), [Some(0), Some(1), Some(1), Some(2), Some(4), Some(4), None]);
        assert_eq!(shape.last(), EntryId { term: 4, index: 5 });
        assert!(!shape.holds(EntryId { term: 1, index: 3 }), "another term stands there");
    }

    #[test]
    fn the_last_common_entry_skips_whole_terms() {
        let shape = Shape::new(EntryId { term: 1, index: 2 }, [1, 3, 3, 6]);
        let common = |index, term| {
            let EntryId { term, index } = shape.last_common(index, term);
            (index, term)
        };
        assert_eq!(common(9, 9), (6, 6), "the other log goes on");
        assert_eq!(common(9, 5), (5, 3), "the other log ends in an older term");
        assert_eq!(common(4, 5), (4, 3), "and before it");
        assert_eq!(common(6, 2), (3, 1));
        assert_eq!(common(2, 9), (2, 1), "only the start is left");
    }

    #[test]
    fn truncation_and_compaction_keep_the_middle() {
        let mut shape = Shape::new(EntryId::default(), [1, 1, 2, 4, 4]);
        shape.truncate_after(4);
        shape.compact_to(EntryId { term: 1, index: 2 });
        assert_eq!(terms(&shape), [None, None, Some(1), Some(2), Some(4), None]);
        assert_eq!(shape.push(4), EntryId { term: 4, index: 5 });
        shape.compact_to(EntryId { term: 4, index: 9 });
        assert_eq!(shape.last(), EntryId { term: 4, index: 9 });
        assert_eq!(shape.push(5), EntryId { term: 5, index: 10 });
        assert_eq!(shape.term_at(10), Some(5));
    }
}
