//! The same entries give the same database: at any time, in any batches, after any restart.

use quorlite::command::Batch;

use crate::support::{Database, Dice, batch, show};

/// Requests that lean on everything that could differ.
fn entries() -> Vec<Batch> {
    let mut entries: Vec<Batch> = [
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, r DEFAULT (random()), b DEFAULT (randomblob(6)),
         at DEFAULT CURRENT_TIMESTAMP, j DEFAULT (julianday('now')), c DEFAULT (changes()), l DEFAULT (last_insert_rowid()),
         g AS (id || at) STORED, v)",
        "CREATE TABLE copy(a, b, c)",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN
         INSERT INTO copy VALUES(random(), strftime('%f','now'), changes()); END",
        "CREATE VIEW w AS SELECT id, random() AS x, datetime() AS y FROM t",
        "CREATE VIRTUAL TABLE docs USING fts5(body)",
        "CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)",
        "ANALYZE",
    ]
    .iter()
    .map(|sql| batch(&[sql]))
    .collect();
    for number in 0..40 {
        let insert = format!("INSERT INTO t(v) VALUES({number}),(hex(randomblob(3))) RETURNING *");
        let words = format!("INSERT INTO docs VALUES('word{} and word{number}')", number % 5);
        let place = format!("INSERT INTO boxes VALUES({number}, {number}, {number} + 1)");
        entries.push(batch(&["INSERT INTO copy VALUES(changes(), last_insert_rowid(), 0)"]));
        entries.push(batch(&[
            &insert,
            &words,
            "INSERT INTO copy SELECT x, y, id FROM w ORDER BY random() LIMIT 3",
        ]));
        entries.push(Batch { transaction: true, ..batch(&[&words, &place, &insert]) });
        entries.push(batch(&["DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY random() LIMIT 1)",
            "UPDATE copy SET c = random() WHERE a % 3 = 0; UPDATE docs SET body = body || 'x' WHERE rowid % 4 = 0"]));
        if number % 8 == 0 {
            entries.push(batch(&["ANALYZE"]));
            entries.push(batch(&["INSERT INTO docs(docs) VALUES('optimize')", "PRAGMA optimize"]));
        }
    }
    entries
}

fn run(entries: &[Batch], seed: u64, batch_max: usize) -> (Vec<Vec<String>>, Vec<String>) {
    let mut dice = Dice(seed);
    let mut database = Database::new();
    let mut shown = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + dice.roll(batch_max)).min(rest.len()));
        shown.extend(database.apply(now).iter().map(|applied| show(&applied.outcomes)));
        rest = later;
        if seed != 0 && dice.roll(6) == 0 {
            database.reopen();
        }
    }
    (shown, database.contents())
}

#[test]
fn batches_and_restarts_do_not_show() {
    let entries = entries();
    let reference = run(&entries, 0, 1);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    for seed in 1..6 {
        let other = run(&entries, seed, 12);
        for (number, (one, two)) in reference.0.iter().zip(&other.0).enumerate() {
            assert_eq!(one, two, "entry {number}, seed {seed}");
        }
        for (one, two) in reference.1.iter().zip(&other.1) {
            assert_eq!(one, two, "seed {seed}");
        }
    }
}

#[test]
fn time_is_the_stamp_and_numbers_are_the_seeds() {
    let mut db = Database::new();
    let one =
        db.request(&["SELECT datetime('now') a, current_date b, unixepoch('now','subsec') c"]);
    assert_eq!(one, ["a b c: '2023-11-14 22:13:21' '2023-11-14' 1700000001.001"]);
    let two = db.request(&["SELECT random() a", "SELECT random() a"]);
    assert_ne!(two[0], two[1]);
    db.index -= 1;
    assert_eq!(db.request(&["SELECT random() a", "SELECT random() a"]), two, "the same entry");
    assert_ne!(db.request(&["SELECT random() a", "SELECT random() a"]), two, "another entry");
}

#[test]
fn every_request_starts_at_zero() {
    let mut db = Database::new();
    let ask = "SELECT changes() c, last_insert_rowid() l";
    db.execute(&["CREATE TABLE t(a)"]);
    assert_eq!(db.request(&["INSERT INTO t VALUES(1),(2)", ask])[1], "c l: 2 2");
    assert_eq!(db.request(&[ask]), ["c l: 0 0"]);
    assert_eq!(db.request(&["INSERT INTO t SELECT total_changes()"]).len(), 1);
    assert!(db.request(&["SELECT total_changes()"])[0].starts_with("error: total_changes()"));
}
