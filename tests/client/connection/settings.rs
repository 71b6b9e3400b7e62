//! Options, variables and the file of options: which of them counts.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{named, port, run};
use crate::fake::{Fake, reply};
use crate::program::{HEARING, PROGRAM, command};
use crate::support::server::Server;

/// A file that only its owner can read.
fn write(home: &Path, name: &str, text: &str) -> PathBuf {
    let path = home.join(name);
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is made");
    fs::write(&path, text).expect("the file is written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
    path
}

#[test]
fn options_are_taken_in_every_spelling_before_and_after_the_command() {
    let server = Server::fresh();
    let port = server.http().port().to_string();
    let (long_port, short_port) = (format!("--port={port}"), format!("-p{port}"));
    let expected = format!("{} http://{}\n", server.raft(), server.http());
    let lines: [&[&str]; 8] = [
        &["-H", "127.0.0.1", "-p", &port, "leader"],
        &["-H127.0.0.1", &short_port, "leader"],
        &["--host=127.0.0.1", &long_port, "leader"],
        &["--host", "127.0.0.1", "--port", &port, "leader"],
        &["leader", "--host", "127.0.0.1", "--port", &port],
        &["leader", "-H127.0.0.1", &short_port, "-s", "http", "-P", "/", "-t5s", "-q", "-i"],
        &["-p", "1", "leader", "-p", &port, "-u", "a:b"],
        &["-p", &port, "--scheme=http", "--http-timeout=0s", "leader"],
    ];
    for line in lines {
        assert_eq!(run(server.scratch(), line, &[]).expect(), expected, "{line:?}");
    }
    assert_eq!(run(server.scratch(), &["-H", "[::1]", "-p", &port, "leader"], &[]).status, Some(3));
}

#[test]
fn the_prefix_stands_before_every_path() {
    let fake = named("a");
    let home = tempfile::tempdir().unwrap();
    for prefix in ["a/b", "/a/b", "/a/b/"] {
        run(home.path(), &["-p", &port(&fake), "-P", prefix, "leader"], &[]).expect();
    }
    run(home.path(), &["-p", &port(&fake), "leader"], &[]).expect();
    let lines: Vec<String> =
        fake.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    let with = "GET /a/b/leader HTTP/1.1";
    assert_eq!(lines, [with, with, with, "GET /leader HTTP/1.1"]);
}

#[test]
fn the_command_line_counts_before_the_environment_before_the_file() {
    let home = tempfile::tempdir().unwrap();
    let fakes = ["line", "ours", "rqlites", "file"].map(named);
    let [line, ours, rqlites, file] = fakes.each_ref().map(port);
    let plain = format!("127.0.0.1:{ours}");
    let (ours, bare) = (format!("http://{plain}"), format!("//127.0.0.1:{rqlites}/"));
    let rqlites = format!("http://127.0.0.1:{rqlites}");
    let path = write(home.path(), "options", &format!("# ours\n\n--port {file}\n"));
    let path = path.to_str().unwrap();
    let (our, their, option) = ("QUORLITE_HOST", "RQLITE_HOST", "QUORLITE_CONFIG");
    for (arguments, environment, expected) in [
        (&["-p", &line][..], &[(our, &*ours), (their, &*rqlites), (option, path)][..], "line"),
        (&[], &[(our, &*ours), (their, &*rqlites), (option, path)], "ours"),
        (&[], &[(our, &*plain), (option, path)], "ours"),
        (&[], &[(their, &*rqlites), (option, path)], "rqlites"),
        (&[], &[(their, &*bare)], "rqlites"),
        (&["-s", "http"], &[(our, &*ours), (their, &*rqlites), (option, path)], "file"),
        (&["-H", "127.0.0.1"], &[(their, "nonsense"), (option, path)], "file"),
        (&[], &[(option, path)], "file"),
    ] {
        let arguments = [arguments, &["leader"]].concat();
        let ran = run(home.path(), &arguments, environment);
        assert_eq!(ran.expect(), format!("{expected} x\n"), "{arguments:?} {environment:?}");
    }
    // A variable gives the whole address: the file's port is not that host's.
    let ran = run(home.path(), &["leader"], &[(our, "127.0.0.1"), (option, path)]);
    ran.fails(3, "127.0.0.1:4001");
}

#[test]
fn the_file_is_found_where_such_files_are() {
    let home = tempfile::tempdir().unwrap();
    let (usual, other) = (named("usual"), named("other"));
    let place = ".config/quorlite/config";
    write(home.path(), place, &format!("-p{}", port(&usual)));
    write(home.path(), "else/quorlite/config", &format!("-p={}", port(&other)));
    let elsewhere = home.path().join("else");
    let elsewhere = ("XDG_CONFIG_HOME", elsewhere.to_str().unwrap());
    assert_eq!(run(home.path(), &["leader"], &[]).expect(), "usual x\n");
    assert_eq!(run(home.path(), &["leader"], &[elsewhere]).expect(), "other x\n");
    assert_eq!(run(home.path(), &["leader"], &[("XDG_CONFIG_HOME", "else")]).expect(), "usual x\n");
    let ran = run(home.path(), &["-t", "1s", "leader"], &[("QUORLITE_CONFIG", "")]);
    ran.fails(3, "127.0.0.1:4001");
    let ran = run(home.path(), &["leader"], &[("QUORLITE_CONFIG", "missing")]);
    ran.fails(8, "cannot read missing");
}

#[test]
fn users_come_from_the_line_the_environment_and_files() {
    let home = tempfile::tempdir().unwrap();
    let fake = named("a");
    let options = write(home.path(), "options", "--user=filed:of file\n");
    let split = write(home.path(), "else/split", "--user filed\n--password-file=../secret\n");
    let secret = write(home.path(), "secret", "of:secret\nand no more\n");
    let [options, split, secret] = [options, split, secret].map(|path| path.display().to_string());
    let (user, config) = ("QUORLITE_USER", "QUORLITE_CONFIG");
    for (arguments, environment, expected) in [
        (&[][..], &[][..], ""),
        (&["-u", "a:b:c"], &[(user, "x:y"), (config, &*options)], "a:b:c"),
        (&["-u", "a:"], &[], "a:"),
        (&[], &[(user, "x:y"), (config, &*options)], "x:y"),
        (&[], &[(config, &*options)], "filed:of file"),
        (&[], &[(config, &*split)], "filed:of:secret"),
        (&["-u", "a", "--password-file", &secret], &[], "a:of:secret"),
        (&["--password-file", &secret], &[(user, "x:y")], "x:of:secret"),
        (&["-u", "x"], &[(user, "x:y")], "x:y"),
        (&["-u", "x:z"], &[(config, &*split)], "x:z"),
    ] {
        let node = port(&fake);
        let arguments = [&["-p", &node], arguments, &["leader"]].concat();
        let ran = run(home.path(), &arguments, environment);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let head = fake.heads().pop().unwrap();
        let found = head.lines().find_map(|line| line.strip_prefix("authorization: Basic "));
        let found = found.map(|text| STANDARD.decode(text).unwrap()).unwrap_or_default();
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{arguments:?} {environment:?}");
    }
}

#[test]
fn the_user_of_a_file_is_for_the_hosts_it_names() {
    let home = tempfile::tempdir().unwrap();
    let fake = named("a");
    let node = port(&fake);
    let here = format!("http://127.0.0.1:{node}");
    let here = [("QUORLITE_HOST", &*here)];
    let secret = "--user=me\n--password-file=secret\n";
    for (hosts, arguments, environment, expected) in [
        ("--host db1", &["-H", "127.0.0.1"][..], &[][..], false),
        ("--host db1", &[], &here, false),
        ("--host db1", &["-u", "you:too", "-H", "127.0.0.1"], &[], true),
        ("--host db1\n-a db2:1,127.0.0.1:4001", &["-H", "127.0.0.1"], &[], true),
        ("--host 127.0.0.1", &["-H", "127.0.0.1"], &[], true),
        ("--host 127.0.0.1", &[], &here, true),
        ("--host LOCALHOST", &["-H", "localhost"], &[], true),
        ("", &["-H", "127.0.0.1"], &[], true),
        ("--host 127.0.0.1", &[], &[], true),
    ] {
        for user in ["--user=me:sesame\n", secret] {
            write(home.path(), ".config/quorlite/config", &format!("{user}{hosts}\n"));
            write(home.path(), ".config/quorlite/secret", "sesame\n");
            let arguments = [arguments, &["-p", &node, "leader"]].concat();
            // With a port on the line, the variable's address would not count.
            let arguments = if environment.is_empty() { &arguments[..] } else { &["leader"] };
            run(home.path(), arguments, environment).expect();
            let head = fake.heads().pop().unwrap();
            assert_eq!(head.contains("authorization: "), expected, "{hosts} {arguments:?}");
        }
    }
}

#[test]
fn variables_that_are_not_utf_8_are_not_passed_over() {
    let home = tempfile::tempdir().unwrap();
    for name in ["QUORLITE_USER", "QUORLITE_HOST", "RQLITE_HOST"] {
        let mut call = command(home.path());
        let output = call.env(name, OsStr::from_bytes(b"me:\xff")).arg("leader").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let expected = format!("quorlite: {name} is not UTF-8\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    }
}

#[test]
fn a_file_with_a_password_that_others_can_read_is_remarked() {
    let home = tempfile::tempdir().unwrap();
    let fake = named("a");
    let node = port(&fake);
    let path = write(home.path(), "options", "--user=me:sesame\n");
    let environment = [("QUORLITE_CONFIG", path.to_str().unwrap())];
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let ran = run(home.path(), &["-p", &node, "leader"], &environment);
    let path = path.display();
    let expected = format!("quorlite: others can read the password in {path}: chmod 600 {path}\n");
    assert_eq!((ran.status, ran.stderr), (Some(0), expected));
    assert_eq!(run(home.path(), &["-q", "-p", &node, "leader"], &environment).stderr, "");
}

#[test]
fn what_cannot_be_a_connection_is_a_usage_error_without_the_password() {
    let home = tempfile::tempdir().unwrap();
    let bad = write(home.path(), "bad", "--host=db1\n--usr=me:sesame\n");
    let quiet = write(home.path(), "quiet", "\n# only options of the connection\n--quiet\n");
    let secret = write(home.path(), "secret", "sesame\n");
    let twice = write(home.path(), "twice", "--user=me:sesame\n--password-file=secret\n");
    let port = write(home.path(), "port", "--port me:sesame@4001\n");
    let [bad, quiet, secret, twice, port] =
        [bad, quiet, secret, twice, port].map(|path| path.display().to_string());
    let (user, config) = ("QUORLITE_USER", "QUORLITE_CONFIG");
    let both = ["-u", "me:sesame", "--password-file", &secret];
    for (arguments, environment, words) in [
        (&["-u", "me"][..], &[][..], "--password-file FILE, by QUORLITE_USER=NAME:PASSWORD"),
        (&[], &[(user, "me")], "me has no password"),
        (&both, &[], "the password is given twice"),
        (&["--password-file", &secret], &[], "needs a user"),
        (&["-u", "me:sesame", "-k", "key"], &[], "-d FILE"),
        (&["-u", "me:sesame", "-d", "cert"], &[], "-k FILE"),
        (&["-u", "me:sesame", "-p", "0"], &[], "invalid value '0'"),
        (&["-u", "me:sesame", "-s", "ftp"], &[], "invalid value 'ftp'"),
        (&["-u", "me:sesame", "-t", "5"], &[], "not a duration such as 90s"),
        (&["-u", "me:sesame", "--frob"], &[], "unexpected argument '--frob'"),
        (&["-H", "db1:4001"], &[(user, "me:sesame")], "an option of its own, -p"),
        (&["-H", "http://db1"], &[], "is a URL and not a host"),
        (&["-H", "a b"], &[], "a b is no host"),
        (&["-P", "a?b"], &[], "is no path"),
        (&["-a", "db2"], &[], "db2 is not of the form HOST:PORT"),
        (&["-a", "db2:1,::1"], &[], "::1 is not of the form HOST:PORT"),
        (&[], &[("RQLITE_HOST", "localhost:4001")], "there is no // before the host"),
        (&[], &[("RQLITE_HOST", "localhost")], "it should be like http://HOST:PORT"),
        (&[], &[("QUORLITE_HOST", "ftp://db1")], "QUORLITE_HOST is ftp://db1: the scheme"),
        (&[], &[("RQLITE_HOST", "//db1:x")], "the port is not a number"),
        (&[], &[("QUORLITE_HOST", "http://me:sesame@db1")], "QUORLITE_HOST is db1: a user"),
        (&[], &[("RQLITE_HOST", "me:sesame@db1")], "RQLITE_HOST is db1: there is no //"),
        (&["-H", "http://me:se@sesame@db1"], &[], "db1 is a URL and not a host"),
        (&["-H", "me:sesame@db1:4001"], &[], "db1:4001 is no host"),
        (&["-H", "me:sesame@db 1"], &[], "db 1 is no host"),
        (&["-a", "http://me:sesame@db2:4001"], &[], "-a: db2:4001 is not of the form"),
        (&["-p", "me:sesame@db1"], &[], "invalid value 'db1'"),
        (&[], &[(config, &*port)], "port, line 1: invalid value '4001' for '--port"),
        (&[], &[(config, &*bad)], "bad, line 2: unexpected argument '--usr'"),
        (&[], &[(config, &*twice)], "twice: the password is given twice"),
        (&[], &[(config, &*quiet)], "quiet, line 3: unexpected argument '--quiet'"),
    ] {
        let ran = run(home.path(), &[arguments, &["leader"]].concat(), environment);
        ran.fails(2, words);
        assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    }
    for (line, words) in [
        ("leader http://me:sesame@db1", "unexpected argument 'db1' found"),
        ("http://me:sesame@db1", "unrecognized subcommand 'db1'"),
        ("backup -o - --from http://me:sesame@db1", "invalid value 'db1' for '--from"),
        ("backup -o - --from me:sesame@db1", "invalid value 'db1' for '--from"),
        ("bench http://me:sesame@db1:99999", "quorlite: db1:99999: not of the form host:port"),
        ("bench http://me:sesame@db1/db", "quorlite: db1/db: the URL ends with the port"),
    ] {
        let ran = run(home.path(), &line.split(' ').collect::<Vec<_>>(), &[]);
        ran.fails(2, words);
        assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    }
    run(home.path(), &["-u", "me", "--password-file", "none", "leader"], &[]).fails(8, "none");
    // What needs no server asks nobody and reads no file.
    let manual = run(home.path(), &["man", "-u", "me"], &[(config, &*bad)]);
    assert!(manual.expect().contains("QUORLITE_CONFIG"));
}

#[test]
fn passwords_show_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::start(|_| reply("500 Internal Server Error", &[], b"me:sesame is no good"));
    let ran = run(home.path(), &["-p", &port(&fake), "-u", "me:hush", "leader"], &[]);
    ran.fails(1, "is no good");
    assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    let ran = run(home.path(), &["-p", "1", "-u", "me:hush", "leader"], &[]);
    ran.fails(3, "127.0.0.1:1");
    assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    let help = run(home.path(), &["--help", "-u", "me:hush"], &[]).expect();
    assert!(!help.contains("hush"), "{help}");
}

/// Runs it on a terminal, where this is typed once the password is asked for.
fn on_a_terminal(home: &Path, line: &str, typed: &str) -> (Option<i32>, String) {
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("{} {PROGRAM} {line}", HEARING.join(" ")), "/dev/null"])
        .current_dir(home);
    command.env("HOME", home).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("script of util-linux is there");
    let mut stdout = child.stdout.take().expect("it was piped");
    let mut stdin = child.stdin.take().expect("it was piped");
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(b": ") && stdout.read(&mut byte).expect("it is shown") == 1 {
        shown.push(byte[0]);
    }
    stdin.write_all(typed.as_bytes()).expect("it listens");
    stdout.read_to_end(&mut shown).expect("it ends");
    let status = child.wait().expect("it can be waited for").code();
    (status, String::from_utf8(shown).expect("the client prints UTF-8"))
}

#[test]
fn a_password_is_asked_for_on_a_terminal_and_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let fake = named("a");
    let line = format!("-p {} -u me leader", port(&fake));
    let (status, shown) = on_a_terminal(home.path(), &line, "ses:ame\r");
    assert_eq!((status, shown.as_str()), (Some(0), "Password of me: \r\na x\r\n"));
    let expected = format!("authorization: Basic {}\r\n", STANDARD.encode("me:ses:ame"));
    assert!(fake.heads()[0].contains(&expected));
    let (status, shown) = on_a_terminal(home.path(), &line, "ses\x03");
    assert_eq!((status, shown.trim_end()), (Some(9), "Password of me:"));
    assert_eq!(fake.heads().len(), 1);
}
