//! The database as SQL text that `sqlite3` and Quorlite load back to an equal database.
//!
//! Everything is read from one snapshot, row by row, in a thread of its own; memory is that of a
//! few chunks and the largest row. What cannot be written is refused before the first byte.
//!
//! The order makes the text load: tables with their rows; virtual tables through INSERTs of their
//! own, never by their shadow tables, which no careful server lets anybody write; counters and
//! statistics; indexes, views and triggers; then the full-text indexes that are built from tables
//! or views. Row ids that are not those a load would give are written out.
//!
//! A blob above 500 MB or a text above 1 GB is written, but no SQLite takes so long a statement.
//!
//! Left out: `sqlite_stat4` (many builds of `sqlite3` lack it; ANALYZE makes it again), the page
//! size, and the merge settings of FTS3 and FTS4.

pub mod literal;
mod module;
mod plan;
mod rows;

use std::io::{self, Write as _};

use rusqlite::Connection;

use crate::db::pipe::{Pipe, Sink};
use crate::db::snapshot::Snapshot;
use literal::{push_value, quote_name};
use module::Rows;
use plan::{Element, Plan, Virtual};
use rows::{Form, write_rows};

/// Which tables a dump holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them, and everything else.
    All,
    /// Those of these exact names, with their indexes and triggers; unknown names are ignored.
    Tables(Vec<String>),
}

/// Dumps a snapshot. The stream fails if the snapshot is ended or SQLite fails.
///
/// # Errors
/// `Unsupported` with a sentence for a table that cannot be written as SQL; else SQLite's.
pub fn dump(snapshot: Snapshot, selection: Selection) -> io::Result<Pipe> {
    Pipe::start("dump", move |sink| {
        let may_go_on = || snapshot.check();
        snapshot.read(|connection| {
            let plan = Plan::read(connection, &selection)?;
            Writer { connection, sink, selection: &selection, may_go_on: &may_go_on }.write(&plan)
        })
    })
}

/// What every part of the dump needs.
struct Writer<'a> {
    connection: &'a Connection,
    sink: &'a mut Sink,
    selection: &'a Selection,
    may_go_on: &'a dyn Fn() -> io::Result<()>,
}

impl Selection {
    fn is_all(&self) -> bool {
        *self == Self::All
    }

    fn has(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tables(names) => names.iter().any(|name| name == table),
        }
    }
}

impl Writer<'_> {
    fn write(&mut self, plan: &Plan) -> io::Result<()> {
        if plan.encoding != "UTF-8" {
            self.line(&format!("PRAGMA encoding='{}';", plan.encoding))?;
        }
        self.line("PRAGMA foreign_keys=OFF;")?;
        self.line("BEGIN TRANSACTION;")?;
        for table in &plan.tables {
            self.create(&table.element)?;
            let name = &table.element.name;
            let form = Form::of_table(self.connection, name, table.has_rowid)
                .map_err(|error| at(name, &error))?;
            self.rows(name, &form)?;
        }
        for table in &plan.virtuals {
            self.virtual_table(table)?;
        }
        self.sequence(plan)?;
        self.statistics(plan)?;
        for element in &plan.others {
            self.create(element)?;
        }
        for table in &plan.virtuals {
            if let Rows::Rebuilt(content) = &table.rows
                && self.selection.has(content)
            {
                let name = quote_name(&table.element.name);
                self.line(&format!("INSERT INTO {name}({name}) VALUES('rebuild');"))?;
            }
        }
        if self.selection.is_all() {
            self.numbers(plan)?;
        }
        self.line("COMMIT;")
    }

    fn virtual_table(&mut self, table: &Virtual) -> io::Result<()> {
        let name = &table.element.name;
        self.create(&table.element)?;
        if table.module == "fts5" {
            self.fts5_settings(name).map_err(|error| at(name, &error))?;
        }
        if table.rows != Rows::Own {
            return Ok(());
        }
        let form = Form::of_virtual(self.connection, name, &table.module)
            .map_err(|error| at(name, &error))?;
        self.rows(name, &form)
    }

    /// Settings of a full-text index are kept in a shadow table and set by a special INSERT.
    fn fts5_settings(&mut self, name: &str) -> rusqlite::Result<()> {
        let shadow = quote_name(&format!("{name}_config"));
        let sql = format!("SELECT k, v FROM {shadow} WHERE k <> 'version' ORDER BY k");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let chunk = self.sink.chunk();
            let name = quote_name(name);
            chunk.extend_from_slice(format!("INSERT INTO {name}({name},rank) VALUES(").as_bytes());
            push_value(chunk, row.get_ref(0)?);
            chunk.push(b',');
            push_value(chunk, row.get_ref(1)?);
            chunk.extend_from_slice(b");\n");
        }
        Ok(())
    }

    /// Counters of AUTOINCREMENT: those of the dumped tables only, so that a load into a database
    /// with other tables leaves theirs alone.
    fn sequence(&mut self, plan: &Plan) -> io::Result<()> {
        if !plan.has_sequence {
            return Ok(());
        }
        let sql = "SELECT name, seq FROM main.sqlite_sequence ORDER BY rowid";
        self.own_rows(sql, |chunk, values| {
            chunk.extend_from_slice(b"DELETE FROM \"sqlite_sequence\" WHERE name=");
            chunk.extend_from_slice(&values[0]);
            chunk.extend_from_slice(b";\nINSERT INTO \"sqlite_sequence\" VALUES(");
            chunk.extend_from_slice(&values.join(&b','));
            chunk.extend_from_slice(b");\n");
        })
    }

    fn statistics(&mut self, plan: &Plan) -> io::Result<()> {
        if !plan.has_statistics {
            return Ok(());
        }
        self.line("ANALYZE \"sqlite_master\";")?;
        let sql = "SELECT tbl, idx, stat FROM main.sqlite_stat1 ORDER BY rowid";
        self.own_rows(sql, |chunk, values| {
            chunk.extend_from_slice(b"INSERT INTO \"sqlite_stat1\" VALUES(");
            chunk.extend_from_slice(&values.join(&b','));
            chunk.extend_from_slice(b");\n");
        })
    }

    /// Rows of a table of SQLite's own, whose first column names a user's table.
    fn own_rows(&mut self, sql: &str, write: impl Fn(&mut Vec<u8>, &[Vec<u8>])) -> io::Result<()> {
        let mut statement = self.connection.prepare(sql).map_err(io::Error::other)?;
        let columns = statement.column_count();
        let mut rows = statement.query([]).map_err(io::Error::other)?;
        while let Some(row) = rows.next().map_err(io::Error::other)? {
            let table: Option<String> = row.get(0).map_err(io::Error::other)?;
            if !self.selection.has(table.as_deref().unwrap_or_default()) {
                continue;
            }
            let mut values = vec![Vec::new(); columns];
            for (column, value) in values.iter_mut().enumerate() {
                push_value(value, row.get_ref(column).map_err(io::Error::other)?);
            }
            write(self.sink.chunk(), &values);
            self.sink.turn(self.may_go_on)?;
        }
        Ok(())
    }

    fn numbers(&mut self, plan: &Plan) -> io::Result<()> {
        if plan.user_version != 0 {
            self.line(&format!("PRAGMA user_version={};", plan.user_version))?;
        }
        if plan.application_id != 0 {
            self.line(&format!("PRAGMA application_id={};", plan.application_id))?;
        }
        Ok(())
    }

    fn rows(&mut self, name: &str, form: &Form) -> io::Result<()> {
        write_rows(self.connection, name, form, self.sink, self.may_go_on)
    }

    fn create(&mut self, element: &Element) -> io::Result<()> {
        // Behind a comment the semicolon would be part of it.
        let end = if element.sql.contains("--") { "\n;" } else { ";" };
        self.line(&format!("{}{end}", element.sql))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.sink, "{text}")
    }
}

/// SQLite's error with the table it is about.
fn at(table: &str, error: &rusqlite::Error) -> io::Error {
    io::Error::other(format!("table {table}: {error}"))
}
