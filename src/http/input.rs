//! The input buffer of one connection: bytes read and not yet used.
//!
//! It grows only while a head does, within the head's limits, and shrinks again at rest. Bodies
//! pass through it only as far as they came with the head or in small pieces.

use super::limits::INPUT_BYTES;

/// Bytes `start..end` of `bytes` are pending; the rest is room.
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; INPUT_BYTES], start: 0, end: 0 }
    }

    /// What was read and not yet used.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next read may put bytes; never empty. Doubles when all is pending, so a caller
    /// that bounds what is pending bounds this.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// Says that a read put `count` bytes into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "a read gave more bytes than there was room");
    }

    /// Says that the first `count` pending bytes have been used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "more bytes were used than were pending");
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives back what a long head made it grow to.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > INPUT_BYTES {
            *self = Self::new();
        }
    }
}
