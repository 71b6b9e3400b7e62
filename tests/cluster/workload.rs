//! Clients that read and write all the time, through any node, while a test hurts the cluster.
//!
//! Four kinds: registers (read, written and compared-and-swapped), a set that only grows,
//! transfers between accounts that keep the sum, and readers at level none. Everything they do is
//! recorded with its begin and end. A client that gets no answer goes to another node, but for
//! some that ask the same one for ever.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorlite::os::spawn;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::history::{Outcome, Record};
use crate::linear::{self, Answer, Call, Operation};
use crate::support::client::Client;
use crate::support::golden::say;
use crate::support::{Random, eventually};

/// Longest silence of a node before its client gives up and goes to another.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Registers in use at a time, and how long: short histories are quickly checked.
const REGISTERS: u64 = 3;
const REGISTERS_EVERY: Duration = Duration::from_secs(2);

/// Longest wait until every node has the tables.
const TABLES_MAX: Duration = Duration::from_secs(20);

/// What one workload counts at most, and workloads so far.
const COUNTER_STEP: u64 = 1_000_000_000;
static WORKLOADS: AtomicU64 = AtomicU64::new(0);

/// Accounts, and what each has in the beginning.
const ACCOUNTS: u64 = 8;
const BALANCE: i64 = 100;

/// Clients that ask one node only.
const STAYING: u64 = 3;

/// Rest of a client after each operation: the load is there to be checked, not to be high.
const REST: Duration = Duration::from_millis(2);

/// Rest after an operation that was not done.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Takes away what another workload has left.
const CLEAR: [&str; 4] = [
    "DROP TABLE IF EXISTS register",
    "DROP TABLE IF EXISTS log",
    "DROP TABLE IF EXISTS account",
    "DROP TABLE IF EXISTS counter",
];

const SCHEMA: [&str; 4] = [
    "CREATE TABLE register (k INTEGER PRIMARY KEY, v INTEGER)",
    // Time and chance are the same on every node, or the digests differ.
    "CREATE TABLE log (id INTEGER, at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
        r INTEGER DEFAULT (random()))",
    "CREATE TABLE account (id INTEGER PRIMARY KEY, n INTEGER)",
    "CREATE TABLE counter (n INTEGER)",
];

/// A node as clients know it: its address, and which life of the node that is.
type Target = (SocketAddr, u64);

/// The running clients.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Record>>,
}

struct Shared {
    targets: Mutex<Vec<Target>>,
    begin: Instant,
    is_over: AtomicBool,
    /// Writes acknowledged so far.
    written: AtomicU64,
}

impl Workload {
    /// Makes the tables and sends the clients off.
    pub(crate) fn start(cluster: &Cluster, seed: u64) -> Self {
        let leader = cluster.node(cluster.leader());
        let accounts = (0..ACCOUNTS).map(|id| format!("({id}, {BALANCE})"));
        let accounts = accounts.collect::<Vec<_>>().join(", ");
        let accounts = format!("INSERT INTO account VALUES {accounts}");
        // Above all that an earlier workload has counted: a node that starts shows that first.
        let base = COUNTER_STEP * WORKLOADS.fetch_add(1, Ordering::Relaxed);
        let counter = format!("INSERT INTO counter VALUES({base})");
        // All in one: whoever looks sees all of it or nothing.
        leader.execute(&[&CLEAR[..], &SCHEMA, &[&accounts, &counter]].concat());
        for node in cluster.nodes.iter().filter(|node| node.is_running()) {
            let body = json!([format!("SELECT n >= {base} FROM counter")]).to_string();
            eventually("all have the tables", TABLES_MAX, || {
                let reply = node.try_request("POST", "/db/query?level=none", body.as_bytes());
                (reply.ok()?.json()["results"][0]["values"] == json!([[1]])).then_some(())
            });
        }
        let shared = Arc::new(Shared {
            targets: Mutex::new(cluster.nodes.iter().map(|node| (node.http, 1)).collect()),
            begin: Instant::now(),
            is_over: AtomicBool::new(false),
            written: AtomicU64::new(0),
        });
        let works = [register, register, register, insert, transfer, look, stay, stay, stay];
        let clients = (1..).zip(works).map(|(number, work)| {
            let shared = Arc::clone(&shared);
            let random = Random(seed.wrapping_mul(1_000).wrapping_add(number));
            let mut session = Session::new(shared, number, random);
            // Each of those that stay has a node of its own.
            let is_staying = number > works.len() as u64 - STAYING;
            session.home = is_staying.then(|| usize::try_from(number % STAYING).expect("small"));
            spawn("client", move || session.run(work)).expect("there is a thread")
        });
        Self { clients: clients.collect(), shared }
    }

    /// Tells the clients where nodes are, and that this one begins another life.
    pub(crate) fn is_reborn(&self, cluster: &Cluster, number: usize) {
        let mut targets = self.shared.targets();
        for (place, node) in cluster.nodes.iter().enumerate() {
            if place == targets.len() {
                targets.push((node.http, 1));
            }
            targets[place].0 = node.http;
        }
        targets[number - 1].1 += 1;
    }

    /// Writes acknowledged so far.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) fn await_writes(&self, more: u64, deadline: Duration) {
        let goal = self.written() + more;
        eventually("writes are acknowledged", deadline, || (self.written() >= goal).then_some(()));
    }

    /// Sends the clients home; what they did.
    pub(crate) fn stop(mut self) -> Record {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut all = Record::default();
        for client in std::mem::take(&mut self.clients) {
            all.merge(client.join().expect("a client never fails"));
        }
        all
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // Also where a test fails: clients of its must not disturb the next.
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn targets(&self) -> std::sync::MutexGuard<'_, Vec<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("a test is short")
    }
}

/// One client.
struct Session {
    shared: Arc<Shared>,
    number: u64,
    random: Random,
    record: Record,
    connection: Option<(Target, usize, Client)>,
    /// Unique numbers given out so far.
    given: u64,
    /// The only node that it asks, if there is one.
    home: Option<usize>,
    /// What it last saw in a register.
    seen: (u64, Option<u64>),
    /// The counter as each life of each node showed it last.
    counters: std::collections::BTreeMap<(usize, u64), u64>,
}

impl Session {
    fn new(shared: Arc<Shared>, number: u64, random: Random) -> Self {
        Self {
            shared,
            number,
            random,
            record: Record::default(),
            connection: None,
            given: 0,
            home: None,
            seen: (0, None),
            counters: std::collections::BTreeMap::new(),
        }
    }

    fn run(mut self, work: fn(&mut Self) -> bool) -> Record {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            // Now and then through another node, so that all roads are used.
            if self.random.below(40) == 0 {
                self.connection = None;
            }
            let is_done = work(&mut self);
            if is_done {
                self.record.done += 1;
            } else {
                self.connection = None;
            }
            std::thread::sleep(if is_done { REST } else { REST_AFTER_FAILURE });
        }
        self.record
    }

    /// A number that no other client and no later call gives.
    fn unique(&mut self) -> u64 {
        self.given += 1;
        self.number << 32 | self.given
    }

    fn key(&mut self) -> u64 {
        let turn = self.shared.begin.elapsed().as_millis() / REGISTERS_EVERY.as_millis();
        u64::try_from(turn).expect("a test is short") * REGISTERS + self.random.below(REGISTERS)
    }

    /// Connects somewhere unless connected; the node's place and life.
    fn connect(&mut self) -> Option<(usize, u64)> {
        if self.connection.is_none() {
            let targets = self.shared.targets().clone();
            let any = usize::try_from(self.random.below(targets.len() as u64)).expect("small");
            let place = self.home.map_or(any, |home| home % targets.len());
            let target = targets[place];
            let client = Client::connect_within(target.0, SILENCE_MAX).ok()?;
            self.connection = Some((target, place, client));
        }
        let ((_, life), place, _) = self.connection.as_ref().expect("just connected");
        Some((*place, *life))
    }

    /// Sends a request on the connection; `None` when there is none, so that it was never sent.
    fn send(&mut self, target: &str, body: &Value) -> Option<Outcome> {
        self.connect()?;
        let (_, _, client) = self.connection.as_mut().expect("just connected");
        let headers = [("Content-Type", "application/json")];
        let outcome =
            Outcome::of(client.request("POST", target, &headers, body.to_string().as_bytes()));
        if let Outcome::Failed(why) | Outcome::Unknown(why) = &outcome {
            self.record.note(why);
            // At level none a node may be behind the tables themselves.
            if why.contains("statement failed") && !target.contains("level=none") {
                self.record.violations.push(format!("{body}: {why}"));
            }
        }
        Some(outcome)
    }

    /// A write, counted.
    fn write(&mut self, target: &str, body: &Value) -> Option<Outcome> {
        let outcome = self.send(target, body)?;
        if matches!(outcome, Outcome::Done(_)) {
            self.shared.written.fetch_add(1, Ordering::Relaxed);
        }
        Some(outcome)
    }

    /// Notes what was asked of a register and answered just now.
    fn note(&mut self, key: u64, call: Call, answer: Answer, begin: u64) {
        let (client, end) = (self.number, self.shared.now());
        self.record.operations.push(Operation { client, key, call, answer, begin, end });
    }
}

const EXECUTE: &str = "/db/execute?timeout=2s";

/// One operation on a register.
fn register(session: &mut Session) -> bool {
    let key = session.key();
    match session.random.below(10) {
        0..=3 => read(session, key),
        4 => read_weakly(session, key),
        5..=7 => write(session, key),
        _ => swap(session, key),
    }
}

fn value_of(results: &Value, place: usize) -> Option<u64> {
    results[place]["values"][0][0].as_u64()
}

fn read(session: &mut Session, key: u64) -> bool {
    let level = if session.random.below(4) == 0 { "strong" } else { "linearizable" };
    let target = format!("/db/query?timeout=2s&linearizable_timeout=2s&level={level}");
    let body = json!([["SELECT v FROM register WHERE k = ?", key]]);
    let begin = session.shared.now();
    let Some(Outcome::Done(results)) = session.send(&target, &body) else { return false };
    let value = value_of(&results, 0);
    session.seen = (key, value);
    session.note(key, Call::Read, Answer::Found(value), begin);
    true
}

fn read_weakly(session: &mut Session, key: u64) -> bool {
    let body = json!([["SELECT v FROM register WHERE k = ?", key]]);
    let outcome = session.send("/db/query?timeout=2s", &body);
    let Some(Outcome::Done(results)) = outcome else { return false };
    let end = session.shared.now();
    session.record.weak.extend(value_of(&results, 0).map(|value| (key, value, end)));
    true
}

fn write(session: &mut Session, key: u64) -> bool {
    let value = session.unique();
    let sql = "INSERT INTO register VALUES(?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v";
    let body = json!([[sql, key, value]]);
    let target = ["/db/request?timeout=2s", EXECUTE][usize::from(session.random.below(8) > 0)];
    let begin = session.shared.now();
    let outcome = session.write(target, &body);
    let answer = match outcome {
        Some(Outcome::Done(_)) => Answer::Done,
        Some(Outcome::Unknown(_)) => Answer::Unknown,
        Some(Outcome::Failed(_)) | None => return false,
    };
    session.note(key, Call::Write(value), answer, begin);
    session.seen = (key, Some(value));
    answer == Answer::Done
}

/// Exchanges what it has seen for something else, and reads what is there then, at one moment.
fn swap(session: &mut Session, key: u64) -> bool {
    let (seen, Some(from)) = session.seen else { return read(session, key) };
    if seen != key {
        return read(session, key);
    }
    let to = session.unique();
    let body = json!([
        ["UPDATE register SET v = ? WHERE k = ? AND v = ?", to, key, from],
        ["SELECT v FROM register WHERE k = ?", key]
    ]);
    let begin = session.shared.now();
    let outcome = session.write("/db/request?timeout=2s&transaction", &body);
    match outcome {
        Some(Outcome::Done(results)) => {
            let value = value_of(&results, 1);
            let is_swapped = results[0]["rows_affected"] == json!(1);
            if is_swapped != (value == Some(to)) {
                session.record.violations.push(format!("{from} to {to}: {results}"));
            }
            if is_swapped {
                session.note(key, Call::Cas(from, to), Answer::Done, begin);
            } else {
                session.note(key, Call::Read, Answer::Found(value), begin);
            }
            session.seen = (key, value);
            true
        }
        Some(Outcome::Unknown(_)) => {
            session.note(key, Call::Cas(from, to), Answer::Unknown, begin);
            false
        }
        Some(Outcome::Failed(_)) | None => false,
    }
}

/// Reads what others write, and writes, through one node, also while that is cut off and has not
/// noticed.
fn stay(session: &mut Session) -> bool {
    if session.random.below(4) == 0 {
        return insert(session);
    }
    let key = session.key();
    read(session, key)
}

/// One more row for the set that only grows.
fn insert(session: &mut Session) -> bool {
    let id = session.unique();
    let body = json!([["INSERT INTO log(id) VALUES(?)", id]]);
    let target =
        if session.random.below(10) == 0 { "/db/execute?queue&wait&timeout=2s" } else { EXECUTE };
    match session.write(target, &body) {
        None => false,
        Some(Outcome::Done(_)) => session.record.inserted.insert(id),
        Some(Outcome::Failed(_)) => !session.record.refused.insert(id),
        Some(Outcome::Unknown(_)) => !session.record.maybe.insert(id),
    }
}

/// From one account to another, and one up with the counter, in one transaction.
fn transfer(session: &mut Session) -> bool {
    let (from, to) = (session.random.below(ACCOUNTS), session.random.below(ACCOUNTS));
    let body = json!([
        ["UPDATE account SET n = n - 1 WHERE id = ?", from],
        ["UPDATE account SET n = n + 1 WHERE id = ?", to],
        "UPDATE counter SET n = n + 1"
    ]);
    let target = format!("{EXECUTE}&transaction");
    matches!(session.write(&target, &body), Some(Outcome::Done(_)))
}

/// What one node has by itself: transactions whole, and nothing taken back.
fn look(session: &mut Session) -> bool {
    let Some(place_and_life) = session.connect() else { return false };
    let sql = "SELECT (SELECT sum(n) FROM account), (SELECT n FROM counter)";
    let outcome = session.send("/db/query?level=none", &json!([sql]));
    let Some(Outcome::Done(results)) = outcome else { return false };
    let values = &results[0]["values"][0];
    let (sum, count) = (&values[0], values[1].as_u64());
    let Some(count) = count else { return false };
    let expected = BALANCE * i64::try_from(ACCOUNTS).expect("few");
    if *sum != json!(expected) {
        session.record.violations.push(format!("a sum of {sum} at node {place_and_life:?}"));
    }
    let last = session.counters.entry(place_and_life).or_default();
    if count < *last {
        let text = format!("the counter fell from {last} to {count} at node {place_and_life:?}");
        session.record.violations.push(text);
    }
    *last = count;
    true
}

/// Fails unless everything that was promised to the clients is so; prints what they did.
pub(crate) fn verify(cluster: &Cluster, record: &Record, name: &str) {
    say(&format!(
        "{name}: {} operations done, {} rows acknowledged, {} unknown, {} on registers; else: {:?}",
        record.done,
        record.inserted.len(),
        record.maybe.len(),
        record.operations.len(),
        record.reasons
    ));
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    let node = cluster.nodes.iter().find(|node| node.is_running()).expect("one runs");
    let rows = node.rows("SELECT id FROM log");
    let rows = rows.as_array().expect("rows").iter();
    let found: Vec<u64> = rows.map(|row| row[0].as_u64().expect("an id")).collect();
    record.assert_inserts(&found);
    let sum = node.rows("SELECT sum(n) FROM account");
    assert_eq!(sum[0][0], json!(BALANCE * i64::try_from(ACCOUNTS).expect("few")), "the sum");
    assert_eq!(node.rows("PRAGMA integrity_check"), json!([["ok"]]), "integrity");
    record.assert_weak_reads_make_sense();
    if let Err(why) = linear::check(&record.operations) {
        panic!("not linearizable: {why}");
    }
}
