//! Quorlite: a replicated SQLite server that speaks rqlite's HTTP API.

pub mod api;
pub mod command;
pub mod config;
pub mod db;
pub mod http;
pub mod node;
pub mod os;
pub mod raft;
pub mod shell;
pub mod stats;
pub mod storage;
