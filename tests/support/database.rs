//! SQLite files as a test makes and checks them, with SQLite itself and no server.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// A database in a file, from SQL.
pub(crate) fn create(path: &Path, sql: &str) -> Vec<u8> {
    if path.exists() {
        std::fs::remove_file(path).expect("an old file can be removed");
    }
    let connection = Connection::open(path).expect("a database can be made");
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().expect("nothing is in use");
    std::fs::read(path).expect("the database can be read")
}

/// Opens a file for reading, as SQLite's shell would.
pub(crate) fn open(path: &Path) -> Connection {
    // Not read-only: a file with the WAL flag set needs its -shm file.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).expect("the file can be opened")
}

/// Fails unless SQLite finds nothing wrong in the file.
pub(crate) fn assert_sound(path: &Path) {
    let connection = open(path);
    let found: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert_eq!(found, "ok", "integrity_check of {path:?}");
}

/// All rows of a query, each value in a form that tells all values apart.
pub(crate) fn rows(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap_or_else(|error| panic!("{sql}: {error}")) {
        let values: Vec<String> = (0..columns)
            .map(|column| format!("{:?}", row.get_unwrap::<_, Value>(column)))
            .collect();
        found.push(values.join("|"));
    }
    found
}

/// Everything in a database that a user could miss, as lines that two equal databases share.
pub(crate) fn contents(path: &Path) -> Vec<String> {
    let connection = open(path);
    let mut lines = Vec::new();
    for pragma in ["user_version", "application_id", "encoding"] {
        lines.extend(rows(&connection, &format!("SELECT '{pragma}', * FROM pragma_{pragma}")));
    }
    lines.extend(rows(
        &connection,
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1, 2",
    ));
    let tables =
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
        AND name NOT LIKE 'sqlite_stat%' AND name NOT LIKE 'sqlite_schema' ORDER BY name";
    let mut statement = connection.prepare(tables).expect("SQLite has table_list");
    let names: Result<Vec<String>, _> =
        statement.query_map([], |row| row.get(0)).expect("names are text").collect();
    for name in names.expect("names are text") {
        let quoted = name.replace('"', "\"\"");
        let mut found = rows(&connection, &format!("SELECT * FROM \"{quoted}\""));
        found.sort();
        lines.extend(found.into_iter().map(|row| format!("{name}: {row}")));
    }
    lines
}
