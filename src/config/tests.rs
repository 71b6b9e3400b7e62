//! Command lines and what becomes of them.

use std::fs;

use super::*;

fn parse(line: &str) -> Result<Parsed, Failure> {
    Config::from_arguments(line.split_whitespace().map(OsString::from))
}

fn config(line: &str) -> Config {
    match parse(line) {
        Ok(Parsed::Start(config)) => *config,
        other => panic!("{line:?} gave {other:?}"),
    }
}

#[track_caller]
fn refused(line: &str, code: u8, text: &str) {
    match parse(line) {
        Err(failure) => assert_eq!((failure.code, failure.text.as_str()), (code, text), "{line}"),
        Ok(parsed) => panic!("{line:?} gave {parsed:?}"),
    }
}

#[test]
fn a_bare_data_directory_gives_the_defaults() {
    let config = config("data");
    assert!(config.folder.is_absolute() && config.folder.ends_with("data"), "absolute");
    assert_eq!(config.http_address.to_string(), "localhost:4001");
    assert_eq!(config.http_advertised, config.http_address, "advertised as bound");
    assert_eq!(config.raft_advertised.to_string(), "localhost:4002");
    assert_eq!(config.node_id, None, "the node finds a name for itself");
    assert_eq!(config.allow_origin, None);
    assert_eq!(config.readers_max, Some(256));
    assert_eq!(config.auto_vacuum_interval, None);
    assert_eq!(config.auto_optimize_interval, Some(Duration::from_secs(24 * 3600)));
    assert_eq!(config.raft_log_level, LevelFilter::Warn);
    let interval = Duration::from_secs(10);
    let checkpoint = CheckpointPolicy { entries_max: 8192, wal_bytes_max: Some(4 << 20), interval };
    assert_eq!(config.checkpoint, checkpoint);
    let second = Duration::from_secs(1);
    let raft = RaftTimes { heartbeat: second, election: second, apply: Some(10 * second) };
    assert_eq!(config.raft, raft);
    assert_eq!(config.cluster.join, []);
    assert_eq!((config.cluster.join_attempts, config.cluster.join_interval), (5, 3 * second));
    assert_eq!(config.cluster.bootstrap_expect, 0);
    assert_eq!(config.cluster.bootstrap_expect_timeout, Some(120 * second));
    assert!(config.cluster.is_voter && config.cluster.steps_down_on_stop, "voter, polite");
    assert!(!config.cluster.leaves_on_stop && !config.cluster.stops_when_removed, "stays");
    assert_eq!(config.cluster.reap_voters_after, None);
    assert_eq!((config.cluster.connect_timeout, config.cluster.secret), (30 * second, None));
    let timeout = Duration::from_millis(50);
    let queue = Queue { capacity: 1024, batch_size: 128, timeout, transaction: false };
    assert_eq!(config.queue, queue);
    assert_eq!(config.backup.age_max, Some(3600 * second));
    assert_eq!(config.notices, [""; 0]);
}

#[test]
fn flags_reach_their_settings() {
    let config = config(
        "-http-addr 0.0.0.0:80 --http-adv-addr=db.example:80 -raft-addr [::1]:4002 -fk \
         -node-id=n1 -db-max-ro-conns 0 -auto-optimize-int 0h -raft-log-level NOISY \
         -raft-snap 0 -raft-snap-wal-size 0 -raft-snap-int 0s -raft-heartbeat-timeout 0 \
         -raft-election-timeout 250ms -raft-apply-timeout -1s -write-queue-tx \
         -http-allow-origin * -backup-age-max 0s -bootstrap-expect 1 data",
    );
    assert_eq!(config.http_address.host, "0.0.0.0");
    assert_eq!(config.http_advertised.to_string(), "db.example:80");
    assert_eq!(config.raft_address.to_string(), "[::1]:4002");
    assert!(config.foreign_keys && config.queue.transaction, "switches");
    assert_eq!((config.node_id.as_deref(), config.readers_max), (Some("n1"), None));
    assert_eq!(config.auto_optimize_interval, None);
    assert_eq!(config.raft_log_level, LevelFilter::Warn, "an unknown level is the default");
    let interval = Duration::from_secs(10);
    let checkpoint = CheckpointPolicy { entries_max: 8192, wal_bytes_max: None, interval };
    assert_eq!(config.checkpoint, checkpoint, "0 entries and 0s mean the default");
    assert_eq!(config.raft.heartbeat, Duration::from_secs(1));
    assert_eq!(config.raft.election, Duration::from_millis(250));
    assert_eq!((config.raft.apply, config.backup.age_max), (None, None));
    assert_eq!(config.allow_origin.as_deref(), Some("*"));
}

#[test]
fn inconsistent_flags_of_the_cluster_end_the_start() {
    for (flags, text) in [
        ("-bootstrap-expect 3 -raft-non-voter", "bootstrapping only applicable to voting nodes"),
        ("-join a:1,b", "b is an invalid join address"),
        ("-join a:1,", " is an invalid join address"),
        ("-join :4002", ":4002 is an invalid join address"),
        ("-join http://a:1", "http://a:1 is an invalid join address"),
        ("-join-attempts 0", "-join-attempts must be at least 1"),
        ("-join-interval -1s", "-join-interval must not be negative"),
        ("-bootstrap-expect -1", "-bootstrap-expect must be from 0 to 99"),
        ("-cluster-secret no/such", "no/such does not exist"),
        ("-join localhost:4002", "node cannot join with itself unless bootstrapping"),
        (
            "-join a:1 -auto-restore Cargo.toml",
            "auto-restoring cannot be used when joining a cluster",
        ),
        (
            "-join a:1 -disco-mode dns",
            "disco mode cannot be used when also explicitly joining a cluster",
        ),
        (
            "-disco-mode consul-kv -bootstrap-expect 3",
            "bootstrapping not applicable when using consul-kv",
        ),
        ("-disco-mode dns", "bootstrap-expect value required when using dns with a voting node"),
        ("-disco-mode x", "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv"),
    ] {
        refused(&format!("{flags} data"), 1, &format!("fatal: {text}\n"));
    }
}

#[test]
fn flags_of_the_cluster_reach_their_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "0123456789abcdef\n").unwrap();
    let cluster = config(&format!(
        "-join a:1,[::1]:4002 -join-attempts 2 -join-interval 0s -raft-shutdown-stepdown=f \
         -raft-cluster-remove-shutdown -raft-remove-shutdown -raft-reap-node-timeout 48h \
         -raft-reap-read-only-node-timeout 1m -cluster-connect-timeout 0s \
         -bootstrap-expect-timeout 0s -raft-non-voter -cluster-secret {} data",
        file.display()
    ))
    .cluster;
    let join: Vec<_> = cluster.join.iter().map(Address::to_string).collect();
    assert_eq!(join, ["a:1", "[::1]:4002"]);
    assert_eq!((cluster.join_attempts, cluster.join_interval), (2, Duration::ZERO));
    assert!(cluster.leaves_on_stop && cluster.stops_when_removed, "switches");
    assert!(!cluster.steps_down_on_stop && !cluster.is_voter, "switches that turn something off");
    assert_eq!(cluster.reap_voters_after, Some(Duration::from_hours(48)));
    assert_eq!(cluster.reap_replicas_after, Some(Duration::from_mins(1)));
    assert_eq!(cluster.connect_timeout, Duration::from_secs(30), "0 means the default");
    assert_eq!(cluster.bootstrap_expect_timeout, None, "0 means no limit");
    let secret = cluster.secret.unwrap();
    assert_eq!(secret.bytes(), b"0123456789abcdef", "without the line's end");
    assert!(!format!("{secret:?}").contains("0123"), "never printed");
    let own = config("-join localhost:4002,b:4002 -bootstrap-expect 2 data").cluster;
    assert_eq!((own.join.len(), own.bootstrap_expect), (2, 2), "the same list on all nodes");
}

#[test]
fn flags_without_effect_are_said_to_have_none() {
    let notices = config("-compress-snap-transport -raft-commit-timeout 1ms data").notices;
    let expected = [
        "-raft-commit-timeout has no effect: what is committed is announced at once",
        "-compress-snap-transport has no effect: what a node is sent goes as it is",
    ];
    assert_eq!(notices, expected);
}

#[test]
fn inconsistent_flags_end_the_start() {
    for (flags, text) in [
        ("-http-cert Cargo.toml", "either both -http-cert and -http-key must be set, or neither"),
        ("-node-key Cargo.toml", "either both -node-cert and -node-key must be set, or neither"),
        ("-auth no/such", "no/such does not exist"),
        ("-extensions-path src,no/such", "extension path does not exist: no/such"),
        ("-http-verify-common-name x", "-http-verify-common-name requires -http-verify-client"),
        ("-node-verify-common-name x", "-node-verify-common-name requires -node-verify-client"),
        ("-http-addr localhost:4002", "HTTP and Raft addresses must differ"),
        ("-http-addr http://a:1", "HTTP options should not include protocol (http:// or https://)"),
        (
            "-http-adv-addr HTTPS://a:1",
            "HTTP options should not include protocol (http:// or https://)",
        ),
        ("-http-addr localhost", "HTTP bind address not valid"),
        ("-http-adv-addr a:b", "HTTP advertised HTTP address not valid"),
        (
            "-http-addr 0.0.0.0:4001",
            "advertised HTTP address is not routable (0.0.0.0), specify it via -http-addr or \
             -http-adv-addr",
        ),
        (
            "-raft-addr [::]:4002",
            "advertised Raft address is not routable (::), specify it via -raft-addr or \
             -raft-adv-addr",
        ),
        ("-raft-addr ::1", "raft bind address not valid"),
        ("-raft-addr a:x", "raft bind port not valid"),
        ("-raft-adv-addr a", "raft advertised address not valid"),
        ("-raft-adv-addr a:x", "raft advertised port is not valid"),
        ("-http-adv-addr a:1 -raft-adv-addr a:1", "advertised HTTP and Raft addresses must differ"),
        ("-cdc-config x -raft-non-voter", "CDC cannot be enabled on non-voting nodes"),
        ("-otlp-insecure", "OTLP options require -otlp-endpoint"),
        ("-otlp-endpoint http://a:1", "-otlp-endpoint must not include a protocol scheme"),
        ("-otlp-endpoint a", "-otlp-endpoint is not a valid address"),
        ("-otlp-endpoint a:1 -otlp-interval 0", "-otlp-interval must be greater than zero"),
        (
            "-otlp-endpoint a:1 -otlp-insecure -otlp-no-verify",
            "-otlp-insecure cannot be used with other OTLP TLS options",
        ),
        ("-write-queue-capacity 0", "-write-queue-capacity must be at least 1"),
        ("-write-queue-batch-size -1", "-write-queue-batch-size must be at least 1"),
        ("-write-queue-timeout -1s", "-write-queue-timeout must not be negative"),
        (
            "-raft-election-timeout 1ms",
            "-raft-election-timeout must be at least 5ms, or 0 for the default",
        ),
        (
            "-raft-heartbeat-timeout -1s",
            "-raft-heartbeat-timeout must be at least 5ms, or 0 for the default",
        ),
    ] {
        refused(&format!("{flags} data"), 1, &format!("fatal: {text}\n"));
    }
}

#[test]
fn flags_of_missing_features_end_the_start_with_a_sentence() {
    for (flags, text) in [
        (
            "-auth Cargo.toml",
            "-auth is not available in this version of quorlite: it serves every caller",
        ),
        (
            "-join-as bob",
            "-join-as is not available in this version of quorlite: nodes know each other by \
             -cluster-secret, not by a user's password",
        ),
        (
            "-disco-mode dns -bootstrap-expect 3",
            "-disco-mode is not available in this version of quorlite: it looks nobody up; -join \
             names the nodes, also by names that DNS knows",
        ),
        (
            "-http-cert Cargo.toml -http-key Cargo.toml",
            "-http-cert is not available in this version of quorlite: it serves plain HTTP only",
        ),
        (
            "-cpu-profile x",
            "-cpu-profile is not available in this version of quorlite: it writes no profiles",
        ),
    ] {
        refused(&format!("{flags} data"), 1, &format!("fatal: {text}\n"));
    }
    config("-join-attempts 5 -disco-key rqlite -raft-reap-node-timeout 0s data");
}

#[test]
fn the_data_directory_is_one_and_last() {
    let missing = "failed to parse command-line flags: missing required argument: DataPath (the \
                   data directory; -h shows the usage)\n";
    refused("", 1, missing);
    refused("-fk", 1, missing);
    refused("a b c", 1, "fatal: arguments after data directory (a) are not accepted ([b c])\n");
    refused(
        "a -fk",
        1,
        "fatal: arguments after data directory (a) are not accepted ([-fk]): flags must come \
         before it\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.display();
    refused(&file.to_string(), 1, &format!("fatal: {file} is not a directory\n"));
    let empty = Config::from_arguments([OsString::new()]).map_err(|failure| failure.text);
    assert_eq!(empty.err().as_deref(), Some("fatal: data directory path is required\n"));
}

#[test]
fn help_version_and_log_are_commands_of_their_own() {
    for line in ["-h", "-help data", "-fk --help", "log x --help"] {
        assert!(matches!(parse(line), Ok(Parsed::Help(text)) if text.contains("-fk")), "{line}");
    }
    assert!(matches!(parse("-version"), Ok(Parsed::Version)), "no directory needed");
    for (line, as_json) in [("log d", false), ("log d --json", true), ("log --json d", true)] {
        let Ok(Parsed::Log { folder, json }) = parse(line) else { panic!("{line}") };
        assert!(folder.is_absolute() && folder.ends_with("d"), "{line}");
        assert_eq!(json, as_json, "{line}");
    }
    assert!(config("log").folder.ends_with("log"), "a directory called log");
    let usage = "Usage: quorlited log DIR [--json]\n";
    refused("log a b", 2, &format!("exactly one data directory is expected\n{usage}"));
    refused("log a --yaml", 2, &format!("unknown option --yaml\n{usage}"));
}
