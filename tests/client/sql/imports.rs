//! Imports that are larger than one request, and those who may not send them.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fake::{Fake, reply};
use crate::program::{quorlite, quorlite_alone};
use crate::support::server::Server;

/// More rows than fit one request: 5 MB of CSV.
const ROWS: usize = 50_000;

/// Rows of two lines each.
fn large() -> String {
    let mut csv = "n,text\n".to_owned();
    for row in 0..ROWS {
        writeln!(csv, "{row},\"{}\nand row {row}\"", "x".repeat(80)).expect("a String takes all");
    }
    csv
}

fn count(server: &Server, table: &str) -> String {
    let sql = format!("SELECT count(*), count(DISTINCT n) FROM {table}");
    quorlite(server, &["query", "-f", "list", &sql]).run().expect()
}

#[test]
fn a_large_file_goes_in_whole_or_not_at_all() {
    let server = Server::fresh();
    let csv = large();
    fs::write(server.scratch().join("l.csv"), &csv).expect("it can be written");
    let ran = quorlite(&server, &["import", "--create", "l.csv", "l"]).run();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), "50000 rows imported into l\n"));
    assert_eq!(count(&server, "l"), "50000|50000\n");

    // A bad row at the very end, from a file and from standard input.
    for bad in ["50000,\"no end", "50000", "50000,\u{fffd}"] {
        let bytes = format!("{csv}{bad}\n").replace('\u{fffd}', "?").into_bytes();
        let bytes: Vec<u8> =
            bytes.iter().map(|byte| if *byte == b'?' { 0xff } else { *byte }).collect();
        fs::write(server.scratch().join("bad.csv"), &bytes).expect("it can be written");
        let place = format!("{}: ", 2 * ROWS + 2);
        let ran = quorlite(&server, &["import", "bad.csv", "l"]).run();
        ran.fails(7, &format!("bad.csv:{place}"));
        ran.fails(7, "nothing was imported");
        quorlite(&server, &["import", "-", "l"])
            .input(&bytes)
            .run()
            .fails(7, &format!("stdin:{place}"));
    }
    assert_eq!(count(&server, "l"), "50000|50000\n");

    // A row that the table refuses.
    let prepare = "DELETE FROM l WHERE n <> 49990; CREATE UNIQUE INDEX i ON l(n)";
    quorlite(&server, &["execute", prepare]).run().expect();
    let ran = quorlite(&server, &["import", "l.csv", "l"]).run();
    ran.fails(1, "quorlite: l.csv:99982: UNIQUE constraint failed: l.n (nothing was imported)\n");
    let ran = quorlite(&server, &["import", "-", "l"]).input(&csv).run();
    ran.fails(1, "quorlite: stdin: row 49991: UNIQUE constraint failed: l.n");
    assert_eq!(count(&server, "l"), "1|1\n");
    let ran = quorlite(&server, &["import", "--batch", "30000", "l.csv", "l"]).run();
    ran.fails(1, "l.csv:99982: UNIQUE constraint failed: l.n (rows that are in: 30000)");
    assert_eq!(count(&server, "l"), "30001|30001\n");
}

#[test]
fn a_batch_with_an_unknown_outcome_says_how_many_rows_are_in() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => reply("200 OK", &[], br#"{"results":[{"rows_affected":1},{"rows_affected":1}]}"#),
        _ => Vec::new(),
    });
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let port = fake.address.port().to_string();
    let arguments = ["-p", &port, "import", "--batch", "2", "-", "t"];
    let ran = quorlite_alone(home.path(), &arguments).input("n\n1\n2\n3\n4\n5\n").run();
    ran.fails(6, "(rows that are in: 2 or 4)\n");
    assert_eq!(fake.heads().len(), 2, "nothing follows what may be in");
}

#[test]
fn who_may_not_load_is_told_while_it_is_sent() {
    let fake = Fake::start(|_| reply("401 Unauthorized", &[], b""));
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(home.path().join("l.csv"), large()).expect("it can be written");
    let port = fake.address.port().to_string();
    let arguments = ["-H", "127.0.0.1", "-p", &port, "import", "--create", "l.csv", "l"];
    let ran = quorlite_alone(home.path(), &arguments).run();
    ran.fails(5, "quorlite: ");
    assert!(fake.heads()[0].starts_with("POST /db/load"), "{:?}", fake.heads());
}
