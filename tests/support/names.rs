//! Names that a power cut takes back: files and folders made, renamed and removed without a sync
//! of the folder they are in.
//!
//! What was done to one folder is undone from its end, as file systems keep that order; how far
//! is chance, and another chance in each folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Random;

/// What was done to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Made,
    Removed,
    Renamed,
}

impl Deed {
    /// What the journal's kind of a record stands for.
    pub(super) fn of(kind: u64) -> Option<Self> {
        match kind {
            10 => Some(Self::Made),
            11 => Some(Self::Removed),
            12 => Some(Self::Renamed),
            _ => None,
        }
    }
}

/// One change of a name that is not known to be synced.
pub(super) struct Change {
    pub(super) sequence: u64,
    pub(super) deed: Deed,
    pub(super) path: PathBuf,
    /// Where a renamed file was before.
    pub(super) before: PathBuf,
    /// The file that had the name before is kept under this number; 0: there was none.
    pub(super) kept: u64,
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    Everything,
    Some,
}

/// Takes back what each folder may lose; the number of changes taken back.
pub(super) fn take_back<Folder>(
    folders: BTreeMap<Folder, Vec<Change>>,
    kept: &Path,
    loss: Loss,
    random: &mut Random,
) -> u64 {
    let mut lost: Vec<Change> = Vec::new();
    for mut changes in folders.into_values() {
        let count = changes.len() as u64;
        let stays = match loss {
            Loss::Nothing => count,
            Loss::Everything => 0,
            Loss::Some => random.below(count + 1),
        };
        lost.extend(changes.drain(usize::try_from(stays).expect("a count of this memory")..));
    }
    lost.sort_by_key(|change| std::cmp::Reverse(change.sequence));
    for change in &lost {
        undo(change, kept);
    }
    lost.len() as u64
}

fn undo(change: &Change, kept: &Path) {
    let path = &change.path;
    if change.deed == Deed::Made {
        // It may be gone with the folder it was in.
        if path.is_dir() {
            fs::remove_dir_all(path).ok()
        } else {
            fs::remove_file(path).ok()
        };
        return;
    }
    if change.deed == Deed::Renamed {
        fs::rename(path, &change.before)
            .unwrap_or_else(|error| panic!("{} back: {error}", path.display()));
    }
    if change.kept > 0 {
        let old = kept.join(change.kept.to_string());
        fs::rename(&old, path)
            .unwrap_or_else(|error| panic!("{} as before: {error}", path.display()));
    }
}
