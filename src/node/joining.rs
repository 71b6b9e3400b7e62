//! The thread that brings this node to its cluster, and ends as soon as it belongs to it.
//!
//! | this node | does |
//! |---|---|
//! | has no members, `-join` | asks each address in turn, attempt by attempt, then gives up |
//! | has no members, `-bootstrap-expect` | see `founding`; joins whoever has members already |
//! | has members that know it by other addresses | tells them, for as long as it takes |
//! | has members that do not know it | asks them by way of `-join`, if that was given |
//! | has members that know it as it is | nothing |
//!
//! It asks by [`Caller`] and knows no sockets. Asking twice does no harm: a node that is a member
//! as it says is answered as if it had just become one.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;

use super::calls::{ChangeError, Door, Doorstep};
use super::changes::ChangeRequest;
use super::founding::{self, Round};
use super::membership::Membership;
use super::start::ClusterSettings;

/// Times that a join is sent on to another node: the leader may change meanwhile, but not forever.
const HOPS_MAX: usize = 5;

/// Time between two rounds of asking who is here.
const ROUND_EVERY: Duration = Duration::from_millis(500);

/// Rounds between two lines in the log about what is waited for.
const ROUNDS_PER_LINE: u32 = 10;

/// How questions reach other nodes.
pub(super) trait Caller {
    /// Asks the node at `address`.
    ///
    /// # Errors
    /// A sentence: its own, or why there is no answer.
    fn call(&self, address: &str, name: &str, question: &Value) -> Result<Value, String>;
}

/// What the thread works with.
pub(super) struct Joining<'a> {
    pub(super) settings: &'a ClusterSettings,
    pub(super) doorstep: &'a Doorstep,
    pub(super) door: &'a dyn Door,
    pub(super) caller: &'a dyn Caller,
    /// Closed when the node is to stop.
    pub(super) stop: &'a Receiver<()>,
}

impl Joining<'_> {
    /// Runs until this node belongs to its cluster, or is to stop.
    ///
    /// # Errors
    /// A sentence that is fatal to the process: it has no members, and found none to join.
    pub(super) fn run(&self) -> Result<(), String> {
        if !self.door.membership().members.is_empty() {
            self.register();
            return Ok(());
        }
        if self.settings.bootstrap_expect > 0 {
            return self.gather();
        }
        if self.settings.join.is_empty() {
            // It was told once to which cluster it belongs, and waits to hear from it.
            return Ok(());
        }
        for attempt in 1..=self.settings.join_attempts {
            if self.join_any(&self.settings.join) {
                return Ok(());
            }
            if attempt < self.settings.join_attempts && self.is_stopped(self.settings.join_interval)
            {
                return Ok(());
            }
        }
        Err("clustering failure: failed to join cluster: failed to join cluster".to_owned())
    }

    /// Asks round by round who is here, until there is a cluster.
    fn gather(&self) -> Result<(), String> {
        let settings = self.settings;
        let begun = Instant::now();
        let is_late =
            || settings.bootstrap_expect_timeout.is_some_and(|max| begun.elapsed() >= max);
        let mut rounds = 0;
        loop {
            let (expected, addresses) = (settings.bootstrap_expect, &settings.join);
            let waits_for =
                match founding::round(expected, addresses, self.doorstep, self.door, self.caller) {
                    Round::Done => return Ok(()),
                    Round::Join(address) if self.join_any(std::slice::from_ref(&address)) => {
                        return Ok(());
                    }
                    Round::Join(address) => {
                        format!("{address} has members and does not let it join")
                    }
                    Round::Waits(why) => why,
                };
            if is_late() {
                return Err(format!(
                    "clustering failure: bootstrap: no cluster within {:?}: {waits_for}",
                    begun.elapsed()
                ));
            }
            if rounds % ROUNDS_PER_LINE == 0 {
                log::info!("waiting for {expected} nodes: {waits_for}");
            }
            rounds += 1;
            if self.is_stopped(ROUND_EVERY) {
                return Ok(());
            }
        }
    }

    /// Tells the members by which addresses this node is to be found now.
    fn register(&self) {
        let own = self.doorstep.own();
        loop {
            let membership = self.door.membership();
            let addresses = match membership.members.get(&own.id) {
                // Another data directory has taken its place: this one is not wanted any more.
                Some(known) if known.incarnation != own.incarnation => return,
                Some(known)
                    if known.raft_address == own.raft_address
                        && known.http_address == own.http_address =>
                {
                    return;
                }
                Some(_) => self.addresses_of_others(&membership),
                // It was removed, and comes back only if it is told to.
                None => self.settings.join.clone(),
            };
            let request =
                ChangeRequest::Join { member: own.clone(), cluster: self.doorstep.cluster() };
            let is_done = match self.door.change(request) {
                Ok(()) => true,
                Err(ChangeError::Refused(why)) => {
                    log::warn!("this node cannot be found at {}: {why}", own.raft_address);
                    return;
                }
                Err(ChangeError::NotLeader | ChangeError::Unknown(_)) => self.join_any(&addresses),
            };
            if is_done || addresses.is_empty() || self.is_stopped(self.settings.join_interval) {
                return;
            }
        }
    }

    fn addresses_of_others(&self, membership: &Membership) -> Vec<String> {
        let others = membership.members.values().filter(|one| one.id != self.doorstep.own().id);
        let mut addresses: Vec<_> = others.map(|member| member.raft_address.clone()).collect();
        addresses.extend(self.settings.join.iter().cloned());
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// Whether one of these has let this node in.
    fn join_any(&self, addresses: &[String]) -> bool {
        addresses.iter().any(|address| match self.join_by_way_of(address) {
            Ok(leader) => {
                log::info!("this node belongs to the cluster of {leader}");
                true
            }
            Err(why) => {
                log::warn!("failed to join via node at {address}: {why}");
                false
            }
        })
    }

    /// Asks one node, and the leader that it names. Returns who has said yes.
    fn join_by_way_of(&self, address: &str) -> Result<String, String> {
        let own = self.doorstep.own();
        let mut address = address.to_owned();
        for _ in 0..HOPS_MAX {
            if address == own.raft_address {
                return Err("a node cannot join itself".to_owned());
            }
            let answer = self.caller.call(&address, "join", &self.doorstep.introduction())?;
            if let Some(cluster) = answer["cluster"].as_str() {
                self.doorstep.adopt(cluster, self.door)?;
                return Ok(address);
            }
            answer["leader"].as_str().ok_or("its answer makes no sense")?.clone_into(&mut address);
        }
        Err(format!("the leader was not found at {HOPS_MAX} nodes"))
    }

    /// Waits; true when the node is to stop.
    fn is_stopped(&self, wait: Duration) -> bool {
        !matches!(self.stop.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }
}
