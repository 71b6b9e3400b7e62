//! What is refused, in many spellings, and that it changes nothing.

use std::time::{Duration, Instant};

use quorlite::command::Batch;
use quorlite::db::fault::FaultKind;
use quorlite::db::readers::QueryOptions;
use quorlite::db::scan;

use crate::support::{Database, batch, query, show, task};

const REFUSED: &[&str] = &[
    "ATTACH 'other.db' AS x",
    "attach database '' as x",
    "ATTACH ':memory:' AS x",
    "ATTACH 'file:other.db?mode=rwc' AS x",
    "ATTACH 'o' || 'ther.db' AS x",
    "/* c */ ATTACH/**/\"other.db\" AS [x]",
    "DETACH main",
    "VACUUM INTO 'other.db'",
    "vacuum main into 'o' || 'ther.db'",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT fts3_tokenizer('simple', x'00')",
    "CREATE TEMP TABLE x(a)",
    "CREATE TABLE temp.x(a)",
    "CREATE TEMPORARY VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
    "PRAGMA journal_mode=DELETE",
    "-- c\nPRAGMA main.\"journal_mode\"(memory)",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=1",
    "PRAGMA query_only=1",
    "PRAGMA wal_checkpoint",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "SELECT * FROM pragma_wal_checkpoint",
    "PRAGMA writable_schema=ON",
    "PRAGMA 'writable_schema'=1",
    "PRAGMA temp_store_directory='/tmp'",
    "PRAGMA temp_store=2",
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA schema_version=99",
    "PRAGMA case_sensitive_like=1",
    "PRAGMA recursive_triggers=0",
    "PRAGMA ignore_check_constraints=1",
    "PRAGMA reverse_unordered_selects=1",
    "PRAGMA automatic_index=0",
    "PRAGMA max_page_count=10",
    "PRAGMA cache_size=1",
    "PRAGMA encoding='UTF-16'",
    "PRAGMA page_size=512",
    "PRAGMA auto_vacuum=1",
    "PRAGMA hard_heap_limit=1000",
    "PRAGMA trusted_schema=1",
    "PRAGMA mmap_size=1000000",
    "EXPLAIN PRAGMA synchronous=2",
    "UPDATE sqlite_schema SET sql=''",
    "DELETE FROM sqlite_master",
    "INSERT INTO sqlite_schema VALUES('table','x','x',2,'x')",
    "UPDATE sqlite_dbpage SET data=x'' WHERE pgno=1",
    "SELECT * FROM sqlite_dbpage",
    "INSERT INTO docs_data VALUES(1,2)",
    "DROP TABLE docs_content",
    "INSERT INTO t SELECT data_version FROM pragma_data_version",
    "INSERT INTO t SELECT file FROM pragma_database_list",
    "INSERT INTO t SELECT pgsize FROM dbstat",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('x', 'y')",
    "CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')",
    "CREATE VIRTUAL TABLE x USING fsdir",
];

fn prepared() -> Database {
    let mut db = Database::new();
    let setup = [
        "CREATE TABLE t(a)",
        "CREATE VIRTUAL TABLE docs USING fts5(b)",
        "ANALYZE",
        "INSERT INTO t VALUES(1)",
        "ANALYZE",
    ];
    let outcomes = db.execute(&setup);
    assert!(outcomes.iter().all(|outcome| !outcome.starts_with("error")), "{outcomes:?}");
    db
}

#[test]
fn refused_statements_change_nothing() {
    let mut db = prepared();
    let before = db.contents();
    let settings = [
        "journal_mode",
        "synchronous",
        "wal_autocheckpoint",
        "recursive_triggers",
        "encoding",
        "writable_schema",
        "cache_size",
        "temp_store",
        "trusted_schema",
        "database_list",
        "query_only",
        "cell_size_check",
    ];
    let settings = settings.map(|name| format!("PRAGMA {name}"));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let before_settings = db.request(&settings);
    for sql in REFUSED {
        let second = format!("SELECT 1; {sql}");
        for outcome in [db.execute(&[sql]), db.request(&[&second]), db.transaction(&[sql])] {
            assert!(outcome.last().unwrap().starts_with("error: "), "{sql}: {outcome:?}");
        }
        let options = QueryOptions::default();
        let outcome = show(&query(&db.readers(), &[sql, "SELECT a FROM t"], &options));
        let allowed = sql.contains("wal_checkpoint FROM") || sql.starts_with("EXPLAIN");
        assert!(outcome[0].starts_with("error: ") || allowed, "{sql}: {outcome:?}");
        assert_eq!(outcome[1], "a: 1");
    }
    assert_eq!(db.contents(), before);
    assert_eq!(db.request(&settings), before_settings);
    let names: Vec<_> = std::fs::read_dir(db.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn refusals_are_sentences() {
    let mut db = prepared();
    assert_eq!(db.execute(&["PRAGMA synchronous=FULL"]), ["error: disallowed pragma"]);
    assert!(scan::disallowed_pragma("/* */ PRAGMA synchronous=FULL"));
    assert_eq!(
        db.execute(&["ATTACH 'x' AS x"]),
        ["error: not authorized: ATTACH, DETACH and VACUUM INTO are not available"]
    );
    let outcomes = db.execute(&[
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM sqlite_stat1; END",
        "INSERT INTO t VALUES(1)",
    ]);
    assert_eq!(outcomes[1], "error: not authorized: a trigger cannot change sqlite_stat tables");
    assert!(db.execute(&["PRAGMA writable_schema=ON"])[0].contains("load the SQLite file instead"));
}

#[test]
fn what_is_allowed_works() {
    let mut db = prepared();
    let outcomes = db.execute(&[
        "VACUUM",
        "REINDEX",
        "ANALYZE",
        "PRAGMA optimize",
        "PRAGMA user_version=3",
        "PRAGMA application_id=4",
    ]);
    assert_eq!(outcomes, ["id=0 rows=0"; 6]);
    let asked = [
        "PRAGMA user_version",
        "PRAGMA journal_mode",
        "PRAGMA synchronous",
        "PRAGMA table_info(t)",
        "PRAGMA index_list(t)",
        "PRAGMA foreign_key_check",
        "PRAGMA integrity_check",
        "SELECT name FROM pragma_table_info('t')",
    ];
    let expected = [
        "user_version: 3",
        "journal_mode: 'wal'",
        "synchronous: 0",
        "cid name type notnull dflt_value pk: 0 'a' '' 0 NULL 0",
        "seq name unique origin partial: ",
        "table rowid parent fkid: ",
        "integrity_check: 'ok'",
        "name: 'a'",
    ];
    assert_eq!(db.request(&asked), expected);
    assert_eq!(show(&query(&db.readers(), &asked, &QueryOptions::default())), expected);
    assert_eq!(
        db.execute(&[
            "ALTER TABLE t RENAME COLUMN a TO b",
            "ALTER TABLE t RENAME TO u",
            "DROP TABLE docs"
        ]),
        ["id=0 rows=0"; 3]
    );
}

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n";

#[test]
fn a_statement_that_works_too_long_fails_alone() {
    let mut db = prepared();
    let limited = |statements: &[&str], transaction| Batch {
        transaction,
        instructions_max: 100_000,
        ..batch(statements)
    };
    let endless = format!("INSERT INTO t {ENDLESS}");
    let requests = [
        batch(&["INSERT INTO t VALUES(2)"]),
        limited(&["INSERT INTO t VALUES(3)", &endless, "INSERT INTO t VALUES(4)"], false),
        limited(&["INSERT INTO t VALUES(5)", &endless], true),
        Batch { returns_rows: true, ..limited(&[ENDLESS, "INSERT INTO t VALUES(6)"], false) },
        batch(&["INSERT INTO t VALUES(7)"]),
    ];
    let applied = db.apply(&requests);
    let shown: Vec<_> = applied.iter().map(|applied| show(&applied.outcomes)).collect();
    assert_eq!(shown[1][1], "error: execute timeout");
    assert_eq!(shown[2][1], "error: execute timeout");
    assert_eq!(shown[3][0], "error: query timeout");
    assert_eq!(db.query("SELECT group_concat(a) a FROM t"), ["a: '1,2,3,4,6,7'"]);
}

#[test]
fn shutdown_is_a_fault_and_nothing_is_answered() {
    let mut db = prepared();
    let requests =
        [batch(&["INSERT INTO t VALUES(2)"]), batch(&[&format!("INSERT INTO t {ENDLESS}")])];
    let interrupter = db.interrupter.clone();
    let ender = quorlite::os::spawn("ender", move || {
        std::thread::sleep(Duration::from_millis(50));
        interrupter.interrupt();
    });
    let tasks: Vec<_> =
        (db.index + 1..).zip(&requests).map(|(index, request)| task(index, request)).collect();
    let started = Instant::now();
    let fault = db.applier.as_mut().unwrap().apply(&tasks).unwrap_err();
    ender.unwrap().join().unwrap();
    assert_eq!(fault.kind, FaultKind::Stopped);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(db.query("SELECT group_concat(a) a FROM t"), ["a: '1'"]);
}
