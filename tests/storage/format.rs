//! Format 1, byte by byte: a change of it must be on purpose, with a new version.

use std::fs;

use quorlite::raft::EntryKind;
use quorlite::storage::{Entry, Log, OpenError};

use crate::support::*;

const NAME: &str = "0000000003-00000000000000000007.log";
const SALT: u32 = 0x0bad_cafe;

/// Writes records as the table in the format's description says, knowing nothing of the code.
struct Golden {
    bytes: Vec<u8>,
    chain: u32,
    salt: u32,
}

impl Golden {
    fn record(&mut self, kind: u8, (term, index): (u64, u64), synced: u64, body: &[u8]) {
        let mut body_padded = body.to_vec();
        while !(44 + body_padded.len()).is_multiple_of(8) {
            body_padded.push(0);
        }
        let mut header = b"QLR".to_vec();
        header.push(kind);
        header.extend(u32::try_from(body.len()).expect("it is short").to_le_bytes());
        header.extend(term.to_le_bytes());
        header.extend(index.to_le_bytes());
        header.extend(synced.to_le_bytes());
        header.extend(self.chain.to_le_bytes());
        header.extend(crc32c(0, &body_padded).to_le_bytes());
        // The salt is in the head, so the head is made without.
        self.chain = crc32c(if kind == 1 { 0 } else { self.salt }, &header);
        header.extend(self.chain.to_le_bytes());
        self.bytes.extend(header);
        self.bytes.extend(body_padded);
    }

    fn opening(version: u32) -> Self {
        let mut golden = Self { bytes: Vec::new(), chain: 0x1234_5678, salt: SALT };
        let mut head = b"quorlog\n".to_vec();
        head.extend(version.to_le_bytes());
        head.extend(SALT.to_le_bytes());
        golden.record(1, (2, 6), 0, &head);
        golden.record(2, (4, 0), 0, b"n1");
        golden
    }
}

/// CRC32C, bit by bit: reflected, polynomial 0x1EDC6F41 (RFC 3720, section 12.1).
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    let mut rest = !start;
    for byte in bytes {
        rest ^= u32::from(*byte);
        for _ in 0..8 {
            rest = if rest & 1 == 1 { (rest >> 1) ^ 0x82f6_3b78 } else { rest >> 1 };
        }
    }
    !rest
}

fn command(term: u64, index: u64, text: &str) -> Entry {
    Entry { id: id(term, index), kind: EntryKind::Command, body: text.as_bytes().into() }
}

/// Entries 7 to 9, of which 9 is replaced, and 7 compacted.
fn golden() -> Golden {
    let mut golden = Golden::opening(1);
    assert_eq!(golden.bytes.len(), 112, "the opening has two records");
    golden.record(16, (3, 7), 112, b"");
    golden.record(17, (3, 8), 112, b"{\"a\":1}");
    golden.record(17, (3, 9), 112, b"wrong");
    golden.record(3, (3, 8), 272, b"");
    golden.record(18, (4, 9), 272, b"members");
    golden.record(2, (5, 0), 376, b"");
    golden.record(4, (3, 7), 376, b"");
    golden
}

#[test]
fn a_segment_of_format_1_is_read_and_written_alike() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    fs::write(folder.path().join(NAME), &golden.bytes).unwrap();
    let (mut log, recovered) = open(folder.path(), exact());
    assert_eq!(recovered.hard_state, hard_state(5, ""));
    assert_eq!((recovered.start, recovered.last), (id(3, 7), id(4, 9)));
    assert_eq!(recovered.terms, [id(3, 7), id(4, 9)]);
    assert_eq!(recovered.cut, None);
    let members =
        Entry { id: id(4, 9), kind: EntryKind::Membership, body: b"members".as_slice().into() };
    assert_eq!(recovered.memberships, std::slice::from_ref(&members));
    assert_eq!(entries(&log), [command(3, 8, "{\"a\":1}"), members]);

    // What is added is what the table says, too.
    let synced = golden.bytes.len() as u64;
    let mut longer = golden;
    longer.record(2, (6, 0), synced, b"n2");
    longer.record(17, (6, 10), synced, b"x");
    log.set_hard_state(&hard_state(6, "n2"));
    log.append(&command(6, 10, "x"));
    log.sync().unwrap();
    assert_eq!(fs::read(folder.path().join(NAME)).unwrap(), longer.bytes);
}

#[test]
fn a_reset_record_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut golden = golden();
    let synced = golden.bytes.len() as u64;
    golden.record(5, (8, 100), synced, b"");
    golden.record(17, (8, 101), synced, b"first");
    fs::write(folder.path().join(NAME), &golden.bytes).unwrap();
    let (log, recovered) = open(folder.path(), exact());
    assert_eq!((recovered.start, recovered.last), (id(8, 100), id(8, 101)));
    assert_eq!(entries(&log), [command(8, 101, "first")]);
}

#[test]
fn a_new_segment_has_the_same_head_but_for_its_salt() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), exact()));
    let (name, bytes) = only_file(&image(folder.path()));
    assert_eq!(name, "0000000001-00000000000000000001.log");
    let salt = u32::from_le_bytes(bytes[56..60].try_into().unwrap());
    let mut golden = Golden { bytes: Vec::new(), chain: 0, salt };
    let head = [b"quorlog\n".as_slice(), &1_u32.to_le_bytes(), &salt.to_le_bytes()].concat();
    golden.record(1, (0, 0), 0, &head);
    golden.record(2, (0, 0), 0, b"");
    assert_eq!(bytes, golden.bytes);
}

#[test]
fn a_newer_format_is_refused_and_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), Golden::opening(2).bytes).unwrap();
    let error = Log::open(folder.path(), exact()).unwrap_err();
    assert!(matches!(error, OpenError::Version { version: 2, .. }), "{error}");
}
