//! Who may become a member, and in which order: pure decisions of the leader.
//!
//! Each question is answered with the next membership to propose, or with why there is none. One
//! membership differs from the one before it in one voter at the most (thesis, 4.1), and the next
//! is only proposed once it is committed: whoever asks proposes, waits, and asks again until
//! there is nothing left to do. So a question that came twice, or whose asker crashed in between,
//! ends as if it had come once.
//!
//! | asked | membership | then |
//! |---|---|---|
//! | join | does not know the node | added as a learner, `joining` if it is to vote |
//! | join | knows it, with these addresses | nothing |
//! | join | knows it by other addresses | addresses changed, role kept |
//! | join | knows its id with another disk | that voter goes, a learner comes |
//! | join | has another node at its Raft address | that one goes first |
//! | remove | does not know the id | nothing |
//! | remove | knows it | it goes, unless nobody who votes would be left |
//! | promote | has it as a joining learner | it votes |
//!
//! A member that is heard is never pushed out by another that claims its id or its address: there
//! are two of them then, and a person must say which one is meant.

use std::fmt;
use std::time::Duration;

use super::membership::{Membership, NAME_BYTES_MAX, is_address};
use super::status::Member;

/// A change of members that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangeRequest {
    /// This node wants to belong to the cluster.
    Join {
        /// As it is now; `is_voter` says whether it wants to count.
        member: Member,
        /// The cluster that it belongs to already, if it does.
        cluster: Option<String>,
    },
    /// The member of this id is to go.
    Remove {
        /// As people know it.
        id: String,
    },
    /// This member has caught up.
    Promote {
        /// As people know it.
        id: String,
    },
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Things are as was asked.
    Nothing,
    /// To be proposed; once it is committed, the same is to be asked again.
    Propose(Membership),
}

/// Why a change is not made: a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// After which silence members are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReapAfter {
    /// `None` is never.
    pub(super) voters: Option<Duration>,
    /// `None` is never.
    pub(super) replicas: Option<Duration>,
}

/// What is to be proposed next for `request`. `is_heard` says whether a member, by its disk, has
/// been heard within an election timeout; the leader hears itself.
///
/// # Errors
/// Why nothing is.
pub(super) fn next(
    membership: &Membership,
    request: &ChangeRequest,
    is_heard: impl Fn(&Member) -> bool,
) -> Result<Change, Refused> {
    match request {
        ChangeRequest::Join { member, cluster } => {
            check_cluster(membership, member, cluster.as_deref())?;
            join(membership, member, is_heard)
        }
        ChangeRequest::Remove { id } => remove(membership, id),
        ChangeRequest::Promote { id } => Ok(promote(membership, id)),
    }
}

/// The first member to remove for its silence; `silence` says how long one has not been heard,
/// `None` for the leader itself and for those it has not waited for yet.
pub(super) fn reap(
    membership: &Membership,
    after: ReapAfter,
    silence: impl Fn(&Member) -> Option<Duration>,
) -> Option<ChangeRequest> {
    let is_due = |member: &&Member| {
        let limit =
            if member.is_voter || member.is_joining { after.voters } else { after.replicas };
        limit.zip(silence(member)).is_some_and(|(limit, silence)| silence >= limit)
    };
    let due = membership.members.values().find(is_due)?;
    Some(ChangeRequest::Remove { id: due.id.clone() })
}

/// The members, whichever node they are asked of, are those of one cluster.
fn check_cluster(
    membership: &Membership,
    member: &Member,
    cluster: Option<&str>,
) -> Result<(), Refused> {
    match cluster {
        Some(other) if other != membership.cluster => Err(Refused(format!(
            "node {} belongs to cluster {other}, and this is cluster {}: start it with an empty \
             data directory",
            member.id, membership.cluster
        ))),
        Some(_) | None => Ok(()),
    }
}

fn join(
    membership: &Membership,
    member: &Member,
    is_heard: impl Fn(&Member) -> bool,
) -> Result<Change, Refused> {
    check_sense(member)?;
    let same_address =
        |other: &&Member| other.id != member.id && other.raft_address == member.raft_address;
    if let Some(holder) = membership.members.values().find(same_address) {
        if is_heard(holder) {
            return Err(Refused(format!(
                "Raft address {} is that of node {}, which is alive: give node {} another one with \
                 -raft-addr or -raft-adv-addr",
                holder.raft_address, holder.id, member.id
            )));
        }
        return remove(membership, &holder.id);
    }
    let known = membership.members.get(&member.id);
    match known {
        Some(known) if known.incarnation == member.incarnation => {
            Ok(readdress(membership, known, member))
        }
        Some(known) if is_heard(known) => Err(Refused(format!(
            "there is a node {} already, at {}, and it is alive: give the other one a name of its \
             own with -node-id",
            known.id, known.raft_address
        ))),
        // Its disk is gone, and with it what it had promised: it counts anew from here.
        Some(known) if known.is_voter && membership.voters() == 1 => Err(needs_voter()),
        Some(_) | None => {
            let learner = Member { is_voter: false, is_joining: member.is_voter, ..member.clone() };
            Ok(with(membership, learner))
        }
    }
}

/// What is no name or address would be in the log for good.
fn check_sense(member: &Member) -> Result<(), Refused> {
    let is_name = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len());
    if !is_name(&member.incarnation) || !is_name(&member.id) {
        let text = format!("a node's name has from 1 to {NAME_BYTES_MAX} bytes");
        return Err(Refused(text));
    }
    match [&member.raft_address, &member.http_address].into_iter().find(|one| !is_address(one)) {
        None => Ok(()),
        Some(wrong) => Err(Refused(format!("node {} cannot be found at {wrong:?}", member.id))),
    }
}

fn readdress(membership: &Membership, known: &Member, member: &Member) -> Change {
    let is_same =
        known.raft_address == member.raft_address && known.http_address == member.http_address;
    if is_same {
        return Change::Nothing;
    }
    let (is_voter, is_joining) = (known.is_voter, known.is_joining);
    with(membership, Member { is_voter, is_joining, ..member.clone() })
}

fn remove(membership: &Membership, id: &str) -> Result<Change, Refused> {
    let Some(member) = membership.members.get(id) else { return Ok(Change::Nothing) };
    if member.is_voter && membership.voters() == 1 {
        return Err(needs_voter());
    }
    let mut after = membership.clone();
    after.members.remove(id);
    Ok(Change::Propose(after))
}

fn promote(membership: &Membership, id: &str) -> Change {
    match membership.members.get(id) {
        Some(member) if member.is_joining => {
            with(membership, Member { is_voter: true, is_joining: false, ..member.clone() })
        }
        Some(_) | None => Change::Nothing,
    }
}

fn with(membership: &Membership, member: Member) -> Change {
    let mut after = membership.clone();
    after.members.insert(member.id.clone(), member);
    Change::Propose(after)
}

/// What clients of rqlite know this by.
fn needs_voter() -> Refused {
    Refused("need at least one voter in configuration: {[]}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, incarnation: &str, is_voter: bool) -> Member {
        Member {
            id: id.to_owned(),
            incarnation: incarnation.to_owned(),
            raft_address: format!("{id}:2"),
            http_address: format!("{id}:1"),
            is_voter,
            is_joining: false,
        }
    }

    fn cluster(voters: &[&str]) -> Membership {
        let members = voters.iter().map(|id| ((*id).to_owned(), member(id, "i", true)));
        Membership { cluster: "c".to_owned(), members: members.collect(), since: 4 }
    }

    /// Asks until nothing is left to do, as a leader does; each step and its end, in short.
    fn story(
        before: &Membership,
        request: &ChangeRequest,
        heard: &[&str],
    ) -> (Vec<String>, Membership) {
        let (mut membership, mut steps) = (before.clone(), Vec::new());
        loop {
            let heard = |member: &Member| heard.contains(&member.node_id().as_str());
            match next(&membership, request, heard) {
                Ok(Change::Nothing) => return (steps, membership),
                Ok(Change::Propose(after)) => {
                    let (from, to) = (membership.configuration(), after.configuration());
                    assert!(from.voters_changed(&to) <= 1, "one voter at a time");
                    assert_eq!(after.since, 4, "what was forced stays so");
                    let describe = |member: &Member| {
                        let role = if member.is_voter {
                            ""
                        } else if member.is_joining {
                            "?"
                        } else {
                            "-"
                        };
                        format!("{}{role}@{}", member.node_id(), member.raft_address)
                    };
                    let members: Vec<_> = after.members.values().map(describe).collect();
                    steps.push(members.join(" "));
                    membership = after;
                }
                Err(Refused(why)) => {
                    steps.push(why);
                    return (steps, membership);
                }
            }
            assert!(steps.len() < 5, "it ends: {steps:?}");
        }
    }

    fn joins(member: &Member) -> ChangeRequest {
        ChangeRequest::Join { member: member.clone(), cluster: None }
    }

    #[test]
    fn a_node_joins_as_a_learner_and_is_promoted_later() {
        let (steps, after) = story(&cluster(&["a"]), &joins(&member("b", "i", true)), &[]);
        assert_eq!(steps, ["a/i@a:2 b/i?@b:2"]);
        let promote = ChangeRequest::Promote { id: "b".to_owned() };
        let (steps, after) = story(&after, &promote, &[]);
        assert_eq!(steps, ["a/i@a:2 b/i@b:2"]);
        assert_eq!(story(&after, &promote, &[]).0, [""; 0], "once");
        assert_eq!(story(&after, &joins(&member("b", "i", true)), &["b/i"]).0, [""; 0], "again");
        let (steps, after) = story(&after, &joins(&member("r", "i", false)), &[]);
        assert_eq!(steps, ["a/i@a:2 b/i@b:2 r/i-@r:2"], "a replica");
        let promote = ChangeRequest::Promote { id: "r".to_owned() };
        assert_eq!(story(&after, &promote, &[]).0, [""; 0], "a replica stays one");
    }

    #[test]
    fn a_new_address_changes_no_role_and_a_new_disk_does() {
        let before = cluster(&["a", "b", "c"]);
        let moved = Member { raft_address: "new:2".to_owned(), ..member("b", "i", false) };
        assert_eq!(story(&before, &joins(&moved), &["b/i"]).0, ["a/i@a:2 b/i@new:2 c/i@c:2"]);
        let wiped = member("b", "j", true);
        assert_eq!(story(&before, &joins(&wiped), &[]).0, ["a/i@a:2 b/j?@b:2 c/i@c:2"]);
        let (steps, _) = story(&before, &joins(&wiped), &["b/i"]);
        assert!(
            steps[0].contains("there is a node b already, at b:2, and it is alive"),
            "{steps:?}"
        );
        let (steps, _) = story(&cluster(&["b"]), &joins(&wiped), &[]);
        assert_eq!(steps, ["need at least one voter in configuration: {[]}"]);
    }

    #[test]
    fn who_comes_to_the_address_of_another_replaces_it_unless_it_is_alive() {
        let before = cluster(&["a", "b", "c"]);
        let taker = Member { raft_address: "b:2".to_owned(), ..member("d", "i", true) };
        let (steps, _) = story(&before, &joins(&taker), &[]);
        assert_eq!(steps, ["a/i@a:2 c/i@c:2", "a/i@a:2 c/i@c:2 d/i?@b:2"]);
        let (steps, after) = story(&before, &joins(&taker), &["b/i"]);
        assert!(steps[0].contains("b:2 is that of node b, which is alive"), "{steps:?}");
        assert_eq!(after, before);
        // A wiped voter at another voter's old address: two voters go, one after the other.
        let wiped = Member { raft_address: "c:2".to_owned(), ..member("b", "j", true) };
        let (steps, _) = story(&before, &joins(&wiped), &[]);
        assert_eq!(steps, ["a/i@a:2 b/i@b:2", "a/i@a:2 b/j?@c:2"]);
    }

    #[test]
    fn members_of_another_cluster_and_what_makes_no_sense_are_refused() {
        let member = member("b", "i", true);
        for (own, is_taken) in [(None, true), (Some("c"), true), (Some("d"), false)] {
            let cluster_of = own.map(str::to_owned);
            let request = ChangeRequest::Join { member: member.clone(), cluster: cluster_of };
            let result = next(&cluster(&["a"]), &request, |_| false);
            assert_eq!(result.is_ok(), is_taken, "{own:?}: {result:?}");
        }
        for senseless in [
            Member { incarnation: String::new(), ..member.clone() },
            Member { id: String::new(), ..member.clone() },
            Member { id: "x".repeat(1000), ..member.clone() },
            Member { raft_address: "http://b:2".to_owned(), ..member.clone() },
            Member { http_address: "b".to_owned(), ..member.clone() },
        ] {
            let result = next(&cluster(&["a"]), &joins(&senseless), |_| false);
            assert!(result.is_err(), "{senseless:?}");
        }
    }

    #[test]
    fn members_go_but_for_the_last_voter() {
        let remove = |id: &str| ChangeRequest::Remove { id: id.to_owned() };
        assert_eq!(story(&cluster(&["a", "b"]), &remove("a"), &["a/i"]).0, ["b/i@b:2"]);
        assert_eq!(story(&cluster(&["a"]), &remove("x"), &[]).0, [""; 0], "as if it had been");
        let (steps, _) = story(&cluster(&["a"]), &remove("a"), &[]);
        assert_eq!(steps, ["need at least one voter in configuration: {[]}"]);
    }

    #[test]
    fn the_silent_are_reaped_each_kind_after_its_time() {
        let mut before = cluster(&["a", "b"]);
        before.members.insert("r".to_owned(), member("r", "i", false));
        let second = Duration::from_secs(1);
        let silence = |member: &Member| (member.id != "a").then_some(5 * second);
        let reaped = |voters, replicas| match reap(&before, ReapAfter { voters, replicas }, silence)
        {
            Some(ChangeRequest::Remove { id }) => id,
            other => format!("{other:?}"),
        };
        assert_eq!(reaped(None, None), "None");
        assert_eq!(reaped(Some(5 * second), None), "b");
        assert_eq!(reaped(Some(6 * second), Some(5 * second)), "r");
        assert_eq!(reaped(Some(6 * second), Some(6 * second)), "None");
    }
}
