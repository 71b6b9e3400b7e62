//! Restoring files: those that are whole replace everything, all others change nothing.

mod asking;
mod bad;
mod broken;
mod cluster;
mod describe;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::fake::{Fake, reply};
use crate::program::{Ran, quorlite, quorlite_alone};
use crate::support::database;
use crate::support::server::Server;

/// A database of some pages.
const SCHEMA: &str = "
    PRAGMA user_version = 3;
    CREATE TABLE new (id INTEGER PRIMARY KEY, text TEXT);
    CREATE INDEX by_text ON new(text);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        INSERT INTO new SELECT i, hex(i * 7919) FROM n;";

/// What makes dumps hard: virtual tables, odd names, triggers, values without a literal.
const ODD: &str = r#"
    PRAGMA user_version = 7; PRAGMA application_id = 1234;
    CREATE TABLE "it's" (id INTEGER PRIMARY KEY, "say ""hi""" TEXT, [in brackets] BLOB);
    INSERT INTO "it's" VALUES(1, 'x', x'00ff0a'), (2, 'line
break', NULL), (3, '', x'');
    CREATE TABLE "double""quote" ("a;b" INTEGER, "select" REAL);
    INSERT INTO "double""quote" VALUES(9223372036854775807, 1e308), (0, 9e999), (2, 5e-324);
    CREATE TABLE nul (t TEXT, b);
    INSERT INTO nul VALUES('before' || char(0) || 'after', x'ff00fe'), (char(0), 1);
    CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, v);
    INSERT INTO auto(v) VALUES('a'), ('b'), ('c'); DELETE FROM auto WHERE id = 3;
    CREATE TABLE bare (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO bare VALUES('k', 'v');
    CREATE VIRTUAL TABLE ft USING fts5(title, body);
    INSERT INTO ft VALUES('one', 'a quick fox'), ('two', 'a lazy dog');
    CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1); INSERT INTO rt VALUES(1, 0.5, 1.5), (2, 3, 4);
    CREATE TABLE log (what);
    CREATE TRIGGER noted AFTER INSERT ON auto BEGIN INSERT INTO log VALUES(new.v || ';'); END;
    CREATE VIEW "odd view" AS SELECT * FROM "it's";
"#;

/// A server that holds something.
fn server() -> Server {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('kept')"]);
    server
}

/// One number for all that the server holds.
fn digest(server: &Server) -> Value {
    let reply = server.get("/db/digest");
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()["digest"].clone()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Puts a file into the server's scratch folder, where the client runs.
fn put(server: &Server, name: &str, bytes: &[u8]) -> PathBuf {
    let path = server.scratch().join(name);
    fs::write(&path, bytes).expect("a file can be written");
    path
}

/// Puts a database there that this SQL makes.
fn put_database(server: &Server, name: &str, sql: &str) -> Vec<u8> {
    database::create(&server.scratch().join(name), sql)
}

fn restore(server: &Server, arguments: &[&str]) -> Ran {
    let all: Vec<&str> = std::iter::once("restore").chain(arguments.iter().copied()).collect();
    quorlite(server, &all).run()
}

/// What is in a folder, but for the server's own.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> =
        entries.map(|entry| name(entry.expect("it can be read"))).collect();
    names.retain(|name| name != "node" && name != "server.log");
    names.sort();
    names
}

#[test]
fn files_of_every_kind_replace_everything() {
    let server = server();
    let plain = put_database(&server, "plain", SCHEMA);
    let wal = format!("PRAGMA journal_mode=WAL; {SCHEMA} PRAGMA wal_checkpoint(TRUNCATE);");
    let wal = put_database(&server, "wal", &wal);
    assert_eq!((&plain[18..20], &wal[18..20]), (&[1, 1][..], &[2, 2][..]));
    let vacuumed = put_database(
        &server,
        "vacuumed",
        &format!("{SCHEMA} DELETE FROM new WHERE id % 2; VACUUM;"),
    );
    put_database(&server, "512", &format!("PRAGMA page_size=512; {SCHEMA}"));
    put(&server, "plain.gz", &gzip(&plain));
    put(&server, "wal.gz", &gzip(&wal));
    put(&server, "vacuumed.gz", &gzip(&vacuumed));
    for name in ["plain", "wal", "vacuumed", "512", "plain.gz", "wal.gz", "vacuumed.gz"] {
        server.execute(&["DROP TABLE IF EXISTS t", "CREATE TABLE t (a)"]);
        let before = names(server.scratch());
        let ran = restore(&server, &[name]);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), ""), "{name}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with(&format!("restored {name} on 127.0.0.1:")),
            "{}",
            ran.stderr
        );
        let rows = if name.starts_with("vacuumed") { 500 } else { 1000 };
        assert_eq!(server.query("SELECT count(*), min(id > 0) FROM new"), json!([[rows, 1]]));
        assert_eq!(server.value("SELECT count(*) FROM sqlite_schema"), json!(2), "{name}");
        assert_eq!(server.value("PRAGMA user_version"), json!(3), "{name}");
        assert_eq!(names(server.scratch()), before, "{name} leaves nothing behind");
    }
}

#[test]
fn what_a_backup_holds_is_what_is_restored() {
    let server = server();
    put_database(&server, "odd", ODD);
    restore(&server, &["odd"]).expect();
    let wanted = digest(&server);
    let targets = ["fmt=binary", "fmt=delete", "vacuum", "compress", "fmt=delete&compress"];
    for (number, target) in targets.into_iter().enumerate() {
        let name = format!("copy{number}");
        put(&server, &name, &server.get(&format!("/db/backup?{target}")).body);
        server.execute(&["DELETE FROM nul", "CREATE TABLE more (a)"]);
        assert_ne!(digest(&server), wanted);
        restore(&server, &[&name]).expect();
        assert_eq!(digest(&server), wanted, "{target}");
    }
}

#[test]
fn a_dump_is_run_as_a_whole() {
    let server = server();
    put_database(&server, "odd", ODD);
    restore(&server, &["odd"]).expect();
    let dump = server.get("/db/backup?fmt=sql").body;
    put(&server, "dump", &dump);
    put(&server, "dump.gz", &gzip(&dump));
    for name in ["dump", "dump.gz"] {
        let fresh = Server::fresh();
        let path = server.scratch().join(name);
        let text = quorlite(&fresh, &["restore", "--json", path.to_str().expect("it is UTF-8")]);
        let answer: Value = serde_json::from_str(&text.run().expect()).unwrap();
        assert_eq!((&answer["kind"], &answer["verified"]), (&json!("sql"), &json!(true)));
        assert!(answer["result"]["rows_affected"].is_i64(), "{answer}");
        let copy = put(&server, "again", &fresh.get("/db/backup").body);
        assert_eq!(database::contents(&copy), database::contents(&server.scratch().join("odd")));
        for ending in ["-wal", "-shm"] {
            fs::remove_file(server.scratch().join(format!("again{ending}"))).ok();
        }
        // A second time its tables are there already: nothing of it counts.
        let before = digest(&fresh);
        let again = quorlite(&fresh, &["restore", path.to_str().expect("it is UTF-8")]).run();
        again.fails(1, "already exists (statement ");
        assert!(again.stderr.ends_with("; nothing of it was kept\n"), "{}", again.stderr);
        assert_eq!(digest(&fresh), before);
    }
}

#[test]
fn standard_input_is_streamed_to_the_server() {
    let server = server();
    let file = put_database(&server, "file", SCHEMA);
    let answer = quorlite(&server, &["restore", "--json", "-"]).input(&file).run().expect();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["bytes"], &answer["verified"]), (&json!(file.len()), &json!(false)));
    assert_eq!(server.value("SELECT count(*) FROM new"), json!(1000));
    let before = digest(&server);
    let half = quorlite(&server, &["restore", "-"]).input(&file[..file.len() / 2]).run();
    half.fails(7, "standard input: the file is cut short: its header promises");
    assert_eq!(digest(&server), before);
    let nothing = quorlite(&server, &["restore", "-"]).run();
    nothing.fails(7, "standard input: it is empty, nothing was changed");
    let text = quorlite(&server, &["restore", "-"]).input("BEGIN; CREATE TABLE cut(a);").run();
    text.fails(1, "the text is cut short: it begins a transaction and does not commit it");
    assert_eq!(digest(&server), before);
}

#[test]
fn a_web_page_has_booted_nothing() {
    let server = Server::fresh();
    let portal = Fake::start(|_| {
        let page = reply("200 OK", &[], b"<html>login</html>");
        [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], &page].concat()
    });
    let port = portal.address.port().to_string();
    quorlite(&server, &["backup", "-o", "copy"]).run().expect();
    let call = ["-p", &port, "boot", "copy"];
    quorlite_alone(server.scratch(), &call).run().fails(1, "is the port right?");
}

#[test]
fn a_node_boots_from_a_file() {
    let server = server();
    let file = put_database(&server, "file", SCHEMA);
    put(&server, "file.gz", &gzip(&file));
    put(&server, "text", b"CREATE TABLE a(b);");
    put(&server, "half", &file[..file.len() / 2]);
    let before = digest(&server);
    quorlite(&server, &["boot", "text"])
        .run()
        .fails(7, "boots from SQLite files only; use restore");
    quorlite(&server, &["boot", "half"]).run().fails(7, "cut short");
    quorlite(&server, &["boot", "--no-verify", "half"])
        .run()
        .fails(7, "half: the file is cut short");
    quorlite(&server, &["boot", "--no-verify", "text"]).run().fails(7, "text: ");
    quorlite(&server, &["boot", "missing"]).run().fails(8, "cannot read missing: No such file");
    assert_eq!(digest(&server), before);
    for name in ["file", "file.gz"] {
        server.execute(&["DROP TABLE IF EXISTS new"]);
        let ran = quorlite(&server, &["boot", name]).run();
        assert!(ran.stderr.starts_with(&format!("booted from {name} on ")), "{}", ran.stderr);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), ""));
        assert_eq!(server.value("SELECT count(*) FROM new"), json!(1000));
    }
}

/// A database that another program has not closed.
fn leave_open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database can be made");
    let sql = "PRAGMA journal_mode=WAL; CREATE TABLE a(b); INSERT INTO a VALUES(1);";
    connection.execute_batch(sql).expect("good SQL");
    connection
}
