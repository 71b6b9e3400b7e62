//! `/db/load` and `/boot`: a database, or SQL text, from outside.
//!
//! The body is never held: its first bytes are looked at, for answers that are known at once, and
//! put back in front of the rest, which the node takes as a stream, checks and only then loads. A
//! file that is no good is answered with what is wrong with it, and nothing has changed.

use std::io::{self, Read, sink};
use std::time::Instant;

use super::errors::Failure;
use super::params::Params;
use super::remote::{Carried, Task};
use super::results::{self, Endpoint, Envelope};
use super::sql::form;
use super::{Api, reply};
use crate::db::scan::disallowed_pragma;
use crate::db::upload::{judge_length, may_be_file};
use crate::http::{Reply, Request};
use crate::node::{Accept, Answer, LoadError, ProposeError};
use crate::stats::{self, Stat};

/// First bytes that are looked at: enough for the pragmas that a script begins with.
const PEEK_BYTES: u64 = 512;
/// Bytes still read of a file whose header promises more than the disk holds, to see whether it is
/// cut short: what a client has sent before it looks for an answer.
const REST_BYTES_MAX: u64 = 16 << 20;
/// A body shorter than this cannot be booted from.
const BOOT_BYTES_MIN: usize = 32;

/// Replaces the database by a file, or runs SQL text.
pub(super) fn load(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let started = Instant::now();
    let form = form(Endpoint::Execute, params);
    if let Some(answer) = api.elsewhere(request, params, Carried::Unread, Task::Transfer) {
        return answer;
    }
    let start = match peek(request) {
        Ok(start) => start,
        Err(error) => return cut_short(&error),
    };
    let is_file = may_be_file(&start);
    if !is_file && disallowed_pragma(&String::from_utf8_lossy(&start)) {
        return api.disallowed(form);
    }
    let answer = if start.is_empty() {
        Ok(Answer { index: 0, outcomes: Vec::new() })
    } else {
        take(api, request, &start, Accept::FileOrText)
    };
    match answer {
        Ok(answer) => {
            stats::add(Stat::NumLoads, 1);
            let seconds = started.elapsed().as_secs_f64();
            let envelope = Envelope { seconds, ..Envelope::default() };
            api.served(reply::bytes(results::encode(&answer.outcomes, envelope, form)))
        }
        Err(error) => api.fail(error.into(), request, params),
    }
}

/// Replaces the database of a node that is alone.
pub(super) fn boot(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    if !api.node.is_leader() {
        return reply::text(503, "not leader");
    }
    if api.node.cluster().members.len() > 1 {
        return reply::text(503, "not single-node");
    }
    let start = match peek(request) {
        Ok(start) => start,
        Err(error) => return cut_short(&error),
    };
    if start.len() < BOOT_BYTES_MIN {
        return reply::text(503, "EOF");
    }
    if !may_be_file(&start) {
        return reply::text(400, "invalid SQLite data");
    }
    match take(api, request, &start, Accept::File) {
        Ok(_) => {
            stats::add(Stat::NumBoots, 1);
            reply::empty(200)
        }
        Err(LoadError::Propose(ProposeError::NotLeader)) => reply::text(503, "not leader"),
        Err(error) => api.fail(Failure::from(error), request, params),
    }
}

/// Hands the upload to the node. A header that promises more than the disk holds says little of a
/// file that is shorter: then that is what is wrong with it.
fn take(
    api: &Api,
    request: &mut Request<'_>,
    start: &[u8],
    accept: Accept,
) -> Result<Answer, LoadError> {
    let announced = request.body.length();
    let mut rest = Counted { source: &mut request.body, bytes: 0 };
    let mut upload = start.chain(&mut rest);
    let answer = api.node.load(&mut upload, accept, api.settings.apply_timeout);
    if !matches!(answer, Err(LoadError::NoSpace(_))) {
        return answer;
    }
    let length = announced.or_else(|| {
        let copied = io::copy(&mut (&mut rest).take(REST_BYTES_MAX), &mut sink());
        let is_over = copied.is_ok_and(|bytes| bytes < REST_BYTES_MAX);
        is_over.then(|| rest.bytes + u64::try_from(start.len()).unwrap_or(u64::MAX))
    });
    match length.and_then(|length| judge_length(start, length)) {
        Some(error) => Err(LoadError::BadFile(error.to_string())),
        None => answer,
    }
}

/// Counts what is read through it.
struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}

fn peek(request: &mut Request<'_>) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    (&mut request.body).take(PEEK_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

fn cut_short(error: &io::Error) -> Reply {
    reply::text(400, &format!("cannot read the request body: {error}"))
}
