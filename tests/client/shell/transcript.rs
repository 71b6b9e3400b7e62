//! Golden files of piped sessions: what went in, line by line, and what came back, byte for byte.
//!
//! A line that begins with `> ` is a line of input; what follows it, up to the next one, is what
//! the shell printed between the prompts. `> ^D` is the end of the input. What comes before the
//! first is the banner. `# text` at the beginning is the claim. What differs from run to run is
//! replaced by a name (see `normalise`). `UPDATE_GOLDEN=1` writes what came back into the files.

use std::fs;
use std::path::Path;

use crate::program::quorlite;
use crate::support::server::Server;

/// The end of the input.
const END: &str = "^D";

/// Numbers that differ from run to run: what stands before and after them.
const VOLATILE: [(&str, &str); 6] = [
    ("Run Time: ", " seconds"),
    ("affected (", " sec)"),
    ("  time: ", "\n"),
    ("  time_s: ", "\n"),
    ("snapshots reaped: ", ","),
    ("WALs checkpointed: ", "\n"),
];

/// Runs one file on a server of its own, in a folder with `files`; what differs, or nothing.
pub(crate) fn check(path: &Path, files: &[(&str, &str)]) -> Option<String> {
    let text = fs::read_to_string(path).expect("the transcript can be read");
    let claim: String = text.lines().take_while(|line| line.starts_with('#')).collect();
    let inputs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let server = Server::fresh();
    for (name, content) in files {
        fs::write(server.scratch().join(name), content).expect("a file can be written");
    }
    let lines = inputs.iter().filter(|line| **line != END).map(|line| format!("{line}\n"));
    let ran = quorlite(&server, &[]).input(lines.collect::<String>()).run();
    let output = normalise(&ran.expect(), &server);
    let mut parts = output.split("{http}> ");
    let mut found = format!("{claim}\n{}", parts.next().unwrap_or_default());
    let mut asked = inputs.iter();
    for part in parts {
        let input = asked.next().unwrap_or(&"<a prompt too many>");
        found.push_str(&format!("> {input}\n{part}"));
    }
    found.extend(asked.map(|input| format!("> {input}\n<never asked for>\n")));
    if found == text {
        return None;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).expect("the transcript can be written");
        return None;
    }
    Some(difference(path, &text, &found))
}

fn difference(path: &Path, expected: &str, found: &str) -> String {
    let mut input = "";
    for (number, (old, new)) in expected.lines().zip(found.lines()).enumerate() {
        if old.starts_with("> ") {
            input = old;
        }
        if old != new {
            let at = format!("{}:{}", path.display(), number + 1);
            return format!("{at}: {input}\n  expected {old}\n  found    {new}");
        }
    }
    format!("{}: longer or shorter than expected, found:\n{found}", path.display())
}

fn normalise(text: &str, server: &Server) -> String {
    let text = text.replace(&server.http().to_string(), "{http}");
    let mut text = text.replace(&server.raft().to_string(), "{raft}");
    for (before, after) in VOLATILE {
        let mut parts = text.split(before);
        let mut rest = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let kept = part.find(after).map_or(part, |end| &part[end..]);
            rest.push_str(&format!("{before}T{kept}"));
        }
        text = rest;
    }
    text
}
