//! Logs in temporary folders, their files as bytes, and a small seeded generator.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quorlite::raft::{EntryId, EntryKind, HardState, Index, Term};
use quorlite::storage::{Entry, Log, OpenError, Options, Recovered};

/// The files of a log by name.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// No zeros ahead, so that a file holds records only.
pub(crate) fn exact() -> Options {
    Options { ahead_bytes: 0, ..Options::default() }
}

/// Segments so small that every few entries begin a new one.
pub(crate) fn tiny() -> Options {
    Options { segment_bytes: 600, ahead_bytes: 128, recent_bytes_max: 300 }
}

pub(crate) fn id(term: Term, index: Index) -> EntryId {
    EntryId { term, index }
}

/// An entry whose body is told by its id, so that a changed one is noticed.
pub(crate) fn entry(term: Term, index: Index) -> Entry {
    let length = usize::try_from(index * 7 % 60).expect("a small number");
    sized(term, index, length)
}

pub(crate) fn sized(term: Term, index: Index, length: usize) -> Entry {
    let kind = match index % 5 {
        0 => EntryKind::Membership,
        1 => EntryKind::Noop,
        _ => EntryKind::Command,
    };
    let text = format!("{term}.{index};");
    Entry { id: id(term, index), kind, body: text.bytes().cycle().take(length).collect() }
}

pub(crate) fn hard_state(term: Term, vote: &str) -> HardState {
    HardState { term, vote: (!vote.is_empty()).then(|| vote.to_owned()) }
}

pub(crate) fn open(folder: &Path, options: Options) -> (Log, Recovered) {
    Log::open(folder, options).expect("the log opens")
}

/// All live entries.
pub(crate) fn entries(log: &Log) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let next = log.start().index + 1 + all.len() as u64;
        let more = log.entries(next, 20_000).expect("the log can be read");
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// What the folder holds now.
pub(crate) fn image(folder: &Path) -> Image {
    let mut files = Image::new();
    for found in fs::read_dir(folder).expect("the folder is there") {
        let found = found.expect("it can be listed");
        let name = found.file_name().into_string().expect("names are plain");
        files.insert(name, fs::read(found.path()).expect("the file can be read"));
    }
    files
}

/// Makes the folder hold exactly these files.
pub(crate) fn restore(folder: &Path, image: &Image) {
    for name in self::image(folder).into_keys() {
        if !image.contains_key(&name) {
            fs::remove_file(folder.join(name)).expect("it can be removed");
        }
    }
    for (name, bytes) in image {
        fs::write(folder.join(name), bytes).expect("it can be written");
    }
}

/// The one file of a log that has one segment.
pub(crate) fn only_file(image: &Image) -> (String, Vec<u8>) {
    assert_eq!(image.len(), 1, "one segment was expected");
    let (name, bytes) = image.first_key_value().expect("there is one");
    (name.clone(), bytes.clone())
}

pub(crate) fn is_damaged(opened: &Result<(Log, Recovered), OpenError>) -> bool {
    matches!(opened, Err(OpenError::Damaged { .. }))
}

/// Xorshift: the same numbers for the same seed, for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    pub(crate) fn below_size(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("it is below a size")
    }

    pub(crate) fn is_chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
