//! Servers that cut, lie or send something else: the old backup stays, byte for byte.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

use super::{names, text};
use crate::fake::{Fake, reply};
use crate::program::quorlite_alone;
use crate::support::database;

/// What is known of the old backup.
const OLD_SIDECAR: &str = r#"{"sequence": 1, "sha256": ""}"#;

const TEXT: &[u8] = b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nCOMMIT;\n";

/// What a server answers, and how the client must end.
struct Lie {
    name: &'static str,
    options: &'static [&'static str],
    answer: Vec<u8>,
    status: i32,
    says: &'static str,
}

fn sized(body: &[u8], announced: usize, more: &[(&str, &str)]) -> Vec<u8> {
    let announced = announced.to_string();
    let headers = [&[("Content-Length", announced.as_str())], more].concat();
    reply("200 OK", &headers, body)
}

/// A chunk, and the last one if the body is to end properly.
fn chunked(body: &[u8], is_whole: bool) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(if is_whole { b"\r\n0\r\n\r\n" } else { b"\r\n" });
    reply("200 OK", &[("Transfer-Encoding", "chunked")], &bytes)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A database of some pages.
fn good(folder: &Path) -> Vec<u8> {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO t SELECT hex(randomblob(200)) FROM n";
    database::create(&folder.join("good"), &format!("CREATE TABLE t(a); {rows}"))
}

/// Asks a server that tells this lie; gives how many requests it took.
fn tell(lie: &Lie) -> usize {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (path, described) = (folder.path().join("app.db"), folder.path().join("app.db.json"));
    fs::write(&path, "the old backup").expect("it can be written");
    fs::write(&described, OLD_SIDECAR).expect("it can be written");
    let answer = lie.answer.clone();
    let fake = Fake::start(move |_| answer.clone());
    let port = fake.address.port().to_string();
    let arguments = [&["-p", &port, "backup", "-o", text(&path)][..], lie.options].concat();
    let ran = quorlite_alone(folder.path(), &arguments).run();
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(lie.status), ""), "{}: {ran:?}", lie.name);
    assert!(ran.stderr.contains(lie.says), "{}: {}", lie.name, ran.stderr);
    assert_eq!(names(folder.path()), ["app.db", "app.db.json"], "{}", lie.name);
    let found = fs::read(&path).expect("it is there");
    assert_eq!(found, b"the old backup", "{}", lie.name);
    assert_eq!(fs::read(&described).expect("it is there"), OLD_SIDECAR.as_bytes(), "{}", lie.name);
    fake.heads().len()
}

fn tell_all(
    status: i32,
    lies: Vec<(&'static str, &'static [&'static str], Vec<u8>, &'static str)>,
) {
    for (name, options, answer, says) in lies {
        let requests = tell(&Lie { name, options, answer, status, says });
        assert_eq!(requests, if status == 3 { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn a_transfer_that_breaks_off_is_begun_anew_once() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let (length, half) = (good.len(), &good[..good.len() / 2]);
    let early = "ended the copy early";
    tell_all(
        3,
        vec![
            ("half", &[], sized(half, length, &[]), early),
            ("nothing", &[], sized(b"", length, &[]), early),
            ("announced too long", &[], sized(&good, length + 10, &[]), early),
            ("a chunk", &[], chunked(half, false), early),
            ("all chunks but the last", &[], chunked(&good, false), early),
            ("half, not verified", &["--no-verify"], sized(half, length, &[]), early),
            ("half a text", &["--fmt", "sql"], chunked(&TEXT[..40], false), early),
            ("half a gzip", &["--compress"], chunked(&packed(&good)[..99], false), early),
        ],
    );
}

#[test]
fn what_is_no_whole_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let (length, half) = (good.len(), &good[..good.len() / 2]);
    let mut broken = good.clone();
    broken[8192..12288].fill(0x5a);
    let mut wal = good.clone();
    wal[18..20].fill(2);
    let page = b"<!DOCTYPE html><title>Welcome</title>";
    let cut_gzip = &packed(&good)[..2000];
    let other = "did not send a SQLite database";
    let sql = &["--fmt", "sql"];
    tell_all(
        7,
        vec![
            ("announced too short", &[], sized(&good, length / 2, &[]), "cut short"),
            ("truncated", &[], sized(half, half.len(), &[]), "cut short"),
            ("truncated, in chunks", &[], chunked(half, true), "cut short"),
            ("truncated, not verified", &["--no-verify"], chunked(half, true), "cut short"),
            ("too long", &[], chunked(&[&good[..], b"x"].concat(), true), "too long"),
            ("a page of HTML", &[], sized(page, page.len(), &[]), other),
            ("HTML, not verified", &["--no-verify"], sized(page, page.len(), &[]), other),
            ("nothing", &[], sized(b"", 0, &[]), other),
            (
                "nothing, in chunks",
                &[],
                reply("200 OK", &[("Transfer-Encoding", "chunked")], b"0\r\n\r\n"),
                other,
            ),
            ("a WAL database", &["--fmt", "delete"], sized(&wal, length, &[]), "in WAL mode"),
            ("a magic", &[], sized(&good[..16], 16, &[]), "bad"),
            ("a gzip", &[], chunked(&packed(&good), true), other),
            ("a text", &[], chunked(b"CREATE TABLE t(a);", true), other),
            ("broken pages", &[], sized(&broken, length, &[]), "damaged"),
            ("no end of its own", &[], reply("200 OK", &[], &good), "does not say where"),
            ("no content", &[], reply("204 No Content", &[], b""), "204"),
            ("unchanged, unasked", &[], reply("304 Not Modified", &[], b""), "304"),
            (
                "a part",
                &[],
                reply("206 Partial Content", &[("Content-Length", "9")], &good[..9]),
                "206",
            ),
            ("HTML for a text", sql, sized(page, page.len(), &[]), "did not send SQL text"),
            (
                "a word, not verified",
                &["--fmt", "sql", "--no-verify"],
                chunked(b"hello", true),
                "SQL text",
            ),
            ("a file for a text", sql, sized(&good, length, &[]), "did not send SQL text"),
            ("half a text", sql, chunked(&TEXT[..40], true), "cut short"),
            (
                "half, not verified",
                &["--fmt", "sql", "--no-verify"],
                chunked(&TEXT[..40], true),
                "cut",
            ),
            ("no text", sql, sized(b"", 0, &[]), "did not send SQL text"),
            ("a file for a gzip", &["--compress"], sized(&good, length, &[]), "a gzip file"),
            ("half a gzip", &["--compress"], chunked(cut_gzip, true), "gzip stream has no end"),
            (
                "a text in gzip",
                &["--compress"],
                chunked(&packed(b"SELECT 1;"), true),
                "another kind",
            ),
        ],
    );
}

#[test]
fn an_announced_digest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let right = STANDARD.encode(Sha256::digest(&good));
    let wrong = STANDARD.encode(Sha256::digest(b"another"));
    let with = |name: &str, value: &str| sized(&good, good.len(), &[(name, value)]);
    let says = "SHA-256";
    tell_all(
        7,
        vec![
            ("Repr-Digest", &[], with("Repr-Digest", &format!("sha-256=:{wrong}:")), says),
            ("Content-Digest", &[], with("Content-Digest", &format!("sha-256=:{wrong}:")), says),
            ("Digest", &["--no-verify"], with("Digest", &format!("md5=x,SHA-256={wrong}")), says),
            ("no digest at all", &[], with("Digest", "SHA-256=nonsense"), says),
        ],
    );
    for (name, value) in [
        ("Repr-Digest", format!("sha-512=:eA==:, sha-256=:{right}:")),
        ("Digest", format!("SHA-256={right}")),
    ] {
        let answer = with(name, &value);
        let fake = Fake::start(move |_| answer.clone());
        let port = fake.address.port().to_string();
        let path = folder.path().join("app.db");
        let arguments = ["-p", &port, "backup", "-o", text(&path)];
        quorlite_alone(folder.path(), &arguments).run().expect();
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn refusals_have_their_statuses() {
    let lies: [(&str, i32, &str); 5] = [
        ("500 Internal Server Error", 1, "no luck"),
        ("507 Insufficient Storage", 1, "no luck"),
        ("401 Unauthorized", 5, "no luck"),
        ("403 Forbidden", 5, "no luck"),
        ("503 Service Unavailable", 4, "no luck"),
    ];
    for (name, status, says) in lies {
        let answer = reply(name, &[("Content-Length", "7")], b"no luck");
        tell(&Lie { name, options: &[], answer, status, says });
    }
}

#[test]
fn standard_output_gets_nothing_of_what_cannot_be_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let page = b"<!DOCTYPE html><title>Welcome</title>";
    for (answer, status, says) in [
        (sized(page, page.len(), &[]), 7, "did not send"),
        (sized(b"", 0, &[]), 7, "did not send"),
        (sized(b"", good.len(), &[]), 3, "early"),
        (sized(&good[..50], good.len(), &[]), 3, "early"),
    ] {
        let fake = Fake::start(move |_| answer.clone());
        let port = fake.address.port().to_string();
        let ran = quorlite_alone(folder.path(), &["-p", &port, "backup", "-o", "-"]).run();
        ran.fails(status, says);
    }
}

#[test]
fn a_dump_on_standard_output_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (text, status) in [(TEXT, 0), (b"hello", 7), (&TEXT[..60], 7)] {
        let fake = Fake::start(move |_| chunked(text, true));
        let port = fake.address.port().to_string();
        for arguments in [&["dump"][..], &["backup", "--fmt", "sql", "-o", "-"]] {
            let arguments = [&["-p", &port], arguments].concat();
            let ran = quorlite_alone(folder.path(), &arguments).run();
            assert_eq!(ran.status, Some(status), "{ran:?}");
        }
    }
}

#[test]
fn what_is_not_verified_is_not_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut broken = good(folder.path());
    broken[8192..12288].fill(0x5a);
    let answer = sized(&broken, broken.len(), &[]);
    let fake = Fake::start(move |_| answer.clone());
    let port = fake.address.port().to_string();
    let path = folder.path().join("app.db");
    let arguments = ["-p", &port, "backup", "--no-verify", "-o", text(&path)];
    let ran = quorlite_alone(folder.path(), &arguments).run();
    assert!(ran.stderr.contains("not verified"), "{}", ran.stderr);
    assert_eq!(ran.status, Some(0));
    assert_eq!(super::sidecar(&path).unwrap()["verified"], false);
}

#[test]
fn a_server_that_knows_no_age_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let age = &["--from", "any", "--max-age", "1s"];
    let answer = sized(&good, good.len(), &[]);
    let requests = tell(&Lie { name: "age", options: age, answer, status: 1, says: "no bound" });
    assert_eq!(requests, 1);
    let answer = sized(&good, good.len(), &[("X-QUORLITE-RAFT-INDEX", "7")]);
    let fake = Fake::start(move |_| answer.clone());
    let port = fake.address.port().to_string();
    let path = folder.path().join("app.db");
    let arguments = [&["-p", &port, "backup", "-o", text(&path)][..], age].concat();
    quorlite_alone(folder.path(), &arguments).run().expect();
    let line = "GET /db/backup?noleader&freshness=1000000000ns&freshness_strict HTTP/1.1";
    assert!(fake.heads()[0].starts_with(line), "{:?}", fake.heads());
}
