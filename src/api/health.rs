//! `/readyz`: whether this node can do its work, as lines for people and a status for probes.
//!
//! The checks run in the order in which each depends on the one before, and end at the first
//! that fails. Nothing here changes anything.

use super::params::{Flag, Params};
use super::{Api, reply};
use crate::http::{Content, Reply, Request};

/// Answers 200 when all is well, else 503; either way with what was found.
pub(super) fn readyz(api: &Api, _: &mut Request<'_>, params: &Params) -> Reply {
    let mut report = vec!["[+]node ok".to_owned()];
    let is_ready = params.has(Flag::NoLeader) || check(api, params, &mut report);
    let mut reply = reply::empty(if is_ready { 200 } else { 503 });
    reply.content = Content::Bytes(report.join("\n").into_bytes());
    reply
}

/// Adds a line a check; false when one failed, which is then the last line.
fn check(api: &Api, params: &Params, report: &mut Vec<String>) -> bool {
    match api.reach_leader(params.timeout) {
        None => {
            report.push("[+]leader does not exist".to_owned());
            return false;
        }
        Some(Err(why)) => {
            report.push(format!("[+]leader not contactable: {why}"));
            return false;
        }
        Some(Ok(())) => {}
    }
    report.push("[+]leader ok".to_owned());
    if !api.node.is_caught_up() {
        report.push("[+]store not ready".to_owned());
        return false;
    }
    if let Some(fault) = api.node.fault() {
        report.push(format!("[+]store not ready: {fault}"));
        return false;
    }
    report.push("[+]store ok".to_owned());
    if params.has(Flag::Sync) {
        if let Err(why) = api.node.wait_applied(params.timeout) {
            report.push(format!("[+]sync {why}"));
            return false;
        }
        report.push("[+]sync ok".to_owned());
    }
    if let Err(why) = api.node.probe_database() {
        report.push(format!("[+]db not ok: ({why}, [])"));
        return false;
    }
    report.push("[+]db ok".to_owned());
    true
}
