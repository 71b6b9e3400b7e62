//! Small questions between nodes, under `/node/`: JSON in, JSON out.
//!
//! | question | asks | is answered with |
//! |---|---|---|
//! | `join` | `{"member":{..},"cluster":"..."}` | `{"cluster":"..."}`, or `{"leader":"host:port"}` |
//! | `notify` | the same: I am here | as `info` |
//! | `claim` | the same and `"to":"<incarnation>"`: will you be in the cluster I found? | `{}` |
//! | `leave` | `{"member":{..}}`: it goes | `{}`, or `{"leader":"host:port"}` |
//! | `info` | nothing | `{"member":{..},"cluster":"...","leader":"host:port","members":3,"version":"..."}` |
//!
//! What is not there is left out. A refusal is a sentence. Whoever asks is taken at its word: that it
//! may ask at all is for the listener to have checked. Nothing here decides who is a member; the
//! leader does (`changes`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::changes::ChangeRequest;
use super::identity::IdentityFile;
use super::membership::{Membership, member_from_json, member_to_json};
use super::status::Member;
use crate::os::lock;

/// How long a node that has said it is here is looked for at its address.
const NOTICE_AGE_MAX: Duration = Duration::from_secs(30);

/// Nodes whose notices are kept; further ones are asked for by their own notices again.
const NOTICES_MAX: usize = 256;

/// What calls and joining need of the node behind them.
pub(super) trait Door {
    /// The members in force; without any as long as this node has none.
    fn membership(&self) -> Membership;

    /// The id of the node that leads, if it is known.
    fn leader(&self) -> Option<String>;

    /// Makes a change of members on the leader, and waits until it is committed.
    ///
    /// # Errors
    /// See [`ChangeError`].
    fn change(&self, request: ChangeRequest) -> Result<(), ChangeError>;

    /// Begins the log of a new cluster with these members, by [`crate::raft::Core::found`].
    ///
    /// # Errors
    /// A sentence.
    fn found(&self, membership: Membership) -> Result<(), String>;

    /// This node belongs to a cluster from now on: messages of others are strangers'.
    fn adopted(&self, cluster: &str);
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangeError {
    /// Another node leads, or none: ask that one.
    NotLeader,
    /// The leader says no, and why.
    Refused(String),
    /// It may yet come: ask again, which does no harm.
    Unknown(String),
}

/// Who this node is to others, and who has said to be here.
pub(super) struct Doorstep {
    own: Member,
    identity: Mutex<IdentityFile>,
    notices: Mutex<BTreeMap<String, Instant>>,
}

impl Doorstep {
    pub(super) fn new(own: Member, identity: IdentityFile) -> Self {
        Self { own, identity: Mutex::new(identity), notices: Mutex::default() }
    }

    /// This node, as it was started.
    pub(super) fn own(&self) -> &Member {
        &self.own
    }

    /// The cluster it belongs to, once it does.
    pub(super) fn cluster(&self) -> Option<String> {
        lock(&self.identity).cluster().map(str::to_owned)
    }

    /// Becomes part of a cluster, for good; durable before anybody is told.
    ///
    /// # Errors
    /// A sentence: it belongs to another, or the disk's.
    pub(super) fn adopt(&self, cluster: &str, door: &dyn Door) -> Result<(), String> {
        lock(&self.identity).adopt(cluster).map_err(|error| error.to_string())?;
        door.adopted(cluster);
        Ok(())
    }

    /// Raft addresses of nodes that have lately said to be here.
    pub(super) fn noticed(&self) -> Vec<String> {
        let mut notices = lock(&self.notices);
        notices.retain(|_, since| since.elapsed() < NOTICE_AGE_MAX);
        notices.keys().cloned().collect()
    }

    fn notice(&self, address: &str) {
        let mut notices = lock(&self.notices);
        if notices.len() < NOTICES_MAX || notices.contains_key(address) {
            notices.insert(address.to_owned(), Instant::now());
        }
    }

    /// What this node says of itself when it asks something.
    pub(super) fn introduction(&self) -> Value {
        let mut value = json!({ "member": member_to_json(&self.own) });
        if let Some(cluster) = self.cluster() {
            value["cluster"] = json!(cluster);
        }
        value
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) member: Member,
    /// The cluster it belongs to, or has promised to belong to.
    pub(super) cluster: Option<String>,
    /// Where the leader is, if it knows.
    pub(super) leader: Option<String>,
    /// How many members it knows; 0 as long as it has none.
    pub(super) members: u64,
    pub(super) version: String,
}

impl Info {
    /// Reads an answer; `None` when it is none.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            member: member_from_json(value.get("member")?)?,
            cluster: text(value, "cluster"),
            leader: text(value, "leader"),
            members: value.get("members")?.as_u64()?,
            version: text(value, "version")?,
        })
    }
}

/// Answers the question called `name`.
///
/// # Errors
/// A sentence for whoever asked.
pub(super) fn answer(
    name: &str,
    question: &Value,
    doorstep: &Doorstep,
    door: &dyn Door,
) -> Result<Value, String> {
    match name {
        "join" => join(question, door),
        "leave" => leave(question, door),
        "notify" => {
            let (member, _) = introduced(question)?;
            doorstep.notice(&member.raft_address);
            Ok(info(doorstep, door))
        }
        "claim" => claim(question, doorstep, door),
        "info" => Ok(info(doorstep, door)),
        _ => Err(format!("this version knows no question {name}")),
    }
}

fn join(question: &Value, door: &dyn Door) -> Result<Value, String> {
    let (member, cluster) = introduced(question)?;
    let (id, address) = (member.id.clone(), member.raft_address.clone());
    change(door, ChangeRequest::Join { member, cluster }, || {
        log::info!("node {id} at {address} belongs to the cluster");
        json!({ "cluster": door.membership().cluster })
    })
}

/// A member goes. Another that has its id by now stays.
fn leave(question: &Value, door: &dyn Door) -> Result<Value, String> {
    let (member, _) = introduced(question)?;
    let known = door.membership().members.get(&member.id).cloned();
    if known.is_some_and(|known| known.incarnation != member.incarnation) {
        return Ok(json!({}));
    }
    change(door, ChangeRequest::Remove { id: member.id.clone() }, || {
        log::info!("node {} has left the cluster", member.id);
        json!({})
    })
}

/// Has the members changed if this node leads; else says who does.
fn change(
    door: &dyn Door,
    request: ChangeRequest,
    done: impl FnOnce() -> Value,
) -> Result<Value, String> {
    match door.change(request) {
        Ok(()) => Ok(done()),
        Err(ChangeError::NotLeader) => {
            let membership = door.membership();
            let leader = door.leader().and_then(|leader| membership.members.get(&leader).cloned());
            match leader {
                Some(leader) => Ok(json!({ "leader": leader.raft_address })),
                None if membership.members.is_empty() => {
                    Err("this node belongs to no cluster yet".to_owned())
                }
                None => Err("leader not found".to_owned()),
            }
        }
        Err(ChangeError::Refused(why) | ChangeError::Unknown(why)) => Err(why),
    }
}

/// A founder asks. Whoever says yes belongs to its cluster for good, so that no two founders
/// can have the same node's promise; see `founding`.
fn claim(question: &Value, doorstep: &Doorstep, door: &dyn Door) -> Result<Value, String> {
    let (founder, cluster) = introduced(question)?;
    let cluster = cluster.ok_or("a claim names a cluster")?;
    if text(question, "to").as_ref() != Some(&doorstep.own().incarnation) {
        return Err(format!("node {} has another data directory by now", doorstep.own().id));
    }
    if !door.membership().members.is_empty() && doorstep.cluster().as_ref() != Some(&cluster) {
        return Err(format!("node {} has members already", doorstep.own().id));
    }
    doorstep.adopt(&cluster, door)?;
    log::info!("node {} founds cluster {cluster}, and this node will be in it", founder.id);
    Ok(json!({}))
}

fn info(doorstep: &Doorstep, door: &dyn Door) -> Value {
    let membership = door.membership();
    let mut value = doorstep.introduction();
    value["members"] = json!(membership.members.len());
    value["version"] = json!(env!("CARGO_PKG_VERSION"));
    if let Some(leader) = door.leader().and_then(|leader| membership.members.get(&leader)) {
        value["leader"] = json!(leader.raft_address);
    }
    value
}

/// Who asks, and the cluster that it names.
fn introduced(question: &Value) -> Result<(Member, Option<String>), String> {
    let member = question.get("member").and_then(member_from_json);
    let member = member.filter(|member| !member.incarnation.is_empty() && !member.id.is_empty());
    let member = member.ok_or("whoever asks must say who it is")?;
    Ok((member, text(question, "cluster")))
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}
