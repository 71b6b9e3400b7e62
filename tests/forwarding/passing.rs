//! What passes in each direction when all is well.

use std::time::Duration;

use quorlite::api::forward::{Forwarder, Lookup, Outgoing, SecretHeader, Upload};
use quorlite::http::Method;

use crate::support::{Fake, answered, execute, header, terms};

#[test]
fn the_request_arrives_as_it_was_with_the_clients_credentials() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        let headers = "Content-Type: application/json; charset=utf-8\r\n\
            X-RQLITE-SERVED-BY: leader.example:4001\r\nDate: never\r\nServer: other\r\n\
            X-QUORLITE-RAFT-INDEX: 7\r\n";
        talk.answer("200 OK", headers, "{\"results\":[{}]}");
    });
    let secret = SecretHeader { name: "x-quorlite-secret", value: "s3".to_owned() };
    let forwarder = Forwarder::new(Some(secret));
    let passed = execute(&forwarder, "[\"INSERT\"]", &|| Lookup::There(fake.leader()));
    let (status, headers, body) = answered(passed);
    assert_eq!((status, body.as_str()), (200, "{\"results\":[{}]}"));
    let raft_address = fake.address.to_string();
    let wanted = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("X-QUORLITE-RAFT-INDEX", "7"),
        ("X-RQLITE-SERVED-BY", raft_address.as_str()),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(headers, wanted);

    let seen = fake.seen();
    let head = &seen[0].head;
    assert!(head.starts_with("POST /forward/db/execute?timings HTTP/1.1\r\n"), "{head}");
    assert_eq!(seen[0].body, b"[\"INSERT\"]");
    assert_eq!(header(head, "authorization"), Some("Basic Ym9iOnNlY3JldA=="));
    assert_eq!(header(head, "content-type"), Some("application/json; charset=UTF-8"));
    assert_eq!(header(head, "host"), Some(raft_address.as_str()));
    assert_eq!(header(head, "content-length"), Some("10"));
    assert_eq!(header(head, "x-quorlite-secret"), Some("s3"));
    for absent in ["accept-encoding", "user-agent", "expect", "transfer-encoding"] {
        assert_eq!(header(head, absent), None, "{head}");
    }
}

#[test]
fn every_status_and_method_passes() {
    let fake = Fake::start(|_, talk| {
        while let Some(seen) = talk.request() {
            let is_head = seen.head.starts_with("HEAD");
            let status = match &seen.head {
                head if head.contains("/301") => "301 Moved Permanently",
                head if head.contains("/304") => "304 Not Modified",
                head if head.contains("/401") => "401 Unauthorized",
                head if head.contains("/500") => "500 Internal Server Error",
                _ => "200 OK",
            };
            if is_head || status.starts_with("304") {
                talk.say(&format!(
                    "HTTP/1.1 {status}\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n"
                ));
            } else {
                talk.answer(status, "", &String::from_utf8(seen.body).unwrap());
            }
        }
    });
    let forwarder = Forwarder::default();
    let ask = |method, path, body: &[u8]| {
        let outgoing = Outgoing { method, path, query: "", headers: &[] };
        let upload = Upload::Bytes(body, None);
        let terms = terms(Duration::from_secs(5));
        let find = || Lookup::There(fake.leader());
        answered(forwarder.pass_on(outgoing, upload, &terms, &find))
    };
    assert_eq!(ask(&Method::Delete, "/remove", b"{\"id\":\"2\"}").2, "{\"id\":\"2\"}");
    assert_eq!(ask(&Method::Post, "/leader", b"").0, 200);
    for (path, status) in [("/301", 301), ("/401", 401), ("/500", 500), ("/x", 200)] {
        let (got, _, body) = ask(&Method::Post, path, b"text");
        assert_eq!((got, body.as_str()), (status, "text"));
    }
    let (status, headers, _) = ask(&Method::Get, "/304", b"");
    assert_eq!(status, 304);
    assert!(headers.contains(&("ETag".to_owned(), "\"a\"".to_owned())));
    assert_eq!(ask(&Method::Head, "/db/backup", b"").0, 200);
    assert_eq!(ask(&Method::Get, "/db/query", b"").0, 200);
    // One connection did all of it.
    assert_eq!(ask(&Method::Post, "/x", b"end").2, "end");
}

#[test]
fn odd_queries_arrive_meaning_the_same() {
    let fake = Fake::start(|_, talk| {
        while talk.request().is_some() {
            talk.answer("200 OK", "", "");
        }
    });
    let forwarder = Forwarder::default();
    for (query, wanted) in [
        ("", "GET /forward/db/query HTTP/1.1"),
        ("q=a%20b+c&&pretty=", "GET /forward/db/query?q=a%20b+c&&pretty= HTTP/1.1"),
        ("q=1<2|\"x\"", "GET /forward/db/query?q=1%3C2%7C%22x%22 HTTP/1.1"),
        ("q='?'/:@!$", "GET /forward/db/query?q='?'/:@!$ HTTP/1.1"),
    ] {
        let outgoing = Outgoing { method: &Method::Get, path: "/db/query", query, headers: &[] };
        let terms = terms(Duration::from_secs(5));
        let find = || Lookup::There(fake.leader());
        answered(forwarder.pass_on(outgoing, Upload::Bytes(&[], None), &terms, &find));
        let seen = fake.seen();
        assert_eq!(seen.last().unwrap().head.lines().next(), Some(wanted));
    }
}
