//! Help, the manual, completions, and usage errors.

use std::process::{Command, Stdio};

use crate::fake::{Fake, reply};
use crate::program::{PROGRAM, command, quorlite};
use crate::support::server::{Server, free_port};

use super::run;

/// Every command there is.
const COMMANDS: [&str; 21] = [
    "query",
    "execute",
    "script",
    "schema",
    "tables",
    "import",
    "backup",
    "dump",
    "restore",
    "boot",
    "status",
    "nodes",
    "ready",
    "leader",
    "remove",
    "stepdown",
    "snapshot",
    "bench",
    "shell",
    "completions",
    "man",
];

#[test]
fn help_lists_commands_options_and_statuses() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["--help"], &[]).expect();
    let expected = COMMANDS.iter().map(|command| format!("\n  {command} "));
    let statuses = (0..=10).map(|status| format!("\n  {status:>2}  "));
    let options = ["-H, --host", "    --password-file", "-t, --http-timeout", "--batch"];
    for text in expected.chain(statuses).chain(options.map(str::to_owned)) {
        assert!(help.contains(&text), "{text} in {help}");
    }
    assert!(help.lines().count() < 80, "two pages at most");
    for command in COMMANDS {
        let own = run(home.path(), &[command, "-h"], &[]).expect();
        assert!(own.contains(&format!("Usage: quorlite {command}")), "{own}");
        assert!(own.contains("--password-file"), "{own}");
    }
    let version = run(home.path(), &["-v"], &[]).expect();
    assert_eq!(version, format!("quorlite {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_is_a_command_too() {
    let home = tempfile::tempdir().unwrap();
    let same = |asked: &[&str], option: &[&str]| {
        let help = run(home.path(), asked, &[]).expect();
        assert_eq!(help, run(home.path(), option, &[]).expect());
    };
    same(&["help"], &["--help"]);
    same(&["help", "backup"], &["backup", "--help"]);
}

#[test]
fn the_manual_tells_everything_on_one_page() {
    let home = tempfile::tempdir().unwrap();
    let page = run(home.path(), &["man"], &[]).expect();
    for command in COMMANDS {
        assert!(page.contains(&format!("\n.SS quorlite {command}")), "{command} in {page}");
    }
    for text in [
        "\n.TH quorlite 1",
        "\n.SH EXIT STATUS",
        "\n.SH ENVIRONMENT",
        "\n.SH FILES",
        "\\fB10\\fR",
        "\\fBRQLITE_HOST\\fR",
        "\\fBQUORLITE_HISTFILESIZE\\fR",
        "~/.quorlite_history",
        "\\-\\-trailing\\-logs",
        "/etc/quorlite/config",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let home = tempfile::tempdir().unwrap();
    for line in [&["--help"][..], &["-v"], &["backup", "-h"], &["man"], &["completions", "bash"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(home.path()).args(line).stdout(full).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{line:?}: {text}");
        assert!(text.contains("cannot write the output: No space left"), "{line:?}: {text}");
    }
}

/// What `bash` completes the last of these words to.
fn complete(words: &[&str], files: &[&str]) -> Vec<String> {
    let home = tempfile::tempdir().expect("a folder can be made");
    for name in files {
        std::fs::write(home.path().join(name), "").expect("the file is written");
    }
    // Only a completion under way may use `compopt`.
    let script = "compopt() { :; }; source <(\"$1\" completions bash); shift\n\
         COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n\
         _quorlite quorlite \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
         printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash", PROGRAM, "quorlite"]).args(words);
    command.stdin(Stdio::null()).current_dir(home.path()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path());
    let output = command.output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_values_and_files() {
    for (words, expected) in [
        (&["st"][..], &["status", "stepdown"][..]),
        (&["-q", "sn"], &["snapshot"]),
        (&["ready", "--w"], &["--wait"]),
        (&["--pass"], &["--password-file"]),
        (&["ready", "--http"], &["--http-timeout"]),
        (&["--scheme", "h"], &["http", "https"]),
        (&["-s", "https"], &["https"]),
        (&["nodes", "--format", "t"], &["table"]),
        (&["completions", "z"], &["zsh"]),
        (&["--ca-cert", "ca"], &["ca.pem"]),
        (&["--password-file", "pass"], &["password"]),
    ] {
        assert_eq!(complete(words, &["ca.pem", "password"]), expected, "{words:?}");
    }
    let all = complete(&[""], &[]);
    for command in COMMANDS {
        assert!(all.iter().any(|word| word == command), "{command} in {all:?}");
    }
}

#[test]
fn the_other_shells_have_completions_too() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        let text = run(home.path(), &["completions", shell], &[]).expect();
        assert!(text.contains("stepdown") && text.contains("trailing-logs"), "{shell}");
    }
    run(home.path(), &["completions", "ksh"], &[]).fails(2, "invalid value 'ksh'");
}

#[test]
fn what_is_asked_wrongly_exits_with_2() {
    let home = tempfile::tempdir().unwrap();
    for (line, complaint) in [
        ("dance", "unrecognized subcommand 'dance'"),
        ("--bad", "unexpected argument '--bad'"),
        ("--batch leader", "--batch is for the shell alone"),
        ("leader now", "unexpected argument 'now'"),
        ("remove", "<NODE_ID>"),
        ("bench a b", "unexpected argument 'b'"),
        ("bench --bad", "unexpected argument '--bad'"),
        ("bench --seconds", "a value is required for '--seconds <N>'"),
        ("bench --seconds 0", "not a number from 0.1 to 3600"),
        ("bench --json=1 a", "unexpected value '1'"),
        ("bench a --workload insert,flood", "flood"),
        ("bench a --clients 1,x", "invalid value 'x'"),
        ("bench a --clients 5000", "5000 is not in 1..=4096"),
        ("bench a --size 1P", "not a number of bytes"),
        ("bench https://a", "a benchmark connects by http:// only"),
        ("-s https bench", "a benchmark connects by http:// only"),
        ("-P /a bench", "without a prefix"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ran = run(home.path(), &words, &[]);
        ran.fails(2, complaint);
        assert!(ran.stderr.starts_with("quorlite: "), "{}", ran.stderr);
    }
    let dead = free_port();
    let url = format!("http://127.0.0.1:{dead}");
    for words in [&["bench", &url, "--seconds", "1"][..], &["-p", &dead.to_string(), "bench"]] {
        run(home.path(), words, &[]).fails(3, &format!("cannot connect to 127.0.0.1:{dead}: "));
    }
}

#[test]
fn a_benchmark_that_fails_has_the_status_of_its_cause() {
    let home = tempfile::tempdir().unwrap();
    let done =
        |body: &[u8]| reply("200 OK", &[("Content-Length", body.len().to_string().as_str())], body);
    let refusing = || reply("401 Unauthorized", &[("Content-Length", "0")], b"");
    for (workload, status, answers) in [
        ("insert", 5, [refusing(), refusing(), refusing()]),
        ("insert", 3, [Vec::new(), Vec::new(), Vec::new()]),
        ("load", 6, [done(b"{}"), done(b"copy"), Vec::new()]),
    ] {
        let fake = Fake::start(move |head| match head {
            head if head.contains("/db/load") => answers[2].clone(),
            head if head.contains("/db/backup") => answers[1].clone(),
            _ => answers[0].clone(),
        });
        let url = format!("http://{}", fake.address);
        let arguments = ["bench", &url, "--workload", workload, "--size", "1", "--seconds", "0.1"];
        let temporary = home.path().to_str().unwrap();
        let ran = run(home.path(), &arguments, &[("TMPDIR", temporary)]);
        assert_eq!(ran.status, Some(status), "{workload}: {ran:?}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "a copy is left");
    }
}

#[test]
fn a_benchmark_measures_the_server_of_its_url_or_of_the_connection() {
    let server = Server::fresh();
    let line = ["--workload", "insert,point-none", "--clients", "2", "--seconds", "0.1", "--json"];
    let url = format!("http://{}", server.http());
    let by_options = quorlite(&server, &[&["bench"], &line[..]].concat()).run().expect();
    let by_url = run(server.scratch(), &[&["bench", &url], &line[..]].concat(), &[]).expect();
    for text in [by_options, by_url] {
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["server"], server.http().to_string(), "{report}");
        assert!(text.contains("point-none"), "{text}");
    }
    assert_eq!(server.value("SELECT count(*) FROM sqlite_schema"), 0, "its table is gone");
}
