//! A file cut at every byte, and every byte of it flipped.

use quorlite::storage::{Entry, Flaw, Log, OpenError};

use crate::support::*;

/// Three synced batches of some entries, and the length of the file after each.
fn three_batches(folder: &std::path::Path) -> (Vec<Entry>, Vec<usize>) {
    let (mut log, _) = open(folder, exact());
    let mut written = Vec::new();
    let mut ends = Vec::new();
    for batch in 0..3 {
        log.set_hard_state(&hard_state(batch + 1, "n1"));
        for step in 0..4 {
            let entry = entry(batch + 1, batch * 4 + step + 1);
            log.append(&entry);
            written.push(entry);
        }
        log.sync().expect("there is room");
        ends.push(only_file(&image(folder)).1.len());
    }
    (written, ends)
}

#[test]
fn a_file_cut_anywhere_holds_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let (written, _) = three_batches(folder.path());
    let (name, bytes) = only_file(&image(folder.path()));
    let mut lengths = Vec::new();
    for cut in 0..bytes.len() {
        restore(folder.path(), &[(name.clone(), bytes[..cut].to_vec())].into());
        let opened = Log::open(folder.path(), exact());
        // A segment gets its name when its head and the hard state are synced.
        if cut < 112 {
            assert!(is_damaged(&opened), "cut at {cut}");
            continue;
        }
        let (mut log, recovered) = opened.unwrap();
        let held = entries(&log);
        assert_eq!(held, written[..held.len()], "cut at {cut}");
        assert_eq!(recovered.last.index, held.len() as u64);
        // What is written next is found again, and nothing of the old.
        let next = entry(9, held.len() as u64 + 1);
        log.append(&next);
        log.sync().unwrap();
        drop(log);
        let (log, recovered) = open(folder.path(), exact());
        assert_eq!(recovered.cut, None, "cut at {cut}");
        assert_eq!(entries(&log)[held.len()..], [next], "cut at {cut}");
        lengths.push(held.len());
    }
    assert!(lengths.is_sorted());
    assert_eq!((lengths[0], lengths[lengths.len() - 1]), (0, written.len() - 1));
}

#[test]
fn a_flipped_bit_is_refused_or_cut_off_with_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (written, ends) = three_batches(folder.path());
    let (name, bytes) = only_file(&image(folder.path()));
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            restore(folder.path(), &[(name.clone(), flipped.clone())].into());
            let opened = Log::open(folder.path(), exact());
            // A later batch says that all before it was synced.
            if at < ends[1] {
                assert!(is_damaged(&opened), "bit {bit} of byte {at}");
                assert_eq!(only_file(&image(folder.path())).1, flipped, "a refusal changed it");
                continue;
            }
            let held = entries(&opened.unwrap().0);
            assert!(held.len() >= 8, "bit {bit} of byte {at}");
            assert_eq!(held, written[..held.len()], "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn junk_behind_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (written, _) = three_batches(folder.path());
    let (name, bytes) = only_file(&image(folder.path()));
    for at in 0..64 {
        let mut junk = bytes.clone();
        junk.resize(bytes.len() + 200, 0);
        junk[bytes.len() + at] = b'Q';
        restore(folder.path(), &[(name.clone(), junk)].into());
        let (log, recovered) = open(folder.path(), exact());
        assert_eq!(entries(&log), written);
        assert_eq!(recovered.cut.map(|cut| cut.offset), Some(bytes.len() as u64));
        assert_eq!(only_file(&image(folder.path())).1, bytes);
    }
}

#[test]
fn any_flaw_before_the_last_segment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), tiny());
    for index in 1..=20 {
        log.append(&entry(1, index));
        log.sync().unwrap();
    }
    drop(log);
    let whole = image(folder.path());
    assert!(whole.len() > 2, "several segments were expected");
    let names: Vec<_> = whole.keys().cloned().collect();
    for name in &names[..names.len() - 1] {
        for at in 0..whole[name].len() {
            let mut files = whole.clone();
            files.get_mut(name).unwrap()[at] ^= 0x10;
            restore(folder.path(), &files);
            assert!(is_damaged(&Log::open(folder.path(), tiny())), "{name} at {at}");
            files.get_mut(name).unwrap().truncate(at);
            restore(folder.path(), &files);
            assert!(is_damaged(&Log::open(folder.path(), tiny())), "{name} cut at {at}");
        }
    }
    for name in &names[1..names.len() - 1] {
        let mut files = whole.clone();
        files.remove(name);
        restore(folder.path(), &files);
        let error = Log::open(folder.path(), tiny()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { flaw: Flaw::Gap, .. }), "{error}");
    }
}

#[test]
fn an_empty_or_blank_segment_is_refused_and_says_how_to_go_on() {
    for blank in [0, 1, 4096] {
        let folder = tempfile::tempdir().unwrap();
        three_batches(folder.path());
        let (name, _) = only_file(&image(folder.path()));
        restore(folder.path(), &[(name.clone(), vec![0; blank])].into());
        let text = Log::open(folder.path(), exact()).unwrap_err().to_string();
        for part in [name.as_str(), "byte 0", "empty node", "restore a backup"] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
}

#[test]
fn a_segment_that_never_got_its_name_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (written, _) = three_batches(folder.path());
    let mut files = image(folder.path());
    files.insert("0000000002-00000000000000000013.log.tmp".to_owned(), vec![0; 50]);
    restore(folder.path(), &files);
    let (log, _) = open(folder.path(), exact());
    assert_eq!(entries(&log), written);
    assert_eq!(image(folder.path()).len(), 1);
}

#[test]
fn a_record_inside_a_body_is_not_taken_for_one() {
    // A record that says that far more was synced than the log below holds.
    let elsewhere = tempfile::tempdir().unwrap();
    let (mut log, _) = open(elsewhere.path(), exact());
    log.append(&sized(1, 1, 9000));
    log.sync().unwrap();
    let synced = only_file(&image(elsewhere.path())).1.len();
    log.append(&sized(1, 2, 90));
    log.sync().unwrap();
    let record = only_file(&image(elsewhere.path())).1[synced..].to_vec();

    // A client that knows the format sends it as a body, and the power goes before that is
    // synced. Behind the entry's header of 44 bytes, 4 more make it begin at a multiple of 8.
    let folder = tempfile::tempdir().unwrap();
    let (written, ends) = three_batches(folder.path());
    let (mut log, _) = open(folder.path(), exact());
    let mut last = sized(9, 13, 0);
    last.body = [b"....".as_slice(), &record].concat().into();
    log.append(&last);
    log.sync().unwrap();
    drop(log);
    let (name, mut torn) = only_file(&image(folder.path()));
    assert_eq!(torn[ends[2] + 48..][..3], *b"QLR");
    torn[ends[2] + 10] ^= 1;
    restore(folder.path(), &[(name, torn)].into());
    let (log, recovered) = open(folder.path(), exact());
    assert_eq!(entries(&log), written);
    assert_eq!(recovered.cut.map(|cut| cut.offset), Some(ends[2] as u64));
}
