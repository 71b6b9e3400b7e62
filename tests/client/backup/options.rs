//! What each option does, against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{assert_described, fill, folder, names, sha256, sidecar, text};
use crate::fake::{Fake, reply};
use crate::program::{quorlite, quorlite_alone};
use crate::support::database;
use crate::support::server::Server;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_backup_is_what_the_server_gives_in_every_form() {
    let server = Server::fresh();
    fill(&server, 2000);
    server.execute(&["CREATE TABLE a (x)", "INSERT INTO a VALUES('it''s')"]);
    let folder = folder(&server, "forms");
    let path = folder.join("app.db");
    // An older, larger file leaves nothing of itself.
    fs::write(&path, vec![7; 8 << 20]).unwrap();
    for (options, target) in [
        (&[][..], "/db/backup"),
        (&["--fmt", "delete"], "/db/backup?fmt=delete"),
        (&["--fmt", "sql"], "/db/backup?fmt=sql"),
        (&["--fmt", "sql", "--tables", "a"], "/db/backup?fmt=sql&tables=a"),
        (&["--vacuum"], "/db/backup?vacuum"),
        (&["--compress"], "/db/backup?compress"),
        (&["--compress", "--fmt", "sql"], "/db/backup?compress&fmt=sql"),
        (&["--no-verify"], "/db/backup"),
        (&["--from", "leader"], "/db/backup"),
        (&["--from", "any"], "/db/backup"),
        (&["--from", "any", "--max-age", "10s"], "/db/backup"),
        (&["--from", &format!("http://{}", server.http())], "/db/backup"),
        (&["--min-free", "1K"], "/db/backup"),
    ] {
        let reply = server.get(target);
        let output = ["backup", "-o", text(&path)];
        let ran = quorlite(&server, &[&output[..], options].concat()).run();
        let said = ran.stderr.clone();
        assert_eq!(ran.expect(), "", "{options:?}");
        assert!(said.starts_with(&format!("{}: ", text(&path))), "{options:?}: {said}");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes == reply.body, "{options:?}: {} bytes", bytes.len());
        assert_eq!(names(&folder), ["app.db", "app.db.json"], "{options:?}");
        let known = sidecar(&path).unwrap();
        assert_eq!(known["bytes"], json!(bytes.len()), "{options:?}");
        assert_eq!(known["sha256"], json!(sha256(&bytes)), "{options:?}");
        assert_eq!(known["verified"], json!(!options.contains(&"--no-verify")), "{options:?}");
        assert_eq!(known["compressed"], json!(options.contains(&"--compress")), "{options:?}");
        assert_eq!(known["etag"], json!(reply.header("ETag")), "{options:?}");
        let index = reply.header("X-QUORLITE-RAFT-INDEX").parse::<u64>().unwrap();
        assert_eq!(known["raft_index"], json!(index), "{options:?}");
        // Standard output gets the same and nothing else.
        if !options.contains(&"--min-free") {
            let arguments = [&["backup", "-o", "-"][..], options].concat();
            let mut command = crate::program::command(&folder);
            let port = server.http().port().to_string();
            let output = command.args(["-p", &port]).args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{options:?}");
            assert!(output.stdout == reply.body, "{options:?}");
        }
    }
}

#[test]
fn a_dump_is_read_by_sqlite3() {
    let server = Server::fresh();
    fill(&server, 50);
    server.execute(&[
        "CREATE TABLE a (x, y TEXT)",
        "INSERT INTO a VALUES(1, 'it''s'), (2.5, NULL), (x'00ff', 'line\nbreak')",
        "CREATE INDEX i ON a(y)",
        "CREATE VIEW v AS SELECT x FROM a",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM big; END",
        "CREATE VIRTUAL TABLE f USING fts5(w)",
        "INSERT INTO f VALUES('some words')",
    ]);
    let folder = folder(&server, "dump");
    let printed = quorlite(&server, &["dump"]).run().expect();
    assert_eq!(printed.as_bytes(), server.get("/db/backup?fmt=sql").body);
    let path = folder.join("d.sql");
    quorlite(&server, &["dump", "-o", text(&path)]).run().expect();
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    let only = quorlite(&server, &["dump", "a"]).run().expect();
    assert_eq!(only.as_bytes(), server.get("/db/backup?fmt=sql&tables=a").body);
    assert!(only.contains("line") && !only.contains("big("), "{only}");

    let loaded = folder.join("loaded.db");
    let status = Command::new("sqlite3")
        .args(["-bail", text(&loaded)])
        .stdin(fs::File::open(&path).unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let copy = folder.join("copy.db");
    quorlite(&server, &["backup", "-o", text(&copy), "--fmt", "delete"]).run().expect();
    assert_eq!(database::contents(&loaded), database::contents(&copy));
}

#[test]
fn tables_that_are_not_there_are_no_backup() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let folder = folder(&server, "tables");
    let path = folder.join("d.sql");
    let output = text(&path);
    let wrong = quorlite(&server, &["dump", "-o", output, "a", "zz"]).run();
    wrong.fails(1, "no such table: zz");
    assert!(names(&folder).is_empty());
    quorlite(&server, &["dump", "zz"]).run().fails(1, "no such table: zz");
}

#[test]
fn contradictions_are_usage_errors() {
    let server = Server::fresh();
    let folder = folder(&server, "usage");
    let path = folder.join("app.db");
    let path = text(&path);
    for (arguments, word) in [
        (&["backup"][..], "-o"),
        (&["backup", "-o", text(&folder)], "regular file"),
        (&["backup", "-o", "/dev/null"], "regular file"),
        (&["backup", "-o", "x/"], "name of a file"),
        (&["backup", "-o", "x-%j.db"], "%j"),
        (&["backup", "-o", "%Y/%m/x-%d.db"], "in the file's name only"),
        (&["backup", "-o", path, "--fmt", "xml"], "xml"),
        (&["backup", "-o", path, "--fmt", "sql", "--vacuum"], "--vacuum"),
        (&["backup", "-o", path, "--tables", "a"], "--tables"),
        (&["backup", "-o", path, "--fmt", "sql", "--tables", "a,"], "empty"),
        (&["backup", "-o", path, "--keep", "3"], "--keep"),
        (&["backup", "-o", "x-%Y.db", "--keep", "0"], "from 1 on"),
        (&["backup", "-o", path, "--exit-unchanged"], "--if-changed"),
        (&["backup", "-o", path, "--max-age", "3s"], "--max-age"),
        (&["backup", "-o", path, "--max-age", "3s", "--from", "leader"], "--max-age"),
        (&["backup", "-o", path, "--max-age", "0", "--from", "any"], "moment"),
        (&["backup", "-o", path, "--from", "nobody"], "like http:"),
        (&["backup", "-o", path, "--min-free", "1X"], "1X"),
        (&["backup", "-o", "-", "--if-changed"], "--if-changed"),
        (&["backup", "-o", "-", "--keep", "2"], "--keep"),
        (&["backup", "-o", "-", "--min-free", "2"], "--min-free"),
        (&["backup", "-o", "-", "--json"], "--json"),
        (&["dump", "--json"], "--json"),
        (&["dump", "a,b"], "comma"),
    ] {
        quorlite(&server, arguments).run().fails(2, word);
    }
    assert!(names(&folder).is_empty());
    let missing = folder.join("no/app.db");
    quorlite(&server, &["backup", "-o", text(&missing)]).run().fails(8, "/no does not exist");
    quorlite_alone(&folder, &["-p", "1", "backup", "-o", path]).run().fails(3, "cannot reach");
    assert!(names(&folder).is_empty());
}

#[test]
fn the_object_says_what_was_done() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let folder = folder(&server, "object");
    let path = folder.join("app.db");
    let printed = quorlite(&server, &["backup", "-q", "--json", "-o", text(&path)]).run();
    assert_eq!(printed.stderr, "");
    let printed: Value = serde_json::from_str(&printed.expect()).unwrap();
    let expected = sidecar(&path).unwrap();
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&printed[key], value, "{key}");
    }
    assert_eq!(printed["path"], json!(text(&path)));
    assert_eq!(printed["name"], json!("app.db"));
    assert_eq!(printed["node"], json!(server.http().to_string()));
    assert_eq!((&printed["sequence"], &printed["fmt"]), (&json!(1), &json!("binary")));
    let taken = printed["taken_at"].as_str().unwrap();
    assert!(taken.len() == 20 && taken.starts_with("20") && taken.ends_with('Z'), "{taken}");
    assert!(printed["duration_seconds"].as_f64().is_some_and(|seconds| seconds < 60.0));
}

#[test]
fn permissions_are_private_or_as_they_were() {
    let server = Server::fresh();
    let folder = folder(&server, "modes");
    let path = folder.join("app.db");
    let backup = || quorlite(&server, &["backup", "-o", text(&path)]).run().expect();
    backup();
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    backup();
    assert_eq!(mode(&path), 0o640);
    // Also those by which it cannot be opened again.
    for strange in [0o200, 0o000] {
        fs::set_permissions(&path, fs::Permissions::from_mode(strange)).unwrap();
        backup();
        assert_eq!(mode(&path), strange);
        assert!(sidecar(&path).is_some());
    }
}

#[test]
fn tables_are_looked_for_where_the_copy_is_made() {
    for (from, asked) in [(None, "/db/query HTTP"), (Some("any"), "/db/query?level=none HTTP")] {
        let fake = Fake::start(|_| reply("404 Not Found", &[("Content-Length", "0")], b""));
        let home = tempfile::tempdir().unwrap();
        let port = fake.address.port().to_string();
        let mut arguments = vec!["-p", &port, "dump", "fresh"];
        arguments.extend(from.iter().flat_map(|from| ["--from", from]));
        quorlite_alone(home.path(), &arguments).run().fails(1, "404");
        let heads = fake.heads();
        assert!(heads[0].starts_with(&format!("POST {asked}")), "{heads:?}");
    }
}

#[test]
fn a_link_stays_a_link() {
    let server = Server::fresh();
    let folder = folder(&server, "links");
    fs::create_dir(folder.join("real")).unwrap();
    let real = folder.join("real/100%Y.db");
    fs::write(&real, "old").unwrap();
    let link = folder.join("app.db");
    std::os::unix::fs::symlink("real/100%Y.db", &link).unwrap();
    quorlite(&server, &["backup", "-o", text(&link)]).run().expect();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    database::assert_sound(&real);
    assert_eq!(names(&folder), ["app.db", "real"]);
    assert_eq!(names(&folder.join("real")), ["100%Y.db", "100%Y.db.json"]);
    assert_described(&real, "behind a link");
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
    let dangling = folder.join("dangling");
    quorlite(&server, &["backup", "-o", text(&dangling)]).run().fails(8, "dangling");
}

#[test]
fn a_database_is_not_put_beside_the_wal_of_another() {
    let server = Server::fresh();
    let folder = folder(&server, "wal");
    let path = folder.join("app.db");
    fs::write(&path, "old").unwrap();
    let journal = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and pages";
    for (ending, pages) in [("-wal", &[1; 33][..]), ("-journal", journal)] {
        let beside = folder.join(format!("app.db{ending}"));
        fs::write(&beside, pages).unwrap();
        quorlite(&server, &["backup", "-o", text(&path)]).run().fails(8, ending);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_file(&beside).unwrap();
    }
    // What holds no pages is in nobody's way, such as the journal that journal_mode=PERSIST leaves.
    fs::write(folder.join("app.db-wal"), [1; 32]).unwrap();
    fs::write(folder.join("app.db-journal"), [0; 4096]).unwrap();
    quorlite(&server, &["backup", "-o", text(&path)]).run().expect();
}

#[test]
fn a_file_that_is_no_sidecar_is_not_touched() {
    let server = Server::fresh();
    let folder = folder(&server, "settings");
    let path = folder.join("app");
    for settings in ["{\"port\": 4001}", "[1]", "precious"] {
        fs::write(folder.join("app.json"), settings).unwrap();
        for format in ["binary", "sql"] {
            let ran = quorlite(&server, &["backup", "-o", text(&path), "--fmt", format]).run();
            ran.fails(8, "app.json would describe");
        }
        assert_eq!(fs::read_to_string(folder.join("app.json")).unwrap(), settings);
        assert_eq!(names(&folder), ["app.json"]);
    }
}
