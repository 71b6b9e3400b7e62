//! One `quorlited` process of a cluster: started, stopped, hurt, moved and wiped by a test.
//!
//! What it says is kept and shown when the test fails. No process is signalled that was not
//! started here.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::golden::say;
use crate::support::server::PROGRAM;

/// Longest silence of a node before a question of the test's own is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Lines of the log shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

/// How a process is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    /// What comes before the program.
    pub(crate) prefix: Vec<String>,
    /// Added to its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags of every start, but for addresses and whom to join.
    pub(crate) flags: Vec<String>,
}

/// A member of a cluster, running or not.
pub(crate) struct Node {
    /// Its place in the cluster, from 1.
    pub(crate) number: usize,
    /// Where it answers clients.
    pub(crate) http: SocketAddr,
    /// Where it listens for other nodes.
    pub(crate) raft: SocketAddr,
    /// Where other nodes are told to find it.
    pub(crate) advertised: SocketAddr,
    /// How it is started.
    pub(crate) recipe: Recipe,
    /// Whom it asks to be taken in, at each start; empty: nobody.
    pub(crate) join: Vec<SocketAddr>,
    directory: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    is_paused: bool,
    /// It is no member any more and stays down.
    is_retired: bool,
}

impl Node {
    /// One that was not started yet, with its data in `directory` and its words in `log`.
    pub(crate) fn new(number: usize, http: SocketAddr, raft: SocketAddr, home: &Path) -> Self {
        Self {
            number,
            http,
            raft,
            advertised: raft,
            recipe: Recipe::default(),
            join: Vec::new(),
            directory: home.join(format!("n{number}")),
            log: home.join(format!("n{number}.log")),
            process: None,
            is_paused: false,
            is_retired: false,
        }
    }

    /// Its name in the cluster.
    pub(crate) fn id(&self) -> String {
        format!("n{}", self.number)
    }

    /// Its data directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts its data elsewhere, before its first start.
    pub(crate) fn set_directory(&mut self, path: &Path) {
        path.clone_into(&mut self.directory);
    }

    /// Everything it has said since its first start.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it, without waiting for anything.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.id());
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.expect("the log file can be opened");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("a node can be run"));
    }

    fn command(&self) -> Command {
        let mut words: Vec<&str> = self.recipe.prefix.iter().map(String::as_str).collect();
        words.push(PROGRAM);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["-node-id", &self.id()]);
        command.args(["-http-addr", &self.http.to_string()]);
        command.args(["-raft-addr", &self.raft.to_string()]);
        command.args(["-raft-adv-addr", &self.advertised.to_string()]);
        if !self.join.is_empty() {
            let list: Vec<String> = self.join.iter().map(ToString::to_string).collect();
            command.args(["-join", &list.join(","), "-join-attempts", "100"]);
            command.args(["-join-interval", "200ms"]);
        }
        command.args(&self.recipe.flags).arg(&self.directory);
        for (name, value) in &self.recipe.environment {
            command.env(name, value);
        }
        command
    }

    /// Its process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether it was started and neither stopped nor paused.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    /// How it has ended by itself, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.try_wait().expect("a child can be waited for");
        if ended.is_some() {
            self.process = None;
        }
        ended
    }

    /// Waits until it has ended by itself.
    pub(crate) fn await_end(&mut self, deadline: Duration) -> ExitStatus {
        eventually("the node ends by itself", deadline, || self.ended())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("one's own child can be killed");
            process.wait().expect("one's own child can be waited for");
        }
        self.is_paused = false;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("a child can be signalled");
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.await_end(Duration::from_secs(30))
    }

    /// Holds it up as a machine does that swaps or is moved.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.is_paused = true;
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        if self.is_paused {
            self.signal(Signal::CONT);
            self.is_paused = false;
        }
    }

    /// Ends it for good.
    pub(crate) fn retire(&mut self) {
        self.kill9();
        self.is_retired = true;
    }

    /// Whether it was ended for good.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// Takes its disk away.
    pub(crate) fn wipe(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.id());
        fs::remove_dir_all(&self.directory).expect("one's own folder can be removed");
    }

    /// One request on a connection of its own.
    pub(crate) fn try_request(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut client = Client::connect_within(self.http, SILENCE_MAX)?;
        client.request(method, target, &[("Content-Type", "application/json")], body)
    }

    /// One request that must be answered, somehow.
    pub(crate) fn request(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        let reply = self.try_request(method, target, body);
        reply.unwrap_or_else(|error| panic!("{} {method} {target}: {error}", self.id()))
    }

    /// A GET that must be answered.
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.request("GET", target, b"")
    }

    /// A GET whose answer is JSON; null when there is none.
    pub(crate) fn ask(&self, target: &str) -> Value {
        self.try_request("GET", target, b"").map_or(Value::Null, |reply| reply.json())
    }

    /// Executes statements in one transaction that must succeed.
    pub(crate) fn execute(&self, statements: &[&str]) {
        let body = Value::from(statements).to_string();
        let reply = self.request("POST", "/db/execute?transaction", body.as_bytes());
        assert!(reply.is_success(), "{} {statements:?}: {}", self.id(), reply.text());
    }

    /// The rows of a query that must succeed, as this node has them.
    pub(crate) fn rows(&self, sql: &str) -> Value {
        let body = Value::from(vec![sql]).to_string();
        let reply = self.request("POST", "/db/query?level=none", body.as_bytes());
        assert!(reply.is_success(), "{} {sql}: {}", self.id(), reply.text());
        reply.json()["results"][0].get("values").cloned().unwrap_or_else(|| Value::Array(vec![]))
    }

    /// Whether it says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.try_request("GET", "/readyz", b"").is_ok_and(|reply| reply.status() == 200)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            say(&format!("-- log of {}:\n{shown}", self.id()));
        }
    }
}
