//! How stories write what cores say.

use quorlite::raft::{Configuration, Content, Core, EntryId, Head, Message, Payload, Role};

pub(crate) fn message(message: &Message) -> String {
    format!("{} term={}", payload(&message.payload), message.term)
}

fn payload(payload: &Payload) -> String {
    match payload {
        Payload::PreVote { last } => format!("PreVote last={}", id(*last)),
        Payload::PreVoteReply { granted } => format!("PreVoteReply {}", yes(*granted)),
        Payload::Vote { last, is_transfer } => {
            format!("Vote last={}{}", id(*last), if *is_transfer { " transfer" } else { "" })
        }
        Payload::VoteReply { granted } => format!("VoteReply {}", yes(*granted)),
        Payload::Heartbeat { commit, round } => format!("Heartbeat commit={commit} round={round}"),
        Payload::HeartbeatReply { round, matched, last } => {
            format!("HeartbeatReply round={round} matched={matched} last={last}")
        }
        Payload::Append { prev, entries, commit, round } => {
            let entries: Vec<String> = (prev.index + 1..)
                .zip(entries)
                .map(|(index, Head { term, content })| format!("{index}@{term} {}", name(content)))
                .collect();
            let entries = entries.join(", ");
            format!("Append prev={} [{entries}] commit={commit} round={round}", id(*prev))
        }
        Payload::Appended { matched, round } => format!("Appended matched={matched} round={round}"),
        Payload::Refused { prev, hint, round } => {
            format!("Refused prev={prev} hint={} round={round}", id(*hint))
        }
        Payload::Snapshot { last, configuration: members } => {
            format!("Snapshot last={} {}", id(*last), configuration(members))
        }
        Payload::TimeoutNow => "TimeoutNow".to_owned(),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

pub(crate) fn name(content: &Content) -> String {
    match content {
        Content::Noop => "noop".to_owned(),
        Content::Command => "command".to_owned(),
        Content::Configuration(members) => configuration(members),
    }
}

pub(crate) fn configuration(configuration: &Configuration) -> String {
    let list = |ids: &std::collections::BTreeSet<String>| {
        ids.iter().cloned().collect::<Vec<_>>().join(",")
    };
    match configuration.learners().is_empty() {
        true => format!("voters={}", list(configuration.voters())),
        false => {
            format!(
                "voters={} learners={}",
                list(configuration.voters()),
                list(configuration.learners())
            )
        }
    }
}

pub(crate) fn id(id: EntryId) -> String {
    format!("{}@{}", id.index, id.term)
}

pub(crate) fn role(core: &Core) -> String {
    match core.role() {
        Role::Follower { leader: Some(leader) } => format!("follows {leader}"),
        Role::Follower { leader: None } => "knows no leader".to_owned(),
        Role::PreCandidate { .. } => "asks for pre-votes".to_owned(),
        Role::Candidate { .. } => "asks for votes".to_owned(),
        Role::Leader { .. } if core.is_established() => "leads".to_owned(),
        Role::Leader { .. } => "leads, and knows not yet what is committed".to_owned(),
    }
}

pub(crate) fn state(core: &Core) -> String {
    let (term, last, commit) = (core.term(), id(core.last()), core.commit());
    format!("{} in term {term}, last={last} commit={commit}", role(core))
}
