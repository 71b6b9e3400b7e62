//! No room: a limit on the length of files stands for a full disk, in a process of its own.

use std::process::Command;

use quorlite::storage::{Log, LogError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

const CHILD: &str = "QUORLITE_TEST_FULL_CHILD";

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).expect("it can be lowered");
}

fn is_full(result: &Result<(), LogError>) -> bool {
    matches!(result, Err(LogError::Full { .. }))
}

#[test]
fn a_full_disk_drops_the_batch_and_no_more() {
    // The limit is for the whole process, so this test runs again in one of its own.
    if std::env::var_os(CHILD).is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "full::a_full_disk_drops_the_batch_and_no_more"])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    // Without a handler, the signal that comes with the limit would end the process.
    let flag = std::sync::Arc::default();
    signal_hook::flag::register(25, flag).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), exact());
    log.set_hard_state(&hard_state(1, "n1"));
    for index in 1..=5 {
        log.append(&entry(1, index));
    }
    log.sync().unwrap();
    let before = image(folder.path());
    let length = only_file(&before).1.len() as u64;

    // Room for the batch's first record, and for nothing more.
    limit(Some(length + 100));
    for _ in 0..2 {
        log.truncate_from(5);
        log.append(&sized(2, 5, 10));
        log.append(&sized(2, 6, 500));
        log.set_hard_state(&hard_state(2, "n2"));
        assert_eq!(log.last(), id(2, 6));
        assert!(is_full(&log.sync()));
        unchanged(&log, &before, folder.path());
    }
    assert!(is_full(&{
        for index in 6..=8 {
            log.append(&entry(1, index));
        }
        log.reset(id(3, 50))
    }));
    unchanged(&log, &before, folder.path());

    limit(None);
    log.append(&entry(3, 6));
    log.sync().unwrap();
    drop(log);
    let (log, recovered) = open(folder.path(), exact());
    assert_eq!(recovered.cut, None);
    assert_eq!(recovered.hard_state, hard_state(1, "n1"));
    assert_eq!((log.last(), entries(&log).len()), (id(3, 6), 6));
}

fn unchanged(log: &Log, before: &Image, folder: &std::path::Path) {
    assert_eq!(image(folder), *before, "the file");
    assert_eq!(log.last(), id(1, 5), "the end");
    assert_eq!(log.hard_state(), &hard_state(1, "n1"), "the hard state");
    let expected: Vec<_> = (1..=5).map(|index| entry(1, index)).collect();
    assert_eq!(entries(log), expected, "the entries");
}
