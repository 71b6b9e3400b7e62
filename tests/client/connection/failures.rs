//! Nodes that are down, slow or lost: where a request goes next, and with which status it ends.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{leader, named, port, run};
use crate::fake::{Fake, reply};
use crate::program;
use crate::support::eventually;
use crate::support::server::free_port;

/// A server that takes requests and ends the connection.
fn closing() -> Fake {
    Fake::start(|_| Vec::new())
}

#[test]
fn what_was_not_sent_goes_to_the_next_node() {
    let home = tempfile::tempdir().unwrap();
    let alive = named("alive");
    let (dead, other) = (free_port().to_string(), free_port());
    let list = format!("127.0.0.1:{other},{}", alive.address);
    for command in ["leader", "stepdown"] {
        let ran = run(home.path(), &["-p", &dead, "-a", &list, command], &[]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let expected = format!(
            "quorlite: 127.0.0.1:{dead}: Connection refused (os error 111); trying \
             127.0.0.1:{other}\n\
             quorlite: 127.0.0.1:{other}: Connection refused (os error 111); trying {}\n",
            alive.address
        );
        assert_eq!(ran.stderr, expected);
    }
    let quiet = run(home.path(), &["-q", "-p", &dead, "-a", &list, "leader"], &[]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("alive x\n", ""));

    let list = format!("127.0.0.1:{other}");
    let ran = run(home.path(), &["-q", "-p", &dead, "-a", &list, "leader"], &[]);
    ran.fails(3, "cannot reach any node: ");
    assert!(ran.stderr.contains(&dead) && ran.stderr.contains(&list), "{}", ran.stderr);
    run(home.path(), &["-H", "no.such.host.invalid", "leader"], &[]).fails(3, "cannot reach");
}

#[test]
fn what_changes_nothing_is_asked_again_and_what_does_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (lossy, next) = (closing(), named("next"));
    let list = next.address.to_string();
    let arguments = ["-q", "-p", &port(&lossy), "-a", &list];
    let ran = run(home.path(), &[&arguments[..], &["leader"]].concat(), &[]);
    assert_eq!(ran.expect(), "next x\n");
    let before = next.heads().len();
    let ran = run(home.path(), &[&arguments[..], &["stepdown"]].concat(), &[]);
    ran.fails(6, "closed without an answer");
    assert!(ran.stderr.contains("look before you repeat it"), "{}", ran.stderr);
    assert_eq!(next.heads().len(), before, "it is not sent twice");
}

#[test]
fn time_ends_a_request_that_nobody_answers() {
    let home = tempfile::tempdir().unwrap();
    let slow = Fake::start(|_| {
        std::thread::sleep(Duration::from_secs(2));
        Vec::new()
    });
    let run = |command| run(home.path(), &["-p", &port(&slow), "-t", "300ms", command], &[]);
    let expected =
        format!("quorlite: no answer from {} within 300ms (--http-timeout)\n", slow.address);
    assert_eq!(run("leader").stderr, expected);
    run("leader").fails(3, "");
    run("stepdown").fails(6, "no answer from");
}

#[test]
fn each_status_has_its_cause() {
    let home = tempfile::tempdir().unwrap();
    let outcome = [("X-Quorlite-Outcome", "unknown")];
    let lost = br#"{"results":[],"error":"leadership lost"}"#;
    for (answer, command, status, sentence) in [
        (reply("200 OK", &[], &leader("a")), "leader", 0, ""),
        (reply("400 Bad Request", &[], b"what?\n"), "leader", 1, "quorlite: what?\n"),
        (reply("500 X", &[], b""), "leader", 1, "the server answered 500 Internal Server Error"),
        (reply("500 X", &[], b"<html>"), "leader", 1, "the server answered 500"),
        (reply("400 X", &[], br#"{"error":"bad"}"#), "leader", 1, "quorlite: bad\n"),
        (reply("200 OK", &[], b"<html>"), "leader", 1, "is the port right?"),
        (reply("503 X", &[], b"leader not found\n"), "leader", 4, "quorlite: leader not found\n"),
        (reply("500 X", &[], b"store not ready\n"), "stepdown", 4, "store not ready"),
        (
            reply("401 Unauthorized", &[], b""),
            "leader",
            5,
            "answered 401 Unauthorized; it wants a user (-u",
        ),
        (
            reply("404 Not Found", &[], b""),
            "leader",
            1,
            "404 Not Found; it has no /leader: are the port (-p)",
        ),
        (reply("200 OK", &outcome, lost), "stepdown", 6, "repeat it: leadership lost\n"),
        (reply("500 X", &outcome, b"no word from it"), "stepdown", 6, "no word from it"),
        (reply("200 OK", &[("Content-Length", "99")], b"{"), "leader", 3, "cut short"),
        (b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), "leader", 3, "does not speak HTTP"),
    ] {
        let fake = Fake::start(move |_| answer.clone());
        let ran = run(home.path(), &["-p", &port(&fake), command], &[]);
        assert_eq!(ran.status, Some(status), "{command}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(sentence), "{sentence} in {}", ran.stderr);
        assert_eq!(ran.stderr.is_empty(), status == 0, "{}", ran.stderr);
    }
}

#[test]
fn a_refused_user_is_named_and_the_password_is_not() {
    let home = tempfile::tempdir().unwrap();
    let strict = Fake::start(|_| reply("401 Unauthorized", &[], b""));
    let ran = run(home.path(), &["-p", &port(&strict), "-u", "ann:secret", "leader"], &[]);
    ran.fails(5, &format!("{} answered 401 Unauthorized; the user ann or", strict.address));
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn a_signal_that_was_ignored_stays_so() {
    let home = tempfile::tempdir().unwrap();
    let slow = Fake::start(|_| {
        std::thread::sleep(Duration::from_secs(30));
        Vec::new()
    });
    // As nohup does, and a shell for what it runs in the background.
    let mut command = std::process::Command::new("sh");
    let script = "trap '' HUP INT; exec \"$0\" -p \"$1\" leader";
    command.args(["-c", script, program::PROGRAM, &port(&slow)]).current_dir(home.path());
    let mut child = command.env_clear().stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it asks", Duration::from_secs(30), || slow.heads().pop());
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(pid, signal).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(child.try_wait().unwrap(), None, "{signal:?}");
    }
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_signal_while_a_write_is_in_doubt_says_so() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, is_doubtful) in
        [(&["execute", "INSERT INTO t VALUES(1)"][..], true), (&["query", "SELECT 1"], false)]
    {
        let slow = Fake::start(|_| {
            std::thread::sleep(Duration::from_secs(30));
            Vec::new()
        });
        let mut command = program::command(home.path());
        command.args(["-p", &port(&slow)]).args(arguments).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        eventually("it asks", Duration::from_secs(30), || slow.heads().pop());
        // The body follows the head at once.
        std::thread::sleep(Duration::from_millis(200));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{said}");
        assert_eq!(said.contains("nobody knows whether it was done"), is_doubtful, "{said}");
    }
}

#[test]
fn a_signal_ends_it_with_9() {
    let home = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let slow = Fake::start(|_| {
            std::thread::sleep(Duration::from_secs(30));
            Vec::new()
        });
        let mut command = program::command(home.path());
        command.args(["-p", &port(&slow), "leader"]).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        eventually("it asks", Duration::from_secs(30), || slow.heads().pop());
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9));
    }
}
