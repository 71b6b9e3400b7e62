//! How long a write may go on: counted in instructions, never in seconds.
//!
//! Instructions of SQLite's virtual machine are the same on every node, so a statement that is
//! too long fails everywhere or nowhere. The node's own shutdown may end a statement too, but
//! that is told apart: it is never an outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use rusqlite::{Connection, Result};

/// Instructions between two looks at the limit: some 10 microseconds of work.
const PERIOD: u64 = 1_000;

/// Instructions one statement may take when its request says nothing: minutes of work. Beyond
/// that, everybody else's writes have waited too long.
const DEFAULT_MAX: u64 = 20_000_000_000;

/// How far a statement is, as the meter's state holds it.
const RUNNING: u8 = 0;
const EXCEEDED: u8 = 1;
const STOPPED: u8 = 2;

/// Ends what the write connection is doing, for good: for shutdown.
#[derive(Clone, Default)]
pub struct Interrupter(Arc<AtomicBool>);

impl Interrupter {
    /// The running statement ends within a millisecond as a fault, and so do all later ones.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a statement was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It took more instructions than its request may: so on all nodes.
    Exceeded,
    /// This node is shutting down, or something else of its own.
    Stopped,
}

/// The count of one write connection.
pub(super) struct Meter {
    left: AtomicU64,
    state: AtomicU8,
    interrupter: Interrupter,
}

impl Meter {
    /// Counts what `connection` does from now on.
    ///
    /// # Errors
    /// Only for want of memory.
    pub(super) fn install(
        connection: &mut Connection,
        interrupter: Interrupter,
    ) -> Result<Arc<Self>> {
        let (left, state) = (AtomicU64::new(0), AtomicU8::new(RUNNING));
        let meter = Arc::new(Self { left, state, interrupter });
        meter.start(0);
        let counted = Arc::clone(&meter);
        let period = i32::try_from(PERIOD).expect("a thousand fits");
        connection.progress_handler(period, Some(move || counted.tick()))?;
        Ok(meter)
    }

    /// Sets the limit of what comes next; 0 means the default. Whatever runs on the connection needs
    /// a start of its own, or what the statement before it left might not be enough.
    pub(super) fn start(&self, instructions_max: u64) {
        let max = if instructions_max == 0 { DEFAULT_MAX } else { instructions_max };
        self.left.store(max.div_ceil(PERIOD), Ordering::Relaxed);
    }

    /// Why the statement that failed with SQLITE_INTERRUPT was ended, once.
    pub(super) fn take_ended(&self) -> Ended {
        match self.state.swap(RUNNING, Ordering::Relaxed) {
            EXCEEDED => Ended::Exceeded,
            _ => Ended::Stopped,
        }
    }

    fn tick(&self) -> bool {
        if self.interrupter.0.load(Ordering::Relaxed) {
            self.state.store(STOPPED, Ordering::Relaxed);
            return true;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            self.state.store(EXCEEDED, Ordering::Relaxed);
            return true;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        false
    }
}
