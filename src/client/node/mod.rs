//! Questions and orders to nodes.
//!
//! | file   | is for                                   |
//! |--------|------------------------------------------|
//! | status | status: what a node knows about itself   |
//! | nodes  | nodes and leader: who is in the cluster  |
//! | ready  | ready: whether a node can do its work    |
//! | orders | remove, stepdown, snapshot               |

mod nodes;
mod orders;
mod ready;
mod status;

pub(super) use nodes::{Leader, Nodes};
pub(super) use orders::{Remove, Snapshot, Stepdown};
pub(super) use ready::Ready;
pub(super) use status::Status;

use serde_json::Value;

use super::connection::{Answer, Client};
use super::failure::Failure;

/// Asks for JSON.
fn fetch(client: &mut Client, target: &str) -> Result<Value, Failure> {
    read(client.get(target)?.successful()?)
}

fn read(answer: Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.bytes()?).map_err(|_| Failure::not_of_this_api())
}

/// Text as it is, everything else as JSON on one line.
fn raw(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
