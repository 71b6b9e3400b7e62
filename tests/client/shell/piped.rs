//! The shell with a pipe for input and no command: rqlite's, to the byte.

use std::fs;
use std::path::Path;

use crate::fake::{Fake, reply};
use crate::program::{quorlite, quorlite_alone};
use crate::shell::transcript;
use crate::support::server::{Server, free_port};

/// Statements over lines, dot-commands, an error, and no semicolon at the end.
const SCRIPT: &str = "-- A comment.
CREATE TABLE r(
  a INTEGER, -- one; two
  b TEXT
);
INSERT INTO r VALUES(1, 'x;
y'); INSERT INTO r VALUES(2, 'z');

.mode csv
SELECT a
FROM r
ORDER BY a;
.MODE column
nonsense;
SELECT 'goes on'
";

/// A dump as rqlite's servers write it.
const DUMP: &str = "PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE loaded(id INTEGER PRIMARY KEY, t TEXT);
INSERT INTO \"loaded\" VALUES(1,'one');
INSERT INTO \"loaded\" VALUES(2,'two');
COMMIT;
";

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/shell/transcripts");
    let files = [
        ("script.sql", SCRIPT),
        ("dump.sql", DUMP),
        ("bad.sql", "CREATE TABLE x(a);\nnonsense;\n"),
        ("itself.sql", ".read itself.sql\n"),
        (
            "lines.sql",
            "-- A statement a line.\nSELECT 1 AS a\n\nnonsense\n.mode csv\nSELECT 2 AS a\n",
        ),
    ];
    if let Some(difference) = transcript::check(&folder.join(name), &files) {
        panic!("{difference}");
    }
}

#[test]
fn statements_are_answered_line_by_line() {
    check("statements.txt");
}

#[test]
fn every_format_has_its_bytes() {
    check("formats.txt");
}

#[test]
fn settings_are_shown_and_set() {
    check("settings.txt");
}

#[test]
fn the_help_lists_every_command() {
    check("help.txt");
}

#[test]
fn files_are_written_and_read() {
    check("files.txt");
}

#[test]
fn nodes_and_the_cluster_are_shown() {
    check("cluster.txt");
}

#[test]
fn status_and_counters_are_indented_text() {
    let server = Server::fresh();
    let shown = quorlite(&server, &[]).input(".status\n.expvar\n").run().expect();
    for line in ["store:", "  raft:", "    state: Leader", "http:", "extensions:", "  names: []"] {
        assert!(shown.contains(&format!("\n{line}\n")), "{line} in {shown}");
    }
    assert!(shown.contains("> build:\n"), "the first key begins the text: {shown}");
    assert!(!shown.contains(['{', '"']) || !shown.contains("\":"), "no JSON: {shown}");
}

#[test]
fn a_dump_of_the_system_has_all_answers_of_every_node() {
    let server = Server::fresh();
    quorlite(&server, &[]).input(".sysdump all.txt\n").run().expect();
    let text = fs::read_to_string(server.scratch().join("all.txt")).unwrap();
    for target in ["status?pretty", "nodes?pretty", "readyz", "debug/vars"] {
        let head = format!(
            "\n=========================================\nURL: http://{}/{target}\nStatus: 200 OK\n\n",
            server.http()
        );
        assert!(text.contains(&head), "{head} in {text}");
    }
    assert!(text.contains("[+]db ok"));
}

#[test]
fn files_are_whole_or_not_there() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
    let (old, dump) = (server.scratch().join("old.db"), server.scratch().join("old.sql"));
    for path in [&old, &dump] {
        fs::write(path, vec![b'x'; 100_000]).unwrap();
    }
    quorlite(&server, &[]).input(".backup old.db\n.dump old.sql\n").run().expect();
    let copy = fs::read(&old).unwrap();
    assert!(copy.starts_with(b"SQLite format 3\0") && copy.len() < 100_000, "{}", copy.len());
    assert!(fs::read_to_string(&dump).unwrap().ends_with("COMMIT;\n"));
    let known = fs::read_to_string(server.scratch().join("old.db.json")).unwrap();
    assert!(known.contains(&format!("\"bytes\": {},", copy.len())), "{known}");
    quorlite(&server, &[]).input(".backup 100%d.db\n").run().expect();
    assert_eq!(fs::read(server.scratch().join("100%d.db")).unwrap(), copy);

    let cut = Fake::start(|head| match head.contains("/status") {
        true => reply("200 OK", &[("X-RQLITE-VERSION", "10"), ("Content-Length", "2")], b"{}"),
        false => reply("200 OK", &[("Content-Length", "5000")], &[b'x'; 4000]),
    });
    let (host, port) = ("127.0.0.1", cut.address.port().to_string());
    let call = quorlite_alone(server.scratch(), &["-H", host, "-p", &port]);
    let shown = call.input(".backup old.db\n").run().expect();
    assert!(shown.contains("> ERR! "), "{shown}");
    assert_eq!(fs::read(&old).unwrap(), copy);
    let names = fs::read_dir(server.scratch()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.map(|name| name.into_string().unwrap()).all(|name| !name.ends_with(".part")));
}

#[test]
fn nothing_to_reach_is_said_once_and_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let ran = quorlite_alone(home.path(), &["-p", &port]).input("SELECT 1\nSELECT 2\n").run();
    assert_eq!(ran.stdout, "ERR! no host available to perform the request\n");
    assert_eq!(ran.status, Some(0));
    assert!(ran.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ran.stderr);
}

#[test]
fn a_dead_first_node_is_passed_over() {
    let server = Server::fresh();
    let (dead, alive) = (free_port().to_string(), server.http().to_string());
    let arguments = ["-p", dead.as_str(), "-a", alive.as_str()];
    let shown = quorlite_alone(server.scratch(), &arguments).input("quit\n").run().expect();
    let end = format!("Connected to http://{alive} running version 10\n{alive}> bye~\n");
    assert!(shown.ends_with(&end), "{shown}");
}

#[test]
fn a_node_that_dies_is_left_and_the_prompt_shows_it() {
    let server = Server::fresh();
    // It greets, and answers nothing else.
    let dying = Fake::start(|head| match head.contains("/status") {
        true => reply("200 OK", &[("X-RQLITE-VERSION", "9"), ("Content-Length", "2")], b"{}"),
        false => Vec::new(),
    });
    let (port, next) = (dying.address.port().to_string(), server.http().to_string());
    let call = quorlite_alone(server.scratch(), &["-p", &port, "-a", &next]);
    let shown = call.input("SELECT 1\nINSERT INTO t VALUES(1)\n").run().expect();
    assert!(shown.contains(&format!("127.0.0.1:{port}> +---+")), "{shown}");
    assert!(
        shown.ends_with(&format!("{next}> Error: no such table: t\n{next}> bye~\n")),
        "{shown}"
    );
}

#[test]
fn who_may_not_is_told_so_by_every_command() {
    let fake = Fake::start(|_| {
        let headers = [("X-RQLITE-VERSION", "10"), ("Content-Length", "0")];
        reply("401 Unauthorized", &headers, b"")
    });
    let home = tempfile::tempdir().unwrap();
    let input = "SELECT 1\n.tables\n.status\n.nodes\n.ready\n.backup b.db\n.snapshot\n";
    let node = fake.address;
    let port = node.port().to_string();
    let shown = quorlite_alone(home.path(), &["-p", &port]).input(input).run().expect();
    let refusals: Vec<&str> = shown.split(&format!("{node}> ")).skip(1).collect();
    let refused = "ERR! server responded with 401 Unauthorized: \n";
    let unauthorised = "ERR! unauthorized\n";
    let wanted = [
        refused,
        refused,
        unauthorised,
        unauthorised,
        unauthorised,
        unauthorised,
        refused,
        "bye~\n",
    ];
    assert_eq!(refusals, wanted);
}

#[test]
fn consistency_and_blobarray_go_along_with_selects() {
    let fake = Fake::start(|_| {
        let headers = [("X-RQLITE-VERSION", "10"), ("Content-Length", "14")];
        reply("200 OK", &headers, b"{\"results\":[]}")
    });
    let home = tempfile::tempdir().unwrap();
    let input = "SELECT 1\n.consistency strong\n.blobarray on\n.timer on\nSELECT 2\n.tables\n\
                 .forcewrites on\nSELECT 3\n";
    let port = fake.address.port().to_string();
    quorlite_alone(home.path(), &["-p", &port]).input(input).run().expect();
    let heads = fake.heads();
    let asked: Vec<&str> = heads.iter().filter_map(|head| head.split(" HTTP").next()).collect();
    let wanted = [
        "GET /status",
        "POST /db/request",
        "POST /db/request?level=strong&blob_array&timings",
        "POST /db/query?level=strong&blob_array&timings",
        "POST /db/execute?blob_array&timings",
    ];
    assert_eq!(asked, wanted);
}
