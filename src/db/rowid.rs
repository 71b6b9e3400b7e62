//! Row ids that SQLite would draw by chance.
//!
//! A table that holds the largest row id there is gets its next ones at random, each node its own
//! (SQLite: autoinc.html). Such an insert must fail, everywhere. The update hook sees every row id
//! as it is used; those SQLite draws are spread over 62 bits, so only large ones need a look at
//! whether their table holds the largest. That one below [`LARGE`] is missed has a chance of one
//! in a thousand million. (An explicit id that large, in a table with the largest, fails too.)

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::hooks::Action;
use rusqlite::{Connection, Result};

use crate::os;

/// Row ids from here on are looked at.
const LARGE: i64 = 1 << 32;

/// The tables into which the running statement has put large row ids.
#[derive(Default)]
pub(super) struct LargeRowIds {
    any: AtomicBool,
    tables: Mutex<BTreeSet<String>>,
}

impl LargeRowIds {
    /// Looks at all that `connection` inserts from now on.
    ///
    /// # Errors
    /// Only for want of memory.
    pub(super) fn install(connection: &mut Connection) -> Result<Arc<Self>> {
        let seen = Arc::new(Self::default());
        let noted = Arc::clone(&seen);
        connection.update_hook(Some(move |action, _: &str, table: &str, row_id: i64| {
            if row_id >= LARGE && row_id != i64::MAX && action == Action::SQLITE_INSERT {
                noted.note(table);
            }
        }))?;
        Ok(seen)
    }

    /// The first table that holds the largest row id, of those with large ones since this was
    /// last asked.
    pub(super) fn take_used_up(&self, connection: &Connection) -> Option<String> {
        if !self.any.swap(false, Ordering::Relaxed) {
            return None;
        }
        let tables = {
            let mut tables = os::lock(&self.tables);
            std::mem::take(&mut *tables)
        };
        tables.into_iter().find(|table| {
            let name = table.replace('"', "\"\"");
            let sql = format!("SELECT EXISTS(SELECT 1 FROM \"{name}\" WHERE rowid=?1)");
            // A table that cannot be asked has been dropped since.
            connection.query_row(&sql, [i64::MAX], |row| row.get(0)).unwrap_or(false)
        })
    }

    fn note(&self, table: &str) {
        let mut tables = os::lock(&self.tables);
        if !tables.contains(table) {
            tables.insert(table.to_owned());
        }
        self.any.store(true, Ordering::Relaxed);
    }
}
