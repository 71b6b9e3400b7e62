//! Files that are no good: each is refused with what is wrong with it, here and by the server,
//! and the data stays as it was.

use super::{SCHEMA, digest, gzip, leave_open, names, put, put_database, restore, server};
use crate::fake::{Fake, reply};
use crate::program::{quorlite, quorlite_alone};
use crate::support::Random;

fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(7);
    (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// The same with bytes put somewhere.
fn patched(good: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = good.to_vec();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}

/// Name, content, and what the client and the server say of it.
fn bad_files(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let half = &good[..good.len() / 2];
    let packed = gzip(good);
    let no_text = "the file is neither a SQLite database nor gzip nor SQL text: byte 0 is not";
    let cut = "the file is cut short: its header promises";
    vec![
        ("14 bytes", good[..14].to_vec(), "a database's header has 100 bytes, it has 14"),
        ("99 bytes", good[..99].to_vec(), "a database's header has 100 bytes, it has 99"),
        ("100 bytes", good[..100].to_vec(), cut),
        ("half", half.to_vec(), cut),
        ("a byte less", good[..good.len() - 1].to_vec(), cut),
        ("a byte more", [good, b"x"].concat(), "the file is too long: its header promises"),
        (
            "random pages",
            [&good[..8192], &noise(good.len() - 8192)].concat(),
            "the database is damaged: ",
        ),
        ("page size", patched(good, 16, &[0x12, 0x34]), "a page size of 4660 bytes cannot be"),
        ("future", patched(good, 18, &[9, 9]), "it needs a later version of SQLite"),
        ("schema format", patched(good, 44, &[0, 0, 0, 99]), "its schema format is 99"),
        ("encrypted", [&[0x80], &noise(20 * 4096)[..]].concat(), no_text),
        ("utf-16", utf16("CREATE TABLE a(b);"), "byte 3 is not UTF-8 text"),
        ("png", [b"\x89PNG\r\n\x1a\n".as_slice(), &noise(900)].concat(), no_text),
        ("latin-1", b"-- caf\xe9\nCREATE TABLE a(b);".to_vec(), "byte 6 is not UTF-8 text"),
        ("nul", b"CREATE TABLE a(b);\0".to_vec(), "byte 18 is not UTF-8 text"),
        ("half.gz", packed[..packed.len() / 2].to_vec(), "its gzip stream has no end"),
        ("short.gz", packed[..packed.len() - 1].to_vec(), "its gzip stream has no end"),
        ("of half.gz", gzip(half), cut),
        ("of noise.gz", gzip(&[&[0x80], &noise(999)[..]].concat()), no_text),
        ("sum.gz", patched(&packed, packed.len() - 8, &[1, 2, 3, 4]), "damaged gzip"),
    ]
}

#[test]
fn what_is_wrong_is_said_and_nothing_changes() {
    let server = server();
    let good = put_database(&server, "good", SCHEMA);
    let before = digest(&server);
    let index = || {
        server.request("HEAD", "/db/backup", &[], b"").header("X-QUORLITE-RAFT-INDEX").to_owned()
    };
    let index_before = index();
    for (name, bytes, words) in bad_files(&good) {
        put(&server, name, &bytes);
        let files = names(server.scratch());
        for arguments in [&[name][..], &["--dry-run", name], &["--no-verify", name]] {
            let ran = restore(&server, arguments);
            ran.fails(7, words);
            assert!(ran.stderr.starts_with(&format!("quorlite: {name}: ")), "{}", ran.stderr);
        }
        let streamed = quorlite(&server, &["restore", "--dry-run", "-"]).input(&bytes).run();
        streamed.fails(7, words);
        assert!(streamed.stderr.starts_with("quorlite: standard input: "), "{}", streamed.stderr);
        assert_eq!(names(server.scratch()), files, "{name} leaves something behind");
    }
    assert_eq!(digest(&server), before);
    assert_eq!(index(), index_before, "nothing was ever proposed");
}

#[test]
fn text_that_cannot_be_run_names_the_statement() {
    let server = server();
    let before = digest(&server);
    let hint = "SQL that changes what is there is for \"quorlite script\"";
    for (text, words) in [
        (
            "CREATE TABLE a(b); INSERT INTO a VALUES(1,2);",
            "a has 1 columns but 2 values were supplied (statement 2)",
        ),
        ("INSERT INTO t VALUES(1);", "no such table: t (statement 1)"),
        ("CREATE TABLE a(b); nonsense;", "near \"nonsense\": syntax error (statement 2)"),
        (
            "ATTACH 'elsewhere' AS e;",
            "ATTACH, DETACH and VACUUM INTO are not available (statement 1)",
        ),
        ("CREATE TABLE a(b); INSERT INTO a VALUES('open", "unrecognized token"),
    ] {
        put(&server, "text", text.as_bytes());
        let ran = restore(&server, &["text"]);
        ran.fails(7, words);
        let is_syntax = words.contains("syntax error") || words.contains("unrecognized token");
        assert_eq!(ran.stderr.contains(hint), !is_syntax, "{}", ran.stderr);
        assert_eq!(names(server.scratch()), ["text"]);
    }
    put(&server, "text", b"BEGIN; CREATE TABLE a(b); INSERT INTO a VALUES(1);\n");
    restore(&server, &["text"]).fails(7, "text: the text is cut short: it begins a transaction");
    put(&server, "text", b"");
    restore(&server, &["text"]).fails(7, "text: the file is empty");
    restore(&server, &["--no-verify", "text"]).fails(7, "text: it is empty, nothing was changed");
    assert_eq!(digest(&server), before);
    // Unseen, the second of them is right: it is about what is live.
    put(&server, "text", b"INSERT INTO t VALUES(1);");
    restore(&server, &["--no-verify", "text"]).expect();
    assert_ne!(digest(&server), before);
}

#[test]
fn what_cannot_be_read_is_a_local_failure() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("file"), b"x").unwrap();
    for (arguments, words) in [
        (["restore", "missing"], "cannot read missing: No such file or directory"),
        (["restore", "."], "cannot read .: it is a folder"),
        (["boot", "."], "cannot read .: it is a folder"),
        (["restore", "file/inside"], "cannot read file/inside: Not a directory"),
    ] {
        quorlite_alone(home.path(), &arguments).run().fails(8, words);
    }
    // A text that has to be run, and no place for it.
    std::fs::write(home.path().join("text"), b"CREATE TABLE a(b);").unwrap();
    let call = quorlite_alone(home.path(), &["restore", "--dry-run", "--offline", "text"]);
    let ran = call.environment("TMPDIR", "/proc").run();
    ran.fails(8, "cannot make /proc/.quorlite-");
}

#[test]
fn a_database_in_use_is_not_taken_for_a_copy() {
    let server = server();
    let path = server.scratch().join("used");
    let connection = leave_open(&path);
    let ran = restore(&server, &["used"]);
    ran.fails(7, "used: the database was not closed, a part of it is in used-wal: ");
    drop(connection);
    restore(&server, &["used"]).expect();
    put(&server, "used-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and pages");
    restore(&server, &["used"]).fails(7, "a part of it is in used-journal");
}

#[test]
fn a_backup_that_has_changed_is_told_by_its_sidecar() {
    let server = server();
    put_database(&server, "file", SCHEMA);
    let sidecar =
        |sha256: &str| format!("{{\"sequence\": 1, \"bytes\": 32768, \"sha256\": \"{sha256}\"}}");
    let before = digest(&server);
    put(&server, "file.json", sidecar("00").as_bytes());
    for arguments in [&["file"][..], &["--dry-run", "--offline", "file"]] {
        let ran = restore(&server, arguments);
        ran.fails(7, "file is not the file that file.json describes: it has changed since");
    }
    assert_eq!(digest(&server), before);
    restore(&server, &["--no-verify", "file"]).expect();
    // What is no sidecar says nothing.
    for other in ["[1]", "{}", "{\"bytes\": 1}", "not JSON"] {
        put(&server, "file.json", other.as_bytes());
        restore(&server, &["file"]).expect();
    }
}

#[test]
fn a_refusal_comes_before_the_upload() {
    let home = tempfile::tempdir().unwrap();
    // Far more than could be on its way when the refusal comes.
    std::fs::File::create(home.path().join("large")).unwrap().set_len(1 << 30).unwrap();
    for (line, status, words) in [
        ("401 Unauthorized", 5, "the server says no"),
        ("403 Forbidden", 5, "the server says no"),
        ("503 Service Unavailable", 4, "the server says no"),
        ("500 Internal Server Error", 1, "the server says no"),
        ("413 Payload Too Large", 7, "large: the server says no"),
    ] {
        let answer = reply(line, &[("Content-Length", "18")], b"the server says no");
        let fake = Fake::start(move |_| answer.clone());
        let port = fake.address.port().to_string();
        let to = ["-H", "127.0.0.1", "-p", &port];
        let call = [&to[..], &["restore", "--no-verify", "large"]].concat();
        quorlite_alone(home.path(), &call).run().fails(status, words);
        let head = fake.heads()[0].to_ascii_lowercase();
        assert!(head.starts_with("post /db/load http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 1073741824\r\n"), "{head}");
    }
}
