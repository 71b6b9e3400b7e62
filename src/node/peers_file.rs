//! Recovery by hand: `raft/peers.json`, for a cluster whose majority is gone for good.
//!
//! The operator stops all nodes, puts the same file into each survivor's data directory, and
//! starts them:
//!
//! ```json
//! [{"id":"1","address":"10.0.0.1:4002","non_voter":false}]
//! ```
//!
//! # Why it is no entry in the log
//!
//! Survivors' logs differ. An entry that each puts behind its own would make the end of a short
//! log as new as that of a long one, and the short one could win the election and cut off what
//! was committed. So no log is touched: the members of the file are kept beside the log, in the
//! identity, and take the place of those that the log names. Then the survivors elect as ever,
//! by the ends of their own logs, and the best log wins. The leader puts the members into the log.
//!
//! Two things keep the past from coming back:
//!
//! * **Terms leap.** The lost nodes may have voted in, and led, terms that no survivor has heard of.
//!   Each survivor goes on from the next multiple of 2^20, which no election has reached.
//! * **Memberships say since when.** That term is written into the forced membership and into all
//!   that come of it. An older membership, met in the log or in what another survivor sends, has a
//!   lower number and is not in force.
//!
//! What the lost majority had committed and no survivor holds is lost: nobody could know of it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::membership::{Membership, is_address};
use super::status::Member;
use crate::raft::Term;
use crate::storage::durable;

/// The file's name, beside the log.
const NAME: &str = "peers.json";

/// What it is called once it has been carried out.
const DONE: &str = "peers.info";

/// Distance between the terms at which recoveries begin: no cluster holds so many elections.
const TERMS_PER_RECOVERY: Term = 1 << 20;

/// Longest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Reads the file beside the log, if there is one.
///
/// # Errors
/// A sentence.
pub(super) fn read(log: &Path) -> Result<Option<Vec<u8>>, String> {
    let path = log.join(NAME);
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > BYTES_MAX => Err(refusal(&"it is too long")),
        Ok(_) => {
            std::fs::read(&path).map(Some).map_err(|error| refusal(&durable::at(&path, &error)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refusal(&durable::at(&path, &error))),
    }
}

/// Renames it, so that the next start does not carry it out again.
///
/// # Errors
/// The system's.
pub(super) fn set_aside(log: &Path) -> io::Result<()> {
    durable::rename(&log.join(NAME), &log.join(DONE))
}

/// The members that the file names, to be in force since the next multiple of 2^20 above `term`.
/// `known` are those in force, `own` is this node.
///
/// # Errors
/// A sentence.
pub(super) fn membership(
    text: &[u8],
    known: &Membership,
    own: &Member,
    term: Term,
) -> Result<Membership, String> {
    let peers = parse(text).map_err(|why| refusal(&why))?;
    let mut forced = Membership {
        cluster: known.cluster.clone(),
        since: (term / TERMS_PER_RECOVERY + 1) * TERMS_PER_RECOVERY,
        ..Membership::default()
    };
    for peer in peers {
        let Some(member) = known.members.get(&peer.id) else {
            let ids: Vec<&str> = known.members.keys().map(String::as_str).collect();
            return Err(refusal(&format!(
                "node {} is none of the members that this node knows ({}); recover with those, \
                 and let it join",
                peer.id,
                ids.join(", ")
            )));
        };
        let member = Member {
            raft_address: peer.address,
            is_voter: peer.is_voter,
            is_joining: false,
            ..member.clone()
        };
        forced.members.insert(peer.id, member);
    }
    let Some(own_entry) = forced.members.get_mut(&own.id) else {
        return Err(refusal(&format!("this node, {}, is not in it", own.id)));
    };
    if own_entry.incarnation != own.incarnation {
        return Err(refusal(&format!(
            "the members know node {} by another data directory than this one",
            own.id
        )));
    }
    own_entry.http_address.clone_from(&own.http_address);
    if forced.voters() == 0 {
        return Err(refusal(&"it names no voter"));
    }
    Ok(forced)
}

struct Peer {
    id: String,
    address: String,
    is_voter: bool,
}

fn parse(text: &[u8]) -> Result<Vec<Peer>, String> {
    let value: Value =
        serde_json::from_slice(text).map_err(|error| format!("it is not JSON ({error})"))?;
    let list = value.as_array().ok_or("it is not a list of nodes")?;
    if list.is_empty() {
        return Err("it names no node".to_owned());
    }
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let mut peers = Vec::new();
    for (place, value) in list.iter().enumerate() {
        let peer = parse_peer(value).map_err(|why| format!("node {}: {why}", place + 1))?;
        if !ids.insert(peer.id.clone()) {
            return Err(format!("it names node {} twice", peer.id));
        }
        if !addresses.insert(peer.address.clone()) {
            return Err(format!("it names address {} twice", peer.address));
        }
        peers.push(peer);
    }
    Ok(peers)
}

fn parse_peer(value: &Value) -> Result<Peer, String> {
    let fields = value.as_object().ok_or("it is not an object")?;
    if let Some(name) =
        fields.keys().find(|name| !["id", "address", "non_voter"].contains(&name.as_str()))
    {
        return Err(format!("there is no field {name:?}; there are id, address and non_voter"));
    }
    let text = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or(format!("{name} is not a text"))
    };
    let address = text("address")?;
    if !is_address(&address) {
        return Err(format!("{address} is not of the form host:port"));
    }
    let is_voter = match fields.get("non_voter") {
        None => true,
        Some(value) => !value.as_bool().ok_or("non_voter is neither true nor false")?,
    };
    Ok(Peer { id: text("id")?, address, is_voter })
}

fn refusal(why: &dyn std::fmt::Display) -> String {
    format!("{NAME} cannot be used to recover, and nothing was changed: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member {
            id: id.to_owned(),
            incarnation: format!("i{id}"),
            raft_address: format!("{id}:2"),
            http_address: format!("{id}:1"),
            is_voter: true,
            is_joining: false,
        }
    }

    fn known() -> Membership {
        let members = ["1", "2", "3"].map(|id| (id.to_owned(), member(id))).into();
        Membership { cluster: "c".to_owned(), members, since: 0 }
    }

    #[test]
    fn the_survivors_of_a_file_are_in_force_since_a_term_that_nobody_has_reached() {
        let text = br#"[{"id":"1","address":"new:2"},{"id":"3","address":"3:2","non_voter":true}]"#;
        let forced = membership(text, &known(), &member("1"), 7).unwrap();
        assert_eq!((forced.since, forced.voters(), forced.members.len()), (1 << 20, 1, 2));
        assert_eq!(forced.members["1"].raft_address, "new:2");
        assert_eq!(forced.members["3"].node_id(), "3/i3", "as before");
        // A survivor with another term, and a second recovery.
        assert_eq!(membership(text, &known(), &member("1"), 9000).unwrap().since, forced.since);
        assert_eq!(
            membership(text, &forced, &member("1"), forced.since + 3).unwrap().since,
            2 << 20
        );
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "it is not JSON"),
            ("{}", "it is not a list"),
            ("[]", "it names no node"),
            (r#"[{"id":"1","address":"1:2","voter":true}]"#, "there is no field \"voter\""),
            (r#"[{"id":1,"address":"1:2"}]"#, "node 1: id is not a text"),
            (r#"[{"id":"1","address":"http://1:2"}]"#, "http://1:2 is not of the form"),
            (r#"[{"id":"1","address":"1:2","non_voter":"no"}]"#, "non_voter is neither"),
            (r#"[{"id":"1","address":"1:2"},{"id":"1","address":"2:2"}]"#, "node 1 twice"),
            (r#"[{"id":"1","address":"1:2"},{"id":"2","address":"1:2"}]"#, "address 1:2 twice"),
            (r#"[{"id":"1","address":"1:2"},{"id":"4","address":"4:2"}]"#, "node 4 is none of"),
            (r#"[{"id":"2","address":"2:2"}]"#, "this node, 1, is not in it"),
            (r#"[{"id":"1","address":"1:2","non_voter":true}]"#, "it names no voter"),
        ] {
            let refused = membership(text.as_bytes(), &known(), &member("1"), 1).unwrap_err();
            assert!(refused.contains(why) && refused.contains("nothing was changed"), "{refused}");
        }
        let stranger = Member { incarnation: "x".to_owned(), ..member("1") };
        let text = br#"[{"id":"1","address":"1:2"}]"#;
        assert!(membership(text, &known(), &stranger, 1).unwrap_err().contains("another data"));
    }
}
