//! A real `quorlited` process on loopback, with a directory of its own.
//!
//! Every test starts its own servers: no fixed port, no shared directory, no order. A server is
//! killed when its value is dropped, and when that happens in a failing test what the server
//! logged is printed. This file never kills a process that it did not start.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Reply};
use super::eventually;

/// The server under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorlited");

/// Longest wait for a start; generous, for a machine that runs many tests at once.
const START_MAX: Duration = Duration::from_secs(60);

/// Lines of the log shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// Ports below those the system hands out by itself, so that no client's port is in the way.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A port on loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let offset = u16::try_from(std::process::id() % 200).expect("below 200") * 50;
    loop {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (offset + step) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// How a server is to be started.
#[derive(Default)]
pub(crate) struct Options {
    directory: Option<PathBuf>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Options {
    /// In this directory rather than a temporary one.
    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self
    }

    /// With these flags too, before the data directory.
    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// With these variables in its environment.
    pub(crate) fn environment(mut self, variables: [(String, String); 2]) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(self) -> Server {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let directory = self.directory.clone().unwrap_or_else(|| scratch.path().join("node"));
        let mut server = Server {
            options: self,
            directory,
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            raft: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            process: None,
            tracing: Vec::new(),
            scratch,
        };
        server.start();
        server
    }
}

/// A running server, or one that a test has stopped.
pub(crate) struct Server {
    options: Options,
    directory: PathBuf,
    http: SocketAddr,
    raft: SocketAddr,
    process: Option<Child>,
    /// What strace does to it, if anything.
    tracing: Vec<String>,
    scratch: TempDir,
}

impl Server {
    /// One with nothing special about it.
    pub(crate) fn fresh() -> Self {
        Options::default().start()
    }

    /// Where its HTTP API listens.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for other nodes.
    pub(crate) fn raft(&self) -> SocketAddr {
        self.raft
    }

    /// Its data directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory that lives as long as this value, for files of the test's.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Everything it has logged since its first start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// Starts it, again if it was stopped, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.await_ready();
    }

    /// Starts it and waits until it is ready, or has ended by itself: false.
    pub(crate) fn start_or_end(&mut self) -> bool {
        self.spawn();
        let is_ready = eventually("the server starts or ends", START_MAX, || {
            let status = self.child().try_wait().expect("a child can be waited for");
            if status.is_some() { Some(false) } else { self.is_ready().then_some(true) }
        });
        if !is_ready {
            self.process = None;
        }
        is_ready
    }

    /// Waits until it is ready.
    pub(crate) fn await_ready(&mut self) {
        eventually("the server answers /readyz", START_MAX, || {
            let status = self.child().try_wait().expect("a child can be waited for");
            assert!(status.is_none(), "the server ended with {status:?} instead of starting");
            self.is_ready().then_some(())
        });
    }

    /// Has the next starts run under strace with these options; with none, as usual.
    pub(crate) fn trace(&mut self, options: &[String]) {
        self.tracing = options.to_vec();
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = log.expect("the log file can be opened");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the server can be run"));
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        if !self.tracing.is_empty() {
            // The server stays this process's child; the tracer is its grandchild.
            command = Command::new("strace");
            command.args(["-D", "-f", "-qq", "-o", "/dev/null"]).args(&self.tracing).arg(PROGRAM);
        }
        command.args(["-http-addr", &self.http.to_string()]);
        command.args(["-raft-addr", &self.raft.to_string()]);
        command.args(&self.options.flags).arg(&self.directory);
        for (name, value) in &self.options.environment {
            command.env(name, value);
        }
        command
    }

    fn child(&mut self) -> &mut Child {
        self.process.as_mut().expect("the server was started")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server was started").id()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("one's own child can be killed");
            process.wait().expect("one's own child can be waited for");
        }
    }

    /// Has the next start use these flags and no others.
    pub(crate) fn change_flags(&mut self, flags: &[&str]) {
        self.options.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Has the next start listen elsewhere.
    pub(crate) fn change_http(&mut self) {
        self.http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("a child can be signalled");
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn terminate(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let status = self.wait(Duration::from_secs(30));
        self.process = None;
        status
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually("the server ends", deadline, || {
            self.child().try_wait().expect("a child can be waited for")
        })
    }

    /// Ends it properly and starts it again.
    pub(crate) fn restart(&mut self) {
        let status = self.terminate(Signal::TERM);
        assert!(status.success(), "the server ended with {status}");
        self.start();
    }

    /// Whether it is up and says so.
    pub(crate) fn is_ready(&self) -> bool {
        let reply = Client::connect(self.http)
            .and_then(|mut client| client.request("GET", "/readyz", &[], b""));
        reply.is_ok_and(|reply| reply.status() == 200)
    }

    /// Fails unless it answers that it is ready within a second.
    pub(crate) fn assert_well(&self, after: &str) {
        let begin = Instant::now();
        assert!(self.is_ready(), "not ready after {after}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(1), "ready only in {took:?} after {after}");
    }

    /// A new connection to it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.http).expect("the server takes connections")
    }

    /// One request on a connection of its own.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let reply = self.client().request(method, target, headers, body);
        reply.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// A GET.
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    /// A POST of JSON.
    pub(crate) fn post(&self, target: &str, body: &Value) -> Reply {
        self.post_bytes(target, body.to_string().as_bytes())
    }

    /// A POST of these bytes.
    pub(crate) fn post_bytes(&self, target: &str, body: &[u8]) -> Reply {
        self.request("POST", target, &[("Content-Type", "application/json")], body)
    }

    /// Executes statements that must succeed.
    pub(crate) fn execute(&self, statements: &[&str]) {
        let reply = self.post("/db/execute", &json!(statements));
        assert!(reply.is_success(), "{statements:?}: {}", reply.text());
    }

    /// The values of a query that must succeed.
    pub(crate) fn query(&self, sql: &str) -> Value {
        let reply = self.post("/db/query", &json!([sql]));
        assert!(reply.is_success(), "{sql}: {}", reply.text());
        reply.json()["results"][0].get("values").cloned().unwrap_or_else(|| json!([]))
    }

    /// The first value of a query that must succeed.
    pub(crate) fn value(&self, sql: &str) -> Value {
        self.query(sql)[0][0].clone()
    }

    /// Its resident memory now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Its largest resident memory so far, in bytes.
    pub(crate) fn resident_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        1024 * number.and_then(|text| text.parse::<u64>().ok()).expect("the kernel prints kB")
    }

    /// The number of its threads, or of its open files.
    pub(crate) fn count(&self, what: &str) -> usize {
        let path = format!("/proc/{}/{what}", self.pid());
        fs::read_dir(path).expect("the process runs").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let first = lines.len().saturating_sub(LOG_LINES_SHOWN);
            let shown = lines[first..].join("\n");
            super::golden::say(&format!("-- log of the server in {:?}:\n{shown}", self.directory));
        }
    }
}

/// Runs the program to its end with these arguments; its exit code, output and errors.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
    let file = |path: &Path| File::create(path).expect("a file can be made");
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .expect("the program can be run");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status.code();
        }
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().expect("one's own child can be killed");
            child.wait().expect("one's own child can be waited for");
            panic!("{arguments:?} did not end: {}", fs::read_to_string(&err).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    (status, text(&out), text(&err))
}
