//! `remove`, `stepdown`, `snapshot`: what a node is told to do.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fetch;
use crate::client::Session;
use crate::client::connection::{Body, Call, Effect, Patience};
use crate::client::failure::{Failure, Status};

/// Asks who there is; nodes that are down are not waited for.
const MEMBERS: &str = "nodes?ver=2&nonvoters&timeout=1s";

/// Longest time until a follower hears of a new leader: an election and a heartbeat take a second
/// or two.
const HEARD_MAX: Duration = Duration::from_secs(10);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Remove {
    /// The node's id, as `quorlite nodes --all` shows it
    #[arg(value_name = "NODE_ID")]
    id: String,
}

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Stepdown {
    /// The node that is to lead [default: any]
    #[arg(value_name = "NODE_ID")]
    id: Option<String>,
    /// End when another node leads
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Snapshot {
    /// Entries of the log to keep [default: 0]
    #[arg(long, value_name = "N", value_parser = read_count)]
    trailing_logs: Option<u64>,
}

impl Remove {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        // Servers answer that a node they never had is gone now. A misspelt id is an error here.
        match fetch(&mut session.client, MEMBERS) {
            Ok(members) if !has_member(&members, &self.id) => {
                let text =
                    format!("the cluster has no node {} (see quorlite nodes --all)", self.id);
                return Err(Failure::refused(text));
            }
            // Who may remove need not be allowed to look.
            Err(failure) if failure.status != Status::Unauthorised => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        order(session, "DELETE", "remove", &json!({ "id": self.id }), Effect::Some)
    }
}

impl Stepdown {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let target = if self.wait { "leader?wait" } else { "leader" };
        let body = self.id.as_ref().map_or_else(|| json!({}), |id| json!({ "id": id }));
        let before = if self.wait { leader(session)? } else { None };
        order(session, "POST", target, &body, Effect::Some)?;
        match before {
            Some(before) => self.wait_for_other(session, &before),
            None => Ok(()),
        }
    }

    /// Looks until the node in use knows of the new leader: it may hear of it later than others.
    fn wait_for_other(&self, session: &mut Session, before: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let time = session.client.settings().timeout.min(HEARD_MAX);
        loop {
            match leader(session) {
                Ok(None) => return Ok(()),
                Ok(Some(now)) => match &self.id {
                    Some(wanted) if now == *wanted => return Ok(()),
                    None if now != before => return Ok(()),
                    Some(_) | None => {}
                },
                Err(failure) if failure.status == Status::NotReady => {}
                Err(failure) => return Err(failure),
            }
            if began.elapsed() >= time {
                let text = "it was taken, but nobody else leads yet (see quorlite leader)";
                return Err(Failure::new(Status::NotReady, text));
            }
            sleep(LOOK_EVERY);
        }
    }
}

/// Who leads; `None` when this user may not know.
fn leader(session: &mut Session) -> Result<Option<String>, Failure> {
    match fetch(&mut session.client, "leader") {
        Ok(leader) => {
            leader["id"].as_str().map(|id| Some(id.to_owned())).ok_or_else(Failure::not_of_this_api)
        }
        Err(failure) if failure.status == Status::Unauthorised => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl Snapshot {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let target = self.trailing_logs.map_or_else(
            || "snapshot".to_owned(),
            |count| format!("snapshot?trailing_logs={count}"),
        );
        let answer = session.client.send(Call {
            method: "POST",
            target: &target,
            headers: &[],
            body: Body::Empty,
            effect: Effect::None,
            patience: Patience::Whole,
        })?;
        if answer.status == 204 {
            session.terminal.remark("the log has nothing to cut");
        }
        answer.successful().map(drop)
    }
}

fn order(
    session: &mut Session,
    method: &'static str,
    target: &str,
    body: &Value,
    effect: Effect,
) -> Result<(), Failure> {
    let (body, patience) = (body.to_string(), Patience::Whole);
    let body = Body::Json(body.as_bytes());
    session
        .client
        .send(Call { method, target, headers: &[], body, effect, patience })?
        .successful()?;
    Ok(())
}

fn read_count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "not a number of entries such as 1000".to_owned())
}

fn has_member(members: &Value, id: &str) -> bool {
    members["nodes"].as_array().is_none_or(|nodes| nodes.iter().any(|node| node["id"] == id))
}
