//! The driver of one node: it does what its core wants done, in the order that is safe.

use std::collections::BTreeMap;

use super::super::flaw::{Flaw, planted};
use super::super::message::{Content, Head, Message, Payload};
use super::super::ready::{Append, Ready};
use super::super::types::{EntryId, EntryKind, Index, NodeId};
use super::disk::Write;
use super::linear::Answer;
use super::machine::Entry;
use super::network::Packet;
use super::node::Pending;
use super::world::{Event, World};

impl World {
    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let now = self.now;
        let node = self.node(&to);
        if !node.is_up() {
            return;
        }
        if node.paused_until > now {
            let wait = node.paused_until - now;
            self.at(wait, Event::Deliver { from, to, packet });
            return;
        }
        let (mut message, entries, state) = match packet {
            Packet::Body(body) => {
                node.disk.bodies.insert(body);
                return;
            }
            Packet::Message { message, entries, state } => (message, entries, state),
        };
        if let Payload::Append { prev, entries: heads, .. } = &mut message.payload {
            // An entry that names a body is taken only when the body is there.
            let is_held = |entry: &Entry| {
                let body = entry.command.as_ref().and_then(|command| command.body);
                body.is_none_or(|body| node.disk.bodies.contains(&body))
            };
            let held = entries.iter().take_while(|entry| is_held(entry)).count();
            let lacks = held < entries.len() && !planted(Flaw::BodyNotHeld);
            if lacks {
                heads.truncate(held);
                if held == 0 {
                    self.count("bodies missing");
                    return;
                }
            }
            let placed = (prev.index + 1..).zip(entries);
            node.stash =
                placed.map(|(index, entry)| (EntryId { index, term: entry.term }, entry)).collect();
        }
        if let (Payload::Snapshot { last, .. }, Some(state)) = (&message.payload, state) {
            node.received.insert(*last, state);
        }
        self.note(|| format!("{from} -> {to} {} {:?}", message.term, message.payload));
        let before = self.before_message(&to, &from, &message);
        self.node(&to).core().step(&from, message.clone());
        self.check_message(&to, &message, &before);
        self.settle(&to);
    }

    /// Does what the core wants done.
    pub(super) fn settle(&mut self, id: &NodeId) {
        loop {
            if !self.nodes[id].is_up() {
                return;
            }
            self.check_core(id);
            let Some(ready) = self.node(id).core().take_ready() else { return };
            self.carry_out(id, ready);
        }
    }

    fn carry_out(&mut self, id: &NodeId, mut ready: Ready) {
        self.check_ready(id, &ready);
        let writes = self.writes(id, &mut ready);
        let node = self.node(id);
        let is_known = ready.failures >= node.failures;
        let core = node.core.as_ref().expect("it gave a ready");
        let pending = Pending {
            number: ready.number,
            writes,
            commit: ready.commit,
            once_durable: ready.commit_once_durable,
            configuration: core.configuration().clone(),
            term: core.term(),
        };
        let once_durable = pending.once_durable;
        if node.promised.as_ref().is_none_or(|(index, _)| *index < once_durable) {
            node.promised = Some((once_durable, pending.configuration.clone()));
        }
        // What was asked for before the core knew of a failure is not written.
        if is_known {
            node.queue.push_back(pending);
        }
        self.start_write(id);
        for name in ready.reads_refused {
            self.refused(name);
        }
        self.node(id).readable.extend(ready.reads);
        self.serve_reads(id);
        for (to, message) in ready.messages {
            self.check_promise(id, &to, &message);
            self.send(id, &to, Packet::Message { message, entries: Vec::new(), state: None });
        }
        for append in ready.appends {
            self.send_entries(id, append);
        }
        for to in ready.snapshots {
            self.send_state(id, to);
        }
    }

    /// What of the ready reaches the disk, with bodies; the log in memory follows.
    fn writes(&mut self, id: &NodeId, ready: &mut Ready) -> Vec<Write> {
        let mut writes = Vec::new();
        let node = self.node(id);
        if let Some(install) = ready.install.take() {
            let state = node.received.get(&install.last).expect("the state came first").clone();
            node.log.clear();
            writes.push(Write::Install(install.last, install.configuration, state));
        }
        if let Some(hard_state) = ready.hard_state.take() {
            writes.push(Write::HardState(hard_state));
        }
        let mut entries: BTreeMap<Index, Entry> = BTreeMap::new();
        for (at, kind) in &ready.entries {
            let own = node.log.get(&at.index).filter(|entry| entry.term == at.term);
            let entry = match kind {
                EntryKind::Noop => Entry { term: at.term, content: Content::Noop, command: None },
                EntryKind::Command | EntryKind::Membership => own
                    .or_else(|| node.stash.get(at))
                    .unwrap_or_else(|| panic!("{id}: {at:?} is neither proposed nor received"))
                    .clone(),
            };
            entries.insert(at.index, entry);
        }
        if let Some((first, _)) = ready.entries.first() {
            drop(node.log.split_off(&first.index));
            // Those whose places are taken: nobody knows what becomes of them.
            let lost = node.waiting.split_off(&first.index);
            let (kept, lost): (Vec<_>, Vec<_>) =
                lost.into_iter().partition(|(index, (term, _))| {
                    entries.get(index).is_some_and(|e| e.term == *term)
                });
            node.waiting.extend(kept);
            node.log.extend(entries.clone());
            writes.extend(entries.into_iter().map(|(index, entry)| Write::Append(index, entry)));
            for (_, (_, name)) in lost {
                self.answer(id, name, Answer::Unknown);
            }
        }
        writes
    }

    /// Gives the disk whatever waits, as one write.
    fn start_write(&mut self, id: &NodeId) {
        let now = self.now;
        while self.nodes[id].writing == 0 {
            let Some(pending) = self.nodes[id].queue.front() else { return };
            if pending.writes.is_empty() {
                let pending = self.node(id).queue.pop_front().expect("it was looked at");
                self.written(id, &pending);
                continue;
            }
            let count = self.nodes[id].queue.len() as u64;
            let batch = self.random.between(1, count);
            let slow = if self.plan.slow_disks && !self.is_healing { 400 } else { 20 };
            let delay = self.random.between(1, slow);
            let node = self.node(id);
            node.writing = super::random::place(batch);
            let (life, stalled) = (node.life, node.stalled_until.saturating_sub(now));
            self.at(stalled + delay, Event::DiskDone { node: id.clone(), life });
        }
    }

    pub(super) fn disk_done(&mut self, id: &NodeId) {
        let now = self.now;
        let node = self.node(id);
        let wait = node.stalled_until.max(node.paused_until).saturating_sub(now);
        let life = node.life;
        if wait > 0 {
            self.at(wait, Event::DiskDone { node: id.clone(), life });
            return;
        }
        if node.full_until > now {
            node.queue.clear();
            node.writing = 0;
            node.failures += 1;
            self.note(|| format!("{id} could not write"));
            self.count("writes refused");
            let delay = self.random.below(30);
            self.at(delay, Event::WriteFailed { node: id.clone(), life });
            return;
        }
        let batch: Vec<Pending> = node.queue.drain(..node.writing).collect();
        node.writing = 0;
        self.note(|| format!("{id} writes {batch:?}"));
        // One write, one sync.
        for pending in &batch {
            for write in pending.writes.clone() {
                self.write(id, write);
            }
        }
        self.check_disk(id);
        for pending in batch {
            self.written(id, &pending);
        }
        self.checkpoint(id);
        self.start_write(id);
    }

    fn write(&mut self, id: &NodeId, write: Write) {
        let node = self.node(id);
        if let Write::Install(last, _, state) = &write {
            node.state = (**state).clone();
            node.commit = node.commit.max(last.index);
        }
        node.disk.write(write);
    }

    /// The disk holds what this ready and those before it ask for.
    fn written(&mut self, id: &NodeId, pending: &Pending) {
        if pending.number > 0 {
            let life = self.nodes[id].life;
            let delay = if self.random.chance(500) { 0 } else { self.random.below(40) };
            self.at(delay, Event::Saved { node: id.clone(), life, number: pending.number });
        }
        self.check_commit(id, pending);
        let node = self.node(id);
        node.commit = node.commit.max(pending.commit).max(pending.once_durable);
        self.apply(id);
    }

    /// Applies what is committed, and answers for it.
    fn apply(&mut self, id: &NodeId) {
        loop {
            let node = self.node(id);
            let index = node.state.applied.index + 1;
            if index > node.commit {
                break;
            }
            let entry = node.disk.log.get(&index);
            let entry = entry.unwrap_or_else(|| panic!("{id} is to apply {index}, and lacks it"));
            let at = EntryId { index, term: entry.term };
            let answer = node.state.apply(at, &entry.clone());
            let waiting = node.waiting.remove(&index);
            self.check_applied(id, at);
            if let Some((term, name)) = waiting {
                let answer = if term == at.term { answer } else { Answer::Unknown };
                self.answer(id, name, answer);
            }
        }
        self.serve_reads(id);
    }

    fn serve_reads(&mut self, id: &NodeId) {
        let node = self.node(id);
        let applied =
            if planted(Flaw::ReadsTooEarly) { Index::MAX } else { node.state.applied.index };
        let (due, wait): (Vec<_>, Vec<_>) =
            node.readable.drain(..).partition(|(_, index)| *index <= applied);
        node.readable = wait;
        for (name, _) in due {
            let waits = self.clients.iter().find_map(|client| client.key_of(name));
            let Some(key) = waits else { continue };
            let value = self.nodes[id].state.registers.get(&key).copied();
            self.answer(id, name, Answer::Found(value));
        }
    }

    /// From time to time what is applied becomes durable, and the log is cut behind it.
    fn checkpoint(&mut self, id: &NodeId) {
        if !self.random.chance(self.plan.checkpoints) {
            return;
        }
        self.count("checkpoints");
        let trailing = self.plan.trailing;
        let node = self.node(id);
        let state = node.state.clone();
        let applied = state.applied.index;
        if !planted(Flaw::CompactsTooEarly) {
            node.disk.checkpoint = state;
        }
        let Some(start) = node.disk.compact(applied, trailing) else { return };
        node.log = node.log.split_off(&(start.index + 1));
        node.compacted = Some(start);
        self.tell_compacted(id);
        self.settle(id);
    }

    /// The core hears of it once it knows that what is dropped was committed.
    pub(super) fn tell_compacted(&mut self, id: &NodeId) {
        let node = self.node(id);
        let commit = node.core().commit();
        if let Some(start) = node.compacted.take_if(|start| start.index <= commit) {
            node.core().compacted_to(start);
        }
    }

    /// The core learns that nothing was written.
    pub(super) fn write_failed(&mut self, id: &NodeId) {
        let node = self.node(id);
        node.log = node.disk.log.clone();
        let last = node.disk.last();
        let waiting = std::mem::take(&mut node.waiting);
        let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            waiting.into_iter().partition(|(index, _)| *index <= last.index);
        node.waiting = kept;
        self.note(|| format!("{id} knows that it could not write behind {last:?}"));
        let node = self.node(id);
        let is_alone = node.core().configuration().members().count() == 1;
        if is_alone && node.leads() {
            let term = node.core().term();
            self.laws.forget(term, last.index);
        }
        for (_, name) in lost.into_values() {
            self.answer(id, name, Answer::Unknown);
        }
        let node = self.node(id);
        node.core().append_failed(last);
        // The disk may still hold what the core has replaced; the next append takes its place.
        let end = node.core().last().index;
        drop(node.log.split_off(&(end + 1)));
        self.settle(id);
    }

    fn send_entries(&mut self, id: &NodeId, append: Append) {
        let batch = if self.is_healing { 100 } else { self.plan.batch };
        let node = self.node(id);
        let last = append.last.min(append.prev.index + batch);
        let wanted = append.prev.index + 1..=last;
        let entries: Vec<Entry> =
            wanted.clone().filter_map(|at| node.log.get(&at).cloned()).collect();
        let life = node.life;
        let to = append.to;
        let is_complete = entries.len() as u64 == last - append.prev.index;
        let bodies: Vec<u64> = entries
            .iter()
            .filter_map(|entry| entry.command.as_ref()?.body)
            .filter(|body| self.nodes.get(&to).is_some_and(|node| !node.disk.bodies.contains(body)))
            .collect();
        let mut is_sent = is_complete;
        if !is_complete {
            self.note(|| format!("{id} has only {} entries for {to} of {wanted:?}", entries.len()));
        }
        for body in bodies {
            self.count("bodies sent");
            is_sent &= self.send(id, &to, Packet::Body(body));
        }
        let heads = |entry: &Entry| Head { term: entry.term, content: entry.content.clone() };
        if is_complete {
            let (prev, commit, round) = (append.prev, append.commit, append.round);
            let heads = entries.iter().map(heads).collect();
            let payload = Payload::Append { prev, entries: heads, commit, round };
            let message = Message { term: append.term, payload };
            self.check_promise(id, &to, &message);
            is_sent &= self.send(id, &to, Packet::Message { message, entries, state: None });
        }
        // Whoever sends says how it ended, if it knows; sometimes it says so of what did arrive.
        let is_told = !is_sent || self.random.chance(50);
        if is_told && self.node(id).reporting.insert(to.clone()) {
            let delay = self.random.between(1, self.plan.timeout());
            self.at(delay, Event::NotDelivered { node: id.clone(), life, to });
        }
    }

    fn send_state(&mut self, id: &NodeId, to: NodeId) {
        self.count("states sent");
        let node = self.node(id);
        let (life, state) = (node.life, node.state.clone());
        let core = node.core();
        let last = state.applied;
        let is_there = core.is_leader() && last.index > 0;
        let message = Message {
            term: core.term(),
            payload: Payload::Snapshot { last, configuration: state.configuration.clone() },
        };
        let state = Some(Box::new(state));
        let is_sent =
            is_there && self.send(id, &to, Packet::Message { message, entries: Vec::new(), state });
        let delay = self.random.between(1, self.plan.timeout());
        let sent = is_sent.then_some(last);
        self.at(delay, Event::StateSent { node: id.clone(), life, to, sent });
    }
}
