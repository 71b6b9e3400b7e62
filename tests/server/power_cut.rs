//! Tries the power cuts themselves, on SQLite's shell: what was synced survives all of them, and
//! what was not is really lost at times. Without this the crash loop could pass for want of damage.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;

use crate::support::Random;
use crate::support::synced::PowerCut;

/// Inserts rows with SQLite's shell, kills it, and damages what was not synced. The number of
/// rows that were reported as committed, and of those found afterwards (none if unreadable).
fn cut(power: &PowerCut, synchronous: &str, random: &mut Random) -> (u32, Option<u32>) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("data.db");
    let mut shell = Command::new("sqlite3")
        .arg(&path)
        .envs(power.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed");
    let mut script = format!(
        "PRAGMA journal_mode=WAL;\nPRAGMA synchronous={synchronous};\n
         PRAGMA wal_autocheckpoint=7;\nCREATE TABLE t (a, b);\n"
    );
    for number in 1..=400 {
        script.push_str(&format!("INSERT INTO t VALUES({number}, randomblob(3000));\n"));
        script.push_str(&format!(".print committed {number}\n"));
    }
    let mut input = shell.stdin.take().expect("it was piped");
    let output = BufReader::new(shell.stdout.take().expect("it was piped"));
    let last = u32::try_from(random.below(300)).expect("small") + 20;
    let writer = std::thread::Builder::new()
        .spawn(move || input.write_all(script.as_bytes()))
        .expect("a thread can be started");
    let mut committed = 0;
    for line in output.lines() {
        let line = line.expect("the shell prints text");
        committed = line.strip_prefix("committed ").map_or(0, |text| text.parse().unwrap_or(0));
        if committed >= last {
            break;
        }
    }
    shell.kill().expect("one's own child can be killed");
    shell.wait().expect("one's own child can be waited for");
    // The pipe broke, as it should.
    writer.join().expect("the writer does not panic").ok();
    power.strike(folder.path(), random);
    std::fs::remove_file(folder.path().join("data.db-shm")).ok();
    (committed, sound_rows(&path))
}

fn sound_rows(path: &Path) -> Option<u32> {
    let connection = Connection::open(path).ok()?;
    let found: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).ok()?;
    let count: u32 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).ok()?;
    (found == "ok").then_some(count)
}

#[test]
fn what_is_synced_survives() {
    let power = PowerCut::prepare();
    let mut random = Random(5);
    for turn in 0..20 {
        let (committed, found) = cut(&power, "FULL", &mut random);
        assert!(found >= Some(committed), "turn {turn}: {committed} committed, {found:?} found");
    }
}

#[test]
fn what_is_not_synced_is_lost_at_times() {
    let power = PowerCut::prepare();
    let mut random = Random(6);
    let losses = (0..20).filter(|_| {
        let (committed, found) = cut(&power, "OFF", &mut random);
        found < Some(committed)
    });
    let losses = losses.count();
    assert!(losses >= 5, "{losses} of 20 power cuts lost something");
}
