//! What a leader knows of one other member, and what is on its way there.
//!
//! One append at a time is on its way to a member: while it is, what is proposed gathers, and the
//! next append takes all of it. So a slow member or a slow link makes larger appends, never a queue.

use super::flaw::{Flaw, planted};
use super::types::Index;

/// What a leader knows of one other member.
///
/// * `matched < next`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Durable there, and equal to this log up to here.
    pub(super) matched: Index,
    /// The first entry to send next.
    pub(super) next: Index,
    pub(super) mode: Mode,
    /// The append that is on its way.
    pub(super) on_its_way: Option<OnItsWay>,
    /// Ticks since it was heard.
    pub(super) silent_ticks: u32,
    /// The latest round it has answered.
    pub(super) round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Where the logs part is not known: appends of one entry find out.
    Probe,
    /// They agree: appends take whatever there is.
    Replicate,
    /// It is sent the state, since this log begins behind what it needs.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnItsWay {
    pub(super) prev: Index,
    pub(super) last: Index,
    pub(super) ticks: u32,
}

impl OnItsWay {
    /// What only says that `prev` is held there may be the answer to the append before this one.
    /// Taken for this one's, it would be sent again, and answered twice, for ever.
    fn is_answered_by(&self, matched: Index) -> bool {
        matched > self.prev || (matched == self.prev && self.last == self.prev)
    }
}

impl Progress {
    /// A member of which nothing is known, when this log ends at `last`.
    pub(super) fn new(last: Index) -> Self {
        Self {
            matched: 0,
            next: last + 1,
            mode: Mode::Probe,
            on_its_way: None,
            silent_ticks: 0,
            round: 0,
        }
    }

    pub(super) fn heard(&mut self, round: u64) {
        self.silent_ticks = 0;
        self.round = self.round.max(round);
    }

    /// An append was answered: durable there up to `matched`. What is known never goes back, as a
    /// delayed answer says less.
    pub(super) fn appended(&mut self, mut matched: Index) {
        if let Some(sent) = self.on_its_way
            && planted(Flaw::SentIsMatched)
        {
            matched = matched.max(sent.last);
        }
        let least = if planted(Flaw::MatchedGoesBack) { 0 } else { self.matched };
        self.matched = least.max(matched);
        if self.mode != Mode::Snapshot {
            self.next = self.next.max(self.matched + 1);
            if self.on_its_way.is_some_and(|sent| sent.is_answered_by(matched)) {
                self.mode = Mode::Replicate;
                self.on_its_way = None;
                // Fewer may have been sent, or saved, than were allowed.
                self.next = self.matched + 1;
            }
        }
    }

    /// A heartbeat was answered: as above, and the log ends at `last` there. An append of which
    /// nothing has arrived after `patience` ticks is lost. One that says less than is known has
    /// started anew since, and does not know what it holds: the next append tells it.
    pub(super) fn reported(&mut self, matched: Index, last: Index, patience: u32) {
        let knows_less = matched < self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched + 1);
        let Some(sent) = self.on_its_way else {
            if knows_less && self.mode == Mode::Replicate && !planted(Flaw::RestartNotProbed) {
                self.mode = Mode::Probe;
            }
            return;
        };
        if self.matched >= sent.last && sent.last > sent.prev {
            self.appended(self.matched);
        } else if sent.ticks >= patience && last <= sent.prev {
            self.on_its_way = None;
        }
    }

    /// The entry at `prev` is not the same there; `common` is the last that may be.
    pub(super) fn refused(&mut self, prev: Index, common: Index) {
        let is_about_this = self.on_its_way.is_some_and(|sent| sent.prev == prev);
        // An answer to an older append says nothing new.
        if is_about_this && prev > self.matched && self.mode != Mode::Snapshot {
            self.mode = Mode::Probe;
            self.on_its_way = None;
            self.next = common.min(prev - 1).max(self.matched) + 1;
        }
    }
}
