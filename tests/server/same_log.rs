//! One node's log, run by another process at another time, in other batches and with restarts in
//! between, gives the same database: row by row, and page by page.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{Options, Server};
use crate::support::{Random, database};

/// Connections that write at once, and requests of each.
const WRITERS: u64 = 8;
const REQUESTS: u64 = 60;

/// Kills while the other node applies the log.
const KILLS: u64 = 6;

const PAGE: usize = 4096;

/// What SQLite counts for itself in the header: file change counter, schema cookie and the
/// counter's value when the version number was written (SQLite: fileformat2.html, section 1.3).
const COUNTERS: [std::ops::Range<usize>; 3] = [24..28, 40..44, 92..96];

fn schema(server: &Server) {
    server.execute(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, r DEFAULT (random()), b DEFAULT (randomblob(9)),
         at DEFAULT CURRENT_TIMESTAMP, j DEFAULT (julianday('now')), g AS (id || at) STORED, v UNIQUE)",
        "CREATE TABLE log (a, b, c)",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN
         INSERT INTO log VALUES(random(), strftime('%f', 'now'), new.v); END",
        "CREATE VIRTUAL TABLE docs USING fts5(body)",
        "CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)",
        "CREATE TABLE other (x, y, PRIMARY KEY (x, y)) WITHOUT ROWID",
        "CREATE INDEX log_a ON log(a)",
    ]);
}

fn requests(writer: u64, random: &mut Random) -> (String, Value) {
    let (one, two) = (random.below(300), random.below(50));
    let statements = json!([
        [format!("INSERT INTO t(v) VALUES('{writer}-{one}') RETURNING *")],
        format!("INSERT INTO docs VALUES('word{two} and word{one}')"),
        format!("INSERT OR REPLACE INTO other VALUES({two}, hex(randomblob({})))", one * 5),
        format!("INSERT OR REPLACE INTO boxes VALUES({one}, {two}, {two} + random() % 5 + 9)"),
        "DELETE FROM log WHERE rowid IN (SELECT rowid FROM log ORDER BY random() LIMIT 1)",
        "UPDATE log SET c = unixepoch('subsec') WHERE a % 7 = 0",
        "INSERT INTO no_such_table VALUES(1)",
        "UPDATE docs SET body = body || ' x' WHERE rowid % 9 = 0",
    ]);
    let all = statements.as_array().expect("an array");
    let first = usize::try_from(random.below(all.len() as u64)).expect("small");
    let count = 1 + usize::try_from(random.below(4)).expect("small");
    let some: Vec<Value> = all.iter().cycle().skip(first).take(count).cloned().collect();
    let target =
        ["/db/execute", "/db/execute?transaction", "/db/request", "/db/execute?queue&wait"];
    let target = target[usize::try_from(random.below(4)).expect("small")];
    (target.to_owned(), Value::Array(some))
}

fn write(server: &Server, seed: u64) {
    let address = server.http();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut random = Random(seed + writer);
                let mut client = Client::connect(address).expect("it takes connections");
                for _ in 0..REQUESTS {
                    let (target, body) = requests(writer, &mut random);
                    let body = body.to_string();
                    let reply = client.request("POST", &target, &[], body.as_bytes());
                    assert_eq!(reply.expect("an answer").status(), 200, "{target} {body}");
                }
            });
        }
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// All rows of all tables, hidden ones too.
fn rows(server: &Server) -> Vec<Value> {
    let tables = "SELECT name FROM sqlite_schema WHERE rootpage > 0 AND type = 'table' ORDER BY 1";
    let mut all = vec![server.query("SELECT * FROM sqlite_schema ORDER BY rootpage, name")];
    for row in server.query(tables).as_array().expect("rows") {
        all.push(server.query(&format!("SELECT * FROM {}", row[0])));
    }
    all
}

/// One page: its number, what it is, and the bytes of it that mean something.
type Page = (u32, String, Vec<u8>);

/// The pages in use after a proper end, without SQLite's own counters. What lies between and
/// behind the cells is what happened to be there: it depends on what was cached when.
fn pages(server: &mut Server) -> Vec<Page> {
    let status = server.terminate(rustix::process::Signal::TERM);
    assert!(status.success(), "{status}");
    let path = server.directory().join("db/database-1.sqlite");
    let mut file = std::fs::read(&path).expect("it is there");
    for range in COUNTERS {
        file[range].fill(0);
    }
    let connection = database::open(&path);
    let mut statement = connection
        .prepare("SELECT pageno, pagetype, payload, pgoffset, path FROM dbstat ORDER BY pageno")
        .expect("SQLite has dbstat");
    let pages = statement.query_map([], |row| {
        let (number, kind): (u32, String) = (row.get(0)?, row.get(1)?);
        let size = |column| row.get(column).map(|size: u32| usize::try_from(size).expect("small"));
        let (payload, offset) = (size(2)?, size(3)?);
        let path: String = row.get(4)?;
        let mut bytes = file[offset..offset + PAGE].to_vec();
        if kind == "overflow" {
            bytes.truncate(4 + payload);
        } else {
            blank(&mut bytes, if number == 1 { 100 } else { 0 });
        }
        Ok((number, format!("{kind} {path}"), bytes))
    });
    pages.expect("it can be read").collect::<Result<_, _>>().expect("it can be read")
}

/// Clears what is not in use on a b-tree page whose header is at `header`: the gap before the
/// cells and the free blocks between them (SQLite: fileformat2.html, section 1.6).
fn blank(page: &mut [u8], header: usize) {
    let number = |page: &[u8], at| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let pointers = header + if matches!(page[header], 2 | 5) { 12 } else { 8 };
    let gap = pointers + 2 * number(page, header + 3)..number(page, header + 5);
    page[gap].fill(0);
    let mut block = number(page, header + 1);
    while block != 0 {
        let end = block + number(page, block + 2);
        page[block + 4..end].fill(0);
        block = number(page, block);
    }
}

#[test]
fn a_log_gives_the_same_database_anywhere() {
    let never = ["-raft-snap", "1000000", "-raft-snap-wal-size", "0", "-auto-optimize-int", "0s"];
    let mut one = Options::default().flags(&never).start();
    schema(&one);
    write(&one, 10);
    let script = "INSERT INTO t(v) VALUES(random()); CREATE TABLE late (a DEFAULT (random()), b);
        INSERT INTO late(b) SELECT v FROM t ORDER BY random(); ANALYZE;";
    assert_eq!(one.request("POST", "/db/load", &[], script.as_bytes()).status(), 200);
    one.execute(&["VACUUM", "PRAGMA user_version = 7", "PRAGMA foreign_keys = ON"]);
    write(&one, 50);
    let last = one.get("/status").json()["store"]["raft"]["applied_index"].clone();
    assert!(last.as_u64() > Some(400), "{last}");

    let often = ["-raft-snap", "40", "-raft-snap-int", "10ms", "-auto-optimize-int", "0s"];
    let mut two = Options::default().flags(&often).start();
    two.kill9();
    std::fs::remove_dir_all(two.directory()).expect("it is there");
    for folder in ["raft", "bodies"] {
        copy(&one.directory().join(folder), &two.directory().join(folder));
    }
    let identity = |server: &Server| server.directory().join("identity");
    std::fs::copy(identity(&one), identity(&two)).expect("it is there");
    let mut random = Random(3);
    for _ in 0..KILLS {
        two.spawn();
        // The moment is the point here: nothing to wait for.
        std::thread::sleep(Duration::from_millis(random.below(80)));
        two.kill9();
    }
    two.start();
    for (left, right) in rows(&one).iter().zip(rows(&two)) {
        assert_eq!(*left, right, "rows differ");
    }
    let (left, right) = (pages(&mut one), pages(&mut two));
    assert!(left.len() > 100, "only {} pages", left.len());
    assert_eq!(left.len(), right.len(), "pages in use");
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left.0, right.0, "pages in use");
        assert!(left == right, "page {} differs: {} and {}", left.0, left.1, right.1);
    }
}
