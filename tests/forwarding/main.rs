//! Requests forwarded to a leader that answers, cuts, stalls and lies.
//!
//! The leader is a script on a raw socket; what forwards is the library itself. The one claim
//! behind all of it: what may have been done is never sent again, and a part is never taken for
//! the whole.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod common;
mod failures;
mod gate;
mod passing;
mod support;
