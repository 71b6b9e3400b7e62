//! Black-box tests of `quorlited`: real processes on loopback, seen through HTTP and signals.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod backup_http;
mod bad_bodies;
mod bad_files;
mod bad_requests;
mod crash_loop;
mod damage;
mod digest;
mod disk_full;
mod framing;
mod golden;
mod injected;
mod members;
mod observe;
mod overload;
mod power_cut;
mod process;
mod same_log;
mod seams;
