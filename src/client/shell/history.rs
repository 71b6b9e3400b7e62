//! Lines of earlier sessions: the newest, each once, in a file that only its owner can read.
//!
//! The file holds an entry a line, the oldest first; a line's end in an entry is `\n` there, and
//! a backslash `\\`. It is read again before every entry that is added, so that sessions side by
//! side lose nothing of each other.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// The file, in the home folder.
const FILE_NAME: &str = ".quorlite_history";

/// Entries that are kept unless these variables say otherwise; the first one set counts.
const ENTRIES: usize = 100;
const ENTRIES_VARIABLES: [&str; 2] = ["QUORLITE_HISTFILESIZE", "RQLITE_HISTFILESIZE"];

/// Only the owner.
const MODE: u32 = 0o600;

/// The file of earlier lines.
#[derive(Debug)]
pub(super) struct History {
    /// `None` when nothing is to be kept, or there is no place for it.
    path: Option<PathBuf>,
    entries_max: usize,
}

impl History {
    /// The history of whoever runs the program. One that is to have no entries is removed.
    pub(super) fn of_environment() -> History {
        let given = ENTRIES_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let path = home.map(|home| PathBuf::from(home).join(FILE_NAME));
        History::new(path, entries_max(given.as_deref()))
    }

    fn new(path: Option<PathBuf>, entries_max: usize) -> History {
        if entries_max > 0 {
            return History { path, entries_max };
        }
        if let Some(path) = path {
            // There may be none.
            fs::remove_file(path).ok();
        }
        History { path: None, entries_max }
    }

    /// How many entries are worth keeping.
    pub(super) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// All entries, the oldest first; none where they cannot be read.
    pub(super) fn entries(&self) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(unescape).collect()
    }

    /// Keeps a line as the newest.
    ///
    /// # Errors
    /// The system's. A session goes on without a history.
    pub(super) fn add(&self, line: &str) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut entries = self.entries();
        entries.retain(|entry| entry != line);
        entries.push(line.to_owned());
        let surplus = entries.len().saturating_sub(self.entries_max);
        // Where the name is a link, the file it stands for is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let mut aside = path.clone().into_os_string();
        aside.push(format!(".{}", std::process::id()));
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(MODE).open(&aside);
        let lines = entries[surplus..].iter().map(|entry| escape(entry) + "\n");
        let mut file = opened?;
        let written = file
            .write_all(lines.collect::<String>().as_bytes())
            .and_then(|()| fs::rename(&aside, &path));
        if written.is_err() {
            // As on a full disk; its error is the one that counts.
            fs::remove_file(&aside).ok();
        }
        written
    }
}

/// As many as the variable says; none for a number that is not positive.
fn entries_max(given: Option<&str>) -> usize {
    let number = given.and_then(|text| text.trim().parse::<i64>().ok());
    number.map_or(ENTRIES, |number| usize::try_from(number).unwrap_or(0))
}

fn escape(line: &str) -> String {
    line.replace('\\', "\\\\").replace('\r', "").replace('\n', "\\n")
}

fn unescape(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_newest_are_kept_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let history = History::new(Some(path.clone()), 3);
        for line in ["a", "b", "SELECT '\\n',\n 1", "a", "c"] {
            history.add(line).unwrap();
        }
        assert_eq!(history.entries(), ["SELECT '\\n',\n 1", "a", "c"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let none = History::new(Some(path.clone()), 0);
        none.add("d").unwrap();
        assert!(none.entries().is_empty() && !path.exists());
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        // A folder has the name, so that no file can take it.
        let path = folder.path().join("history");
        fs::create_dir(&path).unwrap();
        assert!(History::new(Some(path), 3).add("a").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_variable_says_how_many() {
        let found = [None, Some("7"), Some("0"), Some("-1"), Some("x")].map(entries_max);
        assert_eq!(found, [ENTRIES, 7, 0, 0, ENTRIES]);
    }
}
