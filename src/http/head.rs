//! Heads of requests: found, parsed by httparse, and checked for everything it lets pass.
//!
//! Two parsers that disagree about where a request ends let one smuggle a request past the other, so
//! whatever RFC 9112 lets a server refuse is refused here. Pure: bytes in, a head or a refusal out.

use std::mem::MaybeUninit;

use super::body::Framing;
use super::limits::{HEADERS_MAX, Limits};
use super::types::Method;

/// What a head says beside its fields.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) is_http_1_0: bool,
    /// Whether the client would go on with this connection.
    pub(super) keeps_alive: bool,
    pub(super) framing: Framing,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// The strings of a head, kept by the connection so that their memory is used again.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
}

/// Why a request is not taken up: the status and the sentence it is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

const fn refusal(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

const fn bad(reason: &'static str) -> Refusal {
    refusal(400, reason)
}

/// A search for the end of a head that goes on where it stopped when more bytes have come, so that
/// a head in a thousand pieces costs no more than one.
#[derive(Default)]
pub(super) struct Scan {
    at: usize,
    line_start: usize,
    /// Length of the request line with its line end, once it is there.
    request_line: Option<usize>,
}

impl Scan {
    /// The length of the head at the beginning of `bytes`, once it is complete.
    pub(super) fn find_end(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Refusal> {
        if bytes.first().is_some_and(|byte| !byte.is_ascii_graphic() && *byte != b'\r') {
            return Err(bad("this is not HTTP (a TLS handshake on a plain port looks like this)"));
        }
        let mut end = None;
        while let Some(offset) = bytes[self.at..].iter().position(|byte| *byte == b'\n') {
            let line_end = self.at + offset;
            if line_end == self.line_start || bytes[line_end - 1] != b'\r' {
                return Err(bad("a line of the head ends without a carriage return"));
            }
            let is_blank = line_end - 1 == self.line_start;
            self.at = line_end + 1;
            self.line_start = self.at;
            if is_blank {
                end = Some(self.at);
                break;
            }
            self.request_line.get_or_insert(self.at);
        }
        let seen = end.unwrap_or(bytes.len());
        self.at = seen;
        match self.request_line {
            None if end.is_some() => Err(bad("the request line is empty")),
            None if seen > limits.request_line_bytes_max => Err(LINE_TOO_LONG),
            Some(line) if line > limits.request_line_bytes_max => Err(LINE_TOO_LONG),
            Some(line) if seen - line > limits.headers_bytes_max => Err(HEADERS_TOO_LONG),
            None | Some(_) => Ok(end),
        }
    }
}

const LINE_TOO_LONG: Refusal = refusal(414, "the request line is too long");
const HEADERS_TOO_LONG: Refusal = refusal(431, "the headers are too long");

/// Parses a complete head, its strings into `fields`.
pub(super) fn parse(head: &[u8], fields: &mut Fields) -> Result<Head, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(bad("the head does not end where its blank line is")),
        Err(error) => return Err(explain(error, head)),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(bad("the request line is not complete"));
    };
    let method: Method = method.parse().map_err(|()| bad("the method is not ASCII"))?;
    let (path, query) = split_target(&method, target)?;
    refill(&mut fields.path, path);
    refill(&mut fields.query, query);

    let is_http_1_0 = parsed.version == Some(0);
    let mut special = Special::default();
    fields.headers.truncate(parsed.headers.len());
    for (at, header) in parsed.headers.iter().enumerate() {
        let value = text(header.value)?;
        special.note(header.name, value)?;
        match fields.headers.get_mut(at) {
            Some((old_name, old_value)) => {
                refill(old_name, header.name);
                refill(old_value, value);
            }
            None => fields.headers.push((header.name.to_owned(), value.to_owned())),
        }
    }
    if special.hosts == 0 && !is_http_1_0 {
        return Err(bad("the request needs a Host header"));
    }
    Ok(Head {
        method,
        is_http_1_0,
        keeps_alive: !special.closes && (!is_http_1_0 || special.keeps_alive),
        framing: special.framing(is_http_1_0)?,
        expects_continue: special.expects_continue && !is_http_1_0,
    })
}

/// What the headers that concern the connection say.
#[derive(Default)]
struct Special {
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

impl Special {
    fn note(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
            if self.hosts > 1 || !is_host(value) {
                return Err(bad("there must be one Host header, with a host"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            if self.length.is_some() {
                return Err(bad("there is more than one Content-Length"));
            }
            self.length = Some(parse_length(value)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.is_chunked {
                return Err(bad("there is more than one Transfer-Encoding"));
            }
            check_coding(value)?;
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                self.closes |= option.eq_ignore_ascii_case("close");
                self.keeps_alive |= option.eq_ignore_ascii_case("keep-alive");
            }
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(refusal(417, "only 100-continue can be expected here"));
            }
            self.expects_continue = true;
        }
        Ok(())
    }

    fn framing(&self, is_http_1_0: bool) -> Result<Framing, Refusal> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(bad("there are both Content-Length and Transfer-Encoding")),
            (true, None) if is_http_1_0 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (true, None) => Ok(Framing::ChunkSize),
            (false, length) => Ok(Framing::Sized { left: length.unwrap_or(0) }),
        }
    }
}

/// What httparse did not like, as a status.
fn explain(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => refusal(431, "there are too many headers"),
        httparse::Error::Version if names_other_version(head) => {
            refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        }
        httparse::Error::Version => bad("the request line does not end with HTTP/1.1"),
        httparse::Error::HeaderName => bad("a header has no valid name"),
        httparse::Error::HeaderValue => bad("a header holds a control character"),
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            bad("the request line is not valid")
        }
    }
}

/// Whether the request line is well formed but for the number of its version.
fn names_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (version, more) = (words.next().unwrap_or_default(), words.next());
    more.is_none()
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Path and query of a request target (RFC 9112, section 3.2).
fn split_target<'t>(method: &Method, target: &'t str) -> Result<(&'t str, &'t str), Refusal> {
    // UTF-8 as it is stands in queries that people type; the grammar wants it encoded.
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path.bytes().all(is_fine) || !query.bytes().all(|byte| is_fine(byte) || !byte.is_ascii()) {
        return Err(bad("the target holds a character that must be percent-encoded"));
    }
    if *method == Method::Connect {
        return Err(refusal(501, "this is not a proxy"));
    }
    if target == "*" && *method == Method::Options {
        return Ok((target, ""));
    }
    let local = if target.starts_with('/') { target } else { strip_authority(target)? };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// What follows the host in `http://host/...`.
fn strip_authority(target: &str) -> Result<&str, Refusal> {
    let (scheme, rest) = target.split_once("://").unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_http || end == 0 || !is_host(&rest[..end]) {
        return Err(bad("the target is neither a path nor a URL"));
    }
    Ok(&rest[end..])
}

fn is_host(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\\\"<>".contains(&byte))
}

fn parse_length(value: &str) -> Result<u64, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("Content-Length is not a number"));
    }
    value.parse().map_err(|_| refusal(413, "Content-Length is beyond any limit"))
}

/// Accepts `chunked` alone. A body in another coding below it could be found the end of, so that is
/// "not implemented"; anything else could not.
fn check_coding(value: &str) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    let mut codings = value.split(',').rev().map(str::trim);
    let is_framed = codings.next().is_some_and(|last| last.eq_ignore_ascii_case("chunked"));
    let is_known = |coding: &str| {
        ["gzip", "x-gzip", "deflate", "compress"].iter().any(|k| coding.eq_ignore_ascii_case(k))
    };
    if is_framed && codings.all(is_known) {
        return Err(refusal(501, "the only Transfer-Encoding known here is chunked"));
    }
    Err(bad("Transfer-Encoding is not chunked"))
}

/// A header's value, which must be visible ASCII, blanks and tabs (httparse has refused the other
/// control characters).
fn text(value: &[u8]) -> Result<&str, Refusal> {
    let text = str::from_utf8(value).ok().filter(|text| text.is_ascii());
    text.map(str::trim).ok_or(bad("a header is not ASCII"))
}

fn refill(string: &mut String, text: &str) {
    string.clear();
    string.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        let mut scan = Scan::default();
        let end = scan.find_end(head.as_bytes(), &Limits::default());
        let parsed = end.and_then(|end| {
            parse(&head.as_bytes()[..end.expect("the head is whole")], &mut Fields::default())
        });
        parsed.map_or_else(|refusal| refusal.status, |_| 200)
    }

    #[test]
    fn a_head_in_pieces_is_found_like_one() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut scan = Scan::default();
        for cut in 0..27 {
            assert_eq!(scan.find_end(&head[..cut], &Limits::default()), Ok(None), "{cut}");
        }
        assert_eq!(scan.find_end(head, &Limits::default()), Ok(Some(27)));
    }

    #[test]
    fn strings_of_the_last_head_do_not_show_in_the_next() {
        let mut fields = Fields::default();
        parse(b"GET /long/path?q=1 HTTP/1.1\r\nHost: a\r\nX: yes\r\n\r\n", &mut fields).unwrap();
        parse(b"GET / HTTP/1.0\r\nY: n\r\n\r\n", &mut fields).unwrap();
        assert_eq!((fields.path.as_str(), fields.query.as_str()), ("/", ""));
        assert_eq!(fields.headers, [("Y".to_owned(), "n".to_owned())]);
    }

    #[test]
    fn versions_are_told_from_rubbish() {
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET /\r\n\r\n"), 400);
    }

    #[test]
    fn codings_and_lengths_are_exact() {
        assert_eq!(check_coding("Chunked"), Ok(()));
        for (value, status) in [("gzip, chunked", 501), ("chunked, gzip", 400), ("xchunked", 400)] {
            assert_eq!(check_coding(value).unwrap_err().status, status, "{value}");
        }
        assert_eq!(parse_length("007"), Ok(7));
        assert_eq!(parse_length("+7").unwrap_err().status, 400);
        assert_eq!(parse_length("99999999999999999999").unwrap_err().status, 413);
    }
}
