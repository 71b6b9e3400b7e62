//! Whether what clients saw of registers could have come from one register at a time.
//!
//! The search of Wing and Gong with Lowe's improvements (Testing for linearizability, 2017): the
//! calls and returns of one key are a linked list in the order of time; a call that fits the state
//! is lifted out, a return that is met first means that the last choice was wrong. What has been
//! tried is remembered as a pair of the set of lifted calls and the state, the set as a sum of
//! random numbers, one for each call. It never looks at anything but the history it is given.

use std::collections::{BTreeMap, HashSet};

/// What a client asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    /// Every value is written at most once.
    Write(u64),
    /// Writes the second if the first stands there.
    Cas(u64, u64),
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it may have happened, may yet happen, or never.
    Unknown,
    /// What a read found.
    Found(Option<u64>),
    /// It was written.
    Done,
    /// Something else stood there.
    Mismatch,
}

/// One call and its answer. What was refused has not happened, and is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) client: u64,
    pub(crate) key: u64,
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) begin: u64,
    /// Means nothing when the answer is unknown.
    pub(crate) end: u64,
}

type State = Option<u64>;

/// A history that no register could have given is told by the calls at which the search stuck.
pub(crate) fn check(history: &[Operation]) -> Result<(), String> {
    let mut keys: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(operation.key).or_default().push(*operation);
    }
    keys.into_values().try_for_each(|operations| check_key(&simplified(operations)))
}

/// Without what constrains nothing: reads without an answer, mismatches with what nobody wrote, and
/// writes without an answer that nobody saw, which may as well have come last.
fn simplified(mut operations: Vec<Operation>) -> Vec<Operation> {
    let written: HashSet<u64> = operations.iter().filter_map(may_write).collect();
    operations.retain(|operation| match (operation.call, operation.answer) {
        (Call::Cas(from, _), Answer::Mismatch) => written.contains(&from),
        _ => true,
    });
    let mut seen = HashSet::new();
    let mut is_any_mismatch = false;
    for operation in &operations {
        match (operation.call, operation.answer) {
            (Call::Read, Answer::Found(Some(value))) => drop(seen.insert(value)),
            (Call::Cas(from, _), answer) => {
                seen.insert(from);
                is_any_mismatch |= answer == Answer::Mismatch;
            }
            _ => {}
        }
    }
    operations.retain(|operation| match (operation.call, operation.answer) {
        (Call::Read, Answer::Unknown) => false,
        (Call::Write(value) | Call::Cas(_, value), Answer::Unknown) => {
            is_any_mismatch || seen.contains(&value)
        }
        _ => true,
    });
    operations
}

fn may_write(operation: &Operation) -> Option<u64> {
    match (operation.call, operation.answer) {
        (Call::Read, _) | (_, Answer::Mismatch) => None,
        (Call::Write(value) | Call::Cas(_, value), _) => Some(value),
    }
}

/// What the call does to the state, if its answer fits.
fn apply(operation: &Operation, state: State) -> Option<State> {
    match (operation.call, operation.answer) {
        (Call::Read, Answer::Found(value)) => (value == state).then_some(state),
        (Call::Write(value), Answer::Done | Answer::Unknown) => Some(Some(value)),
        (Call::Cas(from, to), Answer::Done) => (state == Some(from)).then_some(Some(to)),
        (Call::Cas(from, _), Answer::Mismatch) => (state != Some(from)).then_some(state),
        (Call::Cas(from, to), Answer::Unknown) => {
            Some(if state == Some(from) { Some(to) } else { state })
        }
        (Call::Read | Call::Write(_), _) | (Call::Cas(..), Answer::Found(_)) => None,
    }
}

/// Calls and returns in the order of time: place 0 is the head, `2 n + 1` the call of operation
/// `n` and `2 n + 2` its return.
struct List {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl List {
    fn new(operations: &[Operation]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            let is_open = operation.answer == Answer::Unknown;
            order.push((operation.begin, false, 2 * number + 1));
            order.push((if is_open { u64::MAX } else { operation.end }, true, 2 * number + 2));
        }
        // At the same moment calls come first: that allows more, and never less.
        order.sort_unstable();
        let count = 2 * operations.len() + 1;
        let mut list = Self { next: vec![0; count], previous: vec![0; count] };
        let mut last = 0;
        for (_, _, place) in order {
            list.next[last] = place;
            list.previous[place] = last;
            last = place;
        }
        list
    }

    fn take_out(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn put_back(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = place;
        self.previous[next] = place;
    }

    fn lift(&mut self, call: usize) {
        self.take_out(call);
        self.take_out(call + 1);
    }

    fn unlift(&mut self, call: usize) {
        self.put_back(call + 1);
        self.put_back(call);
    }
}

fn check_key(operations: &[Operation]) -> Result<(), String> {
    let mut list = List::new(operations);
    let mut tried: HashSet<(u128, State)> = HashSet::new();
    let mut lifted: Vec<(usize, State)> = Vec::new();
    let mut state: State = None;
    let mut set: u128 = 0;
    let mut place = list.next[0];
    let mut deepest = (0, Vec::new());
    let before_it = interchangeable(operations);
    let mut is_lifted = vec![false; operations.len()];
    while place != 0 {
        let number = (place - 1) / 2;
        let is_call = place % 2 == 1;
        if !is_call && operations[number].answer == Answer::Unknown {
            // Whatever is left may never have happened.
            return Ok(());
        }
        if is_call {
            let is_next = before_it[number].is_none_or(|before| is_lifted[before]);
            let after = apply(&operations[number], state).filter(|_| is_next);
            let with = set ^ mark(number);
            if let Some(after) = after.filter(|after| tried.insert((with, *after))) {
                lifted.push((place, state));
                is_lifted[number] = true;
                (state, set) = (after, with);
                list.lift(place);
                place = list.next[0];
            } else {
                place = list.next[place];
            }
            continue;
        }
        if lifted.len() >= deepest.0 {
            let last: Vec<usize> = lifted.iter().rev().take(6).map(|(call, _)| call / 2).collect();
            deepest = (lifted.len(), [vec![number], last].concat());
        }
        let Some((call, before)) = lifted.pop() else {
            return Err(explain(operations, &deepest.1));
        };
        state = before;
        is_lifted[(call - 1) / 2] = false;
        set ^= mark((call - 1) / 2);
        list.unlift(call);
        place = list.next[call];
    }
    Ok(())
}

/// Writes without an answer that nobody saw can only explain why something else did not stand
/// there, and any of them can: it is enough to try them in order. Gives the one before each.
fn interchangeable(operations: &[Operation]) -> Vec<Option<usize>> {
    let mut seen = HashSet::new();
    for operation in operations {
        match (operation.call, operation.answer) {
            (Call::Read, Answer::Found(Some(value))) => drop(seen.insert(value)),
            (Call::Cas(from, _), _) => drop(seen.insert(from)),
            _ => {}
        }
    }
    let is_alike = |operation: &Operation| match (operation.call, operation.answer) {
        (Call::Write(value), Answer::Unknown) => !seen.contains(&value),
        _ => false,
    };
    let mut order: Vec<usize> =
        (0..operations.len()).filter(|number| is_alike(&operations[*number])).collect();
    order.sort_by_key(|number| operations[*number].begin);
    let mut before = vec![None; operations.len()];
    for pair in order.windows(2) {
        before[pair[1]] = Some(pair[0]);
    }
    before
}

/// A random number for each call, so that the sum over a set names the set.
fn mark(number: usize) -> u128 {
    let half = |seed: u64| {
        let mut mixed = (number as u64).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(mixed ^ (mixed >> 31))
    };
    (half(0x5851_f42d) << 64) | half(0x1405_7b7e_f767)
}

fn explain(operations: &[Operation], around: &[usize]) -> String {
    let mut text = "no register answers like this; the first cannot be placed, after:".to_owned();
    for number in around {
        let Operation { client, key, call, answer, begin, end } = operations[*number];
        text += &format!("\n  {begin}..{end} client {client} key {key}: {call:?} -> {answer:?}");
    }
    text
}
