//! `random()`, `randomblob()` and `changes()` as every node must answer them in a write.
//!
//! The numbers come from SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014), started anew for each entry from the seed the leader put into it:
//! they depend on the entry and on how many were drawn before in it, and on nothing else. They
//! must never feed anything secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Error, Result, ffi};

use super::raw;

/// The increment of SplitMix64: the odd integer nearest to 2^64 divided by the golden ratio.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the overridden functions share with whoever applies entries.
#[derive(Default)]
pub(super) struct Generator {
    state: AtomicU64,
    changes_asked: AtomicBool,
}

impl Generator {
    /// Starts the sequence of one entry.
    pub(super) fn seed(&self, seed: u64) {
        self.state.store(seed, Ordering::Relaxed);
    }

    /// Whether `changes()` was called since this was last asked.
    pub(super) fn take_changes_asked(&self) -> bool {
        self.changes_asked.swap(false, Ordering::Relaxed)
    }

    fn next(&self) -> u64 {
        let state = self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed);
        let mut bits = state.wrapping_add(GOLDEN_GAMMA);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Replaces what is not the same everywhere. Innocuous, so that defaults and triggers of an
/// untrusted schema may call it, as they may call SQLite's own.
///
/// # Errors
/// Only for want of memory.
pub(super) fn install(
    connection: &Connection,
    generator: &Arc<Generator>,
    blob_bytes_max: i64,
) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let source = Arc::clone(generator);
    connection
        .create_scalar_function("random", 0, flags, move |_| Ok(source.next().cast_signed()))?;
    let source = Arc::clone(generator);
    connection.create_scalar_function("randomblob", 1, flags, move |context| {
        let length = match context.get_raw(0) {
            rusqlite::types::ValueRef::Integer(length) => length,
            // A cast keeps SQLite's own habit: what is too large becomes the largest.
            #[expect(clippy::cast_possible_truncation, reason = "saturates, which is meant")]
            rusqlite::types::ValueRef::Real(length) => length as i64,
            rusqlite::types::ValueRef::Text(text) => leading_integer(text),
            rusqlite::types::ValueRef::Null | rusqlite::types::ValueRef::Blob(_) => 0,
        };
        if length > blob_bytes_max {
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None));
        }
        Ok(source.bytes(usize::try_from(length.max(1)).unwrap_or(1)))
    })?;
    let source = Arc::clone(generator);
    connection.create_scalar_function("changes", 0, flags, move |context| {
        source.changes_asked.store(true, Ordering::Relaxed);
        raw::changes(context)
    })?;
    connection.create_scalar_function("total_changes", 0, flags, |_| -> Result<i64> {
        let reason = "total_changes() counts since the node started, so a write cannot use it";
        Err(Error::UserFunctionError(reason.into()))
    })
}

fn leading_integer(text: &[u8]) -> i64 {
    let digits = text.trim_ascii_start().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        let generator = Generator::default();
        generator.seed(1_234_567);
        // The first outputs for this seed, as published with other implementations.
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn blobs_have_the_length_asked_for() {
        let connection = Connection::open_in_memory().unwrap();
        install(&connection, &Arc::new(Generator::default()), 100).unwrap();
        let length = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(length("SELECT length(randomblob(17))").unwrap(), 17);
        assert_eq!(length("SELECT length(randomblob('9x'))").unwrap(), 9);
        assert_eq!(length("SELECT length(randomblob(-4))").unwrap(), 1);
        assert_eq!(length("SELECT length(randomblob(NULL))").unwrap(), 1);
        assert!(length("SELECT length(randomblob(101))").is_err());
        assert!(length("SELECT total_changes()").is_err());
    }
}
