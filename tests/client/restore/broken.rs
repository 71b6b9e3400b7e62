//! Restores that do not come to their end: signals, servers that die or answer early. What is
//! said of the outcome is true, and nothing is left behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{SCHEMA, digest, gzip, names, put, put_database, server};
use crate::fake::{lying, reply};
use crate::program::{command, quorlite, quorlite_alone};
use crate::support::disk::Disk;
use crate::support::eventually;
use crate::support::server::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(server: &Server, arguments: &[&str]) -> Child {
    let mut command: Command = command(server.scratch());
    command.args(["-H", "127.0.0.1", "-p", &server.http().port().to_string()]).args(arguments);
    command.env("TMPDIR", server.scratch());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("the client starts")
}

/// Its status and what it says.
fn end(mut child: Child) -> (Option<i32>, String) {
    drop(child.stdin.take());
    let status =
        eventually("the client ends", PATIENCE, || child.try_wait().expect("it can be waited for"));
    let stderr = std::io::read_to_string(child.stderr.take().expect("it was piped"));
    (status.code(), stderr.expect("the client prints UTF-8"))
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has an id"), Signal::INT).expect("a child can be signalled");
}

fn incoming(server: &Server) -> usize {
    names(&server.directory().join("bodies")).len()
}

/// A copy half of which has reached the server.
fn half_sent(server: &Server, file: &[u8]) -> Child {
    let mut child = start(server, &["restore", "-"]);
    let stdin = child.stdin.as_mut().expect("it was piped");
    stdin.write_all(&file[..file.len() / 2]).expect("the client reads");
    eventually("the upload arrives", PATIENCE, || (incoming(server) > 0).then_some(()));
    child
}

#[test]
fn an_interrupted_upload_changes_nothing() {
    let server = server();
    let sql = "CREATE TABLE a(b); INSERT INTO a VALUES(randomblob(8000000));";
    let file = put_database(&server, "file", sql);
    let before = digest(&server);
    let mut child = half_sent(&server, &file);
    interrupt(&child);
    // Its input does not end before it does: that would be all of the copy.
    eventually("the client ends", PATIENCE, || child.try_wait().unwrap());
    assert_eq!(end(child), (Some(9), String::new()));
    eventually("the upload is given up", PATIENCE, || (incoming(&server) == 0).then_some(()));
    assert_eq!(digest(&server), before);
    server.assert_well("an interrupted upload");
}

#[test]
fn an_interrupted_check_leaves_no_scratch_file() {
    let server = server();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO a SELECT randomblob(1000000) FROM n;";
    let database = put_database(&server, "file", &format!("CREATE TABLE a(b); {sql}"));
    put(&server, "file.gz", &gzip(&database));
    put(
        &server,
        "text",
        format!("CREATE TABLE a(b); {}", sql.replace("40)", "100000)")).as_bytes(),
    );
    let before = names(server.scratch());
    for name in ["file.gz", "text"] {
        let child = start(&server, &["restore", name]);
        eventually("a scratch file", PATIENCE, || {
            (names(server.scratch()).len() > before.len()).then_some(())
        });
        interrupt(&child);
        assert_eq!(end(child).0, Some(9), "{name}");
        assert_eq!(names(server.scratch()), before, "{name}");
    }
}

#[test]
fn a_server_that_dies_in_the_middle_has_taken_nothing() {
    let mut server = server();
    let sql = "CREATE TABLE a(b); INSERT INTO a VALUES(randomblob(8000000));";
    let file = put_database(&server, "file", sql);
    let before = digest(&server);
    let mut child = half_sent(&server, &file);
    server.kill9();
    // The client may find it out before it has read all.
    child.stdin.as_mut().expect("it was piped").write_all(&file[file.len() / 2..]).ok();
    let (status, stderr) = end(child);
    assert_eq!(status, Some(3), "{stderr}");
    assert!(stderr.contains("before all of it was sent; nothing was changed"), "{stderr}");
    server.start();
    assert_eq!(digest(&server), before);
}

fn restore_to(address: SocketAddr, home: &Path, name: &str) -> crate::program::Ran {
    let port = address.port().to_string();
    quorlite_alone(home, &["-H", "127.0.0.1", "-p", &port, "restore", "--no-verify", name]).run()
}

#[test]
fn a_lost_answer_is_an_unknown_outcome() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), vec![b' '; 3_000_000]).unwrap();
    let (address, server) = lying(b"", 3_000_000);
    let ran = restore_to(address, home.path(), "file");
    ran.fails(6, "nobody knows whether it was done");
    assert!(
        ran.stderr.contains("compare it with \"quorlite restore --dry-run\""),
        "{}",
        ran.stderr
    );
    assert_eq!(server.join().unwrap(), 3_000_000);
}

#[test]
fn words_that_leave_it_open_are_no_refusal() {
    let home = tempfile::tempdir().unwrap();
    let text = b"CREATE TABLE a(b);";
    fs::write(home.path().join("text"), text).unwrap();
    let lost = "leadership lost while committing log";
    for (line, said, status) in [
        ("200 OK", lost, 6),
        ("200 OK", "leader not found", 4),
        ("200 OK", "disk I/O error", 1),
        ("500 Internal Server Error", lost, 6),
        ("500 Internal Server Error", "disk I/O error", 1),
        ("502 Bad Gateway", "no server", 6),
        ("504 Gateway Timeout", "no answer", 6),
    ] {
        let body = json!({ "error": said }).to_string();
        let length = body.len().to_string();
        let answer = reply(line, &[("Content-Length", &length)], body.as_bytes());
        let (address, server) = lying(answer, text.len() as u64);
        let ran = restore_to(address, home.path(), "text");
        ran.fails(status, said);
        let is_open = ran.stderr.contains("compare it with \"quorlite restore --dry-run\"");
        assert_eq!(is_open, status == 6, "{}", ran.stderr);
        server.join().unwrap();
    }
}

#[test]
fn what_a_server_says_before_the_end_is_heard() {
    let home = tempfile::tempdir().unwrap();
    let file = File::create(home.path().join("file")).unwrap();
    file.set_len(200 << 20).unwrap();
    let full = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 12\r\n\r\nno room here";
    let (address, server) = lying(full, 1 << 20);
    let ran = restore_to(address, home.path(), "file");
    ran.fails(1, "quorlite: no room here");
    assert_eq!(server.join().unwrap(), 1 << 20);
    let bad = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\nno good";
    let (address, server) = lying(bad, 1 << 20);
    restore_to(address, home.path(), "file").fails(7, "quorlite: file: no good");
    server.join().unwrap();
}

#[test]
fn what_one_node_has_not_taken_goes_to_the_next() {
    let server = server();
    let sql = "CREATE TABLE a(b); INSERT INTO a VALUES(zeroblob(50000000));";
    let file = put_database(&server, "file", sql);
    let next = server.http().to_string();
    let to = |port: &str, name: &str| {
        let to = ["-H", "127.0.0.1", "-p", port, "-a", &next, "restore", name];
        quorlite_alone(server.scratch(), &to).input(&file).run()
    };
    for name in ["file", "-"] {
        let restored = to("1", name);
        assert_eq!(restored.status, Some(0), "{}", restored.stderr);
        assert_eq!(server.value("SELECT length(b) FROM a"), json!(50_000_000));
        server.execute(&["DROP TABLE a"]);

        let (address, liar) = lying(b"", 1 << 20);
        let broken_off = to(&address.port().to_string(), name);
        liar.join().unwrap();
        if name == "file" {
            assert_eq!(broken_off.status, Some(0), "{}", broken_off.stderr);
            server.execute(&["DROP TABLE a"]);
        } else {
            broken_off.fails(3, "standard input can be read only once; nothing was changed");
        }
    }
}

#[test]
fn a_copy_that_never_leaves_is_not_unknown() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), vec![b' '; 50_000_000]).unwrap();
    let (address, server) = lying(b"", 1 << 20);
    let ran = restore_to(address, home.path(), "file");
    ran.fails(3, "before all of it was sent; nothing was changed");
    server.join().unwrap();
}

#[test]
fn a_full_disk_is_said_whosever_it_is() {
    let (Some(here), Some(there)) = (Disk::mount(16), Disk::mount(64)) else { return };
    let full = Options::default().directory(&there.path().join("node")).start();
    full.execute(&["CREATE TABLE t (a)"]);
    let before = digest(&full);
    let sql = "CREATE TABLE a(b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
        WHERE i < 50) INSERT INTO a SELECT randomblob(1000000) FROM n;";
    let file = put_database(&full, "file", sql);
    put(&full, "file.gz", &gzip(&file));
    put(&full, "text", sql.as_bytes());
    let scratch = here.path().to_str().expect("it is UTF-8");
    let unpacked = quorlite(&full, &["restore", "file.gz"]).environment("TMPDIR", scratch).run();
    unpacked.fails(8, "file.gz: no room for the file: ");
    let run = quorlite(&full, &["restore", "text"]).environment("TMPDIR", scratch).run();
    run.fails(8, "cannot run text in ");
    assert!(run.stderr.contains("the disk is full"), "{}", run.stderr);
    assert_eq!(names(here.path()), [""; 0]);

    there.fill(40 << 20);
    for arguments in [&["restore", "file"][..], &["restore", "file.gz"], &["boot", "file"]] {
        quorlite(&full, arguments).run().fails(1, "no room for the file: ");
    }
    let streamed = quorlite(&full, &["restore", "-"]).input(&file).run();
    streamed.fails(1, "no room for the file: ");
    there.release();
    assert_eq!(digest(&full), before);
}

/// The client's largest resident memory in bytes, looked at until it ends.
fn resident_peak(child: &mut Child) -> u64 {
    let mut peak = 0;
    let path = format!("/proc/{}/status", child.id());
    while child.try_wait().expect("it can be waited for").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(number.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    peak * 1024
}

#[test]
fn a_large_restore_takes_little_memory() {
    let server = server();
    let sql = "PRAGMA synchronous=OFF; CREATE TABLE a(id INTEGER PRIMARY KEY, b);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO a SELECT i, randomblob(1000000) FROM n;";
    let file = put_database(&server, "file", sql);
    assert!(file.len() > 200_000_000);
    put(&server, "file.gz", &gzip(&file));
    drop(file);
    for arguments in [
        &["restore", "file"][..],
        &["restore", "--no-verify", "file"],
        &["restore", "file.gz"],
        &["restore", "--dry-run", "file.gz"],
    ] {
        let mut child = start(&server, arguments);
        let peak = resident_peak(&mut child);
        let (status, stderr) = end(child);
        assert_eq!(status, Some(0), "{stderr}");
        assert!((1 << 20..24 << 20).contains(&peak), "{arguments:?}: {peak} bytes");
    }
    assert_eq!(server.query("SELECT count(*), sum(length(b)) FROM a"), json!([[200, 200_000_000]]));
}

#[test]
fn a_large_dump_takes_little_memory() {
    let server = server();
    let mut text = "BEGIN; CREATE TABLE a(id INTEGER PRIMARY KEY, b, c UNIQUE);\n".to_owned();
    for number in 0..300_000_u64 {
        text += &format!("INSERT INTO a VALUES({number},'some text','{:x}');\n", number * 7919);
    }
    put(&server, "text", (text + "COMMIT;").as_bytes());
    let mut child = start(&server, &["restore", "text"]);
    let peak = resident_peak(&mut child);
    let (status, stderr) = end(child);
    assert_eq!(status, Some(0), "{stderr}");
    assert!((1 << 20..24 << 20).contains(&peak), "{peak} bytes");
    assert_eq!(server.value("SELECT count(*) FROM a"), json!(300_000));
    put_database(&server, "small", SCHEMA);
    quorlite(&server, &["restore", "small"]).run().expect();
}
