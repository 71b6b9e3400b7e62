//! Runs golden files of terminal sessions: a command as it is typed, and all that it prints.
//!
//! `$ ` begins a command for `sh`, in which `quorlite` is the program and the server of the file
//! is its node; `> ` goes on with it. What follows is its standard output, then its standard error
//! with `2> ` before each line, then `[3]` for an exit status of 3. `\c` at the end of a line says
//! that no line end follows. `# ` is a comment; the first is the claim. `UPDATE_GOLDEN=1` writes
//! what was printed into the files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::PROGRAM;
use crate::support::server::Server;

/// Runs one file on a server of its own; what differs, or nothing.
pub(crate) fn check(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).expect("the transcript can be read");
    let server = Server::fresh();
    let mut blocks = Vec::new();
    for block in commands(&text) {
        match block {
            Block::Comment(line) => blocks.push(line),
            Block::Command(lines) => blocks.push(format!("{lines}\n{}", run(&server, &lines))),
        }
    }
    let found = blocks.join("\n") + "\n";
    if found == text {
        return None;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).expect("the transcript can be written");
        return None;
    }
    let line = found.lines().zip(text.lines()).take_while(|(new, old)| new == old).count();
    let show = |text: &str| text.lines().nth(line).unwrap_or("the end").to_owned();
    let (path, number) = (path.display(), line + 1);
    Some(format!("{path}:{number}:\n  expected {}\n  found    {}", show(&text), show(&found)))
}

enum Block {
    Comment(String),
    /// With its `$ ` and `> `.
    Command(String),
}

fn commands(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    // A comment stands before a command; within an output it is output.
    let mut is_output = false;
    for line in text.lines() {
        if line.starts_with("$ ") {
            blocks.push(Block::Command(line.to_owned()));
            is_output = false;
        } else if line.starts_with("> ") && !is_output {
            let Some(Block::Command(lines)) = blocks.last_mut() else { panic!("stray {line}") };
            lines.push('\n');
            lines.push_str(line);
        } else if line.starts_with("# ") {
            blocks.push(Block::Comment(line.to_owned()));
            is_output = false;
        } else {
            is_output = true;
        }
    }
    blocks
}

/// What a command prints, with an empty line behind it.
fn run(server: &Server, lines: &str) -> String {
    let typed: Vec<&str> = lines.lines().map(|line| &line[2..]).collect();
    let mut command = Command::new("sh");
    let folder = Path::new(PROGRAM).parent().expect("it is in a folder").display();
    let path = std::env::var("PATH").expect("there is a PATH");
    command.env_clear().env("PATH", format!("{folder}:{path}"));
    command.env("HOME", server.scratch()).env("QUORLITE_HOST", server.http().to_string());
    command.args(["-c", &typed.join("\n")]).current_dir(server.scratch()).stdin(Stdio::null());
    let ran = command.output().expect("the shell starts");
    let mut printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    if !printed.is_empty() && !printed.ends_with('\n') {
        printed.push_str("\\c\n");
    }
    for line in String::from_utf8_lossy(&ran.stderr).lines() {
        printed.push_str(&format!("2> {line}\n"));
    }
    match ran.status.code() {
        Some(0) => {}
        Some(status) => printed.push_str(&format!("[{status}]\n")),
        None => printed.push_str("[killed]\n"),
    }
    printed
}
