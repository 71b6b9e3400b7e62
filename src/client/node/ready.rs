//! `ready`: whether a node can do its work, now or before long.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Session;
use crate::client::connection::{Body, Call, Effect, Patience};
use crate::client::failure::{Failure, Status};
use crate::client::values::read_duration;
use crate::duration;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Longest time for one look, however long may be waited: a node may be stopped, and started anew.
const TIME_MAX: Duration = Duration::from_secs(60);

/// How a node's report begins when it is ready.
const NODE_OK: &[u8] = b"[+]node ok";

/// What stands below the options in the help text.
const EXAMPLE: &str = "\
Exits with 0 when it is ready, with 4 when it is not, with 3 when it cannot be reached.

Example: quorlite ready --wait 1m && quorlite execute ...";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::client) struct Ready {
    /// Look again until it is ready or so much time has passed
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    wait: Option<Duration>,
    /// Do not ask whether there is a leader
    #[arg(long, conflicts_with = "sync")]
    noleader: bool,
    /// The node must also have what the leader has
    #[arg(long)]
    sync: bool,
}

impl Ready {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let began = Instant::now();
        let asked = loop {
            let left = self.wait.map(|wait| wait.saturating_sub(began.elapsed()));
            let asked = self.ask(session, left);
            let may_change = asked.as_ref().is_err_and(|failure| {
                matches!(failure.status, Status::NotReady | Status::Unreachable)
            });
            let has_time = left.is_some_and(|left| left > LOOK_EVERY);
            if !may_change || !has_time {
                break asked;
            }
            sleep(LOOK_EVERY);
        };
        match &asked {
            Ok(()) => writeln!(session.output, "ready")?,
            Err(failure) if failure.status == Status::NotReady => {
                writeln!(session.output, "not ready")?;
                session.output.flush()?;
            }
            Err(_) => {}
        }
        asked
    }

    /// Looks once; the failure's sentence is the check that failed.
    fn ask(&self, session: &mut Session, left: Option<Duration>) -> Result<(), Failure> {
        // A last look shorter than this could not be answered by anybody.
        let left = left.map_or(Duration::MAX, |left| left.max(LOOK_EVERY));
        let time = left.min(session.client.settings().timeout).min(TIME_MAX);
        let mut target = "readyz?".to_owned();
        if self.noleader {
            target.push_str("noleader&");
        }
        if self.sync {
            target.push_str("sync&");
        }
        // The server gives up before this client does, so that it can say why.
        target.push_str(&format!("timeout={}", duration::print(time.mul_f64(0.9))));
        let answer = session.client.send(Call {
            method: "GET",
            target: &target,
            headers: &[],
            body: Body::Empty,
            effect: Effect::None,
            patience: Patience::Within(time),
        })?;
        if answer.status != 503 {
            let report = answer.successful()?.bytes()?;
            // Anything that speaks HTTP may answer 200.
            let is_report = report.trim_ascii_start().starts_with(NODE_OK);
            return if is_report { Ok(()) } else { Err(Failure::not_of_this_api()) };
        }
        let report = answer.bytes()?;
        let report = String::from_utf8_lossy(&report);
        let last = report.trim_end().lines().last().unwrap_or("the node is not ready");
        Err(Failure::new(Status::NotReady, last.trim_start_matches("[+]")))
    }
}
