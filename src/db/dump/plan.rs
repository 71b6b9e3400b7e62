//! What a dump has to write, read from the schema before its first byte.
//!
//! Sorts the schema into what is written in which part of the text, and refuses here what cannot
//! be written at all: a dump that would not load must not begin.

use std::collections::BTreeMap;
use std::io;

use rusqlite::Connection;

use super::Selection;
use super::module::{Module, Rows};

/// One element of the schema.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) sql: String,
}

/// A virtual table.
#[derive(Debug)]
pub(super) struct Virtual {
    pub(super) element: Element,
    pub(super) module: String,
    pub(super) rows: Rows,
}

/// The parts of a dump, each in the order it is written.
#[derive(Debug)]
pub(super) struct Plan {
    /// Ordinary tables, by name.
    pub(super) tables: Vec<Table>,
    /// Virtual tables, by name, those that show others' content last.
    pub(super) virtuals: Vec<Virtual>,
    /// Names of tables of SQLite's own whose rows are kept.
    pub(super) has_sequence: bool,
    pub(super) has_statistics: bool,
    /// Indexes, views and triggers, in the order they were made.
    pub(super) others: Vec<Element>,
    pub(super) encoding: String,
    pub(super) user_version: i64,
    pub(super) application_id: i64,
}

/// An ordinary table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) element: Element,
    pub(super) has_rowid: bool,
}

/// `PRAGMA table_list`: type and whether there is no rowid, by name.
type Kinds = BTreeMap<String, (String, bool)>;

impl Plan {
    /// Reads the schema.
    ///
    /// # Errors
    /// SQLite's, or the table that cannot be written as SQL.
    pub(super) fn read(connection: &Connection, selection: &Selection) -> io::Result<Self> {
        let mut plan = Self::empty(connection).map_err(io::Error::other)?;
        let kinds = kinds(connection).map_err(io::Error::other)?;
        let elements = elements(connection).map_err(io::Error::other)?;
        let mut shadows = Vec::new();
        for (kind, element) in elements {
            let is_virtual = element.sql.get(..14).is_some_and(|start| {
                kind == "table" && start.eq_ignore_ascii_case("CREATE VIRTUAL")
            });
            let (table_kind, without_rowid) = kinds
                .get(&element.name)
                .map_or(("", false), |(kind, without)| (kind.as_str(), *without));
            match kind.as_str() {
                _ if element.name == "sqlite_sequence" => plan.has_sequence = true,
                _ if element.name == "sqlite_stat1" => plan.has_statistics = true,
                _ if element.name.starts_with("sqlite_") || element.sql.is_empty() => {}
                "table" if is_virtual && selection.has(&element.name) => {
                    plan.virtuals.push(Virtual::of(element)?);
                }
                "table" if is_virtual => {}
                "table" if table_kind == "shadow" => shadows.push(element),
                "table" if selection.has(&element.name) => {
                    plan.tables.push(Table { element, has_rowid: !without_rowid });
                }
                "table" => {}
                "view" if !selection.is_all() => {}
                _ if kind != "view" && !selection.has(&element.table) => {}
                _ => plan.others.push(element),
            }
        }
        plan.keep_content(shadows, &kinds, selection);
        plan.tables.sort_by(|one, other| one.element.name.cmp(&other.element.name));
        plan.virtuals.sort_by_key(|table| (table.rows == Rows::None, table.element.name.clone()));
        plan.refuse_unreadable(connection)?;
        Ok(plan)
    }

    fn empty(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            tables: Vec::new(),
            virtuals: Vec::new(),
            has_sequence: false,
            has_statistics: false,
            others: Vec::new(),
            encoding: connection.query_row("PRAGMA encoding", [], |row| row.get(0))?,
            user_version: number("PRAGMA main.user_version")?,
            application_id: number("PRAGMA main.application_id")?,
        })
    }

    /// A user's table whose name happens to be that of a shadow table is one all the same, if a
    /// full-text index names it as its content.
    fn keep_content(&mut self, shadows: Vec<Element>, kinds: &Kinds, selection: &Selection) {
        for element in shadows {
            let is_content = self.virtuals.iter().any(|table| {
                matches!(&table.rows, Rows::Rebuilt(name) if name.eq_ignore_ascii_case(&element.name))
            });
            if is_content && selection.has(&element.name) {
                let without_rowid = kinds.get(&element.name).is_some_and(|(_, without)| *without);
                self.tables.push(Table { element, has_rowid: !without_rowid });
            }
        }
    }

    fn refuse_unreadable(&self, connection: &Connection) -> io::Result<()> {
        for table in &self.virtuals {
            let name = &table.element.name;
            let why = match table.rows {
                Rows::Own | Rows::None => continue,
                Rows::Rebuilt(_) if shows_rows(connection, name) => continue,
                Rows::Rebuilt(ref content) => {
                    format!("keeps an index of {content} and does not find its rows there")
                }
                Rows::Unreadable if is_empty(connection, name)? => continue,
                Rows::Unreadable => "keeps an index without its content".to_owned(),
                Rows::Unknown => format!("needs the module {}, which is not here", table.module),
            };
            let sentence = format!(
                "table {name} {why}, so that its rows cannot be written as SQL: take a binary \
                 backup, or name the tables to dump"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, sentence));
        }
        Ok(())
    }
}

impl Virtual {
    fn of(element: Element) -> io::Result<Self> {
        let module = Module::parse(&element.sql).ok_or_else(|| {
            io::Error::other(format!("the schema of table {} is damaged", element.name))
        })?;
        Ok(Self { rows: module.rows(), module: module.name, element })
    }
}

fn kinds(connection: &Connection) -> rusqlite::Result<Kinds> {
    let sql = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'";
    connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?
        .collect()
}

fn elements(connection: &Connection) -> rusqlite::Result<Vec<(String, Element)>> {
    let sql =
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM main.sqlite_schema ORDER BY rowid";
    connection
        .prepare(sql)?
        .query_map([], |row| {
            let element = Element { name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? };
            Ok((row.get(0)?, element))
        })?
        .collect()
}

/// Whether a full-text index finds the content that it can be built anew from.
fn shows_rows(connection: &Connection, name: &str) -> bool {
    let sql = format!("SELECT * FROM {} LIMIT 1", super::literal::quote_name(name));
    let step = || connection.prepare(&sql)?.query([])?.next().map(drop);
    step().is_ok()
}

fn is_empty(connection: &Connection, name: &str) -> io::Result<bool> {
    let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", super::literal::quote_name(name));
    connection.query_row(&sql, [], |row| row.get(0)).map_err(io::Error::other)
}
