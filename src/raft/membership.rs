//! Changes of members, one at a time, and leadership handed over (thesis, 3.10 and chapter 4, with
//! the correction of 2015: a leader changes nothing before an entry of its own term is committed).

use super::configuration::Configuration;
use super::core::{Core, Refusal, Transfer};
use super::flaw::{Flaw, planted};
use super::message::{Content, Payload};
use super::types::{EntryId, HardState, NodeId, Term};

/// The term of a cluster's first entry. Nobody leads it.
const FIRST_TERM: Term = 1;

impl Core {
    /// Proposes other members. They are in force as soon as the entry is in the log (thesis, 4.1).
    ///
    /// # Errors
    /// See [`Refusal`]: nothing was proposed.
    pub fn reconfigure(&mut self, to: Configuration) -> Result<EntryId, Refusal> {
        self.check_leads()?;
        let is_too_early = !self.is_established() && !planted(Flaw::ConfigurationTooEarly);
        let is_pending = self.configuration_index() > self.commit;
        if is_too_early || (is_pending && !planted(Flaw::TwoConfigurations)) {
            return Err(Refusal::Pending);
        }
        let changed = self.configuration().voters_changed(&to);
        if to.voters().is_empty() || (changed > 1 && !planted(Flaw::TwoVotersAtOnce)) {
            return Err(Refusal::Unsafe);
        }
        Ok(self.push(self.hard_state.term, Content::Configuration(to)))
    }

    /// Makes the first entry of a log that is still empty: the members of a new cluster, of which
    /// nobody else may begin another. It is in force here at once, and lives once a majority of
    /// them has elected a leader that holds it.
    ///
    /// # Errors
    /// [`Refusal::Unsafe`]: this node has a log, has members, or has promised something.
    pub fn found(&mut self, members: Configuration) -> Result<EntryId, Refusal> {
        let is_new = self.log.last() == EntryId::default()
            && self.hard_state.term <= FIRST_TERM
            && self.hard_state.vote.is_none()
            && self.configuration().members().next().is_none();
        if !is_new || !members.is_voter(&self.id) {
            return Err(Refusal::Unsafe);
        }
        if self.hard_state.term < FIRST_TERM {
            self.enter_term(HardState { term: FIRST_TERM, vote: None });
        }
        Ok(self.push(FIRST_TERM, Content::Configuration(members)))
    }

    /// Hands leadership to `to`, once its log is complete. Until then, or until an election timeout
    /// has passed, nothing is proposed.
    ///
    /// # Errors
    /// [`Refusal::NoSuchVoter`], or as for a proposal.
    pub fn transfer(&mut self, to: &NodeId) -> Result<(), Refusal> {
        self.check_leads()?;
        if *to == self.id || !self.configuration().is_voter(to) {
            return Err(Refusal::NoSuchVoter);
        }
        self.transfer = Some(Transfer { to: to.clone(), ticks: 0, is_asked: false });
        self.hand_over_if_ready();
        Ok(())
    }

    /// Whether leadership is being handed over.
    pub fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    pub(super) fn tick_transfer(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.ticks += 1;
        let (is_late, to) = (transfer.ticks >= self.election_ticks, transfer.to.clone());
        if is_late || !self.configuration().is_voter(&to) {
            self.transfer = None;
        }
    }

    pub(super) fn hand_over_if_ready(&mut self) {
        let last = self.log.last().index;
        let Some(transfer) = &mut self.transfer else { return };
        let progress = self.peers.get(&transfer.to);
        if !transfer.is_asked && progress.is_some_and(|progress| progress.matched == last) {
            transfer.is_asked = true;
            let to = transfer.to.clone();
            self.send(&to, Payload::TimeoutNow);
        }
    }

    /// A leader that is no voter any more leads until that is committed (thesis, 4.2.2).
    pub(super) fn leave_if_removed(&mut self) {
        let is_committed = self.configuration_index() <= self.commit;
        if is_committed && !self.configuration().is_voter(&self.id) {
            self.step_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HardState, Role, Start};
    use super::*;

    fn core(id: &str) -> Core {
        Core::new(Start {
            id: id.to_owned(),
            hard_state: HardState::default(),
            log_start: EntryId::default(),
            terms: Vec::new(),
            commit: 0,
            configurations: vec![(0, Configuration::default())],
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 0,
        })
    }

    #[test]
    fn a_founder_leads_once_a_majority_of_those_it_names_has_voted() {
        let voters = Configuration::new(["a", "b", "c"].map(str::to_owned), []);
        let (mut a, mut b) = (core("a"), core("b"));
        for _ in 0..100 {
            b.tick();
        }
        assert_eq!(b.take_ready(), None, "without members nobody campaigns");
        assert_eq!(a.found(voters.clone()), Ok(EntryId { term: 1, index: 1 }));
        assert_eq!(a.found(voters.clone()), Err(Refusal::Unsafe), "once");
        let stranger = Configuration::new(["b".to_owned()], []);
        assert_eq!(core("a").found(stranger), Err(Refusal::Unsafe), "without itself");
        for turn in 0..100 {
            a.tick();
            for (from, to, from_id) in [(0, 1, "a"), (1, 0, "b")] {
                let cores = [&mut a, &mut b];
                let Some(ready) = cores[from].take_ready() else { continue };
                cores[from].saved(ready.number);
                for (id, message) in ready.messages {
                    if id == ["a", "b"][to] {
                        cores[to].step(&from_id.to_owned(), message);
                    }
                }
            }
            if matches!(a.role(), Role::Leader { .. }) {
                assert_eq!((a.term(), a.last().index), (2, 2), "turn {turn}: its no-op follows");
                return;
            }
        }
        panic!("nobody leads");
    }
}
