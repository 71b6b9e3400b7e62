//! Black-box tests of `quorlite`: the program as a script calls it, against real servers.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod support;

mod backup;
mod connection;
mod fake;
mod node;
mod program;
mod pseudo;
mod restore;
mod shell;
mod sql;
mod transcript;
