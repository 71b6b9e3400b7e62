//! Whatever a crash leaves, the database is at exactly the entry its mark names.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use quorlite::db::mark::{Mark, State};
use quorlite::db::recovery::{self, RecoveryError};

use crate::support::{
    Node, assert_sound, file_ending, folder, generous, open_writer, photograph, query,
};

const TABLE: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b)";

fn insert(node: &mut Node, count: u64) {
    for _ in 0..count {
        let next = node.index;
        node.apply(&format!("INSERT INTO t VALUES({next}, hex(randomblob(700)))"));
    }
}

/// Damages all that no sync has covered: what is in the WAL behind the frames that count.
fn damage_unsynced(folder: &Path) {
    let mark = Mark::read(folder).expect("the test is right");
    let wal = folder.join(format!("{}-wal", mark.database));
    let Ok(bytes) = fs::read(&wal) else { return };
    let counted = match mark.state {
        State::Draining { frames, .. } => 32 + frames as usize * (24 + 4096),
        State::Whole(_) => 0,
    };
    let mut damaged = bytes;
    for (at, byte) in damaged.iter_mut().enumerate().skip(counted) {
        if at % 97 == 0 {
            *byte ^= 0x5a;
        }
    }
    damaged.extend([0xee; 5000]);
    fs::write(&wal, damaged).expect("the test is right");
    for name in [format!("{}-shm", mark.database), "mark.tmp".to_owned()] {
        fs::write(folder.join(name), [0xcc; 40_000]).expect("the test is right");
    }
}

/// The database after recovery: its mark's entry and what it holds must agree.
fn check(folder: &Path) -> u64 {
    let node = Node::start(folder);
    assert_sound(&node.writer);
    let applied = node.index;
    if applied > 0 {
        let newest = query(&node.writer, "SELECT coalesce(max(a), 0), count(*) FROM t");
        let rows = applied - 1;
        let expected = if rows == 0 { 0 } else { rows };
        assert_eq!(newest, [format!("Integer({expected}) | Integer({rows})")], "rows");
    }
    applied
}

#[test]
fn a_crash_anywhere_between_checkpoints_leaves_the_last_checkpoint() {
    let home = folder();
    let mut node = Node::start(home.path());
    let pins = generous();
    let mut expected = 0;
    node.apply(TABLE);
    for round in 0..12 {
        insert(&mut node, 1 + round * 3);
        let crashed = photograph(home.path());
        damage_unsynced(crashed.path());
        assert_eq!(check(crashed.path()), expected, "before checkpoint {round}");
        // A reader of an older state makes every third checkpoint a partial one.
        let reader = (round % 3 == 1).then(|| node.snapshot(&pins));
        if reader.is_some() {
            insert(&mut node, 2);
        }
        let checkpoint = node.checkpoint();
        assert_eq!(checkpoint.complete, reader.is_none(), "checkpoint {round}");
        assert_eq!(checkpoint.compacted_to, node.at());
        expected = node.index;
        let crashed = photograph(home.path());
        damage_unsynced(crashed.path());
        assert_eq!(check(crashed.path()), expected, "after checkpoint {round}");
        assert_eq!(check(crashed.path()), expected, "started twice after {round}");
        drop(reader);
    }
}

#[test]
fn a_crash_between_copying_and_marking_is_made_good() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    insert(&mut node, 20);
    let before = photograph(home.path());
    node.checkpoint();
    // As if the last step had not happened: the main file is new, the mark is the one before.
    let mark = Mark::read(home.path()).unwrap();
    let wal = fs::read(file_ending(home.path(), "-wal")).unwrap();
    let salt = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().unwrap());
    let frames = u32::try_from((wal.len() - 32) / (24 + 4096)).unwrap();
    let state = State::Draining { frames, salts: [salt(16), salt(20)] };
    Mark { state, ..mark }.write(home.path()).unwrap();
    let crashed = photograph(home.path());
    damage_unsynced(crashed.path());
    assert_eq!(check(crashed.path()), node.index);
    // As if only part of the main file had reached the disk.
    let crashed = photograph(home.path());
    let old = file_ending(before.path(), ".sqlite");
    fs::copy(old, file_ending(crashed.path(), ".sqlite")).unwrap();
    assert_eq!(check(crashed.path()), node.index);
}

#[test]
fn with_patience_the_wal_starts_over_in_spite_of_readers() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    insert(&mut node, 50);
    let pins = generous();
    let reader = node.snapshot(&pins);
    insert(&mut node, 50);
    let leaver = std::thread::Builder::new()
        .spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(reader);
        })
        .unwrap();
    let standing = node.standing();
    let patience = Duration::from_secs(20);
    let checkpoint = node.marked.checkpoint(&mut node.writer, &standing, patience).unwrap();
    leaver.join().unwrap();
    assert!(checkpoint.complete, "it waited for the reader");
    let before = checkpoint.frames;
    insert(&mut node, 1);
    assert!(node.checkpoint().frames < before, "the WAL has started over");
    drop(node);
    assert_eq!(check(home.path()), 102);
}

#[test]
fn entries_after_recovery_are_applied_once() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    insert(&mut node, 5);
    let reader = node.snapshot(&generous());
    insert(&mut node, 5);
    assert!(!node.checkpoint().complete);
    insert(&mut node, 7);
    drop(reader);
    let crashed = photograph(home.path());
    damage_unsynced(crashed.path());
    let mut again = Node::start(crashed.path());
    assert_eq!(again.index, 11);
    insert(&mut again, 7);
    assert!(again.checkpoint().complete);
    drop(again);
    assert_eq!(check(crashed.path()), 18);
}

#[test]
fn a_wal_that_is_gone_or_damaged_is_refused() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    insert(&mut node, 5);
    let reader = node.snapshot(&generous());
    insert(&mut node, 5);
    assert!(!node.checkpoint().complete);
    drop(reader);
    let refuse = |spoil: &dyn Fn(&Path)| -> String {
        let crashed = photograph(home.path());
        spoil(&file_ending(crashed.path(), "-wal"));
        let error = recovery::recover(crashed.path()).unwrap_err();
        assert!(matches!(error, RecoveryError::Changed { .. }), "{error}");
        error.to_string()
    };
    assert!(refuse(&|wal| fs::remove_file(wal).unwrap()).contains("missing or damaged"));
    assert!(refuse(&|wal| File::create(wal).map(drop).unwrap()).contains("missing or damaged"));
    let length = fs::metadata(file_ending(home.path(), "-wal")).unwrap().len();
    let short = refuse(&|wal| {
        OpenOptions::new().write(true).open(wal).unwrap().set_len(length - 1).unwrap();
    });
    assert!(short.contains("good frames of"), "{short}");
    for at in (0..length).step_by(1009) {
        let flipped = refuse(&|wal| {
            let mut bytes = fs::read(wal).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 1;
            fs::write(wal, bytes).unwrap();
        });
        assert!(flipped.contains("is not as this node left it"), "byte {at}: {flipped}");
    }
}

#[test]
fn a_main_file_that_another_program_wrote_is_refused() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    insert(&mut node, 5);
    assert!(node.checkpoint().complete);
    insert(&mut node, 5);
    drop(node);
    let crashed = photograph(home.path());
    // What the sqlite3 shell does on a stopped node's file: the last close copies the WAL.
    let database = file_ending(crashed.path(), ".sqlite");
    std::thread::sleep(Duration::from_millis(20));
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("UPDATE t SET b = 'other'")
        .unwrap();
    let error = recovery::recover(crashed.path()).unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
    assert!(error.contains("load the copy"), "{error}");
    // Reading alone changes nothing, and is no reason to refuse.
    let crashed = photograph(home.path());
    let reader = open_writer(&file_ending(crashed.path(), ".sqlite"));
    query(&reader, "SELECT count(*) FROM t");
    drop(reader);
    assert_eq!(check(crashed.path()), 6);
}

#[test]
fn a_mark_that_is_gone_or_damaged_is_refused() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    assert!(node.checkpoint().complete);
    let crashed = photograph(home.path());
    fs::remove_file(crashed.path().join("mark")).unwrap();
    let error = recovery::recover(crashed.path()).unwrap_err();
    assert!(matches!(error, RecoveryError::Mark { .. }), "{error}");
    let crashed = photograph(home.path());
    OpenOptions::new()
        .append(true)
        .open(crashed.path().join("mark"))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    let error = recovery::recover(crashed.path()).unwrap_err().to_string();
    assert!(error.contains("checksum is wrong"), "{error}");
}

#[test]
fn a_first_start_that_crashed_is_begun_again() {
    let home = folder();
    recovery::recover(home.path()).unwrap();
    let crashed = photograph(home.path());
    fs::remove_file(crashed.path().join("mark")).unwrap();
    fs::write(crashed.path().join("mark.tmp"), b"{").unwrap();
    assert_eq!(check(crashed.path()), 0);
    // But a database that was written to is not thrown away.
    let mut node = Node::start(home.path());
    node.apply(TABLE);
    let crashed = photograph(home.path());
    fs::remove_file(crashed.path().join("mark")).unwrap();
    assert!(recovery::recover(crashed.path()).is_err(), "a WAL without a mark");
}
