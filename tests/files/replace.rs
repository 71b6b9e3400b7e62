//! The database is replaced whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use quorlite::db::mark::Mark;
use quorlite::db::replace::{self, ReplaceError};
use rusqlite::Connection;

use crate::support::{Node, assert_sound, folder, generous, open_writer, photograph, query};

fn body(folder: &Path, value: i64) -> PathBuf {
    let path = folder.join(format!("body-{value}"));
    let connection = Connection::open(&path).expect("the test is right");
    let sql = format!("CREATE TABLE t(a); INSERT INTO t VALUES({value})");
    connection.execute_batch(&sql).expect("the test is right");
    path
}

fn value(folder: &Path) -> Vec<String> {
    let node = Node::start(folder);
    assert_sound(&node.writer);
    query(&node.writer, "SELECT a FROM t")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("the test is right")
        .map(|entry| {
            entry.expect("the test is right").file_name().into_string().expect("the test is right")
        })
        .filter(|name| !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_new_database_is_there_and_the_old_one_is_kept_for_undo() {
    let (home, bodies) = (folder(), folder());
    let mut node = Node::start(home.path());
    for round in 1..=3 {
        if round > 1 {
            node.apply(&format!("UPDATE t SET a = a + {round}"));
        }
        let old = node.checkpoint();
        let file = body(bodies.path(), round * 10);
        node.index += 1;
        let standing = node.standing();
        let path = replace::replace(&mut node.marked, Some(&old), &file, standing).unwrap();
        assert!(file.exists(), "the body is the caller's to remove");
        node.writer = open_writer(&path);
        assert_eq!(query(&node.writer, "PRAGMA journal_mode"), ["text wal"]);
        assert_eq!(query(&node.writer, "SELECT a FROM t"), [format!("Integer({})", round * 10)]);
    }
    let mark = Mark::read(home.path()).unwrap();
    assert_eq!(mark.database, "database-4.sqlite");
    assert_eq!(mark.undo.as_deref(), Some("database-3.sqlite"));
    // The first database was never written to, and the second's turn is over.
    assert_eq!(
        names(home.path()),
        ["database-3.sqlite", "database-4.sqlite", "database-4.sqlite-wal", "mark"]
    );
    let undo = Connection::open(home.path().join("database-3.sqlite")).unwrap();
    assert_eq!(query(&undo, "SELECT a FROM t"), ["Integer(23)"]);
}

#[test]
fn a_crash_before_the_mark_leaves_the_old_and_after_it_the_new_one() {
    let (home, bodies) = (folder(), folder());
    let mut node = Node::start(home.path());
    node.apply("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    let old = node.checkpoint();
    let file = body(bodies.path(), 2);
    let before = photograph(home.path());
    // Between the link and the mark: the new file is there, whole or half.
    for bytes in [fs::read(&file).unwrap(), vec![7; 5000]] {
        let crashed = photograph(home.path());
        fs::write(crashed.path().join("database-2.sqlite"), bytes).unwrap();
        fs::write(crashed.path().join("database-2.sqlite-wal"), [1; 99]).unwrap();
        fs::write(crashed.path().join("mark.tmp"), "{}").unwrap();
        assert_eq!(value(crashed.path()), ["Integer(1)"]);
        assert!(!crashed.path().join("database-2.sqlite").exists(), "leftovers are swept");
    }
    node.index += 1;
    let standing = node.standing();
    replace::replace(&mut node.marked, Some(&old), &file, standing).unwrap();
    let crashed = photograph(home.path());
    assert_eq!(value(crashed.path()), ["Integer(2)"]);
    // After the mark, before the old files were removed.
    fs::copy(before.path().join("database-1.sqlite"), crashed.path().join("database-0.sqlite"))
        .unwrap();
    assert_eq!(value(crashed.path()), ["Integer(2)"]);
    assert!(!crashed.path().join("database-0.sqlite").exists(), "leftovers are swept");
    assert!(crashed.path().join("database-1.sqlite").exists(), "the undo point is kept");
}

#[test]
fn readers_finish_on_the_old_database() {
    let (home, bodies) = (folder(), folder());
    let mut node = Node::start(home.path());
    node.apply("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    let reader = open_writer(&node.marked.database());
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(query(&reader, "SELECT a FROM t"), ["Integer(1)"]);
    node.apply("UPDATE t SET a = 5");
    let old = node.checkpoint();
    assert!(!old.complete, "a reader is in the way");
    let file = body(bodies.path(), 2);
    node.index += 1;
    let standing = node.standing();
    let path = replace::replace(&mut node.marked, Some(&old), &file, standing).unwrap();
    node.writer = open_writer(&path);
    node.apply("UPDATE t SET a = 3");
    assert_eq!(query(&reader, "SELECT a FROM t"), ["Integer(1)"]);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(query(&reader, "SELECT a FROM t"), ["Integer(5)"]);
    drop(reader);
    // The undo point is whole although its last checkpoint was not.
    drop(node.snapshot(&generous()));
    let crashed = photograph(home.path());
    assert_eq!(value(crashed.path()), ["Integer(2)"]);
    let undo = Connection::open(crashed.path().join("database-1.sqlite")).unwrap();
    assert_eq!(query(&undo, "SELECT a FROM t"), ["Integer(5)"]);
}

#[test]
fn a_file_that_is_no_database_changes_nothing() {
    let (home, bodies) = (folder(), folder());
    let mut node = Node::start(home.path());
    node.apply("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    let old = node.checkpoint();
    let file = bodies.path().join("body");
    fs::write(&file, [9; 8192]).unwrap();
    let standing = node.standing();
    let error =
        replace::replace(&mut node.marked, Some(&old), &file, standing.clone()).unwrap_err();
    assert!(matches!(error, ReplaceError::Unusable(_)), "{error}");
    assert!(file.exists(), "the body is still there");
    let missing = bodies.path().join("none");
    let error = replace::replace(&mut node.marked, Some(&old), &missing, standing).unwrap_err();
    assert!(matches!(error, ReplaceError::Files(_)), "{error}");
    node.apply("UPDATE t SET a = 4");
    node.checkpoint();
    drop(node);
    assert_eq!(value(home.path()), ["Integer(4)"]);
}
