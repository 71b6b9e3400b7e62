//! Who belongs to the cluster, as the log and the mark hold it.
//!
//! People know a node by its id. The protocol knows it by its id and its incarnation, a name drawn
//! when its data directory was made: a node that has lost its disk has forgotten what it promised,
//! and must not vote as the one it was (thesis, 3.8). Addresses and the rest travel in the body of
//! membership entries, as JSON that a person can read in the log:
//!
//! ```json
//! {"cluster":"5f0c...","members":[{"id":"1","incarnation":"9a3e...","raft":"localhost:4002","http":"localhost:4001","voter":true}]}
//! ```
//!
//! `"joining":true` marks a learner that is to become a voter once it has caught up, and `"since"`
//! a membership that was forced upon the cluster, or came of one that was: see [`Membership::since`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::status::Member;
use crate::raft::{Configuration, NodeId, Term};

/// Longest name or address of a member: every entry that names members holds them all.
pub(super) const NAME_BYTES_MAX: usize = 512;

/// The members of a cluster, and the cluster's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// Entries of two clusters are never mixed up. Empty when there are no members.
    pub(super) cluster: String,
    /// By the id that people know.
    pub(super) members: BTreeMap<String, Member>,
    /// The term that a person's recovery began, 0 without one. Of two memberships the one with
    /// the higher number is in force, wherever they stand in the log: what was decided before
    /// a recovery, by members that are gone, does not come back after it.
    pub(super) since: Term,
}

impl Membership {
    /// A cluster of one.
    pub(super) fn alone(cluster: String, member: Member) -> Self {
        Self { cluster, members: BTreeMap::from([(member.id.clone(), member)]), since: 0 }
    }

    /// Reads what [`Membership::encode`] wrote; `None` when it is something else.
    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        Self::from_json(&value)
    }

    /// The same from JSON.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let mut members = BTreeMap::new();
        for member in value.get("members")?.as_array()? {
            let member = member_from_json(member)?;
            let is_first = members.insert(member.id.clone(), member).is_none();
            is_first.then_some(())?;
        }
        let since = value.get("since").map_or(Some(0), Value::as_u64)?;
        Some(Self { cluster: value.get("cluster")?.as_str()?.to_owned(), members, since })
    }

    /// The body of a membership entry.
    pub(super) fn encode(&self) -> String {
        self.to_json().to_string()
    }

    /// The same as JSON.
    pub(super) fn to_json(&self) -> Value {
        let members: Vec<Value> = self.members.values().map(member_to_json).collect();
        let mut value = json!({ "cluster": self.cluster, "members": members });
        if self.since > 0 {
            value["since"] = json!(self.since);
        }
        value
    }

    /// The members as the core knows them.
    pub(super) fn configuration(&self) -> Configuration {
        let ids = |are_voters| {
            let members = self.members.values().filter(move |one| one.is_voter == are_voters);
            members.map(Member::node_id)
        };
        Configuration::new(ids(true), ids(false))
    }

    /// How many count.
    pub(super) fn voters(&self) -> usize {
        self.members.values().filter(|member| member.is_voter).count()
    }
}

impl Member {
    /// What the core calls it.
    pub(super) fn node_id(&self) -> NodeId {
        format!("{}/{}", self.id, self.incarnation)
    }
}

/// The id that people know of a node that the core calls `node`.
pub(super) fn id_of(node: &str) -> &str {
    node.rsplit_once('/').map_or(node, |(id, _)| id)
}

/// Whether a text is host:port, without scheme or path, as others can call it.
pub(super) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_strange = |letter: char| letter == '/' || letter.is_whitespace() || letter.is_control();
    let is_whole = text.len() <= NAME_BYTES_MAX && !host.is_empty() && !host.contains(is_strange);
    is_whole && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A member as entries and calls hold it.
pub(super) fn member_to_json(member: &Member) -> Value {
    let mut value = json!({
        "id": member.id,
        "incarnation": member.incarnation,
        "raft": member.raft_address,
        "http": member.http_address,
        "voter": member.is_voter,
    });
    if member.is_joining {
        value["joining"] = json!(true);
    }
    value
}

/// Reads what [`member_to_json`] wrote. Without an incarnation it was written before there were
/// any, by a node that was alone.
pub(super) fn member_from_json(value: &Value) -> Option<Member> {
    let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let incarnation = match value.get("incarnation") {
        None => String::new(),
        Some(name) => name.as_str().filter(|name| !name.contains('/'))?.to_owned(),
    };
    Some(Member {
        id: text("id")?,
        incarnation,
        raft_address: text("raft")?,
        http_address: text("http")?,
        is_voter: value.get("voter")?.as_bool()?,
        is_joining: value.get("joining").map_or(Some(false), Value::as_bool)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let voter = Member {
            id: "node/\"1\"".to_owned(),
            incarnation: "c0ffee".to_owned(),
            raft_address: "localhost:4002".to_owned(),
            http_address: "localhost:4001".to_owned(),
            is_voter: true,
            is_joining: false,
        };
        let learner =
            Member { id: "2".to_owned(), is_voter: false, is_joining: true, ..voter.clone() };
        let mut membership = Membership::alone("c".to_owned(), voter.clone());
        membership.members.insert(learner.id.clone(), learner.clone());
        for since in [0, 7] {
            membership.since = since;
            assert_eq!(
                Membership::decode(membership.encode().as_bytes()).as_ref(),
                Some(&membership)
            );
        }
        assert_eq!(membership.configuration().voters().iter().next(), Some(&voter.node_id()));
        assert_eq!((id_of(&voter.node_id()), membership.voters()), (voter.id.as_str(), 1));
        for text in [
            "garbage",
            "{\"cluster\":\"x\"}",
            &"{\"cluster\":\"x\",\"members\":[M,M]}"
                .replace('M', &member_to_json(&voter).to_string()),
        ] {
            assert_eq!(Membership::decode(text.as_bytes()), None, "{text}");
        }
        let old =
            br#"{"cluster":"c","members":[{"id":"1","raft":"a:2","http":"a:1","voter":true}]}"#;
        assert_eq!(Membership::decode(old).unwrap().members["1"].node_id(), "1/");
    }
}
