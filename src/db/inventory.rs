//! What a database file holds: the numbers of its header, its schema, and how many rows.
//!
//! The file may be hostile: it is opened as a stranger's, and its views and triggers do not run.
//! The same queries, sent to a server, tell what is live, so that both lists can be compared.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::dump::literal::quote_name;
use super::header::{Encoding, HEADER_BYTES, Header};
use super::load::{self, LoadError};

/// Everything in a schema but SQLite's own tables and the shadow tables of virtual ones: type,
/// name, table, and the CREATE text.
pub const SCHEMA_SQL: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
     WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT IN \
     (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow') \
     ORDER BY name, type";

/// What the header of a database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Pages in the file.
    pub pages: u64,
    /// How text is stored, as `PRAGMA encoding` names it.
    pub encoding: &'static str,
    /// Whether it is to be opened with a WAL.
    pub is_wal: bool,
    /// `PRAGMA user_version`.
    pub user_version: i32,
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// The SQLite that wrote last, such as 3.51.3; `None` in a file without any content.
    pub sqlite_version: Option<String>,
}

/// One element of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The CREATE statement.
    pub sql: String,
    /// Of a table; `None` for all else, and for a virtual table that cannot be read.
    pub rows: Option<u64>,
}

/// The SQL that counts the rows of a table.
pub fn count_sql(table: &str) -> String {
    format!("SELECT count(*) FROM main.{}", quote_name(table))
}

/// Reads the header of the database in a file.
///
/// # Errors
/// What is wrong with it.
pub fn form(path: &Path) -> Result<Form, LoadError> {
    let mut head = [0; HEADER_BYTES];
    let mut file = File::open(path).map_err(LoadError::Read)?;
    file.read_exact(&mut head).map_err(LoadError::Read)?;
    let bytes = file.metadata().map_err(LoadError::Read)?.len();
    let header = Header::parse(&head)?;
    let encoding = match header.encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Utf16Little => "UTF-16le",
        Encoding::Utf16Big => "UTF-16be",
    };
    let number = header.sqlite_version;
    let version = format!("{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000);
    let page_bytes = header.page_bytes;
    Ok(Form {
        page_bytes,
        pages: header.pages.map_or(bytes / u64::from(page_bytes), u64::from),
        encoding,
        is_wal: header.is_wal,
        user_version: header.user_version,
        application_id: header.application_id,
        sqlite_version: (number > 0).then_some(version),
    })
}

/// Reads the schema of the database in a file that nobody writes to, and counts all rows.
///
/// # Errors
/// What is wrong with the file.
pub fn elements(path: &Path) -> Result<Vec<Element>, LoadError> {
    let connection = load::open_untrusted(path)?;
    let damaged = |error: rusqlite::Error| LoadError::Damaged(error.to_string());
    let mut statement = connection.prepare(SCHEMA_SQL).map_err(damaged)?;
    let found = statement.query_map([], |row| {
        let (kind, name, sql) = (row.get(0)?, row.get(1)?, row.get(3)?);
        Ok(Element { kind, name, sql, rows: None })
    });
    let mut elements: Vec<Element> =
        found.and_then(Iterator::collect::<rusqlite::Result<_>>).map_err(damaged)?;
    for element in elements.iter_mut().filter(|element| element.kind == "table") {
        let count = connection.query_row(&count_sql(&element.name), [], |row| row.get::<_, i64>(0));
        let is_virtual = is_virtual(&element.sql);
        match count {
            Ok(count) => element.rows = u64::try_from(count).ok(),
            // What it is made from may be missing; the file can be used all the same.
            Err(_) if is_virtual => {}
            Err(error) => return Err(damaged(error)),
        }
    }
    Ok(elements)
}

fn is_virtual(sql: &str) -> bool {
    super::scan::words(sql, 2).get(1).is_some_and(|word| word.eq_ignore_ascii_case("VIRTUAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA user_version=-7; PRAGMA application_id=9;
                 CREATE TABLE \"odd \"\" name\"(a PRIMARY KEY);
                 INSERT INTO \"odd \"\" name\" VALUES(1),(2);
                 CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES('x');
                 CREATE VIRTUAL TABLE g USING fts5(t, content='missing');
                 CREATE VIEW v AS SELECT 1; ANALYZE; PRAGMA writable_schema=ON;
                 INSERT INTO sqlite_schema
                     VALUES('table', 'unknown', 'unknown', 0, 'CREATE VIRTUAL TABLE unknown USING nobody(a)');",
            )
            .unwrap();
        connection.close().unwrap();
        let form = form(&path).unwrap();
        assert_eq!((form.page_bytes, form.encoding, form.is_wal), (4096, "UTF-8", true));
        assert_eq!((form.user_version, form.application_id), (-7, 9));
        assert_eq!(form.sqlite_version.as_deref(), Some(rusqlite::version()));
        let elements = elements(&path).unwrap();
        let found: Vec<_> =
            elements.iter().map(|e| (e.kind.as_str(), e.name.as_str(), e.rows)).collect();
        let wanted = [
            ("table", "f", Some(1)),
            ("table", "g", None),
            ("table", "odd \" name", Some(2)),
            ("table", "unknown", None),
            ("view", "v", None),
        ];
        assert_eq!(found, wanted);
    }
}
