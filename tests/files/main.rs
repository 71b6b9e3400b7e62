//! The database file as a file: crashes at every step, copies under load, files that are not
//! what they seem.
//!
//! Crashes are simulated by copying the folder between two steps and damaging whatever was not
//! synced by then. Everything is asserted by what SQLite reads afterwards.

mod crash;
mod dump;
mod load;
mod replace;
mod snapshot;
mod support;
