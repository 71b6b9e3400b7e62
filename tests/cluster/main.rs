//! Whole clusters of real `quorlited` processes, hurt in every way that a machine or a network
//! can be, while clients write down what they are told.
//!
//! `history` and `linear` say what must be true of it, `workload` are the clients, `cluster`,
//! `node`, `links` and `spaces` what they talk to. The other files are stories: each begins with a
//! healthy cluster, ends all faults after a while, and ends in [`story::Story::end`], which
//! compares the nodes with each other and with the clients' records.

#[path = "../checker/linear.rs"]
mod linear;

#[path = "../support/faults.rs"]
mod faults;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other test programs use the rest of it")]
mod support;

mod cluster;
mod history;
mod links;
mod node;
mod spaces;
mod story;
mod workload;

mod kills;
mod loads;
mod machines;
mod members;
mod partitions;
mod script;
mod strangers;
mod torture;
