//! Backups, dumps and loads: what comes out is one moment of the database, and goes in again whole.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::json;

use crate::support::database;
use crate::support::server::Server;

/// Copies of each kind taken under load.
const COPIES: usize = 100;

/// Everything that an ordinary dump loses: virtual tables, odd names, values without a literal.
pub(crate) const ODD: &str = r#"
    PRAGMA user_version = 7; PRAGMA application_id = 1234;
    CREATE TABLE "it's" (id INTEGER PRIMARY KEY, "say ""hi""" TEXT, [in brackets] BLOB);
    INSERT INTO "it's" VALUES(1, 'x', x'00ff0a'), (2, 'line
break', NULL), (3, '', x'');
    CREATE TABLE "double""quote" ("a;b" INTEGER, "select" REAL);
    INSERT INTO "double""quote" VALUES(9223372036854775807, 1e308), (-9223372036854775808, 0.1),
        (0, 9e999), (1, -9e999), (2, 5e-324), (3, -0.0), (4, 1.0);
    CREATE TABLE nul (t TEXT, b);
    INSERT INTO nul VALUES('before' || char(0) || 'after', CAST(x'ff00fe' AS BLOB)), (char(0), 1);
    CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, v);
    INSERT INTO auto(v) VALUES('a'), ('b'), ('c'); DELETE FROM auto WHERE id = 3;
    CREATE TABLE bare (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO bare VALUES('k', 'v');
    CREATE TABLE strict (i INTEGER, a ANY) STRICT; INSERT INTO strict VALUES(1, '2'), (2, 2);
    CREATE TABLE made (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2) STORED, c AS (a + 1));
    INSERT INTO made(a) VALUES(1), (2);
    CREATE TABLE rowids (v); INSERT INTO rowids(rowid, v) VALUES(-5, 'a'), (100, 'b');
    CREATE VIRTUAL TABLE ft USING fts5(title, body);
    INSERT INTO ft VALUES('one', 'a quick fox'), ('two', 'a lazy dog');
    CREATE VIRTUAL TABLE ft4 USING fts4(body); INSERT INTO ft4 VALUES('some words');
    CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1); INSERT INTO rt VALUES(1, 0.5, 1.5), (2, 3, 4);
    CREATE INDEX by_v ON auto(v) WHERE v IS NOT NULL; CREATE UNIQUE INDEX expr ON auto(lower(v));
    CREATE TABLE log (what);
    CREATE TRIGGER noted AFTER INSERT ON auto BEGIN INSERT INTO log VALUES(new.v || ';'); END;
    CREATE VIEW seen AS SELECT id, v FROM auto; CREATE VIEW "odd view" AS SELECT * FROM "it's";
    CREATE TRIGGER through INSTEAD OF INSERT ON seen BEGIN INSERT INTO auto(v) VALUES(new.v); END;
    ANALYZE;
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE a_child (p REFERENCES parent(id)); INSERT INTO parent VALUES(1);
    INSERT INTO a_child VALUES(1);
"#;

fn odd_file(server: &Server) -> Vec<u8> {
    database::create(&server.scratch().join("odd.db"), ODD)
}

fn save(server: &Server, target: &str, name: &str) -> std::path::PathBuf {
    let reply = server.get(target);
    assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
    let path = server.scratch().join(name);
    std::fs::write(&path, reply.body).expect("a file can be written");
    path
}

/// Fails unless both tables stand at the same number, in every row that is counted twice.
fn assert_consistent(path: &Path, what: &str) {
    let connection = database::open(path);
    let found: (i64, i64, i64) = connection
        .query_row(
            "SELECT (SELECT n FROM first), (SELECT n FROM last_one), (SELECT count(*) FROM grows)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found.0 == found.1 && found.1 == found.2, "{what} is torn: {found:?}");
}

/// Writes to both tables in one transaction, again and again, while `work` runs.
fn under_load(server: &Server, work: impl FnOnce()) {
    server.execute(&[
        "CREATE TABLE first (n INTEGER)",
        "CREATE TABLE middle (t TEXT)",
        "CREATE TABLE grows (n INTEGER)",
        "CREATE TABLE last_one (n INTEGER)",
        "INSERT INTO first VALUES(0)",
        "INSERT INTO last_one VALUES(0)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO middle SELECT hex(randomblob(100)) FROM n",
    ]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let change = json!([
                "UPDATE first SET n = n + 1",
                "INSERT INTO grows SELECT n FROM first",
                "UPDATE last_one SET n = n + 1"
            ]);
            let mut client = server.client();
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let body = change.to_string();
                let reply = client.request("POST", "/db/execute?transaction", &[], body.as_bytes());
                let reply = reply.expect("writes go on during a backup");
                assert!(reply.is_success(), "a write during a backup: {}", reply.text());
                count += 1;
            }
            count
        });
        // However the work ends, the writer must not run for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        let count = writer.join().expect("the writer never fails");
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        assert!(count >= 10, "only {count} writes were made meanwhile");
    });
}

#[test]
fn a_hundred_backups_under_load_are_each_one_moment() {
    let server = Server::fresh();
    under_load(&server, || {
        for turn in 0..COPIES {
            let target = ["/db/backup", "/db/backup?fmt=delete", "/db/backup?noleader"][turn % 3];
            let path = save(&server, target, "copy.db");
            database::assert_sound(&path);
            assert_consistent(&path, target);
            for suffix in ["-wal", "-shm"] {
                std::fs::remove_file(server.scratch().join(format!("copy.db{suffix}"))).ok();
            }
        }
    });
}

#[test]
fn vacuumed_backups_under_load_are_each_one_moment() {
    let server = Server::fresh();
    under_load(&server, || {
        for _ in 0..10 {
            let path = save(&server, "/db/backup?vacuum", "copy.db");
            database::assert_sound(&path);
            assert_consistent(&path, "a vacuumed backup");
            assert_eq!(std::fs::read(&path).unwrap()[18..20], [1, 1]);
        }
    });
}

#[test]
fn a_hundred_dumps_under_load_are_each_one_moment() {
    let server = Server::fresh();
    under_load(&server, || {
        for _ in 0..COPIES {
            let dump = server.get("/db/backup?fmt=sql");
            assert_eq!(dump.status(), 200);
            let path = server.scratch().join("dump.db");
            std::fs::remove_file(&path).ok();
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
            connection.execute_batch(&dump.text()).unwrap();
            connection.close().unwrap();
            assert_consistent(&path, "a dump");
        }
    });
}

#[test]
fn binary_copies_are_byte_for_byte_the_same_database() {
    let server = Server::fresh();
    let reply = server.request("POST", "/db/load", &[], &odd_file(&server));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let expected = database::contents(&server.scratch().join("odd.db"));
    for (target, flag) in
        [("/db/backup", 2), ("/db/backup?fmt=delete", 1), ("/db/backup?vacuum", 1)]
    {
        let path = save(&server, target, "copy.db");
        assert_eq!(std::fs::read(&path).unwrap()[18..20], [flag, flag], "{target}");
        database::assert_sound(&path);
        assert_eq!(database::contents(&path), expected, "{target}");
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(server.scratch().join(format!("copy.db{suffix}"))).ok();
        }
    }
}

#[test]
fn dumps_lose_nothing_in_sqlite_and_here() {
    let server = Server::fresh();
    let reply = server.request("POST", "/db/load", &[], &odd_file(&server));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let expected = database::contents(&server.scratch().join("odd.db"));
    let dump = server.get("/db/backup?fmt=sql");
    assert_eq!(dump.header("Content-Type"), "application/sql");
    let text = dump.text();
    assert!(text.starts_with("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"), "{text:.200}");
    assert!(text.trim_end().ends_with("COMMIT;"), "how the dump ends");

    // With SQLite's own shell, as a user would.
    let path = server.scratch().join("shell.db");
    let dump_path = server.scratch().join("dump.sql");
    std::fs::write(&dump_path, &dump.body).unwrap();
    let input = std::fs::File::open(&dump_path).unwrap();
    let shell = Command::new("sqlite3")
        .arg("-bail")
        .arg(&path)
        .stdin(Stdio::from(input))
        .output()
        .expect("sqlite3 is installed");
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    database::assert_sound(&path);
    assert_eq!(database::contents(&path), expected, "loaded by sqlite3");

    // And by a node.
    let other = Server::fresh();
    let reply = other.request("POST", "/db/load", &[], &dump.body);
    assert!(reply.is_success(), "{}", reply.text());
    let copy = save(&other, "/db/backup?fmt=delete", "copy.db");
    assert_eq!(database::contents(&copy), expected, "loaded by a node");
    let search = "SELECT title FROM ft WHERE ft MATCH 'fox'";
    assert_eq!(other.query(search), json!([["one"]]), "the full-text index works");
    other.execute(&["INSERT INTO auto(v) VALUES('d')", "INSERT INTO ft VALUES('three', 'a hare')"]);
    assert_eq!(other.value("SELECT max(id) FROM auto"), json!(4), "AUTOINCREMENT goes on");
    // A dump of the loaded dump is the same text.
    let third = Server::fresh();
    assert!(third.request("POST", "/db/load", &[], &dump.body).is_success());
    assert_eq!(third.get("/db/backup?fmt=sql").text(), text, "dump, load, dump");
}

#[test]
fn dumps_of_some_tables_load() {
    let server = Server::fresh();
    server.execute(&[
        "CREATE TABLE a (x)",
        "CREATE TABLE b (x)",
        "CREATE TABLE \"c d\" (x)",
        "CREATE INDEX on_a ON a(x)",
        "CREATE INDEX on_b ON b(x)",
        "INSERT INTO a VALUES(1)",
        "INSERT INTO b VALUES(2)",
        "INSERT INTO \"c d\" VALUES(3)",
    ]);
    let text = server.get("/db/backup?fmt=sql&tables=a,%20c%20d,,unknown").text();
    assert!(text.contains("INSERT INTO \"a\" VALUES(1);"), "{text}");
    assert!(text.contains("INSERT INTO \"c d\" VALUES(3);"), "{text}");
    assert!(!text.contains("VALUES(2)"), "{text}");
    let other = Server::fresh();
    let reply = other.request("POST", "/db/load", &[], text.as_bytes());
    assert!(reply.is_success(), "{}: {text}", reply.text());
    assert_eq!(other.value("SELECT x FROM a"), json!(1));
    // Names are exact: neither case nor part is enough.
    let text = server.get("/db/backup?fmt=sql&tables=A").text();
    assert!(!text.contains("VALUES(1)"), "{text}");
}

#[test]
fn a_dump_that_cannot_be_loaded_changes_nothing() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)", "INSERT INTO a VALUES(1)"]);
    let dump = server.get("/db/backup?fmt=sql").body;
    let reply = server.request("POST", "/db/load", &[], &dump);
    assert!(reply.text().contains("table a already exists"), "{}", reply.text());
    server.execute(&["INSERT INTO a VALUES(2)"]);
    assert_eq!(server.value("SELECT count(*) FROM a"), json!(2));
    // Nor does a load leave foreign keys switched off.
    server.execute(&["PRAGMA foreign_keys=ON"]);
    let text = "PRAGMA foreign_keys=OFF; CREATE TABLE b (x);";
    assert!(server.request("POST", "/db/load", &[], text.as_bytes()).is_success());
    assert_eq!(server.value("PRAGMA foreign_keys"), json!(1));
}

#[test]
fn compressed_copies_unpack_to_the_same_and_load() {
    use std::io::Read;
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)", "INSERT INTO a VALUES('one'), ('two')"]);
    for kind in ["", "&fmt=delete", "&fmt=sql", "&vacuum"] {
        let packed = server.get(&format!("/db/backup?compress{kind}"));
        assert_eq!(packed.status(), 200);
        assert_eq!(packed.header("Content-Encoding"), "", "the copy itself is the gzip file");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        let plain = server.get(&format!("/db/backup?x{kind}"));
        assert_eq!(unpacked, plain.body, "{kind}");
        let other = Server::fresh();
        let reply = other.request("POST", "/db/load", &[], &packed.body);
        assert!(reply.is_success(), "{kind}: {}", reply.text());
        assert_eq!(other.query("SELECT x FROM a"), json!([["one"], ["two"]]), "{kind}");
    }
}
