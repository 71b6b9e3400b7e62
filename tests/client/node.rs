//! Tests of the client: questions and orders to nodes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::{Fake, reply};
use crate::program::{Ran, quorlite, quorlite_alone};
use crate::support::server::{Options, PROGRAM, Server, free_port};

/// A node that is never ready: it waits for a cluster that nobody founds.
struct Lonely {
    process: Child,
    port: u16,
    home: tempfile::TempDir,
}

impl Lonely {
    fn start() -> Lonely {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (port, raft) = (free_port(), free_port());
        let mut command = Command::new(PROGRAM);
        command.args(["-http-addr", &format!("127.0.0.1:{port}")]);
        command.args(["-raft-addr", &format!("127.0.0.1:{raft}")]);
        command.args(["-bootstrap-expect", "3", "-join", "127.0.0.1:1"]).arg(home.path().join("n"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the server starts");
        Lonely { process, port, home }
    }

    fn quorlite(&self, arguments: &[&str]) -> Ran {
        let port = self.port.to_string();
        let all = [&["-H", "127.0.0.1", "-p", &port], arguments].concat();
        quorlite_alone(self.home.path(), &all).run()
    }
}

impl Drop for Lonely {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it can be waited for");
    }
}

#[test]
fn status_prints_everything_or_single_values() {
    let server = Server::fresh();
    let all = quorlite(&server, &["status"]).run().expect();
    let status: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(status["store"]["raft"]["state"], "Leader");
    assert!(all.starts_with("{\n  \"build\": {\n"), "{all}");

    let keys = ["status", "store.raft.state", "store.raft.voter", "store.nodes.0.suffrage"];
    assert_eq!(quorlite(&server, &keys).run().expect(), "Leader\ntrue\nvoter\n");
    let inner = quorlite(&server, &["status", "build"]).run().expect();
    assert_eq!(serde_json::from_str::<Value>(&inner).unwrap(), status["build"]);
    let lines = quorlite(&server, &["status", "-f", "text", "build", "store.raft.state"]).run();
    let version = &status["build"]["quorlite_version"];
    let version = version.as_str().unwrap();
    let expected =
        format!("build.quorlite_version: {version}\nbuild.version: 10\nstore.raft.state: Leader\n");
    assert_eq!(lines.expect(), expected);
    quorlite(&server, &["status", "store.raft.nope"]).run().fails(1, "has no store.raft.nope");
}

#[test]
fn nodes_and_the_leader_are_named() {
    let server = Server::fresh();
    let (api, raft) = (server.http(), server.raft());
    let expected = format!(
        "id               api                     raft             role    state      version\n\
         {raft}  http://{api}  {raft}  leader  reachable  10\n"
    );
    assert_eq!(quorlite(&server, &["nodes"]).run().expect(), expected);
    assert_eq!(quorlite(&server, &["leader"]).run().expect(), format!("{raft} http://{api}\n"));
    let json = quorlite(&server, &["nodes", "--format", "json"]).run().expect();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["leader"], true);
}

#[test]
fn a_cluster_is_looked_after() {
    let first = Server::fresh();
    let join = first.raft().to_string();
    let second = Options::default().flags(&["-node-id", "two", "-join", &join]).start();
    let mut third =
        Options::default().flags(&["-node-id", "three", "-raft-non-voter", "-join", &join]).start();

    let voters = quorlite(&second, &["nodes"]).run().expect();
    assert_eq!(voters.lines().count(), 3, "{voters}");
    let all = quorlite(&second, &["nodes", "--all"]).run().expect();
    assert!(all.contains("non-voter"), "{all}");
    third.kill9();
    let all = quorlite(&second, &["nodes", "--all", "-t", "5s"]).run().expect();
    assert!(all.lines().any(|line| line.starts_with("three") && line.contains("unreachable")));

    quorlite(&first, &["remove", "thre"]).run().fails(1, "the cluster has no node thre");
    assert_eq!(quorlite(&second, &["remove", "three"]).run().expect(), "");
    let all = quorlite(&first, &["nodes", "--all"]).run().expect();
    assert!(!all.contains("three"), "{all}");

    quorlite(&first, &["stepdown", "nobody"]).run().fails(1, "stepdown: node not found");
    assert_eq!(quorlite(&first, &["stepdown", "two", "--wait"]).run().expect(), "");
    let leader = quorlite(&first, &["leader"]).run().expect();
    assert_eq!(leader, format!("two http://{}\n", second.http()));
    assert_eq!(quorlite(&first, &["stepdown", "--wait"]).run().expect(), "");
    let leader = quorlite(&first, &["leader"]).run().expect();
    assert_eq!(leader, format!("{join} http://{}\n", first.http()));
}

#[test]
fn a_single_node_cannot_hand_over_but_cut_its_log() {
    let server = Server::fresh();
    quorlite(&server, &["stepdown"]).run().fails(1, "stepdown: cannot find peer");
    server.execute(&["CREATE TABLE t(a)"]);
    let cut = quorlite(&server, &["snapshot", "--trailing-logs", "5"]).run();
    assert_eq!((cut.status, cut.stdout.as_str(), cut.stderr.as_str()), (Some(0), "", ""));
    let again = quorlite(&server, &["snapshot"]).run();
    assert_eq!((again.status, again.stdout.as_str()), (Some(0), ""));
    assert_eq!(again.stderr, "the log has nothing to cut\n");
    let quiet = quorlite(&server, &["snapshot", "-q"]).run();
    assert_eq!((quiet.status, quiet.stderr.as_str()), (Some(0), ""));
    quorlite(&server, &["snapshot", "--trailing-logs", "x"])
        .run()
        .fails(2, "not a number of entries");
}

#[test]
fn readiness_is_told_by_word_and_status() {
    let server = Server::fresh();
    assert_eq!(quorlite(&server, &["ready"]).run().expect(), "ready\n");
    assert_eq!(quorlite(&server, &["ready", "--sync"]).run().expect(), "ready\n");
    quorlite(&server, &["ready", "--sync", "--noleader"]).run().fails(2, "cannot be used with");
    quorlite(&server, &["ready", "--wait", "-1s"]).run().fails(2, "");

    let lonely = Lonely::start();
    // It listens before long; until then it cannot be reached.
    assert_eq!(lonely.quorlite(&["ready", "--noleader", "--wait", "30s"]).expect(), "ready\n");
    let ran = lonely.quorlite(&["ready"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(4), "not ready\n"));
    assert_eq!(ran.stderr, "quorlite: leader does not exist\n");
    let began = Instant::now();
    let ran = lonely.quorlite(&["ready", "--wait", "500ms"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(4), "not ready\n"));
    assert!(began.elapsed() >= Duration::from_millis(300), "it waits");
    lonely.quorlite(&["leader"]).fails(4, "leader not found");
    lonely.quorlite(&["stepdown"]).fails(4, "leader not found");
}

#[test]
fn what_answers_anything_with_200_is_no_node() {
    let home = tempfile::tempdir().unwrap();
    let portal = Fake::start(|_| reply("200 OK", &[], b"<html>login</html>"));
    let port = portal.address.port().to_string();
    for command in [&["ready"][..], &["stepdown", "--wait"]] {
        let all = [&["-p", &port], command].concat();
        quorlite_alone(home.path(), &all).run().fails(1, "is the port right?");
    }
    assert!(!portal.heads().iter().any(|head| head.starts_with("POST")), "it gets no order");

    let lazy = Fake::start(|_| reply("200 OK", &[], br#"{"id":"old","api_addr":"x"}"#));
    let port = lazy.address.port().to_string();
    let run = |id: &[&str]| {
        let all = [&["-p", &port, "-t", "2s", "stepdown", "--wait"], id].concat();
        quorlite_alone(home.path(), &all).run()
    };
    run(&[]).fails(4, "nobody else leads yet");
    run(&["new"]).fails(4, "nobody else leads yet");
}

#[test]
fn waiting_ends_with_time_or_with_what_time_cannot_mend() {
    let home = tempfile::tempdir().unwrap();
    let dead = free_port().to_string();
    let run =
        |port: &str| quorlite_alone(home.path(), &["-p", port, "ready", "--wait", "400ms"]).run();
    run(&dead).fails(3, "refused");
    let refusing = Fake::start(|_| reply("401 Unauthorized", &[], b""));
    run(&refusing.address.port().to_string()).fails(5, "401 Unauthorized");
    assert_eq!(refusing.heads().len(), 1);
    let silent = Fake::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        Vec::new()
    });
    let began = Instant::now();
    run(&silent.address.port().to_string()).fails(3, "quorlite: no answer from 127.0.0.1:");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
