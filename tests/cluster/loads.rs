//! Backups, loads and long statements in a cluster that goes on working, and loses nodes meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::cluster::{Cluster, Plan};
use crate::story::{Story, seed};
use crate::support::client::Client;
use crate::support::golden::say;
use crate::support::{database, eventually};

/// Longest silence in the course of a backup or load.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Rows whose index takes a second or so for each 400.
const SLOW_ROWS: u32 = 5_000;

/// Takes backups and loads texts until told to stop; numbers of both that were done.
struct Disturbance {
    is_over: AtomicBool,
    backups: AtomicU64,
    loads: AtomicU64,
}

/// Ends it, also where a test fails.
struct End<'a>(&'a Disturbance);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Disturbance {
    fn run(&self, addresses: &[std::net::SocketAddr], scratch: &std::path::Path) {
        let path = scratch.join("copy.db");
        for turn in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let address = addresses[turn % addresses.len()];
            let Ok(mut client) = Client::connect_within(address, SILENCE_MAX) else { continue };
            if turn % 4 == 3 {
                let script = b"INSERT INTO texts VALUES(1); INSERT INTO texts VALUES(2);";
                let reply = client.request("POST", "/db/load", &[], script);
                let is_done = reply.is_ok_and(|reply| reply.is_success());
                self.loads.fetch_add(u64::from(is_done), Ordering::Relaxed);
                continue;
            }
            let target = ["/db/backup", "/db/backup?fmt=sql", "/db/backup?vacuum"][turn % 3];
            let Ok(reply) = client.request("GET", target, &[], b"") else { continue };
            if reply.status() != 200 {
                continue;
            }
            assert_whole(&reply.body, target, &path);
            self.backups.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Fails unless a copy that came to its end is one moment of the database.
fn assert_whole(bytes: &[u8], target: &str, path: &std::path::Path) {
    if target.contains("sql") {
        assert!(bytes.ends_with(b"COMMIT;\n"), "{target} is cut short and looks whole");
        return;
    }
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", path.display())).ok();
    }
    std::fs::write(path, bytes).expect("a file can be written");
    database::assert_sound(path);
    let connection = database::open(path);
    let sql = "SELECT (SELECT sum(n) FROM account), (SELECT count(*) % 2 FROM texts)";
    let found = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let found: (i64, i64) = found.expect("a backup can be read");
    assert_eq!(found, (800, 0), "{target} is torn");
}

#[test]
fn backups_and_loads_go_on_while_nodes_die() {
    let Some(mut story) = Story::begin("backups", Plan::default()) else { return };
    let leader = story.cluster.leader();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
        INSERT INTO bulk SELECT randomblob(1000) FROM n";
    story.cluster.node(leader).execute(&["CREATE TABLE texts (n)", "CREATE TABLE bulk (b)", fill]);
    let addresses: Vec<_> = story.cluster.nodes.iter().map(|node| node.http).collect();
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let disturbance = Disturbance {
        is_over: AtomicBool::new(false),
        backups: AtomicU64::new(0),
        loads: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| disturbance.run(&addresses, scratch.path()));
        let end = End(&disturbance);
        story.pass(2_000);
        for turn in 0..4 {
            let leader = story.cluster.leader();
            let victim = if turn % 2 == 0 { leader } else { story.cluster.others(leader)[0] };
            story.kill9(victim);
            story.await_writes(20);
            story.spawn(victim);
            story.pass(1_500);
        }
        drop(end);
        thread.join().expect("no copy is torn");
    });
    let (backups, loads) = (disturbance.backups.into_inner(), disturbance.loads.into_inner());
    say(&format!("backups: {backups} copies were whole, {loads} texts were loaded"));
    assert!(backups >= 3 && loads >= 1, "too little was done to show anything");
    story.end();
}

/// The leader's database with another number in it.
fn next_epoch(cluster: &Cluster, epoch: i64) -> Vec<u8> {
    let copy = cluster.node(cluster.leader()).get("/db/backup?fmt=delete");
    assert_eq!(copy.status(), 200, "{}", copy.text());
    let path = cluster.scratch().join("epoch.db");
    std::fs::write(&path, copy.body).expect("a file can be written");
    let connection = Connection::open(&path).expect("a backup opens");
    connection.execute("UPDATE epoch SET n = ?", [epoch]).expect("a backup can be changed");
    connection.close().expect("nothing is in use");
    std::fs::read(&path).expect("the file is there")
}

/// A file is loaded through each node in turn, while the leader, a follower or nobody dies.
#[test]
fn files_are_loaded_whole_or_not_at_all() {
    let Some(mut cluster) = Cluster::start(Plan { seed: seed(), ..Plan::default() }) else {
        return;
    };
    cluster.node(cluster.leader()).execute(&[
        "CREATE TABLE epoch (n)",
        "INSERT INTO epoch VALUES(0)",
        "CREATE TABLE bulk (b)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
            INSERT INTO bulk SELECT randomblob(1000000) FROM n",
    ]);
    let mut epoch = 0;
    for turn in 0..6_u64 {
        let leader = cluster.leader();
        let others = cluster.others(leader);
        let file = next_epoch(&cluster, epoch + 1);
        let asked = if turn % 2 == 0 { others[0] } else { leader };
        let victim = [None, None, Some(leader), Some(others[0]), Some(others[1]), Some(leader)]
            [usize::try_from(turn).expect("small")];
        let address = cluster.node(asked).http;
        let is_done = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut client = Client::connect_within(address, SILENCE_MAX).ok()?;
                let reply = client.request("POST", "/db/load", &[], &file).ok()?;
                Some((reply.status(), reply.is_success(), reply.text()))
            });
            if let Some(victim) = victim {
                std::thread::sleep(Duration::from_millis(20 + 60 * turn));
                cluster.node_mut(victim).kill9();
            }
            load.join().expect("no panic")
        });
        say(&format!("load {turn} through n{asked}, n{victim:?} killed: {is_done:?}"));
        if let Some(victim) = victim {
            cluster.spawn(victim);
        }
        cluster.converge(Duration::from_secs(30));
        let found = cluster.node(1).rows("SELECT n, (SELECT count(*) FROM bulk) FROM epoch");
        let found = (found[0][0].as_i64(), found[0][1].as_i64());
        let is_done = is_done.is_some_and(|(_, is_success, _)| is_success);
        assert_eq!(found.1, Some(20), "the rows");
        assert!(found.0 == Some(epoch + 1) || !is_done && found.0 == Some(epoch), "{found:?}");
        assert!(is_done || victim.is_some(), "nobody died, and it was not loaded");
        epoch = found.0.expect("a number");
    }
}

/// An index that takes a long time to make costs nobody the leadership, and reads go on.
#[test]
fn a_long_statement_causes_no_election() {
    let Some(story) = Story::begin("long index", Plan::default()) else { return };
    let leader = story.cluster.leader();
    story.cluster.node(leader).execute(&[
        "CREATE TABLE slow (n INTEGER)",
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SLOW_ROWS})
             INSERT INTO slow SELECT i FROM n"
        ),
    ]);
    let term = story.cluster.term();
    let sql =
        "CREATE INDEX long_one ON slow(length(replace(hex(zeroblob(200000 + n)), '00', 'abc')))";
    let begin = Instant::now();
    let took = std::thread::scope(|scope| {
        let index = scope.spawn(|| {
            let mut client = Client::connect_within(story.cluster.node(leader).http, SILENCE_MAX)?;
            let body = json!([sql]).to_string();
            client.request("POST", "/db/execute?timeout=60s", &[], body.as_bytes())
        });
        while !index.is_finished() {
            for node in &story.cluster.nodes {
                let reply = node.get("/db/query?level=none&q=SELECT%20n%20FROM%20counter");
                assert!(reply.is_success(), "a read meanwhile: {}", reply.text());
            }
            assert_eq!(story.cluster.leader(), leader, "another leads");
            std::thread::sleep(Duration::from_millis(100));
        }
        let reply = index.join().expect("no panic").expect("it is answered");
        assert!(reply.is_success(), "{}", reply.text());
        begin.elapsed()
    });
    say(&format!("an index took {took:.1?} at the leader"));
    assert!(took > Duration::from_secs(5), "{took:?} shows nothing");
    eventually("the followers have it too", SILENCE_MAX, || {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'long_one'";
        let found = |node: &crate::node::Node| node.rows(sql) == json!([[1]]);
        story.cluster.nodes.iter().all(found).then_some(())
    });
    assert_eq!(story.cluster.term(), term, "an election because of a long statement");
    story.end();
}
