//! Request bodies that are wrong, huge or never end: each is answered, and nothing is executed.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::server::Server;

/// Memory that a refused request may have cost by the time it is answered.
const GROWTH_MAX: u64 = 64 << 20;

fn server() -> Server {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('kept')"]);
    server
}

/// Fails unless the node is well and its data is what [`server`] put there, also after a restart.
fn assert_untouched(server: &mut Server) {
    server.assert_well("bad bodies");
    assert_eq!(server.query("SELECT a FROM t"), json!([["kept"]]), "before a restart");
    server.restart();
    assert_eq!(server.query("SELECT a FROM t"), json!([["kept"]]), "after a restart");
}

const ENDPOINTS: [&str; 3] = ["/db/execute", "/db/query", "/db/request"];

#[test]
fn not_json_not_utf8_not_an_array() {
    let mut server = server();
    let bodies: [&[u8]; 12] = [
        b"not json",
        b"[",
        b"[\"INSERT INTO t VALUES(1)\"",
        b"[\"INSERT INTO t VALUES(1)\",",
        b"[\"INSERT INTO t VALUES(1)]",
        b"[\"INSERT INTO t VALUES('\xff\xfe')\"]",
        b"\xff\xfe[\x00\"\x00",
        b"\x00\x00\x00",
        b"{\"statements\":[\"INSERT INTO t VALUES(1)\"]}",
        b"[\"INSERT INTO t VALUES('\x01')\"]",
        b"[[\"INSERT INTO t VALUES(?)\", nan]]",
        b"[\"\\ud800\"",
    ];
    for endpoint in ENDPOINTS {
        for body in bodies {
            let reply = server.post_bytes(endpoint, body);
            assert_eq!(reply.status(), 400, "{endpoint} {body:?}: {}", reply.text());
            assert!(!reply.text().trim().is_empty(), "{endpoint} {body:?}: no reason given");
        }
        let queued = server.post_bytes("/db/execute?queue", bodies[0]);
        assert_eq!(queued.status(), 400, "queued: {}", queued.text());
    }
    assert_untouched(&mut server);
}

#[test]
fn nested_ten_thousand_levels_deep() {
    let mut server = server();
    for (open, close) in [("[", "]"), ("[\"SELECT 1\",", "]"), ("{\"a\":", "}")] {
        let body = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        for endpoint in ENDPOINTS {
            let reply = server.post_bytes(endpoint, body.as_bytes());
            assert_eq!(reply.status(), 400, "{endpoint} {open}: {}", reply.text());
        }
    }
    // Deep SQL is the statement's own error.
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let reply = server.post("/db/query", &json!([deep]));
    assert!(reply.is_refusal(), "{}", reply.text());
    assert_untouched(&mut server);
}

#[test]
fn numbers_beyond_range() {
    let mut server = server();
    for number in ["1e400", "-1e400", "1e99999999999999999999"] {
        let body = format!("[[\"INSERT INTO t VALUES(?)\", {number}]]");
        let reply = server.post_bytes("/db/execute", body.as_bytes());
        assert_eq!((reply.status(), reply.text()), (400, format!("invalid number {number}\n")));
    }
    for number in ["256", "-1", "9223372036854775808", "1.5", "null", "\"x\"", "[]"] {
        let body = format!("[[\"INSERT INTO t VALUES(?)\", [{number}]]]");
        let reply = server.post_bytes("/db/execute", body.as_bytes());
        assert_eq!(reply.status(), 400, "{number}: {}", reply.text());
        assert!(reply.text().starts_with("unsupported type"), "{number}: {}", reply.text());
    }
    let digits = "9".repeat(400);
    let reply = server.post_bytes("/db/query", format!("[[\"SELECT ?\", {digits}]]").as_bytes());
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert_untouched(&mut server);
}

#[test]
fn a_string_of_100_megabytes() {
    let mut server = server();
    let text = "x".repeat(100 << 20);
    let reply = server.post("/db/execute", &json!([["INSERT INTO t VALUES(length(?))", text]]));
    drop(text);
    // Taken or refused, but said plainly.
    if reply.is_success() {
        assert_eq!(server.value("SELECT max(a) FROM t WHERE a <> 'kept'"), json!(100 << 20));
        server.execute(&["DELETE FROM t WHERE a <> 'kept'"]);
    } else {
        assert!(reply.is_refusal(), "{}: {}", reply.status(), reply.text());
    }
    assert_untouched(&mut server);
}

#[test]
fn chunks_without_end() {
    let mut server = server();
    let before = server.resident();
    let mut client = server.client();
    let head = "POST /db/execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.raw().write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
    // It may read on for a moment after its refusal, so that the refusal arrives.
    let (begin, mut sent, mut peak) = (Instant::now(), 0, before);
    while client.raw().write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len();
        if sent % (100 * chunk.len()) == 0 {
            peak = peak.max(server.resident());
            assert!(peak < before + (1 << 30), "{peak} bytes resident after {sent} were sent");
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{sent} bytes were taken, and no end");
    }
    drop(client);
    assert_untouched(&mut server);
}

#[test]
fn clients_that_leave_half_way() {
    let mut server = server();
    let body = b"[\"INSERT INTO t VALUES('never')\"]";
    for cut in 0..body.len() {
        for framing in
            [format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked".into()]
        {
            let mut client = server.client();
            let is_chunked = framing.starts_with('T');
            let head = format!("POST /db/execute HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
            client.raw().write_all(head.as_bytes()).unwrap();
            if is_chunked {
                client.raw().write_all(format!("{:x}\r\n", body.len()).as_bytes()).unwrap();
            }
            client.raw().write_all(&body[..cut]).unwrap();
            client.raw().shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            // A reset is an answer too.
            client.raw().read_to_end(&mut answer).ok();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{cut}: {answer}");
        }
    }
    // Whole, but for the chunk that ends it.
    let mut client = server.client();
    let head = "POST /db/execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let all = format!("{head}{:x}\r\n{}\r\n", body.len(), String::from_utf8_lossy(body));
    client.raw().write_all(all.as_bytes()).unwrap();
    client.raw().shutdown(Shutdown::Write).unwrap();
    client.raw().read_to_end(&mut Vec::new()).ok();
    assert_untouched(&mut server);
}

#[test]
fn declared_lengths_cost_no_memory() {
    let mut server = server();
    let before = server.resident();
    for target in ["/db/execute", "/no/such/path", "/db/load", "/boot", "/db/backup"] {
        for length in ["1000000000", "60000000000", "4611686018427387904", "9223372036854775807"] {
            let mut client = server.client();
            let head =
                format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n[");
            client.raw().write_all(head.as_bytes()).unwrap();
            client.raw().shutdown(Shutdown::Write).unwrap();
            client.raw().read_to_end(&mut Vec::new()).ok();
        }
    }
    let after = server.resident();
    assert!(after < before + GROWTH_MAX, "from {before} to {after} bytes resident");
    assert_untouched(&mut server);
}

#[test]
fn a_million_statements_in_one_request() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    let mut body = String::from("[");
    for number in 0..1_000_000 {
        body.push_str(&format!("\"INSERT INTO t VALUES({number})\","));
    }
    body.pop();
    body.push(']');
    let reply = server.post_bytes("/db/execute?transaction", body.as_bytes());
    let count = server.value("SELECT count(*) FROM t");
    if reply.is_success() {
        assert_eq!(count, json!(1_000_000));
    } else {
        assert!(reply.is_refusal(), "{}: {}", reply.status(), reply.text());
        assert_eq!(count, json!(0), "a refused request did something");
    }
    server.assert_well("a million statements");
}
