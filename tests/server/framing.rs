//! Framing that is wrong or ambiguous: one refusal, then the end of the connection, and what
//! follows is never taken for another request (RFC 9112, sections 2.2, 3.2, 5.1, 6.1 and 6.3).

use std::time::Duration;

use serde_json::json;

use crate::support::client::exchange;
use crate::support::eventually;
use crate::support::server::Server;

/// A request that must not be executed when it stands behind a bad one.
const SMUGGLED: &str = "POST /db/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 32\r\nConnection: close\r\n\r\n[\"INSERT INTO t VALUES('evil')\"]";

fn heads() -> Vec<String> {
    let post = |rest: &str| format!("POST /db/execute HTTP/1.1\r\nHost: x\r\n{rest}\r\n");
    let mut heads: Vec<String> = [
        "Content-Length: abc\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "X: a\r\n Content-Length: 5\r\n",
        "X: a\r\n\tb\r\n",
        ": nameless\r\n",
        "no colon\r\n",
        "X: a\0b\r\n",
        "Host: y\r\n",
        "X (y): z\r\n",
    ]
    .map(post)
    .into();
    heads.extend([
        "POST /db/execute HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "POST /db/execute HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "POST /db/execute HTTP/1.1 extra\r\nHost: x\r\n\r\n".to_owned(),
        "POST  /db/execute HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /db/execute\r\nHost: x\r\n\r\n".to_owned(),
        "POST /db/\nexecute HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /db/execute?a\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /db/execute HTTP/1.1\nHost: x\n\n".to_owned(),
        "POST db/execute HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned(),
    ]);
    heads
}

#[test]
fn what_is_ambiguous_is_refused_once_and_closed() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    for head in heads() {
        let answer = exchange(server.http(), format!("{head}{SMUGGLED}").as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let answers = answer.matches("\r\nServer: ").count();
        assert!(answers <= 1, "{head:?} was answered {answers} times: {answer}");
        let is_refused = answer.is_empty()
            || ["HTTP/1.1 4", "HTTP/1.1 5"].iter().any(|begin| answer.starts_with(begin));
        assert!(is_refused, "{head:?}: {answer}");
    }
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(0), "a hidden request was executed");
    server.assert_well("bad framing");
}

#[test]
fn chunks_are_read_strictly() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    let statement = "[\"INSERT INTO t VALUES(1)\"]";
    let size = statement.len();
    let good = format!("{size:x}\r\n{statement}\r\n0\r\n\r\n");
    let bad = [
        format!("{size:x}\r\n{statement}0\r\n\r\n"),
        format!("{size:x}\n{statement}\n0\n\n"),
        format!("+{size:x}\r\n{statement}\r\n0\r\n\r\n"),
        format!("0x{size:x}\r\n{statement}\r\n0\r\n\r\n"),
        format!("-1\r\n{statement}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff\r\n{statement}\r\n0\r\n\r\n"),
        format!("{}\r\n{statement}\r\n0\r\n\r\n", "0".repeat(10_000)),
        format!("\r\n{statement}\r\n0\r\n\r\n"),
        format!("{size:x}\r\n{statement}\r\n{size:x}\r\n"),
    ];
    let head = "POST /db/execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    for body in bad {
        let mut stream = std::net::TcpStream::connect(server.http()).unwrap();
        std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{body:?}: {answer}");
    }
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(0), "a broken body was executed");
    let answer = exchange(server.http(), format!("{head}{good}").as_bytes()).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(1));
}

#[test]
fn heads_have_limits() {
    let server = Server::fresh();
    let before = server.resident();
    let cases = [
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)), [414, 431, 400]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1_000_000)), [431; 3]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(1_000)), [431; 3]),
    ];
    for (head, allowed) in cases {
        // It may stop reading, and reset, before all is sent.
        let Ok(answer) = exchange(server.http(), head.as_bytes()) else { continue };
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        assert!(status.is_none_or(|status| allowed.contains(&status)), "{answer}");
    }
    server.assert_well("long heads");
    assert!(server.resident() < before + (64 << 20), "long heads were kept in memory");
}

#[test]
fn preface_of_http2_leaves_nothing_behind() {
    let server = Server::fresh();
    let (threads, files) = (server.count("task"), server.count("fd"));
    for _ in 0..50 {
        exchange(server.http(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").ok();
    }
    eventually("threads and files are as before", Duration::from_secs(10), || {
        let is_back = server.count("task") <= threads + 2 && server.count("fd") <= files + 2;
        is_back.then_some(())
    });
    server.assert_well("prefaces of HTTP/2");
}

#[test]
fn kept_alive_pipelined_and_closed() {
    let server = Server::fresh();
    let one = "GET /readyz?noleader HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /readyz?noleader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.http(), format!("{}{last}", one.repeat(20)).as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 21, "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    // HTTP/1.0 closes by itself.
    let answer = exchange(server.http(), b"GET /readyz?noleader HTTP/1.0\r\n\r\n").unwrap();
    assert!(String::from_utf8_lossy(&answer).contains(" 200 "), "an HTTP/1.0 client");
}

#[test]
fn continue_is_said_only_when_the_body_is_wanted() {
    let server = Server::fresh();
    let head = |target: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n{body}"
        )
    };
    let text = |head: String| {
        String::from_utf8_lossy(&exchange(server.http(), head.as_bytes()).unwrap()).into_owned()
    };
    let answer = text(head("/db/execute", "[\"CREATE TABLE t (a)\"]"));
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    let answer = text(head("/no/such/path", "x"));
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[test]
fn answers_carry_no_library_name_and_no_client_text_in_headers() {
    let server = Server::fresh();
    let reply = server.get("/readyz");
    assert!(!reply.header("Server").to_lowercase().contains("tiny"), "{:?}", reply.head);
    let answer = exchange(
        server.http(),
        b"GET /db/query?q=1%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let answer = String::from_utf8_lossy(&answer.unwrap()).into_owned();
    let head = answer.split("\r\n\r\n").next().unwrap();
    assert!(!head.contains("X-Evil"), "{head}");
}
