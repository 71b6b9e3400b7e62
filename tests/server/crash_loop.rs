//! Power cuts: SIGKILL at random moments under load, then what was not synced is damaged.
//!
//! The moments: under writes with checkpoints, backups and slow readers, under loads, while it
//! stops, while it recovers, in its first start.
//! After each: every acknowledged write is there, nothing is there twice, two tables that change
//! only together agree, and SQLite finds nothing wrong. `CRASH_LOOP_KILLS` says how often
//! (`scripts/crash-loop N`), `CRASH_LOOP_SEED` which moments, `CRASH_LOOP_MEGABYTES` how large the
//! database is besides.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::golden::say;
use crate::support::server::{Options, Server};
use crate::support::synced::PowerCut;
use crate::support::{Random, environment_number};

/// Kills in an ordinary test run: about a minute.
const KILLS: u64 = 160;

/// Connections that write at once.
const WRITERS: u64 = 4;

/// Ids of one round and one writer begin at a multiple of this.
const IDS: u64 = 1_000_000;

/// Longest time between a start and its kill.
const ALIVE_MAX_MILLISECONDS: u64 = 500;

/// Longest time between a start and its kill while it recovers.
const RECOVERS_MILLISECONDS: u64 = 60;

/// Longest time between a request to stop and the kill.
const STOPS_MILLISECONDS: u64 = 30;

/// Kills in first starts in an ordinary test run.
const FIRST_STARTS: u64 = 40;

/// What writers sent in one round, and what of it was acknowledged.
#[derive(Default)]
struct Sent {
    /// Ids in table `w` that must be there.
    done: BTreeSet<u64>,
    /// Ids in table `w` that may be there.
    maybe: BTreeSet<u64>,
    /// The same for those in both `a` and `b`.
    done_pairs: BTreeSet<u64>,
    maybe_pairs: BTreeSet<u64>,
}

/// What has been found to be in the database, so that each round looks at its own rows only.
#[derive(Default)]
struct Known {
    rows: u64,
    sum: u64,
    pairs: u64,
    epoch: u64,
}

#[derive(Default)]
struct Tally {
    kills: u64,
    acknowledged: u64,
    files: u64,
    sectors: u64,
    names: u64,
    /// Kills between the two halves of a checkpoint.
    draining: u64,
}

/// Writes until the server is gone.
fn write_until_killed(address: SocketAddr, round: u64, writer: u64) -> Sent {
    let mut sent = Sent::default();
    let Ok(mut client) = Client::connect(address) else { return sent };
    for number in 0..IDS / WRITERS {
        let id = round * IDS + writer * (IDS / WRITERS) + number;
        let is_pair = number % 3 == 0;
        let (target, body) = if is_pair {
            let both =
                [format!("INSERT INTO a VALUES({id})"), format!("INSERT INTO b VALUES({id})")];
            ("/db/execute?transaction", json!(both))
        } else if number % 50 == 1 {
            ("/db/execute?queue&wait", json!([["INSERT INTO w(id) VALUES(?)", id]]))
        } else {
            (
                "/db/execute",
                json!([["INSERT INTO w(id, pad) VALUES(?, hex(randomblob(?)))", id, number % 400]]),
            )
        };
        let (done, maybe) = if is_pair {
            (&mut sent.done_pairs, &mut sent.maybe_pairs)
        } else {
            (&mut sent.done, &mut sent.maybe)
        };
        let Ok(reply) = client.request("POST", target, &[], body.to_string().as_bytes()) else {
            maybe.insert(id);
            return sent;
        };
        if reply.text().contains("stopping") {
            maybe.insert(id);
            return sent;
        }
        assert!(reply.is_success(), "write {id}: {} {}", reply.status(), reply.text());
        done.insert(id);
    }
    sent
}

/// Checkpoints and backups of all kinds, until the server is gone.
fn disturb_until_killed(address: SocketAddr, mut random: Random) {
    let Ok(mut client) = Client::connect(address) else { return };
    let mut one = |method: &str, target: &str, body: &[u8]| {
        let reply = client.request(method, target, &[], body)?;
        if reply.text().contains("stopping") {
            return Err(Error::from(ErrorKind::ConnectionAborted));
        }
        assert!(reply.status() < 300, "{target}: {} {}", reply.status(), reply.text());
        Ok(())
    };
    loop {
        let result = match random.below(6) {
            0..=2 => one("POST", "/snapshot?trailing_logs=10", b""),
            3 => one("GET", "/db/backup", b""),
            4 => one(
                "GET",
                ["/db/backup?vacuum", "/db/backup?fmt=sql"][usize::from(random.below(2) == 0)],
                b"",
            ),
            _ => one(
                "POST",
                "/db/load",
                b"INSERT INTO texts VALUES(1); INSERT INTO texts VALUES(2);",
            ),
        };
        if result.is_err() {
            return;
        }
    }
}

/// Reads that hold on to what they see, so that checkpoints cannot copy all of the WAL.
fn hold_until_killed(address: SocketAddr) {
    let Ok(mut client) = Client::connect(address) else { return };
    let slow = "WITH RECURSIVE n(i) AS (SELECT count(*) FROM w UNION ALL SELECT i + 1 FROM n)
        SELECT max(i) FROM n";
    let target = "/db/query?level=none&db_timeout=150ms";
    let body = json!([slow]).to_string();
    while client.request("POST", target, &[], body.as_bytes()).is_ok() {}
}

/// Loads a copy of the database with a new epoch; `true` when that was acknowledged.
fn load_until_killed(address: SocketAddr, file: &[u8]) -> bool {
    let Ok(mut client) = Client::connect(address) else { return false };
    let mut is_done = false;
    while let Ok(reply) = client.request("POST", "/db/load", &[], file) {
        if reply.text().contains("stopping") {
            break;
        }
        assert!(reply.is_success(), "a load: {} {}", reply.status(), reply.text());
        is_done = true;
    }
    is_done
}

/// The server's database with another epoch in it.
fn next_epoch(server: &Server, epoch: u64) -> Vec<u8> {
    let copy = server.get("/db/backup?fmt=delete");
    assert_eq!(copy.status(), 200, "{}", copy.text());
    let path = server.scratch().join("epoch.db");
    std::fs::write(&path, copy.body).expect("a file can be written");
    let connection = Connection::open(&path).expect("a backup opens");
    let sql = format!("UPDATE epoch SET n = {epoch}");
    connection.execute_batch(&sql).expect("a backup can be changed");
    connection.close().expect("nothing is in use");
    std::fs::read(&path).expect("the file is there")
}

/// Kills it after at most that long; every fourth time while it stops.
fn kill_within(server: &mut Server, milliseconds: u64, random: &mut Random) {
    let wait = |random: &mut Random, milliseconds| {
        // The moment is the point here: nothing to wait for.
        std::thread::sleep(Duration::from_micros(random.below(1_000 * milliseconds)));
    };
    wait(random, milliseconds);
    if random.below(4) == 0 {
        server.signal(Signal::TERM);
        wait(random, STOPS_MILLISECONDS);
    }
    server.kill9();
}

fn numbers(server: &Server, sql: &str) -> Vec<u64> {
    let rows = server.query(sql);
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row[0].as_u64().expect("a number")).collect()
}

fn number(server: &Server, sql: &str) -> u64 {
    numbers(server, sql)[0]
}

/// Fails unless the ids found are those acknowledged and perhaps some that were not answered.
fn assert_ids(found: &[u64], done: &BTreeSet<u64>, maybe: &BTreeSet<u64>, what: &str) {
    let unique: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "{what}: something is there twice");
    let lost: Vec<_> = done.difference(&unique).take(5).collect();
    assert!(lost.is_empty(), "{what}: acknowledged and lost: {lost:?} ... of {}", done.len());
    let strange: Vec<_> =
        unique.iter().filter(|id| !done.contains(id) && !maybe.contains(id)).collect();
    assert!(strange.is_empty(), "{what}: never sent: {strange:?}");
}

fn check(server: &Server, round: u64, sent: &Sent, known: &mut Known) {
    let (from, to) = (round * IDS, (round + 1) * IDS);
    let range = format!("WHERE id >= {from} AND id < {to}");
    let rows = numbers(server, &format!("SELECT id FROM w {range}"));
    assert_ids(&rows, &sent.done, &sent.maybe, "single writes");
    let pairs = numbers(server, &format!("SELECT id FROM a {range}"));
    assert_ids(&pairs, &sent.done_pairs, &sent.maybe_pairs, "pairs");
    let differ = "SELECT count(*) FROM (SELECT id FROM a EXCEPT SELECT id FROM b)
        UNION ALL SELECT count(*) FROM (SELECT id FROM b EXCEPT SELECT id FROM a)
        UNION ALL SELECT (SELECT count(*) FROM a) - (SELECT count(*) FROM b)
        UNION ALL SELECT count(*) % 2 FROM texts";
    assert_eq!(numbers(server, differ), [0, 0, 0, 0], "what changes together differs");
    known.rows += rows.len() as u64;
    known.sum += rows.iter().sum::<u64>();
    known.pairs += pairs.len() as u64;
    let all = "SELECT count(*) FROM w UNION ALL SELECT coalesce(sum(id), 0) FROM w UNION ALL SELECT count(*) FROM a";
    assert_eq!(
        numbers(server, all),
        [known.rows, known.sum, known.pairs],
        "rows of earlier rounds"
    );
    assert_eq!(server.query("PRAGMA integrity_check"), json!([["ok"]]), "integrity");
}

/// One life under writes, checkpoints and backups.
fn round_of_writes(server: &mut Server, round: u64, random: &mut Random) -> Sent {
    let address = server.http();
    let seed = Random(random.next());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_until_killed(address, round, writer)))
            .collect();
        scope.spawn(move || disturb_until_killed(address, seed));
        if round.is_multiple_of(2) {
            scope.spawn(move || hold_until_killed(address));
        }
        kill_within(server, ALIVE_MAX_MILLISECONDS, random);
        let mut all = Sent::default();
        for writer in writers {
            let mut sent = writer.join().expect("no write is refused");
            all.done.append(&mut sent.done);
            all.maybe.append(&mut sent.maybe);
            all.done_pairs.append(&mut sent.done_pairs);
            all.maybe_pairs.append(&mut sent.maybe_pairs);
        }
        all
    })
}

/// One life under loads of the same data; the epoch it must show at least.
fn round_of_loads(server: &mut Server, random: &mut Random, known: &mut Known) -> bool {
    let file = next_epoch(server, known.epoch + 1);
    let address = server.http();
    let megabytes = file.len() as u64 >> 20;
    std::thread::scope(|scope| {
        let loader = scope.spawn(|| load_until_killed(address, &file));
        kill_within(server, ALIVE_MAX_MILLISECONDS + 30 * megabytes, random);
        loader.join().expect("no load is refused")
    })
}

#[test]
fn no_acknowledged_write_is_lost() {
    let kills = environment_number("CRASH_LOOP_KILLS", KILLS);
    let seed = environment_number("CRASH_LOOP_SEED", 1);
    let mut random = Random(seed);
    let power = PowerCut::prepare();
    let flags = ["-raft-snap", "100", "-raft-snap-int", "20ms", "-raft-snap-wal-size", "100000"];
    let megabytes = environment_number("CRASH_LOOP_MEGABYTES", 0);
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {megabytes})
         INSERT INTO bulk SELECT randomblob(1000000) FROM n"
    );
    let mut server = Options::default().flags(&flags).environment(power.environment()).start();
    server.execute(&[
        "CREATE TABLE w (id INTEGER, pad TEXT)",
        "CREATE INDEX w_id ON w(id)",
        "CREATE TABLE a (id INTEGER)",
        "CREATE TABLE b (id INTEGER)",
        "CREATE TABLE texts (n INTEGER)",
        "CREATE TABLE epoch (n INTEGER)",
        "CREATE TABLE bulk (b BLOB)",
        &fill,
        "INSERT INTO epoch VALUES(0)",
    ]);
    let mut known = Known::default();
    let mut tally = Tally::default();
    let begin = Instant::now();
    for round in 1.. {
        if tally.kills >= kills {
            break;
        }
        let is_load = round % 6 == 5;
        let mut sent = Sent::default();
        let mut is_loaded = false;
        if is_load {
            is_loaded = round_of_loads(&mut server, &mut random, &mut known);
        } else {
            sent = round_of_writes(&mut server, round, &mut random);
        }
        cut(&mut server, &power, &mut random, &mut tally);
        if round % 4 == 3 {
            // Killed again while it recovers.
            server.spawn();
            kill_within(&mut server, RECOVERS_MILLISECONDS, &mut random);
            cut(&mut server, &power, &mut random, &mut tally);
        }
        server.start();
        check(&server, round, &sent, &mut known);
        let epoch = number(&server, "SELECT n FROM epoch");
        assert!(
            epoch == known.epoch + 1 || (epoch == known.epoch && !is_loaded),
            "a load was lost"
        );
        assert!(is_load || epoch == known.epoch, "an old load came back");
        known.epoch = epoch;
        tally.acknowledged += (sent.done.len() + 2 * sent.done_pairs.len()) as u64;
        if kills > KILLS && round % 20 == 0 {
            report(&tally, seed, begin);
        }
    }
    report(&tally, seed, begin);
    assert!(tally.acknowledged > kills, "too little was written to show anything");
    assert!(tally.names > 0, "no name was ever taken back: does the library see them?");
    assert!(tally.sectors > 0, "nothing was ever damaged: does the library see the writes?");
}

#[test]
fn first_starts_can_be_cut_short() {
    let mut random = Random(environment_number("CRASH_LOOP_SEED", 1));
    let power = PowerCut::prepare();
    let mut tally = Tally::default();
    let mut server = Options::default().environment(power.environment()).start();
    for turn in 0..environment_number("CRASH_LOOP_FIRST_STARTS", FIRST_STARTS) {
        server.kill9();
        std::fs::remove_dir_all(server.directory()).expect("one's own folder can be removed");
        power.strike(server.directory(), &mut random);
        for _ in 0..=turn % 3 {
            server.spawn();
            kill_within(&mut server, RECOVERS_MILLISECONDS / 2, &mut random);
            cut(&mut server, &power, &mut random, &mut tally);
        }
        server.start();
        server.execute(&["CREATE TABLE t (n)", "INSERT INTO t VALUES(1)"]);
        server.kill9();
        cut(&mut server, &power, &mut random, &mut tally);
        server.start();
        assert_eq!(server.query("SELECT n FROM t"), json!([[1]]), "turn {turn}");
        assert_eq!(server.query("PRAGMA integrity_check"), json!([["ok"]]), "turn {turn}");
    }
    assert!(tally.names > 0, "no name was ever taken back: does the library see them?");
}

/// Damages what the killed server had not synced.
fn cut(server: &mut Server, power: &PowerCut, random: &mut Random, tally: &mut Tally) {
    tally.kills += 1;
    let mark = std::fs::read_to_string(server.directory().join("db/mark")).unwrap_or_default();
    tally.draining += u64::from(mark.contains("draining"));
    let damage = power.strike(server.directory(), random);
    tally.files += damage.files;
    tally.sectors += damage.sectors;
    tally.names += damage.names;
}

fn report(tally: &Tally, seed: u64, begin: Instant) {
    say(&format!(
        "seed {seed}: {} kills ({} in checkpoints), {} sectors damaged in {} files, {} names undone, {} acknowledged writes, 0 lost, {:.0?}",
        tally.kills,
        tally.draining,
        tally.sectors,
        tally.files,
        tally.names,
        tally.acknowledged,
        begin.elapsed()
    ));
}
