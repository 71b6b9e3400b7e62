//! A disk that fills up at every kind of write: a clear refusal, reads go on, writing resumes when
//! there is room, and nothing acknowledged is lost. Needs root for a small tmpfs of its own.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::server::{Options, Server};
use crate::support::{database, eventually};

fn start(disk: &Disk, flags: &[&str]) -> Server {
    let server = Options::default().directory(&disk.path().join("node")).flags(flags).start();
    server.execute(&["CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)"]);
    server
}

/// Writes until a write is refused; the ids that were acknowledged.
fn write_until_refused(server: &Server, bytes: u32) -> (Vec<i64>, String) {
    let mut done = Vec::new();
    let mut client = server.client();
    for turn in 0..20_000 {
        let sql = format!("INSERT INTO t(b) VALUES(randomblob({bytes})) RETURNING id");
        let body = json!([sql]).to_string();
        let reply = client.request("POST", "/db/execute", &[], body.as_bytes());
        let reply = reply.unwrap_or_else(|error| panic!("write {turn}: {error}"));
        if !reply.is_success() {
            assert!(reply.is_refusal(), "{}: {}", reply.status(), reply.text());
            return (done, reply.text());
        }
        done.push(reply.json()["results"][0]["values"][0][0].as_i64().expect("an id"));
    }
    panic!("20,000 writes of {bytes} bytes fit on a small disk");
}

fn assert_all_there(server: &Server, done: &[i64]) {
    let found = server.query("SELECT id FROM t");
    let found: std::collections::BTreeSet<i64> =
        found.as_array().expect("rows").iter().filter_map(|row| row[0].as_i64()).collect();
    for id in done {
        assert!(found.contains(id), "{id} was acknowledged and is gone");
    }
    assert_eq!(server.query("PRAGMA integrity_check"), json!([["ok"]]), "integrity");
}

/// Reads work and say the truth, and the process lives, while the disk is full.
fn assert_reads_go_on(server: &mut Server, done: &[i64]) {
    assert_all_there(server, done);
    for level in ["none", "weak", "linearizable"] {
        let reply = server.get(&format!("/db/query?level={level}&q=SELECT%20count(*)%20FROM%20t"));
        assert!(reply.is_success() || level == "linearizable", "{level}: {}", reply.text());
    }
    assert_eq!(server.get("/status").status(), 200, "/status");
}

fn assert_writes_resume(server: &Server) -> i64 {
    eventually("writing resumes", Duration::from_secs(30), || {
        let reply = server.post("/db/execute", &json!(["INSERT INTO t(b) VALUES(1) RETURNING id"]));
        let json = reply.json();
        if reply.is_success() { json["results"][0]["values"][0][0].as_i64() } else { None }
    })
}

fn fill_release_restart(server: &mut Server, disk: &Disk, bytes: u32, leave: u64) {
    disk.fill(leave);
    let (mut done, refusal) = write_until_refused(server, bytes);
    let text = refusal.to_lowercase();
    let is_clear = ["space", "full", "disk"].iter().any(|word| text.contains(word));
    assert!(is_clear, "the refusal does not say why: {refusal}");
    assert_reads_go_on(server, &done);
    disk.release();
    done.push(assert_writes_resume(server));
    assert_all_there(server, &done);
    // And once more, killed while full.
    disk.fill(leave);
    let (more, _) = write_until_refused(server, bytes);
    done.extend(more);
    server.kill9();
    disk.release();
    server.start();
    done.push(assert_writes_resume(server));
    assert_all_there(server, &done);
    assert_eq!(server.terminate(Signal::TERM).code(), Some(0), "the exit code");
    server.start();
    assert_all_there(server, &done);
}

#[test]
fn full_while_small_writes_go_to_the_log() {
    let Some(disk) = Disk::mount(64) else { return };
    let mut server = start(&disk, &[]);
    fill_release_restart(&mut server, &disk, 1_000, 1 << 20);
}

#[test]
fn full_while_large_rows_are_applied() {
    // The log holds a few bytes of SQL, SQLite's WAL a megabyte: applying is what fails.
    let Some(disk) = Disk::mount(64) else { return };
    let mut server = start(&disk, &[]);
    fill_release_restart(&mut server, &disk, 1_000_000, 5 << 20);
}

#[test]
fn full_during_checkpoints() {
    let Some(disk) = Disk::mount(64) else { return };
    let flags = ["-raft-snap", "20", "-raft-snap-int", "50ms", "-raft-snap-wal-size", "100000"];
    let mut server = start(&disk, &flags);
    fill_release_restart(&mut server, &disk, 20_000, 2 << 20);
    let (_, _) = (server.post_bytes("/snapshot", b""), server.post_bytes("/snapshot", b""));
    server.assert_well("a checkpoint after a full disk");
}

/// What adds rows without end fails before the disk is full, as a result: nothing has to wait for
/// room that may never come, and no restart begins it again.
#[test]
fn a_statement_that_would_fill_any_disk_only_fails() {
    let Some(disk) = Disk::mount(160) else { return };
    let mut server = start(&disk, &[]);
    server.execute(&["INSERT INTO t(b) VALUES('kept')"]);
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
        INSERT INTO t(b) SELECT randomblob(5000) FROM c";
    let requests = [
        json!([endless]),
        json!(["PRAGMA user_version=1", endless, "INSERT INTO t(b) VALUES('kept')"]),
    ];
    for (number, request) in requests.iter().enumerate() {
        let reply = server.post("/db/execute", request);
        assert!(reply.text().contains("database or disk is full"), "{}", reply.text());
        assert_eq!(server.value("SELECT count(*) FROM t"), json!(1 + number), "rolled back");
        let script = server.post_bytes("/db/load", format!("{endless};").as_bytes());
        assert!(!script.is_success() && script.text().contains("full"), "{}", script.text());
        assert!(disk.free() > 4 << 20, "{} bytes are free", disk.free());
    }
    assert_writes_resume(&server);
    server.kill9();
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(3), "after a restart");
    assert_writes_resume(&server);
}

#[test]
fn full_with_not_a_byte_left() {
    let Some(disk) = Disk::mount(64) else { return };
    let mut server = start(&disk, &[]);
    server.execute(&["INSERT INTO t(b) VALUES(1)"]);
    disk.fill(0);
    // A start needs little; whatever it says, it must work again with room.
    server.post_bytes("/snapshot", b"");
    server.kill9();
    disk.release();
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(1));
    assert_writes_resume(&server);
}

#[test]
fn full_while_a_file_is_loaded() {
    let Some(disk) = Disk::mount(64) else { return };
    let mut server = start(&disk, &[]);
    server.execute(&["INSERT INTO t(b) VALUES('kept')"]);
    let file = database::create(
        &server.scratch().join("new.db"),
        "CREATE TABLE new (b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
            INSERT INTO new SELECT randomblob(1000000) FROM n",
    );
    disk.fill(5 << 20);
    for target in ["/db/load", "/boot"] {
        let mut client = server.client();
        client.send("POST", target, &[("Content-Length", &file.len().to_string())], None).unwrap();
        // It may refuse and close before all is sent.
        std::io::Write::write_all(client.raw(), &file).ok();
        if let Ok(reply) = client.reply("POST") {
            assert!(reply.status() >= 400, "{target}: {} {}", reply.status(), reply.text());
        }
        assert_eq!(server.query("SELECT b FROM t"), json!([["kept"]]), "{target}");
        server.assert_well(target);
    }
    assert!(disk.free() > 3 << 20, "a refused load left its upload: {} free", disk.free());
    disk.release();
    let reply = server.request("POST", "/db/load", &[], &file);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(server.value("SELECT count(*) FROM new"), json!(20));
    server.restart();
    assert_eq!(server.value("SELECT count(*) FROM new"), json!(20));
}

#[test]
fn full_while_a_vacuumed_backup_is_made() {
    let Some(disk) = Disk::mount(64) else { return };
    let server = start(&disk, &[]);
    for _ in 0..10 {
        server.execute(&["INSERT INTO t(b) VALUES(randomblob(1000000))"]);
    }
    server.post_bytes("/snapshot", b"");
    disk.fill(3 << 20);
    let mut client = server.client();
    let reply = client.request("GET", "/db/backup?vacuum", &[], b"");
    // Refused before the first byte, or cut so that it cannot be taken for whole.
    if let Ok(reply) = reply {
        let is_whole = reply.status() == 200 && reply.body.len() > 10_000_000;
        assert!(
            reply.status() >= 500 || is_whole,
            "{}: {} bytes",
            reply.status(),
            reply.body.len()
        );
    }
    // The plain one needs no room at all.
    let plain = server.get("/db/backup");
    assert!(plain.status() == 200 && plain.body.len() > 10_000_000, "{}", plain.status());
    server.assert_well("a backup on a full disk");
    assert!(disk.free() > 2 << 20, "the failed backup left a file: {} free", disk.free());
}

#[test]
fn an_update_too_large_for_the_disk_waits_for_room() {
    let Some(disk) = Disk::mount(96) else { return };
    let mut server = start(&disk, &[]);
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
        INSERT INTO t(b) SELECT randomblob(1000000) FROM n";
    server.execute(&[rows, "INSERT INTO t(b) VALUES('before')"]);
    disk.fill(8 << 20);
    // It makes nothing larger, so no limit of growth refuses it; its WAL finds no room.
    let change = "UPDATE t SET b = randomblob(1000000) WHERE id <= 20";
    let reply = server.post("/db/execute?timeout=1s", &json!([change]));
    assert!(reply.is_refusal() && reply.text().contains("full"), "{}", reply.text());
    let target = "/db/query?level=none&q=SELECT%20b%20FROM%20t%20WHERE%20id%3E20";
    let before = || server.get(target).text();
    assert!(before().contains("before"), "{}", before());
    assert!(!server.is_ready(), "it cannot write and says that it is ready");
    // After a restart, too, what came before it is there.
    server.kill9();
    server.spawn();
    eventually("what came before can be read", Duration::from_secs(30), || {
        let mut client = Client::connect(server.http()).ok()?;
        let reply = client.request("GET", target, &[], b"");
        reply.is_ok_and(|reply| reply.text().contains("before")).then_some(())
    });
    disk.release();
    server.await_ready();
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(21), "nothing twice");
    assert_writes_resume(&server);
}
