//! The `maintenance` thread: VACUUM and PRAGMA optimize on a timetable, as entries of the log.
//!
//! Both change what every node must change alike, so they are proposed like any write, and only
//! a leader's proposals are taken. This thread decides nothing but the time.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::answers::ProposeError;
use super::handle::Handle;
use super::start::Settings;
use crate::command::{Batch, Statement};
use crate::db::outcome::StatementResult;
use crate::os;
use crate::stats::{self, Stat};

/// How long a proposal of ours may wait for a disk that is full.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// One thing to do now and then.
struct Duty {
    sql: &'static str,
    every: Duration,
    due: Instant,
    done: Stat,
    failed: Stat,
}

/// The running thread; dropping this ends it.
pub(super) struct Timetable {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Timetable {
    /// Has nothing more proposed, without waiting for what is.
    pub(super) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Timetable {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the maintenance thread had panicked");
        }
    }
}

/// Starts the thread if there is anything to do.
///
/// # Errors
/// The system's, when it has no more threads.
pub(super) fn start(handle: &Handle, settings: &Settings) -> io::Result<Timetable> {
    let now = Instant::now();
    let duty = |sql, every, done, failed| Duty { sql, every, due: now + every, done, failed };
    let mut duties = vec![
        duty("VACUUM", settings.vacuum_interval, Stat::AutoVacuums, Stat::AutoVacuumsFailed),
        duty(
            "PRAGMA optimize",
            settings.optimize_interval,
            Stat::AutoOptimizes,
            Stat::AutoOptimizesFailed,
        ),
    ];
    duties.retain(|duty| !duty.every.is_zero());
    if duties.is_empty() {
        return Ok(Timetable { stop: None, thread: None });
    }
    let (stop, stopped) = bounded::<()>(0);
    let handle = handle.clone();
    let thread = os::spawn("maintenance", move || {
        loop {
            let now = Instant::now();
            for duty in duties.iter_mut().filter(|duty| duty.due <= now) {
                duty.due = now + duty.every;
                perform(&handle, duty);
            }
            let next = duties.iter().map(|duty| duty.due).min().unwrap_or(now);
            let wait = next.saturating_duration_since(Instant::now());
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(Timetable { stop: Some(stop), thread: Some(thread) })
}

fn perform(handle: &Handle, duty: &Duty) {
    let batch = Batch {
        statements: vec![Statement::plain(duty.sql)],
        transaction: false,
        returns_rows: false,
        qualify_columns: false,
        instructions_max: 0,
    };
    let payload = format!("[\"{}\"]", duty.sql);
    let failure = match handle.execute(batch, payload.as_bytes(), WAIT_MAX) {
        Ok(answer) => answer.outcomes.into_iter().find_map(|outcome| match outcome.result {
            StatementResult::Failed(text) => Some(text),
            StatementResult::Written { .. } | StatementResult::Rows(_) => None,
        }),
        // Somebody else's duty, or nobody's.
        Err(ProposeError::NotLeader | ProposeError::Stopped) => return,
        Err(ProposeError::OutcomeUnknown(text) | ProposeError::Refused(text)) => Some(text),
    };
    match failure {
        None => stats::add(duty.done, 1),
        Some(text) => {
            stats::add(duty.failed, 1);
            log::warn!("{} failed: {text}", duty.sql);
        }
    }
}
