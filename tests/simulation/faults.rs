//! What goes wrong: crashes, pauses, stalled and full disks, clocks that jump, disks that are lost.

use std::collections::BTreeSet;

use super::super::flaw::{Flaw, planted};
use super::super::types::NodeId;
use super::disk::Disk;
use super::node::Node;
use super::plan::TICK;
use super::world::{Event, World};

impl World {
    pub(super) fn plan_faults(&mut self) {
        let plan = self.plan.clone();
        for (kind, interval) in [
            ("partition", plan.partitions),
            ("crash", plan.crashes),
            ("pause", plan.pauses),
            ("stall", plan.stalls),
            ("full disk", plan.full_disks),
            ("clock jump", plan.jumps),
            ("wipe", plan.wipes),
        ] {
            self.plan_next(interval, Event::Fault(kind));
        }
        self.plan_next(plan.changes, Event::Operator);
        self.plan_next(plan.transfers, Event::Handover);
        if plan.is_uneven {
            self.count("uneven clocks");
        }
        if plan.slow_disks {
            self.count("slow disks");
        }
    }

    pub(super) fn plan_next(&mut self, interval: u64, event: Event) {
        if interval > 0 {
            let delay = self.random.between(1, 2 * interval);
            self.at(delay, event);
        }
    }

    pub(super) fn fault(&mut self, kind: &'static str) {
        if self.is_healing {
            return;
        }
        let machine = self.any_machine();
        let id = self.machines[machine].clone();
        let length = self.random.below(3 * self.plan.timeout());
        let until = self.now + length;
        self.note(|| format!("{kind} of {id} until {until}"));
        let plan = self.plan.clone();
        let interval = match kind {
            "partition" => {
                self.partition();
                plan.partitions
            }
            "crash" => {
                self.crash_some(machine);
                plan.crashes
            }
            "pause" => {
                // Long enough for others to lead and to be paused in turn.
                self.node(&id).paused_until = until + length;
                plan.pauses
            }
            "stall" => {
                self.node(&id).stalled_until = until;
                plan.stalls
            }
            "full disk" => {
                self.node(&id).full_until = until;
                plan.full_disks
            }
            "clock jump" => {
                self.jump(&id);
                plan.jumps
            }
            _ => {
                self.wipe(machine);
                plan.wipes
            }
        };
        if kind != "wipe" {
            self.count(kind);
        }
        self.plan_next(interval, Event::Fault(kind));
    }

    /// One process ends, or several at once, or all.
    fn crash_some(&mut self, machine: usize) {
        let share = [0, 0, 0, 500, 1000][super::random::place(self.random.below(5))];
        for other in 0..self.machines.len() {
            if other == machine || self.random.chance(share) {
                self.crash(other);
            }
        }
    }

    fn crash(&mut self, machine: usize) {
        let id = self.machines[machine].clone();
        if !self.nodes[&id].is_up() {
            return;
        }
        let node = &self.nodes[&id];
        let under_way: usize =
            node.queue.iter().take(node.writing).map(|pending| pending.writes.len()).sum();
        let kept = match self.plan.is_torn {
            true => super::random::place(self.random.below(under_way as u64 + 1)),
            false => 0,
        };
        if kept > 0 {
            self.count("torn writes");
        }
        self.note(|| format!("{id} crashes; {kept} of {under_way} writes are left"));
        self.node(&id).crash(kept);
        self.check_disk(&id);
        let delay = self.random.below(4 * self.plan.timeout());
        self.at(delay, Event::Restart { machine });
    }

    pub(super) fn restart(&mut self, machine: usize) {
        let id = self.machines[machine].clone();
        if !self.nodes[&id].is_up() {
            self.check_restart(&id);
            self.boot(&id);
        }
    }

    /// Time goes on at once, as after a sleep of the machine.
    fn jump(&mut self, id: &NodeId) {
        let ticks = self.random.between(1, 3 * self.plan.timeout() / TICK);
        for _ in 0..ticks {
            if !self.nodes[id].is_up() {
                return;
            }
            let node = self.node(id);
            node.ticks += 1;
            node.core().tick();
            self.settle(id);
            self.check_contact(id);
        }
    }

    /// The disk of a machine is lost, and it comes back under another name. One voter may be lost
    /// at a time, or nothing could be promised.
    fn wipe(&mut self, machine: usize) {
        let id = self.machines[machine].clone();
        let others = self.nodes.values().filter(|node| !node.is_dead);
        let configurations: Vec<_> = others
            .flat_map(|node| {
                let now = node.core.as_ref().map(|core| core.configuration().clone());
                let durable = node.disk.configurations().pop().map(|(_, last)| last);
                now.into_iter().chain(durable)
            })
            .collect();
        let dead: BTreeSet<&NodeId> =
            self.nodes.values().filter(|node| node.is_dead).map(|node| &node.id).collect();
        let is_safe = configurations.iter().all(|configuration| {
            let is_small = configuration.is_voter(&id) && configuration.voters().len() < 3;
            !is_small && configuration.voters().iter().all(|voter| !dead.contains(voter))
        });
        if !is_safe {
            return;
        }
        self.count("wipe");
        if self.nodes[&id].is_up() {
            self.node(&id).crash(0);
        }
        if planted(Flaw::OldIdentity) {
            self.node(&id).disk = Disk::default();
            self.restart(machine);
            return;
        }
        let node = self.node(&id);
        node.is_dead = true;
        let interval = node.interval;
        let incarnation = id.split_once('.').map_or("0", |(_, text)| text);
        let incarnation = incarnation.parse::<u64>().expect("a number") + 1;
        let node = Node::new(machine, incarnation, interval, Disk::default());
        let new = node.id.clone();
        self.note(|| format!("{id} has lost its disk; {new} takes its machine"));
        self.machines[machine].clone_from(&new);
        self.nodes.insert(new.clone(), node);
        self.boot(&new);
    }
}
