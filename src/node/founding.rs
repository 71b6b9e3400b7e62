//! How nodes without members make a cluster together (`-bootstrap-expect`).
//!
//! Each node asks those it was told of, again and again, who they are. As soon as as many as
//! expected have answered in one round, itself included, none of them with members, the one with
//! the smallest id founds the cluster; the others wait for it. It
//!
//! 1. binds itself to a cluster named after its own incarnation, durably;
//! 2. asks each of the others to bind itself too, durably, and goes on only when all have;
//! 3. writes the first entry of the log: all of them, as voters.
//!
//! # Why there are never two clusters
//!
//! A node is bound to one cluster for good and takes messages of no other. The first entry makes
//! nothing live by itself: a leader must be elected, by a majority of the nodes that the entry
//! names, and all of these are bound to its cluster and to none besides. So two clusters would need
//! two disjoint sets of nodes that are as many as expected, each: too many nodes were started.
//! A node that has members, or had them when it was last running, answers with its cluster,
//! and whoever asks joins that one instead of founding another. A node that is started again in
//! between is the same as before; one that has lost its disk is another, and is asked anew.
//! The name does not depend on who the others are, so a founder that crashed between two
//! steps goes on, though one of the others may have been replaced.
//!
//! What this costs: a founder that is lost for good between steps 2 and 3 leaves nodes behind that
//! are bound to what never was. They hold no data, and say that they need an empty directory.

use std::collections::BTreeMap;

use serde_json::json;

use super::calls::{Door, Doorstep, Info};
use super::joining::Caller;
use super::membership::{Membership, member_to_json};
use super::status::Member;

/// What a round of questions has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// There are members now: this node's.
    Done,
    /// A node at this Raft address has members: join it.
    Join(String),
    /// Not yet: why, in words for the log.
    Waits(String),
}

/// Asks everybody once, and founds the cluster if it is this node's turn.
pub(super) fn round(
    expected: usize,
    addresses: &[String],
    doorstep: &Doorstep,
    door: &dyn Door,
    caller: &dyn Caller,
) -> Round {
    if !door.membership().members.is_empty() {
        return Round::Done;
    }
    let own = doorstep.own();
    // By incarnation: one node may answer at several addresses.
    let mut found = BTreeMap::from([(own.incarnation.clone(), own.clone())]);
    let mut bound = BTreeMap::new();
    for address in all_addresses(addresses, doorstep) {
        let Ok(answer) = caller.call(&address, "notify", &doorstep.introduction()) else {
            continue;
        };
        let Some(info) = Info::from_json(&answer) else { continue };
        if info.member.incarnation == own.incarnation {
            continue;
        }
        if info.members > 0 {
            return Round::Join(address);
        }
        bound.extend(info.cluster.map(|cluster| (info.member.incarnation.clone(), cluster)));
        if info.member.is_voter {
            found.insert(info.member.incarnation.clone(), info.member);
        }
    }
    let found: Vec<Member> = found.into_values().collect();
    match founders(expected, found) {
        Ok(voters) if voters[0].incarnation == own.incarnation => {
            match claim(&voters, &bound, doorstep, door, caller) {
                Ok(()) => Round::Done,
                Err(why) => Round::Waits(why),
            }
        }
        Ok(voters) => Round::Waits(format!("node {} is to found the cluster", voters[0].id)),
        Err(why) => Round::Waits(why),
    }
}

/// Raft addresses to ask at, without the own one.
fn all_addresses(addresses: &[String], doorstep: &Doorstep) -> Vec<String> {
    let mut all = doorstep.noticed();
    all.extend(addresses.iter().cloned());
    all.retain(|address| *address != doorstep.own().raft_address);
    all.sort();
    all.dedup();
    all
}

/// The first voters, the founder before all others.
fn founders(expected: usize, mut found: Vec<Member>) -> Result<Vec<Member>, String> {
    found.sort_by(|one, other| one.id.cmp(&other.id));
    for pair in found.windows(2) {
        if pair[0].id == pair[1].id {
            return Err(format!(
                "two nodes are called {}, at {} and {}: one needs another -node-id",
                pair[0].id, pair[0].raft_address, pair[1].raft_address
            ));
        }
    }
    if found.len() < expected {
        return Err(format!("{} of {expected} nodes are here", found.len()));
    }
    found.truncate(expected);
    Ok(found)
}

/// Steps 1 to 3.
fn claim(
    voters: &[Member],
    bound: &BTreeMap<String, String>,
    doorstep: &Doorstep,
    door: &dyn Door,
    caller: &dyn Caller,
) -> Result<(), String> {
    let cluster = doorstep.own().incarnation.clone();
    for voter in voters {
        if bound.get(&voter.incarnation).is_some_and(|other| *other != cluster) {
            return Err(format!(
                "node {} is bound to another cluster: start it with an empty data directory",
                voter.id
            ));
        }
    }
    doorstep.adopt(&cluster, door)?;
    for voter in &voters[1..] {
        let question = json!({
            "member": member_to_json(doorstep.own()),
            "cluster": cluster.clone(),
            "to": voter.incarnation,
        });
        caller.call(&voter.raft_address, "claim", &question)?;
    }
    let members = voters.iter().map(|voter| (voter.id.clone(), voter.clone())).collect();
    log::info!("founding cluster {cluster} of {} nodes", voters.len());
    door.found(Membership { cluster, members, since: 0 })
}
