//! The table of all flags of `quorlited`: what they are called, take, default to and mean.
//!
//! It is the only place that names a flag's default. The parser, the help text, the sentence
//! about a feature that does not exist and the tests all read it. The first 68 flags are
//! rqlite's, with rqlite's defaults, so that its command lines are taken as they are.

use Kind::{Bytes, Count, File, Span, Switch, Text, Whole};
use Standing::{Here, Missing, NoEffect};

/// What a flag takes, with its default.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// True or false; alone it means true.
    Switch(bool),
    /// A signed whole number.
    Whole(i64),
    /// A whole number from 0.
    Count(u64),
    /// A number of bytes; may end in K, M, G or T (powers of 1024).
    Bytes(u64),
    /// A Go duration.
    Span(&'static str),
    /// Any text.
    Text(&'static str),
    /// The path of a file that must exist.
    File,
}

/// Whether what a flag controls exists here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// It works.
    Here,
    /// It is accepted and changes nothing, for the reason given; the log says so at start.
    NoEffect(&'static str),
    /// It ends the start unless it has its default; the text says what is done instead.
    Missing(&'static str),
}

/// One flag: its name without the dash, what it takes, and its meaning for the help text.
pub(super) struct Flag(pub(super) &'static str, pub(super) Kind, pub(super) &'static str);

/// Flags of one standing.
pub(super) struct Group(pub(super) Standing, pub(super) &'static [Flag]);

/// All flags with their standing, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = (&'static Flag, Standing)> {
    TABLE.iter().flat_map(|Group(standing, flags)| flags.iter().map(|flag| (flag, *standing)))
}

/// The table. A flag moves to another group when its feature arrives.
const TABLE: &[Group] = &[
    Group(
        Here,
        &[
            Flag("version", Switch(false), "Print version information and exit"),
            Flag("http-addr", Text("localhost:4001"), "Address the HTTP API binds to"),
            Flag("http-adv-addr", Text(""), "HTTP address told to others; as -http-addr if empty"),
            Flag("http-allow-origin", Text(""), "Value of Access-Control-Allow-Origin, if any"),
            Flag("node-id", Text(""), "Name of this node, never to change; empty: -raft-adv-addr"),
            Flag("raft-addr", Text("localhost:4002"), "Address other nodes connect to"),
            Flag("raft-adv-addr", Text(""), "Raft address told to others; as -raft-addr if empty"),
            Flag("fk", Switch(false), "Enforce foreign keys"),
            Flag("db-max-ro-conns", Whole(256), "Most read connections at a time; 0: no limit"),
            Flag("auto-vacuum-int", Span("0s"), "Time between automatic VACUUMs; 0: never"),
            Flag("auto-optimize-int", Span("24h"), "Time between PRAGMA optimize runs; 0: never"),
            Flag(
                "raft-log-level",
                Text("WARN"),
                "Level of Raft log lines: ERROR, WARN, INFO, DEBUG",
            ),
            Flag("raft-snap", Count(8192), "Log entries that make a checkpoint due; 0: default"),
            Flag("raft-snap-wal-size", Bytes(4 << 20), "WAL bytes that make one due; 0: never"),
            Flag("raft-snap-int", Span("10s"), "Time between looking whether one is due"),
            Flag(
                "raft-heartbeat-timeout",
                Span("1s"),
                "Silence of the leader after which a voter campaigns, if it is longer than \
                 -raft-election-timeout; heartbeats come ten times as often",
            ),
            Flag(
                "raft-election-timeout",
                Span("1s"),
                "Time after which an election is held again, and the same silence, if it is \
                 longer than -raft-heartbeat-timeout",
            ),
            Flag("raft-apply-timeout", Span("10s"), "Time a write may wait for its turn"),
            Flag("write-queue-capacity", Whole(1024), "Queued requests; further ones wait"),
            Flag("write-queue-batch-size", Whole(128), "Queued statements written at once"),
            Flag("write-queue-timeout", Span("50ms"), "Longest a queued statement is held back"),
            Flag("write-queue-tx", Switch(false), "Write each batch of the queue in a transaction"),
        ],
    ),
    Group(
        Here, // The cluster.
        &[
            Flag("join", Text(""), "Comma list of Raft addresses of nodes to join"),
            Flag("join-attempts", Whole(5), "Attempts to join, for each address"),
            Flag("join-interval", Span("3s"), "Time between attempts to join"),
            Flag("bootstrap-expect", Whole(0), "Nodes to wait for; 1: this node alone"),
            Flag("bootstrap-expect-timeout", Span("120s"), "Time to wait for them"),
            Flag("raft-non-voter", Switch(false), "Be a read replica"),
            Flag("raft-shutdown-stepdown", Switch(true), "Hand over leadership before stopping"),
            Flag("raft-remove-shutdown", Switch(false), "Stop when removed from the cluster"),
            Flag("raft-cluster-remove-shutdown", Switch(false), "Leave the cluster when stopping"),
            Flag("raft-reap-node-timeout", Span("0h"), "Time until an absent voter is removed"),
            Flag("raft-reap-read-only-node-timeout", Span("0h"), "The same for a read replica"),
            Flag(
                "cluster-connect-timeout",
                Span("30s"),
                "Silence after which a node asked is given up",
            ),
        ],
    ),
    Group(
        NoEffect("a majority confirms reads, and a leader that none answers steps down"),
        &[Flag("raft-leader-lease-timeout", Span("0s"), "Time a leader may be out of touch")],
    ),
    Group(
        NoEffect("what is committed is announced at once"),
        &[Flag("raft-commit-timeout", Span("50ms"), "Time before a commit is announced")],
    ),
    Group(
        NoEffect("what a node is sent goes as it is"),
        &[Flag("compress-snap-transport", Switch(false), "Compress snapshots on their way")],
    ),
    Group(
        Missing("it loads no SQLite extensions"),
        &[Flag("extensions-path", Text(""), "Comma list of extension files and folders")],
    ),
    Group(
        Missing("it does not publish changes"),
        &[Flag("cdc-config", Text(""), "Endpoint or file for change data capture")],
    ),
    Group(
        Missing("it sends no metrics; they can be fetched from /metrics"),
        &[
            Flag("otlp-endpoint", Text(""), "OpenTelemetry collector, host:port"),
            Flag("otlp-interval", Span("30s"), "Time between exports"),
            Flag("otlp-insecure", Switch(false), "Export without TLS"),
            Flag("otlp-no-verify", Switch(false), "Do not check the collector's certificate"),
            Flag("otlp-ca-cert", File, "CA certificate of the collector"),
            Flag("otlp-cert", File, "Client certificate for the collector"),
            Flag("otlp-key", File, "Private key for the collector"),
        ],
    ),
    Group(
        Missing("it serves every caller"),
        &[Flag("auth", File, "File of users, passwords and permissions")],
    ),
    Group(
        Missing("it makes no backups by itself; they can be fetched from /db/backup"),
        &[Flag("auto-backup", File, "Configuration of automatic backups")],
    ),
    Group(
        Missing("it starts with the data it has; a backup can be sent to /boot or /db/load"),
        &[Flag("auto-restore", File, "Configuration of the restore at first start")],
    ),
    Group(
        Missing("it serves plain HTTP only"),
        &[
            Flag("http-ca-cert", File, "CA certificate for HTTPS"),
            Flag("http-cert", File, "HTTPS certificate"),
            Flag("http-key", File, "HTTPS private key"),
            Flag("http-verify-client", Switch(false), "Require client certificates"),
            Flag("http-verify-common-name", Text(""), "Required common name of clients"),
        ],
    ),
    Group(
        Missing("nodes talk plain HTTP; -cluster-secret keeps strangers out"),
        &[
            Flag("node-ca-cert", File, "CA certificate between nodes"),
            Flag("node-cert", File, "Certificate between nodes"),
            Flag("node-key", File, "Private key between nodes"),
            Flag("node-no-verify", Switch(false), "Do not check certificates of other nodes"),
            Flag("node-verify-client", Switch(false), "Require certificates of other nodes"),
            Flag("node-verify-server-name", Text(""), "Host name on certificates of other nodes"),
            Flag("node-verify-common-name", Text(""), "Required common name of other nodes"),
        ],
    ),
    Group(
        Missing("nodes know each other by -cluster-secret, not by a user's password"),
        &[Flag("join-as", Text(""), "User to join as")],
    ),
    Group(
        Missing("it looks nobody up; -join names the nodes, also by names that DNS knows"),
        &[
            Flag("disco-mode", Text(""), "How to find nodes: consul-kv, etcd-kv, dns, dns-srv"),
            Flag("disco-key", Text("rqlite"), "Prefix of keys in the discovery service"),
            Flag("disco-config", Text(""), "Configuration of the discovery service"),
        ],
    ),
    Group(
        Missing("it writes no profiles"),
        &[
            Flag("cpu-profile", Text(""), "File for a CPU profile"),
            Flag("mem-profile", Text(""), "File for a memory profile"),
            Flag("trace-profile", Text(""), "File for a trace"),
        ],
    ),
    Group(
        Here, // Quorlite's own.
        &[
            Flag("backup-wal-max", Bytes(1 << 30), "WAL bytes at which the oldest backup is ended"),
            Flag("backup-age-max", Span("1h"), "Age at which a backup is ended"),
            Flag("backup-free-min", Bytes(64 << 20), "Free disk at which the oldest one is ended"),
            Flag("cluster-secret", File, "File with what all nodes of the cluster must know"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_68_and_four_of_our_own_once_each() {
        let mut names: Vec<_> = all().map(|(flag, _)| flag.0).collect();
        assert_eq!(names.len(), 68 + 4, "flags");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 68 + 4, "no name twice");
    }
}
