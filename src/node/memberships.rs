//! The members by every entry of the log that names some: a follower falls back to the ones
//! before when an entry is dropped from its log (thesis, 4.1).
//!
//! The core does the same by names; addresses are here.

use super::membership::Membership;
use crate::raft::Index;

/// Where each membership stands; never empty, indexes rise. The first may be nobody.
#[derive(Clone, Debug)]
pub(super) struct Memberships(Vec<(Index, Membership)>);

impl Memberships {
    /// What the directory says, in order; nobody if that is nothing.
    pub(super) fn new(mut known: Vec<(Index, Membership)>) -> Self {
        if known.is_empty() {
            known.push((0, Membership::default()));
        }
        Self(known)
    }

    /// Those in force.
    pub(super) fn latest(&self) -> &Membership {
        &self.last().1
    }

    /// The entry that put them in force.
    pub(super) fn index(&self) -> Index {
        self.last().0
    }

    fn last(&self) -> &(Index, Membership) {
        self.0.last().expect("there is always one")
    }

    /// A new entry, in place of any from there on. One from before a recovery by hand changes
    /// nothing.
    pub(super) fn push(&mut self, index: Index, membership: Membership) {
        self.drop_after(index - 1);
        let membership =
            if membership.since < self.latest().since { self.latest().clone() } else { membership };
        self.0.push((index, membership));
    }

    /// Falls back to those before entries that have left the log.
    pub(super) fn drop_after(&mut self, index: Index) {
        while self.0.len() > 1 && self.index() > index {
            self.0.pop();
        }
    }

    /// Begins anew, with the leader's state.
    pub(super) fn reset(&mut self, index: Index, membership: Membership) {
        self.0 = vec![(index, membership)];
    }

    /// Forgets those that were superseded by what is committed.
    pub(super) fn forget_before(&mut self, commit: Index) {
        let superseded = self.0.iter().skip(1).take_while(|(index, _)| *index <= commit).count();
        self.0.drain(..superseded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(cluster: &str) -> Membership {
        Membership { cluster: cluster.to_owned(), ..Membership::default() }
    }

    #[test]
    fn those_before_are_in_force_again_when_an_entry_goes() {
        let mut all = Memberships::new(Vec::new());
        assert_eq!((all.index(), all.latest()), (0, &Membership::default()));
        all.push(1, named("a"));
        all.push(5, named("b"));
        all.push(9, named("c"));
        all.forget_before(6);
        all.drop_after(8);
        assert_eq!((all.index(), all.latest()), (5, &named("b")));
        all.push(5, named("d"));
        assert_eq!((all.index(), all.latest()), (5, &named("d")));
        all.reset(70, named("e"));
        all.drop_after(3);
        assert_eq!(all.index(), 70);
    }
}
