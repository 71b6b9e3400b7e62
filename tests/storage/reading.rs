//! Readers beside the owner, memory, and what stays on disk.

use quorlite::storage::{Options, ReadError};

use crate::support::*;

#[test]
fn a_reader_sees_what_is_buffered_and_what_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 100_000, ahead_bytes: 0, recent_bytes_max: 5000 };
    let (mut log, _) = open(folder.path(), options);
    let reader = log.reader();
    for index in 1..=2000 {
        log.append(&sized(1, index, 300));
        if index % 50 == 0 {
            log.sync().unwrap();
            assert!(reader.recent_bytes() <= 5000);
        }
    }
    log.append(&sized(2, 2001, 10));
    for index in 1..=2000 {
        assert_eq!(reader.read(index).unwrap(), sized(1, index, 300));
    }
    assert_eq!(reader.read(2001).unwrap(), sized(2, 2001, 10));
    // Across the border between file and memory, in pieces.
    let mut next = 1900;
    while next <= 2001 {
        let some = reader.entries(next, 3000).unwrap();
        assert!(!some.is_empty() && some.len() < 10);
        for entry in some {
            assert_eq!(entry.id.index, next);
            next += 1;
        }
    }
    assert!(reader.entries(2002, 3000).unwrap().is_empty());
}

#[test]
fn readers_keep_reading_while_the_log_is_written_rolled_and_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4000, ahead_bytes: 1000, recent_bytes_max: 1000 };
    let (mut log, _) = open(folder.path(), options);
    log.append(&entry(1, 1));
    let reader = log.reader();
    let thread = quorlite::os::spawn("reader", move || {
        let mut next = 1;
        while next <= 3000 {
            match reader.entries(next, 500) {
                Ok(some) => {
                    for found in some {
                        assert_eq!(found, entry(1, next));
                        next += 1;
                    }
                }
                Err(ReadError::Compacted { start }) => next = start.index + 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    for index in 2..=3000 {
        log.append(&entry(1, index));
        if index % 7 == 0 {
            log.sync().unwrap();
        }
        if index % 500 == 0 {
            log.compact(id(1, index - 300)).unwrap();
        }
    }
    log.sync().unwrap();
    thread.unwrap().join().unwrap();
    assert!(image(folder.path()).len() < 30, "old segments are removed");
}

#[test]
fn damage_that_comes_later_is_an_error_and_not_an_absence() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), Options { recent_bytes_max: 0, ..exact() });
    log.append(&sized(1, 1, 100));
    log.append(&sized(1, 2, 100));
    log.sync().unwrap();
    let (name, mut bytes) = only_file(&image(folder.path()));
    let at = bytes.len() - 50;
    bytes[at] ^= 1;
    restore(folder.path(), &[(name, bytes)].into());
    assert_eq!(log.read(1).unwrap(), sized(1, 1, 100));
    assert!(matches!(log.read(2), Err(ReadError::Damaged { .. })));
}

#[test]
fn long_bodies_come_back_whole_and_memory_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), Options::default());
    let written: Vec<_> = [300_001, 12, 5_000_003, 262_144, 262_143, 0]
        .into_iter()
        .zip(1..)
        .map(|(length, index)| sized(1, index, length))
        .collect();
    for entry in &written {
        log.append(entry);
    }
    log.sync().unwrap();
    assert!(log.reader().recent_bytes() <= 2 << 20);
    drop(log);
    let (log, recovered) = open(folder.path(), Options::default());
    assert_eq!(recovered.cut, None);
    assert_eq!(entries(&log), written);
}

#[test]
fn the_hard_state_outlives_the_segment_it_was_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), tiny());
    log.set_hard_state(&hard_state(3, "somebody"));
    for index in 1..=50 {
        log.append(&entry(3, index));
        log.sync().unwrap();
    }
    log.compact(id(3, 50)).unwrap();
    assert_eq!(image(folder.path()).len(), 1);
    drop(log);
    let (log, recovered) = open(folder.path(), tiny());
    assert_eq!(recovered.hard_state, hard_state(3, "somebody"));
    assert_eq!(log.last(), id(3, 50));
}

#[test]
fn a_fresh_log_takes_little_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), Options::default());
    log.append(&entry(1, 1));
    log.sync().unwrap();
    let on_disk: usize = image(folder.path()).values().map(Vec::len).sum();
    assert_eq!(log.bytes_on_disk(), on_disk as u64);
    assert!(on_disk < 300 << 10, "{on_disk}");
}
