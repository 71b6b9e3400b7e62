//! A copy stands at one entry however much is written meanwhile, and fails rather than end short.

use std::fs;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use quorlite::db::dump::{self, Selection};
use quorlite::db::pages::{Journal, Pages};
use quorlite::db::snapshot::{Breach, Limits, Pins, WAL_BYTES_WORTH_FREEING};
use quorlite::db::{compress, vacuum};
use rusqlite::Connection;

use crate::support::{Node, assert_sound, digest, folder, generous, query};

const TABLES: &str =
    "CREATE TABLE a(id INTEGER PRIMARY KEY, x); CREATE TABLE z(id INTEGER PRIMARY KEY, x)";

fn both(index: u64) -> String {
    format!("INSERT INTO a VALUES({index}, hex(randomblob(300))); INSERT INTO z VALUES({index}, 1)")
}

fn write(node: &mut Node, count: u64) {
    for _ in 0..count {
        let index = node.index;
        node.apply(&both(index));
    }
}

/// Opens a copy's bytes as a database and checks that it is whole and at `rows` rows.
fn check(bytes: &[u8], rows: u64) {
    let home = folder();
    let path = home.path().join("copy");
    fs::write(&path, bytes).expect("the test is right");
    check_rows(&Connection::open(&path).expect("the test is right"), rows);
}

fn check_rows(connection: &Connection, rows: u64) {
    assert_sound(connection);
    for table in ["a", "z"] {
        let sql = format!("SELECT count(*), coalesce(max(id), 0) FROM {table}");
        assert_eq!(
            query(connection, &sql),
            [format!("Integer({rows}) | Integer({rows})")],
            "{table}"
        );
    }
}

#[test]
fn copies_are_consistent_under_a_writer() {
    let home = folder();
    let mut node = Node::start(home.path());
    let pins = generous();
    node.apply(TABLES);
    write(&mut node, 300);
    for round in 0..100 {
        let journal = if round % 2 == 0 { Journal::Wal } else { Journal::Delete };
        let rows = node.index - 1;
        let mut pages = Pages::new(node.snapshot(&pins), journal).unwrap();
        let mut bytes = vec![0; 100];
        pages.read_exact(&mut bytes).unwrap();
        write(&mut node, 3);
        let mut text = dump::dump(node.snapshot(&pins), Selection::All).unwrap();
        write(&mut node, 3);
        if round % 7 == 0 {
            node.checkpoint();
        }
        let length = pages.length();
        pages.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(bytes[18], if round % 2 == 0 { 2 } else { 1 });
        check(&bytes, rows);
        let mut sql = String::new();
        text.read_to_string(&mut sql).unwrap();
        let reloaded = Connection::open_in_memory().unwrap();
        reloaded.execute_batch(&sql).unwrap();
        check_rows(&reloaded, rows + 3);
    }
    assert!(node.checkpoint().complete, "nothing is pinned any more");
    assert_eq!(pins.status().pinned, 0);
}

#[test]
fn odd_page_sizes_and_one_page_stream() {
    for page in [512, 65_536] {
        let home = folder();
        let path = home.path().join("d");
        let connection = Connection::open(&path).unwrap();
        let sql = format!("PRAGMA page_size={page}; PRAGMA journal_mode=WAL; {TABLES}");
        connection.execute_batch(&sql).unwrap();
        for index in 1..400 {
            connection.execute_batch(&both(index)).unwrap();
        }
        let pinned = quorlite::db::snapshot::connect(&path).unwrap();
        let at = quorlite::raft::EntryId::default();
        let snapshot = pinned.pin(at, &generous()).unwrap();
        let mut bytes = Vec::new();
        Pages::new(snapshot, Journal::Delete).unwrap().read_to_end(&mut bytes).unwrap();
        check(&bytes, 399);
    }
    let home = folder();
    let node = Node::start(home.path());
    let mut bytes = Vec::new();
    Pages::new(node.snapshot(&generous()), Journal::Wal).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 4096, "an empty database is one page");
}

#[test]
fn a_vacuumed_copy_is_smaller_and_equal() {
    let home = folder();
    let mut node = Node::start(home.path());
    let pins = generous();
    node.apply(TABLES);
    write(&mut node, 3000);
    node.apply("DELETE FROM a WHERE id % 3 <> 0");
    let snapshot = node.snapshot(&pins);
    let plain = snapshot.bytes();
    let temporary = folder();
    let mut copy = vacuum::vacuum(snapshot, temporary.path(), "b'1", 0, || true).unwrap();
    assert_eq!(pins.status().pinned, 0, "the WAL is free before the first byte");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left behind");
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, copy.length());
    assert!(bytes.len() as u64 * 4 < plain * 3, "{} of {plain}", bytes.len());
    assert_eq!(bytes[18..20], [1, 1], "a rollback-journal file");
    let path = temporary.path().join("copy");
    fs::write(&path, bytes).unwrap();
    let copy = Connection::open(path).unwrap();
    assert_sound(&copy);
    assert_eq!(digest(&copy), digest(&node.writer));
}

#[test]
fn a_vacuum_without_room_or_without_reader_stops() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLES);
    let pins = generous();
    let full = vacuum::vacuum(node.snapshot(&pins), home.path(), "v", u64::MAX, || true);
    assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(vacuum::vacuum(node.snapshot(&pins), home.path(), "v", 0, || false).is_err(), "gone");
    assert_eq!(pins.status().pinned, 0);
    assert!(!home.path().join("v-copy.tmp").exists(), "nothing is left behind");
}

#[test]
fn gzip_packs_any_stream() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLES);
    write(&mut node, 5000);
    let rows = node.index - 1;
    let pages = Pages::new(node.snapshot(&generous()), Journal::Wal).unwrap();
    let mut bytes = Vec::new();
    let packed = compress::compress(pages).unwrap();
    MultiGzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() > 3 << 20, "more than one block");
    check(&bytes, rows);
    let mut nothing = Vec::new();
    let packed = compress::compress(std::io::empty()).unwrap();
    MultiGzDecoder::new(packed).read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty(), "nothing is packed as nothing");
}

fn limited(wal_bytes_max: u64, age_max: Duration, free_bytes_min: u64) -> Pins {
    Pins::new(Limits { wal_bytes_max, age_max, free_bytes_min })
}

#[test]
fn the_oldest_copy_is_ended_at_each_limit() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLES);
    write(&mut node, 2000);
    let hour = Duration::from_secs(3600);
    for (pins, breach, word) in [
        (limited(WAL_BYTES_WORTH_FREEING, hour, 0), Breach::WalBytes, "WAL"),
        (limited(u64::MAX, Duration::ZERO, 0), Breach::Age, "too long"),
        (limited(u64::MAX, hour, 9000), Breach::FreeBytes, "nearly full"),
    ] {
        let mut old = Pages::new(node.snapshot(&pins), Journal::Wal).unwrap();
        write(&mut node, 5);
        assert!(!node.checkpoint().complete, "it is pinned");
        let mut young = Pages::new(node.snapshot(&pins), Journal::Wal).unwrap();
        let fits = pins.enforce(WAL_BYTES_WORTH_FREEING, 9000);
        assert!(fits.is_none() || breach == Breach::Age, "{fits:?}");
        if fits.is_none() {
            assert_eq!(pins.enforce(1, 8999), None, "ending it would free nothing");
            assert_eq!(pins.enforce(WAL_BYTES_WORTH_FREEING + 1, 8999), Some(breach));
        }
        // The client reads nothing, and still the WAL is free.
        assert!(node.checkpoint().complete, "the pin is gone");
        let error = old.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(pins.status().ended, 1);
        let whole = young.read_to_end(&mut Vec::new());
        assert!(whole.is_ok(), "the young one goes on: {whole:?}");
        drop((old, young));
        assert_eq!(pins.enforce(u64::MAX, 0), None, "nothing is left to end");
    }
}

#[test]
fn an_ended_dump_fails_and_frees_the_wal() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLES);
    write(&mut node, 3000);
    let pins = limited(0, Duration::MAX, 0);
    let mut text = dump::dump(node.snapshot(&pins), Selection::All).unwrap();
    write(&mut node, 5);
    assert_eq!(pins.enforce(1, 0), Some(Breach::WalBytes));
    // Its thread finds out while it waits for the reader.
    let began = std::time::Instant::now();
    while !node.checkpoint().complete {
        assert!(began.elapsed() < Duration::from_secs(20), "the dump keeps its pin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = text.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("WAL"), "{error}");
}

#[test]
fn a_reader_that_goes_away_stops_the_work() {
    let home = folder();
    let mut node = Node::start(home.path());
    node.apply(TABLES);
    write(&mut node, 3000);
    let pins = generous();
    drop(dump::dump(node.snapshot(&pins), Selection::All).unwrap());
    let pages = Pages::new(node.snapshot(&pins), Journal::Wal).unwrap();
    drop(compress::compress(pages).unwrap());
    let began = std::time::Instant::now();
    while pins.status().pinned > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the work goes on for nobody");
        std::thread::sleep(Duration::from_millis(5));
    }
}
