//! A dump loads back to an equal database, here and in the stock `sqlite3`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Command, Stdio};

use quorlite::db::dump::{self, Selection};
use rusqlite::Connection;

use crate::support::{Node, assert_sound, digest, folder, generous, has_shell, query};

fn text_of(node: &Node, selection: Selection) -> Vec<u8> {
    let mut text = Vec::new();
    let mut pipe = dump::dump(node.snapshot(&generous()), selection).expect("the test is right");
    pipe.read_to_end(&mut text).expect("the test is right");
    text
}

fn reload(text: &[u8]) -> Connection {
    let connection = Connection::open_in_memory().expect("the test is right");
    connection
        .execute_batch(std::str::from_utf8(text).expect("the test is right"))
        .expect("the test is right");
    assert_sound(&connection);
    connection
}

fn assert_equal(one: &Connection, other: &Connection) {
    let (one, other) = (digest(one), digest(other));
    for (left, right) in one.iter().zip(&other) {
        assert_eq!(left, right, "an element or a row");
    }
    assert_eq!(one.len(), other.len(), "elements and rows");
}

/// Dumps what `sql` makes, reloads it here and in the shell, and compares.
fn round_trip(sql: &str) -> Vec<u8> {
    let home = folder();
    let mut node = Node::start(home.path());
    node.writer.execute_batch(sql).expect("the test is right");
    node.index += 1;
    let text = text_of(&node, Selection::All);
    assert_equal(&node.writer, &reload(&text));
    if has_shell() {
        let path = home.path().join("shell");
        let mut shell = Command::new("sqlite3")
            .args(["-batch", "-bail"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the test is right");
        shell.stdin.take().expect("the test is right").write_all(&text).expect("the test is right");
        assert!(shell.wait().expect("the test is right").success(), "sqlite3 loads the dump");
        assert_equal(&node.writer, &Connection::open(&path).expect("the test is right"));
    }
    text
}

#[test]
fn values_are_exact() {
    round_trip(
        "CREATE TABLE v(x);
         INSERT INTO v VALUES(NULL),(0),(-1),(9223372036854775807),(-9223372036854775808),
           (1.0),(-0.0),(0.1),(1.0/3),(1e15),(1e16),(123456789012345678.0),(5e-324),
           (1.7976931348623157e308),(9e999),(-9e999),(1e-5),(1e-6),(2.5e-10),
           (''),('it''s'),('a'||char(10)||'b'),('a'||char(13,10)||'b'||char(13)),
           ('nul'||char(0)||'x'||char(0)),(char(0)),('<0>'||char(0)||char(13,10)||'<1>'),
           (char(233,8364,128512)),(x''),(x'00ff0a'),(CAST(x'ff41' AS TEXT)),(';'),('--'),('/');
         CREATE TABLE affinity(i INTEGER, r REAL, t TEXT, b BLOB, n NUMERIC);
         INSERT INTO affinity VALUES(1,1,1,1,1),('x','x','x','x','x'),(1.5,1.5,1.5,1.5,1.5),
           (x'31',x'31',x'31',x'31',x'31'),(3e15,3e15,3e15,3e15,3e15);",
    );
}

#[test]
fn large_values_are_exact() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(
        "CREATE TABLE l(x); INSERT INTO l VALUES(randomblob(700001)),
           (replace(hex(zeroblob(200000)), '00', 'it''s ')), (char(233)||hex(randomblob(300000))),
           (CAST(x'ff'||randomblob(300000) AS TEXT)), (hex(randomblob(90000))||char(0)||'x'), (1)",
    );
    let text = text_of(&node, Selection::All);
    assert_equal(&node.writer, &reload(&text));
}

#[test]
fn doubles_are_exact() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply("CREATE TABLE d(x)");
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..50_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let number = f64::from_bits(bits);
        if !number.is_nan() {
            node.writer.execute("INSERT INTO d VALUES(?1)", [number]).unwrap();
        }
    }
    let text = text_of(&node, Selection::All);
    assert_equal(&node.writer, &reload(&text));
}

#[test]
fn odd_names_and_kinds_of_tables_come_back() {
    round_trip(
        "CREATE TABLE \"it's\"(\"a\"\"b\", \"select\", \"x y\", [z z]);
         INSERT INTO \"it's\" VALUES(1,2,3,4);
         CREATE TABLE \"table\"(\"\u{fc}n\u{ef}\" TEXT DEFAULT 'x', \"\");
         INSERT INTO \"table\" VALUES('a',1);
         CREATE TABLE g(a, b AS (a+1), c INTEGER GENERATED ALWAYS AS (a*2) STORED, d);
         INSERT INTO g VALUES(1,2),(3,4);
         CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         INSERT INTO w VALUES('b',1),('a',2);
         CREATE TABLE s(i INT, t TEXT, a ANY) STRICT;
         INSERT INTO s VALUES(1,'x',x'00');
         CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
         INSERT INTO auto VALUES(5,'x'),(100,'y'); DELETE FROM auto WHERE id = 100;
         CREATE TABLE zebra(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE Empty(a);
         CREATE TABLE rowids(v); INSERT INTO rowids(rowid, v) VALUES(-7,1),(-6,2),(0,3),(1,4),(2,5),
           (9,6),(10,7),(9223372036854775807,8);
         CREATE TABLE dense(v); INSERT INTO dense VALUES(1),(2),(3);
         CREATE TABLE taken(rowid, _rowid_ TEXT); INSERT INTO taken(oid, rowid) VALUES(4, 'x');
         CREATE TABLE parent(id PRIMARY KEY); CREATE TABLE child(p REFERENCES parent);
         INSERT INTO child VALUES(99);
         CREATE TABLE comment(a -- the first
         , b /* the second */);
         CREATE INDEX i1 ON dense(v DESC) WHERE v > 1; CREATE UNIQUE INDEX \"i 2\" ON w(v, lower(k));
         CREATE INDEX covering ON dense(v);
         CREATE VIEW vw AS SELECT v FROM dense -- all of them
         ;
         CREATE TRIGGER tr AFTER INSERT ON dense BEGIN INSERT INTO child VALUES(1); SELECT 1; END;
         CREATE TRIGGER tv INSTEAD OF INSERT ON vw BEGIN INSERT INTO dense VALUES(new.v); END;
         PRAGMA user_version=42; PRAGMA application_id=-77; ANALYZE;",
    );
}

#[test]
fn lines_look_as_those_of_rqlite() {
    let text = round_trip(
        "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT);
         INSERT INTO foo VALUES(1,'fiona'); CREATE INDEX ix ON foo(name);",
    );
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n\
         CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT);\n\
         INSERT INTO \"foo\" VALUES(1,'fiona');\nCREATE INDEX ix ON foo(name);\nCOMMIT;\n"
    );
}

#[test]
fn full_text_and_spatial_tables_come_back() {
    let text = round_trip(
        "CREATE VIRTUAL TABLE ft USING fts5(title, body, tokenize='porter');
         INSERT INTO ft(rowid, title, body) VALUES(3,'running','dogs run'),(9,'it''s','quote');
         INSERT INTO ft(ft, rank) VALUES('automerge', 7), ('rank', 'bm25(10.0, 5.0)');
         CREATE TABLE docs(id INTEGER PRIMARY KEY, t); INSERT INTO docs VALUES(4,'hello'),(8,'world');
         CREATE VIRTUAL TABLE ext USING fts5(t, content='docs', content_rowid='id');
         INSERT INTO ext(ext) VALUES('rebuild');
         CREATE TABLE \"f_content\"(t); INSERT INTO f_content(rowid, t) VALUES(5,'word'),(50,'other');
         CREATE VIRTUAL TABLE f USING fts5(t, content=f_content); INSERT INTO f(f) VALUES('rebuild');
         CREATE VIEW docview AS SELECT id, t FROM docs;
         CREATE VIRTUAL TABLE viewed USING fts5(t, content='docview', content_rowid='id');
         INSERT INTO viewed(viewed) VALUES('rebuild');
         CREATE VIRTUAL TABLE f4 USING fts4(a, b, languageid=\"lid\");
         INSERT INTO f4(docid, a, b, lid) VALUES(7,'one two','three',2),(11,'four','five',0);
         CREATE VIRTUAL TABLE f4e USING fts4(content=\"docs\", t); INSERT INTO f4e(f4e) VALUES('rebuild');
         CREATE VIRTUAL TABLE f3 USING fts3(x); INSERT INTO f3 VALUES('lonely');
         CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1, y0, y1, +note);
         INSERT INTO rt VALUES(1, 0.1, 0.7, -5, 5.5, 'here'),(17, 1, 2, 3, 4, NULL);
         CREATE VIRTUAL TABLE ri USING rtree_i32(id, a, b); INSERT INTO ri VALUES(2, -9, 9);
         CREATE VIRTUAL TABLE vocab USING fts5vocab(ft, row);
         CREATE VIRTUAL TABLE hollow USING fts5(a, content='');
         CREATE TRIGGER keep AFTER INSERT ON docs BEGIN
           INSERT INTO ext(rowid, t) VALUES(new.id, new.t); END;",
    );
    let again = reload(&text);
    for (table, word, rows) in [
        ("ft", "run", 1),
        ("ft", "quote", 1),
        ("ext", "world", 1),
        ("f", "other", 1),
        ("viewed", "hello", 1),
        ("f4", "five", 1),
        ("f4e", "world", 1),
        ("f3", "lonely", 1),
    ] {
        let sql = format!("SELECT count(*) FROM {table} WHERE {table} MATCH '{word}'");
        assert_eq!(query(&again, &sql), [format!("Integer({rows})")], "{table} {word}");
    }
    let other_language = "SELECT docid FROM f4 WHERE f4 MATCH 'three' AND lid = 2";
    assert_eq!(query(&again, other_language), ["Integer(7)"]);
    let settings = query(&again, "SELECT k, v FROM ft_config ORDER BY k");
    assert!(settings.contains(&"text automerge | Integer(7)".to_owned()), "{settings:?}");
}

#[test]
fn polygons_come_back() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(
        "CREATE VIRTUAL TABLE gp USING geopoly(name);
         INSERT INTO gp(_shape, name) VALUES('[[0,0],[1,0],[0.3,1],[0,0]]', 'triangle')",
    );
    let again = reload(&text_of(&node, Selection::All));
    assert_equal(&node.writer, &again);
}

#[test]
fn utf16_comes_back() {
    let home = folder();
    let path = home.path().join("utf16");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA encoding='UTF-16le'; PRAGMA journal_mode=WAL;
             CREATE TABLE t(a); INSERT INTO t VALUES(char(8364)||'x'),('a'||char(0)||'b'),('');",
        )
        .unwrap();
    let snapshot = quorlite::db::snapshot::connect(&path).unwrap();
    let at = quorlite::raft::EntryId::default();
    let snapshot = snapshot.pin(at, &generous()).unwrap();
    let mut text = Vec::new();
    dump::dump(snapshot, Selection::All).unwrap().read_to_end(&mut text).unwrap();
    assert_equal(&connection, &reload(&text));
}

#[test]
fn a_selection_takes_only_what_belongs_to_its_tables() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(
        "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO a VALUES(3);
         CREATE TABLE b(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO b VALUES(9, 1);
         CREATE INDEX ia ON a(id); CREATE INDEX ib ON b(x); CREATE VIEW v AS SELECT * FROM a;
         CREATE TRIGGER ta AFTER INSERT ON a BEGIN SELECT 1; END;
         CREATE TRIGGER tb AFTER INSERT ON b BEGIN SELECT 1; END",
    );
    node.writer.execute_batch("ANALYZE").unwrap();
    let text = text_of(&node, Selection::Tables(vec!["b".to_owned(), "none".to_owned()]));
    let again = reload(&text);
    let names = query(&again, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'");
    assert_eq!(names, ["text b", "text ib", "text tb"]);
    assert_eq!(query(&again, "SELECT * FROM sqlite_sequence"), ["text b | Integer(9)"]);
    assert_eq!(query(&again, "SELECT DISTINCT tbl FROM sqlite_stat1"), ["text b"]);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_first_byte() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(
        "CREATE TABLE t(a); CREATE VIRTUAL TABLE less USING fts5(x, content='');
         INSERT INTO less(rowid, x) VALUES(1, 'word')",
    );
    let error = dump::dump(node.snapshot(&generous()), Selection::All).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("table less keeps an index without its content"), "{error}");
    let text = text_of(&node, Selection::Tables(vec!["t".to_owned()]));
    assert!(String::from_utf8(text).unwrap().contains("CREATE TABLE t(a);"), "the rest can");

    node.apply("DROP TABLE less; CREATE VIRTUAL TABLE astray USING fts5(x, content='t')");
    let error = dump::dump(node.snapshot(&generous()), Selection::All).unwrap_err();
    assert!(error.to_string().contains("keeps an index of t and does not find"), "{error}");
}

#[test]
fn an_index_selected_without_its_content_still_loads() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply("CREATE TABLE t(a); CREATE VIRTUAL TABLE i USING fts5(a, content='t')");
    let again = reload(&text_of(&node, Selection::Tables(vec!["i".to_owned()])));
    assert_eq!(query(&again, "SELECT name FROM sqlite_schema WHERE name = 'i'"), ["text i"]);
}
