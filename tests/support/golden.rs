//! Runs golden files of HTTP exchanges: request, `----`, what must come back, blank line.
//!
//! A block is a request line, headers, a body; then the status, those headers that matter, and
//! the body. `~` stands for an empty line, so that a body that ends in a newline ends in `~`.
//! `# text` is a comment; the first is the claim. `restart` alone is a verb. `@flags -fk` before
//! the first block gives flags. What differs from run to run is replaced by name (see
//! `normalise`) on both ways. `UPDATE_GOLDEN=1` writes what came back into the files.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::client::Reply;
use super::server::{Options, Server};

/// Numbers that differ from run to run: what stands before them, and the name they get.
const VOLATILE: [(&str, &str); 6] = [
    ("\"time\":", "T"),
    ("\"time\": ", "T"),
    ("\"sequence_number\":", "N"),
    ("\"raft_index\":", "I"),
    ("\"snapshots_reaped\":", "N"),
    ("\"wals_checkpointed\":", "N"),
];

/// Headers whose presence matters and whose value does not.
const VOLATILE_HEADERS: [&str; 4] = ["x-rqlite-version", "date", "etag", "content-length"];

/// Prints where a test's own output goes, also from outside a test function.
pub(crate) fn say(text: &str) {
    let written = writeln!(std::io::stderr(), "{text}");
    written.expect("standard error can be written");
}

/// Runs one file on a server of its own; what differs, or nothing.
pub(crate) fn check(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).expect("the script can be read");
    let flags = text.lines().find_map(|line| line.strip_prefix("@flags ")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let mut server = Options::default().flags(&flags).start();
    let blocks: Vec<String> =
        text.trim_end().split("\n\n").map(|block| run(&mut server, block)).collect();
    let found = blocks.join("\n\n") + "\n";
    if found == text {
        return None;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).expect("the script can be written");
        return None;
    }
    Some(difference(path, &text, &found))
}

fn difference(path: &Path, expected: &str, found: &str) -> String {
    let mut request = "";
    for (number, (old, new)) in expected.lines().zip(found.lines()).enumerate() {
        if old.contains(" /") {
            request = old;
        }
        if old != new {
            let at = format!("{}:{}", path.display(), number + 1);
            return format!("{at}: {request}\n  expected {old}\n  found    {new}");
        }
    }
    format!("{}: longer or shorter than expected, found:\n{found}", path.display())
}

/// Gives the block back as it would be written if what came back were right.
fn run(server: &mut Server, block: &str) -> String {
    let begin = block.lines().take_while(|line| line.starts_with(['#', '@'])).count();
    let lines: Vec<&str> = block.lines().collect();
    let Some(end) = lines.iter().position(|line| *line == "----") else {
        if lines.get(begin) == Some(&"restart") {
            server.restart();
        }
        return block.to_owned();
    };
    let (method, target) = lines[begin].split_once(' ').expect("a request line is METHOD TARGET");
    let rest = &lines[begin + 1..end];
    let count = rest.iter().take_while(|line| is_header(line)).count();
    let headers: Vec<(&str, &str)> =
        rest[..count].iter().filter_map(|line| line.split_once(": ")).collect();
    let body = rest[count..].join("\n").replace('~', "");
    let reply = server.request(method, target, &headers, body.as_bytes());
    let mut written: Vec<String> = lines[..=end].iter().map(|&line| line.to_owned()).collect();
    written.push(reply.status().to_string());
    for line in lines[end + 1..].iter().skip(1).take_while(|line| is_header(line)) {
        let name = line.split(':').next().unwrap_or_default();
        written.push(header(server, &reply, name));
    }
    written.extend(body_lines(server, &reply));
    written.join("\n")
}

/// `Name: value`, where the name has no character that JSON, SQL or a message would have.
fn is_header(line: &str) -> bool {
    let name = line.split_once(": ").map_or(line.trim_end_matches(':'), |(name, _)| name);
    line.contains(':')
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-')
}

fn header(server: &Server, reply: &Reply, name: &str) -> String {
    let value = reply.header(name);
    let is_volatile = VOLATILE_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    let value = if is_volatile && !value.is_empty() { "V" } else { value };
    format!("{name}: {}", addresses(server, value)).trim_end().to_owned()
}

fn addresses(server: &Server, text: &str) -> String {
    let text = text.replace(&server.http().to_string(), "{http}");
    text.replace(&server.raft().to_string(), "{raft}")
}

fn body_lines(server: &Server, reply: &Reply) -> Vec<String> {
    if reply.body.is_empty() {
        return Vec::new();
    }
    if reply.body.contains(&0) {
        let begin = String::from_utf8_lossy(&reply.body[..15.min(reply.body.len())]).into_owned();
        return vec![format!("<binary, begins {begin:?}>")];
    }
    let text = addresses(server, &normalise(&reply.text()));
    text.split('\n').map(|line| if line.is_empty() { "~" } else { line }.to_owned()).collect()
}

fn normalise(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, name) in VOLATILE {
        let mut parts = text.split(before);
        let mut rest = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let number =
                part.trim_start_matches(|c: char| c.is_ascii_digit() || ".e-+".contains(c));
            let name = if number.len() < part.len() { name } else { "" };
            rest.push_str(&format!("{before}{name}{number}"));
        }
        text = rest;
    }
    text
}
