//! What the server holds now: its schema, its rows, and at which index.
//!
//! The counts come in one request, so that they are those of one moment or nearly so.

use serde_json::json;

use crate::client::connection::{Body, Call, Client, Effect, Patience};
use crate::client::failure::Failure;
use crate::client::results::{Outcome, Results, Rows};
use crate::db::inventory::{Element, SCHEMA_SQL, count_sql};

/// What is live.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    /// `host:port` of the node that was asked.
    pub(super) node: String,
    /// Of the last entry that is in a backup taken now; `None` from servers that do not tell.
    pub(super) raft_index: Option<u64>,
    pub(super) user_version: i64,
    pub(super) application_id: i64,
    pub(super) elements: Vec<Element>,
}

/// Asks the server.
///
/// # Errors
/// The usual ones of a query.
pub(super) fn ask(client: &mut Client) -> Result<Live, Failure> {
    let raft_index = index(client);
    let statements = [SCHEMA_SQL, "PRAGMA user_version", "PRAGMA application_id"];
    let answer = query(client, &statements)?;
    let parsed = Results::parse(&answer)?;
    let mut results = parsed.results.iter();
    let mut elements = rows(results.next())?
        .values
        .iter()
        .map(element)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(odd)?;
    let user_version = number(rows(results.next())?).ok_or_else(odd)?;
    let application_id = number(rows(results.next())?).ok_or_else(odd)?;
    count(client, &mut elements)?;
    let node = client.node().to_owned();
    Ok(Live { node, raft_index, user_version, application_id, elements })
}

impl Live {
    /// Its tables and all their rows.
    pub(super) fn totals(&self) -> (usize, u64) {
        totals(&self.elements)
    }
}

/// How many tables there are, and rows in all of them.
pub(super) fn totals(elements: &[Element]) -> (usize, u64) {
    let tables = elements.iter().filter(|element| element.kind == "table");
    let rows = elements.iter().filter_map(|element| element.rows);
    // What a server says of them need not be true.
    (tables.count(), rows.fold(0, u64::saturating_add))
}

/// Tables and rows in words.
pub(super) fn sizes((tables, rows): (usize, u64)) -> String {
    let ending = |is_one: bool| if is_one { "" } else { "s" };
    format!("{tables} table{}, {rows} row{}", ending(tables == 1), ending(rows == 1))
}

/// What a backup would say; without the permission to take one it is not known.
fn index(client: &mut Client) -> Option<u64> {
    let call = Call {
        method: "HEAD",
        target: "db/backup",
        headers: &[],
        body: Body::Empty,
        effect: Effect::None,
        patience: Patience::Whole,
    };
    let answer = client.send(call).ok()?.successful().ok()?;
    answer.header("x-quorlite-raft-index")?.parse().ok()
}

fn query(client: &mut Client, statements: &[impl AsRef<str>]) -> Result<Vec<u8>, Failure> {
    let statements: Vec<&str> = statements.iter().map(AsRef::as_ref).collect();
    let body = json!(statements).to_string();
    client.post("db/query", body.as_bytes(), Effect::None)?.successful()?.bytes()
}

fn count(client: &mut Client, elements: &mut [Element]) -> Result<(), Failure> {
    let tables: Vec<&mut Element> =
        elements.iter_mut().filter(|element| element.kind == "table").collect();
    let statements: Vec<String> = tables.iter().map(|table| count_sql(&table.name)).collect();
    if statements.is_empty() {
        return Ok(());
    }
    let answer = query(client, &statements)?;
    let counted = Results::parse(&answer)?;
    for (table, outcome) in tables.into_iter().zip(&counted.results) {
        // A virtual table may not be readable; it is one all the same.
        let found = rows(Some(outcome)).ok().and_then(number);
        table.rows = found.and_then(|rows| u64::try_from(rows).ok());
    }
    Ok(())
}

fn rows<'r, 'a>(outcome: Option<&'r Outcome<'a>>) -> Result<&'r Rows<'a>, Failure> {
    match outcome {
        Some(Outcome::Rows(rows)) => Ok(rows),
        Some(Outcome::Failed(why)) => Err(Failure::refused(why)),
        Some(Outcome::Done(_)) | None => Err(odd()),
    }
}

fn element(row: &[&serde_json::value::RawValue]) -> Option<Element> {
    let text = |at: usize| serde_json::from_str::<String>(row.get(at)?.get()).ok();
    Some(Element { kind: text(0)?, name: text(1)?, sql: text(3)?, rows: None })
}

fn number(rows: &Rows<'_>) -> Option<i64> {
    rows.values.iter().next()?.first()?.get().parse().ok()
}

fn odd() -> Failure {
    Failure::not_of_this_api()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_cannot_be_are_no_overflow() {
        let table = Element {
            kind: "table".to_owned(),
            name: "t".to_owned(),
            sql: String::new(),
            rows: Some(u64::MAX),
        };
        assert_eq!(totals(&[table.clone(), table]), (2, u64::MAX));
    }
}
