//! A file that is not what it should be is refused with a sentence that says why.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use quorlite::db::load::{self, LoadError};
use quorlite::db::upload::{Kind, Room, Upload};
use rusqlite::Connection;

use crate::support::{assert_sound, folder, query};

fn make(folder: &Path, sql: &str) -> PathBuf {
    let path = folder.join("original");
    let connection = Connection::open(&path).expect("the test is right");
    connection.execute_batch(sql).expect("the test is right");
    connection.close().expect("the test is right");
    path
}

const ROWS: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b);
    WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<3000)
    INSERT INTO t SELECT x, hex(randomblob(40)) FROM n;";

/// Uploads, stages and checks, as a node does.
fn load(folder: &Path, source: impl Read) -> Result<(Kind, PathBuf), LoadError> {
    let room = Room { folder: folder.to_owned(), reserve: 0 };
    let mut upload = Upload::new(source, room)?;
    let staged = folder.join("staged?%#");
    io::copy(&mut upload, &mut fs::File::create(&staged).expect("the test is right"))?;
    let kind = upload.kind();
    if kind == Kind::Database {
        load::check(&staged, || true)?;
    }
    Ok((kind, staged))
}

fn refuse(bytes: &[u8]) -> String {
    load(folder().path(), bytes).expect_err("the file is bad").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("the test is right");
    encoder.finish().expect("the test is right")
}

#[test]
fn good_files_are_taken() {
    let home = folder();
    let wal = make(home.path(), &format!("PRAGMA journal_mode=WAL; {ROWS}"));
    let plain = fs::read(&wal).unwrap();
    assert_eq!(plain[18..20], [2, 2], "a WAL database");
    let mut members = gzip(&plain[..10_000]);
    members.extend(gzip(&plain[10_000..]));
    let mut delete = plain.clone();
    delete[18..20].copy_from_slice(&[1, 1]);
    for bytes in [plain.clone(), delete, gzip(&plain), members] {
        let (kind, staged) = load(home.path(), bytes.as_slice()).unwrap();
        assert_eq!(kind, Kind::Database);
        assert_eq!(fs::read(staged).unwrap(), plain, "staged as a WAL database");
    }
    let (kind, staged) =
        load(home.path(), gzip("SELECT 'x\u{e9}';".as_bytes()).as_slice()).unwrap();
    assert_eq!((kind, fs::read(staged).unwrap().len()), (Kind::Script, 13));
    assert_eq!(load(home.path(), io::empty()).unwrap().0, Kind::Empty);
    assert_eq!(load(home.path(), &b"SQLite format"[..]).unwrap().0, Kind::Script);
}

#[test]
fn all_that_sqlite_has_is_taken() {
    for sql in [
        "PRAGMA encoding='UTF-16be'; CREATE TABLE t(a); INSERT INTO t VALUES('x')",
        "PRAGMA page_size=512; CREATE TABLE t(a)",
        "PRAGMA page_size=65536; CREATE TABLE t(a)",
        "PRAGMA auto_vacuum=FULL; CREATE TABLE t(a)",
        "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES('x');
         CREATE VIRTUAL TABLE r USING rtree(i,a,b); INSERT INTO r VALUES(1,2,3)",
        "PRAGMA ignore_check_constraints=ON; CREATE TABLE t(a CHECK(a > 1)); INSERT INTO t VALUES(0)",
    ] {
        let home = folder();
        let path = make(home.path(), sql);
        let (_, staged) = load(home.path(), fs::File::open(path).unwrap()).unwrap();
        let connection = Connection::open(staged).unwrap();
        assert_sound_or_constrained(&connection);
    }
}

fn assert_sound_or_constrained(connection: &Connection) {
    connection.execute_batch("PRAGMA ignore_check_constraints=ON").expect("the test is right");
    assert_sound(connection);
}

#[test]
fn cut_and_changed_files_are_refused() {
    let home = folder();
    let good = fs::read(make(home.path(), ROWS)).unwrap();
    let pages = good.len() / 4096;
    assert_eq!(
        refuse(&good[..14]),
        "the file is cut short: a database's header has 100 bytes, it has 14"
    );
    let header_only = refuse(&good[..100]);
    assert_eq!(
        header_only,
        format!(
            "the file is cut short: its header promises {pages} pages of 4096 bytes, it has 100 bytes"
        )
    );
    let half = refuse(&good[..good.len() / 2]);
    assert!(half.starts_with("the file is cut short: its header promises"), "{half}");
    let mut long = good.clone();
    long.push(0);
    assert!(refuse(&long).starts_with("the file is too long"), "{}", refuse(&long));
    let mut random = good.clone();
    for (at, byte) in random.iter_mut().enumerate().skip(2 * 4096) {
        *byte = u8::try_from(at * at % 251).unwrap();
    }
    assert!(refuse(&random).starts_with("the database is damaged"), "{}", refuse(&random));
    for size in [[0x20, 0x00], [0x08, 0x00]] {
        let mut other = good.clone();
        other[16..18].copy_from_slice(&size);
        let sentence = refuse(&other);
        assert!(sentence.contains("pages of"), "{sentence}");
    }
    let mut odd = good.clone();
    odd[17] = 1;
    assert!(refuse(&odd).contains("a page size of 4097 bytes cannot be"), "{}", refuse(&odd));
    let mut schema = good.clone();
    let at = schema.windows(12).position(|window| window == b"CREATE TABLE").unwrap();
    schema[at..at + 12].copy_from_slice(b"CRXATE TABLE");
    assert!(refuse(&schema).starts_with("the database is damaged"), "{}", refuse(&schema));
}

#[test]
fn what_is_neither_is_refused() {
    let noise: Vec<u8> = (0..9000_u32).map(|at| (at * 37 % 255) as u8 ^ 0x91).collect();
    assert!(refuse(&noise).contains("is it encrypted?"), "{}", refuse(&noise));
    assert!(refuse(b"SELECT 1;\0").contains("byte 9 is not"), "{}", refuse(b"SELECT 1;\0"));
    assert!(
        refuse(
            b"SQLite format 4\0 and so on, a hundred bytes and more of it, which is enough \
        to look at what it is, isn't it"
        )
        .contains("first 16 bytes"),
        "another magic"
    );
}

/// An upload whose client goes away.
struct Breaks<'a>(&'a [u8]);
impl Read for Breaks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "client gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn broken_gzip_is_told_from_a_broken_upload() {
    let home = folder();
    let good = gzip(&fs::read(make(home.path(), ROWS)).unwrap());
    for length in [2, 9, 10, good.len() / 2, good.len() - 1] {
        let sentence = refuse(&good[..length]);
        assert!(sentence.contains("its gzip stream has no end"), "{length}: {sentence}");
    }
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    flipped[middle + 1] ^= 0xff;
    let sentence = refuse(&flipped);
    // What a flipped bit makes of the rest depends on where it falls.
    let words = ["damaged", "too long", "cut short", "no end"];
    assert!(words.iter().any(|word| sentence.contains(word)), "{sentence}");
    assert!(refuse(&gzip(&good)).contains("neither a SQLite database"), "packed twice");

    let error = load(home.path(), Breaks(&good[..good.len() / 2])).unwrap_err();
    assert!(
        matches!(&error, LoadError::Read(inner) if inner.to_string() == "client gone"),
        "{error}"
    );
}

#[test]
fn a_bomb_stops_at_the_room_there_is() {
    let home = folder();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let room = Room { folder: home.path().to_owned(), reserve: u64::MAX / 2 };
    let mut upload = Upload::new(bomb.as_slice(), room).unwrap();
    let error = LoadError::from(io::copy(&mut upload, &mut io::sink()).unwrap_err());
    assert!(matches!(error, LoadError::NoSpace { .. }), "{error}");
    // A database cannot be longer than it says, however much is packed behind it.
    let mut endless = fs::read(make(home.path(), ROWS)).unwrap();
    let promised = endless.len() as u64;
    endless.resize(64 << 20, 0);
    let room = Room { folder: home.path().to_owned(), reserve: 0 };
    let mut upload = Upload::new(io::Cursor::new(gzip(&endless)), room).unwrap();
    let mut read = 0;
    let mut buffer = [0; 65_536];
    let error = loop {
        match upload.read(&mut buffer) {
            Ok(count) => read += count as u64,
            Err(error) => break LoadError::from(error),
        }
    };
    assert!(matches!(error, LoadError::Long { .. }), "{error}");
    assert!(read <= promised, "{read} bytes of {promised} were handed on");
}

#[test]
fn nothing_of_a_hostile_schema_runs() {
    let home = folder();
    let path = make(
        home.path(),
        "CREATE TABLE t(a); CREATE TABLE evil(a);
         CREATE VIEW v AS SELECT load_extension('x') FROM t;
         CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO evil VALUES(1); END;
         CREATE TABLE g(a, b AS (abs(a))); INSERT INTO g VALUES(1); INSERT INTO t VALUES(1);",
    );
    let before = fs::read(&path).unwrap();
    load::check(&path, || true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "the check changes nothing");
    let error = load::check(&path, || false);
    assert!(error.is_ok() || matches!(error, Err(LoadError::Stopped)), "{error:?}");
    assert_eq!(query(&Connection::open(&path).unwrap(), "SELECT a FROM evil"), ["Integer(1)"]);
}

#[test]
fn a_check_can_be_stopped() {
    let home = folder();
    let path = make(
        home.path(),
        "CREATE TABLE t(a, b); WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n \
         WHERE x<200000) INSERT INTO t SELECT x, x FROM n; CREATE INDEX i ON t(a);",
    );
    assert!(matches!(load::check(&path, || false), Err(LoadError::Stopped)), "it goes on");
}
