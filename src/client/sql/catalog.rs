//! `schema` and `tables`: what the database holds.

use std::io::Write as _;

use serde_json::Value;

use super::batch::Batch;
use super::levels::Levels;
use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::Failure;
use crate::client::results::{Outcome, Received};

/// SQLite's own tables and indexes are nobody's schema.
const SCHEMA: &str = "SELECT sql, lower(name), lower(tbl_name) FROM sqlite_schema \
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid";

const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Schema {
    /// Only these tables, indexes, views and triggers, and what belongs to these tables
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    levels: Levels,
}

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Tables {
    #[command(flatten)]
    levels: Levels,
}

impl Schema {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let received = ask(session, SCHEMA, &self.levels)?;
        let rows = rows(&received)?;
        let wanted: Vec<String> = self.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let belongs = |row: &[String], name: &String| row[1..].contains(name);
        for (name, given) in wanted.iter().zip(&self.names) {
            if !rows.iter().any(|row| belongs(row, name)) {
                return Err(Failure::refused(format!(
                    "there is no table or other thing {given:?}"
                )));
            }
        }
        for row in &rows {
            if wanted.is_empty() || wanted.iter().any(|name| belongs(row, name)) {
                writeln!(session.output, "{};", row[0])?;
            }
        }
        Ok(())
    }
}

impl Tables {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let received = ask(session, TABLES, &self.levels)?;
        for row in rows(&received)? {
            writeln!(session.output, "{}", row[0])?;
        }
        Ok(())
    }
}

fn ask(session: &mut Session, sql: &str, levels: &Levels) -> Result<Received, Failure> {
    let mut asked = Vec::new();
    levels.add_to(&mut asked)?;
    let mut batch = Batch::default();
    batch.push(sql, "", 1);
    batch.send(session, "db/query", &asked, Effect::None)
}

/// The rows of the one query, all of whose values are text.
fn rows(received: &Received) -> Result<Vec<Vec<String>>, Failure> {
    let results = received.results_of(1)?;
    match results.results.first() {
        Some(Outcome::Rows(rows)) => {
            let text = |raw: &&serde_json::value::RawValue| match serde_json::from_str(raw.get()) {
                Ok(Value::String(text)) => text,
                _ => raw.get().to_owned(),
            };
            Ok(rows.values.iter().map(|row| row.iter().map(text).collect()).collect())
        }
        Some(Outcome::Failed(why)) => Err(Failure::refused(why)),
        Some(Outcome::Done(_)) | None => Ok(Vec::new()),
    }
}
