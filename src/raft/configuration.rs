//! Who counts: configurations, their majorities, and which one is in force.

use std::collections::BTreeSet;

use super::flaw::{Flaw, planted};
use super::types::{Index, NodeId};

/// The members of a cluster, as the protocol knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl Configuration {
    /// Voters count; learners are sent the log and count for nothing (thesis, 4.2.1).
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        Self { voters: voters.into_iter().collect(), learners: learners.into_iter().collect() }
    }

    /// Those who count.
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// Those who do not.
    pub fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Everybody.
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.voters.iter().chain(&self.learners)
    }

    /// Whether `id` counts.
    pub fn is_voter(&self, id: &str) -> bool {
        self.voters.contains(id)
    }

    /// Whether `id` belongs to the cluster.
    pub fn contains(&self, id: &str) -> bool {
        self.is_voter(id) || self.learners.contains(id)
    }

    /// Whether `id` counts, and nobody else does.
    pub fn is_only_voter(&self, id: &str) -> bool {
        self.voters.len() == 1 && self.is_voter(id)
    }

    /// Whether those of whom `is_one` holds are more than half. Never without voters.
    pub fn is_majority(&self, is_one: impl Fn(&NodeId) -> bool) -> bool {
        self.counted().filter(|id| is_one(id)).count() * 2 > self.counted().count()
    }

    /// The highest number that more than half have reached, given what each has; 0 without voters.
    pub fn reached_by_majority(&self, reached: impl Fn(&NodeId) -> Index) -> Index {
        let mut numbers: Vec<Index> = self.counted().map(reached).collect();
        // In ascending order, all from the middle of the lower half on are reached by a majority.
        numbers.sort_unstable();
        match numbers.len() {
            0 => 0,
            count => numbers[(count - 1) / 2],
        }
    }

    fn counted(&self) -> impl Iterator<Item = &NodeId> {
        let learners = planted(Flaw::LearnerCounts).then_some(&self.learners);
        self.voters.iter().chain(learners.into_iter().flatten())
    }

    /// Voters that only one of the two has. With one at the most, any majority of the one shares a
    /// member with any majority of the other (thesis, 4.1).
    pub fn voters_changed(&self, other: &Self) -> usize {
        self.voters.symmetric_difference(&other.voters).count()
    }
}

/// The configurations that the log holds, and the one before them.
///
/// * the first is in force at the log's start, or nothing was known then
/// * indexes rise
#[derive(Clone, Debug)]
pub(super) struct Configurations(Vec<(Index, Configuration)>);

impl Configurations {
    pub(super) fn new(index: Index, configuration: Configuration) -> Self {
        Self(vec![(index, configuration)])
    }

    /// A node uses the latest in its log, committed or not (thesis, 4.1).
    pub(super) fn latest(&self) -> &Configuration {
        &self.0.last().expect("there is always one").1
    }

    /// Where the latest stands.
    pub(super) fn index(&self) -> Index {
        self.0.last().expect("there is always one").0
    }

    /// Whether `id` counts, or counts until those beyond `commit` are committed: it may be the only
    /// one that can be elected to commit its own removal (thesis, 4.2.2).
    pub(super) fn may_lead(&self, id: &str, commit: Index) -> bool {
        let superseded = self.0.iter().rposition(|(index, _)| *index <= commit).unwrap_or(0);
        self.0[superseded..].iter().any(|(_, configuration)| configuration.is_voter(id))
    }

    pub(super) fn push(&mut self, index: Index, configuration: Configuration) {
        debug_assert!(index > self.index() || self.0.len() == 1, "indexes rise");
        self.0.push((index, configuration));
    }

    /// Falls back to the one before those that leave the log; true: another is in force.
    pub(super) fn truncate_after(&mut self, index: Index) -> bool {
        let before = self.0.len();
        while self.0.len() > 1 && self.index() > index && !planted(Flaw::ConfigurationNotRolledBack)
        {
            self.0.pop();
        }
        self.0.len() < before
    }

    /// Forgets those that were superseded at `start` or before.
    pub(super) fn compact_to(&mut self, start: Index) {
        let superseded = self.0.iter().skip(1).take_while(|(index, _)| *index <= start).count();
        self.0.drain(..superseded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[&str]) -> Configuration {
        Configuration::new(ids.iter().map(|id| (*id).to_owned()), ["l".to_owned()])
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        let granted = |ids: &'static [&str]| move |id: &NodeId| ids.contains(&id.as_str());
        assert!(!voters(&[]).is_majority(granted(&["a"])), "nobody elects nobody");
        assert!(voters(&["a"]).is_majority(granted(&["a"])), "one of one");
        assert!(!voters(&["a", "b"]).is_majority(granted(&["a"])), "one of two");
        assert!(voters(&["a", "b", "c"]).is_majority(granted(&["a", "c"])), "two of three");
        assert!(!voters(&["a", "b", "c"]).is_majority(granted(&["a", "l", "x"])), "a learner");
        assert!(!voters(&["a", "b", "c", "d"]).is_majority(granted(&["a", "b"])), "two of four");
    }

    #[test]
    fn what_a_majority_has_reached_is_what_counting_says() {
        // Every way in which up to five voters can hold up to four entries, against counting.
        for count in 1..=5_usize {
            let ids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let voters = Configuration::new(ids.iter().cloned(), []);
            for code in 0..5_usize.pow(u32::try_from(count).unwrap()) {
                let held = |id: &NodeId| (code / 5_usize.pow(id.parse().unwrap()) % 5) as Index;
                let by_counting = (0..=4)
                    .rev()
                    .find(|index| ids.iter().filter(|id| held(id) >= *index).count() * 2 > count);
                assert_eq!(Some(voters.reached_by_majority(held)), by_counting, "code {code}");
            }
        }
    }

    #[test]
    fn the_latest_is_in_force_until_it_leaves_the_log() {
        let mut all = Configurations::new(1, voters(&["a"]));
        all.push(5, voters(&["a", "b"]));
        all.push(9, voters(&["a", "b", "c"]));
        assert!(!all.truncate_after(9), "nothing has left");
        assert!(all.truncate_after(8), "the last one has");
        assert_eq!((all.index(), all.latest()), (5, &voters(&["a", "b"])));
        all.compact_to(7);
        assert!(!all.truncate_after(4), "what is compacted was committed");
        assert_eq!(all.latest(), &voters(&["a", "b"]));
        assert_eq!(voters(&["a"]).voters_changed(&voters(&["b"])), 2);
    }
}
