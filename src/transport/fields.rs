//! Numbers, names and bytes as they stand in a frame: little-endian, and read without believing
//! any length.
//!
//! Knows nothing of what they mean.

use crate::raft::EntryId;

/// Writes fields, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn id(&mut self, id: EntryId) {
        self.u64(id.term);
        self.u64(id.index);
    }

    /// # Panics
    /// When it is longer than 255 bytes; names are checked where they come from.
    pub(super) fn name(&mut self, name: &str) {
        self.u8(u8::try_from(name.len()).expect("names have 255 bytes at most"));
        self.bytes(name.as_bytes());
    }

    /// Bytes with their number before them.
    ///
    /// # Panics
    /// When there are more than 4 GiB; entries and memberships are far shorter.
    pub(super) fn counted(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("what is counted is short"));
        self.bytes(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Reads fields; `None` when there are not enough bytes, or not the right ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn id(&mut self) -> Option<EntryId> {
        Some(EntryId { term: self.u64()?, index: self.u64()? })
    }

    pub(super) fn name(&mut self) -> Option<&'a str> {
        let count = usize::from(self.u8()?);
        str::from_utf8(self.take(count)?).ok()
    }

    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.take(count)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
