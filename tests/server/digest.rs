//! `/db/digest`: equal content gives equal digests whatever the file looks like, any change
//! another one, and the answer stands at one index.

use std::time::Duration;

use serde_json::{Value, json};

use super::backup::ODD;
use crate::support::server::{Options, Server};
use crate::support::{database, eventually};

/// Memory that a digest may take above what the server had, however large the database is.
const MEMORY_MAX: u64 = 16 << 20;

fn digest_of(server: &Server, target: &str) -> Value {
    let reply = server.get(target);
    assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
    assert_eq!(reply.header("Content-Type"), "application/json; charset=utf-8", "{target}");
    reply.json()
}

fn sha256(server: &Server) -> String {
    let digest = digest_of(server, "/db/digest")["digest"].clone();
    digest.as_str().expect("a digest is text").to_owned()
}

/// The index of the entry that these statements made.
fn write(server: &Server, statements: &[&str]) -> u64 {
    let reply = server.post("/db/execute?raft_index", &json!(statements));
    assert!(reply.is_success(), "{statements:?}: {}", reply.text());
    reply.json()["raft_index"].as_u64().expect("a write has an index")
}

#[test]
fn the_files_layout_does_not_matter() {
    let flags = ["-raft-snap", "10", "-raft-snap-int", "20ms"];
    let one = Options::default().flags(&flags).start();
    let file = database::create(&one.scratch().join("odd.db"), ODD);
    assert_eq!(one.request("POST", "/db/load", &[], &file).status(), 200, "a load");
    one.execute(&["CREATE TABLE gone (b)", "CREATE TABLE kept (id INTEGER PRIMARY KEY, b)"]);
    for number in 0..40 {
        let insert = format!("INSERT INTO kept VALUES({number}, hex(randomblob(3000)))");
        one.execute(&[&insert, "INSERT INTO gone VALUES(zeroblob(9000))"]);
    }
    one.execute(&["DROP TABLE gone"]);
    let before = sha256(&one);
    assert_eq!(before.len(), 64, "{before}");

    let text = one.get("/db/backup?fmt=sql").body;
    for target in ["/db/backup?vacuum", "/db/backup", "/db/backup?fmt=sql"] {
        let copy = one.get(target);
        let other = Server::fresh();
        assert_eq!(other.request("POST", "/db/load", &[], &copy.body).status(), 200, "{target}");
        let digest = digest_of(&other, "/db/digest");
        assert_eq!(digest["digest"], json!(before), "{target}");
        assert_eq!(digest["bytes"], json!(text.len()), "{target}");
    }
    // A VACUUM may number rows anew whose numbers nothing declares: that would be a change.
    one.execute(&["DROP TABLE rowids"]);
    let before = sha256(&one);
    one.execute(&["VACUUM"]);
    one.post_bytes("/snapshot", b"");
    assert_eq!(sha256(&one), before, "after a VACUUM and a checkpoint");
}

#[test]
fn every_change_shows_and_a_change_undone_does_not() {
    let mut server = Server::fresh();
    let file = database::create(&server.scratch().join("odd.db"), ODD);
    assert_eq!(server.request("POST", "/db/load", &[], &file).status(), 200, "a load");
    let before = sha256(&server);
    for (change, back) in [
        ("UPDATE made SET a = 3 WHERE a = 2", "UPDATE made SET a = 2 WHERE a = 3"),
        ("INSERT INTO bare VALUES('', NULL)", "DELETE FROM bare WHERE k = ''"),
        (
            "UPDATE rowids SET rowid = 101 WHERE v = 'b'",
            "UPDATE rowids SET rowid = 100 WHERE v = 'b'",
        ),
        ("UPDATE strict SET a = '2' WHERE i = 2", "UPDATE strict SET a = 2 WHERE i = 2"),
        ("UPDATE nul SET t = '' WHERE b = 1", "UPDATE nul SET t = char(0) WHERE b = 1"),
        ("CREATE INDEX more ON bare(v)", "DROP INDEX more"),
        ("PRAGMA user_version = 8", "PRAGMA user_version = 7"),
    ] {
        server.execute(&[change]);
        assert_ne!(sha256(&server), before, "{change}");
        server.execute(&[back]);
        assert_eq!(sha256(&server), before, "{back}");
    }
    server.restart();
    assert_eq!(sha256(&server), before, "after a restart");
    server.kill9();
    server.start();
    assert_eq!(sha256(&server), before, "after a kill");
}

#[test]
fn it_stands_at_one_index_and_waits_for_it() {
    let server = Server::fresh();
    let index = write(&server, &["CREATE TABLE t (n)"]);
    let first = digest_of(&server, &format!("/db/digest?index={index}"));
    assert_eq!(first["index"], json!(index), "{first}");
    assert!(first["term"].as_u64() >= Some(1), "{first}");
    assert_eq!(digest_of(&server, "/db/digest?pretty"), first, "nothing was written");

    let next = index + 1;
    let early = server.get(&format!("/db/digest?timeout=50ms&index={next}"));
    let expected = format!(
        "entry {next} was not applied in time: this node has applied {index}; ask again, or with a longer timeout\n"
    );
    assert_eq!((early.status(), early.text()), (503, expected));
    let later = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| digest_of(&server, &format!("/db/digest?index={next}")));
        // Whether it waits already or not, the answer is the same.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(write(&server, &["INSERT INTO t VALUES(1)"]), next);
        waiting.join().expect("it is answered")
    });
    assert_eq!(later["index"], json!(next), "{later}");
    assert_ne!(later["digest"], first["digest"], "{later}");

    for (target, text) in [
        ("/db/digest?index=x", "index is not a valid integer\n"),
        ("/db/digest?timeout=1", "timeout is not a valid duration\n"),
    ] {
        let reply = server.get(target);
        assert_eq!((reply.status(), reply.text().as_str()), (400, text), "{target}");
    }
    assert_eq!(server.post_bytes("/db/digest", b"").status(), 405, "a POST");
}

#[test]
fn a_large_database_is_digested_in_little_memory_while_writes_go_on() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)"]);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8)
        INSERT INTO t(b) SELECT randomblob(1000000) FROM n";
    for _ in 0..5 {
        server.execute(&[fill]);
    }
    server.post_bytes("/snapshot", b"");
    let before = server.resident_peak();
    std::thread::scope(|scope| {
        let digests = scope.spawn(|| {
            for _ in 0..3 {
                let digest = digest_of(&server, "/db/digest");
                assert!(digest["bytes"].as_u64() > Some(80_000_000), "{digest}");
            }
        });
        let mut count = 0;
        while !digests.is_finished() {
            server.execute(&["INSERT INTO t(b) VALUES(1)"]);
            count += 1;
        }
        digests.join().expect("digests are made");
        assert!(count >= 10, "only {count} writes were made meanwhile");
    });
    let grown = server.resident_peak() - before;
    assert!(grown < MEMORY_MAX, "{grown} bytes more");
    eventually("nothing stays pinned", Duration::from_secs(10), || {
        (server.get("/status?key=store.quorlite.backups.running").json() == json!(0)).then_some(())
    });
}
