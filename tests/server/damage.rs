//! Bytes that change while the node is stopped: it starts with everything that was acknowledged,
//! or not at all, and then says which file is wrong and what to do.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::Signal;
use serde_json::json;

use crate::support::Random;
use crate::support::server::Server;

/// Bytes flipped in an ordinary test run, one at a time.
const FLIPS: u64 = 80;

const ROWS: i64 = 60;

/// A stopped node's files, to be damaged again and again.
struct Image {
    server: Server,
    files: BTreeMap<PathBuf, (Vec<u8>, SystemTime)>,
}

impl Image {
    /// A node with a checkpoint in the middle of its rows.
    fn new(is_killed: bool) -> Self {
        let mut server = Server::fresh();
        server.execute(&["CREATE TABLE t (id INTEGER, b)"]);
        for id in 0..ROWS {
            server.execute(&[&format!("INSERT INTO t VALUES({id}, hex(zeroblob({id})))")]);
            if id == ROWS / 2 {
                server.post_bytes("/snapshot?trailing_logs=5", b"");
            }
        }
        if is_killed {
            server.kill9();
        } else {
            server.terminate(Signal::TERM);
        }
        let mut files = BTreeMap::new();
        for path in files_in(server.directory()) {
            let bytes = std::fs::read(&path).expect("it can be read");
            let time = std::fs::metadata(&path).and_then(|found| found.modified());
            files.insert(path, (bytes, time.expect("the system keeps times")));
        }
        Self { server, files }
    }

    /// Puts everything back but for what `change` makes of the file at `path`.
    fn damage(&self, path: &Path, change: Option<&[u8]>) {
        for other in files_in(self.server.directory()) {
            std::fs::remove_file(other).expect("it can be removed");
        }
        for (other, (bytes, time)) in &self.files {
            std::fs::write(other, bytes).expect("it can be written");
            let file = OpenOptions::new().write(true).open(other).expect("it is there");
            file.set_modified(*time).expect("it is one's own");
        }
        match change {
            Some(bytes) => std::fs::write(path, bytes).expect("it can be written"),
            None => std::fs::remove_file(path).expect("it is there"),
        }
    }

    /// Starts it. Refused: the sentence; else fails unless all is there, and kills it.
    fn start(&mut self, what: &str) -> Option<String> {
        let before = self.server.log().len();
        if !self.server.start_or_end() {
            let said = self.server.log()[before..].to_owned();
            assert!(!said.contains("panicked"), "{what}: {said}");
            return Some(said);
        }
        assert_eq!(self.server.value("SELECT count(DISTINCT id) FROM t"), json!(ROWS), "{what}");
        self.server.kill9();
        None
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let folders = ["db", "raft"].map(|folder| std::fs::read_dir(directory.join(folder)));
    let entries = folders.into_iter().flat_map(|found| found.expect("the folder is there"));
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

fn assert_clear(said: &str, path: &Path, what: &str) {
    let is_clear = said.contains(&*path.to_string_lossy())
        || said.contains(&*path.parent().expect("it is in a folder").to_string_lossy());
    let is_helpful =
        ["restore", "start with an empty", "join"].iter().any(|word| said.contains(word));
    assert!(is_clear && is_helpful, "{what}: {said}");
}

#[test]
fn any_flipped_byte_of_log_and_mark_is_found_or_harmless() {
    let mut random = Random(9);
    for is_killed in [true, false] {
        let mut image = Image::new(is_killed);
        let paths: Vec<PathBuf> = image.files.keys().cloned().collect();
        let mut refusals = 0;
        for turn in 0..FLIPS / 2 {
            let path = &paths[usize::try_from(turn).expect("small") % paths.len()];
            // A main file that was written to is refused by its time; a page cannot be told.
            let name = path.to_string_lossy();
            if name.ends_with(".sqlite") || name.ends_with("-shm") {
                continue;
            }
            let mut bytes = image.files[path].0.clone();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            // The log's last record may be torn: nothing behind it says that it was synced.
            let used = if name.ends_with(".log") { used * 9 / 10 } else { used };
            if used == 0 {
                continue;
            }
            let at = usize::try_from(random.below(used as u64)).expect("in memory");
            bytes[at] ^= 1 << random.below(8);
            let what = format!("byte {at} of {name}");
            image.damage(path, Some(&bytes));
            if let Some(said) = image.start(&what) {
                assert_clear(&said, path, &what);
                refusals += 1;
            }
        }
        assert!(refusals > 10, "only {refusals} refusals");
    }
}

#[test]
fn missing_files_are_missed() {
    for is_killed in [true, false] {
        let mut image = Image::new(is_killed);
        let paths: Vec<PathBuf> = image.files.keys().cloned().collect();
        for path in paths {
            let name = path.to_string_lossy().into_owned();
            if name.ends_with("-shm") || name.ends_with("-wal") {
                continue;
            }
            image.damage(&path, None);
            let said = image.start(&name).unwrap_or_else(|| panic!("it starts without {name}"));
            assert_clear(&said, &path, &name);
            // And a second time: the first must have changed nothing.
            assert!(image.start(&name).is_some(), "it starts without {name}");
        }
    }
}

#[test]
fn a_database_without_its_log_is_no_new_node() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (id INTEGER)"]);
    server.kill9();
    std::fs::remove_dir_all(server.directory().join("raft")).expect("it is there");
    for _ in 0..2 {
        assert!(!server.start_or_end(), "it starts without its log");
        assert!(server.log().contains("holds no log"), "{}", server.log());
    }
}

#[test]
fn a_damaged_page_is_said_with_the_file() {
    let mut server = Server::fresh();
    server.execute(&["CREATE TABLE t (id INTEGER)"]);
    server.restart();
    server.terminate(Signal::TERM);
    let path = server.directory().join("db/database-1.sqlite");
    let before = std::fs::metadata(&path).and_then(|found| found.modified()).expect("it is there");
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes[100] = 0xff;
    std::fs::write(&path, bytes).expect("it can be written");
    let file = OpenOptions::new().write(true).open(&path).expect("it opens");
    file.set_modified(before).expect("it is one's own");
    assert!(!server.start_or_end(), "it starts on a damaged schema");
    let log = server.log();
    assert!(log.contains("database-1.sqlite: the database file is damaged"), "{log}");
    assert_clear(&log, &path, "a damaged page");
}
