//! Power cuts: of the batch that was being synced, any sectors are on disk and any are not.

use crate::support::*;
use quorlite::raft::HardState;
use quorlite::storage::{Entry, Log, Options};

const SECTOR: usize = 512;

/// What the log must hold after the cut at the least, and may hold at the most.
struct Promise {
    synced: Vec<Entry>,
    hard_state: HardState,
}

/// Reads the file as it may be after a cut between two states of it.
fn torn(before: &[u8], after: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = after.to_vec();
    let kept_percent = [5, 50, 95][random.below_size(3)];
    let length = match random.below(3) {
        0 => before.len(),
        1 => after.len(),
        _ => before.len() + random.below_size(after.len() - before.len() + 1),
    };
    let mut old = before.to_vec();
    old.resize(after.len(), 0);
    for (new, old) in bytes.chunks_mut(SECTOR).zip(old.chunks(SECTOR)) {
        if !random.is_chance(kept_percent) {
            new.copy_from_slice(old);
        }
    }
    bytes.truncate(length);
    bytes
}

fn write_batch(log: &mut Log, random: &mut Random, held: &mut Vec<Entry>, term: u64) -> HardState {
    if !held.is_empty() && random.is_chance(20) {
        let keep = held.len() - random.below_size(held.len().min(3));
        log.truncate_from(keep as u64);
        held.truncate(keep - 1);
    }
    let state = hard_state(term, if random.is_chance(50) { "n1" } else { "" });
    log.set_hard_state(&state);
    for _ in 0..=random.below(6) {
        let length = random.below_size(1500);
        let entry = sized(term, held.len() as u64 + 1, length);
        log.append(&entry);
        held.push(entry);
    }
    log.sync().expect("there is room");
    state
}

fn check(folder: &std::path::Path, promise: &Promise, after: &Promise, seed: u64) {
    let options = Options { ahead_bytes: 1000, ..Options::default() };
    let (mut log, recovered) = open(folder, options.clone());
    let held = entries(&log);
    // Either the batch's truncation came through, or all that was synced is there.
    let is_old = held.starts_with(&promise.synced);
    let common = promise.synced.iter().zip(&after.synced).take_while(|(a, b)| a == b).count();
    let is_new = held.len() >= common && after.synced.starts_with(&held);
    assert!(is_old || is_new, "seed {seed}: something synced is gone or changed");
    if is_old && held.len() > promise.synced.len() {
        assert!(is_new, "seed {seed}: an entry nobody wrote");
    }
    let state = &recovered.hard_state;
    assert!(*state == promise.hard_state || *state == after.hard_state, "seed {seed}: {state:?}");
    // Going on and starting again finds the new records and nothing of the cut batch.
    let next = sized(99, held.len() as u64 + 1, 700);
    log.append(&next);
    log.sync().expect("there is room");
    drop(log);
    let (log, recovered) = open(folder, options);
    assert_eq!(recovered.cut, None, "seed {seed}");
    assert_eq!(entries(&log), [held, vec![next]].concat(), "seed {seed}");
}

#[test]
fn nothing_synced_is_lost_and_nothing_changed_by_any_power_cut() {
    let work = tempfile::tempdir().unwrap();
    let cut = tempfile::tempdir().unwrap();
    let mut images = 0;
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let folder = work.path().join(seed.to_string());
        let ahead_bytes = if seed % 2 == 0 { 0 } else { 8 << 10 };
        let (mut log, _) = open(&folder, Options { ahead_bytes, ..Options::default() });
        let mut held = Vec::new();
        let mut before = Promise { synced: Vec::new(), hard_state: HardState::default() };
        for term in 1..=10 {
            let (name, old) = only_file(&image(&folder));
            let hard_state = write_batch(&mut log, &mut random, &mut held, term);
            let (_, new) = only_file(&image(&folder));
            let after = Promise { synced: held.clone(), hard_state };
            for _ in 0..8 {
                let bytes = torn(&old, &new, &mut random);
                restore(cut.path(), &[(name.clone(), bytes)].into());
                check(cut.path(), &before, &after, seed);
                images += 1;
            }
            before = after;
        }
    }
    assert_eq!(images, 2400);
}

#[test]
fn a_lost_sector_before_the_last_batch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), exact());
    let mut ends = Vec::new();
    for index in 1..=3 {
        log.append(&sized(1, index, 3000));
        log.sync().unwrap();
        ends.push(only_file(&image(folder.path())).1.len());
    }
    drop(log);
    let (name, bytes) = only_file(&image(folder.path()));
    for from in (0..bytes.len()).step_by(SECTOR) {
        let mut lost = bytes.clone();
        let to = (from + SECTOR).min(lost.len());
        lost[from..to].fill(0);
        restore(folder.path(), &[(name.clone(), lost)].into());
        let opened = Log::open(folder.path(), exact());
        // The last batch's first header is what tells; with it goes the knowledge.
        assert_eq!(is_damaged(&opened), to <= ends[1], "sector at {from}");
    }
}
