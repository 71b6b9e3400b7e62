//! Which headers pass from a client to the leader, and from the leader to a client.
//!
//! To the leader everything goes that is not about one connection. Back come the headers that say
//! what the answer is; those that say who this node is are added by itself, as to any answer.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use ureq::http::HeaderMap;

use crate::http::Header;

/// A node that is asked as the leader and does not lead says so by this header.
pub(in crate::api) const NOT_LEADER: &str = "X-QUORLITE-NOT-LEADER";
/// And by this status (RFC 9110, section 15.5.20: misdirected request).
pub(in crate::api) const NOT_LEADER_STATUS: u16 = 421;

/// About one connection, or set by the client that makes the next one.
const STAYS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-quorlite-secret",
];

/// Headers of answers that pass, as this node spells them.
const RETURNS: [&str; 17] = [
    "Accept-Ranges",
    "Allow",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Range",
    "Content-Type",
    "Digest",
    "ETag",
    "Last-Modified",
    "Retry-After",
    "WWW-Authenticate",
    "X-Content-Type-Options",
    "X-QUORLITE-OUTCOME",
    "X-QUORLITE-RAFT-INDEX",
    "X-QUORLITE-RAFT-TERM",
    "X-QUORLITE-SHA256",
];

/// What may stand in a client's query and not in a URI (RFC 3986, section 3.4); our own parser of
/// queries reads both forms alike.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Whether a client's header is passed on.
pub(super) fn goes_on(name: &str) -> bool {
    !STAYS.iter().any(|stays| name.eq_ignore_ascii_case(stays))
}

/// The headers of an answer that are passed on.
pub(super) fn returned(headers: &HeaderMap) -> Vec<Header> {
    let mut found = Vec::with_capacity(12);
    for name in RETURNS {
        for value in headers.get_all(name) {
            if let Ok(value) = value.to_str() {
                found.push((name, value.to_owned().into()));
            }
        }
    }
    found
}

/// Where a request goes on the leader's Raft address.
pub(super) fn uri(raft_address: &str, path: &str, query: &str) -> String {
    let path = utf8_percent_encode(path, NOT_IN_URI);
    let separator = if query.is_empty() { "" } else { "?" };
    let query = utf8_percent_encode(query, NOT_IN_URI);
    let prefix = super::PREFIX;
    format!("http://{raft_address}{prefix}{path}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_no_uri_becomes_one_that_means_the_same() {
        let uri = uri("[::1]:4002", "/db/query", "q=SELECT+'<\"{|}#'%20&pretty");
        let wanted = "http://[::1]:4002/forward/db/query?q=SELECT+'%3C%22%7B%7C%7D%23'%20&pretty";
        assert_eq!(uri, wanted);
        assert!(uri.parse::<ureq::http::Uri>().is_ok(), "{uri}");
    }

    #[test]
    fn credentials_go_on_and_the_connections_own_headers_stay() {
        for name in ["Authorization", "content-type", "If-None-Match", "X-Request-Id"] {
            assert!(goes_on(name), "{name}");
        }
        for name in ["Host", "Content-Length", "EXPECT", "X-Quorlite-Secret", "Connection"] {
            assert!(!goes_on(name), "{name}");
        }
    }
}
