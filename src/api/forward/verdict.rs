//! What is certain of a request that got no answer, and what may be done about it.
//!
//! Pure decisions, for they are what a client's data depends on: a request is sent again only
//! when it is certain that nothing was done. Nothing here knows a socket.

/// Attempts without `retries`: a leader may have gone since it was last heard, so there is one
/// more look at who leads.
const ATTEMPTS: u32 = 2;
/// What is certain of a request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not done, and its body is still whole.
    Unsent,
    /// Not done, for no leader has had all of it or one has said so; its body is used up.
    Undone,
    /// It may have been done, may be done later, or not at all.
    Unknown,
    /// The client has not sent all of it. Not done.
    CutByClient,
}

/// What was seen of an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The client's body could not be read.
    pub(super) has_client_failed: bool,
    /// The last byte of the request was handed to the kernel.
    pub(super) has_all_left: bool,
    /// The leader itself has said that nothing was done.
    pub(super) is_refused: bool,
    /// The body can be sent from its beginning again.
    pub(super) is_body_whole: bool,
}

impl Evidence {
    pub(super) fn fate(self) -> Fate {
        // A request whose end has not left was not carried out: half a body is never executed.
        let is_undone = self.is_refused || !self.has_all_left;
        match (self.has_client_failed, is_undone, self.is_body_whole) {
            (true, _, _) => Fate::CutByClient,
            (false, true, true) => Fate::Unsent,
            (false, true, false) => Fate::Undone,
            (false, false, _) => Fate::Unknown,
        }
    }
}

/// How often a request is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    attempts_left: u32,
}

impl Patience {
    /// `retries` come on top.
    pub(super) fn new(retries: u32) -> Self {
        Self { attempts_left: ATTEMPTS.saturating_add(retries) }
    }

    /// Counts an attempt that ended so; true when there may be another.
    pub(super) fn allows_another(&mut self, fate: Fate) -> bool {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        self.attempts_left > 0 && fate == Fate::Unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Evidence = Evidence {
        has_client_failed: false,
        has_all_left: true,
        is_refused: false,
        is_body_whole: true,
    };

    #[test]
    fn a_request_that_has_left_whole_is_never_repeated() {
        assert_eq!(LOST.fate(), Fate::Unknown);
        assert!(!Patience::new(9).allows_another(Fate::Unknown));
    }

    #[test]
    fn what_is_certain_not_to_be_done_is_repeated_if_it_can_be() {
        let refused = Evidence { is_refused: true, ..LOST };
        assert_eq!(refused.fate(), Fate::Unsent);
        assert_eq!(Evidence { is_body_whole: false, ..refused }.fate(), Fate::Undone);
        let unsent = Evidence { has_all_left: false, ..LOST };
        assert_eq!(unsent.fate(), Fate::Unsent);
        assert_eq!(Evidence { has_client_failed: true, ..unsent }.fate(), Fate::CutByClient);
        for fate in [Fate::Undone, Fate::CutByClient] {
            assert!(!Patience::new(9).allows_another(fate), "{fate:?}");
        }
    }

    #[test]
    fn retries_add_to_the_one_more_look_that_is_always_had() {
        for (retries, attempts) in [(0, 2), (3, 5)] {
            let mut patience = Patience::new(retries);
            let more = (0..9).take_while(|_| patience.allows_another(Fate::Unsent)).count();
            assert_eq!(more + 1, attempts);
        }
    }
}
