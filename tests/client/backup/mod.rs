//! Tests of the client: backup and dump.

mod crashes;
mod lies;
mod loads;
mod options;
mod retention;
mod runs;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::program::command;
use crate::support::server::Server;

/// Statements that make a table of so many rows of 1000 bytes.
fn fill(server: &Server, rows: u32) {
    server.execute(&[
        "CREATE TABLE IF NOT EXISTS big (id INTEGER PRIMARY KEY, b BLOB)",
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                INSERT INTO big(b) SELECT randomblob(1000) FROM n"
        ),
    ]);
}

/// Everything in a folder, hidden files too, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A folder of its own in the server's scratch folder.
fn folder(server: &Server, name: &str) -> std::path::PathBuf {
    let folder = server.scratch().join(name);
    fs::create_dir(&folder).expect("a folder can be made");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have names of text")
}

fn sidecar(backup: &Path) -> Option<Value> {
    let text = fs::read_to_string(format!("{}.json", text(backup))).ok()?;
    Some(serde_json::from_str(&text).expect("a sidecar is JSON"))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails if a sidecar stands beside a file that it does not describe.
fn assert_described(backup: &Path, context: &str) {
    if let Some(sidecar) = sidecar(backup) {
        let bytes = fs::read(backup).expect("what is described is there");
        assert_eq!(sidecar["sha256"], sha256(&bytes), "{context}: {sidecar}");
    }
}

/// The client with these arguments, running.
fn spawn(home: &Path, arguments: &[&str]) -> Child {
    let mut command = command(home);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the client starts")
}

/// What a child said on standard error, once it has ended.
fn said(child: &mut Child) -> String {
    let mut text = String::new();
    let stderr = child.stderr.as_mut().expect("it was piped");
    stderr.read_to_string(&mut text).expect("the client prints UTF-8");
    text
}

/// A server that announces a copy, sends its beginning and then nothing until it is dropped.
struct Stalled {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Stalled {
    fn start() -> Stalled {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let serve = move || {
            let mut open = Vec::new();
            listener.set_nonblocking(true).expect("a listener need not block");
            while !ends.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    let mut start = b"SQLite format 3\0".to_vec();
                    start.resize(1 << 20, 0);
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n";
                    // The client may have gone.
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&start)).ok();
                    open.push(stream);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        quorlite::os::spawn("stalled", serve).expect("a thread can be had");
        Stalled { address, is_over }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
