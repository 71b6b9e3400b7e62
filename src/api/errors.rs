//! What each failure of the node is to a client: the one place that decides it.
//!
//! Clients of rqlite look at three places: the status, the error beside the results and the error
//! in a result. The last is never made here: a statement that SQLite refuses is an outcome.

use crate::node::{BackupError, LoadError, MemberError, ProposeError, ReadError};

/// How a failure is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody else leads, or nobody: a redirect where asked for and possible, else 503.
    NotLeader,
    /// Status 200, no results, and this beside them (endpoints with results only).
    InResults(String),
    /// The same, and it is not known whether the request was carried out: a header says so.
    Unknown(String),
    /// This status and this sentence.
    Text(u16, String),
}

/// What a client is told that came too late.
const STOPPING: &str = "node is stopping";

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader => Self::NotLeader,
            ReadError::Stale => Self::InResults("stale read".to_owned()),
            ReadError::TimedOut => Self::InResults(
                "leadership was not confirmed in time: try again, or read at a weaker level"
                    .to_owned(),
            ),
            ReadError::ClientGone => Self::InResults("client has gone".to_owned()),
            ReadError::Unavailable(why) => Self::InResults(why),
            ReadError::Stopped => Self::Text(503, STOPPING.to_owned()),
        }
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader => Self::NotLeader,
            ProposeError::OutcomeUnknown(why) => Self::Unknown(why),
            ProposeError::Refused(why) => Self::InResults(why),
            ProposeError::Stopped => Self::Text(503, STOPPING.to_owned()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Busy(why) => Self::Text(503, why),
            BackupError::NoSpace(why) => Self::Text(507, why),
            BackupError::Failed(why) => Self::Text(500, why),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Upload(why) | LoadError::BadFile(why) => Self::Text(400, why),
            LoadError::NoSpace(why) => Self::Text(507, why),
            LoadError::Propose(error) => error.into(),
        }
    }
}

impl From<MemberError> for Failure {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotLeader => Self::NotLeader,
            MemberError::Refused(why) | MemberError::Unknown(why) => Self::Text(500, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maybe_is_told_in_the_nodes_own_words() {
        let why = || "leadership lost: the write may yet be applied".to_owned();
        let write = Failure::from(ProposeError::OutcomeUnknown(why()));
        assert_eq!(write, Failure::Unknown(why()));
        let load = Failure::from(LoadError::Propose(ProposeError::OutcomeUnknown(why())));
        assert_eq!(load, Failure::Unknown(why()));
        let elsewhere = Failure::from(LoadError::Propose(ProposeError::NotLeader));
        assert_eq!(elsewhere, Failure::NotLeader);
        assert_eq!(Failure::from(ReadError::Stale), Failure::InResults("stale read".to_owned()));
    }
}
