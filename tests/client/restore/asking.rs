//! A person at a terminal is asked before anything is replaced; a script is not.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{SCHEMA, digest, put, put_database, server};
use crate::program::command;
use crate::pseudo::Pseudo;
use crate::support::server::Server;

/// Runs the client at a terminal where somebody types this; its status and what the person sees.
fn at_a_terminal(server: &Server, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
    with_errors_to(None, server, arguments, typed)
}

/// The same, with standard error somewhere else.
fn with_errors_to(
    errors: Option<File>,
    server: &Server,
    arguments: &[&str],
    typed: &str,
) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name").into_string();
    let open = || OpenOptions::new().read(true).write(true).open(name.as_ref().expect("ASCII"));
    let theirs = || Stdio::from(open().expect("it can be opened"));
    let mut command = command(server.scratch());
    command.args(["-H", "127.0.0.1", "-p", &server.http().port().to_string()]).args(arguments);
    let command = command.stdin(theirs()).stdout(theirs());
    let command = command.stderr(errors.map_or_else(theirs, Stdio::from));
    let mut child = command.spawn().expect("the client starts");
    // Only the client has the other end from here on, so that reading ends with it.
    *command = std::process::Command::new("true");
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).expect("the terminal takes it");
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
    }
    let status = child.wait().expect("it can be waited for").code();
    (status, String::from_utf8(seen).expect("the client prints UTF-8").replace('\r', ""))
}

#[test]
fn only_a_yes_replaces_the_database() {
    let server = server();
    put_database(&server, "file", SCHEMA);
    put(&server, "text", b"CREATE TABLE a(b); INSERT INTO a VALUES(1),(2);");
    let node = server.http();
    let before = digest(&server);
    let question = format!(
        "This replaces the database of {node} (1 table, 1 row) by file (1 table, 1000 rows). \
         Go on? [y/N] "
    );
    for typed in ["\n", "n\n", "yo\n", "\u{4}"] {
        for call in ["restore", "boot"] {
            let (status, seen) = at_a_terminal(&server, &[call, "file"], typed);
            assert_eq!(status, Some(9), "{seen}");
            assert!(seen.contains(&question), "{seen}");
            assert!(seen.ends_with("quorlite: nothing was changed\n"), "{seen}");
        }
    }
    let (_, seen) = at_a_terminal(&server, &["restore", "text"], "n\n");
    let other =
        format!("This runs text (1 table, 2 rows) in the database of {node} (1 table, 1 row). ");
    assert!(seen.contains(&other), "{seen}");
    assert_eq!(digest(&server), before);
    let (status, seen) = at_a_terminal(&server, &["restore", "text"], "y\n");
    assert_eq!(status, Some(0), "{seen}");
    let after = digest(&server);
    assert_ne!(after, before);
    let (status, seen) = at_a_terminal(&server, &["restore", "--yes", "file"], "");
    assert_eq!(status, Some(0), "{seen}");
    assert!(seen.starts_with("restored file on "), "{seen}");
    assert_ne!(digest(&server), after);
}

#[test]
fn a_pipe_is_asked_about_too() {
    let server = server();
    let file = put_database(&server, "file", SCHEMA);
    let before = digest(&server);
    let pipe = server.scratch().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("there is a mkfifo").success());
    let writer = |bytes: Vec<u8>| {
        let pipe = pipe.clone();
        // Whoever says no reads nothing of it.
        quorlite::os::spawn("pipe", move || std::fs::write(pipe, bytes).ok())
            .expect("threads are there")
    };
    let writing = writer(file.clone());
    let (status, seen) = at_a_terminal(&server, &["restore", "pipe"], "n\n");
    assert_eq!(status, Some(9), "{seen}");
    assert!(seen.contains("This puts pipe into the database of "), "{seen}");
    assert_eq!(digest(&server), before);
    writing.join().expect("it ends");
    let writing = writer(file);
    let (status, seen) = at_a_terminal(&server, &["restore", "pipe"], "y\n");
    assert_eq!(status, Some(0), "{seen}");
    assert_ne!(digest(&server), before);
    writing.join().expect("it ends");
}

#[test]
fn where_the_question_cannot_be_seen_only_yes_goes_on() {
    let server = server();
    put_database(&server, "file", SCHEMA);
    let before = digest(&server);
    let log = server.scratch().join("log");
    let errors = || Some(File::create(&log).expect("it can be made"));
    let (status, _) = with_errors_to(errors(), &server, &["restore", "file"], "y\n");
    let said = std::fs::read_to_string(&log).expect("it is there");
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("standard error is no terminal; --yes goes on"), "{said}");
    assert_eq!(digest(&server), before);
    let (status, _) = with_errors_to(errors(), &server, &["restore", "--yes", "file"], "");
    assert_eq!(status, Some(0));
    assert_ne!(digest(&server), before);
}

#[test]
fn a_file_replaced_while_it_is_asked_about_is_not_sent() {
    let server = server();
    put_database(&server, "file", SCHEMA);
    put_database(&server, "other", "CREATE TABLE other(a);");
    let before = digest(&server);
    let port = server.http().port().to_string();
    let mut person = Pseudo::start(server.scratch(), &["-p", &port, "restore", "file"]);
    person.expect("Go on? [y/N]");
    std::fs::rename(server.scratch().join("other"), server.scratch().join("file")).unwrap();
    person.press("y\n");
    person.expect("file was replaced or written to since it was looked at");
    person.ends(8);
    assert_eq!(digest(&server), before);
}
