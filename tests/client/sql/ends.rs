//! How commands end that do not simply end: each status by its cause.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::fake::{Fake, reply};
use crate::program::{PROGRAM, command, quorlite, quorlite_alone};
use crate::support::eventually;
use crate::support::server::Server;

/// Runs it against a server that says this to every request.
fn against(answer: &'static [u8], arguments: &[&str], input: &str) -> crate::program::Ran {
    let fake = Fake::start(move |_| answer.to_vec());
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let port = fake.address.port().to_string();
    let arguments = [&["-H", "127.0.0.1", "-p", &port], arguments].concat();
    quorlite_alone(home.path(), &arguments).input(input).run()
}

/// The same, with an answer about SQL.
fn says(
    json: &'static str,
    header: &'static str,
    arguments: &[&str],
    input: &str,
) -> crate::program::Ran {
    let headers: Vec<(&str, &str)> = header.split_once(": ").into_iter().collect();
    let answer = reply("200 OK", &headers, json.as_bytes()).leak();
    against(answer, arguments, input)
}

#[test]
fn a_node_that_cannot_answer_now_is_status_4() {
    let leaderless = reply("503 Service Unavailable", &[], b"leader not found\n").leak();
    for arguments in [&["query", "SELECT 1"], &["execute", "DELETE FROM t"], &["schema", "-q"]] {
        against(leaderless, arguments, "").fails(4, "leader not found");
    }
    let stale = r#"{"results":[],"error":"stale read"}"#;
    says(stale, "", &["query", "--level", "none", "SELECT 1"], "").fails(4, "stale read");
    let unconfirmed = r#"{"results":[],"error":"leadership was not confirmed in time: try again"}"#;
    says(unconfirmed, "", &["tables"], "").fails(4, "leadership was not confirmed");
}

#[test]
fn what_may_have_been_done_is_status_6_and_named() {
    let unknown = r#"{"results":[],"error":"leadership lost: the write may yet be applied"}"#;
    let header = "X-QUORLITE-OUTCOME: unknown";
    says(unknown, header, &["execute", "DELETE FROM t"], "").fails(6, "may yet be applied");
    let script = "\nBEGIN;\nDELETE FROM t;\nDELETE FROM u;\nCOMMIT;\n";
    let ran = says(unknown, header, &["script", "-"], script);
    ran.fails(6, "quorlite: stdin:3: lines 3 to 4: ");
    ran.fails(6, "leadership lost: the write may yet be applied");
    let csv = "a,b\n1,2\n";
    says(unknown, header, &["import", "-", "t"], csv).fails(6, "may yet be applied");

    // An answer that is cut short: of a write nobody knows, a read has simply failed.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"results\":[";
    against(cut, &["execute", "DELETE FROM t"], "").fails(6, "quorlite: ");
    against(cut, &["script", "-"], "\nDELETE FROM t").fails(6, "quorlite: stdin:2: ");
    against(cut, &["query", "SELECT 1"], "").fails(3, "quorlite: ");
    against(cut, &["script", "-"], "SELECT 1").fails(3, "quorlite: stdin:1: ");
}

#[test]
fn a_write_whose_answer_says_too_little_is_status_6() {
    let late = reply("408 Request Timeout", &[], b"queue wait timeout\n").leak();
    let queued = ["execute", "--queue", "--wait", "INSERT INTO t VALUES(1)"];
    against(late, &queued, "").fails(6, "nobody knows whether it was done");
    against(late, &["query", "SELECT 1"], "").fails(1, "queue wait timeout");
    for answer in [r#"{"results":["#, "<html>", "{}", r#"{"results":[]}"#] {
        let says = |arguments: &[&str], input| says(answer, "", arguments, input);
        says(&["execute", "DELETE FROM t"], "").fails(6, "nobody knows whether it was done");
        says(&["script", "-"], "DELETE FROM t").fails(6, "nobody knows whether it was done");
        let ran = says(&["import", "-", "t"], "a\n1\n");
        ran.fails(6, "nobody knows whether it was done");
        assert!(!ran.stderr.contains("nothing was imported"), "{}", ran.stderr);
        says(&["query", "SELECT 1"], "").fails(1, "the answer");
        says(&["tables"], "").fails(1, "the answer");
    }
    let one = r#"{"results":[{"rows_affected":1}]}"#;
    let two = ["execute", "DELETE FROM t; DELETE FROM u"];
    says(one, "", &two, "").fails(6, "the answer has 1 results for 2 statements");
    let failed = r#"{"results":[{"error":"no such table: t"}]}"#;
    let two = ["execute", "--transaction", "DELETE FROM t; DELETE FROM u"];
    says(failed, "", &two, "").fails(1, "no such table: t (nothing was done)");
}

#[test]
fn what_is_no_such_server_is_said() {
    let page = reply("200 OK", &[], b"<html>").leak();
    against(page, &["query", "SELECT 1"], "").fails(1, "is the port right?");
    let uneven = r#"{"results":[{"columns":["a"],"types":[""],"values":[[1,2]]}]}"#;
    says(uneven, "", &["query", "SELECT 1"], "").fails(1, "is the port right?");
    let nobody = ["-H", "127.0.0.1", "-p", "1", "query", "SELECT 1"];
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    quorlite_alone(home.path(), &nobody).run().fails(3, "quorlite: cannot reach");
}

#[test]
fn a_signal_ends_a_script_with_status_9() {
    let server = Server::fresh();
    quorlite(&server, &["execute", "CREATE TABLE t(a)"]).run().expect();
    let mut script = command(server.scratch());
    script.args(["-H", "127.0.0.1", "-p", &server.http().port().to_string(), "script", "-"]);
    let mut child = script.stdin(Stdio::piped()).spawn().expect("the client starts");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(b"INSERT INTO t VALUES(1);\nINSERT").expect("the client reads");
    eventually("the first statement is done", Duration::from_secs(20), || {
        let ran = quorlite(&server, &["query", "-f", "list", "SELECT count(*) FROM t"]).run();
        (ran.stdout == "1\n").then_some(())
    });
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("it is a process");
    kill_process(id, Signal::INT).expect("it can be signalled");
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(9));
    drop(input);
}

#[test]
fn a_reader_that_leaves_is_nobody_to_tell() {
    let server = Server::fresh();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) \
                SELECT i, 'some text' FROM n";
    for format in ["table", "csv", "json", "line", "list"] {
        let mut query = Command::new(PROGRAM);
        query.args(["-H", "127.0.0.1", "-p", &server.http().port().to_string()]);
        query.args(["query", "-f", format, many]).stdin(Stdio::null());
        let mut child =
            query.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        let ran = child.wait_with_output().expect("it can be waited for");
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{format}");
        assert_eq!(ran.status.code(), Some(8), "{format}");
    }
}
