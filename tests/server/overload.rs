//! Too many connections, slow ones, silent ones: whoever behaves is served all the while.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::server::{Options, Server};

const GROWTH_MAX: u64 = 64 << 20;

/// Files this process may have open: a thousand connections and more.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)
        .expect("up to the maximum");
}

/// A connection, or none when the server refuses more.
fn connect(server: &Server) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&server.http(), Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout above zero");
    Some(stream)
}

fn assert_serves(server: &Server, during: &str) {
    eventually("a new client is served", Duration::from_secs(1), || {
        server.is_ready().then_some(())
    });
    let begin = Instant::now();
    server.execute(&["INSERT INTO t VALUES(1)"]);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "a write took {:?} during {during}",
        begin.elapsed()
    );
}

fn server() -> Server {
    raise_file_limit();
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t (a)"]);
    server
}

#[test]
fn half_open_connections_by_the_thousand() {
    let server = server();
    let before = server.resident();
    let starts: [&[u8]; 5] = [
        b"",
        b"G",
        b"POST /db/execute HTTP/1.1\r\nHost: x\r\n",
        b"POST /db/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
        b"POST /db/execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[",
    ];
    for round in 0..3 {
        let mut held = Vec::new();
        for number in 0..1_000 {
            let Some(mut stream) = connect(&server) else { continue };
            // A server that has closed it already is right too.
            stream.write_all(starts[number % starts.len()]).ok();
            held.push(stream);
        }
        assert!(!held.is_empty(), "no connection at all");
        assert_serves(&server, "half-open connections");
        assert_serves(&server, &format!("half-open connections, round {round}"));
    }
    let grown = server.resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
    server.assert_well("half-open connections");
}

#[test]
fn a_thousand_connections_that_work() {
    let server = server();
    let mut held: Vec<TcpStream> = (0..1_000).filter_map(|_| connect(&server)).collect();
    let request = b"GET /readyz?noleader HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut served, mut refused) = (0, 0);
    for stream in &mut held {
        stream.write_all(request).ok();
    }
    for stream in &mut held {
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer) {
            Ok(()) if &answer == b"HTTP/1.1 200" => served += 1,
            Ok(()) => {
                assert_eq!(&answer, b"HTTP/1.1 503");
                refused += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(served >= 100, "{served} served, {refused} refused");
    drop(held);
    server.assert_well("a thousand connections");
}

#[test]
fn bursts_are_served_whole() {
    let server = server();
    for _ in 0..20 {
        let mut streams: Vec<TcpStream> = (0..40).filter_map(|_| connect(&server)).collect();
        assert_eq!(streams.len(), 40);
        for stream in &mut streams {
            stream.write_all(b"GET /readyz?noleader HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        for stream in &mut streams {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    }
}

#[test]
fn clients_that_never_read() {
    let server = server();
    server.execute(&["INSERT INTO t VALUES(zeroblob(20000000))"]);
    let mut held = Vec::new();
    for number in 0..50 {
        let Some(mut stream) = connect(&server) else { continue };
        let target =
            if number % 2 == 0 { "/db/query?q=SELECT%20hex(a)%20FROM%20t" } else { "/db/backup" };
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok();
        held.push(stream);
        if number % 10 == 0 {
            assert_serves(&server, "clients that never read");
        }
    }
    assert_serves(&server, "clients that never read");
    drop(held);
    server.assert_well("clients that never read");
}

#[test]
fn a_head_one_byte_at_a_time_is_cut() {
    let server = server();
    let mut stream = connect(&server).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let begin = Instant::now();
    let cut = eventually("the head's deadline", Duration::from_secs(60), || {
        let is_cut = stream.write_all(b"G").is_err() || stream.read(&mut [0; 100]).is_ok();
        is_cut.then(|| begin.elapsed())
    });
    assert!(cut < Duration::from_secs(40), "only after {cut:?}");
    server.assert_well("a slow head");
}

#[test]
fn pipelined_requests_wait_in_the_kernel() {
    let server = server();
    let before = server.resident();
    let mut stream = connect(&server).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let slow = "GET /db/query?db_timeout=2s&q=WITH%20RECURSIVE%20n(i)%20AS%20(SELECT%201%20UNION%20ALL%20SELECT%20i%2B1%20FROM%20n)%20SELECT%20max(i)%20FROM%20n HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(slow.as_bytes()).unwrap();
    let many = "GET /readyz?noleader HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    for _ in 0..100 {
        if stream.write_all(many.as_bytes()).is_err() {
            break;
        }
    }
    assert_serves(&server, "pipelined requests");
    let grown = server.resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
}

#[test]
fn files_run_out_and_come_back() {
    // Its own limit, so that accepting fails before the system's does.
    let server = Options::default().start();
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let few = rustix::process::Rlimit { current: Some(48), maximum: Some(48) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, few).unwrap();
    let held: Vec<_> = (0..100).filter_map(|_| connect(&server)).collect();
    assert!(!held.is_empty());
    drop(held);
    eventually("it accepts again", Duration::from_secs(5), || server.is_ready().then_some(()));
    server.execute(&["CREATE TABLE u (a)"]);
    assert_eq!(server.value("SELECT count(*) FROM u"), json!(0));
}

#[test]
fn connections_that_are_reset_by_the_thousand() {
    let server = server();
    let (threads, files) = (server.count("task"), server.count("fd"));
    for number in 0..3_000 {
        let Some(mut stream) = connect(&server) else { continue };
        if number % 2 == 0 {
            stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").ok();
        }
        // Unread bytes or not: closing with an answer on its way resets.
        drop(stream);
    }
    server.assert_well("resets");
    let begin = Instant::now();
    loop {
        // SQLite keeps the descriptors of closed read connections, to use them again, as long as
        // anybody holds a lock on the file: as many as were ever open at once, 256 at most.
        let (tasks, open) = (server.count("task"), server.count("fd"));
        if tasks <= threads + 20 && open <= files + 300 {
            return;
        }
        let left = format!("{tasks} threads of {threads}, {open} files of {files}");
        assert!(begin.elapsed() < Duration::from_secs(30), "not given back: {left}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_backup_in_the_way_of_the_wal_is_cut() {
    let server = Options::default().flags(&["-backup-wal-max", "8M"]).start();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40)
        INSERT INTO t SELECT randomblob(1000000) FROM n";
    server.execute(&["CREATE TABLE t (a)", fill]);
    server.post_bytes("/snapshot", b"");
    let mut slow: Vec<_> = ["/db/backup", "/db/backup?fmt=sql", "/db/backup?compress"]
        .iter()
        .map(|target| {
            let mut client = server.client();
            client.send("GET", target, &[], None).unwrap();
            let head = client.head("GET").unwrap();
            assert_eq!(head.status, 200, "{target}");
            (target, client, head)
        })
        .collect();
    let wal = server.directory().join("db/database-1.sqlite-wal");
    for _ in 0..40 {
        server.execute(&["INSERT INTO t VALUES(randomblob(1000000))"]);
        // As a busy node does: limits are looked at ten times a second.
        std::thread::sleep(Duration::from_millis(30));
    }
    for (target, client, head) in &mut slow {
        let mut body = Vec::new();
        let result = client.body(head, &mut body);
        assert!(result.is_err(), "{target} ended well with {} bytes", body.len());
    }
    let longest = std::fs::metadata(&wal).unwrap().len();
    assert!(longest < 100 << 20, "the WAL has grown to {longest} bytes");
    server.assert_well("backups that were cut");
    // The WAL starts over with the next checkpoint, which may be a second away.
    eventually("a backup is made again", Duration::from_secs(5), || {
        (server.get("/db/backup").status() == 200).then_some(())
    });
}
