//! Random work on a log and on a plain list, which must always agree.

use quorlite::raft::{EntryId, HardState};
use quorlite::storage::{Entry, Log, Options, ReadError};

use crate::support::*;

#[derive(Clone, Default)]
struct Model {
    start: EntryId,
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl Model {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.start, |entry| entry.id)
    }

    fn check(&self, log: &Log, what: &str) {
        assert_eq!((log.start(), log.last()), (self.start, self.last()), "{what}");
        assert_eq!(log.hard_state(), &self.hard_state, "{what}");
        assert_eq!(entries(log), self.entries, "{what}");
        assert_eq!(log.term_at(self.start.index), Some(self.start.term), "{what}");
        for entry in &self.entries {
            assert_eq!(log.term_at(entry.id.index), Some(entry.id.term), "{what}");
            assert_eq!(log.read(entry.id.index).expect("it is held"), *entry, "{what}");
        }
        assert_eq!(log.term_at(self.last().index + 1), None, "{what}");
        assert!(matches!(log.read(self.last().index + 1), Err(ReadError::Absent { .. })), "{what}");
        if self.start.index > 0 {
            let before = log.read(self.start.index);
            assert!(matches!(before, Err(ReadError::Compacted { .. })), "{what}");
        }
    }
}

/// One random step; whether it left the model synced.
fn step(log: &mut Log, model: &mut Model, term: &mut u64, random: &mut Random) -> bool {
    match random.below(20) {
        0..=9 => {
            let entry = entry(*term, model.last().index + 1);
            log.append(&entry);
            model.entries.push(entry);
        }
        10 | 11 => {
            *term += 1;
            model.hard_state = hard_state(*term, if random.is_chance(50) { "node" } else { "" });
            log.set_hard_state(&model.hard_state);
        }
        12 if !model.entries.is_empty() => {
            let keep = random.below_size(model.entries.len());
            log.truncate_from(model.entries[keep].id.index);
            model.entries.truncate(keep);
        }
        13 if !model.entries.is_empty() && random.is_chance(50) => {
            let gone = random.below_size(model.entries.len()) + 1;
            model.start = model.entries[gone - 1].id;
            model.entries.drain(..gone);
            log.compact(model.start).expect("it can be compacted");
            return false;
        }
        14 if random.is_chance(10) => {
            model.start = id(*term, model.last().index + random.below(50));
            model.entries.clear();
            log.reset(model.start).expect("there is room");
            return true;
        }
        _ => {
            log.sync().expect("there is room");
            return true;
        }
    }
    false
}

#[test]
fn the_log_is_a_list() {
    let mut segments_max = 0;
    for seed in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new(seed);
        let options = Options {
            segment_bytes: 200 + random.below(3000),
            ahead_bytes: random.below(3) * 500,
            recent_bytes_max: usize::try_from(random.below(2000)).unwrap(),
        };
        let (mut log, _) = open(folder.path(), options.clone());
        let mut model = Model::default();
        let mut synced = model.clone();
        let mut term = 1;
        for turn in 0..300 {
            let what = format!("seed {seed}, turn {turn}");
            if step(&mut log, &mut model, &mut term, &mut random) {
                synced = model.clone();
            }
            if random.is_chance(10) {
                model.check(&log, &what);
            }
            if random.is_chance(3) {
                // What was not synced is dropped; a start that was, may be older.
                drop(log);
                (log, _) = open(folder.path(), options.clone());
                // Of a compaction that was not synced, only whole segments stay gone.
                assert!(log.start().index <= model.start.index.max(synced.start.index), "{what}");
                log.compact(synced.start.max(log.start())).unwrap();
                synced.entries.retain(|entry| entry.id.index > log.start().index);
                synced.start = log.start();
                model = synced.clone();
                model.check(&log, &what);
            }
            segments_max = segments_max.max(image(folder.path()).len());
        }
    }
    assert!(segments_max > 3, "{segments_max}");
}
