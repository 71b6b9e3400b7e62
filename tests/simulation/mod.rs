//! Whole clusters in one thread, each run from one seed: cores with simulated disks, a network, clocks,
//! clients and an operator, and all that can go wrong with them.
//!
//! After every step the laws of Raft are checked; in the end all faults stop, and the cluster must
//! heal: one leader, equal logs and states, writes and reads that succeed. What clients saw has to
//! be linearizable. A run that fails prints its seed and its last events. Nothing here looks at a
//! clock but to stop in time, and no run depends on another.

mod clients;
mod disk;
mod driver;
mod faults;
mod flaws;
mod laws;
#[path = "../checker/linear.rs"]
mod linear;
mod machine;
mod network;
mod node;
mod operator;
mod plan;
mod random;
mod runs;
mod world;

use super::flaw::{Flaw, planted};
