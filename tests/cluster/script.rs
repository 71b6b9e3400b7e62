//! `scripts/cluster`, as a user runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::PROGRAM;

fn run(arguments: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
    // Whoever runs the tests in the background has Ctrl-C ignored by all that they start.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(script)
        .args(arguments)
        .env("QUORLITED", PROGRAM)
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the script can be run")
}

fn stop(mut child: Child, signal: Signal) -> Option<i32> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("it has an id");
    kill_process(pid, signal).expect("a child can be signalled");
    let status = eventually("the script ends", Duration::from_secs(30), || {
        child.try_wait().expect("a child can be waited for")
    });
    status.code()
}

/// Processes whose command line names this folder.
fn processes_in(folder: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("the kernel lists processes").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(folder)).count()
}

#[test]
fn three_nodes_start_and_stop_together_and_go_on_where_they_were() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let folder = home.path().to_str().expect("a temporary directory's name is text").to_owned();
    for turn in 0..2 {
        let mut child = run(&["-p", "0", "-d", &folder, "3"]);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut addresses = Vec::new();
        let mut all = Vec::new();
        for line in &mut lines {
            let line = line.expect("it is text");
            if let Some((_, rest)) = line.split_once(" is ready: http://") {
                addresses.push(rest.split(' ').next().unwrap_or_default().to_owned());
            }
            all.push(line);
            if addresses.len() == 3 {
                break;
            }
        }
        assert_eq!(addresses.len(), 3, "{all:#?}");
        for prefix in ["1| ", "2| ", "3| "] {
            assert!(all.iter().any(|line| line.starts_with(prefix)), "no {prefix:?} in {all:#?}");
        }
        let address = addresses[2].parse().expect("an address");
        let mut client = Client::connect(address).expect("it answers");
        let body = if turn == 0 {
            b"[\"CREATE TABLE t (n)\"]" as &[u8]
        } else {
            b"[\"INSERT INTO t VALUES(1)\"]"
        };
        let reply = client.request("POST", "/db/execute", &[], body).expect("it answers");
        assert!(reply.is_success(), "turn {turn}: {}", reply.text());
        let rest = quorlite::os::spawn("rest", move || lines.map_while(Result::ok).collect());
        assert_eq!(stop(child, Signal::INT), Some(0), "how it ended");
        let rest: Vec<String> = rest.expect("there is a thread").join().expect("no panic");
        assert_eq!(rest.last().map(String::as_str), Some("cluster: all nodes have stopped"));
        assert_eq!(processes_in(&folder), 0, "nodes are left");
    }
}

#[test]
fn one_that_does_not_start_stops_all() {
    let mut child = run(&["-q", "-p", "0", "2", "-nonsense"]);
    let status = eventually("the script ends", Duration::from_secs(30), || {
        child.try_wait().expect("a child can be waited for")
    });
    assert_eq!(status.code(), Some(1), "how it ended");
    let (mut out, mut errors) = (String::new(), String::new());
    child.stdout.take().expect("it is piped").read_to_string(&mut out).expect("it is text");
    child.stderr.take().expect("it is piped").read_to_string(&mut errors).expect("it is text");
    assert_eq!(out, "", "it was to be quiet");
    assert!(errors.contains("did not start"), "{errors}");
    let usage = run(&["0"]).wait().expect("a child can be waited for");
    assert_eq!(usage.code(), Some(2), "a cluster of nobody");
}

#[test]
fn one_that_ends_by_itself_ends_all() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let folder = home.path().to_str().expect("a temporary directory's name is text").to_owned();
    let mut child = run(&["-q", "-p", "0", "-d", &folder, "2"]);
    let pid = eventually("both nodes run", Duration::from_secs(30), || {
        let entries = std::fs::read_dir("/proc").expect("the kernel lists processes").flatten();
        let found = entries.filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_it = line.starts_with(PROGRAM) && line.contains(&format!("{folder}/2"));
            is_it.then(|| entry.file_name().to_string_lossy().parse::<i32>().ok()).flatten()
        });
        found.last()
    });
    let pid = Pid::from_raw(pid).expect("a process has an id");
    kill_process(pid, Signal::KILL).expect("the script's node can be killed");
    let status = eventually("the script ends", Duration::from_secs(30), || {
        child.try_wait().expect("a child can be waited for")
    });
    assert_eq!(status.code(), Some(1), "how it ended");
    assert_eq!(processes_in(&folder), 0, "nodes are left");
}
