//! `/status`: a picture of the node, under rqlite's names where they mean the same.
//!
//! Keys that rqlite has and that have no meaning here are left out rather than filled with
//! something made up. Ours are `store.quorlite` and `http.routes`.

use std::process;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cluster::json_reply;
use super::params::Params;
use super::routes::ROUTES;
use super::{Api, RQLITE_VERSION, VERSION, dates, metrics, reply};
use crate::duration;
use crate::http::{Reply, Request};
use crate::node::{DatabaseStatus, Status};
use crate::os;

/// Longest wait for a leader that is asked whether it is there.
const LEADER_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers the whole tree, or what `key` points at.
pub(super) fn status(api: &Api, _: &mut Request<'_>, params: &Params) -> Reply {
    let tree = tree(api);
    match &params.key {
        None => json_reply(&tree, params),
        Some(key) => reply::bytes(select(&tree, key).to_string().into_bytes()),
    }
}

/// What a dotted path points at; an empty object when it points nowhere.
fn select(tree: &Value, key: &str) -> Value {
    let mut found = Some(tree);
    for name in key.split('.') {
        found = found.and_then(|value| value.get(name));
    }
    found.cloned().unwrap_or_else(|| json!({}))
}

fn tree(api: &Api) -> Value {
    let status = api.node.status();
    let mut tree = Map::new();
    let mut put = |name: &str, value: Value| drop(tree.insert(name.to_owned(), value));
    put("build", json!({ "version": RQLITE_VERSION, "quorlite_version": VERSION }));
    put("cluster", cluster(api, &status));
    put("extensions", json!({ "dir": "", "names": [] }));
    put("http", http(api));
    put("node", node(api));
    put("os", operating_system());
    put("runtime", runtime());
    put("store", store(api, &status));
    let last_backup = api.last_backup.load(Ordering::Relaxed);
    if last_backup != 0 {
        put("last_backup_time", json!(moment(Duration::from_millis(last_backup))));
    }
    Value::Object(tree)
}

fn cluster(api: &Api, status: &Status) -> Value {
    json!({
        "addr": raft_address(status, &status.cluster.id),
        "api_addr": api.settings.http_address,
        "https": "false",
    })
}

fn http(api: &Api) -> Value {
    let (queue, sequence_number) = api.queue.state();
    let mut http = json!({
        "auth": "disabled",
        "bind_addr": api.settings.http_bind_address,
        "queue": { "_default": {
            "batch_size": queue.batch_size,
            "max_size": queue.capacity,
            "sequence_number": sequence_number,
            "timeout": duration::print(queue.timeout),
        }},
        "routes": ROUTES.iter().map(|route| json!({
            "method": route.method.as_str(),
            "path": route.path.text(),
            "permissions": route.permission.names(),
        })).collect::<Vec<_>>(),
        "tls": { "enabled": "false" },
    });
    if let Some(origin) = &api.settings.allow_origin {
        http["allow_origin"] = json!(origin);
    }
    http
}

fn node(api: &Api) -> Value {
    json!({
        "current_time": moment(os::wall_clock()),
        "start_time": moment(api.started_wall),
        "uptime": duration::print(api.started.elapsed()),
    })
}

fn operating_system() -> Value {
    let path = std::env::current_exe().ok();
    json!({
        "executable": path.map(|path| path.display().to_string()).unwrap_or_default(),
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "page_size": rustix::param::page_size(),
        "pid": process::id(),
        "ppid": std::os::unix::process::parent_id(),
    })
}

fn runtime() -> Value {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "GOARCH": match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        "GOMAXPROCS": processors,
        "GOOS": std::env::consts::OS,
        "num_cpu": processors,
        "version": "rust",
        "resident_bytes": metrics::resident_bytes(),
    })
}

fn store(api: &Api, status: &Status) -> Value {
    // Whoever reads of a leader here finds that /readyz agrees.
    let leader = status.cluster.leader.as_deref();
    let leader = leader.filter(|_| matches!(api.reach_leader(LEADER_TIMEOUT), Some(Ok(()))));
    let leader = leader.unwrap_or_default();
    let mut store = json!({
        "addr": raft_address(status, &status.cluster.id),
        "apply_timeout": duration::print(api.settings.apply_timeout),
        "db_applied_index": status.applied.index,
        "db_conf": { "fk_constraints": status.database.foreign_keys },
        "dir": status.directory,
        "dir_size": status.directory_bytes,
        "dir_size_friendly": friendly(status.directory_bytes),
        "fsm_index": status.applied.index,
        "fsm_term": status.applied.term,
        "fsm_update_time": unix_moment(status.applied_unix_milliseconds),
        "leader": { "addr": raft_address(status, leader), "node_id": leader },
        "node_id": status.cluster.id,
        "nodes": status.cluster.members.values().map(|member| json!({
            "id": member.id,
            "addr": member.raft_address,
            "suffrage": suffrage(member.is_voter),
        })).collect::<Vec<_>>(),
        "open": true,
        "quorlite": quorlite(status),
        "raft": raft(api, status),
        "ready": status.is_caught_up && status.fault.is_none(),
        "snapshot_store": snapshot_store(status),
        "sqlite3": sqlite3(&status.database),
    });
    for (name, value) in &api.settings.store {
        store[*name] = value.clone();
    }
    store
}

/// What rqlite has no name for.
fn quorlite(status: &Status) -> Value {
    json!({
        "fault": status.fault,
        "caught_up": status.is_caught_up,
        "log_start_index": status.log_start.index,
        "log_start_term": status.log_start.term,
        "readers": {
            "open": status.database.readers_open,
            "busy": status.database.readers_busy,
        },
        "backups": {
            "running": status.backups.running,
            "ended": status.backups.ended,
            "oldest_age": duration::print(status.backups.oldest_age),
            "wal_bytes_max": status.backups.wal_bytes_max,
            "age_max": duration::print(status.backups.age_max),
            "free_bytes_min": status.backups.free_bytes_min,
        },
    })
}

fn raft(api: &Api, status: &Status) -> Value {
    let is_voter = status.cluster.own().is_some_and(|member| member.is_voter);
    let configuration: Vec<String> = status
        .cluster
        .members
        .values()
        .map(|member| {
            let suffrage = if member.is_voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.id, member.raft_address)
        })
        .collect();
    json!({
        "applied_index": status.applied.index,
        "commit_index": status.commit_index,
        "fsm_pending": status.commit_index.saturating_sub(status.applied.index),
        "last_log_index": status.last.index,
        "last_log_term": status.last.term,
        "last_snapshot_index": status.checkpoint.index,
        "last_snapshot_term": status.checkpoint.term,
        "latest_configuration": format!("[{}]", configuration.join(" ")),
        "latest_configuration_index": status.membership_index,
        "log_size": status.log_bytes,
        "log_size_friendly": friendly(status.log_bytes),
        "num_peers": status.cluster.members.len().saturating_sub(1),
        "peers": peers(api),
        "state": status.role,
        "term": status.term,
        "voter": is_voter,
    })
}

/// How the other members are doing, by id.
fn peers(api: &Api) -> Value {
    let peers = api.node.peers().into_iter().map(|peer| {
        let link = peer.link;
        let mut value = json!({
            "addr": link.address,
            "appends": link.appends,
            "bodies_waiting": link.bodies_waiting,
            "bytes_sent": link.bytes_sent,
            "dropped": link.dropped,
            "failures": link.failures,
            "messages": link.messages,
            "reachable": link.is_reachable.unwrap_or(false),
        });
        if let Some(index) = peer.matched {
            value["match_index"] = json!(index);
        }
        if let Some(silence) = link.last_contact {
            value["last_contact"] = json!(duration::print(silence));
        }
        if let Some(error) = link.last_error {
            value["last_error"] = json!(error);
        }
        if let Some((sent, bytes)) = link.snapshot {
            value["snapshot"] = json!({ "sent": sent, "bytes": bytes });
        }
        (peer.id, value)
    });
    Value::Object(peers.collect())
}

/// The database file is the snapshot: there is one as soon as there was a checkpoint.
fn snapshot_store(status: &Status) -> Value {
    let name = format!("{}-{}", status.checkpoint.term, status.checkpoint.index);
    let snapshots = if status.checkpoint.index == 0 { vec![] } else { vec![name] };
    json!({
        "dir": status.directory,
        "dir_size": status.database.bytes,
        "snapshots": snapshots,
    })
}

fn sqlite3(database: &DatabaseStatus) -> Value {
    json!({
        "compile_options": database.compile_options,
        "db_size": database.bytes,
        "db_size_friendly": friendly(database.bytes),
        "extensions": [],
        "last_modified": unix_moment(database.modified_unix_milliseconds),
        "mem_stats": {
            "freelist_count": database.freelist_count,
            "page_count": database.page_count,
            "page_size": database.page_size,
        },
        "path": database.path,
        "pragmas": { "ro": database.reader_pragmas, "rw": database.writer_pragmas },
        "size": database.page_size.saturating_mul(database.page_count),
        "version": database.version,
        "wal_size": database.wal_bytes,
    })
}

fn raft_address<'s>(status: &'s Status, id: &str) -> &'s str {
    status.cluster.members.get(id).map_or("", |member| member.raft_address.as_str())
}

fn suffrage(is_voter: bool) -> &'static str {
    if is_voter { "voter" } else { "nonvoter" }
}

fn moment(since_1970: Duration) -> String {
    let nanoseconds = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX);
    dates::from_nanoseconds(nanoseconds).unwrap_or_default()
}

fn unix_moment(milliseconds: i64) -> String {
    dates::from_nanoseconds(i128::from(milliseconds) * 1_000_000).unwrap_or_default()
}

/// Bytes as people read them, in powers of 1024: `4.2 MB`.
fn friendly(bytes: u64) -> String {
    const UNITS: &[&str] = &["KB", "MB", "GB", "TB"];
    let mut unit = "B";
    let mut tenths = bytes.saturating_mul(10);
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_selects_a_part_of_the_tree() {
        let tree = json!({ "store": { "raft": { "state": "Leader" } }, "n": 1 });
        assert_eq!(select(&tree, "store.raft.state").to_string(), "\"Leader\"");
        assert_eq!(select(&tree, "store.raft").to_string(), r#"{"state":"Leader"}"#);
        assert_eq!(select(&tree, "n").to_string(), "1");
        for key in ["", "nothing", "store.nothing.more", "n.x", "store."] {
            assert_eq!(select(&tree, key).to_string(), "{}", "{key}");
        }
    }

    #[test]
    fn sizes_are_friendly() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KB"),
            (1536, "1.5 KB"),
            (4_400_000, "4.1 MB"),
            (u64::MAX, "1677721.5 TB"),
        ] {
            assert_eq!(friendly(bytes), text);
        }
    }
}
