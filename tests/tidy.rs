//! The tree's own rules: who may name whom, fenced words, sizes, module docs, dependencies.
//!
//! A rule that nothing checks decays. Each rule is a function from the text of one file to the
//! lines that break it, and each is tried on planted bad text too. Nothing here parses Rust: a
//! rule that needs more than words in lines belongs to a lint.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have.
const LINES_MAX: usize = 500;

/// What a folder of `src/`, or a file in it, may name by `crate::`.
const LAYERS: [(&str, &[&str]); 15] = [
    ("raft", &[]),
    ("storage", &["raft", "os"]),
    ("command", &[]),
    ("config", &["duration", "size"]),
    ("duration", &[]),
    ("db", &["command", "raft", "storage", "os"]),
    ("http", &["os"]),
    ("transport", &["command", "http", "os", "raft", "stats", "storage"]),
    ("node", &["command", "db", "raft", "stats", "storage", "transport", "os"]),
    ("api", &["command", "db", "duration", "http", "node", "stats", "os"]),
    ("client", &["db", "duration", "os", "size", "storage"]),
    ("os", &[]),
    ("inspect", &["command", "raft", "storage"]),
    ("size", &[]),
    ("stats", &[]),
];

/// Words, and where alone they may stand in `src/` (prefixes of paths).
const FENCES: [(&str, &[&str]); 13] = [
    ("rusqlite", &["db/"]),
    ("libsqlite3_sys", &["db/"]),
    ("tiny_http", &["http/"]),
    ("ureq", &["api/forward/", "client/connection/", "transport/"]),
    ("rustls", &["client/connection/"]),
    ("rustls_platform_verifier", &["client/connection/"]),
    ("httparse", &["client/bench/", "http/"]),
    ("simplelog", &["config/logging.rs"]),
    ("sync_all", &["storage/"]),
    ("sync_data", &["storage/"]),
    ("println!", &["bin/"]),
    ("eprintln!", &["bin/"]),
    ("SystemTime::now", &["os.rs"]),
];

/// Words that never stand in a folder: the consensus core has no clock, thread, file or chance.
const NEVER: [(&str, &[&str]); 1] = [(
    "raft/",
    &["Instant", "SystemTime", "thread::", "File", "HashMap", "HashSet", "TcpStream", "std::fs"],
)];

/// The only files that may hold `unsafe` code.
const UNSAFE: [&str; 4] = ["db/clock.rs", "db/raw.rs", "db/snapshot.rs", "os.rs"];

/// Each a decision: a new one is added here too.
const DEPENDENCIES: [&str; 28] = [
    "base64",
    "clap",
    "clap_complete",
    "clap_mangen",
    "crc32c",
    "crossbeam-channel",
    "flate2",
    "httparse",
    "indicatif",
    "libc",
    "log",
    "percent-encoding",
    "rpassword",
    "rusqlite",
    "rustix",
    "rustls",
    "rustls-platform-verifier",
    "rustyline",
    "serde_core",
    "serde_json",
    "sha2",
    "signal-hook",
    "simplelog",
    "socket2",
    "time",
    "tiny_http",
    "unicode-width",
    "ureq",
];

/// Line (from 1) and what is wrong with it.
type Finding = (usize, String);

/// The line without comments and without what stands in string literals, each byte in its place.
fn code(line: &str) -> String {
    let mut found = String::with_capacity(line.len());
    let (mut is_text, mut is_escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        if !is_text && line[at..].starts_with("//") {
            break;
        }
        let is_quote = letter == '"' && !is_escaped && !line[..at].ends_with('\'');
        is_text ^= is_quote;
        is_escaped = is_text && letter == '\\' && !is_escaped;
        found.push(if is_text && !is_quote { ' ' } else { letter });
    }
    found
}

/// Whether `word` stands in `text` by itself, not as a part of a longer name.
fn names(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_part);
        let after = text[at + word.len()..].chars().next().is_some_and(is_part);
        let is_open = !word.ends_with(is_part);
        !before && (is_open || !after)
    })
}

fn layers(path: &str, text: &str) -> Vec<Finding> {
    let top = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let Some((_, allowed)) = LAYERS.iter().find(|(folder, _)| *folder == top) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = code(line);
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let listed: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(',').collect(),
                None => vec![rest],
            };
            for item in listed {
                let item = item.trim();
                let end =
                    item.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(item.len());
                let named = &item[..end];
                let is_module = LAYERS.iter().any(|(folder, _)| *folder == named);
                if is_module && named != top && !allowed.contains(&named) {
                    findings.push((number + 1, format!("{top} may not name {named}")));
                }
            }
        }
    }
    findings
}

fn fences(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (word, places) in FENCES {
            let is_allowed = places.iter().any(|place| path.starts_with(place));
            if !is_allowed && names(&code(line), word) {
                findings.push((number + 1, format!("{word} only in {places:?}")));
            }
        }
        for (place, words) in NEVER {
            for word in words {
                if path.starts_with(place) && names(&code(line), word) {
                    findings.push((number + 1, format!("{word} never in {place}")));
                }
            }
        }
        let is_allowed = UNSAFE.contains(&path);
        if !is_allowed && names(&code(line), "unsafe") && !line.contains("unsafe_code") {
            findings.push((number + 1, format!("unsafe only in {UNSAFE:?}")));
        }
    }
    findings
}

fn size(text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![(LINES_MAX + 1, format!("{lines} lines, and {LINES_MAX} are allowed"))]
}

fn module_doc(text: &str) -> Vec<Finding> {
    if text.starts_with("//! ") {
        return Vec::new();
    }
    vec![(1, "no module doc: a file begins by saying what it is".to_owned())]
}

/// Bytes beyond ASCII, except in golden files, which hold what clients see.
fn ascii(text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
    lines.map(|(number, _)| (number + 1, "not ASCII".to_owned())).collect()
}

/// What belongs to one machine or to a plan, and not into the tree.
fn private(text: &str) -> Vec<Finding> {
    let words = ["/wo", "rk/", "/ro", "ot/", "/ho", "me/", "TO", "DO", "FIX", "ME"];
    let words: Vec<String> = words.chunks(2).map(<[&str]>::concat).collect();
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in &words {
            if names(line, word) {
                findings.push((number + 1, format!("{word} does not belong here")));
            }
        }
    }
    findings
}

fn dependencies(manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = Vec::new();
    let mut is_inside = false;
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            is_inside = line == "[dependencies]";
        } else if is_inside && let Some((name, _)) = line.split_once(" =") {
            if !DEPENDENCIES.contains(&name) {
                findings.push((number + 1, format!("{name} is not in the list of dependencies")));
            }
            found.push(name);
        }
    }
    for name in DEPENDENCIES.iter().filter(|name| !found.contains(*name)) {
        findings.push((1, format!("{name} is listed as a dependency and is none")));
    }
    findings
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("the tree can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this ending, with its path from there.
fn each(folder: &str, ending: &str) -> Vec<(String, String)> {
    let base = root().join(folder);
    let wanted = files(&base).into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    wanted
        .map(|path| {
            let name =
                path.strip_prefix(&base).expect("it is below").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap_or_default())
        })
        .collect()
}

fn assert_tidy(findings: &[(String, Finding)]) {
    let lines: Vec<String> =
        findings.iter().map(|(path, (line, what))| format!("{path}:{line}: {what}")).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

fn all(
    folder: &str,
    ending: &str,
    rule: impl Fn(&str, &str) -> Vec<Finding>,
) -> Vec<(String, Finding)> {
    let mut findings = Vec::new();
    for (path, text) in each(folder, ending) {
        let found = rule(&path, &text);
        findings.extend(found.into_iter().map(|finding| (format!("{folder}/{path}"), finding)));
    }
    findings
}

#[test]
fn imports_only_go_down() {
    assert_tidy(&all("src", ".rs", layers));
}

#[test]
fn words_stay_behind_their_fences() {
    assert_tidy(&all("src", ".rs", fences));
}

#[test]
fn files_are_short_documented_and_ascii() {
    for folder in ["src", "tests"] {
        assert_tidy(&all(folder, ".rs", |_, text| size(text)));
        assert_tidy(&all(folder, ".rs", |_, text| module_doc(text)));
        assert_tidy(&all(folder, ".rs", |_, text| ascii(text)));
    }
}

#[test]
fn nothing_private_is_in_the_tree() {
    for (folder, ending) in [("src", ""), ("tests", ""), ("scripts", ""), (".cargo", ".toml")] {
        assert_tidy(&all(folder, ending, |_, text| private(text)));
    }
}

#[test]
fn dependencies_are_the_listed_ones() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let findings = dependencies(&manifest);
    let named: Vec<_> =
        findings.into_iter().map(|finding| ("Cargo.toml".to_owned(), finding)).collect();
    assert_tidy(&named);
}

#[test]
fn every_module_of_the_tree_has_its_layer() {
    for (path, _) in each("src", ".rs") {
        let top = path.split('/').next().unwrap().trim_end_matches(".rs");
        let is_free = matches!(top, "bin" | "lib" | "server");
        let is_listed = LAYERS.iter().any(|(folder, _)| *folder == top);
        assert!(is_free || is_listed, "src/{path}: give {top} its place in LAYERS");
    }
    for (module, _) in LAYERS {
        let (file, folder) = (format!("src/{module}.rs"), format!("src/{module}"));
        let is_there = root().join(file).exists() || root().join(folder).exists();
        assert!(is_there, "{module} has a place in LAYERS and is not in the tree");
    }
}

#[test]
fn every_counter_is_counted_by_somebody() {
    for (table, prefix) in [("stats.rs", "Stat"), ("http/counters.rs", "Count")] {
        let texts = each("src", ".rs");
        let rows = texts.iter().find(|(path, _)| path == table).expect("the table is there");
        let start = format!("{prefix}::");
        let named = rows.1.match_indices(&start).map(|(at, _)| {
            let rest = &rows.1[at..];
            let end = rest[start.len()..].find(|c: char| !c.is_alphanumeric());
            &rest[..end.map_or(rest.len(), |end| start.len() + end)]
        });
        let counters: std::collections::BTreeSet<&str> = named.collect();
        assert!(counters.len() > 10, "{table} has its rows");
        for counter in counters {
            let is_counted = texts.iter().any(|(path, text)| path != table && names(text, counter));
            assert!(is_counted, "nobody counts {counter}: delete its row in src/{table}");
        }
    }
}

fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|(line, _)| *line).collect()
}

#[test]
fn the_rules_find_planted_faults() {
    let up = "//! x\nuse crate::storage::log;\nuse crate::{os, node};\n// crate::api\n";
    assert_eq!(lines(&layers("raft/core.rs", up)), [2, 3, 3]);
    assert_eq!(lines(&layers("storage/log.rs", up)), [3]);
    assert_eq!(lines(&layers("server.rs", up)), [0; 0]);
    assert_eq!(lines(&fences("api/x.rs", "use rusqlite::Connection;\n// rusqlite\n")), [1]);
    assert_eq!(lines(&fences("api/x.rs", "let a = \"by \\\" rusqlite\"; // rusqlite\n")), [0; 0]);
    assert_eq!(lines(&fences("api/x.rs", "let a = '\"'; rusqlite::open(\"a\");\n")), [1]);
    assert_eq!(lines(&fences("db/x.rs", "use rusqlite::Connection;\n")), [0; 0]);
    assert_eq!(lines(&fences("raft/x.rs", "a\nlet t = Instant::now();\nstruct Profile;\n")), [2]);
    assert_eq!(lines(&fences("http/x.rs", "unsafe { f() }\n#![deny(unsafe_code)]\n")), [1]);
    assert_eq!(lines(&fences("db/raw.rs", "unsafe { f() }\n")), [0; 0]);
    assert_eq!(lines(&fences("node/x.rs", "println!(\"\");\nfile.sync_data()?;\n")), [1, 2]);
    assert_eq!(lines(&size(&"x\n".repeat(LINES_MAX))), [0; 0]);
    assert_eq!(lines(&size(&"x\n".repeat(LINES_MAX + 1))), [LINES_MAX + 1]);
    assert_eq!(lines(&module_doc("use std::fs;\n")), [1]);
    assert_eq!(lines(&module_doc("//! What it is.\n")), [0; 0]);
    assert_eq!(lines(&ascii("a\n\u{2192}\n")), [2]);
    let machine = ["see /wo", "rk/notes\nfine\n// TO", "DO later\n"].concat();
    assert_eq!(lines(&private(&machine)), [1, 3]);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let more = manifest.replace("[dependencies]\n", "[dependencies]\nleft-pad = \"1\"\n");
    assert_eq!(dependencies(&more).len(), dependencies(&manifest).len() + 1);
    let less = manifest.replace("crc32c = ", "# crc32c = ");
    assert!(dependencies(&less).iter().any(|(_, what)| what.contains("crc32c is listed")));
}
