//! What is asked for, and of whom.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::connection::{Client, Scheme, Settings, read_url};
use crate::client::failure::Failure;
use crate::db::load::LoadError;
use crate::db::upload;

/// How a copy is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::client) enum Format {
    /// The database file as it is, in WAL mode
    #[default]
    Binary,
    /// The database file in rollback-journal mode, for programs that cannot write beside it
    Delete,
    /// SQL text
    Sql,
}

/// How the SQL text of a copy begins and ends, but for blanks; rqlite's does too.
const TEXT_START: &[u8] = b"PRAGMA foreign_keys=OFF;";
const TEXT_END: &[u8] = b"COMMIT;";

/// The node that makes a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The leader itself, by a redirect.
    Leader,
    /// The node in use, whatever it is.
    Any,
    /// This node, whatever it is: its scheme, where that was said, and `host:port`.
    Node(Option<Scheme>, String),
}

/// What a copy is to be.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) vacuum: bool,
    pub(super) compress: bool,
    /// Only these; all when empty.
    pub(super) tables: Vec<String>,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        match text {
            "leader" => Ok(Origin::Leader),
            "any" => Ok(Origin::Any),
            _ => read_url(text).map(|(scheme, node)| Origin::Node(scheme, node)),
        }
    }
}

impl Origin {
    /// The way to a node that was named; to any other the session knows the way.
    ///
    /// # Errors
    /// What the connection cannot use.
    pub(super) fn client(&self, settings: &Settings) -> Result<Option<Client>, Failure> {
        let Origin::Node(scheme, node) = self else { return Ok(None) };
        let scheme = scheme.unwrap_or(settings.scheme);
        let nodes = vec![node.clone()];
        Client::new(Settings { scheme, nodes, ..settings.clone() }).map(Some)
    }
}

impl Origin {
    /// The level at which a query looks at the very copy: none where any node may make it, that
    /// of the server, which asks the leader, where it does.
    pub(super) fn level(&self) -> Option<&'static str> {
        match self {
            Origin::Leader => None,
            Origin::Any | Origin::Node(..) => Some("none"),
        }
    }
}

impl Form {
    /// What contradicts itself in it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let is_text = self.format == Format::Sql;
        let is_unnamed = self.tables.iter().any(String::is_empty);
        let has_comma = self.tables.iter().any(|name| name.contains(','));
        match () {
            () if self.vacuum && self.format != Format::Binary => {
                Some("--vacuum makes a file of its own kind: it goes with --fmt binary only")
            }
            () if !self.tables.is_empty() && !is_text => {
                Some("--tables goes with --fmt sql only: a file holds all tables")
            }
            () if is_unnamed => Some("the name of a table is empty"),
            () if has_comma => Some("a table with a comma in its name cannot be asked for"),
            () => None,
        }
    }

    /// Path and query of the request.
    pub(super) fn request(&self, from: Option<&Origin>, age_max: Option<Duration>) -> String {
        let mut words = Vec::new();
        match self.format {
            Format::Binary => {}
            Format::Delete => words.push("fmt=delete".to_owned()),
            Format::Sql => words.push("fmt=sql".to_owned()),
        }
        if self.vacuum {
            words.push("vacuum".to_owned());
        }
        if self.compress {
            words.push("compress".to_owned());
        }
        if !self.tables.is_empty() {
            let names = self.tables.iter().map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC));
            let names: Vec<String> = names.map(|name| name.to_string()).collect();
            words.push(format!("tables={}", names.join(",")));
        }
        match from {
            Some(Origin::Leader) => words.push("redirect".to_owned()),
            Some(Origin::Any | Origin::Node(..)) => words.push("noleader".to_owned()),
            None => {}
        }
        if let Some(age_max) = age_max {
            words.push(format!("freshness={}ns&freshness_strict", age_max.as_nanos()));
        }
        let query = words.join("&");
        if query.is_empty() { "db/backup".to_owned() } else { format!("db/backup?{query}") }
    }

    /// What the copy is called where it is not what it should be.
    pub(super) fn noun(&self) -> &'static str {
        match (self.compress, self.format) {
            (true, _) => "a gzip file",
            (false, Format::Sql) => "SQL text",
            (false, _) => "a SQLite database",
        }
    }

    /// Whether a copy of this kind may begin with these bytes, which are all when it is shorter
    /// than a hundred.
    pub(super) fn may_begin_with(&self, start: &[u8]) -> bool {
        let is_file = upload::may_be_file(start);
        let is_packed = start.starts_with(&upload::GZIP);
        match (self.compress, self.format) {
            (true, _) => is_packed,
            (false, Format::Sql) => is_dump(start),
            (false, Format::Binary | Format::Delete) => is_file && !is_packed,
        }
    }

    /// Whether a whole copy of this kind may end with these bytes.
    pub(super) fn may_end_with(&self, end: &[u8]) -> bool {
        let is_text = !self.compress && self.format == Format::Sql;
        !is_text || end.trim_ascii_end().ends_with(TEXT_END)
    }

    /// Why a whole copy that begins like this cannot have this many bytes.
    pub(super) fn length_fault(&self, start: &[u8], bytes: u64) -> Option<LoadError> {
        let is_database = !self.compress && self.format != Format::Sql;
        upload::judge_length(start, bytes).filter(|_| is_database)
    }
}

/// Whether this is the beginning of SQL text that a server has written.
fn is_dump(start: &[u8]) -> bool {
    start.starts_with(TEXT_START)
}

/// Whether a file that begins like this may be a backup of any kind.
pub(super) fn may_be_backup(start: &[u8]) -> bool {
    upload::may_be_file(start) || start.starts_with(&upload::GZIP) || is_dump(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read() {
        assert_eq!("leader".parse(), Ok(Origin::Leader));
        assert_eq!("any".parse(), Ok(Origin::Any));
        let there = Some(Scheme::Https);
        assert_eq!("https://[::1]:2/".parse(), Ok(Origin::Node(there, "[::1]:2".to_owned())));
        assert_eq!("//a".parse(), Ok(Origin::Node(None, "a:4001".to_owned())));
        for text in ["", "follower", "a:1", "ftp://a:1", "http://", "http://u:p@a:1", "//a:b"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn requests_say_everything() {
        let mut form =
            Form { format: Format::Binary, vacuum: false, compress: false, tables: Vec::new() };
        assert_eq!(form.request(None, None), "db/backup");
        form.format = Format::Sql;
        form.compress = true;
        form.tables = vec!["a b".to_owned(), "c".to_owned()];
        let request = form.request(Some(&Origin::Any), Some(Duration::from_secs(2)));
        let expected = "db/backup?fmt=sql&compress&tables=a%20b,c&noleader";
        assert_eq!(request, format!("{expected}&freshness=2000000000ns&freshness_strict"));
        assert_eq!(form.fault(), None);
        form.vacuum = true;
        assert!(form.fault().is_some());
    }
}
