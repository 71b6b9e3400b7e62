//! What a file is, and how it differs from what is live: for a person, and as JSON.

use std::io::{self, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::compare::{Pair, pairs};
use super::live::{Live, sizes, totals};
use crate::client::inspect::Found;
use crate::client::sidecar::{Sidecar, stamp};
use crate::db::inventory::Element;
use crate::db::upload::Kind;

/// Where the values of a description begin.
const LABEL_WIDTH: usize = 16;

/// All that is known of a file that was checked.
pub(super) struct Description<'a> {
    pub(super) name: &'a str,
    pub(super) found: &'a Found,
    pub(super) elements: &'a [Element],
    pub(super) sidecar: Option<&'a Sidecar>,
    /// When the file was written to last; `None` of a stream.
    pub(super) modified: Option<String>,
    pub(super) live: Option<&'a Live>,
}

/// When a file was written to last, as sidecars have times.
pub(super) fn modified(path: &Path) -> Option<String> {
    let modified = path.metadata().ok()?.modified().ok()?;
    let seconds = i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok().map(stamp)
}

impl Description<'_> {
    /// For a person to read.
    pub(super) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let form = &self.found.form;
        let is_database = self.found.kind == Kind::Database;
        let mut line = |label: &str, value: &dyn std::fmt::Display| {
            writeln!(output, "{label:LABEL_WIDTH$}{value}")
        };
        let packed = if self.found.is_packed { ", gzip" } else { "" };
        let kind = if is_database { "SQLite database" } else { "SQL text" };
        line("file", &self.name)?;
        line("kind", &format_args!("{kind}{packed}"))?;
        line("bytes", &self.found.bytes)?;
        if is_database {
            line("pages", &format_args!("{} of {} bytes", form.pages, form.page_bytes))?;
            line("encoding", &form.encoding)?;
            line("journal", &if form.is_wal { "WAL" } else { "rollback" })?;
        }
        line("user_version", &form.user_version)?;
        line("application_id", &form.application_id)?;
        if let Some(version) = form.sqlite_version.as_ref().filter(|_| is_database) {
            line("written by", &format_args!("SQLite {version}"))?;
        }
        line("taken at", &self.taken())?;
        line("checks passed", &self.checks().join(", "))?;
        line("holds", &sizes(totals(self.elements)))?;
        if let Some(live) = self.live {
            let index = live.raft_index.map(|index| format!(" at raft index {index}"));
            let index = index.unwrap_or_default();
            let sizes = sizes(live.totals());
            line("live", &format_args!("{sizes} on {}{index}", live.node))?;
        }
        self.write_tables(output)?;
        if self.live.is_some() { self.write_differences(output) } else { Ok(()) }
    }

    fn write_tables(&self, output: &mut dyn Write) -> io::Result<()> {
        let live = self.live.map_or(&[][..], |live| &live.elements);
        let pairs = pairs(self.elements, live);
        let mut lines = vec![["table".to_owned(), "file".to_owned(), "live".to_owned()]];
        for pair in pairs.iter().filter(|pair| pair.kind == "table") {
            lines.push([pair.name.to_owned(), rows(pair.file), rows(pair.live)]);
        }
        if lines.len() == 1 {
            return Ok(());
        }
        let width =
            |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths = [width(0).max(LABEL_WIDTH - 2), width(1).max(8), width(2).max(8)];
        writeln!(output)?;
        for [name, file, live] in &lines {
            write!(output, "{name:0$}  {file:>1$}", widths[0], widths[1])?;
            if self.live.is_some() {
                write!(output, "  {live:>0$}", widths[2])?;
            }
            writeln!(output)?;
        }
        Ok(())
    }

    fn write_differences(&self, output: &mut dyn Write) -> io::Result<()> {
        let differences = self.differences();
        writeln!(output)?;
        if self.found.kind == Kind::Script {
            let text = "SQL text is added to what is live: it fails if it makes what is there";
            writeln!(output, "{text}")?;
            if let Some(table) = self.obstacle() {
                writeln!(
                    output,
                    "{table} is live already: it will fail unless it drops it or says IF NOT EXISTS"
                )?;
            }
        }
        if differences.is_empty() {
            return writeln!(output, "no difference in schema, numbers of rows or versions");
        }
        for difference in differences {
            let [kind, name, what] = ["kind", "name", "difference"]
                .map(|key| difference[key].as_str().unwrap_or_default());
            writeln!(output, "{kind} {name}: {what}")?;
        }
        Ok(())
    }

    /// One object that says the same.
    pub(super) fn json(&self) -> Value {
        let form = &self.found.form;
        let is_database = self.found.kind == Kind::Database;
        let sidecar = self.sidecar;
        let of_database = |value: Value| if is_database { value } else { Value::Null };
        json!({
            "file": self.name,
            "kind": if is_database { "database" } else { "sql" },
            "compressed": self.found.is_packed,
            "bytes": self.found.bytes,
            "pages": of_database(json!(form.pages)),
            "page_bytes": of_database(json!(form.page_bytes)),
            "encoding": of_database(json!(form.encoding)),
            "wal": of_database(json!(form.is_wal)),
            "user_version": form.user_version,
            "application_id": form.application_id,
            "sqlite_version": of_database(json!(form.sqlite_version)),
            "sidecar": sidecar.map(|_| self.sidecar_name()),
            "taken_at": sidecar.and_then(Sidecar::taken_at),
            "raft_index": sidecar.and_then(Sidecar::raft_index),
            "raft_term": sidecar.and_then(Sidecar::raft_term),
            "node": sidecar.and_then(Sidecar::node),
            "modified": self.modified,
            "checks": self.checks(),
            "tables": tables(self.elements),
            "live": self.live.map(|live| json!({
                "node": live.node,
                "raft_index": live.raft_index,
                "user_version": live.user_version,
                "application_id": live.application_id,
                "tables": tables(&live.elements),
            })),
            "obstacle": self.obstacle(),
            "differences": self.live.map(|_| self.differences()),
        })
    }

    fn sidecar_name(&self) -> String {
        let name = Path::new(self.name).file_name().unwrap_or_default();
        format!("{}.json", name.to_string_lossy())
    }

    fn taken(&self) -> String {
        let Some(sidecar) = self.sidecar else {
            return match &self.modified {
                Some(modified) => format!("{modified}, says the file's time; it has no sidecar"),
                None => "unknown".to_owned(),
            };
        };
        let mut text = sidecar.taken_at().unwrap_or("unknown").to_owned();
        if let Some(index) = sidecar.raft_index() {
            text += &format!(", raft index {index}");
        }
        if let Some(node) = sidecar.node() {
            text += &format!(", from {node}");
        }
        text + &format!(", says {}", self.sidecar_name())
    }

    fn checks(&self) -> Vec<&'static str> {
        let mut checks = match self.found.kind {
            Kind::Database => vec!["header", "length", "every page"],
            Kind::Script | Kind::Empty => vec!["every statement"],
        };
        if self.found.is_packed {
            checks.insert(0, "gzip");
        }
        if self.sidecar.is_some() {
            checks.push("digest of the sidecar");
        }
        checks
    }

    /// The first table that SQL text cannot simply make, where it finds all of its tables live.
    fn obstacle(&self) -> Option<&str> {
        let live = self.live.filter(|_| self.found.kind == Kind::Script)?;
        let tables: Vec<Pair<'_>> = pairs(self.elements, &live.elements)
            .into_iter()
            .filter(|pair| pair.kind == "table" && pair.file.is_some())
            .collect();
        let is_all = tables.iter().all(|pair| pair.live.is_some());
        let first = self.elements.iter().find(|element| element.kind == "table")?;
        is_all.then_some(first.name.as_str())
    }

    /// Each with its kind, its name and what it is.
    fn differences(&self) -> Vec<Value> {
        let Some(live) = self.live else { return Vec::new() };
        let of = |pair: &Pair<'_>| {
            let change = pair.change()?.words();
            Some(json!({ "kind": pair.kind, "name": pair.name, "difference": change }))
        };
        let mut found: Vec<Value> =
            pairs(self.elements, &live.elements).iter().filter_map(of).collect();
        let form = &self.found.form;
        for (name, file, live) in [
            ("user_version", form.user_version, live.user_version),
            ("application_id", form.application_id, live.application_id),
        ] {
            if i64::from(file) != live {
                let text = format!("{file} in the file, {live} live");
                found.push(json!({ "kind": "pragma", "name": name, "difference": text }));
            }
        }
        found
    }
}

fn rows(element: Option<&Element>) -> String {
    match element.map(|element| element.rows) {
        None => "-".to_owned(),
        Some(None) => "?".to_owned(),
        Some(Some(rows)) => rows.to_string(),
    }
}

fn tables(elements: &[Element]) -> Vec<Value> {
    let tables = elements.iter().filter(|element| element.kind == "table");
    tables.map(|table| json!({ "name": table.name, "rows": table.rows })).collect()
}
