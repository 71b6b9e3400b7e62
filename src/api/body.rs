//! Request bodies read to their end, and the statements in them.
//!
//! A body is held once. Its bytes become the payload of the log entry as they came, and memory
//! grows with what has arrived, never with what a header announced.

use std::io::Read;

use super::json::push_string;
use super::reply;
use crate::command::{BadBody, Statement, parse_statements};
use crate::http::{Reply, Request};

/// Longest body with statements. It is held in memory about three times (bytes, statements and
/// log entry) while it is worked on; larger data goes through `/db/load`, which streams.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest body of the requests that manage a cluster: a name or two.
const SMALL_BODY_BYTES_MAX: u64 = 64 * 1024;
/// Memory for a body before the first byte of it has arrived.
const CAPACITY_MAX: u64 = 64 * 1024;

/// What an endpoint takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON whatever the header says.
    Json,
    /// JSON, or with `Content-Type: text/plain` one statement.
    JsonOrText,
}

/// Statements with the JSON they were read from.
pub(super) struct Submission {
    pub(super) statements: Vec<Statement>,
    /// An array and nothing after it.
    pub(super) payload: Vec<u8>,
}

/// The statements in a body that was read.
///
/// # Errors
/// The answer that refuses them.
pub(super) fn submission(
    request: &Request<'_>,
    body: Vec<u8>,
    form: Form,
) -> Result<Submission, Reply> {
    let is_text = form == Form::JsonOrText
        && request.header("Content-Type").is_some_and(|kind| kind.starts_with("text/plain"));
    let parsed = if is_text { parse_text(body) } else { parse_json(body) };
    parsed.map_err(|bad| reply::text(400, &bad.to_string()))
}

/// Reads a body of statements to its end.
///
/// # Errors
/// The answer that refuses it.
pub(super) fn read(request: &mut Request<'_>) -> Result<Vec<u8>, Reply> {
    read_up_to(request, BODY_BYTES_MAX)
}

/// Reads a body that names things.
///
/// # Errors
/// The answer that refuses it.
pub(super) fn read_small(request: &mut Request<'_>) -> Result<Vec<u8>, Reply> {
    read_up_to(request, SMALL_BODY_BYTES_MAX)
}

fn read_up_to(request: &mut Request<'_>, bytes_max: u64) -> Result<Vec<u8>, Reply> {
    let too_large = || {
        let way_out = if bytes_max == BODY_BYTES_MAX {
            ": send fewer statements at once, or use /db/load"
        } else {
            ""
        };
        reply::text(413, &format!("request body exceeds {bytes_max} bytes{way_out}"))
    };
    let announced = request.body.length().unwrap_or(CAPACITY_MAX);
    if announced > bytes_max {
        return Err(too_large());
    }
    let capacity = announced.min(CAPACITY_MAX);
    let mut body = Vec::with_capacity(usize::try_from(capacity).expect("64 KiB at most"));
    let mut limited = (&mut request.body).take(bytes_max + 1);
    if let Err(error) = limited.read_to_end(&mut body) {
        return Err(reply::text(400, &format!("cannot read the request body: {error}")));
    }
    let is_too_large = u64::try_from(body.len()).is_ok_and(|length| length > bytes_max);
    if is_too_large { Err(too_large()) } else { Ok(body) }
}

pub(super) fn parse_json(mut body: Vec<u8>) -> Result<Submission, BadBody> {
    let (statements, used) = parse_statements(&body)?;
    body.truncate(used);
    Ok(Submission { statements, payload: body })
}

fn parse_text(body: Vec<u8>) -> Result<Submission, BadBody> {
    if body.is_empty() {
        return Err(BadBody::NoStatements);
    }
    let sql = String::from_utf8(body).map_err(|_| BadBody::InvalidJson)?;
    let mut payload = vec![b'['];
    push_string(&mut payload, &sql);
    payload.push(b']');
    Ok(Submission { statements: vec![Statement::plain(sql)], payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_array_as_it_came() {
        let submission = parse_json(b" [\"a\", \"\"] and more".to_vec()).ok().unwrap();
        assert_eq!(submission.payload, b" [\"a\", \"\"]");
        assert_eq!(submission.statements, [Statement::plain("a".to_owned())]);
    }

    #[test]
    fn text_is_one_statement_and_its_payload_reads_back() {
        let sql = "SELECT '\u{e9}<\"'\n;";
        let submission = parse_text(sql.as_bytes().to_vec()).ok().unwrap();
        assert_eq!(submission.statements, [Statement::plain(sql.to_owned())]);
        assert_eq!(parse_statements(&submission.payload).unwrap().0, submission.statements);
        assert_eq!(parse_text(vec![]).err(), Some(BadBody::NoStatements));
        assert_eq!(parse_text(vec![0xff]).err(), Some(BadBody::InvalidJson));
    }
}
