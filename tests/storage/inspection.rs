//! Looking at a log changes nothing and tells good, torn and damaged apart.

use quorlite::raft::EntryKind;
use quorlite::storage::inspect::{Condition, Piece, inspect};
use quorlite::storage::{Flaw, Kind};

use crate::support::*;

fn pieces(folder: &std::path::Path) -> Vec<Piece> {
    let before = image(folder);
    let pieces: Vec<_> = inspect(folder).and_then(Iterator::collect).expect("it can be read");
    assert_eq!(image(folder), before, "looking changed something");
    pieces
}

#[test]
fn a_running_log_shows_every_record_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), tiny());
    for index in 1..=30 {
        log.append(&entry(1, index));
        log.sync().unwrap();
    }
    let pieces = pieces(folder.path());
    assert!(pieces.iter().all(|piece| piece.condition == Condition::Good));
    let mut shown = Vec::new();
    for piece in &pieces {
        let record = piece.record.as_ref().unwrap();
        if let Kind::Entry(kind) = record.kind {
            let body = record.body.clone().unwrap();
            assert_eq!(body.len(), record.body_bytes);
            shown.push(quorlite::storage::Entry { id: record.id, kind, body });
        }
    }
    assert_eq!(shown, entries(&log));
    let heads = pieces.iter().filter(|piece| piece.offset == 0).count();
    assert_eq!(heads, image(folder.path()).len());
}

#[test]
fn a_bad_record_is_judged_by_what_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), exact());
    for index in [1, 3, 5] {
        log.append(&sized(1, index, 9));
        log.append(&sized(1, index + 1, 9));
        log.sync().unwrap();
    }
    drop(log);
    let (name, bytes) = only_file(&image(folder.path()));
    let good = pieces(folder.path());
    assert_eq!(good.len(), 8);
    assert_eq!(good[3].record.as_ref().unwrap().kind, Kind::Entry(EntryKind::Command));
    let conditions = |at: u64| {
        let mut flipped = bytes.clone();
        flipped[usize::try_from(at).unwrap()] ^= 1;
        restore(folder.path(), &[(name.clone(), flipped)].into());
        let pieces = pieces(folder.path());
        assert_eq!(pieces.len(), 8);
        pieces.into_iter().map(|piece| piece.condition).collect::<Vec<_>>()
    };

    let mut expected = [Condition::Good; 8];
    expected[4] = Condition::Damaged(Flaw::Header);
    assert_eq!(conditions(good[4].offset + 9), expected);
    expected[4] = Condition::Damaged(Flaw::Body);
    assert_eq!(conditions(good[4].offset + 45), expected);
    expected[4] = Condition::Good;
    expected[6] = Condition::Torn(Flaw::Body);
    expected[7] = Condition::Torn(Flaw::Body);
    assert_eq!(conditions(good[6].offset + 45), expected);
}

#[test]
fn an_empty_segment_and_a_missing_folder_are_told() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), exact()));
    let (name, _) = only_file(&image(folder.path()));
    restore(folder.path(), &[(name, Vec::new())].into());
    let pieces = pieces(folder.path());
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].condition, Condition::Damaged(Flaw::Blank));
    assert!(inspect(&folder.path().join("none")).is_err());
}
