//! Large databases, busy servers, and followers.

use std::fs;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorlite::os::spawn as thread;

use super::{fill, folder, said, sidecar, spawn, text};
use crate::program::{quorlite, quorlite_alone};
use crate::support::database;
use crate::support::eventually;
use crate::support::server::{Options, Server};

/// Memory that a backup of any size may take.
const MEMORY_MAX: u64 = 24 << 20;

/// The largest resident memory of a child, looked at until it ends.
fn peak(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child can be waited for").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(1024 * number.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

#[test]
fn a_large_database_passes_through_little_memory() {
    let server = Server::fresh();
    for _ in 0..4 {
        fill(&server, 50_000);
    }
    let folder = folder(&server, "large");
    let path = folder.join("app.db");
    let port = server.http().port().to_string();
    for options in [&[][..], &["--no-verify"], &["--compress"], &["--fmt", "sql"]] {
        let arguments = [&["-p", &port, "backup", "-o", text(&path)][..], options].concat();
        let mut child = spawn(&folder, &arguments);
        let peak = peak(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{options:?}: {}", said(&mut child));
        assert!(fs::metadata(&path).unwrap().len() > 190_000_000, "{options:?}");
        assert!(peak > 0 && peak < MEMORY_MAX, "{options:?}: {peak} bytes");
    }
}

#[test]
fn backups_of_a_busy_server_are_of_one_moment() {
    let server = Arc::new(Server::fresh());
    server.execute(&[
        "CREATE TABLE a (n)",
        "CREATE TABLE z (n, b BLOB)",
        "INSERT INTO a VALUES(0)",
    ]);
    let is_over = Arc::new(AtomicBool::new(false));
    let (writes_at, ends) = (Arc::clone(&server), Arc::clone(&is_over));
    let writer = thread("writer", move || {
        let mut writes = 0_u64;
        while !ends.load(Ordering::Relaxed) {
            let body =
                r#"["UPDATE a SET n = n + 1", "INSERT INTO z VALUES(1, randomblob(20000))"]"#;
            let reply = writes_at.post_bytes("/db/execute?transaction", body.as_bytes());
            writes += u64::from(reply.is_success());
        }
        writes
    })
    .unwrap();
    let folder = folder(&server, "busy");
    let path = folder.join("app.db");
    for turn in 0..10 {
        let options: &[&str] = if turn % 2 == 0 { &[] } else { &["--fmt", "delete"] };
        let arguments = [&["backup", "-o", text(&path)][..], options].concat();
        quorlite(&server, &arguments).run().expect();
        let copy = folder.join("copy.db");
        fs::copy(&path, &copy).unwrap();
        let sum = "SELECT (SELECT n FROM a) - (SELECT count(*) FROM z)";
        assert_eq!(database::rows(&database::open(&copy), sum), ["Integer(0)"], "turn {turn}");
        for ending in ["-wal", "-shm"] {
            fs::remove_file(folder.join(format!("copy.db{ending}"))).ok();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 10, "nothing was written meanwhile");
    assert_eq!(sidecar(&path).unwrap()["sequence"], 10);
}

#[test]
fn a_follower_gives_copies_as_fresh_as_they_must_be() {
    let mut leader = Options::default().flags(&["-node-id", "1"]).start();
    let join = leader.raft().to_string();
    let follower = Options::default().flags(&["-node-id", "2", "-join", &join]).start();
    leader.execute(&["CREATE TABLE a (x)", "INSERT INTO a VALUES(1)"]);
    let folder = folder(&follower, "follower");
    let path = folder.join("app.db");
    let (leads, follows) = (leader.http().to_string(), follower.http().to_string());
    let ask = |node: &str, options: &[&str]| {
        let port = node.rsplit(':').next().expect("an address has a port");
        let arguments = [&["-p", port, "backup", "-o", text(&path)][..], options].concat();
        quorlite_alone(&folder, &arguments).run()
    };
    let maker = |node: &str, options: &[&str]| {
        ask(node, options).expect();
        sidecar(&path).expect("it was written")["node"].as_str().expect("a node").to_owned()
    };
    let by = leader.raft().to_string();
    assert_eq!(maker(&follows, &[]), by, "the follower passes it on and says to whom");
    assert_eq!(maker(&follows, &["--from", "leader"]), leads, "the follower says where");
    assert_eq!(maker(&follows, &["--from", "any", "--max-age", "30s"]), follows);
    assert_eq!(maker(&leads, &["--from", &format!("http://{follows}")]), follows);
    leader.kill9();
    eventually("the follower's copy is too old", Duration::from_secs(20), || {
        let ran = ask(&follows, &["--from", "any", "--max-age", "500ms"]);
        (ran.status == Some(4)).then(|| assert!(ran.stderr.contains("staler"), "{}", ran.stderr))
    });
    assert_eq!(maker(&follows, &["--from", "any"]), follows, "where it does not matter");
    assert_eq!(ask(&follows, &[]).status, Some(4), "there is no leader");
}

#[test]
fn a_node_that_dies_in_the_middle_is_replaced_by_another() {
    let mut leader = Options::default().flags(&["-node-id", "1"]).start();
    let join = leader.raft().to_string();
    let follow = |id| Options::default().flags(&["-node-id", id, "-join", &join]).start();
    let (second, third) = (follow("2"), follow("3"));
    fill(&leader, 60_000);
    let folder = folder(&second, "dies");
    let path = folder.join("app.db");
    let others = format!("{},{}", second.http(), third.http());
    let port = leader.http().port().to_string();
    let mut attempts = 0;
    let said = loop {
        let arguments = ["-p", &port, "-a", &others, "backup", "-o", text(&path)];
        let mut child = spawn(&folder, &arguments);
        eventually("a copy is under way", Duration::from_secs(20), || {
            let part = fs::metadata(folder.join(".app.db.part"));
            part.is_ok_and(|part| part.len() > 0).then_some(())
        });
        leader.kill9();
        let said = said(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
        attempts += 1;
        if said.contains("ended the copy early") || attempts == 5 {
            break said;
        }
        // It came too late.
        leader.start();
    };
    assert!(said.contains("once more") && said.contains("verified"), "{said}");
    let rows = database::rows(&database::open(&path), "SELECT count(*) FROM big");
    assert_eq!(rows, ["Integer(60000)"]);
    assert_ne!(sidecar(&path).unwrap()["node"], leader.http().to_string());
}
