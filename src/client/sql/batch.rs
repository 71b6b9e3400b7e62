//! Statements on their way to the server, and where they came from.

use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::Failure;
use crate::client::results::Received;

/// The body of one request, `["SELECT 1",["SELECT ?",2]]`, while it grows.
#[derive(Debug, Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    /// The line of each statement in its file.
    lines: Vec<u64>,
}

impl Batch {
    /// Adds a statement; `parameters` is JSON that follows it, each value with a comma before it.
    pub(super) fn push(&mut self, sql: &str, parameters: &str, line: u64) {
        self.body.push(if self.lines.is_empty() { b'[' } else { b',' });
        self.body.push(b'[');
        serde_json::to_writer(&mut self.body, sql).expect("a Vec takes everything");
        self.body.extend_from_slice(parameters.as_bytes());
        self.body.push(b']');
        self.lines.push(line);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Number of statements.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of the request so far.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The line of a statement, counted from 0; of what lies beyond, that of the last.
    pub(super) fn line(&self, place: usize) -> u64 {
        self.lines.get(place).or(self.lines.last()).copied().unwrap_or(1)
    }

    /// Sends all of it to `path`. What is left is an empty batch; the lines are still known.
    pub(super) fn send(
        &mut self,
        session: &mut Session,
        path: &str,
        parameters: &[String],
        effect: Effect,
    ) -> Result<Received, Failure> {
        self.body.push(b']');
        let target = if parameters.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", parameters.join("&"))
        };
        let answer = session.client.post(&target, &self.body, effect)?;
        Received::of(answer, effect)
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.lines.clear();
    }
}
