//! Requests per second: many clients, each on a thread and a kept-alive connection of its own.
//!
//! All clients run from the beginning of the warm-up to the end of the last round; a counter
//! tells them which round it is. A client makes one write and one read a request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::http::{Broken, Connection};
use super::sample::{Sample, median};
use super::server::{Server, describe, has_error};
use crate::client::failure::Failure;

/// Rounds a line of the table is the median of.
pub(super) const ROUNDS: usize = 5;

/// A request that takes longer is an error; a write may well wait for a leader for seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes received at a time; replies of most workloads fit into one.
const BUFFER_BYTES: usize = 16 << 10;

/// Pause after a connection that failed, so that a dead server is not hammered at.
const PAUSE: Duration = Duration::from_millis(20);

/// Enough for a client, of which there may be thousands.
const STACK_BYTES: usize = 256 << 10;

/// Where the error of a reply with a single result begins, if it has one.
const SINGLE_RESULT_BYTES: usize = 256;

/// What to measure.
pub(super) struct Plan<'a> {
    pub(super) server: &'a Server,
    /// Taken turns with.
    pub(super) requests: &'a [Vec<u8>],
    /// Whether a request has many results, of which any may have failed.
    pub(super) is_bulk: bool,
    pub(super) clients: usize,
    /// All rounds together.
    pub(super) time: Duration,
}

/// What came of it: medians over the rounds, and all errors of all rounds.
pub(super) struct Figures {
    /// Good replies a second.
    pub(super) per_second: f64,
    /// The same for each round.
    pub(super) rounds: Vec<f64>,
    /// Latencies in microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// From all rounds; its latencies are those of all rounds too.
    pub(super) total: Sample,
}

/// Runs the clients and measures.
///
/// # Errors
/// [`Failure`] when this machine has not enough threads.
pub(super) fn measure(plan: &Plan<'_>) -> Result<Figures, Failure> {
    let round = &AtomicUsize::new(0);
    let (samples, lengths) = thread::scope(|scope| {
        let mut clients = Vec::new();
        let mut failure = None;
        for number in 0..plan.clients {
            let builder = Builder::new().name(format!("client-{number}")).stack_size(STACK_BYTES);
            match builder.spawn_scoped(scope, move || run_client(plan, number, round)) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    failure = Some(format!("cannot start {} clients: {error}", plan.clients));
                    break;
                }
            }
        }
        let lengths = if failure.is_none() { keep_time(plan.time, round) } else { Vec::new() };
        round.store(ROUNDS + 1, Ordering::Relaxed);
        let mut samples = vec![Sample::default(); ROUNDS + 2];
        for client in clients {
            let seen = client.join().expect("a client has nothing to panic about");
            for (sum, sample) in samples.iter_mut().zip(&seen) {
                sum.add(sample);
            }
        }
        failure.map_or(Ok((samples, lengths)), |text| Err(Failure::refused(text)))
    })?;
    Ok(figures(&samples[1..=ROUNDS], &lengths))
}

/// Sleeps through warm-up and rounds and returns how long each round really was.
fn keep_time(time: Duration, round: &AtomicUsize) -> Vec<Duration> {
    let length = time / u32::try_from(ROUNDS).expect("there are few rounds");
    thread::sleep(length);
    let mut begun = Instant::now();
    let lengths = (1..=ROUNDS).map(|number| {
        round.store(number, Ordering::Relaxed);
        thread::sleep(length);
        let now = Instant::now();
        now - std::mem::replace(&mut begun, now)
    });
    lengths.collect()
}

fn figures(samples: &[Sample], lengths: &[Duration]) -> Figures {
    let mut total = Sample::default();
    for sample in samples {
        total.add(sample);
    }
    let rounds: Vec<f64> = samples
        .iter()
        .zip(lengths)
        .map(|(sample, length)| sample.latencies.count() as f64 / length.as_secs_f64())
        .collect();
    // A round in which nothing succeeded has no latency, rather than one of zero.
    let good = || samples.iter().filter(|sample| sample.latencies.count() > 0);
    let percentile =
        |percent| median(good().map(|sample| sample.latencies.percentile(percent)).collect());
    Figures {
        per_second: median(rounds.clone()),
        p50: percentile(50),
        p99: percentile(99),
        rounds,
        total,
    }
}

/// What one client saw: a sample for the warm-up, each round, and the time after.
fn run_client(plan: &Plan<'_>, number: usize, round: &AtomicUsize) -> Vec<Sample> {
    let mut samples = vec![Sample::default(); ROUNDS + 2];
    let mut client = Client { plan, connection: None, body: Vec::with_capacity(BUFFER_BYTES) };
    for request in plan.requests.iter().cycle().skip(number % plan.requests.len()) {
        let begun = Instant::now();
        let outcome = client.attempt(request);
        let latency = begun.elapsed();
        let current = round.load(Ordering::Relaxed);
        client.note(&mut samples[current], latency, &outcome);
        if current > ROUNDS {
            break;
        }
    }
    samples
}

struct Client<'a> {
    plan: &'a Plan<'a>,
    connection: Option<Connection>,
    body: Vec<u8>,
}

impl Client<'_> {
    /// Sends one request, connecting first if need be, and returns the reply's status.
    fn attempt(&mut self, request: &[u8]) -> Result<u16, Broken> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.plan.server.addresses, TIMEOUT, BUFFER_BYTES)?,
        };
        let head = connection.exchange(request, &mut self.body)?;
        if !head.closes {
            self.connection = Some(connection);
        }
        Ok(head.status)
    }

    fn note(&self, sample: &mut Sample, latency: Duration, outcome: &Result<u16, Broken>) {
        let errors = &mut sample.errors;
        match outcome {
            Ok(200) if !self.reply_has_error() => return sample.latencies.record(latency),
            Ok(200) => errors.sql += 1,
            Ok(_) => errors.status += 1,
            Err(_) => errors.broken += 1,
        }
        if errors.first.is_none() {
            errors.first = Some(match &outcome {
                Ok(status) => describe(*status, &self.body),
                Err(broken) => broken.to_string(),
            });
        }
        if outcome.is_err() {
            thread::sleep(PAUSE);
        }
    }

    /// With a single result an error can only stand at the beginning.
    fn reply_has_error(&self) -> bool {
        let length = if self.plan.is_bulk { usize::MAX } else { SINGLE_RESULT_BYTES };
        has_error(&self.body[..self.body.len().min(length)])
    }
}
