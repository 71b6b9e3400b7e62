//! `/nodes`, `/leader`, `/remove`, `/snapshot`, `/reap`: the members and the log.
//!
//! What is asked of the cluster is decided by the node; this file only words it. What only the
//! leader can do is done by it, whoever was asked.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::json::indent;
use super::params::{Flag, Params};
use super::peers::Health;
use super::remote::{Carried, Task};
use super::{Api, body, reply};
use crate::duration;
use crate::http::{Reply, Request};
use crate::node::{Cluster, Member, MemberError};
use crate::stats::{self, Stat};

/// Time between two looks at whether leadership has been handed over.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Answers the members, by id or as a list, after asking each how it is.
pub(super) fn nodes(api: &Api, _: &mut Request<'_>, params: &Params) -> Reply {
    let cluster = api.node.cluster();
    let is_shown = |member: &&Member| member.is_voter || params.has(Flag::NonVoters);
    let shown: Vec<&Member> = cluster.members.values().filter(is_shown).collect();
    let health = api.ask_members(&shown, &cluster, params.timeout);
    let described = shown.into_iter().map(|member| {
        let health = health.get(member.id.as_str());
        (member.id.clone(), describe(member, &cluster, health))
    });
    let answer = if params.wants_node_list {
        json!({ "nodes": described.map(|(_, node)| node).collect::<Vec<_>>() })
    } else {
        Value::Object(described.collect())
    };
    json_reply(&answer, params)
}

/// Answers who leads.
pub(super) fn leader(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let cluster = api.node.cluster();
    let is_elsewhere = cluster.leader.as_ref() != Some(&cluster.id);
    let Some(leader) = cluster.leader().filter(|_| !(is_elsewhere && params.has(Flag::Redirect)))
    else {
        return api.not_leader(request, params);
    };
    let health = api.ask_members(&[leader], &cluster, params.timeout);
    json_reply(&describe(leader, &cluster, health.get(leader.id.as_str())), params)
}

/// Hands leadership to the member that the body names, or to any.
pub(super) fn step_down(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let body = match body::read_small(request) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Some(answer) = api.elsewhere(request, params, Carried::AsSent(&body), Task::Small) {
        return answer;
    }
    let is_json = request.header("Content-Type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    let mut target = String::new();
    if is_json {
        match target_of(&body) {
            Ok(id) => target = id,
            Err(why) => return reply::text(400, &why),
        }
    }
    match api.node.step_down(Some(target.as_str()).filter(|id| !id.is_empty())) {
        Ok(()) if params.has(Flag::Wait) && !is_handed_over(api, params.timeout) => {
            reply::text(500, "stepdown: nobody else leads yet")
        }
        Ok(()) => reply::empty(200),
        Err(MemberError::Refused(why) | MemberError::Unknown(why)) => {
            reply::text(500, &format!("stepdown: {why}"))
        }
        Err(error @ MemberError::NotLeader) => api.fail(error.into(), request, params),
    }
}

/// Removes the member that the body names.
pub(super) fn remove(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let body = match body::read_small(request) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Some(answer) = api.elsewhere(request, params, Carried::AsSent(&body), Task::Small) {
        return answer;
    }
    let Some(id) = only_id(&body) else { return reply::empty(400) };
    match api.node.remove(&id) {
        Ok(()) => api.served(reply::empty(200)),
        Err(error) => api.fail(error.into(), request, params),
    }
}

/// Makes a checkpoint and shortens the log.
pub(super) fn snapshot(api: &Api, _: &mut Request<'_>, params: &Params) -> Reply {
    match api.node.checkpoint(params.trailing_logs) {
        Ok(true) => {
            stats::add(Stat::NumUserSnapshots, 1);
            reply::empty(200)
        }
        Ok(false) => reply::empty(204),
        Err(why) => {
            stats::add(Stat::NumUserSnapshotsFailed, 1);
            reply::text(500, &why)
        }
    }
}

/// Answers that nothing was reaped: the database file is the only snapshot, there are no stored
/// ones to put together.
pub(super) fn reap(_: &Api, _: &mut Request<'_>, _: &Params) -> Reply {
    reply::bytes(b"{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n".to_vec())
}

/// Whether another node leads within `timeout`.
fn is_handed_over(api: &Api, timeout: Duration) -> bool {
    let began = Instant::now();
    loop {
        let cluster = api.node.cluster();
        if cluster.leader.is_some_and(|leader| leader != cluster.id) {
            return true;
        }
        if began.elapsed() >= timeout {
            return false;
        }
        sleep(LOOK_EVERY);
    }
}

/// A member as clients know it.
fn describe(member: &Member, cluster: &Cluster, health: Option<&Health>) -> Value {
    let leads = cluster.leader.as_ref() == Some(&member.id);
    let unasked = Err("not asked".to_owned());
    let version = health.map_or(&unasked, |health| &health.version);
    let time = health.map_or(Duration::ZERO, |health| health.time);
    let mut fields = Map::new();
    if !member.http_address.is_empty() {
        fields.insert("api_addr".to_owned(), json!(format!("http://{}", member.http_address)));
    }
    fields.insert("id".to_owned(), json!(member.id));
    fields.insert("addr".to_owned(), json!(member.raft_address));
    fields.insert("version".to_owned(), json!(version.as_deref().unwrap_or_default()));
    fields.insert("voter".to_owned(), json!(member.is_voter));
    fields.insert("reachable".to_owned(), json!(version.is_ok()));
    fields.insert("leader".to_owned(), json!(leads));
    fields.insert("time".to_owned(), json!(time.as_secs_f64()));
    fields.insert("time_s".to_owned(), json!(duration::print(time)));
    if let Err(why) = version {
        fields.insert("error".to_owned(), json!(why));
    }
    Value::Object(fields)
}

/// The `id` of `{"id":"..."}`, empty when there is none.
fn target_of(body: &[u8]) -> Result<String, String> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| match not_json(body) {
            Some(first) => {
                format!("invalid JSON: invalid character '{first}' looking for beginning of value")
            }
            None => format!("invalid JSON: {error}"),
        })?;
    match fields.get("id") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(id)) => Ok(id.clone()),
        Some(_) => Err("invalid JSON: id is not a string".to_owned()),
    }
}

/// The first character of a body, if no JSON begins with it.
fn not_json(body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?;
    let is_start = |c: char| matches!(c, '{' | '[' | '"' | '-' | '0'..='9' | 't' | 'f' | 'n');
    text.trim_start().chars().next().filter(|first| !is_start(*first))
}

/// The id in a body that holds nothing else.
fn only_id(body: &[u8]) -> Option<String> {
    let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    if fields.len() != 1 {
        return None;
    }
    fields.get("id")?.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
}

/// 200 with JSON, indented where asked for.
pub(super) fn json_reply(value: &Value, params: &Params) -> Reply {
    let compact = value.to_string().into_bytes();
    reply::bytes(if params.has(Flag::Pretty) { indent(&compact) } else { compact })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_takes_one_id_and_nothing_else() {
        assert_eq!(only_id(br#"{"id":"n1"}"#).as_deref(), Some("n1"));
        let bad: [&[u8]; 7] = [
            b"",
            b"{}",
            b"[]",
            br#"{"id":1}"#,
            br#"{"id":""}"#,
            br#"{"id":"a","x":1}"#,
            br#"{"ID":"a"}"#,
        ];
        for body in bad {
            assert_eq!(only_id(body), None);
        }
    }

    #[test]
    fn a_target_may_be_left_out_but_not_misspelt() {
        assert_eq!(target_of(br#"{"id":"n1"}"#).as_deref(), Ok("n1"));
        assert_eq!(target_of(b"{}").as_deref(), Ok(""));
        let go = "invalid JSON: invalid character 'j' looking for beginning of value";
        assert_eq!(target_of(b"junk").unwrap_err(), go);
        assert!(target_of(b"{\"id\"").unwrap_err().starts_with("invalid JSON: "));
        assert!(target_of(br#"{"id":1}"#).is_err());
    }
}
