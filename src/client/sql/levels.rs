//! How fresh a read must be.

use std::time::Duration;

use crate::client::failure::Failure;
use crate::client::values::read_duration;

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Levels {
    /// How a read is kept from being stale [default: weak; none on a read replica]
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
    /// With --level none: how old the data may be
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    freshness: Option<Duration>,
    /// With --freshness: count the age from when the leader took the write
    #[arg(long, requires = "freshness")]
    freshness_strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// What this node has
    None,
    /// What the node has that takes itself for the leader
    Weak,
    /// What a majority agrees is the newest
    Linearizable,
    /// The same, through the log
    Strong,
}

impl Levels {
    /// Adds what is asked for to the parameters of a request.
    pub(super) fn add_to(&self, parameters: &mut Vec<String>) -> Result<(), Failure> {
        let Some(level) = self.level else {
            return match self.freshness {
                None => Ok(()),
                Some(_) => Err(Failure::usage("--freshness needs --level none")),
            };
        };
        let name = match level {
            Level::None => "none",
            Level::Weak => "weak",
            Level::Linearizable => "linearizable",
            Level::Strong => "strong",
        };
        parameters.push(format!("level={name}"));
        if let Some(age) = self.freshness {
            if level != Level::None {
                return Err(Failure::usage(format!(
                    "--freshness is for reads of level none: those of level {name} are never older"
                )));
            }
            parameters.push(format!("freshness={}ns", age.as_nanos()));
        }
        if self.freshness_strict {
            parameters.push("freshness_strict".to_owned());
        }
        Ok(())
    }
}
