//! A table's rows as INSERTs.
//!
//! Rows come in the order of their row ids. As long as each id is the one that a load would give
//! by itself (one more than the last), it is left out; any other is written, so that the loaded
//! table has the ids of the dumped one. The inner loop allocates nothing.

use std::io;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::at;
use super::literal::{is_plain, push_digits, push_doubled, push_name, push_value, quote_name};
use crate::db::pipe::Sink;

/// Names by which a row id can be asked for, unless columns bear them.
const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// Larger values are written in pieces of this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// How a table is read and its rows are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Columns that are written.
    columns: Vec<String>,
    ids: Ids,
    /// Whether the column names are written, as for a virtual table with hidden columns.
    is_named: bool,
    /// Whether the scan is kept off indexes, which have another order.
    is_virtual: bool,
}

/// What is to be done about row ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    /// There are none, or they are a column, or they cannot be asked for.
    None,
    /// Written where a load would not give them, under this name.
    Odd(&'static str),
    /// Always written, under this name.
    All(&'static str),
}

/// A column as `PRAGMA table_xinfo` shows it.
struct Column {
    name: String,
    declared: String,
    key: i64,
    hidden: i64,
}

impl Form {
    /// An ordinary table's.
    pub(super) fn of_table(
        connection: &Connection,
        name: &str,
        has_rowid: bool,
    ) -> rusqlite::Result<Self> {
        let columns = columns(connection, name)?;
        let ids = match rowid_name(&columns) {
            Some(id) if has_rowid && !has_integer_key(&columns) => Ids::Odd(id),
            _ => Ids::None,
        };
        // Generated columns (2 virtual, 3 stored) take no value.
        let columns = columns.into_iter().filter(|column| column.hidden == 0);
        let columns = columns.map(|column| column.name).collect();
        Ok(Self { columns, ids, is_named: false, is_virtual: false })
    }

    /// A virtual table's.
    pub(super) fn of_virtual(
        connection: &Connection,
        name: &str,
        module: &str,
    ) -> rusqlite::Result<Self> {
        let columns = columns(connection, name)?;
        let (ids, hidden): (Ids, &[&str]) = match module {
            "fts5" => (Ids::All("rowid"), &[name, "rank"]),
            "fts3" | "fts4" => (Ids::All("docid"), &[name, "docid"]),
            "geopoly" => (Ids::All("rowid"), &[]),
            _ => (Ids::None, &[]),
        };
        // What is hidden but for commands is content, as the language of an FTS4 row.
        let columns = columns.into_iter().filter(|column| {
            column.hidden == 0 || !hidden.iter().any(|name| name.eq_ignore_ascii_case(&column.name))
        });
        let columns = columns.map(|column| column.name).collect();
        Ok(Self { columns, ids, is_named: true, is_virtual: true })
    }

    fn select(&self, name: &str) -> String {
        let id = match self.ids {
            Ids::None => None,
            Ids::Odd(id) | Ids::All(id) => Some(id.to_owned()),
        };
        let columns = self.columns.iter().map(|column| quote_name(column));
        let list = id.into_iter().chain(columns).collect::<Vec<_>>().join(",");
        let not_indexed = if self.is_virtual { "" } else { " NOT INDEXED" };
        format!("SELECT {list} FROM main.{}{not_indexed}", quote_name(name))
    }

    /// The line up to its values, with or without the row id.
    fn beginning(&self, name: &str, id: Option<&str>) -> Vec<u8> {
        let mut text = b"INSERT INTO ".to_vec();
        push_name(&mut text, name);
        if self.is_named || id.is_some() {
            let columns = self.columns.iter().map(|column| quote_name(column));
            let list = id.map(str::to_owned).into_iter().chain(columns).collect::<Vec<_>>();
            text.extend_from_slice(format!("({})", list.join(",")).as_bytes());
        }
        text.extend_from_slice(b" VALUES(");
        text
    }
}

/// Writes all rows of a table.
pub(super) fn write_rows(
    connection: &Connection,
    name: &str,
    form: &Form,
    sink: &mut Sink,
    may_go_on: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let mut statement = connection.prepare(&form.select(name)).map_err(|error| at(name, &error))?;
    let columns = statement.column_count();
    let plain = form.beginning(name, None);
    let with_id = match form.ids {
        Ids::None => Vec::new(),
        Ids::Odd(id) | Ids::All(id) => form.beginning(name, Some(id)),
    };
    let mut last_id = 0_i64;
    let mut rows = statement.query([]).map_err(|error| at(name, &error))?;
    while let Some(row) = rows.next().map_err(|error| at(name, &error))? {
        let has_id = match form.ids {
            Ids::None => None,
            Ids::All(_) => Some(true),
            Ids::Odd(_) => {
                let id: i64 = row.get(0).map_err(|error| at(name, &error))?;
                let is_next = id > 0 && last_id >= 0 && id == last_id.wrapping_add(1);
                last_id = id;
                Some(!is_next)
            }
        };
        let (beginning, first) = match has_id {
            None => (&plain, 0),
            Some(true) => (&with_id, 0),
            Some(false) => (&plain, 1),
        };
        sink.chunk().extend_from_slice(beginning);
        for column in first..columns {
            if column > first {
                sink.chunk().push(b',');
            }
            let value = row.get_ref(column).map_err(|error| at(name, &error))?;
            write_value(value, sink, may_go_on)?;
        }
        sink.chunk().extend_from_slice(b");\n");
        sink.turn(may_go_on)?;
    }
    Ok(())
}

/// Writes a value; a large one in pieces, so that its text never is in memory as a whole.
fn write_value(
    value: ValueRef<'_>,
    sink: &mut Sink,
    may_go_on: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let (begin, pieces, push_piece, end) = match value {
        ValueRef::Blob(bytes) if bytes.len() > PIECE_BYTES => {
            (&b"X'"[..], bytes, push_digits as fn(&mut Vec<u8>, &[u8]), &b"'"[..])
        }
        ValueRef::Text(text) if text.len() > PIECE_BYTES && is_plain(text) => {
            (&b"'"[..], text, push_doubled as fn(&mut Vec<u8>, &[u8]), &b"'"[..])
        }
        ValueRef::Text(text) if text.len() > PIECE_BYTES && std::str::from_utf8(text).is_err() => {
            (&b"CAST(X'"[..], text, push_digits as fn(&mut Vec<u8>, &[u8]), &b"' AS TEXT)"[..])
        }
        other => {
            push_value(sink.chunk(), other);
            return Ok(());
        }
    };
    sink.chunk().extend_from_slice(begin);
    for piece in pieces.chunks(PIECE_BYTES) {
        push_piece(sink.chunk(), piece);
        sink.turn(may_go_on)?;
    }
    sink.chunk().extend_from_slice(end);
    Ok(())
}

fn columns(connection: &Connection, name: &str) -> rusqlite::Result<Vec<Column>> {
    connection
        .prepare("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid")?
        .query_map([name], |row| {
            Ok(Column {
                name: row.get(0)?,
                declared: row.get(1)?,
                key: row.get(2)?,
                hidden: row.get(3)?,
            })
        })?
        .collect()
}

/// The first name for the row id that no column has taken.
fn rowid_name(columns: &[Column]) -> Option<&'static str> {
    ROWID_NAMES
        .into_iter()
        .find(|name| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)))
}

/// Whether the row id is a column. (For the one exception, `INTEGER PRIMARY KEY DESC`, whose row
/// ids are something else, they are then not kept.)
fn has_integer_key(columns: &[Column]) -> bool {
    let mut keys = columns.iter().filter(|column| column.key > 0);
    let only = (keys.next(), keys.next());
    matches!(only, (Some(key), None) if key.declared.eq_ignore_ascii_case("INTEGER"))
}
