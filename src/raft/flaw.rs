//! Mistakes that tests plant into the protocol, to see that they are found. Outside of unit tests
//! there are none: the question is answered with no by the compiler.

/// One known mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "nobody plants them"))]
pub(super) enum Flaw {
    /// A vote is promised before it is on the disk.
    VoteNotSynced,
    /// A log is acknowledged before it is on the disk.
    AcknowledgesBeforeSync,
    /// Votes go to logs that lack entries.
    VotesForOlderLogs,
    /// Whoever asks gets a vote.
    TwoVotesATerm,
    /// A pre-vote begins the term that it asks about.
    PreVoteBumpsTerm,
    /// A leader without a majority goes on.
    NoCheckQuorum,
    /// Whoever hears a leader votes for another.
    NoStickiness,
    /// Entries of earlier terms are committed by counting.
    CommitsOldTerms,
    /// A leader begins without an entry of its own.
    NoNoop,
    /// A leader counts itself before its own sync.
    CountsItselfUnsynced,
    /// A follower commits what its disk lacks.
    CommitsUnsynced,
    /// An append drops everything behind it.
    TruncatesAlways,
    /// The disk's report about what was replaced counts for what stands there now.
    StaleCallback,
    /// A heartbeat commits what the follower may not share.
    HeartbeatBeyondMatched,
    /// Messages of an older term are taken in.
    OlderTermsCount,
    /// What was sent counts as held, whatever the answer says.
    SentIsMatched,
    /// What is known of another goes back with a late answer.
    MatchedGoesBack,
    /// What was known of the others in an earlier leadership counts in this one.
    OldProgressCounts,
    /// A read index is given out without asking anybody.
    ReadWithoutRound,
    /// A read is confirmed by a round that began before it.
    ReadWithOldRound,
    /// A read index is given out before an entry of the own term is committed.
    ReadBeforeNoop,
    /// Learners count.
    LearnerCounts,
    /// Members are changed before an entry of the own term is committed.
    ConfigurationTooEarly,
    /// Members are changed before the last change is committed.
    TwoConfigurations,
    /// Two voters are changed at once.
    TwoVotersAtOnce,
    /// A configuration stays in force when its entry leaves the log.
    ConfigurationNotRolledBack,
    /// A state brings no configuration.
    StateWithoutConfiguration,
    /// Commands are taken while leadership is handed over.
    TransferKeepsProposing,
    /// A sole voter with a full disk gives a place again that a learner may have filled.
    PlaceGivenAgain,
    /// A follower that has started anew is not told what it shares.
    RestartNotProbed,
    /// The driver: an entry is applied twice after a restart.
    AppliesTwice,
    /// The driver: a node that has lost its disk comes back under its old name.
    OldIdentity,
    /// The driver: a vote is forgotten by a restart.
    ForgetsVote,
    /// The driver: an entry is appended without the body it names.
    BodyNotHeld,
    /// The driver: the log is dropped before the checkpoint that covers it is durable.
    CompactsTooEarly,
    /// The driver: a read is served before its index is applied.
    ReadsTooEarly,
    /// The driver: a write is acknowledged when it is proposed.
    AcknowledgesProposed,
}

/// Whether this mistake is planted in this thread.
#[cfg(not(test))]
pub(super) const fn planted(_: Flaw) -> bool {
    false
}

#[cfg(test)]
pub(super) use planting::{plant, planted};

#[cfg(test)]
mod planting {
    use std::cell::Cell;

    use super::Flaw;

    std::thread_local! {
        static PLANTED: Cell<Option<Flaw>> = const { Cell::new(None) };
    }

    /// Whether this mistake is planted in this thread.
    pub(in crate::raft) fn planted(flaw: Flaw) -> bool {
        PLANTED.get() == Some(flaw)
    }

    /// Plants one mistake into what this thread does, or none.
    pub(in crate::raft) fn plant(flaw: Option<Flaw>) {
        PLANTED.set(flaw);
    }
}
