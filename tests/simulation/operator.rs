//! Whoever runs the cluster: adds, promotes and removes members, and hands leadership over.

use std::collections::BTreeSet;

use super::super::configuration::Configuration;
use super::super::message::Content;
use super::super::types::NodeId;
use super::machine::Entry;
use super::world::{Event, World};

impl World {
    pub(super) fn operator_asks(&mut self) {
        let leaders = self.leaders();
        if let Some(leader) = self.random.pick(&leaders).cloned() {
            let wanted = self.wanted(&leader);
            if let Some(wanted) = wanted {
                self.reconfigure(&leader, &wanted);
            }
        }
        let interval = if self.is_healing { self.plan.timeout() } else { self.plan.changes };
        if interval > 0 {
            self.plan_next(interval, Event::Operator);
        }
    }

    /// Members without the dead; else, before the healing, one change or a forbidden one.
    fn wanted(&mut self, leader: &NodeId) -> Option<Configuration> {
        let now = self.nodes[leader].core.as_ref()?.configuration().clone();
        let mut voters: BTreeSet<NodeId> = now.voters().clone();
        let mut learners: BTreeSet<NodeId> = now.learners().clone();
        let is_dead = |id: &NodeId| self.nodes.get(id).is_none_or(|node| node.is_dead);
        if let Some(dead) = now.members().find(|id| is_dead(id)).cloned() {
            voters.remove(&dead);
            learners.remove(&dead);
            return Some(Configuration::new(voters, learners));
        }
        if self.is_healing {
            return None;
        }
        let machine = self.any_machine();
        let id = self.machines[machine].clone();
        let any: Vec<NodeId> = now.members().cloned().collect();
        match self.random.below(5) {
            // Somebody new, to learn, or one who has learnt enough.
            0 | 1 => {
                if learners.remove(&id) {
                    voters.insert(id);
                } else if !now.contains(&id) {
                    learners.insert(id);
                }
            }
            // One goes, perhaps the leader.
            2 => {
                let gone = self.random.pick(&any)?;
                voters.remove(gone);
                learners.remove(gone);
            }
            3 => {
                let gone = self.random.pick(&any)?;
                if voters.remove(gone) {
                    learners.insert(gone.clone());
                }
            }
            // Two at once: it has to be refused.
            _ => {
                for gone in any.iter().take(2) {
                    voters.remove(gone);
                }
                if let Some(learner) = learners.pop_first() {
                    voters.insert(learner);
                }
            }
        }
        Some(Configuration::new(voters, learners))
    }

    fn reconfigure(&mut self, leader: &NodeId, to: &Configuration) {
        let node = self.nodes.get_mut(leader).expect("it leads");
        let core = node.core.as_mut().expect("it leads");
        if core.configuration() == to {
            return;
        }
        let before = core.configuration().clone();
        let (at, term) = (core.configuration_index(), core.term());
        let Ok(id) = core.reconfigure(to.clone()) else {
            self.count("changes refused");
            return;
        };
        let content = Content::Configuration(to.clone());
        node.log.insert(id.index, Entry { term: id.term, content, command: None });
        self.note(|| format!("{leader} changes members to {to:?} at {id:?}"));
        self.count("changes of members");
        self.laws.check_change(leader, (&before, at), to, term);
        self.settle(leader);
    }

    pub(super) fn hand_over(&mut self) {
        if self.is_healing {
            return;
        }
        let interval = self.plan.transfers;
        self.plan_next(interval, Event::Handover);
        let leaders = self.leaders();
        let Some(leader) = self.random.pick(&leaders).cloned() else { return };
        let machine = self.any_machine();
        let to = self.machines[machine].clone();
        self.note(|| format!("{leader} is asked to hand over to {to}"));
        match self.random.below(4) {
            0 => {
                self.count("resignations");
                self.node(&leader).core().step_down();
                self.settle(&leader);
            }
            // News of a death, true or not.
            1 if to != leader && self.nodes[&to].is_up() => {
                self.count("leaders said to be gone");
                self.node(&to).core().leader_is_gone(&leader);
                self.settle(&to);
            }
            _ => {
                if self.node(&leader).core().transfer(&to).is_ok() {
                    self.count("transfers");
                    self.settle(&leader);
                }
            }
        }
    }
}
