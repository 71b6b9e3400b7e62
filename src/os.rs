//! The machine: threads with names, locks, clocks, memory and free space.
//!
//! What differs between systems, or must be found by a reader who asks "who looks at the
//! clock?", is here. Nothing here knows what a node or a request is.

use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exit code of a process that found that it must not go on.
const DIED: i32 = 70;

/// Starts a thread under a name, which is what a debugger and `top -H` show of it.
///
/// # Errors
/// The system's, when it has no more threads to give.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// Starts a thread under a name with a stack of this many bytes, for threads that are many.
///
/// # Errors
/// The system's, when it has no more threads to give.
pub fn spawn_with_stack<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(work)
}

/// Locks, also what a thread has panicked over. Nobody panics while holding one of the locks here
/// with its value half changed; threads that own state do not outlive a panic (see
/// [`spawn_owner`]).
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock: time since 1970. It may go back; only stamps and reports may use it.
pub fn wall_clock() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Bytes a user may still write on the file system that holds `path`.
///
/// # Errors
/// The system's.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Bytes of all files in a folder and the folders below it; what cannot be read counts as nothing.
pub fn folder_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Starts a thread that owns state which others rely on: a panic in it ends the process, since
/// what it owned can no longer be trusted. Its stack has this many bytes.
///
/// # Errors
/// The system's, when it has no more threads to give.
pub fn spawn_owner(
    name: &'static str,
    stack_bytes: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    spawn_with_stack(name, stack_bytes, move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            die(&format!("thread {name} panicked"));
        }
    })
}

/// Says why and ends the process at once, as a crash would. The next start recovers.
pub fn die(why: &str) -> ! {
    log::error!("{why}");
    #[expect(clippy::exit, reason = "the one place that ends the process without unwinding")]
    std::process::exit(DIED)
}

/// Has the process stop in order, as if it had been told to from outside.
pub fn ask_to_stop() {
    if let Err(error) = signal_hook::low_level::raise(signal_hook::consts::SIGTERM) {
        die(&format!("the process cannot signal itself: {error}"));
    }
}

/// Whether this process ignores a signal: `nohup`, and a shell for what it runs in the background,
/// have it begin so.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    #[expect(unsafe_code, reason = "the only way to ask without changing it (sigaction(2))")]
    // SAFETY: no new action is given, and the old one is written whole where 0 is returned.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// A number that nobody can foretell.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A name that nobody else draws: 32 hexadecimal digits.
pub fn random_name() -> String {
    format!("{:016x}{:016x}", random_u64(), random_u64())
}

/// Gives memory that was freed back to the system, where the allocator keeps it otherwise.
pub fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "glibc's only way; it takes its own locks (malloc_trim(3))")]
        // SAFETY: takes no pointer and may be called at any time from any thread.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

fn fill_random(bytes: &mut [u8]) {
    let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty());
    // Small requests are filled whole once the system has booted (getrandom(2)).
    assert!(filled == Ok(bytes.len()), "the system gives no random bytes: {filled:?}");
}
