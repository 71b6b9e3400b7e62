//! Who belongs to the cluster, as the log and the mark hold it.
//!
//! The core knows members by name only; addresses travel in the body of membership entries, as
//! JSON that a person can read in the log:
//!
//! ```json
//! {"cluster":"5f0c...","members":[{"id":"1","raft":"localhost:4002","http":"localhost:4001","voter":true}]}
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::status::Member;
use crate::raft::{Configuration, NodeId};

/// The members of a cluster, and the cluster's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// Drawn at random when the cluster was made: entries of two clusters are never mixed up.
    pub(super) cluster: String,
    /// By name.
    pub(super) members: BTreeMap<NodeId, Member>,
}

impl Membership {
    /// A cluster of one.
    pub(super) fn alone(cluster: String, member: Member) -> Self {
        Self { cluster, members: BTreeMap::from([(member.id.clone(), member)]) }
    }

    /// Reads what [`Membership::encode`] wrote; `None` when it is something else.
    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let text_of = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let mut members = BTreeMap::new();
        for member in value.get("members")?.as_array()? {
            let id = text_of(member, "id")?;
            let member = Member {
                id: id.clone(),
                raft_address: text_of(member, "raft")?,
                http_address: text_of(member, "http")?,
                is_voter: member.get("voter")?.as_bool()?,
            };
            members.insert(id, member);
        }
        Some(Self { cluster: text_of(&value, "cluster")?, members })
    }

    /// The body of a membership entry.
    pub(super) fn encode(&self) -> String {
        let members: Vec<Value> = self
            .members
            .values()
            .map(|member| {
                json!({
                    "id": member.id,
                    "raft": member.raft_address,
                    "http": member.http_address,
                    "voter": member.is_voter,
                })
            })
            .collect();
        json!({ "cluster": self.cluster, "members": members }).to_string()
    }

    /// The members as the core knows them.
    pub(super) fn configuration(&self) -> Configuration {
        let ids = |are_voters| {
            let members = self.members.values().filter(move |one| one.is_voter == are_voters);
            members.map(|member| member.id.clone())
        };
        Configuration::new(ids(true), ids(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let member = Member {
            id: "node \"1\"".to_owned(),
            raft_address: "localhost:4002".to_owned(),
            http_address: "localhost:4001".to_owned(),
            is_voter: true,
        };
        let membership = Membership::alone("c0ffee".to_owned(), member);
        assert_eq!(Membership::decode(membership.encode().as_bytes()), Some(membership));
        assert_eq!(Membership::decode(b"{\"cluster\":\"x\"}"), None);
        assert_eq!(Membership::decode(b"garbage"), None);
    }
}
