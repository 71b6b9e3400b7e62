//! Counters of what happened since the start, by name.
//!
//! `/debug/vars` and `/metrics` are read from the one table here. Keys are those of rqlite's
//! expvar maps where they mean the same; `http.all_*` and the group `log` are ours. Counting is
//! one relaxed addition: nothing may take a lock here, and nothing may decide by a counter.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// Backups asked for.
    Backups,
    /// Files sent to /boot.
    Boots,
    /// Digests asked for.
    Digests,
    /// Requests that the leader has answered for this node.
    Forwarded,
    /// Requests that the leader should have answered for this node, and has not.
    ForwardedFailed,
    /// Statements received by /db/execute.
    ExecuteStatements,
    /// Requests to /db/execute that were not queued.
    Executions,
    /// Requests refused because no leader was known.
    LeaderNotFound,
    /// Bodies sent to /db/load.
    Loads,
    /// Requests to /readyz.
    Readyz,
    /// Requests to /status.
    StatusRequests,
    /// Requests to /db/query.
    Queries,
    /// Statements received by /db/query.
    QueryStatements,
    /// Requests queued.
    QueuedExecutions,
    /// Attempts to write a queued batch that failed.
    QueuedFailed,
    /// Failed attempts because this node did not lead.
    QueuedNotLeader,
    /// Statements queued.
    QueuedStatementsIn,
    /// Queued statements written.
    QueuedStatementsOut,
    /// Queued batches written.
    QueuedOk,
    /// Queued batches with an unknown outcome.
    QueuedUnknown,
    /// Queued requests that waited for their batch.
    QueuedWaits,
    /// Queued requests that waited in vain.
    QueuedWaitTimeouts,
    /// Statements received by /db/request.
    RequestStatements,
    /// Requests to /db/request.
    Requests,
    /// Requests to /db/sql.
    Analyses,
    /// Requests to /reap.
    UserReaps,
    /// Requests to /snapshot.
    UserSnapshots,
    /// Requests of any kind.
    AllRequests,
    /// Requests answered with a status of 400 or more.
    Refusals,
    /// Backups begun.
    NumBackups,
    /// Databases replaced by /boot.
    NumBoots,
    /// Databases or scripts loaded by /db/load.
    NumLoads,
    /// Checkpoints made for /snapshot.
    NumUserSnapshots,
    /// Checkpoints for /snapshot that failed.
    NumUserSnapshotsFailed,
    /// Checkpoints completed.
    NumSnapshots,
    /// Checkpoints that failed.
    NumSnapshotsFailed,
    /// Databases replaced by a load.
    NumRestores,
    /// Starts that went on from the database on disk.
    NumRestoresStartSkipped,
    /// VACUUMs by the timetable.
    AutoVacuums,
    /// VACUUMs by the timetable that failed.
    AutoVacuumsFailed,
    /// PRAGMA optimize by the timetable.
    AutoOptimizes,
    /// PRAGMA optimize by the timetable that failed.
    AutoOptimizesFailed,
    /// Changes of leader seen.
    LeaderChanges,
    /// Transactions asked of /db/execute.
    DbExecuteTransactions,
    /// Statements that failed in writes.
    DbExecutionErrors,
    /// Statements run by /db/execute and the queue.
    DbExecutions,
    /// Statements run by /db/query.
    DbQueries,
    /// Statements that failed in reads.
    DbQueryErrors,
    /// Read transactions asked of /db/query.
    DbQueryTransactions,
    /// Transactions asked of /db/request.
    DbRequestTransactions,
    /// Statements run by /db/request.
    DbRequests,
    /// WAL checkpoints run.
    DbCheckpoints,
    /// WAL checkpoints that failed.
    DbCheckpointErrors,
    /// WAL checkpoints that a reader made partial.
    DbCheckpointPartial,
    /// Batches handed on.
    QueueFlushes,
    /// Batches handed on because time was up.
    QueueTimeouts,
    /// Requests put into the queue.
    QueueObjectsIn,
    /// Requests handed on in batches.
    QueueObjectsOut,
    /// Entries appended to the Raft log.
    LogEntries,
    /// Bytes appended to the Raft log.
    LogBytes,
    /// Times the Raft log was synced.
    LogSyncs,
    /// Small messages sent to other nodes.
    TransportMessagesSent,
    /// Appends sent to other nodes.
    TransportAppendsSent,
    /// Snapshots sent to other nodes, complete.
    TransportSnapshotsSent,
    /// Bytes sent to other nodes.
    TransportBytesSent,
    /// Requests to other nodes that did not get through or were refused.
    TransportFailures,
    /// Messages dropped because another node was too slow.
    TransportDropped,
    /// Requests of other nodes that were taken in.
    TransportReceived,
    /// Requests to the address for nodes that were refused.
    TransportRefused,
    /// Detached bodies received, complete.
    TransportBodiesReceived,
    /// Snapshots received, complete.
    TransportSnapshotsReceived,
}

/// How a counter is shown.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub stat: Stat,
    /// The map it is in.
    pub group: &'static str,
    /// Its name there.
    pub key: &'static str,
    /// What it counts, as a sentence.
    pub help: &'static str,
}

const fn row(stat: Stat, group: &'static str, key: &'static str, help: &'static str) -> Row {
    Row { stat, group, key, help }
}

/// All counters, in the order of [`Stat`], each group in one run.
pub const TABLE: [Row; 71] = [
    row(Stat::Backups, "http", "backups", "Backups asked for."),
    row(Stat::Boots, "http", "boot", "Files sent to /boot."),
    row(Stat::Digests, "http", "digests", "Digests asked for."),
    row(
        Stat::Forwarded,
        "http",
        "forwarded",
        "Requests that the leader has answered for this node.",
    ),
    row(
        Stat::ForwardedFailed,
        "http",
        "forwarded_failed",
        "Requests that the leader should have answered for this node, and has not.",
    ),
    row(Stat::ExecuteStatements, "http", "execute_stmts_rx", "Statements received by /db/execute."),
    row(Stat::Executions, "http", "executions", "Requests to /db/execute that were not queued."),
    row(
        Stat::LeaderNotFound,
        "http",
        "leader_not_found",
        "Requests refused because no leader was known.",
    ),
    row(Stat::Loads, "http", "loads", "Bodies sent to /db/load."),
    row(Stat::Readyz, "http", "num_readyz", "Requests to /readyz."),
    row(Stat::StatusRequests, "http", "num_status", "Requests to /status."),
    row(Stat::Queries, "http", "queries", "Requests to /db/query."),
    row(Stat::QueryStatements, "http", "query_stmts_rx", "Statements received by /db/query."),
    row(Stat::QueuedExecutions, "http", "queued_executions", "Requests queued."),
    row(
        Stat::QueuedFailed,
        "http",
        "queued_executions_failed",
        "Attempts to write a queued batch that failed.",
    ),
    row(
        Stat::QueuedNotLeader,
        "http",
        "queued_executions_not_leader",
        "Failed attempts because this node did not lead.",
    ),
    row(Stat::QueuedStatementsIn, "http", "queued_executions_num_stmts_rx", "Statements queued."),
    row(
        Stat::QueuedStatementsOut,
        "http",
        "queued_executions_num_stmts_tx",
        "Queued statements written.",
    ),
    row(Stat::QueuedOk, "http", "queued_executions_ok", "Queued batches written."),
    row(
        Stat::QueuedUnknown,
        "http",
        "queued_executions_unknown_error",
        "Queued batches with an unknown outcome.",
    ),
    row(
        Stat::QueuedWaits,
        "http",
        "queued_executions_wait",
        "Queued requests that waited for their batch.",
    ),
    row(
        Stat::QueuedWaitTimeouts,
        "http",
        "queued_executions_wait_timeout",
        "Queued requests that waited in vain.",
    ),
    row(Stat::RequestStatements, "http", "request_stmts_rx", "Statements received by /db/request."),
    row(Stat::Requests, "http", "requests", "Requests to /db/request."),
    row(Stat::Analyses, "http", "sql_analyze", "Requests to /db/sql."),
    row(Stat::UserReaps, "http", "user_reaps", "Requests to /reap."),
    row(Stat::UserSnapshots, "http", "user_snapshots", "Requests to /snapshot."),
    row(Stat::AllRequests, "http", "all_requests", "Requests of any kind."),
    row(Stat::Refusals, "http", "all_refusals", "Requests answered with a status of 400 or more."),
    row(Stat::NumBackups, "store", "num_backups", "Backups begun."),
    row(Stat::NumBoots, "store", "num_boots", "Databases replaced by /boot."),
    row(Stat::NumLoads, "store", "num_loads", "Databases or scripts loaded by /db/load."),
    row(Stat::NumUserSnapshots, "store", "num_user_snapshots", "Checkpoints made for /snapshot."),
    row(
        Stat::NumUserSnapshotsFailed,
        "store",
        "num_user_snapshots_failed",
        "Checkpoints for /snapshot that failed.",
    ),
    row(Stat::NumSnapshots, "store", "num_snapshots", "Checkpoints completed."),
    row(Stat::NumSnapshotsFailed, "store", "num_snapshots_failed", "Checkpoints that failed."),
    row(Stat::NumRestores, "store", "num_restores", "Databases replaced by a load."),
    row(
        Stat::NumRestoresStartSkipped,
        "store",
        "num_restores_start_skipped",
        "Starts that went on from the database on disk.",
    ),
    row(Stat::AutoVacuums, "store", "num_auto_vacuums", "VACUUMs by the timetable."),
    row(
        Stat::AutoVacuumsFailed,
        "store",
        "num_auto_vacuums_failed",
        "VACUUMs by the timetable that failed.",
    ),
    row(
        Stat::AutoOptimizes,
        "store",
        "num_auto_optimizes",
        "Runs of PRAGMA optimize by the timetable.",
    ),
    row(
        Stat::AutoOptimizesFailed,
        "store",
        "num_auto_optimizes_failed",
        "Runs of PRAGMA optimize by the timetable that failed.",
    ),
    row(Stat::LeaderChanges, "store", "leader_changes_observed", "Changes of leader seen."),
    row(
        Stat::DbExecuteTransactions,
        "db",
        "execute_transactions",
        "Transactions asked of /db/execute.",
    ),
    row(Stat::DbExecutionErrors, "db", "execution_errors", "Statements that failed in writes."),
    row(Stat::DbExecutions, "db", "executions", "Statements run by /db/execute and the queue."),
    row(Stat::DbQueries, "db", "queries", "Statements run by /db/query."),
    row(Stat::DbQueryErrors, "db", "query_errors", "Statements that failed in reads."),
    row(
        Stat::DbQueryTransactions,
        "db",
        "query_transactions",
        "Read transactions asked of /db/query.",
    ),
    row(
        Stat::DbRequestTransactions,
        "db",
        "request_transactions",
        "Transactions asked of /db/request.",
    ),
    row(Stat::DbRequests, "db", "requests", "Statements run by /db/request."),
    row(Stat::DbCheckpoints, "db", "checkpoints", "WAL checkpoints run."),
    row(Stat::DbCheckpointErrors, "db", "checkpoint_errors", "WAL checkpoints that failed."),
    row(
        Stat::DbCheckpointPartial,
        "db",
        "checkpoint_partial",
        "WAL checkpoints that a reader made partial.",
    ),
    row(Stat::QueueFlushes, "queue", "num_flush", "Batches handed on."),
    row(Stat::QueueTimeouts, "queue", "num_timeout", "Batches handed on because time was up."),
    row(Stat::QueueObjectsIn, "queue", "objects_rx", "Requests put into the queue."),
    row(Stat::QueueObjectsOut, "queue", "objects_tx", "Requests handed on in batches."),
    row(Stat::LogEntries, "log", "entries", "Entries appended to the Raft log."),
    row(Stat::LogBytes, "log", "bytes", "Bytes appended to the Raft log."),
    row(Stat::LogSyncs, "log", "syncs", "Times the Raft log was synced."),
    row(
        Stat::TransportMessagesSent,
        "transport",
        "messages_sent",
        "Small messages sent to other nodes.",
    ),
    row(Stat::TransportAppendsSent, "transport", "appends_sent", "Appends sent to other nodes."),
    row(
        Stat::TransportSnapshotsSent,
        "transport",
        "snapshots_sent",
        "Snapshots sent to other nodes, complete.",
    ),
    row(Stat::TransportBytesSent, "transport", "bytes_sent", "Bytes sent to other nodes."),
    row(
        Stat::TransportFailures,
        "transport",
        "failures",
        "Requests to other nodes that did not get through or were refused.",
    ),
    row(
        Stat::TransportDropped,
        "transport",
        "dropped",
        "Messages dropped because another node was too slow.",
    ),
    row(
        Stat::TransportReceived,
        "transport",
        "received",
        "Requests of other nodes that were taken in.",
    ),
    row(
        Stat::TransportRefused,
        "transport",
        "refused",
        "Requests to the address for nodes that were refused.",
    ),
    row(
        Stat::TransportBodiesReceived,
        "transport",
        "bodies_received",
        "Detached bodies received, complete.",
    ),
    row(
        Stat::TransportSnapshotsReceived,
        "transport",
        "snapshots_received",
        "Snapshots received, complete.",
    ),
];

static COUNTERS: [AtomicU64; TABLE.len()] = [const { AtomicU64::new(0) }; TABLE.len()];

/// Counts `n` more.
pub fn add(stat: Stat, n: u64) {
    COUNTERS[stat as usize].fetch_add(n, Ordering::Relaxed);
}

/// All counters and their values now.
pub fn snapshot() -> impl Iterator<Item = (&'static Row, u64)> {
    TABLE.iter().map(|row| (row, COUNTERS[row.stat as usize].load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_each_counter_once() {
        let names: std::collections::BTreeSet<_> =
            TABLE.iter().map(|row| (row.group, row.key)).collect();
        assert_eq!(names.len(), TABLE.len());
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.stat as usize, place, "{}", row.key);
        }
    }

    #[test]
    fn counting_shows_in_the_snapshot() {
        let value = || snapshot().find(|(row, _)| row.stat == Stat::UserReaps).unwrap().1;
        let before = value();
        add(Stat::UserReaps, 3);
        assert!(value() >= before + 3);
    }
}
