//! Files to load that are damaged, cut, hostile or no database: each is refused by status with a
//! reason, and the data stays as it was, also after a restart.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::{Random, database};

const SCHEMA: &str = "
    CREATE TABLE new (id INTEGER PRIMARY KEY, text TEXT);
    CREATE INDEX by_text ON new(text);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO new SELECT i, hex(randomblob(50)) FROM n;";

fn server() -> Server {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('kept')"]);
    server
}

fn kept(server: &Server) -> Value {
    server.query("SELECT a FROM t")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(7);
    (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// A good database of some pages.
fn good(folder: &Path) -> Vec<u8> {
    database::create(&folder.join("good.db"), SCHEMA)
}

/// The same with bytes put somewhere.
fn patched(good: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = good.to_vec();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

fn bad_files(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let good = good(folder);
    let half = &good[..good.len() / 2];
    let packed = gzip(&good);
    vec![
        ("14 bytes", good[..14].to_vec()),
        ("100 bytes", good[..100].to_vec()),
        ("a page and a bit", good[..4096 + 17].to_vec()),
        ("cut in half", half.to_vec()),
        ("cut by one byte", good[..good.len() - 1].to_vec()),
        ("cut by one page", good[..good.len() - 4096].to_vec()),
        ("random pages behind two good ones", [&good[..8192], &noise(good.len() - 8192)].concat()),
        ("one random page in the middle", patched(&good, 10 * 4096, &noise(4096))),
        ("wrong page size", patched(&good, 16, &[0x20, 0x00])),
        ("page size that is none", patched(&good, 16, &[0x12, 0x34])),
        ("page size 0", patched(&good, 16, &[0, 0])),
        ("format of the future", patched(&good, 18, &[9, 9])),
        ("a terabyte in the header", patched(&good, 28, &[0x10, 0, 0, 0])),
        ("schema format 99", patched(&good, 44, &[0, 0, 0, 99])),
        ("magic and noise", [b"SQLite format 3\0".as_slice(), &noise(20_000)].concat()),
        ("encrypted-looking", noise(20 * 4096)),
        ("gzip cut short", packed[..packed.len() / 2].to_vec()),
        ("gzip without its last byte", packed[..packed.len() - 1].to_vec()),
        ("gzip of half a file", gzip(half)),
        ("gzip of noise", gzip(&noise(50_000))),
        ("gzip with a wrong checksum", patched(&packed, packed.len() - 8, &[1, 2, 3, 4])),
        ("gzip magic alone", vec![0x1f, 0x8b]),
    ]
}

#[test]
fn damaged_files_change_nothing() {
    let mut server = server();
    for (name, file) in bad_files(server.scratch()) {
        for target in ["/db/load", "/boot"] {
            let reply = server.request("POST", target, &[], &file);
            let status = reply.status();
            let is_refused = (400..500).contains(&status) || (status == 503 && target == "/boot");
            assert!(is_refused, "{target} of {name}: {status} {}", reply.text());
            assert!(!reply.text().trim().is_empty(), "{target} of {name}: no reason given");
            assert_eq!(kept(&server), json!([["kept"]]), "{target} of {name}");
            server.assert_well(name);
        }
    }
    server.restart();
    assert_eq!(kept(&server), json!([["kept"]]), "after a restart");
    assert_eq!(server.get("/db/backup").status(), 200);
    assert_no_leftovers(&server);
}

/// Refused uploads take no room on disk.
fn assert_no_leftovers(server: &Server) {
    fn bytes(path: &Path) -> u64 {
        let entries = std::fs::read_dir(path).expect("the directory can be read");
        entries
            .map(|entry| {
                let entry = entry.expect("the directory can be read");
                let metadata = entry.metadata().expect("the file is there");
                if metadata.is_dir() {
                    bytes(&entry.path())
                } else {
                    std::os::unix::fs::MetadataExt::blocks(&metadata) * 512
                }
            })
            .sum()
    }
    let bodies = server.directory().join("bodies");
    let left = if bodies.exists() { bytes(&bodies) } else { 0 };
    assert!(left < 1 << 20, "{left} bytes left in {bodies:?}");
}

#[test]
fn an_empty_load_is_nothing_and_an_empty_boot_is_refused() {
    let server = server();
    let reply = server.request("POST", "/db/load", &[], b"");
    assert_eq!((reply.status(), reply.text().as_str()), (200, "{\"results\":[]}"));
    let reply = server.request("POST", "/boot", &[], b"");
    assert_eq!((reply.status(), reply.text().as_str()), (503, "EOF\n"));
    assert_eq!(kept(&server), json!([["kept"]]));
}

#[test]
fn flipped_bytes_are_never_half_loaded() {
    let server = server();
    let good = good(server.scratch());
    let mut random = Random(11);
    let mut refused = 0;
    for _ in 0..60 {
        let mut file = good.clone();
        // In the header, in the schema's page, or anywhere.
        let bound = [100, 4096, file.len()][usize::try_from(random.below(3)).unwrap()];
        for _ in 0..=random.below(4) {
            let at = usize::try_from(random.below(bound as u64)).unwrap();
            file[at] ^= 1 << random.below(8);
        }
        let reply = server.request("POST", "/db/load", &[], &file);
        if reply.status() == 200 && reply.is_success() {
            // Not every flip is damage: one in a text is another text.
            let found = server.query("PRAGMA quick_check");
            assert_eq!(found, json!([["ok"]]));
        } else {
            refused += 1;
            assert!((400..500).contains(&reply.status()), "{} {}", reply.status(), reply.text());
        }
        server.assert_well("a flipped byte");
    }
    assert!(refused > 0, "no flip was ever noticed");
}

#[test]
fn good_files_of_every_kind_replace_everything() {
    let mut server = server();
    let folder = server.scratch().to_owned();
    let plain = good(&folder);
    let wal = database::create(
        &folder.join("wal.db"),
        &format!("PRAGMA journal_mode=WAL; {SCHEMA} PRAGMA wal_checkpoint(TRUNCATE);"),
    );
    assert_eq!(wal[18..20], [2, 2]);
    let utf16 = database::create(
        &folder.join("utf16.db"),
        &format!("PRAGMA encoding='UTF-16le'; {SCHEMA}"),
    );
    let small =
        database::create(&folder.join("512.db"), &format!("PRAGMA page_size=512; {SCHEMA}"));
    let large =
        database::create(&folder.join("64k.db"), &format!("PRAGMA page_size=65536; {SCHEMA}"));
    let packed = gzip(&plain);
    let files = [
        ("plain", plain),
        ("WAL mode", wal),
        ("UTF-16", utf16),
        ("pages of 512", small),
        ("pages of 64k", large),
        ("gzip", packed),
    ];
    for (name, file) in files {
        server.execute(&[
            "DROP TABLE IF EXISTS t",
            "DROP TABLE IF EXISTS new",
            "CREATE TABLE t (a)",
        ]);
        let reply = server.request("POST", "/db/load", &[], &file);
        if name == "UTF-16" && (400..500).contains(&reply.status()) {
            continue; // Refusing another encoding is a clear answer too.
        }
        assert_eq!((reply.status(), reply.text().as_str()), (200, "{\"results\":[]}"), "{name}");
        assert_eq!(reply.header("X-RQLITE-SERVED-BY"), server.http().to_string(), "{name}");
        assert_eq!(server.value("SELECT count(*) FROM new"), json!(3000), "{name}");
        assert_eq!(
            server.query("SELECT name FROM sqlite_schema WHERE name = 't'"),
            json!([]),
            "{name}"
        );
        server.execute(&["INSERT INTO new(text) VALUES('written after')"]);
        server.restart();
        assert_eq!(server.value("SELECT count(*) FROM new"), json!(3001), "{name}: restarted");
    }
    let file = std::fs::read(folder.join("good.db")).unwrap();
    let reply = server.request("POST", "/boot", &[], &file);
    assert_eq!((reply.status(), reply.text().as_str()), (200, ""), "boot");
    assert_eq!(server.value("SELECT count(*) FROM new"), json!(3000), "boot");
    server.kill9();
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM new"), json!(3000), "killed after a boot");
}

#[test]
fn an_upload_cut_short_changes_nothing() {
    let server = server();
    let good = good(server.scratch());
    for cut in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        for target in ["/db/load", "/boot"] {
            let mut client = server.client();
            client
                .send("POST", target, &[("Content-Length", &good.len().to_string())], None)
                .unwrap();
            client.raw().write_all(&good[..cut]).unwrap();
            client.raw().shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.raw().read_to_end(&mut answer).ok();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{target} cut at {cut}");
            let mut client = server.client();
            client.send("POST", target, &[("Transfer-Encoding", "chunked")], None).unwrap();
            let chunk = [format!("{cut:x}\r\n").as_bytes(), &good[..cut], b"\r\n"].concat();
            client.raw().write_all(if cut == 0 { b"5\r\nS" } else { &chunk }).unwrap();
            client.raw().shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.raw().read_to_end(&mut answer).ok();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{target} in chunks cut at {cut}");
        }
    }
    assert_eq!(kept(&server), json!([["kept"]]));
    server.assert_well("cut uploads");
}

#[test]
fn hostile_schemas_are_refused_or_harmless() {
    let mut server = server();
    let folder = server.scratch().to_owned();
    let victim = folder.join("victim");
    let hostile = [
        // A trigger and a view that reach for files.
        format!(
            "CREATE TABLE h (a); CREATE TRIGGER tr AFTER INSERT ON h BEGIN
                SELECT load_extension('{0}'); END;
             CREATE VIEW v AS SELECT fts3_tokenizer('simple'), writefile('{0}', 'x');",
            victim.display()
        ),
        // An index and a generated column with functions of the schema's choice.
        "CREATE TABLE h (a, b AS (printf('%1000000s', a)));
         CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n;"
            .to_owned(),
    ];
    for sql in hostile {
        let path = folder.join("hostile.db");
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&sql).unwrap();
        connection.close().unwrap();
        let file = std::fs::read(&path).unwrap();
        let reply = server.request("POST", "/db/load", &[], &file);
        if reply.status() == 200 {
            let insert = server.post("/db/execute", &json!(["INSERT INTO h(a) VALUES(1)"]));
            assert_eq!(insert.status(), 200, "{}", insert.text());
            let view = server.post("/db/query?db_timeout=500ms", &json!(["SELECT * FROM v"]));
            assert!(view.is_refusal(), "{}", view.text().chars().take(300).collect::<String>());
        }
        server.assert_well("a hostile schema");
        assert!(!victim.exists(), "the schema wrote a file");
    }
    server.restart();
}

#[test]
fn shadow_tables_and_schema_damage_are_refused() {
    let server = server();
    let folder = server.scratch().to_owned();
    let damages = [
        "UPDATE ft_data SET block = x'00'",
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE new(' WHERE name = 'new'",
        "UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'new'",
        "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'new'",
        "INSERT INTO sqlite_schema VALUES('trigger', 'x', 'new', 0, 'CREATE TRIGGER x AFTER INSERT ON nope BEGIN SELECT 1')",
    ];
    for damage in damages {
        let path = folder.join("damaged.db");
        let sql = format!(
            "{SCHEMA} CREATE VIRTUAL TABLE ft USING fts5(a); INSERT INTO ft VALUES('word');"
        );
        database::create(&path, &sql);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA writable_schema=ON").unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let file = std::fs::read(&path).unwrap();
        let reply = server.request("POST", "/db/load", &[], &file);
        // quick_check does not look into every shadow table; the node must live with it.
        let is_refused = (400..500).contains(&reply.status());
        assert!(is_refused || damage.contains("ft_data"), "{damage}: {}", reply.text());
        server.assert_well(damage);
        if is_refused {
            assert_eq!(kept(&server), json!([["kept"]]), "{damage}");
        } else {
            server.execute(&["CREATE TABLE IF NOT EXISTS t (a)", "INSERT INTO t VALUES('kept')"]);
        }
    }
}
