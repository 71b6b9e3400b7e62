//! Packets on their way: lost, doubled, delayed, overtaken, cut off.

use std::collections::BTreeSet;

use super::super::message::{Message, Payload};
use super::super::types::NodeId;
use super::machine::{Entry, Machine};
use super::world::{Event, World};

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Message { message: Message, entries: Vec<Entry>, state: Option<Box<Machine>> },
    Body(u64),
}

/// Which machine cannot send to which.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts(pub(super) BTreeSet<(usize, usize)>);

impl World {
    /// Sends, or loses; gives whether it may get there.
    #[expect(clippy::needless_pass_by_value, reason = "what is sent is gone; there may be copies")]
    pub(super) fn send(&mut self, from: &NodeId, to: &NodeId, packet: Packet) -> bool {
        let (Some(sender), Some(receiver)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return false;
        };
        let link = (sender.machine, receiver.machine);
        self.count("messages");
        if self.cuts.0.contains(&link) {
            self.count("cut off");
            return false;
        }
        if !self.is_healing && self.random.chance(self.plan.drops) {
            self.count("dropped");
            return false;
        }
        let is_bulk = matches!(
            &packet,
            Packet::Message { message: Message { payload: Payload::Snapshot { .. }, .. }, .. }
        );
        let mut copies = 1;
        if !self.is_healing && self.random.chance(self.plan.duplicates) {
            self.count("doubled");
            copies = 2;
        }
        for _ in 0..copies {
            let mut delay = self.random.between(1, if is_bulk { 300 } else { 60 });
            if !self.is_healing && self.random.chance(self.plan.delays) {
                self.count("delayed");
                delay = self.random.below(5 * self.plan.timeout());
            }
            let (from, to, packet) = (from.clone(), to.clone(), packet.clone());
            self.at(delay, Event::Deliver { from, to, packet });
        }
        true
    }

    /// Cuts links by one of the shapes that are known to hurt.
    pub(super) fn partition(&mut self) {
        let machines = self.machines.len();
        let one = self.any_machine();
        let mut cuts = BTreeSet::new();
        let shape = self.random.below(7);
        for from in 0..machines {
            for to in (0..machines).filter(|to| *to != from) {
                let is_cut = match shape {
                    // One alone; deaf; dumb.
                    0 => from == one || to == one,
                    1 => to == one,
                    2 => from == one,
                    // Two halves.
                    3 => (from <= one) != (to <= one),
                    // All hear one only.
                    4 => from != one && to != one,
                    // A chain.
                    5 => from.abs_diff(to) > 1,
                    _ => self.random.chance(400),
                };
                if is_cut {
                    cuts.insert((from, to));
                }
            }
        }
        self.count(
            ["isolated", "deaf", "dumb", "halves", "one sees all", "chain", "any links"]
                [super::random::place(shape)],
        );
        if self.random.chance(300) {
            // Link after link, and back in another order.
            self.count("swizzled");
            let timeout = self.plan.timeout();
            for cut in cuts {
                let begin = self.random.below(2 * timeout);
                let end = begin + self.random.below(4 * timeout);
                self.at(begin, Event::Cut(cut));
                self.at(end, Event::Mend(cut));
            }
            return;
        }
        self.cuts.0 = cuts;
        let length = self.random.below(6 * self.plan.timeout());
        self.at(length, Event::MendAll);
    }
}
