//! Runs that meet, are interrupted, or find the leftovers of another.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Stalled, folder, names, said, sidecar, spawn, text};
use crate::program::{PROGRAM, quorlite, quorlite_alone};
use crate::support::eventually;
use crate::support::server::Server;

/// Waits until the unfinished copy has some bytes.
fn await_part(path: &Path) {
    eventually("a copy is under way", Duration::from_secs(20), || {
        fs::metadata(path).is_ok_and(|part| part.len() > 0).then_some(())
    });
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has an id"), signal).expect("a child can be signalled");
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let stalled = Stalled::start();
    for (name, sent) in [("int", Signal::INT), ("term", Signal::TERM), ("hup", Signal::HUP)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        fs::write(&path, "the old backup").unwrap();
        let mut child = spawn(folder.path(), &["-p", &stalled.port(), "backup", "-o", "app.db"]);
        await_part(&folder.path().join(".app.db.part"));
        signal(&child, sent);
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
        assert_eq!(names(folder.path()), ["app.db"], "{name}");
        assert_eq!(fs::read(&path).unwrap(), b"the old backup", "{name}");
    }
}

#[test]
fn a_limit_of_file_sizes_is_an_error_like_a_full_disk() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t(a)"]);
    let folder = tempfile::tempdir().unwrap();
    let script = format!("ulimit -f 1; exec {PROGRAM} -p {} backup -o u.db", server.http().port());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path()).env("HOME", folder.path());
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(8), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}

#[test]
fn two_runs_for_one_place_do_not_meet() {
    let stalled = Stalled::start();
    let server = Server::fresh();
    for output in ["app.db", "app-%Y%m%d-%H%M%S.db"] {
        let folder = tempfile::tempdir().unwrap();
        let mut first = spawn(folder.path(), &["-p", &stalled.port(), "backup", "-o", output]);
        let part = folder.path().join(format!(".{output}.part"));
        await_part(&part);
        let begun = fs::metadata(&part).unwrap().len();
        let began = Instant::now();
        let port = server.http().port().to_string();
        let second = quorlite_alone(folder.path(), &["-p", &port, "backup", "-o", output]).run();
        second.fails(8, &format!("another backup to {output} is running"));
        assert!(began.elapsed() < Duration::from_secs(5), "it waited");
        assert!(fs::metadata(&part).unwrap().len() >= begun, "it touched the other's copy");
        // Another name is no concern of theirs.
        let other = quorlite_alone(folder.path(), &["-p", &port, "backup", "-o", "other.db"]).run();
        other.expect();
        // What a killed run leaves is taken over by the next.
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(part.exists());
        quorlite_alone(folder.path(), &["-p", &port, "backup", "-o", output]).run().expect();
        assert_eq!(names(folder.path()).len(), 4, "{:?}", names(folder.path()));
    }
}

#[test]
fn of_many_at_once_each_is_done_or_refused() {
    let server = Server::fresh();
    super::fill(&server, 5000);
    let folder = folder(&server, "many");
    let path = folder.join("app.db");
    let port = server.http().port().to_string();
    let mut done = 0;
    for _ in 0..5 {
        let arguments = ["-p", &port, "backup", "-o", text(&path)];
        let mut children: Vec<_> = (0..4).map(|_| spawn(&folder, &arguments)).collect();
        for child in &mut children {
            let said = said(child);
            match child.wait().unwrap().code() {
                Some(0) => done += 1,
                Some(8) => assert!(said.contains("is running"), "{said}"),
                other => panic!("{other:?}: {said}"),
            }
        }
        super::assert_described(&path, "many at once");
        assert_eq!(names(&folder), ["app.db", "app.db.json"]);
    }
    assert!(done >= 5, "each time one is done: {done}");
    assert_eq!(sidecar(&path).unwrap()["sequence"], done);
}

#[test]
fn leftovers_that_are_no_files_are_not_written_into() {
    let server = Server::fresh();
    let folder = folder(&server, "traps");
    let path = folder.join("app.db");
    let trap = folder.join("victim");
    fs::write(&trap, "precious").unwrap();
    std::os::unix::fs::symlink(&trap, folder.join(".app.db.part")).unwrap();
    let ran = quorlite(&server, &["backup", "-o", text(&path)]).run();
    ran.fails(8, ".app.db.part");
    assert_eq!(fs::read(&trap).unwrap(), b"precious");
    assert_eq!(names(&folder), [".app.db.part", "victim"]);
    fs::rename(folder.join(".app.db.part"), folder.join(".app.db.json.part")).unwrap();
    let ran = quorlite(&server, &["backup", "-o", text(&path)]).run();
    ran.fails(8, ".app.db.json.part");
    assert_eq!(fs::read(&trap).unwrap(), b"precious");
    assert_eq!(names(&folder), [".app.db.json.part", "victim"]);
}
