//! The way to a server: where it is, who asks, and one request with one answer.
//!
//! | file     | is for                                                                  |
//! |----------|-------------------------------------------------------------------------|
//! | settings | the options, merged and checked                                         |
//! | sources  | the environment and the file of options                                 |
//! | address  | hosts, ports and URLs as text                                           |
//! | password | passwords from files and terminals, and out of messages                 |
//! | client   | requests over `ureq`: fail-over, and what a lost answer means           |
//! | answer   | status, headers, body; refusals                                         |
//! | lost     | why there is no answer, in words                                        |
//! | redirect | where an answer sends its request on to                                 |
//! | proxy    | which proxy leads to a node                                             |
//! | tls      | certificates and encryption                                             |
//! | wire     | whether a request has left this machine                                 |

mod address;
mod answer;
mod client;
mod lost;
mod password;
mod proxy;
mod redirect;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

pub(super) use address::read_url;
pub(super) use answer::Answer;
pub(super) use client::{Body, Call, Client, Effect, Opened, Patience};
pub(super) use lost::{leaves_open, unknown};
pub(super) use password::{without_user, without_users};
pub(super) use settings::{Arguments, Scheme, Settings};
