//! The server under test: where it is, and how its table is made ready and removed again.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Connection};
use super::url::Url;
use super::workload::{CREATE, DROP, Need, ROWS};
use crate::client::failure::{Failure, Status};

/// Time one statement that prepares the table may take; dropping a large one is slow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes received at a time while preparing.
const BUFFER_BYTES: usize = 16 << 10;

/// Rows that one filling statement adds: 2 MB, so that each is a small entry of the log.
const FILL_ROWS: u64 = 2_000;

/// Bytes of text in each.
const FILL_ROW_BYTES: u64 = 1_000;

/// Text that rows take their pieces from: more than gzip looks back on, so that a filled table
/// compresses to about half, as real ones do, and not to nothing.
const FILL_TEXT_BYTES: u64 = 100_000;

/// A server, found.
pub(super) struct Server {
    pub(super) url: Url,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Server {
    /// Finds the server of a URL.
    pub(super) fn find(url: Url) -> Result<Server, Failure> {
        let addresses = http::resolve(&url)?;
        Ok(Server { url, addresses })
    }

    /// Connects, once.
    pub(super) fn connect(&self, timeout: Duration, buffer: usize) -> Result<Connection, Failure> {
        Connection::open(&self.addresses, timeout, buffer).map_err(|error| {
            let text = format!("cannot connect to {}: {error}", self.url.authority);
            Failure::new(Status::Unreachable, text)
        })
    }

    /// Makes the table anew, with `size` bytes in it where that is what is needed.
    pub(super) fn prepare(&self, need: Need, size: u64) -> Result<(), Failure> {
        self.execute(&json!([DROP, CREATE]))?;
        match need {
            Need::Empty => Ok(()),
            Need::Rows => self.execute(&json!([[fill(ROWS, "NULL")]])),
            Need::Bytes => {
                let text = noise();
                let start = format!(
                    "substr(?, 1 + (i * 7919 + ?) % {}, {FILL_ROW_BYTES})",
                    FILL_TEXT_BYTES - FILL_ROW_BYTES
                );
                let sql = fill(FILL_ROWS, &start);
                for offset in 0..size.div_ceil(FILL_ROWS * FILL_ROW_BYTES) {
                    self.execute(&json!([[sql, text, offset * 31]]))?;
                }
                Ok(())
            }
        }
    }

    /// Waits until all that was queued is written, then removes the table.
    pub(super) fn clean_up(&self) -> Result<(), Failure> {
        let last = json!(["DELETE FROM quorlite_bench WHERE id = -1"]);
        self.post("/db/execute?queue&wait&timeout=100s", &last)?;
        self.execute(&json!([DROP]))
    }

    fn execute(&self, statements: &Value) -> Result<(), Failure> {
        self.post("/db/execute", statements)
    }

    /// Sends statements and insists on an answer without any error.
    fn post(&self, target: &str, statements: &Value) -> Result<(), Failure> {
        let request = http::request(&self.url, "POST", target, statements.to_string().as_bytes());
        let mut body = Vec::new();
        let head = self.connect(TIMEOUT, BUFFER_BYTES)?.exchange(&request, &mut body).map_err(
            |broken| {
                let text = format!("{}: {broken}", self.url.authority);
                Failure::new(Status::Unreachable, text)
            },
        )?;
        if head.status != 200 || has_error(&body) {
            let what = describe(head.status, &body);
            return Err(refusal(head.status, format!("{} answered {what}", self.url.authority)));
        }
        Ok(())
    }
}

/// A reply that is no good, under the exit status that its own stands for.
pub(super) fn refusal(status: u16, text: String) -> Failure {
    let exit = match status {
        401 | 403 => Status::Unauthorised,
        503 => Status::NotReady,
        _ => Status::Refused,
    };
    Failure::new(exit, text)
}

/// Whether a JSON reply reports a failure; the benchmark's own rows never hold that text.
pub(super) fn has_error(body: &[u8]) -> bool {
    body.windows(8).any(|window| window == b"\"error\":")
}

/// A reply in words, cut to fit a line.
pub(super) fn describe(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let hint = match status {
        401 => " (credentials are part of the URL: http://user:password@host:port)",
        301 | 302 | 307 | 308 => " (redirects are not followed: name the other server)",
        _ => "",
    };
    format!("{status}{hint} {}", text.trim()).trim_end().to_owned()
}

/// SQL that adds `rows` rows, with `body` as an expression of `i`, their number.
fn fill(rows: u64, body: &str) -> String {
    format!(
        "INSERT INTO quorlite_bench(name, amount, body) WITH RECURSIVE n(i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT 'name' || i, i, {body} FROM n"
    )
}

/// Hexadecimal digits without a pattern, the same in every run (xorshift, Marsaglia 2003).
fn noise() -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::new();
    while (text.len() as u64) < FILL_TEXT_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}
