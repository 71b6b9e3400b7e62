//! Clients: one call at a time each, and what they were told.

use super::super::message::Content;
use super::super::types::NodeId;
use super::linear::{Answer, Call, Operation, check};
use super::machine::{Command, Entry};
use super::world::{Event, World};

#[derive(Clone, Debug)]
pub(super) struct Client {
    id: u64,
    /// Whom it takes for the leader.
    leader: Option<NodeId>,
    /// The call it waits for, and what the cluster had acknowledged when it began.
    waits_for: Option<(u64, Operation, u64)>,
    calls: u64,
    /// What it has read last, by key.
    seen: Option<(u64, u64)>,
}

impl Client {
    pub(super) fn new(id: u64) -> Self {
        Self { id, leader: None, waits_for: None, calls: 0, seen: None }
    }

    /// What this call is about, if the client waits for it.
    pub(super) fn key_of(&self, name: u64) -> Option<u64> {
        let (_, operation, _) = self.waits_for.as_ref().filter(|(waits, ..)| *waits == name)?;
        Some(operation.key)
    }
}

impl World {
    pub(super) fn client_asks(&mut self, number: usize) {
        if self.clients[number].waits_for.is_some() || self.is_quiet() {
            return;
        }
        let timeout = self.plan.timeout();
        let Some(to) = self.choose_node(number) else {
            self.at(timeout, Event::Client(number));
            return;
        };
        let client = &mut self.clients[number];
        client.calls += 1;
        let name = client.calls * 100 + client.id;
        let key = self.random.below(self.plan.keys);
        let drawn = self.random.below(5);
        // A healed cluster is asked for both in turn.
        let drawn = if self.is_healing { 4 * (self.clients[number].calls % 2) } else { drawn };
        let call = match drawn {
            0 | 1 => Call::Write(name),
            2 => match self.clients[number].seen {
                Some((seen_key, value)) if seen_key == key => Call::Cas(value, name),
                _ => Call::Write(name),
            },
            _ => Call::Read,
        };
        let client = self.clients[number].id;
        let begin = self.now;
        let answer = Answer::Unknown;
        let operation = Operation { client, key, call, answer, begin, end: 0 };
        let floor = self.laws.acknowledged();
        self.clients[number].waits_for = Some((name, operation, floor));
        self.note(|| format!("client {client} asks {to}: {call:?} of {key} as {name}"));
        self.at(self.plan.timeout() * 3, Event::GiveUp { client: number, name });
        self.call(&to, name, key, call);
    }

    fn choose_node(&mut self, number: usize) -> Option<NodeId> {
        let hint = self.clients[number].leader.clone();
        if let Some(hint) = hint
            && self.nodes.get(&hint).is_some_and(super::node::Node::is_up)
            && self.random.chance(900)
        {
            return Some(hint);
        }
        let leaders = self.leaders();
        if self.random.chance(700) && !leaders.is_empty() {
            return self.random.pick(&leaders).cloned();
        }
        let up: Vec<NodeId> =
            self.machines.iter().filter(|id| self.nodes[*id].is_up()).cloned().collect();
        self.random.pick(&up).cloned()
    }

    fn call(&mut self, to: &NodeId, name: u64, key: u64, call: Call) {
        if call == Call::Read {
            self.node(to).core().read(name);
            self.settle(to);
            return;
        }
        let body = self.random.chance(self.plan.bodies).then_some(name);
        let node = self.nodes.get_mut(to).expect("it was chosen");
        let is_transferring = node.core().is_transferring();
        let Ok(id) = node.core().propose() else {
            self.refused(name);
            return;
        };
        assert!(!is_transferring, "{to} takes a command while it hands over");
        if let Some(body) = body {
            node.disk.bodies.insert(body);
        }
        let command = Some(Command { name, key, call, body });
        node.log.insert(id.index, Entry { term: id.term, content: Content::Command, command });
        node.waiting.insert(id.index, (id.term, name));
        self.settle(to);
        if super::planted(super::Flaw::AcknowledgesProposed) {
            self.answer(to, name, Answer::Done);
        }
    }

    /// Nothing has happened, and nothing will.
    pub(super) fn refused(&mut self, name: u64) {
        self.laws.refused(name);
        self.finish(name, None, None);
    }

    pub(super) fn answer(&mut self, from: &NodeId, name: u64, answer: Answer) {
        let applied = self.nodes[from].state.applied.index;
        let waits = self.clients.iter().filter_map(|client| client.waits_for.as_ref());
        for (_, operation, floor) in waits.filter(|(waits, ..)| *waits == name) {
            if operation.call == Call::Read {
                assert!(applied >= *floor, "{from} reads at {applied}, {floor} was acknowledged");
            }
        }
        if !matches!(answer, Answer::Unknown | Answer::Found(_)) {
            self.laws.acknowledge(applied);
        }
        self.finish(name, Some(answer), Some(from));
    }

    pub(super) fn client_gives_up(&mut self, number: usize, name: u64) {
        if self.clients[number].waits_for.as_ref().is_some_and(|(waits, ..)| *waits == name) {
            self.count("unknown outcomes");
            self.finish(name, Some(Answer::Unknown), None);
        }
    }

    fn finish(&mut self, name: u64, answer: Option<Answer>, from: Option<&NodeId>) {
        let is_it =
            |client: &Client| client.waits_for.as_ref().is_some_and(|(waits, ..)| *waits == name);
        let Some(number) = self.clients.iter().position(is_it) else { return };
        let client = &mut self.clients[number];
        let Some((_, mut operation, _)) = client.waits_for.take() else { return };
        client.leader = from.cloned();
        if let Some(answer) = answer {
            operation.answer = answer;
            operation.end = self.now;
            if let Answer::Found(Some(value)) = answer {
                client.seen = Some((operation.key, value));
            }
            self.history.push(operation);
        }
        self.note(|| format!("{name} is answered: {answer:?}"));
        if answer.is_some_and(|answer| answer != Answer::Unknown) {
            self.count("calls answered");
        }
        let pause = self.random.between(1, self.plan.timeout());
        self.at(pause, Event::Client(number));
    }

    /// What all were told fits one register a key, and the healed cluster has served everybody.
    pub(super) fn check_clients(&mut self, since: u64) {
        let is_fresh =
            |operation: &&Operation| operation.begin > since && operation.answer != Answer::Unknown;
        let fresh: Vec<&Operation> = self.history.iter().filter(is_fresh).collect();
        let writes = fresh.iter().filter(|operation| operation.call != Call::Read).count();
        assert!(writes > 0, "a healed cluster takes no writes");
        assert!(writes < fresh.len(), "a healed cluster serves no reads");
        if let Err(text) = check(&self.history) {
            panic!("{text}");
        }
    }
}
