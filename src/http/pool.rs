//! The threads that serve connections: made when needed, used again, gone when idle.
//!
//! A connection goes to a waiting thread if there is one *for it* (those that were woken for others
//! and have not run yet do not count), else to a new thread. It never waits behind a connection
//! that is being served, unless there are as many threads as there may be.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::counters::{Count, Tally};
use super::limits::{STACK_BYTES, THREAD_IDLE};
use super::registry::Link;
use crate::os;

/// What a thread does with each connection. It must not panic.
pub(super) type Work = Box<dyn Fn(Arc<Link>) + Send + Sync>;

/// A bounded set of threads.
pub(super) struct Pool {
    name: String,
    threads_max: usize,
    work: Work,
    tally: Arc<Tally>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Connections that wait for a thread: bounded by the connections there may be.
    queue: VecDeque<Arc<Link>>,
    /// Threads that wait for a connection.
    waiting: usize,
    threads: usize,
    /// Threads ever made, which is the number in the next one's name.
    made: u64,
    is_closed: bool,
}

impl Pool {
    /// A pool without threads, which will be called `name-0`, `name-1` and so on.
    pub(super) fn new(name: &str, threads_max: usize, tally: Arc<Tally>, work: Work) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            threads_max,
            work,
            tally,
            state: Mutex::default(),
            wake: Condvar::new(),
        })
    }

    /// Has `link` served by a thread; gives it back when the system has no thread for it.
    pub(super) fn serve(self: &Arc<Self>, link: Arc<Link>) -> Result<(), Arc<Link>> {
        let mut state = self.lock();
        if state.queue.len() < state.waiting || state.threads >= self.threads_max {
            state.queue.push_back(link);
            self.wake.notify_one();
            return Ok(());
        }
        state.queue.push_back(Arc::clone(&link));
        let pool = Arc::clone(self);
        let name = format!("{}-{}", self.name, state.made);
        if let Err(error) = os::spawn_with_stack(&name, STACK_BYTES, move || pool.run()) {
            log::warn!("cannot start thread {name}: {error}");
            state.queue.pop_back();
            return Err(link);
        }
        state.made += 1;
        state.threads += 1;
        self.tally.one(Count::Threads);
        Ok(())
    }

    /// Lets threads without a connection end, now and from now on.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_all();
    }

    /// The life of one thread.
    fn run(&self) {
        while let Some(link) = self.next() {
            (self.work)(link);
        }
        self.tally.one_less(Count::Threads);
    }

    /// The next connection to serve; `None` when the thread is no longer needed.
    fn next(&self) -> Option<Arc<Link>> {
        let mut state = self.lock();
        let mut is_surplus = false;
        loop {
            if let Some(link) = state.queue.pop_front() {
                return Some(link);
            }
            if state.is_closed || is_surplus {
                state.threads -= 1;
                return None;
            }
            state.waiting += 1;
            let woken = self.wake.wait_timeout(state, THREAD_IDLE);
            let (held, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = held;
            state.waiting -= 1;
            is_surplus = timeout.timed_out();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        os::lock(&self.state)
    }
}
