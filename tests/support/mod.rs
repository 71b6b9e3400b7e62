//! What the test programs share: a server in a process, a client, golden files, broken disks.
//!
//! Nothing here knows what a particular test claims. A helper that fails panics with a message
//! that says what it was doing: a test is not the place to handle errors.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod golden;
mod names;
pub(crate) mod server;
pub(crate) mod synced;

use std::time::{Duration, Instant};

/// Time between two looks; short against everything that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives something, and fails naming `what` when it does not within `deadline`.
pub(crate) fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A small generator of random numbers, the same on every run for the same seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A number from the environment, for runs longer than the usual ones.
pub(crate) fn environment_number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
}
