//! The server's command line: from arguments to one checked value.
//!
//! It is the one place that knows flags; everything behind it sees only [`Config`], in which
//! addresses are split but not resolved, "0 means off" has become an `Option`, and every value
//! is in range. Nothing here opens a socket, makes a folder or looks at the environment: apart
//! from the check that named files exist it is plain data.

mod address;
mod arguments;
mod flags;
mod help;
pub mod logging;
mod rules;
mod secret;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

pub use address::{Address, InvalidAddress};
use arguments::{Arguments, Values};
use flags::Standing;
pub use secret::Secret;

use crate::duration::Span;

/// The level of Raft's own log lines where `-raft-log-level` names none.
const LOG_LEVEL: LevelFilter = LevelFilter::Warn;

/// Heartbeat and election, where a flag says 0 for "the default".
const PROTOCOL_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for a connection to another node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for the entries that make a checkpoint due.
const CHECKPOINT_ENTRIES: u64 = 8192;

/// The same for the time between looking at them.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Run a node.
    Start(Box<Config>),
    /// Print the Raft log of a stopped node: `quorlited log DIR [--json]`.
    Log {
        /// The node's data directory.
        folder: PathBuf,
        /// As JSON, one object a line.
        json: bool,
    },
    /// Print this text on stderr and exit with 0.
    Help(String),
    /// Print the version on stderr and exit with 0.
    Version,
}

/// Why nothing can be started.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What to print on stderr; one line, or a line and the usage.
    pub text: String,
}

/// Everything a node is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory, absolute; it may not exist yet.
    pub folder: PathBuf,
    /// This node's name, if one was given.
    pub node_id: Option<String>,
    /// Where the HTTP API listens.
    pub http_address: Address,
    /// What others are told to call for it.
    pub http_advertised: Address,
    /// The value of `Access-Control-Allow-Origin`.
    pub allow_origin: Option<String>,
    /// Where other nodes connect to.
    pub raft_address: Address,
    /// What other nodes are told to call.
    pub raft_advertised: Address,
    /// Whether foreign keys are enforced.
    pub foreign_keys: bool,
    /// Read connections at a time; `None` is no limit.
    pub readers_max: Option<usize>,
    /// Time between automatic VACUUMs; `None` is never.
    pub auto_vacuum_interval: Option<Duration>,
    /// Time between runs of `PRAGMA optimize`; `None` is never.
    pub auto_optimize_interval: Option<Duration>,
    /// The level of Raft's own log lines.
    pub raft_log_level: LevelFilter,
    /// When the database file is brought up to date and the log cut.
    pub checkpoint: CheckpointPolicy,
    /// Times of the consensus protocol.
    pub raft: RaftTimes,
    /// Finding, joining and leaving other nodes.
    pub cluster: ClusterConfig,
    /// Queued writes.
    pub queue: Queue,
    /// When a backup that is being fetched is ended.
    pub backup: BackupLimits,
    /// Sentences about flags that were given and have no effect here, for the log at start.
    pub notices: Vec<String>,
}

/// When a checkpoint is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Log entries since the last one; at least 1.
    pub entries_max: u64,
    /// Bytes in SQLite's WAL; `None` is no limit.
    pub wal_bytes_max: Option<u64>,
    /// Time between looking.
    pub interval: Duration,
}

/// Times of the consensus protocol; heartbeat and election are 5 ms at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTimes {
    /// Silence of the leader after which a follower acts.
    pub heartbeat: Duration,
    /// Time after which an election without a winner is held again.
    pub election: Duration,
    /// Time a write may wait to be proposed; `None` is no limit.
    pub apply: Option<Duration>,
}

/// How a node comes to other nodes, and how it leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Raft addresses of nodes to join, as given.
    pub join: Vec<Address>,
    /// Attempts to join, for each address; at least 1.
    pub join_attempts: u32,
    /// Time between them.
    pub join_interval: Duration,
    /// Nodes that make the first members; 0 when they are not waited for.
    pub bootstrap_expect: usize,
    /// Time to wait for them; `None` is no limit.
    pub bootstrap_expect_timeout: Option<Duration>,
    /// Whether this node is to count towards a quorum.
    pub is_voter: bool,
    /// Hand over leadership before stopping.
    pub steps_down_on_stop: bool,
    /// Stop when removed from the cluster.
    pub stops_when_removed: bool,
    /// Leave the cluster when stopping.
    pub leaves_on_stop: bool,
    /// Silence after which a voter is removed; `None` is never.
    pub reap_voters_after: Option<Duration>,
    /// The same for a read replica.
    pub reap_replicas_after: Option<Duration>,
    /// Longest wait for a connection to another node.
    pub connect_timeout: Duration,
    /// What every node of the cluster must know, if anything.
    pub secret: Option<Secret>,
}

/// How queued writes are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait; at least 1. Further callers are held up.
    pub capacity: usize,
    /// Statements that make a batch; at least 1.
    pub batch_size: usize,
    /// Longest time a statement waits for its batch to fill.
    pub timeout: Duration,
    /// Whether a batch is one transaction.
    pub transaction: bool,
}

/// What a backup in progress may cost; on a breach the oldest one is ended, never a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupLimits {
    /// Bytes in SQLite's WAL while it is held.
    pub wal_bytes_max: u64,
    /// Age; `None` is no limit.
    pub age_max: Option<Duration>,
    /// Free bytes on the file system of the data directory.
    pub free_bytes_min: u64,
}

impl Config {
    /// Reads the arguments, without the program's name.
    ///
    /// # Errors
    /// [`Failure`], to be printed on stderr; the process ends with its exit code.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Parsed, Failure> {
        let given: Vec<OsString> = arguments.into_iter().collect();
        // A lone "log" is a data directory of that name.
        if given.len() > 1 && given[0] == "log" {
            return read_log_command(&given[1..]);
        }
        let arguments = Arguments::read(given.into_iter())?;
        if arguments.wants_help {
            return Ok(Parsed::Help(help::usage()));
        }
        if arguments.values.switch("version") {
            return Ok(Parsed::Version);
        }
        let folder = data_directory(&arguments.rest)?;
        let values = &arguments.values;
        let addresses = rules::check(values).map_err(|text| fatal(&text))?;
        let secret = match values.text("cluster-secret") {
            "" => None,
            path => Some(Secret::read(Path::new(path)).map_err(|text| fatal(&text))?),
        };
        let cluster = cluster(values, secret);
        Ok(Parsed::Start(Box::new(Config::new(folder, addresses, cluster, values))))
    }

    fn new(
        folder: PathBuf,
        addresses: rules::Addresses,
        cluster: ClusterConfig,
        values: &Values,
    ) -> Config {
        let text = |name| Some(values.text(name)).filter(|text| !text.is_empty());
        let node_id = text("node-id").map(str::to_owned);
        Config {
            folder,
            node_id,
            http_address: addresses.http,
            http_advertised: addresses.http_advertised,
            allow_origin: text("http-allow-origin").map(str::to_owned),
            raft_address: addresses.raft,
            raft_advertised: addresses.raft_advertised,
            foreign_keys: values.switch("fk"),
            readers_max: Some(size(values.whole("db-max-ro-conns"))).filter(|max| *max > 0),
            auto_vacuum_interval: values.span("auto-vacuum-int").if_positive(),
            auto_optimize_interval: values.span("auto-optimize-int").if_positive(),
            raft_log_level: level(values.text("raft-log-level")),
            checkpoint: CheckpointPolicy {
                entries_max: Some(values.count("raft-snap"))
                    .filter(|count| *count > 0)
                    .unwrap_or(CHECKPOINT_ENTRIES),
                wal_bytes_max: Some(values.count("raft-snap-wal-size")).filter(|max| *max > 0),
                interval: values.span("raft-snap-int").if_positive().unwrap_or(CHECKPOINT_INTERVAL),
            },
            raft: RaftTimes {
                heartbeat: protocol_timeout(values.span("raft-heartbeat-timeout")),
                election: protocol_timeout(values.span("raft-election-timeout")),
                apply: values.span("raft-apply-timeout").if_positive(),
            },
            cluster,
            queue: Queue {
                capacity: size(values.whole("write-queue-capacity")),
                batch_size: size(values.whole("write-queue-batch-size")),
                timeout: values.span("write-queue-timeout").or_zero(),
                transaction: values.switch("write-queue-tx"),
            },
            backup: BackupLimits {
                wal_bytes_max: values.count("backup-wal-max"),
                age_max: values.span("backup-age-max").if_positive(),
                free_bytes_min: values.count("backup-free-min"),
            },
            notices: notices(values),
        }
    }
}

fn cluster(values: &Values, secret: Option<Secret>) -> ClusterConfig {
    let join = rules::join_list(values.text("join"));
    ClusterConfig {
        join: join.filter_map(|text| text.parse().ok()).collect(),
        join_attempts: u32::try_from(values.whole("join-attempts")).unwrap_or(u32::MAX),
        join_interval: values.span("join-interval").or_zero(),
        bootstrap_expect: size(values.whole("bootstrap-expect")),
        bootstrap_expect_timeout: values.span("bootstrap-expect-timeout").if_positive(),
        is_voter: !values.switch("raft-non-voter"),
        steps_down_on_stop: values.switch("raft-shutdown-stepdown"),
        stops_when_removed: values.switch("raft-remove-shutdown"),
        leaves_on_stop: values.switch("raft-cluster-remove-shutdown"),
        reap_voters_after: values.span("raft-reap-node-timeout").if_positive(),
        reap_replicas_after: values.span("raft-reap-read-only-node-timeout").if_positive(),
        connect_timeout: values
            .span("cluster-connect-timeout")
            .if_positive()
            .unwrap_or(CONNECT_TIMEOUT),
        secret,
    }
}

fn protocol_timeout(span: Span) -> Duration {
    span.if_positive().unwrap_or(PROTOCOL_TIMEOUT)
}

/// A number the rules have checked, or 0 where they let a negative one stand for "none".
fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Names that are no level mean the default, as they do in rqlite.
fn level(name: &str) -> LevelFilter {
    match name {
        "ERROR" => LevelFilter::Error,
        "INFO" => LevelFilter::Info,
        "DEBUG" => LevelFilter::Debug,
        _ => LOG_LEVEL,
    }
}

fn notices(values: &Values) -> Vec<String> {
    let without_effect = values.changed().filter_map(|(flag, standing)| match standing {
        Standing::NoEffect(why) => Some(format!("-{} has no effect: {why}", flag.0)),
        Standing::Here | Standing::Missing(_) => None,
    });
    without_effect.collect()
}

fn data_directory(rest: &[OsString]) -> Result<PathBuf, Failure> {
    let [folder, more @ ..] = rest else {
        return Err(Failure {
            code: 1,
            text: "failed to parse command-line flags: missing required argument: DataPath \
                   (the data directory; -h shows the usage)\n"
                .to_owned(),
        });
    };
    if !more.is_empty() {
        let more: Vec<_> = more.iter().map(|word| word.to_string_lossy()).collect();
        let hint = if more.iter().any(|word| word.starts_with('-')) {
            ": flags must come before it"
        } else {
            ""
        };
        return Err(fatal(&format!(
            "arguments after data directory ({}) are not accepted ([{}]){hint}",
            folder.display(),
            more.join(" ")
        )));
    }
    if folder.is_empty() {
        return Err(fatal("data directory path is required"));
    }
    let folder = absolute(folder)?;
    if folder.exists() && !folder.is_dir() {
        return Err(fatal(&format!("{} is not a directory", folder.display())));
    }
    Ok(folder)
}

fn read_log_command(given: &[OsString]) -> Result<Parsed, Failure> {
    let (flags, folders): (Vec<_>, Vec<_>) =
        given.iter().partition(|word| word.as_encoded_bytes().starts_with(b"-"));
    let mut json = false;
    for flag in flags {
        match flag.to_str() {
            Some("--json" | "-json") => json = true,
            Some("-h" | "-help" | "--help") => return Ok(Parsed::Help(help::usage())),
            _ => return Err(log_misuse(&format!("unknown option {}", flag.display()))),
        }
    }
    match folders.as_slice() {
        [folder] => Ok(Parsed::Log { folder: absolute(folder)?, json }),
        _ => Err(log_misuse("exactly one data directory is expected")),
    }
}

fn log_misuse(what: &str) -> Failure {
    Failure { code: 2, text: format!("{what}\nUsage: quorlited log DIR [--json]\n") }
}

fn absolute(folder: &OsString) -> Result<PathBuf, Failure> {
    std::path::absolute(Path::new(folder))
        .map_err(|error| fatal(&format!("cannot make {} absolute: {error}", folder.display())))
}

fn fatal(text: &str) -> Failure {
    Failure { code: 1, text: format!("fatal: {text}\n") }
}
