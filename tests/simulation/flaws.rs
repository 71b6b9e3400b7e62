//! Mistakes planted one at a time: the simulation has to find each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::flaw::{Flaw, plant};
use super::runs::run;

/// Seeds that each mistake has to be found in.
const SEEDS_MAX: u64 = 2500;

/// Time after which the rest is left to the next run, which begins elsewhere.
const TIME_MAX: Duration = Duration::from_secs(300);

const FLAWS: &[Flaw] = &[
    Flaw::VoteNotSynced,
    Flaw::AcknowledgesBeforeSync,
    Flaw::VotesForOlderLogs,
    Flaw::TwoVotesATerm,
    Flaw::PreVoteBumpsTerm,
    Flaw::NoCheckQuorum,
    Flaw::NoStickiness,
    Flaw::CommitsOldTerms,
    Flaw::NoNoop,
    Flaw::CountsItselfUnsynced,
    Flaw::CommitsUnsynced,
    Flaw::TruncatesAlways,
    Flaw::StaleCallback,
    Flaw::HeartbeatBeyondMatched,
    Flaw::OlderTermsCount,
    Flaw::SentIsMatched,
    Flaw::MatchedGoesBack,
    Flaw::OldProgressCounts,
    Flaw::ReadWithoutRound,
    Flaw::ReadWithOldRound,
    Flaw::ReadBeforeNoop,
    Flaw::LearnerCounts,
    Flaw::ConfigurationTooEarly,
    Flaw::TwoConfigurations,
    Flaw::TwoVotersAtOnce,
    Flaw::ConfigurationNotRolledBack,
    Flaw::StateWithoutConfiguration,
    Flaw::TransferKeepsProposing,
    Flaw::PlaceGivenAgain,
    Flaw::RestartNotProbed,
    Flaw::AppliesTwice,
    Flaw::OldIdentity,
    Flaw::ForgetsVote,
    Flaw::BodyNotHeld,
    Flaw::CompactsTooEarly,
    Flaw::ReadsTooEarly,
    Flaw::AcknowledgesProposed,
];

/// In how many seeds the mistake is found, and how.
fn find(flaw: Flaw) -> Option<(u64, String)> {
    plant(Some(flaw));
    let found = (1..=SEEDS_MAX).find_map(|seed| Some((seed, run(seed, None).err()?)));
    plant(None);
    found
}

#[test]
fn every_planted_mistake_is_found() {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(flaw) = FLAWS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = find(*flaw);
            found.lock().expect("no panic in here").push((*flaw, outcome));
            if begin.elapsed() > TIME_MAX {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let found = found.into_inner().expect("no panic in there");
    let mut missed = Vec::new();
    for (flaw, outcome) in &found {
        match outcome {
            Some((seeds, text)) => {
                let text = text.lines().next().unwrap_or_default();
                println!("{:>28} in {seeds:>4} seeds: {text}", format!("{flaw:?}"));
            }
            None => missed.push(*flaw),
        }
    }
    println!("{} of {} in {:?}", found.len() - missed.len(), FLAWS.len(), begin.elapsed());
    assert!(missed.is_empty(), "not found in {SEEDS_MAX} seeds: {missed:?}");
    assert_eq!(found.len(), FLAWS.len(), "some were not tried in {TIME_MAX:?}");
}
