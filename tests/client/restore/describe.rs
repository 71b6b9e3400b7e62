//! `restore --dry-run`: what it prints, to the byte, and that it changes nothing.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{SCHEMA, digest, gzip, put, put_database, restore, server};
use crate::program::{quorlite, quorlite_alone};
use crate::support::server::Server;

const FILE: &str = "
    PRAGMA journal_mode=WAL; PRAGMA user_version=5; PRAGMA application_id=-2;
    CREATE TABLE \"a longer name than usual\" (a); CREATE TABLE events (id INTEGER PRIMARY KEY);
    INSERT INTO events VALUES(1),(2),(3); CREATE TABLE same (a); CREATE INDEX by_a ON same(a);
    CREATE VIEW newest AS SELECT max(id) FROM events; CREATE TABLE other (a, b);
    PRAGMA wal_checkpoint(TRUNCATE);";

const LIVE: [&str; 6] = [
    "CREATE TABLE events (id INTEGER PRIMARY KEY)",
    "INSERT INTO events VALUES(1),(2)",
    "CREATE TABLE same (a)",
    "CREATE INDEX by_a ON same(a)",
    "CREATE TABLE other (a, c)",
    "PRAGMA user_version=4",
];

/// A sidecar as `backup` writes them.
fn put_sidecar(server: &Server, name: &str, bytes: &[u8]) {
    let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    let sidecar = json!({
        "name": name, "bytes": bytes.len(), "sha256": sha256, "raft_index": 1234, "raft_term": 2,
        "etag": "\"1-2\"", "taken_at": "2026-11-20T03:00:01Z", "verified": true,
        "sequence": 7, "node": "10.0.0.1:4001", "fmt": "binary",
    });
    put(server, &format!("{name}.json"), sidecar.to_string().as_bytes());
}

fn raft_index(server: &Server) -> String {
    let reply = server.request("HEAD", "/db/backup", &[], b"");
    reply.header("X-QUORLITE-RAFT-INDEX").to_owned()
}

#[test]
fn a_database_is_described_and_compared() {
    let server = server();
    server.execute(&LIVE);
    let file = put_database(&server, "nightly.db", FILE);
    put_sidecar(&server, "nightly.db", &file);
    let before = digest(&server);
    let wanted = format!(
        "\
file            nightly.db
kind            SQLite database
bytes           {}
pages           {} of 4096 bytes
encoding        UTF-8
journal         WAL
user_version    5
application_id  -2
written by      SQLite {}
taken at        2026-11-20T03:00:01Z, raft index 1234, from 10.0.0.1:4001, says nightly.db.json
checks passed   header, length, every page, digest of the sidecar
holds           4 tables, 3 rows
live            4 tables, 3 rows on {} at raft index {}

table                         file      live
a longer name than usual         0         -
events                           3         2
other                            0         0
same                             0         0
t                                -         1

table a longer name than usual: only in the file
table events: another number of rows
table other: another schema
table t: only live
view newest: only in the file
pragma user_version: 5 in the file, 4 live
pragma application_id: -2 in the file, 0 live
",
        file.len(),
        file.len() / 4096,
        rusqlite::version(),
        server.http(),
        raft_index(&server),
    );
    let ran = restore(&server, &["--dry-run", "nightly.db"]);
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.expect(), wanted);
    assert_eq!(digest(&server), before, "nothing has changed");

    let json = restore(&server, &["--dry-run", "--json", "nightly.db"]).expect();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["live"]["tables"][0], json!({ "name": "events", "rows": 2 }));
    assert_eq!(json["differences"].as_array().unwrap().len(), 7);
    for (key, value) in [
        ("kind", json!("database")),
        ("wal", json!(true)),
        ("raft_index", json!(1234)),
        ("taken_at", json!("2026-11-20T03:00:01Z")),
        ("sidecar", json!("nightly.db.json")),
        ("compressed", json!(false)),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
}

#[test]
fn what_is_restored_does_not_differ() {
    let server = server();
    server.execute(&LIVE);
    let copy = server.get("/db/backup?fmt=delete").body;
    let path = put(&server, "copy.gz", &gzip(&copy));
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_230_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let wanted = format!(
        "\
file            copy.gz
kind            SQLite database, gzip
bytes           {}
pages           {} of 4096 bytes
encoding        UTF-8
journal         rollback
user_version    4
application_id  0
written by      SQLite {}
taken at        2026-11-21T03:00:00Z, says the file's time; it has no sidecar
checks passed   gzip, header, length, every page
holds           4 tables, 3 rows
live            4 tables, 3 rows on {} at raft index {}

table               file      live
events                 2         2
other                  0         0
same                   0         0
t                      1         1

no difference in schema, numbers of rows or versions
",
        gzip(&copy).len(),
        copy.len() / 4096,
        rusqlite::version(),
        server.http(),
        raft_index(&server),
    );
    assert_eq!(restore(&server, &["--dry-run", "copy.gz"]).expect(), wanted);
}

#[test]
fn sql_text_is_run_elsewhere_to_describe_it() {
    let home = tempfile::tempdir().unwrap();
    let text = "BEGIN; CREATE TABLE a(b); INSERT INTO a VALUES(1),(2); PRAGMA user_version=9;
        CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES('x'); COMMIT;";
    let wanted = format!(
        "\
file            standard input
kind            SQL text
bytes           {}
user_version    9
application_id  0
taken at        unknown
checks passed   every statement
holds           2 tables, 3 rows

table               file
a                      2
f                      1
",
        text.len()
    );
    let call = quorlite_alone(home.path(), &["restore", "--dry-run", "--offline", "-"]);
    assert_eq!(call.input(text).run().expect(), wanted);
    let server = server();
    let live = quorlite(&server, &["restore", "--dry-run", "-"]).input(text).run().expect();
    let end = "
table               file      live
a                      2         -
f                      1         -
t                      -         1

SQL text is added to what is live: it fails if it makes what is there
table a: only in the file
table f: only in the file
table t: only live
pragma user_version: 9 in the file, 0 live
";
    assert!(live.ends_with(end), "{live}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    let made = quorlite(&server, &["restore", "--dry-run", "-"]).input("CREATE TABLE t(a);").run();
    assert!(made.expect().contains("\nt is live already: it will fail unless"));
    let made = quorlite(&server, &["restore", "--dry-run", "--json", "-"]);
    let json: Value =
        serde_json::from_str(&made.input("CREATE TABLE t(a);").run().expect()).unwrap();
    assert_eq!(json["obstacle"], json!("t"));
    let wrong = quorlite(&server, &["restore", "--dry-run", "-"]).input("CREATE TABL t(a);").run();
    wrong.fails(7, "syntax error");
    assert!(!wrong.stderr.contains("empty database"), "{}", wrong.stderr);
}

#[test]
fn without_a_server_the_file_is_described_all_the_same() {
    let server = server();
    put_database(&server, "file", SCHEMA);
    let offline = restore(&server, &["--dry-run", "--offline", "file"]).expect();
    assert!(offline.contains("\nholds           1 table, 1000 rows\n"), "{offline}");
    let arguments = ["-H", "127.0.0.1", "-p", "1", "restore", "--dry-run", "file"];
    let ran = quorlite_alone(server.scratch(), &arguments).run();
    assert_eq!((ran.status, ran.stdout), (Some(3), offline));
    assert!(ran.stderr.starts_with("quorlite: cannot reach 127.0.0.1:1: "), "{}", ran.stderr);
    for wrong in [&["--offline"][..], &["--dry-run", "--no-verify"], &["--dry-run", "--yes"]] {
        restore(&server, &[&["file"], wrong].concat()).fails(2, "--dry-run");
    }
}
