//! The write connection's file system: the default one, but for its clock and its memory.
//!
//! SQLite asks the VFS what time it is, for `datetime('now')`, `CURRENT_TIMESTAMP`, defaults and
//! triggers alike; here it is told the stamp of the entry being applied. And SQLite says "full"
//! both of a disk and of a table whose row ids are used up; only the disk's "full" passes through
//! here, so that the two can be told apart. This file must never look at a real clock.

#![allow(unsafe_code, reason = "a VFS is a table of C functions")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rusqlite::ffi;

use crate::os;

/// Julian day number of 1970-01-01T00:00Z in milliseconds: SQLite's clock counts from there.
const JULIAN_EPOCH_MILLISECONDS: i64 = 210_866_760_000_000;

/// Milliseconds in a day.
const DAY_MILLISECONDS: f64 = 86_400_000.0;

thread_local! {
    static DISK_FULL: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
thread_local! {
    /// Writes that succeed, and what the others answer.
    static FAILURE: Cell<(u64, c_int)> = const { Cell::new((u64::MAX, ffi::SQLITE_OK)) };
}

/// Makes writes on this thread fail, but for so many first ones.
#[cfg(test)]
pub(super) fn fail_after(writes: u64, code: c_int) {
    FAILURE.set((writes, code));
}

/// What is done with an open file: as the default VFS does, but noticing a full disk. SQLite's
/// own structure comes first, so that one pointer is both.
#[repr(C)]
struct Methods {
    watched: ffi::sqlite3_io_methods,
    default: &'static ffi::sqlite3_io_methods,
}

/// One for each table of the default VFS: it has one for files with locks and one for others.
static METHODS: Mutex<Vec<&'static Methods>> = Mutex::new(Vec::new());

/// What SQLite is given: its own structure first, so that one pointer is both.
#[repr(C)]
struct Vfs {
    base: ffi::sqlite3_vfs,
    default: *mut ffi::sqlite3_vfs,
    julian_milliseconds: AtomicI64,
    name: CString,
}

/// A registered VFS with a clock of its own; it must outlive the connections opened through it.
pub(super) struct Clock {
    vfs: *mut Vfs,
}

// SAFETY: the structure is only changed through its atomic; SQLite itself reads it from any thread.
unsafe impl Send for Clock {}

impl Clock {
    /// Registers a VFS under a name no other has.
    pub(super) fn register() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("quorlite-{number}")).expect("digits hold no NUL");
        // SAFETY: NULL asks for the default VFS, which is static.
        let default = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!default.is_null(), "the bundled SQLite has a default VFS");
        // SAFETY: it is not null, and a VFS is plain data that may be copied.
        let mut base = unsafe { *default };
        base.pNext = ptr::null_mut();
        base.zName = name.as_ptr();
        base.xOpen = Some(open);
        base.xCurrentTime = Some(current_time);
        base.xCurrentTimeInt64 = Some(current_time_milliseconds);
        let julian_milliseconds = AtomicI64::new(JULIAN_EPOCH_MILLISECONDS);
        let vfs = Box::into_raw(Box::new(Vfs { base, default, julian_milliseconds, name }));
        // SAFETY: the structure stays where it is until `drop` has unregistered it.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs.cast(), 0) };
        assert_eq!(code, ffi::SQLITE_OK, "registering only links a list");
        Self { vfs }
    }

    /// The name to open a connection with.
    pub(super) fn name(&self) -> &CStr {
        // SAFETY: the structure lives as long as `self`.
        unsafe { &(*self.vfs).name }
    }

    /// Stops the clock at this time, in milliseconds since 1970.
    pub(super) fn set(&self, unix_milliseconds: i64) {
        let time = JULIAN_EPOCH_MILLISECONDS.saturating_add(unix_milliseconds);
        // SAFETY: the structure lives as long as `self`.
        unsafe { (*self.vfs).julian_milliseconds.store(time, Ordering::Relaxed) }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // SAFETY: it was registered by `register`, connections that use it are closed (they are
        // dropped first), and nobody else frees it.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs.cast());
            drop(Box::from_raw(self.vfs));
        }
    }
}

/// Whether a write on this thread met a full disk since this was last asked.
pub(super) fn take_disk_full() -> bool {
    DISK_FULL.replace(false)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes the structure that was registered, and a file of the size asked for.
    // The default VFS finds its own data in itself, so it is called with itself.
    unsafe {
        let default = (*vfs.cast::<Vfs>()).default;
        let default_open = (*default).xOpen.expect("a VFS opens files");
        let code = default_open(default, name, file, flags, out_flags);
        if !(*file).pMethods.is_null() {
            (*file).pMethods = ptr::from_ref(watched(&*(*file).pMethods)).cast();
        }
        code
    }
}

fn watched(default: &'static ffi::sqlite3_io_methods) -> &'static Methods {
    let mut known = os::lock(&METHODS);
    if let Some(methods) = known.iter().find(|methods| ptr::eq(methods.default, default)) {
        return methods;
    }
    let (write, truncate) = (Some(write as _), Some(truncate as _));
    let watched = ffi::sqlite3_io_methods { xWrite: write, xTruncate: truncate, ..*default };
    let methods: &'static Methods = Box::leak(Box::new(Methods { watched, default }));
    known.push(methods);
    methods
}

fn noticed(code: c_int) -> c_int {
    if code == ffi::SQLITE_FULL {
        DISK_FULL.set(true);
    }
    code
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    #[cfg(test)]
    match FAILURE.get() {
        (0, code) => return noticed(code),
        (left, code) => FAILURE.set((left - 1, code)),
    }
    // SAFETY: only files that `open` gave these methods come here, with SQLite's own arguments.
    noticed(unsafe {
        let default = (*(*file).pMethods.cast::<Methods>()).default;
        default.xWrite.expect("a file can be written")(file, bytes, length, offset)
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: as above.
    noticed(unsafe {
        let default = (*(*file).pMethods.cast::<Methods>()).default;
        default.xTruncate.expect("a file can be cut")(file, size)
    })
}

unsafe extern "C" fn current_time_milliseconds(
    vfs: *mut ffi::sqlite3_vfs,
    time: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes the structure that was registered, and a place for the answer.
    unsafe { *time = (*vfs.cast::<Vfs>()).julian_milliseconds.load(Ordering::Relaxed) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    // SAFETY: as above.
    let milliseconds = unsafe { (*vfs.cast::<Vfs>()).julian_milliseconds.load(Ordering::Relaxed) };
    #[expect(clippy::cast_precision_loss, reason = "a day number keeps 53 bits")]
    // SAFETY: as above.
    unsafe {
        *days = milliseconds as f64 / DAY_MILLISECONDS;
    }
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    #[test]
    fn two_connections_have_two_times() {
        let clocks = [Clock::register(), Clock::register()];
        let times: Vec<String> = clocks
            .iter()
            .zip([0, 1_000_000_000_123])
            .map(|(clock, time)| {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
                let name = clock.name();
                let connection =
                    Connection::open_in_memory_with_flags_and_vfs(flags, name).unwrap();
                clock.set(time);
                let sql = "SELECT strftime('%Y-%m-%d %H:%M:%f') || current_date";
                connection.query_row(sql, [], |row| row.get(0)).unwrap()
            })
            .collect();
        assert_eq!(
            times,
            ["1970-01-01 00:00:00.0001970-01-01", "2001-09-09 01:46:40.1232001-09-09"]
        );
    }
}
