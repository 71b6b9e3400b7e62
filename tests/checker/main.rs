//! Tries the checker of histories: good ones pass, and each kind of planted anomaly is found.

mod linear;

use linear::{Answer, Call, Operation, check};

const CLIENTS: u64 = 5;

/// A splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("it is small")
}

/// What clients see of real registers: each call takes effect at one moment between its ends.
fn history(seed: u64, count: usize, keys: u64) -> Vec<Operation> {
    let mut random = Random(seed);
    let mut free_at = [0; 5];
    let mut planned: Vec<(u64, Operation)> = Vec::new();
    for number in 0..count as u64 {
        let client = random.below(CLIENTS);
        let begin = free_at[place(client)] + 1 + random.below(20);
        let effect = begin + 1 + random.below(30);
        let end = effect + 1 + random.below(30);
        free_at[place(client)] = end;
        let key = random.below(keys);
        let call = match random.below(4) {
            0 | 1 => Call::Read,
            2 => Call::Write(number),
            _ => Call::Cas(random.below(number.max(1)), number),
        };
        planned.push((effect, Operation { client, key, call, answer: Answer::Done, begin, end }));
    }
    planned.sort_by_key(|(effect, operation)| (*effect, operation.client));
    let mut registers = vec![None; place(keys)];
    let mut history = Vec::new();
    for (_, mut operation) in planned {
        let register = &mut registers[place(operation.key)];
        if let Call::Cas(from, to) = operation.call
            && random.below(2) == 0
        {
            // Most guesses would be wrong: half of them get to know.
            operation.call = Call::Cas(register.unwrap_or(from), to);
        }
        // One in forty writes gets lost on its way here, another's answer on its way back.
        let fate = if operation.call == Call::Read { 9 } else { random.below(40) };
        operation.answer = match (operation.call, fate) {
            (_, 0) => Answer::Unknown,
            (Call::Read, _) => Answer::Found(*register),
            (Call::Write(value), _) => {
                *register = Some(value);
                Answer::Done
            }
            (Call::Cas(from, to), _) if *register == Some(from) => {
                *register = Some(to);
                Answer::Done
            }
            (Call::Cas(..), _) => Answer::Mismatch,
        };
        if fate == 1 {
            operation.answer = Answer::Unknown;
        }
        history.push(operation);
    }
    history
}

fn writes(operation: &Operation) -> Option<u64> {
    match (operation.call, operation.answer) {
        (Call::Write(value) | Call::Cas(_, value), Answer::Done) => Some(value),
        _ => None,
    }
}

/// Two writes of one key and, behind both, a read; chosen by `random`.
fn two_writes_and_a_read(
    history: &[Operation],
    random: &mut Random,
) -> Option<(Operation, Operation, usize)> {
    let at = place(random.below(history.len() as u64));
    let read = (at..history.len()).find(|at| matches!(history[*at].answer, Answer::Found(_)))?;
    let before = |end: u64| {
        let key = history[read].key;
        let of_key = history.iter().rev().filter(move |other| other.key == key);
        of_key.clone().find(move |other| other.end < end && writes(other).is_some())
    };
    let second = before(history[read].begin)?;
    let first = before(second.begin)?;
    Some((*first, *second, read))
}

#[test]
fn good_histories_pass() {
    for seed in 0..300 {
        let found = check(&history(seed, 300, 1 + seed % 3));
        assert_eq!(found, Ok(()), "seed {seed}");
    }
}

#[test]
fn planted_anomalies_are_found() {
    let mut planted = [0; 5];
    for seed in 0.. {
        let mut random = Random(seed);
        let mut history = history(seed, 300, 2);
        let Some((first, second, read)) = two_writes_and_a_read(&history, &mut random) else {
            continue;
        };
        let kind = place(seed % 5);
        let old = writes(&first);
        let end = history[read].end;
        let later = |history: &mut Vec<Operation>, value, after| {
            let answer = Answer::Found(value);
            let (begin, end) = (after + 1, after + 2);
            history.push(Operation {
                client: 9,
                call: Call::Read,
                answer,
                begin,
                end,
                ..history[read]
            });
        };
        match kind {
            // A stale read: of what had been overwritten before it began.
            0 => history[read].answer = Answer::Found(old),
            // A lost write: nobody sees the second, whoever began after it.
            1 => {
                let lost = Answer::Found(writes(&second));
                history[read].answer = lost;
                for other in history.iter_mut().filter(|other| other.answer == lost) {
                    other.answer = Answer::Found(old);
                }
            }
            // A duplicate: the first write takes effect again after the second was seen.
            2 => {
                later(&mut history, writes(&second), second.end);
                later(&mut history, old, second.end + 3);
            }
            // A phantom: nobody wrote it.
            3 => history[read].answer = Answer::Found(Some(1_000_000)),
            // Reordered: one sees the second before the first, and another the first before it.
            _ => {
                later(&mut history, writes(&second), end);
                later(&mut history, old, end + 3);
            }
        }
        assert!(check(&history).is_err(), "seed {seed}, kind {kind}");
        planted[kind] += 1;
        if planted.iter().all(|count| *count >= 40) {
            break;
        }
    }
    assert_eq!(planted.len() * 40, 200, "40 of each kind");
}

#[test]
fn unknown_outcomes_may_come_late_or_never() {
    let operation =
        |client, call, answer, begin, end| Operation { client, key: 0, call, answer, begin, end };
    let write = operation(0, Call::Write(7), Answer::Unknown, 0, 0);
    let read = |value, begin| operation(1, Call::Read, Answer::Found(value), begin, begin + 1);
    assert_eq!(check(&[write, read(None, 5), read(None, 9)]), Ok(()), "never");
    assert_eq!(check(&[write, read(None, 5), read(Some(7), 9)]), Ok(()), "late");
    assert!(check(&[write, read(Some(7), 5), read(None, 9)]).is_err(), "and taken back");
    let cas = operation(2, Call::Cas(3, 4), Answer::Mismatch, 6, 7);
    assert_eq!(check(&[cas, read(None, 9)]), Ok(()));
    let cas = operation(2, Call::Cas(7, 8), Answer::Unknown, 1, 0);
    assert_eq!(check(&[write, cas, read(Some(8), 9)]), Ok(()), "one upon the other");
}

#[test]
fn a_hundred_thousand_operations_take_little_time() {
    let history = history(1, 100_000, 1);
    let begin = std::time::Instant::now();
    assert_eq!(check(&history), Ok(()));
    let took = begin.elapsed();
    println!("100,000 operations: {took:?}");
    assert!(took.as_secs() < 20, "{took:?}, even without optimisation");
}
