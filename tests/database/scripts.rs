//! Texts of any size, run as one write.

use std::io::{self, Read};

use quorlite::command::Stamp;
use quorlite::db::fault::Fault;

use crate::support::{Database, show};

fn load(db: &mut Database, mut sql: &[u8]) -> Result<String, Fault> {
    let outcome = db.applier.as_mut().expect("open").apply_script(Stamp::default(), &mut sql)?;
    Ok(show(&[outcome]).remove(0))
}

const DUMP: &str = "PRAGMA encoding='UTF-16le';
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES parent(id), t);
INSERT INTO child VALUES(1,7,'a;b''c
d');
INSERT INTO child VALUES(2,NULL,X'00');
CREATE TABLE parent(id INTEGER PRIMARY KEY);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('child',9);
CREATE TRIGGER tr AFTER INSERT ON child BEGIN DELETE FROM parent; END;
COMMIT;
";

#[test]
fn a_dump_is_loaded_and_foreign_keys_stay_as_they_were() {
    let mut db = Database::new();
    db.execute(&["PRAGMA foreign_keys=1"]);
    assert_eq!(load(&mut db, DUMP.as_bytes()).unwrap(), "id=1 rows=1");
    assert_eq!(db.query("SELECT group_concat(quote(t)) t FROM child"), ["t: ''a;b''c\nd',X'00''"]);
    assert_eq!(
        db.execute(&["INSERT INTO child(p) VALUES(5)"]),
        ["error: FOREIGN KEY constraint failed"]
    );
    assert_eq!(db.execute(&["INSERT INTO child(t) VALUES(5)"]), ["id=10 rows=1"]);
}

#[test]
fn a_script_that_fails_leaves_nothing() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(a UNIQUE)", "INSERT INTO t VALUES(1)"]);
    let before = db.contents();
    for (sql, error) in [
        (
            "CREATE TABLE u(a); INSERT INTO t VALUES(1);",
            "UNIQUE constraint failed: t.a (statement 2)",
        ),
        ("INSERT INTO t VALUES(2); nonsense", "near \"nonsense\": syntax error (statement 2)"),
        (
            "INSERT INTO t VALUES(2); INSERT OR ROLLBACK INTO t VALUES(1); INSERT INTO t VALUES(3)",
            "the script was rolled back",
        ),
        (
            "INSERT INTO t VALUES(2); ROLLBACK; INSERT INTO t VALUES(3)",
            "the script was rolled back",
        ),
        ("INSERT INTO t VALUES(2); SELECT 'open", "unrecognized token: \"'open\" (statement 2)"),
        (
            "BEGIN; INSERT INTO t VALUES(2); ATTACH 'x' AS y;",
            "not authorized: ATTACH, DETACH and VACUUM INTO are not available (statement 3)",
        ),
        (
            "BEGIN; INSERT INTO t VALUES(2); COMMIT; BEGIN; INSERT INTO t VALUES(3);",
            "the text is cut short: it begins a transaction and does not commit it",
        ),
        (
            "INSERT INTO t VALUES(2); VACUUM",
            "cannot VACUUM from within a transaction (statement 2)",
        ),
    ] {
        assert_eq!(load(&mut db, sql.as_bytes()).unwrap(), format!("error: {error}"), "{sql}");
        assert_eq!(db.contents(), before, "{sql}");
    }
    let schema =
        load(&mut db, b"PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES(1,2,3,4,5);")
            .unwrap();
    assert!(schema.contains("load the SQLite file instead"), "{schema}");
    assert_eq!(load(&mut db, b"SELECT '\xff';").unwrap(), "error: the script is not UTF-8");
    assert_eq!(load(&mut db, b"").unwrap(), "id=0 rows=0");
    assert_eq!(db.contents(), before);
    assert!(db.execute(&["DELETE FROM sqlite_schema"])[0].starts_with("error"), "defensive again");
}

#[test]
fn a_text_that_cannot_be_read_is_a_fault() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(a)"]);
    let mut source = b"INSERT INTO t VALUES(2);".chain(BadDisk);
    let result = db.applier.as_mut().unwrap().apply_script(Stamp::default(), &mut source);
    assert_eq!(result.unwrap_err().message, "the disk is gone");
    assert_eq!(db.query("SELECT count(*) n FROM t"), ["n: 0"]);
}

struct BadDisk;

impl Read for BadDisk {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}
