//! Runs of many seeds.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::world::{Memory, World};

/// How long `cargo test` runs seeds.
const TEST_SECONDS: u64 = 100;

/// Seeds that have to be run in that time, however slow the machine is.
const TEST_SEEDS_MIN: u64 = 40;

/// Threads that run seeds: no more than small machines have.
const THREADS: u64 = 2;

/// One in this many seeds is run twice.
const TWICE: u64 = 50;

/// Faults that a run of many seeds must have had.
const FAULTS: [&str; 30] = [
    "bodies missing",
    "bodies sent",
    "changes of members",
    "changes refused",
    "checkpoints",
    "clock jump",
    "crash",
    "cut off",
    "deaf",
    "delayed",
    "doubled",
    "dropped",
    "dumb",
    "full disk",
    "halves",
    "isolated",
    "leaders said to be gone",
    "one sees all",
    "partition",
    "pause",
    "resignations",
    "slow disks",
    "stall",
    "states sent",
    "swizzled",
    "torn writes",
    "transfers",
    "uneven clocks",
    "wipe",
    "writes refused",
];

/// What came of a seed: its trace and its counts, or what went wrong.
pub(super) fn run(
    seed: u64,
    memory: Option<Memory>,
) -> Result<(u64, BTreeMap<&'static str, u64>), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, memory);
        world.run();
        (world.trace, world.counts)
    }));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// A failed seed once more, for its last events.
fn report(seed: u64, text: &str) -> String {
    let memory: Memory = Rc::new(RefCell::new(VecDeque::new()));
    drop(run(seed, Some(Rc::clone(&memory))));
    let events: Vec<String> = memory.borrow().iter().cloned().collect();
    format!("{}\nseed {seed}: {text}\nagain: scripts/simulate --seed {seed}", events.join("\n"))
}

/// Runs seeds from `first` on, until the time is over and there were enough; gives how many.
fn run_many(first: u64, count: u64, time: Duration) -> u64 {
    let begin = Instant::now();
    let next = AtomicU64::new(first);
    let total: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
    let failed: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = begin.elapsed() >= time && seed >= first + count;
            if is_late || failed.lock().expect("no panic in here").len() >= 3 {
                next.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let outcome = run(seed, None);
            if seed.is_multiple_of(TWICE) && outcome != run(seed, None) {
                let text = "the second run differs from the first".to_owned();
                failed.lock().expect("no panic in here").push((seed, text));
            }
            match outcome {
                Ok((_, counts)) => {
                    let mut total = total.lock().expect("no panic in here");
                    for (what, number) in counts {
                        *total.entry(what).or_default() += number;
                    }
                }
                Err(text)
                    if {
                        eprintln!("seed {seed}: {text}");
                        false
                    } => {}
                Err(text) => failed.lock().expect("no panic in here").push((seed, text)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(work);
        }
        work();
    });
    let total = total.into_inner().expect("no panic in there");
    let seeds = next.into_inner() - first;
    println!("{seeds} seeds in {:?}", begin.elapsed());
    println!("{total:#?}");
    let failed = failed.into_inner().expect("no panic in there");
    let failures: Vec<String> = failed.iter().map(|(seed, text)| report(*seed, text)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let missing: Vec<&&str> = FAULTS.iter().filter(|fault| !total.contains_key(**fault)).collect();
    assert!(seeds < TEST_SEEDS_MIN || missing.is_empty(), "never tried: {missing:?}");
    seeds
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// The same seeds each time: what fails here can be repeated by its number.
#[test]
fn clusters_keep_the_laws_and_heal() {
    run_many(1, TEST_SEEDS_MIN, Duration::from_secs(TEST_SECONDS));
}

#[test]
#[ignore = "for scripts/simulate, which says for how long"]
fn for_as_long_as_told() {
    if let Some(seed) = setting("SIMULATE_SEED") {
        let outcome = run(seed, None);
        let text = outcome.as_ref().err().cloned();
        assert!(text.is_none(), "{}", report(seed, &text.unwrap_or_default()));
        println!("seed {seed}: {outcome:?}");
        return;
    }
    let minutes = setting("SIMULATE_MINUTES").unwrap_or(0);
    let seeds = setting("SIMULATE_SEEDS").unwrap_or(0);
    let first = setting("SIMULATE_FIRST").unwrap_or(1_000_000);
    run_many(first, seeds, Duration::from_secs(60 * minutes));
}
