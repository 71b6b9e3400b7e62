//! Backups as HTTP: lengths, tags, connections that are cut, slow readers, bounded memory.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, Framing};
use crate::support::database;
use crate::support::server::{Options, Server};

/// Rows of 1,000 bytes that make a database of about 200 MB.
const ROWS: u64 = 190_000;

/// Memory that handling the large database may cost; a copy in memory would cost 200 MB.
const GROWTH_MAX: u64 = 64 << 20;

fn large(server: &Server) {
    server.execute(&["CREATE TABLE big (id INTEGER PRIMARY KEY, t BLOB)"]);
    let part = ROWS / 10;
    for _ in 0..10 {
        server.execute(&[&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {part})
                INSERT INTO big(t) SELECT randomblob(1000) FROM n"
        )]);
    }
}

/// Counts what it is given.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn download(server: &Server, target: &str) -> u64 {
    let mut client = server.client();
    client.send("GET", target, &[], None).expect("a download goes on");
    let head = client.head("GET").expect("a download goes on");
    assert_eq!(head.status, 200, "{target}");
    let mut counter = Counter(0);
    client.body(&head, &mut counter).expect("a download goes on");
    counter.0
}

#[test]
fn lengths_and_tags_and_indexes() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)", "INSERT INTO a VALUES(1)"]);
    for target in ["/db/backup", "/db/backup?fmt=delete", "/db/backup?fmt=sql", "/db/backup?vacuum"]
    {
        let reply = server.get(target);
        let tag = reply.header("ETag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{target}: {tag}");
        let named = |name: &str| {
            reply.head.headers.iter().any(|(key, value)| {
                key.to_lowercase().contains(name)
                    && value.parse::<u64>().is_ok_and(|index| index > 0)
            })
        };
        assert!(named("index") && named("term"), "{target}: {:?}", reply.head);
        if !target.contains('?') || target.contains("delete") {
            let length = Framing::Length(reply.body.len() as u64);
            assert_eq!(reply.head.framing, length, "{target}");
        }
        let head = server.request("HEAD", target, &[], b"");
        assert_eq!((head.status(), head.body.len()), (200, 0), "{target}");
        assert_eq!(head.header("ETag"), tag, "{target}");
        // A copy that must be made first has no length before it is.
        let length = head.header("Content-Length");
        assert!(
            length.is_empty() || length == reply.header("Content-Length"),
            "{target}: {length}"
        );
        assert!(
            !length.is_empty() || target.contains("vacuum") || target.contains("sql"),
            "{target}"
        );
        let same = server.request("GET", target, &[("If-None-Match", &tag)], b"");
        assert_eq!((same.status(), same.body.len()), (304, 0), "{target}");
        assert_eq!(same.header("ETag"), tag, "{target}");
        let any = server.request("GET", target, &[("If-None-Match", "*")], b"");
        assert_eq!(any.status(), 304, "{target}");
        let other = server.request("GET", target, &[("If-None-Match", "\"other\"")], b"");
        assert_eq!(other.status(), 200, "{target}");
    }
    // Each form has its own tag, and every change a new one.
    let tags = |server: &Server| {
        ["", "?fmt=delete", "?fmt=sql", "?compress"]
            .map(|form| server.get(&format!("/db/backup{form}")).header("ETag").to_owned())
    };
    let before = tags(&server);
    for (at, tag) in before.iter().enumerate() {
        assert!(!before[..at].contains(tag), "two forms share a tag: {before:?}");
    }
    server.execute(&["INSERT INTO a VALUES(2)"]);
    let after = tags(&server);
    for tag in &after {
        assert!(!before.contains(tag), "a tag outlived a change: {before:?} {after:?}");
    }
}

#[test]
fn a_restore_changes_the_tag() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let first = server.get("/db/backup");
    assert_eq!(server.request("POST", "/db/load", &[], &first.body).status(), 200);
    server.execute(&["INSERT INTO a VALUES(1)"]);
    let again =
        server.request("GET", "/db/backup", &[("If-None-Match", first.header("ETag"))], b"");
    assert_eq!(again.status(), 200);
}

#[test]
fn a_large_database_passes_through_little_memory() {
    let server = Server::fresh();
    large(&server);
    server.post("/snapshot", &json!([]));
    let before = server.resident_peak();
    for form in ["", "?fmt=delete", "?fmt=sql", "?compress", "?vacuum"] {
        let bytes = download(&server, &format!("/db/backup{form}"));
        assert!(bytes > ROWS * 900, "{form}: only {bytes} bytes");
        let grown = server.resident_peak().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{form}: memory grew by {grown} bytes");
    }
    let path = server.scratch().join("large.db");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut client = server.client();
    client.send("GET", "/db/backup?fmt=delete", &[], None).unwrap();
    let head = client.head("GET").unwrap();
    client.body(&head, &mut file).unwrap();
    drop(file);

    let other = Server::fresh();
    other.execute(&["CREATE TABLE old (x)"]);
    let before = other.resident_peak();
    for target in ["/db/load", "/boot"] {
        let reply = upload(&other, target, &path);
        assert_eq!(reply, 200, "{target}");
        let grown = other.resident_peak().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{target}: memory grew by {grown} bytes");
        assert_eq!(other.value("SELECT count(*) FROM big"), json!(ROWS), "{target}");
        other.assert_well(target);
    }
}

fn upload(server: &Server, target: &str, path: &std::path::Path) -> u16 {
    let mut file = std::fs::File::open(path).expect("an upload goes on");
    let length = file.metadata().expect("an upload goes on").len().to_string();
    let mut client = server.client();
    client.send("POST", target, &[("Content-Length", &length)], None).expect("an upload goes on");
    io::copy(&mut file, client.raw()).expect("an upload goes on");
    client.reply("POST").expect("an upload goes on").status()
}

#[test]
fn slow_readers_hold_up_nobody_and_get_one_moment() {
    let server = Options::default().flags(&["-raft-snap", "50", "-raft-snap-int", "100ms"]).start();
    server.execute(&[
        "CREATE TABLE big (t BLOB)",
        "CREATE TABLE n (x)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO big SELECT randomblob(1000) FROM n",
    ]);
    let mut client = server.client();
    client.send("GET", "/db/backup?fmt=delete", &[], None).unwrap();
    let head = client.head("GET").unwrap();
    let Framing::Length(length) = head.framing else { panic!("no length: {head:?}") };
    // The client reads nothing more while others write and checkpoints are due.
    for number in 0..300 {
        let begin = Instant::now();
        server.execute(&[&format!("INSERT INTO n VALUES({number})")]);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(2), "a write waited {took:?} for a slow reader");
    }
    let mut file = Vec::new();
    client.body(&head, &mut file).unwrap();
    assert_eq!(file.len() as u64, length);
    let path = server.scratch().join("slow.db");
    std::fs::write(&path, file).unwrap();
    database::assert_sound(&path);
    let found = database::rows(&database::open(&path), "SELECT count(*) FROM n");
    assert_eq!(found, ["Integer(0)"], "the backup is of the moment it was asked for");
    assert_eq!(server.value("SELECT count(*) FROM n"), json!(300));
}

#[test]
fn readers_that_leave_cost_nothing() {
    let server = Server::fresh();
    server.execute(&[
        "CREATE TABLE big (t BLOB)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO big SELECT randomblob(1000) FROM n",
    ]);
    for form in ["", "?fmt=sql", "?vacuum", "?compress"] {
        for _ in 0..5 {
            let mut client = server.client();
            client.send("GET", &format!("/db/backup{form}"), &[], None).unwrap();
            client.head("GET").unwrap();
            let mut some = [0; 10_000];
            client.raw().read_exact(&mut some).ok();
        }
    }
    crate::support::eventually("all backups have ended", Duration::from_secs(20), || {
        let status = server.get("/status").text();
        // Whatever the count is called, a new backup and a snapshot must be possible.
        (server.get("/db/backup").status() == 200 && !status.is_empty()).then_some(())
    });
    server.execute(&["INSERT INTO big VALUES(1)"]);
    assert!(matches!(server.post_bytes("/snapshot", b"").status(), 200 | 204));
    server.assert_well("readers that left");
}

#[test]
fn a_server_that_stops_cuts_its_backups_short_of_their_end() {
    for form in ["", "?fmt=sql", "?compress"] {
        let mut server = Server::fresh();
        server.execute(&[
            "CREATE TABLE big (t BLOB)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
                INSERT INTO big SELECT randomblob(1000) FROM n",
        ]);
        let mut client = Client::connect(server.http()).unwrap();
        client.send("GET", &format!("/db/backup{form}"), &[], None).unwrap();
        let head = client.head("GET").unwrap();
        server.kill9();
        let result = client.body(&head, &mut Counter(0));
        assert!(head.framing != Framing::Close, "{form}: its end cannot be told");
        assert!(result.is_err(), "{form}: a backup that was cut looked complete");
    }
}

#[test]
fn a_follower_refuses_a_copy_that_may_be_staler_than_allowed() {
    let mut leader = Options::default().flags(&["-node-id", "1"]).start();
    let join = leader.raft().to_string();
    let follower = Options::default().flags(&["-node-id", "2", "-join", &join]).start();
    leader.execute(&["CREATE TABLE a (x)"]);
    let within = |freshness: &str| follower.get(&format!("/db/backup?noleader{freshness}"));
    assert_eq!(within("&freshness=30s&freshness_strict").status(), 200);
    // A leader is never stale, and a forwarded request gets the leader's copy.
    assert_eq!(leader.get("/db/backup?noleader&freshness=1ns").status(), 200);
    assert_eq!(follower.get("/db/backup?freshness=1ns").status(), 200);
    leader.kill9();
    crate::support::eventually("nobody was heard for long", Duration::from_secs(20), || {
        let reply = within("&freshness=300ms");
        let text = "this node's copy may be staler than freshness allows: ask the leader, or \
                    allow more";
        (reply.status() == 503).then(|| assert_eq!(reply.text().trim_end(), text))
    });
    let head = follower.request("HEAD", "/db/backup?noleader&freshness=300ms", &[], b"");
    assert_eq!(head.status(), 503);
    assert_eq!(within("").status(), 200);
    assert_eq!(within("&freshness=0").status(), 200, "0 is no bound, as for reads");
}
