//! Statements that would harm the node, its files or its other clients.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::server::Server;

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

fn server() -> Server {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('kept')"]);
    server
}

fn assert_untouched(server: &mut Server) {
    server.assert_well("bad statements");
    assert_eq!(server.query("SELECT a FROM t"), json!([["kept"]]), "before a restart");
    assert_eq!(server.value("PRAGMA journal_mode"), json!("wal"), "the journal mode");
    server.restart();
    assert_eq!(server.query("SELECT a FROM t"), json!([["kept"]]), "after a restart");
}

#[test]
fn statements_that_reach_for_files_or_the_files_form() {
    let mut server = server();
    let victim = server.scratch().join("victim");
    let path = victim.display();
    let statements = [
        format!("ATTACH '{path}' AS x"),
        format!("ATTACH DATABASE 'file:{path}?mode=rwc' AS x"),
        format!("/* harmless */ attach '{path}' as x"),
        format!("SELECT 1; ATTACH '{path}' AS x"),
        format!("VACUUM INTO '{path}'"),
        format!("VACUUM main INTO '{path}'"),
        "SELECT load_extension('nothing.so')".into(),
        format!("SELECT writefile('{path}', 'x')"),
        "SELECT fts3_tokenizer('simple', x'0000000000000000')".into(),
        "PRAGMA writable_schema=ON".into(),
        "PRAGMA temp_store_directory='/'".into(),
        "UPDATE sqlite_schema SET sql = 'x'".into(),
        "DELETE FROM sqlite_dbpage".into(),
        "UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1".into(),
        "PRAGMA journal_mode=DELETE".into(),
        "/* a comment */ PRAGMA journal_mode=DELETE".into(),
        "-- a comment\nPRAGMA journal_mode = OFF".into(),
        "SELECT 1; PRAGMA journal_mode=DELETE".into(),
        "INSERT INTO t VALUES('x'); PRAGMA journal_mode=DELETE".into(),
        "pragma \"main\".\"journal_mode\"(DELETE)".into(),
        ";;PRAGMA/**/journal_mode/**/=/**/MEMORY".into(),
        "PRAGMA locking_mode=EXCLUSIVE".into(),
        "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        "/**/PRAGMA wal_autocheckpoint=1".into(),
        "PRAGMA page_size=512; VACUUM".into(),
    ];
    for sql in &statements {
        for endpoint in ["/db/execute", "/db/request", "/db/query", "/db/query?level=strong"] {
            let reply = server.post(endpoint, &json!([sql]));
            // `PRAGMA page_size` answers nothing and changes nothing: SQLite ignores it here.
            let is_ignored = reply.is_success() && sql.contains("page_size");
            assert!(reply.is_refusal() || is_ignored, "{endpoint} {sql}: {}", reply.text());
            server.post("/db/execute", &json!(["DELETE FROM t WHERE a = 'x'"]));
        }
        let queued = server.post("/db/execute?queue&wait", &json!([sql]));
        assert!(queued.status() < 500, "{sql}: {}", queued.text());
        server.execute(&["DELETE FROM t WHERE a = 'x'"]);
        let loaded = server.post_bytes("/db/load", sql.as_bytes());
        assert!(loaded.status() < 500, "{sql}: {}", loaded.text());
        server.execute(&["DELETE FROM t WHERE a = 'x'"]);
        assert!(!victim.exists(), "{sql} made a file");
        server.assert_well(sql);
    }
    assert_eq!(server.value("PRAGMA page_size"), json!(4096));
    assert_untouched(&mut server);
}

#[test]
fn a_refused_request_does_nothing_at_all() {
    let mut server = server();
    for bad in ["PRAGMA journal_mode=DELETE", "-- x\nPRAGMA synchronous=2"] {
        for endpoint in ["/db/execute", "/db/request", "/db/execute?transaction"] {
            let reply = server.post(endpoint, &json!(["INSERT INTO t VALUES('x')", bad]));
            assert!(reply.is_refusal(), "{endpoint} {bad}: {}", reply.text());
        }
    }
    let reply =
        server.post("/db/execute", &json!(["INSERT INTO t VALUES('x')", "PRAGMA synchronous=2"]));
    assert_eq!(reply.text(), "{\"results\":[],\"error\":\"disallowed pragma\"}");
    server.execute(&["DELETE FROM t WHERE a = 'x' AND 0"]);
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(1));
    assert_untouched(&mut server);
}

#[test]
fn an_open_transaction_ends_with_its_request() {
    let mut server = server();
    for open in ["BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT s", "BEGIN; SAVEPOINT s"] {
        let reply = server.post("/db/execute", &json!([open, "INSERT INTO t VALUES('open')"]));
        assert!(reply.is_refusal(), "an open transaction is reported: {open}: {}", reply.text());
        assert_eq!(server.value("SELECT count(*) FROM t"), json!(1), "{open} was not rolled back");
        server.execute(&["CREATE TABLE after (a)", "DROP TABLE after"]);
    }
    for stray in ["COMMIT", "ROLLBACK", "RELEASE s", "END"] {
        let reply = server.post("/db/execute", &json!([stray]));
        assert!(reply.is_refusal(), "{stray}: {}", reply.text());
    }
    // One that is closed in its own request works.
    let reply =
        server.post("/db/execute", &json!(["BEGIN", "INSERT INTO t VALUES('x')", "ROLLBACK"]));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let whole =
        server.post("/db/execute", &json!(["BEGIN", "INSERT INTO t VALUES('x')", "COMMIT"]));
    assert!(whole.is_success(), "{}", whole.text());
    server.execute(&["DELETE FROM t WHERE a = 'x'"]);
    assert_untouched(&mut server);
}

#[test]
fn rollbacks_inside_a_statement_touch_nobody_else() {
    let server = server();
    server.execute(&["CREATE TABLE u (id INTEGER PRIMARY KEY)", "INSERT INTO u VALUES(1)"]);
    let reply = server.post(
        "/db/execute?transaction",
        &json!([
            "INSERT INTO u VALUES(2)",
            "INSERT OR ROLLBACK INTO u VALUES(1)",
            "INSERT INTO u VALUES(3)"
        ]),
    );
    assert!(reply.is_refusal(), "{}", reply.text());
    assert_eq!(server.query("SELECT id FROM u"), json!([[1]]));
    // Many at once: whatever one is batched with, the others are done.
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for turn in 0..20 {
                    let id = 10 + worker * 100 + turn;
                    server.execute(&[&format!("INSERT INTO u VALUES({id})")]);
                    let bad = json!(["INSERT OR ROLLBACK INTO u VALUES(1)"]);
                    assert!(
                        server.post("/db/execute", &bad).is_refusal(),
                        "a conflict is reported"
                    );
                }
            });
        }
    });
    assert_eq!(server.value("SELECT count(*) FROM u"), json!(161));
}

#[test]
fn temporary_tables_and_connection_state_do_not_leak() {
    let server = server();
    server.post(
        "/db/execute",
        &json!(["CREATE TEMP TABLE secret (a)", "INSERT INTO secret VALUES(1)"]),
    );
    let reply = server.post("/db/execute", &json!(["INSERT INTO secret VALUES(2)"]));
    assert!(reply.is_refusal(), "a temporary table outlived its request: {}", reply.text());
    server.execute(&["INSERT INTO t VALUES('x')"]);
    let reply =
        server.post("/db/request?level=strong", &json!(["SELECT last_insert_rowid(), changes()"]));
    assert_eq!(reply.json()["results"][0]["values"], json!([[0, 0]]), "{}", reply.text());
}

#[test]
fn endless_queries_end_by_their_timeout() {
    let server = server();
    let begin = Instant::now();
    for level in ["none", "weak", "strong"] {
        let target = format!("/db/query?db_timeout=200ms&level={level}");
        let reply = server.post(&target, &json!([ENDLESS, "SELECT 1"]));
        let error = reply.json()["results"][0]["error"].to_string();
        let whole = reply.text();
        assert!(error.contains("timeout") || reply.json()["error"].is_string(), "{level}: {whole}");
    }
    assert_eq!(
        server.post("/db/query?db_timeout=200ms", &json!([ENDLESS])).text(),
        "{\"results\":[{\"error\":\"query timeout\"}]}"
    );
    assert!(begin.elapsed() < Duration::from_secs(30), "took {:?}", begin.elapsed());
    server.assert_well("endless queries");
}

#[test]
fn endless_writes_end_by_their_timeout() {
    let server = server();
    let write = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT -1";
    let count = "UPDATE t SET a = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)";
    for sql in [write, count] {
        let reply = server
            .post("/db/execute?db_timeout=200ms", &json!([sql, "INSERT INTO t VALUES('next')"]));
        assert_eq!(
            reply.json()["results"][0]["error"],
            json!("execute timeout"),
            "{}",
            reply.text()
        );
        assert_eq!(reply.json()["results"][1]["rows_affected"], json!(1), "{}", reply.text());
        assert_eq!(server.query("SELECT a FROM t"), json!([["kept"], ["next"]]));
        server.execute(&["DELETE FROM t WHERE a = 'next'"]);
    }
    server.assert_well("endless writes");
}

#[test]
fn a_query_ends_when_its_client_leaves() {
    let server = server();
    let busy = || server.get("/status?key=store.raft.applied_index").status() == 200;
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        client
            .send("POST", "/db/query", &[], Some(json!([ENDLESS]).to_string().as_bytes()))
            .unwrap();
    }
    let begin = cpu();
    eventually("the queries run", Duration::from_secs(10), || (cpu() > begin + 10).then_some(()));
    server.assert_well("eight endless queries");
    assert!(busy(), "other clients are served");
    drop(clients);
    // Half a second of processor time after which less than a tenth was used.
    eventually("the queries have ended", Duration::from_secs(10), || {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(300));
        (cpu() - before < 5).then_some(())
    });
}

/// The entry of a write that ended the process would end it again at every start.
#[test]
fn no_text_uses_up_the_stack() {
    let mut server = server();
    let chain = 990;
    let tables = (0..=chain).map(|n| format!("CREATE TABLE c{n} (a)"));
    let triggers = (0..chain).map(|n| {
        let next = n + 1;
        format!("CREATE TRIGGER r{n} INSERT ON c{n} BEGIN INSERT INTO c{next} VALUES(1); END")
    });
    let schema: Vec<String> = tables.chain(triggers).collect();
    assert!(!server.post("/db/execute?transaction", &json!(schema)).is_refusal());
    let statements = [
        json!("SELECT 1;".repeat(50_000)),
        json!(format!("SELECT $x(');{}", "SELECT 1;".repeat(50_000))),
        json!(["SELECT ? LIKE ?", "a".repeat(10_000), "%a".repeat(4_990) + "%b"]),
        json!(["SELECT ? GLOB ?", "a".repeat(49_000), "*a".repeat(24_000) + "*b"]),
        json!("INSERT INTO c0 VALUES(1)"),
        json!("EXPLAIN INSERT INTO c0 VALUES(1)"),
    ];
    for statement in &statements {
        for endpoint in ["/db/query", "/db/execute", "/db/request", "/db/sql"] {
            let reply = server.post(endpoint, &json!([statement]));
            let start: String = statement.to_string().chars().take(40).collect();
            assert_eq!(reply.status(), 200, "{endpoint} {start}: {}", reply.text());
            server.assert_well(&start);
        }
    }
    assert_eq!(server.value(&format!("SELECT count(*) FROM c{chain}")), json!(2));
    assert_untouched(&mut server);
}

#[test]
fn long_statements_are_not_kept_in_memory() {
    let server = server();
    let before = server.resident();
    for letter in ["x", "y", "z"] {
        let sql = format!("SELECT length('{}')", letter.repeat(30_000_000));
        for endpoint in ["/db/query", "/db/execute"] {
            let reply = server.post(endpoint, &json!([sql]));
            assert!(!reply.is_refusal(), "{}", reply.status());
        }
    }
    // Kept, the six would cost 90 MB each; the allocator may keep the room of two for the next.
    eventually("memory is given back", Duration::from_secs(30), || {
        (server.resident() < before + (200 << 20)).then_some(())
    });
}

#[test]
fn greedy_expressions_are_answered() {
    let mut server = server();
    let before = server.resident();
    let statements = [
        "SELECT length(randomblob(1000000000))".to_owned(),
        "SELECT length(printf('%2000000000s', 'x'))".to_owned(),
        "SELECT length(zeroblob(2000000000))".to_owned(),
        "SELECT length(replace(hex(zeroblob(30000000)), '0', 'xxxxxxxxxx'))".to_owned(),
        format!("SELECT 1 {}", "+ 1 ".repeat(20_000)),
        format!("SELECT 1 IN ({}0)", "1,".repeat(100_000)),
        format!("SELECT '{}' LIKE '{}'", "a".repeat(40_000), "%a".repeat(40_000)),
        "SELECT 9e999, -9e999".to_owned(),
    ];
    for sql in statements {
        let reply = server.post("/db/query?db_timeout=2s", &json!([sql, "SELECT 1"]));
        let start: String = sql.chars().take(60).collect();
        assert_eq!(reply.status(), 200, "{start}: {}", reply.text());
        assert_eq!(reply.json()["results"][1]["values"], json!([[1]]), "{start}");
    }
    server.assert_well("greedy expressions");
    eventually("memory is given back", Duration::from_secs(10), || {
        (server.resident() < before + (300 << 20)).then_some(())
    });
    assert_untouched(&mut server);
}
