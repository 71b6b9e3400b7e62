//! The program as scripts and service managers see it: flags, exit codes, signals, logs.

use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::support::server::{Options, PROGRAM, Server, free_port, run};

fn addresses() -> [String; 4] {
    let address = || format!("127.0.0.1:{}", free_port());
    ["-http-addr".into(), address(), "-raft-addr".into(), address()]
}

/// Runs it with free addresses, these flags and a fresh directory; it must end by itself.
fn run_with(flags: &[&str]) -> (Option<i32>, String, String) {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let directory = scratch.path().join("node");
    let base = addresses();
    let mut arguments: Vec<&str> = base.iter().map(String::as_str).collect();
    arguments.extend(flags);
    arguments.push(directory.to_str().expect("temporary paths are text"));
    run(&arguments)
}

#[test]
fn version_and_help() {
    let (code, out, err) = run(&["-version"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(lines[0].contains(env!("CARGO_PKG_VERSION")) && lines[0].contains("sqlite3."), "{err}");
    for flag in ["-h", "-help", "--help"] {
        let (code, _, err) = run(&[flag]);
        assert_eq!(code, Some(0), "{flag}: {err}");
        let listed: Vec<&str> = err
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix('-'))
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        assert!(listed.len() >= 60, "{flag} lists {} flags", listed.len());
        assert!(listed.is_sorted(), "{flag}: {listed:?}");
    }
}

#[test]
fn wrong_command_lines_and_their_codes() {
    let cases: [(&[&str], i32, &str); 12] = [
        (&["-nonsense", "dir"], 2, "flag provided but not defined: -nonsense"),
        (&["-on-disk", "dir"], 2, "flag provided but not defined: -on-disk"),
        (&[], 1, "missing required argument: DataPath"),
        (&["a", "b"], 1, "arguments after data directory (a) are not accepted ([b])"),
        (&["-fk", "true", "b"], 1, "arguments after data directory (true) are not accepted ([b])"),
        (&["-raft-snap", "many", "dir"], 2, "raft-snap"),
        (&["-raft-apply-timeout", "10", "dir"], 2, "raft-apply-timeout"),
        (&["-fk=maybe", "dir"], 2, "fk"),
        (
            &["-http-addr", "http://localhost:1", "dir"],
            1,
            "HTTP options should not include protocol",
        ),
        (&["-http-addr", "localhost", "dir"], 1, "HTTP bind address not valid"),
        (
            &["-http-addr", "127.0.0.1:1", "-raft-addr", "127.0.0.1:1", "dir"],
            1,
            "HTTP and Raft addresses must differ",
        ),
        (&["-raft-addr", "nowhere", "dir"], 1, "raft bind address not valid"),
    ];
    for (arguments, code, text) in cases {
        let (found, out, err) = run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?} wrote to standard output");
    }
    assert!(!Path::new("dir").exists(), "a refused start made its directory");
}

#[test]
fn inconsistent_flags_are_fatal() {
    let cases: [(&[&str], &str); 8] = [
        (&["-http-cert", "/nonexistent.pem"], "does not exist"),
        (
            &["-http-verify-common-name", "x"],
            "-http-verify-common-name requires -http-verify-client",
        ),
        (
            &["-node-verify-common-name", "x"],
            "-node-verify-common-name requires -node-verify-client",
        ),
        (&["-otlp-insecure"], "OTLP options require -otlp-endpoint"),
        (
            &["-extensions-path", "/nonexistent.so"],
            "extension path does not exist: /nonexistent.so",
        ),
        (
            &["-disco-mode", "magic"],
            "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv",
        ),
        (&["-join", "127.0.0.1"], "127.0.0.1 is an invalid join address"),
        (&["-http-adv-addr", "0.0.0.0:4001"], "not routable"),
    ];
    for (flags, text) in cases {
        let (code, _, err) = run_with(flags);
        assert_eq!(code, Some(1), "{flags:?}: {err}");
        assert!(err.contains(text), "{flags:?}: {err}");
        assert!(err.contains("fatal: "), "{flags:?}: {err}");
    }
}

#[test]
fn features_that_are_not_there_end_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "{}").unwrap();
    let file = file.to_str().unwrap();
    let cases: [&[&str]; 7] = [
        &["-auth", file],
        &["-cdc-config", "stdout"],
        &["-otlp-endpoint", "127.0.0.1:4317"],
        &["-auto-backup", file],
        &["-auto-restore", file],
        &["-http-cert", file, "-http-key", file],
        &["-cpu-profile", "cpu.out"],
    ];
    for flags in cases {
        let (code, _, err) = run_with(flags);
        assert_eq!(code, Some(1), "{flags:?}: {err}");
        let name = flags[0].trim_start_matches('-');
        assert!(err.contains(name), "the sentence names {}: {err}", flags[0]);
    }
}

#[test]
fn flags_in_all_their_forms() {
    let server = Options::default()
        .flags(&["--node-id=seven", "-fk=T", "--raft-snap", "99", "-raft-shutdown-stepdown=false"])
        .flags(&["-raft-log-level", "ANY", "-write-queue-timeout=10ms", "-auto-optimize-int", "0h"])
        .start();
    assert_eq!(server.get("/status?key=store.node_id").text(), "\"seven\"");
    assert_eq!(server.get("/status?key=store.db_conf.fk_constraints").text(), "true");
    assert_eq!(server.get("/status?key=store.snapshot_threshold").text(), "99");
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::fresh();
        server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES(1)"]);
        let status = server.terminate(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", server.log());
        server.start();
        assert_eq!(server.value("SELECT a FROM t"), json!(1));
    }
}

#[test]
fn a_signal_under_load_loses_nothing() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (a INTEGER PRIMARY KEY)"]);
    let address = server.http();
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            std::thread::Builder::new()
                .spawn(move || {
                    let mut done = Vec::new();
                    let Ok(mut client) = crate::support::client::Client::connect(address) else {
                        return done;
                    };
                    for number in 0..100_000 {
                        let id = worker * 1_000_000 + number;
                        let body = json!([format!("INSERT INTO t VALUES({id})")]).to_string();
                        match client.request("POST", "/db/execute", &[], body.as_bytes()) {
                            Ok(reply) if reply.is_success() => done.push(id),
                            _ => break,
                        }
                    }
                    done
                })
                .unwrap()
        })
        .collect();
    crate::support::eventually("writes flow", std::time::Duration::from_secs(20), || {
        (server.value("SELECT count(*) FROM t").as_i64() > Some(50)).then_some(())
    });
    assert_eq!(server.terminate(Signal::TERM).code(), Some(0));
    let done: Vec<i64> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    server.start();
    let found = server.query("SELECT a FROM t");
    let found: std::collections::BTreeSet<i64> =
        found.as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect();
    for id in done {
        assert!(found.contains(&id), "{id} was acknowledged and is gone");
    }
}

#[test]
fn one_process_for_a_directory() {
    let server = Server::fresh();
    let directory = server.directory().to_str().unwrap().to_owned();
    let base = addresses();
    let mut arguments: Vec<&str> = base.iter().map(String::as_str).collect();
    arguments.push(&directory);
    let (code, _, err) = run(&arguments);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&server.pid().to_string()), "it says which process has it: {err}");
    server.assert_well("a second process");
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run_with(&["-http-addr", &address]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains(&address) && err.to_lowercase().contains("address already in use"),
        "{err}"
    );
}

#[test]
fn directories_that_cannot_be_used() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let base = addresses();
    let mut arguments: Vec<&str> = base.iter().map(String::as_str).collect();
    arguments.push(file.to_str().unwrap());
    let (code, _, err) = run(&arguments);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(file.to_str().unwrap()), "{err}");
    // One that is not there yet is made, with its parents.
    let server = Options::default().directory(&scratch.path().join("a/b/c")).start();
    assert!(server.directory().is_dir());
}

#[test]
fn the_log_lines_that_scripts_look_for() {
    let mut server = Options::default().flags(&["-node-id", "one"]).start();
    let (http, raft) = (server.http(), server.raft());
    server.terminate(Signal::TERM);
    let log = server.log();
    let lines = [
        format!("node HTTP API available at http://{http}"),
        format!("-H {} -p {}'", http.ip(), http.port()),
        format!("this node (ID=one, addr={raft}) is now Leader"),
        "received signal \"terminated\"".into(),
        "server stopped".into(),
    ];
    for line in lines {
        assert!(log.contains(&line), "no {line:?} in:\n{log}");
    }
    for line in log.lines() {
        let (module, rest) = line.split_once("] ").unwrap_or_else(|| panic!("form of {line:?}"));
        assert!(module.starts_with('['), "{line:?}");
        let stamp = rest.as_bytes();
        assert!(stamp.len() > 20 && stamp[4] == b'/' && stamp[13] == b':', "{line:?}");
    }
}

#[test]
fn the_log_can_be_read() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES('find me')"]);
    server.post("/db/execute", &json!([["INSERT INTO t VALUES(?)", "a parameter"]]));
    server.terminate(Signal::TERM);
    let directory = server.directory().to_str().unwrap();
    let (code, out, err) = run(&["log", directory]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("find me") && out.contains("a parameter"), "{out}");
    let (code, out, err) = run(&["log", directory, "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let mut indexes = Vec::new();
    for line in out.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        indexes.extend(record.get("index").and_then(serde_json::Value::as_u64));
    }
    assert!(indexes.len() >= 2, "{out}");
    assert!(out.contains("find me"), "{out}");
    let (code, _, err) = run(&["log", "/nonexistent/directory"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("/nonexistent/directory"), "{err}");
    server.start();
    assert_eq!(server.value("SELECT count(*) FROM t"), json!(2));
}

#[test]
fn a_database_changed_by_others_is_refused() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)", "INSERT INTO t VALUES(1)"]);
    server.post_bytes("/snapshot", b"");
    let path = server.get("/status?key=store.sqlite3.path").json();
    server.terminate(Signal::TERM);
    let connection = crate::support::database::open(Path::new(path.as_str().unwrap()));
    connection.execute_batch("INSERT INTO t VALUES(2)").unwrap();
    connection.close().unwrap();
    let base = addresses();
    let mut arguments: Vec<&str> = base.iter().map(String::as_str).collect();
    arguments.push(server.directory().to_str().unwrap());
    let (code, _, err) = run(&arguments);
    assert_eq!(code, Some(1), "{PROGRAM}: {err}");
    assert!(err.contains(path.as_str().unwrap()), "it names the file: {err}");
}
