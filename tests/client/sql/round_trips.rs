//! What one command writes another reads back, and so does `sqlite3`.

use std::fs;
use std::process::Command;

use crate::program::quorlite;
use crate::support::server::Server;

/// A table of every kind of value, in columns whose types keep what the API can tell.
const ODD: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, i INTEGER, r REAL, x TEXT, b BLOB); \
    INSERT INTO t VALUES(1, 9223372036854775807, 1, 'it''s \"q\", x|y', x'00ff27'); \
    INSERT INTO t VALUES(2, -9223372036854775808, -0.0, 'two' || char(10) || 'lines' || char(13, 10), x''); \
    INSERT INTO t VALUES(3, NULL, 9e999, 'a' || char(0) || 'b<0>', NULL); \
    INSERT INTO t VALUES(4, 0, -9e999, '', zeroblob(3)); \
    INSERT INTO t VALUES(5, 1, 1e30, NULL, x'c3'); \
    INSERT INTO t VALUES(6, 2, 0.1, char(9) || '\u{4e16}\u{754c}\\', 'text'); \
    INSERT INTO t VALUES(7, 3, 123456789012345678, 'x''00''', x'00'); \
    INSERT INTO t VALUES(8, 4, 5e-324, 'NULL', x'5b315d')";

/// Everything there is to know about the values.
const LOOK: &str =
    "SELECT id, i, quote(r), hex(x), typeof(x), quote(b), typeof(i), typeof(r) FROM ";

fn look(server: &Server, table: &str) -> String {
    quorlite(server, &["query", "-f", "list", &format!("{LOOK}{table} ORDER BY id")]).run().expect()
}

#[test]
fn inserts_run_in_sqlite3_and_in_a_script() {
    let server = Server::fresh();
    quorlite(&server, &["execute", ODD]).run().expect();
    let expected = look(&server, "t");
    let inserts = ["query", "-f", "insert", "--table", "u", "SELECT * FROM t"];
    let text = quorlite(&server, &inserts).run().expect();
    let create = "CREATE TABLE u(id INTEGER PRIMARY KEY, i INTEGER, r REAL, x TEXT, b BLOB);\n";
    let script = format!("{create}{text}");
    quorlite(&server, &["script", "-"]).input(&script).run().expect();
    assert_eq!(look(&server, "u"), expected);

    // Compared there, since two versions of SQLite print a number differently.
    let same = "SELECT count(*) FROM t JOIN u USING(id) WHERE t.i IS u.i AND t.r IS u.r AND t.x IS u.x \
                AND t.b IS u.b AND typeof(t.b) = typeof(u.b) AND typeof(t.r) = typeof(u.r);";
    fs::write(server.scratch().join("u.sql"), format!("{ODD};\n{script}{same}\n"))
        .expect("the script can be written");
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-bail", ":memory:", ".read u.sql"]).current_dir(server.scratch());
    let ran = sqlite.output().expect("sqlite3 starts");
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "8\n");
}

#[test]
fn csv_goes_out_and_in_again() {
    let server = Server::fresh();
    quorlite(&server, &["execute", ODD]).run().expect();
    let select = "SELECT id, i, x FROM t";
    let csv = quorlite(&server, &["query", "-f", "csv", select]).run().expect();
    fs::write(server.scratch().join("t.csv"), &csv).expect("it can be written");
    let create = "CREATE TABLE u(id INTEGER PRIMARY KEY, i INTEGER, x TEXT)";
    quorlite(&server, &["execute", create]).run().expect();
    let ran = quorlite(&server, &["import", "t.csv", "u"]).run();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "8 rows imported into u\n"));
    let same = "SELECT count(*) FROM t JOIN u USING(id) WHERE t.i IS u.i AND t.x IS u.x";
    assert_eq!(quorlite(&server, &["query", "-f", "list", same]).run().expect(), "8\n");
    let again = quorlite(&server, &["query", "-f", "csv", "SELECT * FROM u"]).run().expect();
    assert_eq!(again, csv);

    // With a word for NULL, and in a table of one column.
    let select = ["query", "-f", "csv", "--null", "NULL", "SELECT x FROM t"];
    let csv = quorlite(&server, &select).run().expect();
    let import = ["import", "--null", "NULL", "--create", "-", "v"];
    quorlite(&server, &import).input(&csv).run().expect();
    let same =
        "SELECT (SELECT group_concat(quote(x)) FROM t) = (SELECT group_concat(quote(x)) FROM v)";
    assert_eq!(quorlite(&server, &["query", "-f", "list", same]).run().expect(), "1\n");
}
