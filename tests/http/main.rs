//! The listener under attack, in one process: raw bytes over loopback against a small handler.
//!
//! Every story ends the same way (`support::story`): a fresh request is answered within a second,
//! and the process has not grown by more than 64 MB.

mod bodies;
mod crowds;
mod descriptors;
mod framing;
mod replies;
mod shutdown;
mod support;
