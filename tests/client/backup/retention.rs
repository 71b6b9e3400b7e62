//! `--keep` and `--if-changed`: what is kept, and when nothing is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{folder, names, sidecar, text};
use crate::program::{Ran, quorlite};
use crate::support::server::Server;

const PATTERN: &str = "app-%Y%m%d-%H%M%S.db";

fn backup(server: &Server, folder: &Path, options: &[&str]) -> Ran {
    let pattern = folder.join(PATTERN);
    quorlite(server, &[&["backup", "-o", text(&pattern), "--json"][..], options].concat()).run()
}

/// Takes a backup and gives it a name of that year, with its sidecar and a time of that year.
fn aged(server: &Server, folder: &Path, year: u64, options: &[&str]) -> PathBuf {
    let printed = backup(server, folder, options).expect();
    let printed: Value = serde_json::from_str(&printed).expect("it is JSON");
    let taken = PathBuf::from(printed["path"].as_str().expect("a path"));
    let path = folder.join(format!("app-{year}0101-000000.db"));
    fs::rename(&taken, &path).expect("it can be renamed");
    fs::rename(format!("{}.json", text(&taken)), format!("{}.json", text(&path))).expect("too");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600);
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(at))
        .expect("set");
    path
}

fn backups(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| name.ends_with(".db")).collect()
}

#[test]
fn the_sequence_decides_what_is_old_and_not_the_clock() {
    let server = Server::fresh();
    let folder = folder(&server, "clock");
    // The clock went back from backup to backup.
    let first = aged(&server, &folder, 2090, &[]);
    let second = aged(&server, &folder, 2080, &[]);
    let third = aged(&server, &folder, 2070, &[]);
    let number = |path: &Path| sidecar(path).expect("it has one")["sequence"].clone();
    assert_eq!([number(&first), number(&second), number(&third)], [1, 2, 3]);
    let printed: Value =
        serde_json::from_str(&backup(&server, &folder, &["--keep", "2"]).expect()).unwrap();
    assert_eq!(printed["removed"], json!([text(&first), text(&second)]));
    assert_eq!(printed["sequence"], json!(4));
    assert!(third.exists() && !first.exists() && !second.exists());
    assert_eq!(names(&folder).len(), 4, "sidecars go with their files: {:?}", names(&folder));
}

#[test]
fn the_newest_verified_one_is_never_removed() {
    let server = Server::fresh();
    let folder = folder(&server, "verified");
    let old = aged(&server, &folder, 2001, &[]);
    let verified = aged(&server, &folder, 2002, &[]);
    let unverified = aged(&server, &folder, 2003, &["--no-verify"]);
    backup(&server, &folder, &["--keep", "1", "--no-verify"]).expect();
    assert!(verified.exists() && !old.exists() && !unverified.exists(), "{:?}", names(&folder));
    assert_eq!(backups(&folder).len(), 2);
    // Once there is a newer one that is verified, it may go.
    backup(&server, &folder, &["--keep", "1"]).expect();
    assert!(!verified.exists());
    assert_eq!(backups(&folder).len(), 1);
}

#[test]
fn what_is_not_of_the_pattern_is_not_touched() {
    let server = Server::fresh();
    let folder = folder(&server, "others");
    let others = [
        "app-20010101.db",
        "app-20011301-000000.db",
        "app-20010101-000000.db.old",
        "xapp-20010101-000000.db",
        "app-20010101-000000.json",
        "notes.txt.json",
        "app-20060101-000000.db.json",
    ];
    for name in others {
        fs::write(folder.join(name), "{}").unwrap();
    }
    fs::create_dir(folder.join("app-20020101-000000.db")).unwrap();
    std::os::unix::fs::symlink("notes.txt.json", folder.join("app-20030101-000000.db")).unwrap();
    // Of the pattern, without a sidecar, with one of another file, and a sidecar alone.
    let stranger = folder.join("app-20900101-000000.db");
    fs::write(&stranger, "SQLite format 3\0").unwrap();
    let (dump, notes) =
        (folder.join("app-20910101-000000.db"), folder.join("app-20920101-000000.db"));
    fs::write(&dump, "PRAGMA foreign_keys=OFF;\n").unwrap();
    fs::write(&notes, "notes").unwrap();
    let changed = aged(&server, &folder, 2085, &[]);
    fs::write(&changed, "changed").unwrap();
    fs::write(folder.join("app-20050101-000000.db.json"), r#"{"sequence": 900, "sha256": ""}"#)
        .unwrap();
    let before = aged(&server, &folder, 2004, &[]);
    let ran = backup(&server, &folder, &["--keep", "2"]);
    for removed in [&stranger, &dump, &changed] {
        let name = removed.file_name().and_then(|name| name.to_str()).unwrap();
        let (_, said) = ran.stderr.split_once("; removed: ").unwrap();
        assert!(said.contains(name), "{}", ran.stderr);
        assert!(!removed.exists(), "{}", removed.display());
    }
    assert!(before.exists() && notes.exists());
    let left = names(&folder);
    for name in others.into_iter().chain(["app-20020101-000000.db", "app-20030101-000000.db"]) {
        assert!(left.contains(&name.to_owned()), "{name} was removed: {left:?}");
    }
    assert!(!left.contains(&"app-20050101-000000.db.json".to_owned()), "{left:?}");
}

#[test]
fn nothing_is_removed_when_the_new_backup_fails() {
    let mut server = Server::fresh();
    let folder = folder(&server, "failing");
    aged(&server, &folder, 2001, &[]);
    aged(&server, &folder, 2002, &[]);
    let before = names(&folder);
    server.kill9();
    backup(&server, &folder, &["--keep", "1"]).fails(3, "cannot reach");
    assert_eq!(names(&folder), before);
}

#[test]
fn nothing_is_done_when_nothing_changed() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let folder = folder(&server, "changes");
    let path = folder.join("app.db");
    let again = |options: &[&str]| {
        let output = ["backup", "-o", text(&path), "--if-changed", "--exit-unchanged"];
        quorlite(&server, &[&output[..], options].concat()).run().status
    };
    let (done, unchanged) = (Some(0), Some(10));
    assert_eq!(again(&[]), done, "there is none yet");
    let first = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    assert_eq!(again(&[]), unchanged);
    let second = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    assert_eq!(first, second);
    let ran = quorlite(&server, &["backup", "-o", text(&path), "--if-changed", "--json"]).run();
    assert!(ran.stderr.starts_with("unchanged: "), "{}", ran.stderr);
    let printed: Value = serde_json::from_str(&ran.expect()).unwrap();
    assert_eq!((&printed["unchanged"], &printed["sequence"]), (&json!(true), &json!(1)));
    server.execute(&["INSERT INTO a VALUES(1)"]);
    assert_eq!(again(&[]), done, "after a write");
    assert_eq!(again(&["--fmt", "delete"]), done, "in another form");
    assert_eq!(again(&["--fmt", "delete"]), unchanged);
    let loaded = fs::read(&path).unwrap();
    assert_eq!(server.request("POST", "/db/load", &[], &loaded).status(), 200);
    assert_eq!(again(&["--fmt", "delete"]), done, "after a restore");
    assert_eq!(again(&["--fmt", "delete"]), unchanged);
}

#[test]
fn a_backup_that_is_not_whole_is_made_again() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let folder = folder(&server, "whole");
    let path = folder.join("app.db");
    let described = folder.join("app.db.json");
    let again = |options: &[&str]| {
        let output = ["backup", "-o", text(&path), "--if-changed", "--exit-unchanged"];
        quorlite(&server, &[&output[..], options].concat()).run().status
    };
    let (done, unchanged) = (Some(0), Some(10));
    assert_eq!([again(&[]), again(&[])], [done, unchanged]);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!([again(&[]), again(&[])], [done, unchanged], "deleted");
    fs::write(&path, &whole[..100]).unwrap();
    assert_eq!([again(&[]), again(&[])], [done, unchanged], "truncated");
    let mut flipped = whole.clone();
    flipped[5000] ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert_eq!([again(&[]), again(&[])], [done, unchanged], "a bit flipped");
    fs::remove_file(&described).unwrap();
    assert_eq!([again(&[]), again(&[])], [done, unchanged], "without a sidecar");
    let broken = [
        "",
        "\0\0",
        r#"{"sequence": 1, "sha256": ""}"#,
        r#"{"sequence": 1, "sha256": "", "etag": 5, "verified": true}"#,
        r#"{"sequence": 1, "sha256": "", "etag": "a\r\nb: c", "bytes": -1}"#,
    ];
    for broken in broken {
        fs::write(&described, broken).unwrap();
        assert_eq!([again(&[]), again(&[])], [done, unchanged], "{broken}");
    }
    assert_eq!(again(&["--no-verify"]), unchanged, "a verified one is more than asked for");
    server.execute(&["INSERT INTO a VALUES(1)"]);
    assert_eq!([again(&["--no-verify"]), again(&["--no-verify"])], [done, unchanged]);
    assert_eq!([again(&[]), again(&[])], [done, unchanged], "an unverified one is less");
}

#[test]
fn a_pattern_looks_at_its_newest_backup() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE a (x)"]);
    let folder = folder(&server, "newest");
    let first = aged(&server, &folder, 2090, &[]);
    server.execute(&["INSERT INTO a VALUES(1)"]);
    let second = aged(&server, &folder, 2001, &[]);
    let unchanged = backup(&server, &folder, &["--if-changed", "--keep", "1"]).expect();
    let unchanged: Value = serde_json::from_str(&unchanged).unwrap();
    assert_eq!(unchanged["path"], json!(text(&second)));
    assert_eq!(unchanged["removed"], json!([text(&first)]));
    fs::remove_file(&second).unwrap();
    backup(&server, &folder, &["--if-changed"]).expect();
    assert_eq!(backups(&folder).len(), 1, "the newest is gone, so there is a new one");
}
