//! Queued writes: `/db/execute?queue` answers at once, a thread writes many requests as one.
//!
//! What was accepted is written in the order in which it was accepted, in batches of so many
//! statements or so much time, each one entry of the log. A batch that cannot be proposed now
//! waits and is tried again; nothing is given up but by a stop that cannot reach the log. A batch
//! whose outcome is unknown is never repeated: it may have been written. A crash loses what had
//! not become an entry, which is the bargain of a queue.
//!
//! A node that does not lead has the leader write its batches, with the credentials of the
//! requests in them: requests with other credentials begin another batch.
//!
//! The statements are read once, by the thread that took the request; a batch's payload is the
//! requests' own JSON, joined.

mod deliver;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use deliver::{Delivery, Undelivered};

use super::body::{self, Submission};
use super::params::{Flag, Params};
use super::remote::Remote;
use super::results::{self, Endpoint, Envelope};
use super::sql::form;
use super::{Api, reply};
use crate::command::{BadBody, Statement, parse_statements};
use crate::db::scan::disallowed_pragma;
use crate::http::{Reply, Request};
use crate::os;
use crate::stats::{self, Stat};

/// Time between attempts to write a batch that the node would not take.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Attempts for each batch once the node is stopping; more would hold up the stop.
const ATTEMPTS_WHEN_STOPPING: u32 = 3;
/// Longest time since a batch was written in which a leader is taken to be there still.
const LEADER_MEMORY: Duration = Duration::from_secs(1);

/// How writes are queued.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Requests that may wait; when it is full, callers wait, and are refused after their timeout.
    pub capacity: usize,
    /// Statements that make a batch.
    pub batch_size: usize,
    /// Longest time until a batch is written that is not full.
    pub timeout: Duration,
    /// Whether a batch is one transaction.
    pub transaction: bool,
}

/// The end of the queue that requests are put into.
pub(super) struct Queue {
    messages: Sender<Message>,
    settings: QueueSettings,
    sequence: AtomicU64,
    signs: Arc<Signs>,
}

/// The thread that writes the batches.
pub struct QueueThread {
    messages: Sender<Message>,
    signs: Arc<Signs>,
    thread: JoinHandle<()>,
}

/// What the thread and the requests tell each other beside the messages.
struct Signs {
    started: Instant,
    /// Milliseconds from the start until a batch was last written; 0 before.
    last_written: AtomicU64,
    is_stopping: AtomicBool,
}

enum Message {
    Write(Item),
    /// Everything before this is written, then the thread ends.
    Stop,
}

/// A request in the queue.
struct Item {
    submission: Submission,
    /// The request's `Authorization`.
    credentials: Option<String>,
    /// Told what became of the batch; the text says why it is not known to be written.
    waiter: Option<Sender<Result<(), String>>>,
}

/// Starts the thread.
pub(super) fn start(
    remote: Arc<Remote>,
    settings: QueueSettings,
    apply_timeout: Duration,
) -> io::Result<(Queue, QueueThread)> {
    let (sender, receiver) = bounded(settings.capacity.max(1));
    let signs = Arc::new(Signs {
        started: Instant::now(),
        last_written: AtomicU64::new(0),
        is_stopping: AtomicBool::new(false),
    });
    let delivery = Delivery { remote, apply_timeout, is_transaction: settings.transaction };
    let writer = Writer { delivery, settings, messages: receiver, signs: Arc::clone(&signs) };
    let thread = os::spawn("queue", move || writer.run())?;
    // Larger than any number of an earlier run, unless the clock was put back.
    let first = u64::try_from(os::wall_clock().as_nanos()).unwrap_or(0) + 1;
    let queue = Queue {
        messages: sender.clone(),
        settings,
        sequence: AtomicU64::new(first),
        signs: Arc::clone(&signs),
    };
    Ok((queue, QueueThread { messages: sender, signs, thread }))
}

impl QueueThread {
    /// Writes what is queued, then ends the thread. Requests that come later are refused.
    pub fn stop(self) {
        self.signs.is_stopping.store(true, Ordering::Relaxed);
        let is_running = self.messages.send(Message::Stop).is_ok();
        let has_panicked = self.thread.join().is_err();
        if has_panicked || !is_running {
            log::error!("the queue ended before it was stopped: queued writes may be lost");
        }
    }
}

impl Queue {
    /// Settings and the last number given, for `/status`.
    pub(super) fn state(&self) -> (QueueSettings, u64) {
        (self.settings, self.sequence.load(Ordering::Relaxed) - 1)
    }

    /// Whether a batch was written just now, which takes a leader.
    fn has_written_lately(&self) -> bool {
        let last = self.signs.last_written.load(Ordering::Relaxed);
        let age = self.signs.started.elapsed().saturating_sub(Duration::from_millis(last));
        last != 0 && age < LEADER_MEMORY
    }
}

impl Api {
    /// Queues a request and answers with its number.
    pub(super) fn enqueue(&self, request: &mut Request<'_>, params: &Params) -> Reply {
        let started = Instant::now();
        stats::add(Stat::QueuedExecutions, 1);
        let waits = params.has(Flag::Wait);
        let body = match body::read(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let is_empty = body.is_empty();
        let submission = match body::parse_json(body) {
            Ok(submission) => submission,
            // Nothing to write, but something to wait for: what is queued already.
            Err(BadBody::NoStatements) if waits && !is_empty => {
                Submission { statements: Vec::new(), payload: b"[]".to_vec() }
            }
            Err(bad) => return reply::text(400, &bad.to_string()),
        };
        if submission.statements.iter().any(|statement| disallowed_pragma(&statement.sql)) {
            return self.disallowed(form(Endpoint::Execute, params));
        }
        let has_leader =
            params.has(Flag::NoLeader) || self.queue.has_written_lately() || self.node.has_leader();
        if !has_leader {
            stats::add(Stat::LeaderNotFound, 1);
            return reply::text(503, "leader not found");
        }
        stats::add(Stat::QueuedStatementsIn, count(&submission.statements));
        let credentials = request.header("Authorization").map(str::to_owned);
        self.put(submission, credentials, params, started)
    }

    fn put(
        &self,
        submission: Submission,
        credentials: Option<String>,
        params: &Params,
        started: Instant,
    ) -> Reply {
        let (waiter, result) = if params.has(Flag::Wait) {
            stats::add(Stat::QueuedWaits, 1);
            let (sender, receiver) = bounded(1);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let message = Message::Write(Item { submission, credentials, waiter });
        match self.queue.messages.send_timeout(message, params.timeout) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => {
                return reply::text(503, "queue is full: try again later");
            }
            Err(SendTimeoutError::Disconnected(_)) => {
                return reply::text(503, "node is stopping");
            }
        }
        stats::add(Stat::QueueObjectsIn, 1);
        let number = self.queue.sequence.fetch_add(1, Ordering::Relaxed);
        let outcome = result.map_or(Ok(Ok(())), |result| {
            result.recv_timeout(params.timeout.saturating_sub(started.elapsed()))
        });
        let error = match &outcome {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why.as_str()),
            Err(RecvTimeoutError::Timeout) => {
                stats::add(Stat::QueuedWaitTimeouts, 1);
                return reply::text(408, "queue wait timeout");
            }
            Err(RecvTimeoutError::Disconnected) => {
                return reply::text(503, "node is stopping: the write may be lost");
            }
        };
        let envelope = Envelope {
            error,
            seconds: started.elapsed().as_secs_f64(),
            sequence_number: Some(number),
            raft_index: 0,
        };
        reply::bytes(results::encode(&[], envelope, form(Endpoint::Execute, params)))
    }
}

/// What the thread owns.
struct Writer {
    delivery: Delivery,
    settings: QueueSettings,
    messages: Receiver<Message>,
    signs: Arc<Signs>,
}

/// Why a batch is as it is.
enum End {
    /// Full, or old enough.
    Ready,
    /// This comes next and does not go with it.
    Other(Item),
    /// Nothing more will come.
    Last,
}

/// Requests that will be one entry.
#[derive(Default)]
struct Pending {
    /// Of all the requests.
    credentials: Option<String>,
    statements: Vec<Statement>,
    /// The array so far, without its closing bracket; empty before the first statement.
    payload: Vec<u8>,
    waiters: Vec<Sender<Result<(), String>>>,
    requests: u64,
}

impl Writer {
    fn run(self) {
        let mut next = self.receive();
        while let Some(first) = next {
            let mut pending =
                Pending { credentials: first.credentials.clone(), ..Pending::default() };
            pending.add(first);
            let end = self.collect(&mut pending);
            self.flush(pending);
            next = match end {
                End::Ready => self.receive(),
                End::Other(item) => Some(item),
                End::Last => None,
            };
        }
    }

    fn receive(&self) -> Option<Item> {
        match self.messages.recv() {
            Ok(Message::Write(item)) => Some(item),
            Ok(Message::Stop) | Err(_) => None,
        }
    }

    /// Adds what comes until the batch is full, its time is up, or something else comes.
    fn collect(&self, pending: &mut Pending) -> End {
        let deadline = Instant::now() + self.settings.timeout;
        while pending.statements.len() < self.settings.batch_size {
            match self.messages.recv_deadline(deadline) {
                Ok(Message::Write(item)) if item.credentials != pending.credentials => {
                    return End::Other(item);
                }
                Ok(Message::Write(item)) => pending.add(item),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return End::Last,
                Err(RecvTimeoutError::Timeout) => {
                    stats::add(Stat::QueueTimeouts, 1);
                    return End::Ready;
                }
            }
        }
        End::Ready
    }

    fn flush(&self, mut pending: Pending) {
        stats::add(Stat::QueueFlushes, 1);
        stats::add(Stat::QueueObjectsOut, pending.requests);
        if pending.statements.is_empty() {
            pending.tell(&Ok(()));
            return;
        }
        pending.payload.push(b']');
        let statements = std::mem::take(&mut pending.statements);
        let number = count(&statements);
        let result = self.write(statements, &pending.payload, pending.credentials.as_deref());
        match &result {
            Ok(()) => {
                stats::add(Stat::QueuedOk, 1);
                stats::add(Stat::QueuedStatementsOut, number);
                stats::add(Stat::DbExecutions, number);
            }
            Err(why) => log::error!("{number} queued statements: {why}"),
        }
        pending.tell(&result);
    }

    /// Writes a batch, however long it takes; only a stop or an unknown outcome ends the attempts.
    fn write(
        &self,
        mut statements: Vec<Statement>,
        payload: &[u8],
        credentials: Option<&str>,
    ) -> Result<(), String> {
        let mut attempts_left = ATTEMPTS_WHEN_STOPPING;
        loop {
            let why = match self.delivery.write(statements, payload, credentials) {
                Ok(()) => {
                    let age = u64::try_from(self.signs.started.elapsed().as_millis());
                    self.signs
                        .last_written
                        .store(age.unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
                    return Ok(());
                }
                Err(Undelivered::Unknown(why)) => {
                    stats::add(Stat::QueuedUnknown, 1);
                    return Err(format!("outcome unknown, not repeated: {why}"));
                }
                Err(Undelivered::Lost(why)) => return Err(format!("lost: {why}")),
                Err(Undelivered::NoLeader) => {
                    stats::add(Stat::QueuedNotLeader, 1);
                    "no leader".to_owned()
                }
                Err(Undelivered::Refused(why)) => why,
            };
            stats::add(Stat::QueuedFailed, 1);
            if self.signs.is_stopping.load(Ordering::Relaxed) {
                attempts_left -= 1;
                if attempts_left == 0 {
                    return Err(format!("lost by stopping: {why}"));
                }
            }
            sleep(RETRY_INTERVAL);
            (statements, _) = parse_statements(payload).expect("joined from arrays that were read");
        }
    }
}

impl Pending {
    fn add(&mut self, mut item: Item) {
        self.requests += 1;
        self.waiters.extend(item.waiter.take());
        if item.submission.statements.is_empty() {
            return;
        }
        self.statements.append(&mut item.submission.statements);
        self.payload.push(if self.payload.is_empty() { b'[' } else { b',' });
        self.payload.extend_from_slice(inside(&item.submission.payload));
    }

    fn tell(self, result: &Result<(), String>) {
        for waiter in self.waiters {
            // One that has stopped waiting needs no answer.
            drop(waiter.try_send(result.clone()));
        }
    }
}

/// What stands between an array's brackets.
fn inside(array: &[u8]) -> &[u8] {
    let start = array.iter().position(|byte| *byte == b'[').map_or(0, |place| place + 1);
    &array[start..array.len().saturating_sub(1).max(start)]
}

fn count(statements: &[Statement]) -> u64 {
    u64::try_from(statements.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_requests_arrays_joined() {
        let mut pending = Pending::default();
        for body in [" [\"a\"] tail", "[\"\"]", "[[\"b\", [1]], \"c\" ]"] {
            let submission = body::parse_json(body.as_bytes().to_vec()).ok().unwrap();
            pending.add(Item { submission, credentials: None, waiter: None });
        }
        pending.payload.push(b']');
        assert_eq!(pending.payload, b"[\"a\",[\"b\", [1]], \"c\" ]");
        assert_eq!(parse_statements(&pending.payload).unwrap().0, pending.statements);
        assert_eq!(pending.requests, 3);
    }
}
