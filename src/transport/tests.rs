//! Frames under a hail of wrong bytes: what is not exactly what was sent is refused.

use std::sync::Arc;

use super::contents::{Contents, digest_of, name_of};
use super::frame::{self, BadFrame, Envelope, VERSION};
use super::limits::PIECE_BYTES;
use crate::raft::{EntryId, EntryKind, Payload};
use crate::storage::Entry;

const LAST: EntryId = EntryId { term: 6, index: 9 };

fn envelope() -> Envelope {
    Envelope {
        term: 7,
        membership_index: 3,
        cluster: "c0ffee".to_owned(),
        from: "n1/a".to_owned(),
        to: "n2/b".to_owned(),
    }
}

fn entry(index: u64, kind: EntryKind, body: &[u8]) -> Entry {
    Entry { id: EntryId { term: 5, index }, kind, body: Arc::from(body) }
}

/// One of each kind.
fn all() -> Vec<Contents<'static>> {
    let payloads = [
        Payload::PreVote { last: LAST },
        Payload::PreVoteReply { granted: true },
        Payload::Vote { last: LAST, is_transfer: true },
        Payload::VoteReply { granted: false },
        Payload::Heartbeat { commit: 1, round: 2 },
        Payload::HeartbeatReply { round: 3, matched: 4, last: 5 },
        Payload::Appended { matched: 6, round: 7 },
        Payload::Refused { prev: 8, hint: LAST, round: 9 },
        Payload::TimeoutNow,
    ];
    let entries = vec![
        entry(10, EntryKind::Noop, b""),
        entry(11, EntryKind::Command, b"body"),
        entry(12, EntryKind::Membership, b"{}"),
    ];
    let others = [
        Contents::Append { prev: LAST, commit: 1, round: 2, entries },
        Contents::Append { prev: LAST, commit: 1, round: 2, entries: Vec::new() },
        Contents::BodyPiece { sha256: [3; 32], bytes: 9, offset: 4, piece: b"piece" },
        Contents::SnapshotBegin {
            session: 1,
            last: LAST,
            bytes: 2,
            membership: "{}",
            settings: b"\xff",
        },
        Contents::SnapshotPiece { session: 1, offset: 4, piece: b"piece" },
        Contents::SnapshotEnd { session: 1, sha256: [4; 32] },
        Contents::Have { offset: 77 },
        Contents::Held,
        Contents::BodyNeeded { sha256: [5; 32] },
        Contents::Removed { index: 12 },
    ];
    payloads.into_iter().map(Contents::Message).chain(others).collect()
}

#[test]
fn every_kind_comes_back_as_it_was_sent() {
    for contents in all() {
        let bytes = contents.seal(&envelope(), vec![9; 5]);
        assert_eq!(frame::decode(&bytes), Ok((envelope(), contents)));
        assert_eq!(frame::peek(&bytes[..100.min(bytes.len())]).unwrap().0, envelope());
    }
}

#[test]
fn nothing_cut_altered_or_longer_is_taken() {
    for contents in all() {
        let whole = contents.seal(&envelope(), Vec::new());
        for end in 0..whole.len() {
            assert!(frame::decode(&whole[..end]).is_err(), "{contents:?} cut at {end}");
            // Whatever it says of a part: it must not panic.
            drop(frame::peek(&whole[..end]));
        }
        for at in 0..whole.len() {
            for change in 1..=255 {
                let mut altered = whole.clone();
                altered[at] ^= change;
                assert!(frame::decode(&altered).is_err(), "{contents:?} altered at {at}");
                drop(frame::peek(&altered));
            }
        }
        assert!(frame::decode(&[&whole[..], &[0]].concat()).is_err(), "{contents:?} and more");
    }
}

/// Puts the right checksum behind wrong contents, as a faulty node would.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let body = &bytes[..bytes.len() - 4];
    [body, &crc32c::crc32c(body).to_le_bytes()[..]].concat()
}

#[test]
fn lies_with_the_right_checksum_cost_nothing_and_break_nothing() {
    for contents in all() {
        let whole = contents.seal(&envelope(), Vec::new());
        for at in 4..whole.len() - 4 {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut altered = whole.clone();
                altered[at] = byte;
                // Some of these are messages; all that matters is that no number is believed.
                if let Ok((envelope, contents)) = frame::decode(&resealed(&altered)) {
                    let again = contents.seal(&envelope, Vec::new());
                    assert_eq!(again, resealed(&altered), "what is understood is all there was");
                }
            }
        }
        let longer = resealed(&[&whole[..], &[1]].concat());
        let is_open_ended = matches!(
            contents,
            Contents::BodyPiece { .. } | Contents::SnapshotPiece { .. } | Contents::Append { .. }
        );
        let decoded = frame::decode(&longer);
        assert!(is_open_ended || decoded.is_err(), "{contents:?} with bytes behind it");
    }
}

#[test]
fn random_bytes_are_foreign() {
    let mut state = 1_u64;
    let mut bytes = Vec::new();
    for round in 0..20_000 {
        bytes.clear();
        for _ in 0..round % 200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push(state.to_be_bytes()[0]);
        }
        assert!(frame::decode(&bytes).is_err());
        let mut headed = b"QLT\x01".to_vec();
        headed.extend_from_slice(&bytes);
        headed.extend_from_slice(&[0; 4]);
        drop(frame::decode(&resealed(&headed)));
    }
}

#[test]
fn another_version_is_refused_by_naming_both() {
    let mut bytes = Contents::Held.seal(&envelope(), Vec::new());
    bytes[3] = VERSION + 1;
    let bad = frame::decode(&resealed(&bytes)).unwrap_err();
    assert_eq!(bad, BadFrame::Version(2));
    let text = bad.to_string();
    assert!(text.contains("version 1 ") && text.contains("version 2:"), "{text}");
    let mut bytes = Contents::Held.seal(&envelope(), Vec::new());
    bytes[4] = 99;
    assert_eq!(frame::decode(&resealed(&bytes)).unwrap_err(), BadFrame::Kind(99));
}

#[test]
fn an_append_is_long_only_for_the_sake_of_one_entry() {
    let long = entry(10, EntryKind::Command, &vec![b'x'; 5 << 20]);
    let append = |entries| Contents::Append { prev: LAST, commit: 0, round: 0, entries };
    let one = append(vec![long.clone()]).seal(&envelope(), Vec::new());
    assert!(frame::decode(&one).is_ok());
    let two = append(vec![long, entry(11, EntryKind::Noop, b"")]).seal(&envelope(), Vec::new());
    assert_eq!(frame::decode(&two).unwrap_err(), BadFrame::Content(7));
    let piece = &vec![0; PIECE_BYTES + 1];
    let piece = Contents::SnapshotPiece { session: 1, offset: 0, piece };
    let piece = piece.seal(&envelope(), Vec::new());
    assert_eq!(frame::decode(&piece).unwrap_err(), BadFrame::Content(18));
}

#[test]
fn digests_are_names_and_back() {
    let name = "0123456789abcdef".repeat(4);
    assert_eq!(digest_of(&name).as_ref().map(name_of), Some(name.clone()));
    for wrong in [&name[1..], "", &name.to_uppercase(), &format!("{name}0"), &"\u{e9}".repeat(32)] {
        assert_eq!(digest_of(wrong), None, "{wrong}");
    }
}
