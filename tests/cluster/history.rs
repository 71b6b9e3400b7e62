//! What clients did and were told, and what must be true of it afterwards.
//!
//! An outcome is only called failed when the answer says that nothing was done; whatever else is
//! no success counts as unknown: it may have happened, happen later, or never.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::linear::{Call, Operation};
use crate::support::client::Reply;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It was done; with the results.
    Done(Value),
    /// It was not done, and never will be.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// Answers that promise that nothing was done, by how they begin.
const DEFINITE: [&str; 4] = [
    "leader not found",
    "leader not reachable, nothing was done",
    "leadership is being handed over",
    "this node cannot write now",
];

impl Outcome {
    /// What an answer, or its absence, means.
    pub(crate) fn of(reply: io::Result<Reply>) -> Self {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Self::Unknown(format!("no answer: {:?}", error.kind())),
        };
        let json = reply.json();
        let text = match json["error"].as_str() {
            Some(error) => error.to_owned(),
            None if reply.status() != 200 => reply.text().trim_end().to_owned(),
            None => {
                let results = json["results"].as_array().into_iter().flatten();
                let mut errors = results.filter_map(|result| result["error"].as_str());
                match errors.next() {
                    Some(error) => format!("statement failed: {error}"),
                    None => return Self::Done(json["results"].clone()),
                }
            }
        };
        if DEFINITE.iter().any(|definite| text.starts_with(definite)) {
            return Self::Failed(text);
        }
        Self::Unknown(format!("{}: {text}", reply.status()))
    }
}

/// Everything that one client did.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Operations on registers. Times are nanoseconds of one clock.
    pub(crate) operations: Vec<Operation>,
    /// Reads at level weak: the register, the value, and when the read ended.
    pub(crate) weak: Vec<(u64, u64, u64)>,
    /// Ids that were acknowledged.
    pub(crate) inserted: BTreeSet<u64>,
    /// Ids that may be there.
    pub(crate) maybe: BTreeSet<u64>,
    /// Ids that were refused.
    pub(crate) refused: BTreeSet<u64>,
    /// Operations that were acknowledged, reads and writes.
    pub(crate) done: u64,
    /// Why others were not, with numbers of each.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// What must never be seen and was.
    pub(crate) violations: Vec<String>,
}

impl Record {
    /// Adds what another client did.
    pub(crate) fn merge(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.weak.extend(other.weak);
        self.inserted.extend(other.inserted);
        self.maybe.extend(other.maybe);
        self.refused.extend(other.refused);
        self.done += other.done;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.violations.extend(other.violations);
    }

    /// Counts why something was not acknowledged.
    pub(crate) fn note(&mut self, reason: &str) {
        // Numbers differ from case to case: indexes, times, ports.
        let bare: String =
            reason.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(120).collect();
        *self.reasons.entry(bare).or_default() += 1;
    }

    /// Fails when a weak read gave a value that nobody had tried to write by then.
    pub(crate) fn assert_weak_reads_make_sense(&self) {
        let mut written = BTreeMap::new();
        for operation in &self.operations {
            if let Call::Write(value) | Call::Cas(_, value) = operation.call {
                written.insert(value, operation.begin);
            }
        }
        for (key, value, end) in &self.weak {
            let is_known = written.get(value).is_some_and(|begin| begin < end);
            assert!(is_known, "a weak read of {key} gave {value}");
        }
    }

    /// Fails unless what is there is what was acknowledged, each once, and perhaps what nobody
    /// knows of, and nothing that was refused.
    pub(crate) fn assert_inserts(&self, found: &[u64]) {
        let unique: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(unique.len(), found.len(), "something was inserted twice");
        let lost: Vec<_> = self.inserted.difference(&unique).take(5).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?} of {}", self.inserted.len());
        let refused: Vec<_> = self.refused.intersection(&unique).take(5).collect();
        assert!(refused.is_empty(), "refused and there: {refused:?}");
        let sent = |id: &u64| self.inserted.contains(id) || self.maybe.contains(id);
        let strange: Vec<_> = unique.iter().filter(|id| !sent(id)).take(5).collect();
        assert!(strange.is_empty(), "never sent: {strange:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(inserted: &[u64], maybe: &[u64], refused: &[u64]) -> Record {
        Record {
            inserted: inserted.iter().copied().collect(),
            maybe: maybe.iter().copied().collect(),
            refused: refused.iter().copied().collect(),
            ..Record::default()
        }
    }

    fn fails(record: &Record, found: &[u64]) -> bool {
        std::panic::catch_unwind(|| record.assert_inserts(found)).is_err()
    }

    #[test]
    fn planted_losses_are_found() {
        let record = record(&[1, 2], &[3], &[4]);
        record.assert_inserts(&[1, 2]);
        record.assert_inserts(&[2, 3, 1]);
        assert!(fails(&record, &[1]), "lost");
        assert!(fails(&record, &[1, 2, 2]), "twice");
        assert!(fails(&record, &[1, 2, 3, 3]), "a maybe twice");
        assert!(fails(&record, &[1, 2, 4]), "refused");
        assert!(fails(&record, &[1, 2, 5]), "never sent");
    }
}
