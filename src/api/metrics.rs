//! `/debug/vars`, `/metrics` and `/licenses`: counters, gauges and the small print.
//!
//! Counters come from the table in `stats` and from the listener's own, under the same names in
//! both forms; gauges are read from the node when asked for. Nothing is counted here.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::params::Params;
use super::{Api, reply};
use crate::http::{Counters, Reply, Request};
use crate::node::{Cluster, Status};
use crate::stats;

/// The type of Prometheus' text format.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// This program's licence and those of the crates in it, collected from their sources.
const LICENSES: &str = include_str!("licenses.txt");

/// The map of what the listener counts.
const LISTENER: &str = "listener";

/// Answers all counters as maps, in the layout of Go's expvar package.
pub(super) fn vars(api: &Api, _: &mut Request<'_>, params: &Params) -> Reply {
    let mut maps = counters(&api.listener.snapshot());
    maps.insert("cmdline".to_owned(), json!(std::env::args().collect::<Vec<_>>()));
    maps.insert("memstats".to_owned(), json!({ "resident_bytes": resident_bytes() }));
    let lines: Vec<String> = maps
        .iter()
        .filter(|(name, _)| params.key.as_ref().is_none_or(|key| key == *name))
        .map(|(name, map)| format!("{}: {map}", json!(name)))
        .collect();
    reply::bytes(format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes())
}

fn counters(listener: &Counters) -> Map<String, Value> {
    let mut maps = Map::new();
    for (row, value) in stats::snapshot() {
        let map = maps.entry(row.group).or_insert_with(|| json!({}));
        map[row.key] = json!(value);
    }
    let listener = listener.iter().map(|(row, value)| (row.name.to_owned(), json!(value)));
    maps.insert(LISTENER.to_owned(), Value::Object(listener.collect()));
    maps
}

/// Answers counters and gauges in Prometheus' text format.
pub(super) fn metrics(api: &Api, _: &mut Request<'_>, _: &Params) -> Reply {
    let mut text = String::new();
    for (row, value) in stats::snapshot() {
        let name = format!("quorlite_{}_{}_total", row.group, row.key);
        push_metric(&mut text, &name, "counter", row.help, value);
    }
    for (row, value) in api.listener.snapshot().iter() {
        let name = format!("quorlite_{LISTENER}_{}", row.name);
        if row.count.is_gauge() {
            push_metric(&mut text, &name, "gauge", row.help, value);
        } else {
            push_metric(&mut text, &format!("{name}_total"), "counter", row.help, value);
        }
    }
    for (name, help, value) in gauges(&api.node.status(), api) {
        push_metric(&mut text, &format!("quorlite_{name}"), "gauge", help, value);
    }
    reply::bytes(text.into_bytes())
}

fn push_metric(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
        .expect("a String takes everything");
}

fn gauges(status: &Status, api: &Api) -> Vec<(&'static str, &'static str, u64)> {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let Cluster { id, leader, members } = &status.cluster;
    let leads = leader.as_ref() == Some(id);
    vec![
        ("up_seconds", "Seconds since the start.", api.started.elapsed().as_secs()),
        ("resident_bytes", "Memory in use.", resident_bytes()),
        ("raft_is_leader", "1 when this node leads.", u64::from(leads)),
        ("raft_has_leader", "1 when a leader is known.", u64::from(leader.is_some())),
        ("raft_term", "Current term.", status.term),
        ("raft_members", "Members of the cluster.", wide(members.len())),
        ("raft_last_index", "Last entry in the log.", status.last.index),
        ("raft_commit_index", "Last entry committed.", status.commit_index),
        ("raft_applied_index", "Last entry applied.", status.applied.index),
        ("raft_checkpoint_index", "Last entry in the checkpoint.", status.checkpoint.index),
        ("raft_log_bytes", "Bytes of the log.", status.log_bytes),
        ("node_fault", "1 when entries cannot be applied.", u64::from(status.fault.is_some())),
        ("directory_bytes", "Bytes in the data directory.", status.directory_bytes),
        ("database_bytes", "Bytes of the database file.", status.database.bytes),
        ("database_wal_bytes", "Bytes of the WAL.", status.database.wal_bytes),
        ("readers_open", "Read connections.", wide(status.database.readers_open)),
        ("readers_busy", "Read connections in use.", wide(status.database.readers_busy)),
        ("backups_running", "Backups being sent.", wide(status.backups.running)),
    ]
}

/// Answers this program's licence and those of its parts.
pub(super) fn licenses(_: &Api, _: &mut Request<'_>, _: &Params) -> Reply {
    reply::bytes(LICENSES.as_bytes().to_vec())
}

/// Memory of this process that is in RAM; 0 where the system does not tell.
pub(super) fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    pages.unwrap_or(0).saturating_mul(page_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Tally;

    #[test]
    fn the_process_has_some_memory() {
        assert!(resident_bytes() > 1 << 16);
    }

    #[test]
    fn counters_are_grouped_by_map() {
        let maps = counters(&Tally::default().snapshot());
        assert_eq!(maps[LISTENER]["connections_open"], 0);
        assert!(maps["http"]["executions"].is_u64());
        assert!(maps["store"]["num_backups"].is_u64());
    }

    #[test]
    fn a_metric_is_three_lines() {
        let mut text = String::new();
        push_metric(&mut text, "a_total", "counter", "Counts.", 3);
        assert_eq!(text, "# HELP a_total Counts.\n# TYPE a_total counter\na_total 3\n");
    }

    #[test]
    fn licenses_begin_with_our_own() {
        assert!(LICENSES.starts_with("Quorlite"));
        assert!(LICENSES.is_ascii());
        for name in ["rusqlite", "serde_json", "tiny_http"] {
            assert!(LICENSES.contains(name), "{name}");
        }
    }
}
