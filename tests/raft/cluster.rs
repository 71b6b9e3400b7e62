//! Cores with a fake disk each and queues between them, moved by one command at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorlite::raft::{
    Append, Configuration, Content, Core, EntryId, EntryKind, HardState, Head, Index, Message,
    NodeId, Payload, Ready, Role, Start, Term,
};

use crate::show;
use crate::words::{Words, entry};

/// Ticks without a leader after which a node among others campaigns, at least.
const ELECTION_TICKS: u32 = 10;
const HEARTBEAT_TICKS: u32 = 2;
/// Messages after which nodes that talk for ever are taken to do so.
const TALK_MAX: usize = 500;

#[derive(Default)]
pub(crate) struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    links: BTreeMap<(NodeId, NodeId), VecDeque<Message>>,
    delivered: BTreeMap<(NodeId, NodeId), Message>,
    cut: BTreeSet<(NodeId, NodeId)>,
    trace: Vec<String>,
}

struct Node {
    core: Option<Core>,
    is_slow: bool,
    pending: VecDeque<Ready>,
    disk: Disk,
    /// What the driver would read bodies from: the log as the core has it.
    log: BTreeMap<Index, Head>,
    told: String,
    commit: Index,
}

#[derive(Clone, Default)]
struct Disk {
    hard_state: HardState,
    start: EntryId,
    base: Configuration,
    log: BTreeMap<Index, Head>,
    commit: Index,
}

impl Cluster {
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub(crate) fn command(&mut self, line: &str) {
        let words = Words(line.split(' ').collect());
        match words.at(0) {
            "start" => self.start(&words),
            "node" => self.start_one(&words),
            "restart" => self.restart(words.at(1)),
            "crash" => self.crash(words.at(1)),
            "elect" => self.elect(words.at(1)),
            "campaign" => self.campaign(words.at(1)),
            "disk" => self.node(words.at(1)).is_slow = words.at(2) == "slow",
            "deliver" if words.at(1) == "all" => self.deliver_all(),
            "deliver" => self.deliver(&words.link(), words.0.get(2) == Some(&"last")),
            "drop" => drop(self.links.entry(words.link()).or_default().pop_front()),
            "repeat" => self.repeat(&words.link()),
            "cut" => self.cut(&words),
            "heal" => self.cut.clear(),
            "snapshot" => self.send_state(&words.link()),
            "status" => self.status(),
            _ => {
                self.ask(&words);
                self.settle(words.at(1).split("->").next().expect("there is a first part"));
            }
        }
    }

    /// What one core is told or asked.
    fn ask(&mut self, words: &Words<'_>) {
        let id = words.at(1).split("->").next().expect("there is a first part").to_owned();
        let told = match words.at(0) {
            "tick" => {
                for _ in 0..words.at(2).parse::<u32>().expect("a number of ticks") {
                    self.core(&id).tick();
                    self.settle(&id);
                }
                return;
            }
            "propose" => match self.core(&id).propose() {
                Ok(at) => format!("takes {}", show::id(at)),
                Err(refusal) => format!("refuses: {refusal:?}"),
            },
            "read" => {
                self.core(&id).read(words.at(2).parse().expect("a number"));
                return;
            }
            "transfer" => match self.core(&id).transfer(&words.at(2).to_owned()) {
                Ok(()) => return,
                Err(refusal) => format!("refuses: {refusal:?}"),
            },
            "reconfigure" => match self.core(&id).reconfigure(words.configuration()) {
                Ok(at) => {
                    let head = Head {
                        term: at.term,
                        content: Content::Configuration(words.configuration()),
                    };
                    self.node(&id).log.insert(at.index, head);
                    format!("takes {}", show::id(at))
                }
                Err(refusal) => format!("refuses: {refusal:?}"),
            },
            "resign" => {
                self.core(&id).step_down();
                return;
            }
            "gone" => {
                self.core(&id).leader_is_gone(&words.at(2).to_owned());
                return;
            }
            "undelivered" => {
                self.core(&id).not_delivered(&words.link().1);
                return;
            }
            "saved" => {
                let count =
                    words.0.get(2).map_or(usize::MAX, |text| text.parse().expect("a number"));
                self.say(&id, "saved");
                self.save(&id, count);
                return;
            }
            "failed" => self.fail(&id),
            "compact" => self.compact(&id, words.at(2).parse().expect("an index")),
            verb => panic!("{verb}: no such command"),
        };
        self.say(&id, &told);
    }

    fn start(&mut self, words: &Words<'_>) {
        let voters: Vec<NodeId> = words.at(1).split(',').map(str::to_owned).collect();
        let learners = words.names("learners");
        let members = Configuration::new(voters, learners);
        for id in members.members() {
            let head = Head { term: 1, content: Content::Configuration(members.clone()) };
            let disk = Disk {
                hard_state: HardState { term: 1, vote: None },
                log: BTreeMap::from([(1, head)]),
                commit: 1,
                ..Disk::default()
            };
            self.boot(id, disk);
        }
    }

    fn start_one(&mut self, words: &Words<'_>) {
        let number = |key| words.value(key).map_or(0, |text| text.parse().expect("a number"));
        let start = words.value("start").map_or(EntryId::default(), entry);
        let terms: Vec<Term> =
            words.names("log").iter().map(|n| n.parse().expect("terms")).collect();
        let heads = terms.into_iter().map(|term| Head { term, content: Content::Command });
        let vote = words.value("vote").map(str::to_owned);
        let disk = Disk {
            hard_state: HardState { term: number("term"), vote },
            start,
            base: words.configuration(),
            log: (start.index + 1..).zip(heads).collect(),
            commit: number("commit"),
        };
        self.boot(words.at(1), disk);
    }

    fn boot(&mut self, id: &str, disk: Disk) {
        let mut configurations = vec![(disk.start.index, disk.base.clone())];
        for (index, head) in &disk.log {
            if let Content::Configuration(members) = &head.content {
                configurations.push((*index, members.clone()));
            }
        }
        let core = Core::new(Start {
            id: id.to_owned(),
            hard_state: disk.hard_state.clone(),
            log_start: disk.start,
            terms: disk.log.values().map(|head| head.term).collect(),
            commit: disk.commit,
            configurations,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: id.bytes().map(u64::from).sum(),
        });
        let told = show::role(&core);
        let log = disk.log.clone();
        let commit = disk.commit;
        let pending = VecDeque::new();
        let node = Node { core: Some(core), is_slow: false, pending, disk, log, told, commit };
        self.nodes.insert(id.to_owned(), node);
    }

    /// The process ends: what the disk has not taken is lost.
    fn crash(&mut self, id: &str) {
        let node = self.node(id);
        node.core = None;
        node.pending.clear();
    }

    fn restart(&mut self, id: &str) {
        let disk = self.node(id).disk.clone();
        self.boot(id, disk);
        let state = show::state(self.core(id));
        self.say(id, &state);
    }

    fn elect(&mut self, id: &str) {
        let before = self.take_trace();
        self.campaign(id);
        self.deliver_all();
        self.take_trace();
        self.trace = before;
        self.status();
    }

    fn campaign(&mut self, id: &str) {
        let told = self.trace.len();
        for _ in 0..2 * ELECTION_TICKS {
            self.core(id).tick();
            self.settle(id);
            let is_asking = |line: &String| line.contains("Vote last=");
            if self.core(id).is_leader() || self.trace[told..].iter().any(is_asking) {
                return;
            }
            if matches!(self.core(id).role(), Role::Candidate { .. }) {
                return;
            }
        }
        self.say(id, "campaigns not");
    }

    fn deliver_all(&mut self) {
        for _ in 0..TALK_MAX {
            let Some(link) = self.links.iter().find(|(_, queue)| !queue.is_empty()) else { return };
            let link = link.0.clone();
            self.deliver(&link, false);
        }
        self.trace.push("they talk for ever".to_owned());
    }

    fn deliver(&mut self, link: &(NodeId, NodeId), is_last: bool) {
        let queue = self.links.entry(link.clone()).or_default();
        let message = if is_last { queue.pop_back() } else { queue.pop_front() };
        let Some(message) = message else {
            self.trace.push(format!("nothing is on its way from {} to {}", link.0, link.1));
            return;
        };
        self.take(link, message);
    }

    fn repeat(&mut self, link: &(NodeId, NodeId)) {
        let message = self.delivered[link].clone();
        self.trace.push(format!("{} -> {} again {}", link.0, link.1, show::message(&message)));
        self.take(link, message);
    }

    fn take(&mut self, (from, to): &(NodeId, NodeId), message: Message) {
        self.delivered.insert((from.clone(), to.clone()), message.clone());
        let Some(node) = self.nodes.get_mut(to) else { return };
        let Some(core) = &mut node.core else { return };
        if let Payload::Append { prev, entries, .. } = &message.payload {
            // As the driver does: the bodies beside the message are there when the core asks.
            let is_known = |index: Index, head: &Head| core.term_at(index) == Some(head.term);
            let new =
                (prev.index + 1..).zip(entries).filter(|(index, head)| !is_known(*index, head));
            node.log.extend(new.map(|(index, head)| (index, head.clone())));
        }
        core.step(from, message);
        self.settle(to);
    }

    fn cut(&mut self, words: &Words<'_>) {
        if words.at(1).contains("->") {
            self.cut.insert(words.link());
            return;
        }
        let id = words.at(1).to_owned();
        let others: Vec<NodeId> =
            self.nodes.keys().filter(|other| **other != id).cloned().collect();
        for other in others {
            self.cut.insert((id.clone(), other.clone()));
            self.cut.insert((other, id.clone()));
        }
    }

    fn status(&mut self) {
        let mut states = Vec::new();
        for (id, node) in &self.nodes {
            match &node.core {
                Some(core) => states.push(format!("{id}: {}", show::state(core))),
                None => states.push(format!("{id}: is down")),
            }
        }
        self.trace.extend(states);
    }

    fn compact(&mut self, id: &str, index: Index) -> String {
        let node = self.node(id);
        let core = node.core.as_mut().expect("it runs");
        let start = EntryId { index, term: core.term_at(index).expect("it is in the log") };
        node.disk.base = core.configuration().clone();
        core.compacted_to(start);
        node.log.retain(|at, _| *at > index);
        node.disk.log.retain(|at, _| *at > index);
        node.disk.start = start;
        node.disk.commit = node.disk.commit.max(index);
        format!("begins after {}", show::id(start))
    }

    /// The driver has sent the state as of what is committed.
    fn send_state(&mut self, (from, to): &(NodeId, NodeId)) {
        let core = self.core(from);
        let index = core.commit();
        let last = EntryId { index, term: core.term_at(index).expect("it is in the log") };
        let configuration = core.configuration().clone();
        let message =
            Message { term: core.term(), payload: Payload::Snapshot { last, configuration } };
        self.send(from, to, message);
        self.core(from).snapshot_ended(to, Some(last));
        self.settle(from);
    }

    fn node(&mut self, id: &str) -> &mut Node {
        self.nodes.get_mut(id).unwrap_or_else(|| panic!("{id} was not started"))
    }

    fn core(&mut self, id: &str) -> &mut Core {
        self.node(id).core.as_mut().unwrap_or_else(|| panic!("{id} is down"))
    }

    fn say(&mut self, id: &str, text: &str) {
        self.trace.push(format!("{id}: {text}"));
    }

    /// Does what the core wants done.
    fn settle(&mut self, id: &str) {
        loop {
            if let Some(role) = self.node(id).changed_role() {
                self.say(id, &role);
            }
            let Some(ready) = self.core(id).take_ready() else { return };
            self.carry_out(id, ready);
        }
    }

    fn carry_out(&mut self, id: &str, mut ready: Ready) {
        if let Some(hard_state) = &ready.hard_state {
            let vote = hard_state.vote.as_deref().unwrap_or("nobody");
            let text = format!("saves term={} vote={vote}", hard_state.term);
            self.say(id, &text);
        }
        if let Some(install) = &ready.install {
            let text = format!("installs {}", show::id(install.last));
            self.node(id).log.retain(|index, _| *index > install.last.index);
            self.say(id, &text);
        }
        self.append(id, &ready.entries);
        self.commit(id, ready.commit);
        for (name, index) in &ready.reads {
            self.say(id, &format!("read {name} at {index}"));
        }
        for name in &ready.reads_refused {
            self.say(id, &format!("read {name} refused"));
        }
        for (to, message) in std::mem::take(&mut ready.messages) {
            self.send(id, &to, message);
        }
        for append in std::mem::take(&mut ready.appends) {
            self.send_entries(id, &append);
        }
        for to in &ready.snapshots {
            self.say(id, &format!("wants {to} to be sent the state"));
        }
        self.node(id).pending.push_back(ready);
        let is_slow = self.node(id).is_slow;
        self.save(id, if is_slow { 0 } else { usize::MAX });
    }

    /// The disk takes the oldest `count` of what waits for it, and all that needs no disk.
    fn save(&mut self, id: &str, mut count: usize) {
        while let Some(ready) = self.node(id).pending.front() {
            let has_to_be_saved = ready.number > 0;
            if has_to_be_saved && count == 0 {
                return;
            }
            count -= usize::from(has_to_be_saved);
            self.save_next(id);
        }
    }

    fn commit(&mut self, id: &str, commit: Index) {
        if commit > self.node(id).commit {
            self.node(id).commit = commit;
            self.say(id, &format!("commits {commit}"));
        }
    }

    fn append(&mut self, id: &str, entries: &[(EntryId, EntryKind)]) {
        let Some((first, _)) = entries.first() else { return };
        let node = self.node(id);
        let core = node.core.as_ref().expect("it runs");
        let last = core.last().index;
        for (at, kind) in entries {
            let content = match kind {
                EntryKind::Noop => Content::Noop,
                EntryKind::Command => Content::Command,
                EntryKind::Membership => continue,
            };
            node.log.insert(at.index, Head { term: at.term, content });
        }
        node.log.retain(|index, _| *index <= last);
        let names: Vec<String> = entries
            .iter()
            .map(|(at, _)| {
                format!("{} {}", show::id(*at), show::name(&node.log[&at.index].content))
            })
            .collect();
        let is_replacing = node.disk.log.contains_key(&first.index);
        let verb = if is_replacing { "replaces by" } else { "appends" };
        self.say(id, &format!("{verb} {}", names.join(", ")));
    }

    fn send_entries(&mut self, id: &str, append: &Append) {
        let node = self.node(id);
        let entries =
            (append.prev.index + 1..=append.last).map(|at| node.log[&at].clone()).collect();
        let (prev, commit, round) = (append.prev, append.commit, append.round);
        let payload = Payload::Append { prev, entries, commit, round };
        self.send(id, &append.to, Message { term: append.term, payload });
    }

    fn send(&mut self, from: &str, to: &str, message: Message) {
        let link = (from.to_owned(), to.to_owned());
        let is_lost = self.cut.contains(&link);
        let lost = if is_lost { " (lost)" } else { "" };
        self.trace.push(format!("{from} -> {to} {}{lost}", show::message(&message)));
        if !is_lost {
            self.links.entry(link).or_default().push_back(message);
        }
    }

    fn save_next(&mut self, id: &str) {
        let node = self.node(id);
        let ready = node.pending.pop_front().expect("it was looked at");
        let disk = &mut node.disk;
        if let Some(install) = ready.install {
            disk.log.clear();
            disk.start = install.last;
            disk.base = install.configuration;
            disk.commit = install.last.index;
        }
        if let Some(hard_state) = ready.hard_state {
            disk.hard_state = hard_state;
        }
        for (at, _) in ready.entries {
            disk.log.split_off(&at.index);
            // What has been replaced since is not there any more; a later ready brings the rest.
            let head = node.log.get(&at.index).filter(|head| head.term == at.term);
            disk.log.insert(
                at.index,
                head.cloned().unwrap_or(Head { term: at.term, content: Content::Command }),
            );
        }
        self.core(id).saved(ready.number);
        self.commit(id, ready.commit_once_durable);
    }

    /// The disk is full: nothing that waits will be written.
    fn fail(&mut self, id: &str) -> String {
        let node = self.node(id);
        node.pending.clear();
        let last = node.disk.log.last_key_value();
        let last = last
            .map_or(node.disk.start, |(index, head)| EntryId { index: *index, term: head.term });
        node.log = node.disk.log.clone();
        node.core.as_mut().expect("it runs").append_failed(last);
        format!("could not write; the log ends at {}", show::id(last))
    }
}

impl Node {
    fn changed_role(&mut self) -> Option<String> {
        let core = self.core.as_ref()?;
        let role = show::role(core);
        if role == self.told {
            return None;
        }
        self.told.clone_from(&role);
        Some(format!("{role} (term {})", core.term()))
    }
}
