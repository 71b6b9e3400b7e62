//! Tables and their columns, fetched when they are first asked for.
//!
//! They are only offered, never relied on: a node that does not answer at once, or refuses, means
//! that nothing is offered, and it is not asked again for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::connection::{Client, Effect, Settings};
use crate::client::failure::Failure;
use crate::client::results::{Outcome, Results, Rows};

/// A person who presses TAB waits no longer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What was found out is used for so long; others may change the schema too.
const FRESH: Duration = Duration::from_secs(10);

/// Tables, with their columns one by one, then what views there are: a view that names a table
/// that is gone cannot be asked for its columns.
const QUESTIONS: [&str; 3] = [
    "SELECT s.name, c.name FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
     WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 20000",
    "SELECT s.name, c.name FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
     WHERE s.type = 'view' LIMIT 20000",
    "SELECT name, NULL FROM sqlite_schema WHERE type = 'view' LIMIT 20000",
];

/// The columns of every table and view.
pub(super) type Columns = BTreeMap<String, Vec<String>>;

/// What is known of a database.
pub(super) struct Names {
    settings: Settings,
    columns: Columns,
    /// When it was last asked for, with whatever success.
    asked: Option<Instant>,
}

impl Names {
    /// Knows nothing yet.
    pub(super) fn new(settings: &Settings, node: &str) -> Names {
        let (nodes, timeout) = (vec![node.to_owned()], ANSWER_MAX.min(settings.timeout));
        let settings = Settings { nodes, timeout, ..settings.clone() };
        Names { settings, columns: Columns::new(), asked: None }
    }

    /// Has them fetched anew when next asked for, from this node.
    pub(super) fn forget(&mut self, node: &str) {
        self.settings.nodes = vec![node.to_owned()];
        self.asked = None;
    }

    /// Whether they come from this node.
    pub(super) fn are_of(&self, node: &str) -> bool {
        self.settings.nodes.iter().all(|used| used == node)
    }

    /// The tables and views, and what their columns are called.
    pub(super) fn columns(&mut self) -> &Columns {
        if self.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            // Without an answer there is nothing to offer.
            self.columns = fetch(self.settings.clone()).unwrap_or_default();
            self.asked = Some(Instant::now());
        }
        &self.columns
    }
}

fn fetch(settings: Settings) -> Result<Columns, Failure> {
    let mut client = Client::new(settings)?;
    let json = serde_json::to_vec(&QUESTIONS).expect("a text is JSON");
    let answer = client.post("db/query?level=none", &json, Effect::None)?.successful()?;
    let bytes = answer.bytes()?;
    let mut columns = Columns::new();
    for outcome in Results::parse(&bytes)?.results {
        match outcome {
            Outcome::Rows(rows) => take(&mut columns, &rows),
            Outcome::Done(_) | Outcome::Failed(_) => {}
        }
    }
    Ok(columns)
}

fn take(columns: &mut Columns, rows: &Rows<'_>) {
    for row in &rows.values {
        let mut cells = row.iter().map(|cell| serde_json::from_str::<Option<String>>(cell.get()));
        if let (Some(Ok(Some(table))), Some(Ok(column))) = (cells.next(), cells.next()) {
            columns.entry(table).or_default().extend(column);
        }
    }
}
