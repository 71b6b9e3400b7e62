//! Data directories as a crash, a leader or a person may have left them.

use std::path::Path;
use std::time::Duration;

use super::directory::Directory;
use super::start::{ClusterSettings, Settings};
use crate::db::mark::Mark;
use crate::db::snapshot::Limits;
use crate::raft::{EntryId, EntryKind, HardState};
use crate::storage::Entry;

fn settings(directory: &Path) -> Settings {
    let never = Duration::MAX;
    Settings {
        directory: directory.to_owned(),
        id: Some("1".to_owned()),
        raft_address: "a:2".to_owned(),
        http_address: "a:1".to_owned(),
        foreign_keys: false,
        readers_max: 0,
        checkpoint_entries: 1,
        checkpoint_wal_bytes: 0,
        checkpoint_interval: never,
        election_timeout: Duration::from_secs(1),
        vacuum_interval: Duration::ZERO,
        optimize_interval: Duration::ZERO,
        backup_limits: Limits { wal_bytes_max: 0, age_max: never, free_bytes_min: 0 },
        cluster: ClusterSettings { is_voter: true, ..ClusterSettings::default() },
    }
}

fn opened(directory: &Path) -> Result<Directory, String> {
    Directory::open(&settings(directory)).map_err(|error| error.to_string())
}

/// A directory with a cluster of one.
fn begun() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = opened(folder.path()).unwrap();
    assert!(directory.membership().is_none() && directory.identity.cluster().is_none(), "new");
    let own = settings(folder.path()).own_member(&directory.identity);
    directory.bootstrap(own).unwrap();
    folder
}

#[test]
fn a_database_from_a_leader_begins_the_log_and_any_other_must_fit_it() {
    let folder = begun();
    let applied = EntryId { term: 5, index: 100 };
    let mut mark = Mark::read(&folder.path().join("db")).unwrap();
    mark.standing.applied = applied;
    mark.standing.membership = opened(folder.path()).unwrap().membership().unwrap().1.encode();
    for (begins_log, is_good) in [(false, false), (true, true), (false, true)] {
        mark.standing.begins_log = begins_log;
        mark.write(&folder.path().join("db")).unwrap();
        match opened(folder.path()) {
            Err(error) => {
                assert!(!is_good && error.contains("do not belong together"), "{error}");
            }
            Ok(directory) => {
                assert!(is_good, "taken without a word");
                assert_eq!((directory.log.start(), directory.log.last()), (applied, applied));
                assert_eq!(directory.hard_state, HardState { term: 1, vote: None }, "kept");
                let first = &directory.configurations()[0];
                assert_eq!((first.0, first.1.voters().len()), (100, 1), "as the mark says");
                assert!(!directory.machine.standing().begins_log, "once");
            }
        }
    }
    // The same index in another term is another entry.
    mark.standing.applied.term = 6;
    mark.write(&folder.path().join("db")).unwrap();
    assert!(opened(folder.path()).is_err(), "another entry");
}

#[test]
fn what_is_missing_is_noticed() {
    let folder = begun();
    let incarnation = opened(folder.path()).unwrap().identity.incarnation;
    assert_eq!(opened(folder.path()).unwrap().identity.incarnation, incarnation, "kept");
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    std::fs::rename(folder.path().join("raft"), folder.path().join("away")).unwrap();
    let error = opened(folder.path()).err().unwrap();
    assert!(error.contains("holds no log, though it has an identity"), "{error}");
    std::fs::rename(folder.path().join("away"), folder.path().join("raft")).unwrap();
    std::fs::remove_file(folder.path().join("identity")).unwrap();
    let error = opened(folder.path()).err().unwrap();
    assert!(error.contains("has lost its file identity"), "{error}");
}

#[test]
fn members_set_by_hand_are_in_force_and_a_crash_in_between_does_no_harm() {
    let folder = begun();
    let file = folder.path().join("raft/peers.json");
    for text in ["nonsense", "[]", r#"[{"id":"2","address":"b:2"}]"#] {
        std::fs::write(&file, text).unwrap();
        let error = opened(folder.path()).err().unwrap();
        assert!(error.contains("nothing was changed") && file.exists(), "{text}: {error}");
    }
    let text = r#"[{"id":"1","address":"new:2"}]"#;
    for since in [1 << 20, 1 << 20, 1 << 20] {
        // As if the last rename had not reached the disk.
        std::fs::write(&file, text).unwrap();
        let directory = opened(folder.path()).unwrap();
        let (_, membership) = directory.membership().unwrap();
        assert_eq!(membership.since, since, "the same for all survivors");
        assert_eq!(membership.members["1"].raft_address, "new:2");
        assert_eq!(directory.hard_state.term, since);
        assert_eq!(directory.configurations().len(), 1, "none that is superseded");
        assert!(!file.exists() && file.with_extension("info").exists(), "set aside");
    }
    let mut directory = opened(folder.path()).unwrap();
    let forced = directory.membership().unwrap().1.clone();
    // The leader has put it into the log: from here on it is an entry like others.
    let id = EntryId { term: forced.since + 1, index: 2 };
    let body = forced.encode().into_bytes().into();
    directory.log.append(&Entry { id, kind: EntryKind::Membership, body });
    directory.log.sync().unwrap();
    drop(directory);
    assert_eq!(opened(folder.path()).unwrap().membership(), Some(&(2, forced)));
}
