//! How large an entry may make the database.
//!
//! A statement that adds rows without end must not fill the disk: nothing else could be written
//! then, and each start would begin it again. So each entry carries a size, and SQLite's own limit
//! of pages is set to it; what is too much fails as a result, on all nodes alike. Nothing here
//! looks at a disk.

use super::connection::Writer;
use super::fault::Fault;
use crate::command::BLOCK_BYTES;

/// SQLite's words for it, and for a full disk, which [`super::fault`] tells apart.
pub(super) const FULL: &str = "database or disk is full";

/// The most pages a database may have (SQLite: limits.html).
const PAGES_MAX: u64 = 0xffff_fffe;

/// The limit of one connection.
pub(super) struct Growth {
    page_bytes: u64,
    /// The pages asked for last, if the database was not larger already.
    in_force: Option<u64>,
}

impl Growth {
    /// For a connection without a limit so far.
    pub(super) fn of(writer: &Writer) -> Result<Self, Fault> {
        let found = writer.connection.pragma_query_value(None, "page_size", |row| row.get(0));
        let page_bytes: u32 = found.map_err(|error| Fault::of(&error))?;
        Ok(Self { page_bytes: u64::from(page_bytes), in_force: None })
    }

    /// Sets the limit for what comes next; 0 means none. False: the database is larger already,
    /// and may not grow from what it is now, which another request may change.
    pub(super) fn limit(&mut self, writer: &Writer, blocks_max: u64) -> Result<bool, Fault> {
        let pages = match blocks_max {
            0 => PAGES_MAX,
            blocks => (blocks.saturating_mul(BLOCK_BYTES) / self.page_bytes).clamp(1, PAGES_MAX),
        };
        if self.in_force == Some(pages) {
            return Ok(true);
        }
        writer.meter.start(0);
        writer.guard.trust(true);
        let sql = format!("PRAGMA main.max_page_count={pages}");
        let set = writer.connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        writer.guard.trust(false);
        let set = set.map_err(|error| Fault::of(&error))?;
        let is_exact = u64::try_from(set) == Ok(pages);
        self.in_force = is_exact.then_some(pages);
        Ok(is_exact)
    }
}
