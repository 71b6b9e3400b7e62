//! System calls that fail: the process ends or refuses, and says why; what was acknowledged is
//! there after the next start, once. Needs strace, which makes the calls fail.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::golden::say;
use crate::support::server::{Options, Server};

/// Writes in one life: more than a segment of the log.
const WRITES: i64 = 40;

/// One kind of failure.
struct Failure {
    /// What strace is to do.
    inject: &'static str,
    /// The file or folder, in the data directory, that it happens to.
    path: &'static str,
    /// Bytes of each row that is written.
    bytes: u32,
    /// What the server's log or an answer says.
    says: &'static str,
}

const FAILURES: [Failure; 6] = [
    Failure {
        inject: "fdatasync:error=EIO:when=5+",
        path: "raft/0000000001-00000000000000000001.log",
        bytes: 10,
        says: ".log: Input/output error",
    },
    // The folder's sync when the third segment has its name.
    Failure {
        inject: "fsync:error=ENOSPC:when=2+",
        path: "raft",
        bytes: 1_000_000,
        says: "raft: No space left on device",
    },
    Failure {
        inject: "pwrite64:error=EIO:when=9+",
        path: "db/database-1.sqlite-wal",
        bytes: 100,
        says: "disk I/O error",
    },
    Failure {
        inject: "pwrite64:error=ENOSPC:when=9+",
        path: "db/database-1.sqlite-wal",
        bytes: 100,
        says: "database or disk is full",
    },
    // A checkpoint. After a failed sync the next one may find nothing left to do.
    Failure {
        inject: "fsync:error=EIO:when=2",
        path: "db/database-1.sqlite",
        bytes: 1000,
        says: "disk I/O error; the next start recovers",
    },
    Failure {
        inject: "fsync:error=EIO:when=3+",
        path: "db/mark.tmp",
        bytes: 1000,
        says: "mark.tmp: Input/output error",
    },
];

fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-D", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Writes until the first that is not acknowledged.
fn write_until_refused(server: &Server, bytes: u32) -> (BTreeSet<i64>, String) {
    let mut done = BTreeSet::new();
    let mut refusal = String::new();
    for id in 0..WRITES {
        // The value is made here: SQL's randomblob() would leave the log short.
        let blob = "ab".repeat(usize::try_from(bytes / 2).expect("small"));
        let body = json!([["INSERT INTO t VALUES(?, ?)", id, blob]]).to_string();
        let reply = Client::connect(server.http()).and_then(|mut client| {
            client.raw().set_read_timeout(Some(Duration::from_secs(2)))?;
            client.request("POST", "/db/execute?timeout=1s", &[], body.as_bytes())
        });
        match reply {
            Ok(reply) if reply.is_success() => drop(done.insert(id)),
            Ok(reply) => {
                assert!(reply.is_refusal(), "{}: {}", reply.status(), reply.text());
                refusal.push_str(&reply.text());
                break;
            }
            Err(_) => break,
        }
        if id % 8 == 7 && bytes < 1_000_000 {
            let reply = Client::connect(server.http())
                .and_then(|mut client| client.request("POST", "/snapshot", &[], b""));
            refusal.push_str(&reply.map_or_else(|_| String::new(), |reply| reply.text()));
        }
    }
    (done, refusal)
}

fn fail(failure: &Failure) {
    let mut server = Options::default().start();
    server.execute(&["CREATE TABLE t (id INTEGER, b)"]);
    server.restart();
    server.kill9();
    let path = server.directory().join(failure.path);
    server.trace(&[
        "-P".to_owned(),
        path.to_string_lossy().into_owned(),
        "-e".to_owned(),
        format!("inject={}", failure.inject),
    ]);
    server.spawn();
    server.await_ready();
    let (done, refusal) = write_until_refused(&server, failure.bytes);
    let said = server.log() + &refusal;
    let what = format!("{} of {}", failure.inject, failure.path);
    assert!(said.contains(failure.says), "{what}: nothing says {:?}: {said}", failure.says);
    server.kill9();
    server.trace(&[]);
    server.start();
    let rows = server.query("SELECT id FROM t");
    let rows: Vec<i64> =
        rows.as_array().expect("rows").iter().filter_map(|row| row[0].as_i64()).collect();
    let found: BTreeSet<i64> = rows.iter().copied().collect();
    assert_eq!(found.len(), rows.len(), "{what}: something is there twice");
    assert!(done.is_subset(&found), "{what}: acknowledged {done:?}, found {found:?}; {refusal}");
    assert!(found.len() <= done.len() + 1, "{what}: acknowledged {done:?}, found {found:?}");
    assert_eq!(server.query("PRAGMA integrity_check"), json!([["ok"]]), "{what}");
    server.execute(&["INSERT INTO t VALUES(1000, 1)"]);
}

#[test]
fn no_failure_is_taken_for_a_result() {
    if !has_strace() {
        say("skipped: there is no strace here, or it may not trace");
        return;
    }
    for failure in &FAILURES {
        fail(failure);
    }
}
