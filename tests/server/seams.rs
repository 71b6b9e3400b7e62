//! What only shows where the parts meet: another start on the same directory, loads and scripts
//! that a kill comes between, and a stop amid a statement that never ends.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{Options, Server};
use crate::support::{Random, database, eventually};

/// No checkpoint but the last one, so that a kill leaves everything to be applied again.
const NO_CHECKPOINT: [&str; 2] = ["-raft-snap-int", "1h"];

/// Checkpoints all the time.
const CHECKPOINTS: [&str; 4] = ["-raft-snap", "1", "-raft-snap-int", "10ms"];

/// A statement that neither ends nor grows anything.
const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
    INSERT INTO t SELECT x FROM c WHERE x < 0";

/// Waits until the log is `count` entries longer than what is applied, while a statement runs.
fn await_waiting_entries(server: &Server, count: u64) {
    eventually("entries wait to be applied", Duration::from_secs(10), || {
        let raft = server.get("/status").json()["store"]["raft"].clone();
        let number = |key: &str| raft[key].as_u64().unwrap_or_default();
        (number("last_log_index") >= number("applied_index") + count).then_some(())
    });
}

fn bodies(server: &Server) -> usize {
    std::fs::read_dir(server.directory().join("bodies")).expect("the folder is there").count()
}

#[test]
fn the_flag_for_foreign_keys_takes_back_nothing_that_was_acknowledged() {
    let mut server = Options::default().flags(&NO_CHECKPOINT).start();
    server.execute(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE c (p REFERENCES p)",
        "INSERT INTO c VALUES(1)",
    ]);
    let violation = json!(["INSERT INTO c VALUES(2)"]);
    server.kill9();
    server.change_flags(&["-fk", "-raft-snap-int", "1h"]);
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM c"), json!(1), "acknowledged without -fk");
    let reply = server.post("/db/execute", &violation);
    assert!(reply.text().contains("FOREIGN KEY constraint failed"), "{}", reply.text());
    server.kill9();
    server.change_flags(&NO_CHECKPOINT);
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM c"), json!(1), "refused with -fk");
    assert!(!server.post("/db/execute", &violation).is_success(), "the setting is kept");
}

#[test]
fn a_first_start_with_foreign_keys_is_replayed_with_them() {
    let mut server = Options::default().flags(&["-fk", "-raft-snap-int", "1h"]).start();
    let tables = ["CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (p REFERENCES p)"];
    server.execute(&tables);
    assert!(!server.post("/db/execute", &json!(["INSERT INTO c VALUES(1)"])).is_success(), "-fk");
    server.kill9();
    server.change_flags(&NO_CHECKPOINT);
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM c"), json!(0), "it was answered as refused");
}

#[test]
fn a_node_that_has_moved_is_found_where_it_is() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (x)"]);
    for kills in [false, true, false] {
        if kills {
            server.kill9();
        } else {
            server.terminate(Signal::TERM);
        }
        server.change_http();
        server.start();
        let nodes = server.get("/nodes").text();
        assert!(nodes.contains(&server.http().to_string()), "{nodes}");
    }
}

fn post(address: SocketAddr, target: &str, body: &[u8]) {
    let mut client = Client::connect(address).expect("it runs");
    let reply = client.request("POST", target, &[], body).expect("it answers");
    assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
}

/// Both uploads are there before the first load is applied, and an insert comes between the two.
#[test]
fn a_load_of_what_is_being_loaded_loads_the_file_too() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (x)"]);
    let file = database::create(&server.scratch().join("file.db"), "CREATE TABLE w (id)");
    let address = server.http();
    std::thread::scope(|scope| {
        let endless = json!([ENDLESS]).to_string();
        scope.spawn(move || post(address, "/db/execute?db_timeout=2s", endless.as_bytes()));
        await_waiting_entries(&server, 1);
        scope.spawn(|| post(address, "/db/load", &file));
        await_waiting_entries(&server, 2);
        let insert = json!(["INSERT INTO w VALUES(1)"]).to_string();
        scope.spawn(move || post(address, "/db/execute", insert.as_bytes()));
        await_waiting_entries(&server, 3);
        scope.spawn(|| post(address, "/db/load", &file));
    });
    assert_eq!(server.value("SELECT count(*) FROM w"), json!(0), "not what the file holds");
}

/// Loads the same file from several clients while another one writes. What is there at the end
/// is what was written after the last load: a load that brings back earlier rows loaded
/// something else than its file.
#[test]
fn identical_loads_at_the_same_time_each_load_the_file() {
    let mut server = Options::default().flags(&CHECKPOINTS).start();
    let file = server.scratch().join("file.db");
    let sql = "CREATE TABLE w (id INTEGER PRIMARY KEY, pad); CREATE TABLE big (b);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
        INSERT INTO big SELECT randomblob(1000) FROM c;";
    let file = database::create(&file, sql);
    let address = server.http();
    let post = |target: &str, body: &[u8]| post(address, target, body);
    post("/db/load", &file);
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        post("/db/load", &file);
                    }
                })
            })
            .collect();
        let is_loading = || loaders.iter().any(|loader| !loader.is_finished());
        let mut id = 0;
        while is_loading() || id < 50 {
            id += 1;
            let body = json!([["INSERT INTO w VALUES(?, hex(randomblob(500)))", id]]);
            post("/db/execute", body.to_string().as_bytes());
        }
    });
    let gaps = "SELECT max(id) - min(id) + 1 - count(*) FROM w";
    assert_eq!(server.value(gaps), json!(0), "rows from before the last load came back");
    server.restart();
    assert_eq!(server.value(gaps), json!(0), "after a restart");
    assert_eq!(server.value("SELECT count(*) FROM big"), json!(20_000), "the rest of the file");
    assert_eq!(server.query("PRAGMA integrity_check"), json!([["ok"]]), "integrity");
    eventually("bodies are gone", Duration::from_secs(5), || (bodies(&server) == 0).then_some(()));
}

#[test]
fn a_script_that_no_checkpoint_covers_is_applied_again() {
    let mut server = Options::default().flags(&NO_CHECKPOINT).start();
    let rows: String = (0..2000).map(|n| format!("INSERT INTO t VALUES({n});\n")).collect();
    let script = format!("CREATE TABLE t (x); {rows}");
    let insert = "INSERT INTO t VALUES(-1);";
    for text in [script.as_str(), insert, insert] {
        let reply = server.post_bytes("/db/load", text.as_bytes());
        assert!(reply.is_success(), "{}", reply.text());
    }
    for _ in 0..2 {
        server.kill9();
        assert_eq!(bodies(&server), 2, "the log names two different texts");
        server.start();
        let counts = server.query("SELECT count(*), sum(x < 0) FROM t");
        assert_eq!(counts, json!([[2002, 2]]), "each is applied once");
    }
    server.terminate(Signal::TERM);
    server.start();
    assert_eq!(bodies(&server), 0, "a checkpoint covers them");
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(2002), "after a proper stop");
}

fn large_file(folder: &Path, epoch: u64) -> Vec<u8> {
    let rows = 100_000;
    let sql = format!(
        "CREATE TABLE epoch (n); INSERT INTO epoch VALUES({epoch});
        CREATE TABLE big (b); WITH RECURSIVE c(x) AS
        (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
        INSERT INTO big SELECT randomblob(1000) FROM c;"
    );
    database::create(&folder.join("large.db"), &sql)
}

/// A load is there whole or not at all, whenever the kill comes, and leaves nothing behind.
#[test]
fn a_large_load_that_is_killed_is_there_whole_or_not_at_all() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE epoch (n)", "INSERT INTO epoch VALUES(0)"]);
    let mut random = Random(7);
    let (mut epoch, mut done, mut torn) = (0, 0, 0);
    let mut span = 1500;
    for round in 1..=8 {
        let file = large_file(server.scratch(), round);
        let address = server.http();
        let wait = Duration::from_millis(random.below(span));
        let is_done = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut client = Client::connect(address).expect("it runs");
                let reply = client.request("POST", "/db/load", &[], &file);
                reply.is_ok_and(|reply| reply.is_success())
            });
            // The moment is the point here: nothing to wait for.
            std::thread::sleep(wait);
            server.kill9();
            load.join().expect("the client lives")
        });
        // So that about half of the kills come before a load is done.
        span = if is_done { span * 2 / 3 } else { span + 300 };
        server.start();
        let found = server.value("SELECT n FROM epoch").as_u64().expect("a number");
        assert!(found == round || (found == epoch && !is_done), "round {round}: found {found}");
        assert_eq!(server.query("PRAGMA quick_check"), json!([["ok"]]), "round {round}");
        assert_eq!(bodies(&server), 0, "round {round}: something was left behind");
        server.execute(&["INSERT INTO epoch VALUES(0)", "DELETE FROM epoch WHERE rowid > 1"]);
        done += u32::from(found == round);
        torn += u32::from(found != round);
        epoch = found;
    }
    assert!(done + torn == 8 && torn > 0, "{done} came through, {torn} did not");
}

fn count_at_none(server: &Server) -> Option<Value> {
    let target = "/db/query?level=none&q=SELECT%20count(*)%20FROM%20t";
    let reply = Client::connect(server.http())
        .and_then(|mut client| client.request("GET", target, &[], b""))
        .ok()?;
    reply.is_success().then(|| reply.json()["results"][0]["values"][0][0].clone())
}

/// Stops the server while `statements` run, starts it again, and again, and lets them end.
fn stop_amid(statements: &Value, rows: u64) {
    let flags = ["-auto-vacuum-int", "200ms", "-raft-snap-int", "50ms", "-raft-snap", "1"];
    let mut server = Options::default().flags(&flags).start();
    server.execute(&["CREATE TABLE t (x)", "INSERT INTO t VALUES(1)"]);
    let mut client = server.client();
    let body = statements.to_string();
    let sent = client.send("POST", "/db/execute?db_timeout=16s", &[], Some(body.as_bytes()));
    sent.expect("it is sent");
    await_waiting_entries(&server, 1);
    for stop in 0..2 {
        if stop == 0 {
            server.kill9();
        } else {
            await_waiting_entries(&server, 1);
            let begin = Instant::now();
            let status = server.terminate(Signal::TERM);
            let took = begin.elapsed();
            assert!(status.success(), "{status}");
            assert!(took < Duration::from_secs(8), "it stopped in {took:?}");
        }
        server.spawn();
        let found = eventually("it reads", Duration::from_secs(20), || count_at_none(&server));
        assert!(found.as_u64().is_some_and(|count| count <= rows), "stop {stop}: {found} rows");
    }
    eventually("it is ready", Duration::from_secs(60), || server.is_ready().then_some(()));
    let reply = server.post("/db/execute", &json!(["INSERT INTO t VALUES(1)"]));
    assert!(reply.is_success(), "{}", reply.text());
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(rows + 1), "each row once");
}

#[test]
fn a_stop_amid_an_endless_statement_is_quick_and_loses_nothing() {
    stop_amid(&json!([ENDLESS]), 1);
}

/// The PRAGMA has the request run by itself, each of its statements committing at once.
#[test]
fn a_stop_amid_a_request_half_of_which_is_committed_does_not_double_it() {
    let insert = "INSERT INTO t VALUES(2)";
    stop_amid(&json!(["PRAGMA user_version=3", insert, ENDLESS, insert]), 3);
}
