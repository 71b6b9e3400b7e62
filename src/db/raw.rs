//! The handful of SQLite calls that `rusqlite` does not wrap.
//!
//! Each is a safe function over a borrowed connection. Nothing here decides anything.

#![allow(unsafe_code, reason = "rusqlite has no wrapper for these calls")]

use std::ffi::c_int;

use rusqlite::functions::Context;
use rusqlite::{Connection, Result, ffi};

/// Makes `last_insert_rowid()` answer `row_id` until the next insert.
pub(super) fn set_last_insert_rowid(connection: &Connection, row_id: i64) {
    // SAFETY: the handle is open for as long as the connection is borrowed, and the connection is
    // not `Sync`, so no other thread uses it meanwhile.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), row_id) }
}

/// Whether a deferred foreign key is violated, so that COMMIT would fail.
pub(super) fn has_deferred_violations(connection: &Connection) -> bool {
    let (mut current, mut highest): (c_int, c_int) = (0, 0);
    // SAFETY: as above; both out-pointers live through the call.
    let code = unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut current,
            &raw mut highest,
            0,
        )
    };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite knows its own status codes");
    current != 0
}

/// Takes away what the build gives by default: loading extensions through the C interface.
pub(super) fn forbid_extensions(connection: &Connection) {
    // SAFETY: as above. The call only clears a flag and cannot fail on an open connection.
    let code = unsafe { ffi::sqlite3_enable_load_extension(connection.handle(), 0) };
    assert_eq!(code, ffi::SQLITE_OK, "an open connection takes a flag");
}

/// `changes()` as SQLite would answer it at this very place, triggers included.
pub(super) fn changes(context: &Context<'_>) -> Result<i64> {
    // SAFETY: the reference is dropped before this returns, so it does not outlive the function
    // call that SQLite is making; it is only read from.
    let connection = unsafe { context.get_connection()? };
    Ok(i64::try_from(connection.changes()).unwrap_or(i64::MAX))
}
