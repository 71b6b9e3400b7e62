//! Nodes that meet, in one thread: calls go straight from one to the other, and the log is
//! played by a membership that all who belong to a cluster see at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::calls::{self, ChangeError, Door, Doorstep, Info};
use super::changes::{self, Change, ChangeRequest, Refused};
use super::founding::{self, Round};
use super::identity::IdentityFile;
use super::joining::{Caller, Joining};
use super::membership::Membership;
use super::start::ClusterSettings;
use super::status::Member;
use crate::os::lock;

/// A node, running or not.
struct Fake {
    doorstep: Doorstep,
    directory: TempDir,
    is_up: bool,
}

/// All nodes, and the clusters that were founded.
#[derive(Default)]
struct World {
    nodes: Mutex<Vec<Arc<Fake>>>,
    clusters: Mutex<Vec<Membership>>,
    /// By incarnation, the cluster it was first bound to.
    bound: Mutex<BTreeMap<String, String>>,
    /// When not 0, where chance stands: other nodes have a turn between two questions of one.
    chance: Mutex<u64>,
}

/// One node's view of the world.
struct At<'a>(&'a World, Arc<Fake>);

fn member(id: &str, identity: &IdentityFile) -> Member {
    Member {
        id: id.to_owned(),
        incarnation: identity.incarnation.clone(),
        raft_address: format!("{id}:2"),
        http_address: format!("{id}:1"),
        is_voter: true,
        is_joining: false,
    }
}

impl World {
    fn of(ids: &[&str]) -> Self {
        let world = Self::default();
        for id in ids {
            world.start(id);
        }
        world
    }

    /// Starts a node with an empty directory, in place of one of that name.
    fn start(&self, id: &str) {
        let directory = tempfile::tempdir().unwrap();
        let identity = IdentityFile::create(directory.path(), id.to_owned(), None).unwrap();
        let doorstep = Doorstep::new(member(id, &identity), identity);
        self.put(Fake { doorstep, directory, is_up: true });
    }

    /// Starts it again with what its directory holds, or leaves it down.
    fn restart(&self, id: &str, is_up: bool) {
        let old = self.take(id);
        let identity = IdentityFile::read(old.directory.path()).unwrap().unwrap();
        let doorstep = Doorstep::new(old.doorstep.own().clone(), identity);
        let directory = Arc::into_inner(old).expect("nobody calls it").directory;
        self.put(Fake { doorstep, directory, is_up });
    }

    fn put(&self, fake: Fake) {
        let mut nodes = lock(&self.nodes);
        nodes.retain(|node| node.doorstep.own().id != fake.doorstep.own().id);
        nodes.push(Arc::new(fake));
    }

    fn take(&self, id: &str) -> Arc<Fake> {
        let mut nodes = lock(&self.nodes);
        let at = nodes.iter().position(|node| node.doorstep.own().id == id).unwrap();
        nodes.remove(at)
    }

    fn at(&self, id: &str) -> At<'_> {
        let nodes = lock(&self.nodes);
        At(self, Arc::clone(nodes.iter().find(|node| node.doorstep.own().id == id).unwrap()))
    }

    fn draw(&self, below: u64) -> usize {
        let mut state = lock(&self.chance);
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((*state >> 33) % below).unwrap()
    }

    /// What happens to another node in the midst of a round of `id`.
    fn meddle(&self, id: &str) {
        let other = ["a", "b", "c", "d"][self.draw(4)];
        let is_idle = Arc::strong_count(&self.at(other).1) == 2;
        match self.draw(16) {
            _ if other == id => {}
            0..=3 if self.at(other).1.is_up => drop(self.round(other, 3)),
            4 if is_idle => self.start(other),
            5..=6 if is_idle => self.restart(other, false),
            7..=8 if is_idle => self.restart(other, true),
            _ => {}
        }
    }

    fn round(&self, id: &str, expected: usize) -> Round {
        let at = self.at(id);
        let addresses = ["a:2", "b:2", "c:2", "d:2"].map(str::to_owned);
        founding::round(expected, &addresses, &at.1.doorstep, &at, &at)
    }

    fn joined(&self, id: &str, settings: &ClusterSettings) -> Result<(), String> {
        let at = self.at(id);
        let (_running, stop) = crossbeam_channel::bounded(0);
        let (doorstep, door, caller) = (&at.1.doorstep, &at, &at);
        Joining { settings, doorstep, door, caller, stop: &stop }.run()
    }

    /// Whether a majority of its voters is there and bound to it.
    fn is_live(&self, cluster: &Membership) -> bool {
        let nodes = lock(&self.nodes);
        let is_bound = |member: &&Member| {
            nodes.iter().any(|node| {
                node.doorstep.own().incarnation == member.incarnation
                    && node.doorstep.cluster().as_ref() == Some(&cluster.cluster)
            })
        };
        let voters = cluster.members.values().filter(|member| member.is_voter);
        voters.filter(is_bound).count() * 2 > cluster.voters()
    }
}

impl Door for At<'_> {
    fn membership(&self) -> Membership {
        let own = self.1.doorstep.cluster();
        let of_own = |one: &&Membership| Some(&one.cluster) == own.as_ref();
        let clusters = lock(&self.0.clusters).clone();
        let found = clusters.iter().find(of_own).cloned().unwrap_or_default();
        // The founder's log holds it at once, that of others when they are sent it.
        let founder = found.members.values().find(|one| one.incarnation == found.cluster);
        let is_founder = founder.is_some_and(|founder| *founder == *self.1.doorstep.own());
        if is_founder || self.0.is_live(&found) { found } else { Membership::default() }
    }

    /// The first voter that is up.
    fn leader(&self) -> Option<String> {
        let members = self.membership().members;
        let nodes = lock(&self.0.nodes);
        let is_up = |id: &str| nodes.iter().any(|one| one.is_up && one.doorstep.own().id == id);
        members.values().find(|one| one.is_voter && is_up(&one.id)).map(|one| one.id.clone())
    }

    fn change(&self, request: ChangeRequest) -> Result<(), ChangeError> {
        if self.leader().as_ref() != Some(&self.1.doorstep.own().id) {
            return Err(ChangeError::NotLeader);
        }
        if !self.0.is_live(&self.membership()) {
            return Err(ChangeError::Unknown("no majority answers".to_owned()));
        }
        loop {
            let membership = self.membership();
            match changes::next(&membership, &request, |_| false) {
                Ok(Change::Nothing) => return Ok(()),
                Ok(Change::Propose(after)) => {
                    let mut clusters = lock(&self.0.clusters);
                    let at = clusters.iter().position(|one| one.cluster == after.cluster);
                    clusters[at.unwrap()] = after;
                }
                Err(Refused(why)) => return Err(ChangeError::Refused(why)),
            }
        }
    }

    fn found(&self, membership: Membership) -> Result<(), String> {
        let bound = lock(&self.0.bound).clone();
        for member in membership.members.values() {
            assert_eq!(bound.get(&member.incarnation), Some(&membership.cluster), "bound first");
        }
        let mut clusters = lock(&self.0.clusters);
        if clusters.iter().any(|one| one.cluster == membership.cluster) {
            return Err("this node has a log".to_owned());
        }
        clusters.push(membership);
        Ok(())
    }

    fn adopted(&self, cluster: &str) {
        let read = IdentityFile::read(self.1.directory.path()).unwrap().unwrap();
        assert_eq!(read.cluster(), Some(cluster), "durable before it is told");
        let mut bound = lock(&self.0.bound);
        let first = bound.entry(read.incarnation).or_insert_with(|| cluster.to_owned());
        assert_eq!(first, cluster, "bound for good");
    }
}

impl Caller for At<'_> {
    fn call(&self, address: &str, name: &str, question: &Value) -> Result<Value, String> {
        if *lock(&self.0.chance) != 0 {
            self.0.meddle(&self.1.doorstep.own().id);
        }
        let nodes = lock(&self.0.nodes).clone();
        let there = nodes.iter().find(|one| one.doorstep.own().raft_address == address);
        let there = there.filter(|one| one.is_up).ok_or("it refuses the connection")?;
        let at = At(self.0, Arc::clone(there));
        calls::answer(name, question, &at.1.doorstep, &at)
    }
}

fn settings(join: &[&str], bootstrap_expect: usize) -> ClusterSettings {
    ClusterSettings {
        join: join.iter().map(|address| (*address).to_owned()).collect(),
        join_attempts: 2,
        join_interval: Duration::ZERO,
        bootstrap_expect,
        bootstrap_expect_timeout: Some(Duration::ZERO),
        is_voter: true,
        steps_down_on_stop: true,
        stops_when_removed: false,
        leaves_on_stop: false,
        reap_voters_after: None,
        reap_replicas_after: None,
        connect_timeout: Duration::from_secs(1),
        secret: None,
    }
}

#[test]
fn as_many_as_expected_make_one_cluster_and_the_next_one_joins_it() {
    let world = World::of(&["c", "b"]);
    assert_eq!(world.round("c", 3), Round::Waits("2 of 3 nodes are here".to_owned()));
    world.start("a");
    assert_eq!(world.round("c", 3), Round::Waits("node a is to found the cluster".to_owned()));
    assert_eq!(world.round("a", 3), Round::Done);
    let cluster = lock(&world.clusters)[0].clone();
    assert_eq!((cluster.voters(), world.is_live(&cluster)), (3, true));
    assert_eq!(world.round("b", 3), Round::Done, "it has heard of it");
    world.start("d");
    assert_eq!(world.joined("d", &settings(&["c:2"], 3)), Ok(()), "sent on to the leader");
    let members = world.at("d").membership().members;
    assert!(members["d"].is_joining && !members["d"].is_voter, "a learner at first");
}

#[test]
fn a_founder_goes_on_where_a_crash_or_a_lost_disk_left_it() {
    let world = World::of(&["a", "b", "c"]);
    // b is bound, c is gone before it can be: nothing is founded.
    let at = world.at("b");
    let question = serde_json::json!({
        "member": super::membership::member_to_json(world.at("a").1.doorstep.own()),
        "cluster": world.at("a").1.doorstep.own().incarnation,
        "to": at.1.doorstep.own().incarnation,
    });
    assert!(world.at("a").call("b:2", "claim", &question).is_ok(), "bound");
    let refused = world.at("a").call("c:2", "claim", &question).unwrap_err();
    assert!(refused.contains("another data directory"), "{refused}");
    drop(at);
    world.restart("a", true);
    world.restart("c", false);
    assert_eq!(world.round("a", 3), Round::Waits("2 of 3 nodes are here".to_owned()));
    world.start("c");
    assert_eq!(world.round("a", 3), Round::Done);
    assert_eq!(lock(&world.clusters).len(), 1);
    // Now b is bound for good.
    world.start("aa");
    let other = serde_json::json!({
        "member": super::membership::member_to_json(world.at("aa").1.doorstep.own()),
        "cluster": "other",
        "to": world.at("b").1.doorstep.own().incarnation,
    });
    assert!(world.at("aa").call("b:2", "claim", &other).is_err(), "no second cluster");
}

#[test]
fn whoever_has_members_is_joined_and_none_is_founded() {
    let world = World::of(&["a", "b", "c"]);
    assert_eq!(world.joined("c", &settings(&[], 1)), Ok(()), "alone");
    assert_eq!(world.round("a", 2), Round::Join("c:2".to_owned()), "though b would do");
    for id in ["a", "b"] {
        assert_eq!(world.joined(id, &settings(&["a:2", "b:2", "c:2"], 3)), Ok(()), "{id}");
    }
    assert_eq!(lock(&world.clusters).len(), 1);
    assert_eq!(world.at("a").membership().members.len(), 3);
}

#[test]
fn who_finds_nobody_gives_up_and_says_so() {
    let world = World::of(&["a", "b"]);
    let failed = "clustering failure: failed to join cluster: failed to join cluster";
    for join in [["b:2"], ["x:2"], ["a:2"]] {
        assert_eq!(world.joined("a", &settings(&join, 0)), Err(failed.to_owned()), "{join:?}");
    }
    let late = world.joined("a", &settings(&["b:2"], 3)).unwrap_err();
    assert!(late.contains("bootstrap") && late.contains("2 of 3 nodes are here"), "{late}");
    let own = world.at("b").1.doorstep.own().clone();
    let twin = Member { id: own.id, ..world.at("a").1.doorstep.own().clone() };
    let world = World::of(&["b"]);
    let directory = tempfile::tempdir().unwrap();
    let identity = IdentityFile::create(directory.path(), "a".to_owned(), None).unwrap();
    let doorstep = Doorstep::new(twin, identity);
    lock(&world.nodes).push(Arc::new(Fake { doorstep, directory, is_up: true }));
    let Round::Waits(why) = world.round("b", 2) else { panic!("two of one name") };
    assert!(why.contains("two nodes are called b"), "{why}");
}

#[test]
fn members_learn_of_new_addresses_and_of_nothing_else() {
    let world = World::of(&["a", "b"]);
    assert_eq!(world.joined("a", &settings(&[], 1)), Ok(()));
    assert_eq!(world.joined("b", &settings(&["a:2"], 0)), Ok(()));
    let before = world.at("a").membership();
    assert_eq!(world.joined("b", &settings(&["a:2"], 0)), Ok(()), "again");
    assert_eq!(world.at("a").membership(), before);
    let old = world.take("b");
    let moved = Member { http_address: "new:1".to_owned(), ..old.doorstep.own().clone() };
    let identity = IdentityFile::read(old.directory.path()).unwrap().unwrap();
    let directory = Arc::into_inner(old).unwrap().directory;
    world.put(Fake { doorstep: Doorstep::new(moved, identity), directory, is_up: true });
    assert_eq!(world.joined("b", &settings(&[], 0)), Ok(()), "it knows the members");
    assert_eq!(world.at("a").membership().members["b"].http_address, "new:1");
    let at = world.at("b");
    let info = Info::from_json(&at.call("b:2", "info", &Value::Null).unwrap()).unwrap();
    assert_eq!((info.members, info.leader.as_deref()), (2, Some("a:2")));
    assert_eq!(info.member, *at.1.doorstep.own());
    assert!(at.call("a:2", "nonsense", &Value::Null).is_err());
    assert!(at.call("a:2", "join", &Value::Null).is_err(), "nobody");
}

/// Rounds, each amid others, crashes, starts and lost disks: never two clusters that live, though
/// there are more nodes than are waited for.
#[test]
fn two_clusters_never_live_at_once() {
    let mut founded = 0;
    for seed in 1..=25_u64 {
        let world = World::of(&["a", "b", "c", "d"]);
        *lock(&world.chance) = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..30 {
            let id = ["a", "b", "c", "d"][world.draw(4)];
            match world.draw(16) {
                0 => world.start(id),
                1..=3 => world.restart(id, false),
                4..=7 => world.restart(id, true),
                _ if world.at(id).1.is_up => drop(world.round(id, 3)),
                _ => {}
            }
            let clusters = lock(&world.clusters).clone();
            let live = clusters.iter().filter(|cluster| world.is_live(cluster)).count();
            assert!(live <= 1, "seed {seed}: {clusters:?}");
        }
        founded += lock(&world.clusters).len();
    }
    assert!(founded > 10, "only {founded} clusters were founded");
}
