//! What other nodes say of themselves when they are asked.
//!
//! A node that does not answer soon is unreachable for now, and that is an answer too: nobody is
//! waited for longer than [`ASK_MAX`]. All are asked at once.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Api, RQLITE_VERSION, VERSION};
use crate::node::{Cluster, Member};

/// Longest wait for a node that is asked how it is.
const ASK_MAX: Duration = Duration::from_secs(1);

/// How a member is.
pub(super) struct Health {
    /// What it runs; when it was not reached, why not.
    pub(super) version: Result<String, String>,
    /// How long that took.
    pub(super) time: Duration,
}

impl Api {
    /// What this node answers when another asks how it is.
    pub fn node_info(&self) -> Value {
        json!({
            "version": RQLITE_VERSION,
            "quorlite_version": VERSION,
            "http": self.settings.http_address,
        })
    }

    /// How these members are, by id, within `timeout`.
    pub(super) fn ask_members<'m>(
        &self,
        members: &[&'m Member],
        cluster: &Cluster,
        timeout: Duration,
    ) -> BTreeMap<&'m str, Health> {
        let timeout = timeout.min(ASK_MAX);
        let ask =
            |member: &'m Member| (member.id.as_str(), self.ask_member(member, cluster, timeout));
        if let [member] = members {
            return BTreeMap::from([ask(member)]);
        }
        thread::scope(|scope| {
            let asked: Vec<_> =
                members.iter().map(|member| scope.spawn(move || ask(member))).collect();
            asked.into_iter().filter_map(|asked| asked.join().ok()).collect()
        })
    }

    /// Whether this member answers within `timeout`. This node has reached itself.
    fn ask_member(&self, member: &Member, cluster: &Cluster, timeout: Duration) -> Health {
        let began = Instant::now();
        let version = if member.id == cluster.id {
            Ok(RQLITE_VERSION.to_owned())
        } else {
            let forwarder = &self.remote.forwarder;
            let answer = forwarder.ask(&member.raft_address, "info", &json!({}), timeout);
            answer.and_then(|info| version(&info, &member.id))
        };
        Health { version, time: began.elapsed() }
    }

    /// Whether the leader can be called; `None` when there is none.
    pub(super) fn reach_leader(&self, timeout: Duration) -> Option<Result<(), String>> {
        let cluster = self.node.cluster();
        if cluster.leader.as_ref() == Some(&cluster.id) {
            return Some(Ok(()));
        }
        let leader = cluster.leader()?;
        let health = self.ask_member(leader, &cluster, timeout.min(ASK_MAX));
        Some(health.version.map(drop))
    }
}

/// The version in what a node says of itself, if it is the one that was called.
fn version(info: &Value, id: &str) -> Result<String, String> {
    match info["member"]["id"].as_str() {
        Some(other) if other != id => Err(format!("node {other} answers there")),
        Some(_) | None => Ok(info["version"].as_str().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_reached_when_it_is_the_one_that_answers() {
        let info = json!({ "member": { "id": "2" }, "version": "10" });
        assert_eq!(version(&info, "2").as_deref(), Ok("10"));
        assert_eq!(version(&info, "3").unwrap_err(), "node 2 answers there");
        assert_eq!(version(&json!({ "version": "10" }), "3").as_deref(), Ok("10"));
    }
}
