//! The shell in batches: statements over lines, real exit statuses.

use std::fs;

use crate::fake::{Fake, lying, reply};
use crate::program::{quorlite, quorlite_alone};
use crate::support::server::{Server, free_port};

#[test]
fn a_table_is_what_rqlite_calls_column() {
    let server = Server::fresh();
    let input = ".mode csv\n.mode table\n.mode\nSELECT 1 AS a\n";
    let shown = quorlite(&server, &["--batch"]).input(input).run().expect();
    assert_eq!(shown, "column\n+---+\n| a |\n+---+\n| 1 |\n+---+\n");
}

#[test]
fn a_batch_prints_its_rows_and_nothing_else() {
    let server = Server::fresh();
    let input = "CREATE TABLE t(\n  a INTEGER\n);\n.mode csv\n\
                 INSERT INTO t\nVALUES(1), (2); SELECT a\nFROM t;\n.quit\nSELECT 'never';\n";
    for arguments in [&["--batch"][..], &["shell"]] {
        let ran = quorlite(&server, arguments).input(input).run();
        assert_eq!(ran.stderr, "");
        assert_eq!(ran.expect(), "0 row affected\n2 rows affected\na\n1\n2\n");
        server.execute(&["DROP TABLE t"]);
    }
    quorlite(&server, &["--batch", "shell"]).run().fails(2, "--batch");
    let last = quorlite(&server, &["--batch"]).input(".mode list\nSELECT 1 -- no end").run();
    assert_eq!(last.expect(), "1\n");
    assert_eq!(quorlite(&server, &["--batch"]).input("").run().expect(), "");
}

#[test]
fn the_first_error_ends_a_batch_and_says_where() {
    let server = Server::fresh();
    let input = "SELECT 1;\n-- here\n\nSELECT *\nFROM nosuch;\nSELECT 2;\n";
    let ran = quorlite(&server, &["--batch"]).input(input).run();
    assert_eq!(ran.stdout, "+---+\n| 1 |\n+---+\n| 1 |\n+---+\n");
    assert_eq!(ran.stderr, "quorlite: standard input, line 2: no such table: nosuch\n");
    assert_eq!(ran.status, Some(1));

    fs::write(server.scratch().join("f.sql"), "SELECT 1 WHERE 0;\n\nnonsense;\n").unwrap();
    let ran = quorlite(&server, &["--batch"]).input("\n.mode csv\n.read f.sql\n").run();
    let place = "quorlite: standard input, line 3: f.sql, line 3: ";
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.starts_with(place), "{}", ran.stderr);
}

#[test]
fn every_cause_has_its_status() {
    let server = Server::fresh();
    fs::write(server.scratch().join("text"), "no database").unwrap();
    let causes = [
        (".mode xx", 2, "invalid mode 'xx'"),
        (".backup", 2, "please specify an output file"),
        (".backup nosuch/b.db", 8, "the folder nosuch does not exist"),
        (".read nosuch", 8, "nosuch"),
        (".boot text", 7, "text is not a valid SQLite file"),
        (".restore text", 1, "syntax error"),
        (".stepdown nosuch", 1, "500 Internal Server Error"),
    ];
    for (line, status, word) in causes {
        quorlite(&server, &["--batch"]).input(format!("{line}\n")).run().fails(status, word);
    }
}

#[test]
fn a_restore_that_may_be_done_is_no_refusal() {
    let home = tempfile::tempdir().unwrap();
    let file = b"SQLite format 3\0 and so on";
    fs::write(home.path().join("file"), file).unwrap();
    for (line, body, status, words) in [
        ("200 OK", "{\"error\":\"leadership lost while committing log\"}", 6, "line 1: leadership"),
        ("200 OK", "{\"error\":\"leader not found\"}", 4, "line 1: leader not found"),
        ("200 OK", "{\"error\":\"disk I/O error\"}", 1, "line 1: disk I/O error"),
        ("502 Bad Gateway", "no server", 6, "server responded with: 502 Bad Gateway: no server"),
    ] {
        let length = body.len().to_string();
        let answer = reply(line, &[("Content-Length", &length)], body.as_bytes());
        let (address, server) = lying(answer, file.len() as u64);
        let to = ["--batch", "-p", &address.port().to_string()];
        quorlite_alone(home.path(), &to).input(".restore file\n").run().fails(status, words);
        assert_eq!(server.join().unwrap(), file.len() as u64);
    }
}

#[test]
fn a_file_that_becomes_shorter_ends_its_upload() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    let shorten = path.clone();
    let fake = Fake::start(move |_| {
        fs::File::options().write(true).open(&shorten).unwrap().set_len(20).unwrap();
        b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()
    });
    let to = ["--batch", "-p", &fake.address.port().to_string()];
    for command in [".boot", ".restore"] {
        fs::write(&path, b"SQLite format 3\0").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
        let ran = quorlite_alone(home.path(), &to).input(format!("{command} file\n")).run();
        ran.fails(8, "cannot read file, nothing was changed: it has become shorter");
    }
}

#[test]
fn a_text_for_restore_needs_no_last_semicolon() {
    let server = Server::fresh();
    for (name, end) in [("a", ""), ("b", " -- done"), ("c", ";\n")] {
        let text = format!("CREATE TABLE {name}(x); INSERT INTO {name} VALUES(1){end}");
        fs::write(server.scratch().join(name), text).unwrap();
        let ran = quorlite(&server, &["--batch"]).input(format!(".restore {name}\n")).run();
        assert!(ran.expect().ends_with("Database restored successfully.\n"));
        assert_eq!(server.value(&format!("SELECT count(*) FROM {name}")), 1);
    }
}

#[test]
fn nodes_that_cannot_be_reached_or_say_no_have_their_statuses() {
    let home = tempfile::tempdir().unwrap();
    let run = |port: u16, input: &str| {
        quorlite_alone(home.path(), &["--batch", "-p", &port.to_string()]).input(input).run()
    };
    run(free_port(), "SELECT 1;").fails(3, "cannot reach");
    let text = b"leader not found\n";
    let leaderless =
        Fake::start(|_| reply("503 Service Unavailable", &[("Content-Length", "17")], text));
    run(leaderless.address.port(), "SELECT 1;").fails(4, "leader not found");
    // It takes the request, and is gone.
    let silent = Fake::start(|_| Vec::new());
    run(silent.address.port(), "INSERT INTO t VALUES(1);").fails(6, "nobody knows");
    assert_eq!(silent.heads().len(), 1, "it is never sent again");
    run(silent.address.port(), "SELECT 1;").fails(3, "cannot reach");

    let strict = Fake::start(|_| reply("401 Unauthorized", &[("Content-Length", "0")], b""));
    run(strict.address.port(), "SELECT 1;").fails(5, "401 Unauthorized");
    run(strict.address.port(), ".status").fails(5, "unauthorized");
}
