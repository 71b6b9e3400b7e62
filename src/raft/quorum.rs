//! Majorities: the arithmetic, apart from the protocol that uses it.

use std::collections::BTreeSet;

use super::types::{Index, NodeId};

/// The members that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters(BTreeSet<NodeId>);

impl Voters {
    /// The voters of one configuration.
    pub fn new(ids: impl IntoIterator<Item = NodeId>) -> Self {
        Self(ids.into_iter().collect())
    }

    /// Whether `id` counts.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// Whether `id` counts, and nobody else does.
    pub fn is_only(&self, id: &str) -> bool {
        self.0.len() == 1 && self.0.contains(id)
    }

    /// Whether more than half have granted their vote. Never without voters.
    pub fn elected_by(&self, granted: &BTreeSet<NodeId>) -> bool {
        let votes = self.0.intersection(granted).count();
        votes * 2 > self.0.len()
    }

    /// The last index that more than half hold, given what each holds; 0 without voters.
    pub fn held_by_majority(&self, held: impl Fn(&NodeId) -> Index) -> Index {
        let mut indexes: Vec<Index> = self.0.iter().map(held).collect();
        // In ascending order, all from the middle of the lower half on are held by a majority.
        indexes.sort_unstable();
        match indexes.len() {
            0 => 0,
            count => indexes[(count - 1) / 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[&str]) -> Voters {
        Voters::new(ids.iter().map(|id| (*id).to_owned()))
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let granted = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        assert!(!voters(&[]).elected_by(&granted(&["a"])), "nobody elects nobody");
        assert!(voters(&["a"]).elected_by(&granted(&["a"])), "one of one");
        assert!(!voters(&["a", "b"]).elected_by(&granted(&["a"])), "one of two");
        assert!(voters(&["a", "b", "c"]).elected_by(&granted(&["a", "c"])), "two of three");
        assert!(!voters(&["a", "b", "c"]).elected_by(&granted(&["a", "x", "y"])), "strangers");
        assert!(!voters(&["a", "b", "c", "d"]).elected_by(&granted(&["a", "b"])), "two of four");
    }

    #[test]
    fn what_a_majority_holds_is_what_counting_says() {
        // Every way in which up to five voters can hold up to four entries, against counting.
        for count in 1..=5_usize {
            let ids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let voters = Voters::new(ids.iter().cloned());
            for code in 0..5_usize.pow(u32::try_from(count).unwrap()) {
                let held = |id: &NodeId| (code / 5_usize.pow(id.parse().unwrap()) % 5) as Index;
                let by_counting = (0..=4)
                    .rev()
                    .find(|index| ids.iter().filter(|id| held(id) >= *index).count() * 2 > count);
                assert_eq!(Some(voters.held_by_majority(held)), by_counting, "code {code}");
            }
        }
    }
}
