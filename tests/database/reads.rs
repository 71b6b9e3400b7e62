//! The pool of read-only connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorlite::db::readers::{Gone, QueryOptions, ReadError, Readers};

use crate::support::{Database, nobody_leaves, query, rows, show, statement};

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n";

fn filled() -> Database {
    let mut db = Database::new();
    db.execute(&[
        "CREATE TABLE foo(id INTEGER PRIMARY KEY, z TEXT)",
        "CREATE INDEX i ON foo(z)",
        "INSERT INTO foo VALUES(1,'one'),(2,'two')",
    ]);
    db
}

#[test]
fn writes_are_refused_and_the_rest_runs() {
    let db = filled();
    let readers = db.readers();
    let refused = "error: attempt to change database via query operation";
    let writes = [
        "INSERT INTO foo VALUES(3,'x')",
        "DELETE FROM foo RETURNING id",
        "CREATE TABLE x(a)",
        "DROP TABLE foo",
        "VACUUM",
        "SELECT 1; UPDATE foo SET z=1",
        "PRAGMA user_version=1",
        "PRAGMA foreign_keys=1",
        "BEGIN",
        "BEGIN IMMEDIATE",
        "SAVEPOINT a",
        "PRAGMA incremental_vacuum",
        "ANALYZE",
        "PRAGMA optimize",
        "ALTER TABLE foo ADD COLUMN q",
        "REINDEX",
    ];
    for sql in writes {
        let outcomes =
            show(&query(&readers, &[sql, "SELECT count(*) n FROM foo"], &QueryOptions::default()));
        assert_eq!(outcomes, [refused, "n: 2"], "{sql}");
    }
    assert_eq!(db.query("PRAGMA user_version"), ["user_version: 0"]);
}

#[test]
fn results_have_the_shape_of_rqlite() {
    let db = filled();
    let readers = db.readers();
    let plain = QueryOptions::default();
    let outcomes = query(
        &readers,
        &[
            "SELECT a.z AS x, a.id+1 FROM foo a WHERE 0",
            "-- c",
            "SELECT id; ",
            "SELECT 1 a; SELECT 2 b; -- c",
        ],
        &plain,
    );
    assert_eq!(rows(&outcomes[0]).declared, ["text", ""]);
    assert_eq!(show(&outcomes), ["x a.id+1: ", "id=0 rows=0", "error: no such column: id", "b: 2"]);
    let qualified = QueryOptions { qualify_columns: true, ..plain };
    let outcomes = query(&readers, &["SELECT f.z AS a, 1 AS b FROM foo f LIMIT 1"], &qualified);
    assert_eq!(show(&outcomes), ["foo.a b: 'one' 1"]);
    assert_eq!(show(&query(&readers, &["EXPLAIN QUERY PLAN DELETE FROM foo"], &plain)).len(), 1);
}

#[test]
fn a_transaction_sees_one_state_and_leaves_none() {
    let mut db = filled();
    let readers = db.readers();
    let grouped = QueryOptions { transaction: true, ..QueryOptions::default() };
    let ask = "SELECT count(*) n FROM foo";
    assert_eq!(show(&query(&readers, &[ask, ask], &grouped)), ["n: 2", "n: 2"]);
    db.execute(&["DELETE FROM foo WHERE id=1"]);
    assert_eq!(show(&query(&readers, &["BEGIN", ask], &QueryOptions::default()))[1], "n: 1");
    db.execute(&["DELETE FROM foo"]);
    assert_eq!(show(&query(&readers, &[ask], &QueryOptions::default())), ["n: 0"]);
}

#[test]
fn endless_queries_end() {
    let db = filled();
    let readers = db.readers();
    let limited =
        QueryOptions { timeout: Some(Duration::from_millis(30)), ..QueryOptions::default() };
    assert_eq!(
        show(&query(&readers, &[ENDLESS, "SELECT 1 a"], &limited)),
        ["error: query timeout", "a: 1"]
    );

    let left = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&left);
    let gone: Gone = Arc::new(move || seen.swap(true, Ordering::Relaxed));
    let endless = [statement(ENDLESS)];
    assert_eq!(readers.query(&endless, &QueryOptions::default(), &gone), Err(ReadError::Gone));
    assert!(left.load(Ordering::Relaxed));
}

fn run_endless(readers: Arc<Readers>) -> std::thread::JoinHandle<Result<(), ReadError>> {
    let run = move || {
        readers.query(&[statement(ENDLESS)], &QueryOptions::default(), &nobody_leaves()).map(drop)
    };
    quorlite::os::spawn("endless", run).expect("a thread")
}

#[test]
fn long_reads_are_expelled_short_ones_are_not() {
    let db = filled();
    let readers = Arc::new(db.readers());
    let endless = run_endless(Arc::clone(&readers));
    while readers.counts().0 == 0 {
        std::thread::yield_now();
    }
    assert_eq!(readers.expel(Duration::from_secs(3_600)), 0);
    while readers.expel(Duration::ZERO) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(endless.join().unwrap(), Err(ReadError::Expelled));
    assert_eq!(show(&query(&readers, &["SELECT 1 a"], &QueryOptions::default())), ["a: 1"]);
}

#[test]
fn shutdown_ends_reads() {
    let db = filled();
    let readers = Arc::new(db.readers());
    let endless = run_endless(Arc::clone(&readers));
    while readers.counts().0 == 0 {
        std::thread::yield_now();
    }
    readers.stop();
    assert_eq!(endless.join().unwrap(), Err(ReadError::Stopped));
    let refused = readers.query(&[], &QueryOptions::default(), &nobody_leaves());
    assert_eq!(refused, Err(ReadError::Stopped));
}

#[test]
fn reads_follow_the_file_and_wait_their_turn() {
    let (db, mut other) = (filled(), Database::new());
    other.execute(&["CREATE TABLE foo(z)", "INSERT INTO foo VALUES('other')"]);
    let readers = Arc::new(Readers::new(&db.path(), 2));
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let readers = Arc::clone(&readers);
            let work = move || {
                for _ in 0..50 {
                    query(&readers, &["SELECT z FROM foo"], &QueryOptions::default());
                    assert!(readers.counts().0 <= 2);
                }
            };
            quorlite::os::spawn("reader", work).unwrap()
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(readers.counts().0, 0);
    readers.switch(&other.path());
    assert_eq!(readers.counts(), (0, 0));
    assert_eq!(
        show(&query(&readers, &["SELECT z FROM foo"], &QueryOptions::default())),
        ["z: 'other'"]
    );
}

#[test]
fn texts_are_told_apart() {
    let db = filled();
    let readers = db.readers();
    let reads = |sql: &str| readers.is_read_only(&statement(sql)).unwrap();
    for sql in [
        "SELECT 1",
        "",
        "; -- c",
        "PRAGMA table_info(foo)",
        "EXPLAIN DELETE FROM foo",
        "SELECT 1; SELECT 2",
        "PRAGMA journal_mode",
    ] {
        assert!(reads(sql), "{sql}");
    }
    for sql in [
        "DELETE FROM foo",
        "SELECT 1; DELETE FROM foo",
        "SELECT * FROM missing",
        "nonsense",
        "BEGIN",
        "PRAGMA user_version=1",
        "WITH a AS (SELECT 1) INSERT INTO foo SELECT 9, * FROM a",
    ] {
        assert!(!reads(sql), "{sql}");
    }
}
