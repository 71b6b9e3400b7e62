//! Which old backups go: all but the newest, and never the newest that was verified.
//!
//! The order is that of the sequence numbers in the sidecars, whatever the clock did in between.
//! What has no sidecar is older than what has one.

use std::ffi::OsString;
use std::time::SystemTime;

/// A backup beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: OsString,
    /// Of its sidecar, where that belongs to the file.
    pub(super) sequence: Option<u64>,
    pub(super) is_verified: bool,
    pub(super) modified: SystemTime,
}

/// The names of those that go when so many are kept, the oldest first.
pub(super) fn surplus(mut found: Vec<Found>, keep: usize) -> Vec<OsString> {
    // `None` comes before every number. Names make the order of equals certain.
    found.sort_by(|a, b| (a.sequence, a.modified, &a.name).cmp(&(b.sequence, b.modified, &b.name)));
    let newest_verified = found.iter().rposition(|backup| backup.is_verified);
    let old = found.len().saturating_sub(keep);
    found.truncate(old);
    let numbered = found.into_iter().enumerate();
    numbered.filter(|(at, _)| Some(*at) != newest_verified).map(|(_, backup)| backup.name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn backup(name: &str, sequence: Option<u64>, is_verified: bool, seconds: u64) -> Found {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Found { name: name.into(), sequence, is_verified, modified }
    }

    #[test]
    fn the_sequence_decides_and_not_the_clock() {
        let found = vec![
            backup("2030", Some(1), true, 900),
            backup("1970", Some(3), true, 1),
            backup("2029", Some(2), true, 800),
        ];
        assert_eq!(surplus(found.clone(), 1), ["2030", "2029"]);
        assert_eq!(surplus(found.clone(), 2), ["2030"]);
        assert!(surplus(found, 3).is_empty());
    }

    #[test]
    fn the_newest_verified_one_stays() {
        let found = vec![
            backup("a", Some(1), true, 1),
            backup("b", Some(2), true, 2),
            backup("c", Some(3), false, 3),
            backup("d", Some(4), false, 4),
        ];
        assert_eq!(surplus(found, 1), ["a", "c"]);
    }

    #[test]
    fn strangers_are_older_than_everything() {
        let found = vec![
            backup("stranger", None, false, 999),
            backup("older stranger", None, false, 998),
            backup("a", Some(1), true, 1),
        ];
        assert_eq!(surplus(found, 1), ["older stranger", "stranger"]);
    }
}
