//! Ends and failures at every point: the target is the old backup or the new one, and whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{assert_described, fill, folder, names, said, sidecar, spawn, text};
use crate::program::{PROGRAM, quorlite};
use crate::support::disk::Disk;
use crate::support::golden::say;
use crate::support::server::Server;

/// Kills spread over one run.
const KILLS: u32 = 40;

/// A server with a database, an old backup of it in a folder, and what the new one must be.
struct Scene {
    server: Server,
    folder: PathBuf,
    path: PathBuf,
    old: Vec<u8>,
    old_sidecar: Vec<u8>,
    new: Vec<u8>,
}

impl Scene {
    fn new(rows: u32) -> Scene {
        let server = Server::fresh();
        server.execute(&["CREATE TABLE a (x)"]);
        let folder = folder(&server, "scene");
        let path = folder.join("app.db");
        quorlite(&server, &["backup", "-o", text(&path)]).run().expect();
        let old = fs::read(&path).expect("it is there");
        let old_sidecar = fs::read(folder.join("app.db.json")).expect("it is there");
        fill(&server, rows);
        let new = server.get("/db/backup").body;
        assert!(new.len() > old.len(), "they can be told apart");
        Scene { server, folder, path, old, old_sidecar, new }
    }

    /// Puts the old backup back.
    fn reset(&self) {
        fs::write(&self.path, &self.old).expect("it can be written");
        fs::write(self.folder.join("app.db.json"), &self.old_sidecar).expect("it can be written");
    }

    fn arguments(&self) -> [String; 5] {
        let port = self.server.http().port().to_string();
        ["-p", &port, "backup", "-o", text(&self.path)].map(str::to_owned)
    }

    /// Insists on the old backup or the new one; whether it is the new one.
    fn assert_whole(&self, context: &str) -> bool {
        let found = fs::read(&self.path).expect("one of them is there");
        assert!(found == self.old || found == self.new, "{context}: {} bytes", found.len());
        assert_described(&self.path, context);
        found == self.new
    }

    /// The next run succeeds and leaves nothing of those before.
    fn assert_goes_on(&self, context: &str) {
        quorlite(&self.server, &["backup", "-o", text(&self.path)]).run().expect();
        assert!(self.assert_whole(context), "{context}");
        assert_eq!(names(&self.folder), ["app.db", "app.db.json"], "{context}");
        assert!(sidecar(&self.path).is_some(), "{context}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_backup_or_the_new_one() {
    let scene = Scene::new(12_000);
    let arguments = scene.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    assert_eq!(spawn(&scene.folder, &arguments).wait().unwrap().code(), Some(0));
    let whole = began.elapsed();
    let (mut replaced, mut unfinished) = (0, 0);
    for kill in 0..KILLS {
        scene.reset();
        let mut child = spawn(&scene.folder, &arguments);
        std::thread::sleep(whole * kill / KILLS);
        child.kill().unwrap();
        child.wait().unwrap();
        replaced += u32::from(scene.assert_whole(&format!("kill {kill}")));
        unfinished += u32::from(scene.folder.join(".app.db.part").exists());
    }
    let sql = [&arguments[..], &["--fmt", "sql"]].concat();
    for kill in 0..KILLS / 4 {
        scene.reset();
        let mut child = spawn(&scene.folder, &sql);
        std::thread::sleep(whole * kill / 5);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_described(&scene.path, "while a text is looked into");
    }
    assert!(unfinished > 0, "no kill came in the middle of a transfer");
    assert!(replaced < KILLS, "every kill came too late");
    scene.assert_goes_on("after the kills");
}

#[test]
fn an_interrupt_at_any_moment_leaves_nothing_behind() {
    let scene = Scene::new(12_000);
    let arguments = scene.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for form in [&[][..], &["--fmt", "sql"], &["--compress"]] {
        let arguments = [&arguments[..], form].concat();
        let began = Instant::now();
        assert_eq!(spawn(&scene.folder, &arguments).wait().unwrap().code(), Some(0));
        let whole = began.elapsed();
        let mut interrupted = 0;
        for moment in 0..15 {
            scene.reset();
            let mut child = spawn(&scene.folder, &arguments);
            std::thread::sleep(whole * moment / 15);
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
            // It may have ended.
            kill_process(pid, Signal::INT).ok();
            let status = child.wait().unwrap().code();
            // Before it waits for signals one just ends it.
            assert!(matches!(status, Some(0 | 9) | None), "{form:?} {moment}: {status:?}");
            interrupted += u32::from(status == Some(9));
            let left = names(&scene.folder);
            let is_clean = left == ["app.db", "app.db.json"] || left == ["app.db"];
            assert!(is_clean, "{form:?} {moment}: {left:?}");
            assert_described(&scene.path, "interrupted");
            let found = fs::read(&scene.path).unwrap();
            assert!(status == Some(0) || found == scene.old || sidecar(&scene.path).is_some());
        }
        assert!(interrupted > 3, "{form:?}: only {interrupted} were interrupted");
    }
}

/// Runs the client while strace does this to it; its exit status, none when it was killed.
fn traced(scene: &Scene, inject: &str) -> (Option<i32>, String) {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]);
    command.arg(PROGRAM).args(scene.arguments()).current_dir(&scene.folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("strace starts");
    let said = said(&mut child);
    (child.wait().expect("it can be waited for").code(), said)
}

fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-D", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    let has = probe.status().is_ok_and(|status| status.success());
    if !has {
        say("skipped: there is no strace here, or it may not trace");
    }
    has
}

#[test]
fn a_kill_at_each_step_of_publishing_leaves_the_old_backup_or_the_new_one() {
    if !has_strace() {
        return;
    }
    let scene = Scene::new(100);
    let mut outcomes = Vec::new();
    // Copy and sidecar are synced, the folder thrice; a scratch folder and a sidecar go, and two
    // names are given.
    for (call, times) in
        [("fsync", 5), ("unlink", 2), ("rename", 2), ("ftruncate", 2), ("flock", 2)]
    {
        for when in 1..=times {
            scene.reset();
            let inject = format!("{call}:signal=KILL:when={when}");
            let (status, said) = traced(&scene, &inject);
            assert_eq!((status, said.as_str()), (None, ""), "{inject}");
            outcomes.push(scene.assert_whole(&inject));
        }
    }
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
    scene.assert_goes_on("after the kills");
}

#[test]
fn a_failure_at_each_step_is_told_and_cleaned_up() {
    if !has_strace() {
        return;
    }
    let scene = Scene::new(100);
    let mut replaced = 0;
    for (inject, says) in [
        ("fsync:error=EIO:when=1", ".app.db.part: Input/output error"),
        ("fsync:error=EIO:when=2", ".app.db.json.part: Input/output error"),
        ("fsync:error=EIO:when=3", "Input/output error"),
        ("fsync:error=EIO:when=4", "app.db is replaced, but not described"),
        ("fsync:error=EIO:when=5", "app.db is replaced, but not described"),
        ("unlink:error=EIO:when=2", "Input/output error"),
        ("rename:error=EIO:when=1", "cannot replace"),
        ("rename:error=EIO:when=2", "app.db is replaced, but not described"),
        ("ftruncate:error=EIO:when=1", ".app.db.part: Input/output error"),
        ("fchmod:error=EPERM:when=1", ".app.db.part: Operation not permitted"),
        ("flock:error=ENOLCK:when=1", ".app.db.part: No locks available"),
        ("fstatfs,statfs:error=EIO", "free space"),
    ] {
        scene.reset();
        let (status, said) = traced(&scene, inject);
        assert_eq!(status, Some(8), "{inject}: {said}");
        assert!(said.contains(says) && said.contains("app.db"), "{inject}: {said}");
        replaced += u32::from(scene.assert_whole(inject));
        let left = names(&scene.folder);
        let is_clean = left.iter().all(|name| ["app.db", "app.db.json"].contains(&name.as_str()));
        assert!(is_clean, "{inject}: {left:?}");
    }
    assert_eq!(replaced, 3);
    scene.assert_goes_on("after the failures");
}

#[test]
fn a_signal_while_it_is_published_says_so() {
    if !has_strace() {
        return;
    }
    let scene = Scene::new(100);
    // The one that gives the copy its name.
    let (status, said) = traced(&scene, "rename:signal=INT:when=1");
    assert!(scene.assert_whole("interrupted while it is published"));
    let is_done = status == Some(0) && said.contains("verified");
    let is_said = status == Some(9) && said.contains("app.db is written, but a signal");
    assert!(is_done || is_said, "{status:?}: {said}");
    assert_eq!(names(&scene.folder), ["app.db", "app.db.json"]);
}

#[test]
fn an_old_backup_that_cannot_go_is_told_after_the_new_one() {
    if !has_strace() {
        return;
    }
    let server = Server::fresh();
    let folder = folder(&server, "stuck");
    fs::write(folder.join("app-2001.db"), "SQLite format 3\0 and old").unwrap();
    let port = server.http().port().to_string();
    let pattern = folder.join("app-%Y.db");
    let mut command = Command::new("strace");
    let inject = "inject=unlink:error=EACCES:when=1";
    let old = folder.join("app-2001.db");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", inject, "-P", text(&old)]);
    command.arg(PROGRAM).args(["-p", &port, "backup", "--json", "--keep", "1"]);
    command.args(["-o", text(&pattern)]).stdin(Stdio::null());
    let ran = command.output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(8), "{said}");
    assert!(said.contains(", verified, "), "{said}");
    assert!(said.contains(".db is written, but cannot remove an old backup"), "{said}");
    let object: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&object["removed"], &object["verified"]), (&json!([]), &json!(true)));
    assert_eq!(names(&folder).len(), 3, "{:?}", names(&folder));
}

#[test]
fn a_full_disk_leaves_the_old_backup_and_its_room() {
    let Some(disk) = Disk::mount(32) else { return };
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let path = disk.path().join("app.db");
    quorlite(&server, &["backup", "-o", text(&path)]).run().expect();
    let old = fs::read(&path).unwrap();
    fill(&server, 12_000);
    let refuse = |context: &str, options: &[&str], word: &str| {
        let free = disk.free();
        let arguments = [&["backup", "-o", text(&path)][..], options].concat();
        quorlite(&server, &arguments).run().fails(8, word);
        assert_eq!(fs::read(&path).unwrap(), old, "{context}");
        assert_eq!(names(disk.path()).iter().filter(|name| name.contains("app")).count(), 2);
        assert!(disk.free() >= free, "{context}: {} of {free} are free", disk.free());
    };
    refuse("too little would stay free", &["--min-free", "24M"], "must stay free");
    disk.fill(6 << 20);
    refuse("announced", &[], "has no room");
    refuse("not announced", &["--fmt", "sql"], "No space left");
    refuse("not announced, packed", &["--compress"], "No space left");
    refuse("packed, some must stay free", &["--compress", "--min-free", "5G"], "must stay free");
    disk.release();
    // The copy fits, but not what it is unpacked into.
    disk.fill(18 << 20);
    refuse("no room to look into it", &["--compress"], "no room");
    quorlite(&server, &["backup", "--compress", "--no-verify", "-o", text(&path)]).run().expect();
    disk.release();
    quorlite(&server, &["backup", "-o", text(&path)]).run().expect();
    assert_ne!(fs::read(&path).unwrap(), old);
}

#[test]
fn what_must_stay_free_stays_so_while_the_copy_is_looked_into() {
    let Some(disk) = Disk::mount(64) else { return };
    let server = Server::fresh();
    fill(&server, 12_000);
    let path = disk.path().join("app.db");
    for (options, fits) in [
        // 12 MB packed and unpacked, and 24 MB of text for 12 MB.
        (["--compress", "--min-free", "45M"], "30M"),
        (["--fmt=sql", "--min-free", "33M"], "15M"),
    ] {
        let arguments = |free_min| ["backup", "-o", text(&path), options[0], options[1], free_min];
        let ran = quorlite(&server, &arguments(options[2])).run();
        ran.fails(8, "no room for the file");
        assert!(names(disk.path()).is_empty(), "{:?}", names(disk.path()));
        quorlite(&server, &arguments(fits)).run().expect();
        fs::remove_file(&path).unwrap();
        fs::remove_file(disk.path().join("app.db.json")).unwrap();
    }
}

/// The time in which everything above must be far from over, were it waiting for something.
#[test]
fn an_unfinished_copy_in_the_way_costs_no_time() {
    let scene = Scene::new(10);
    fs::write(scene.folder.join(".app.db.part"), vec![1; 4 << 20]).unwrap();
    fs::write(scene.folder.join(".app.db.json.part"), "rest").unwrap();
    let began = Instant::now();
    scene.assert_goes_on("leftovers");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!Path::new(&scene.folder).join(".app.db.part").exists());
}
