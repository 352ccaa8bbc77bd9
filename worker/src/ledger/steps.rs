//! What may become of one reply: the decisions of claim, record and giving up, as functions of the reply's row and the time.
//!
//! `reply` reads the row, holds it, asks here, and writes what came of it. Nothing else decides, so what is proven of
//! these functions (`steps/model.rs` goes through every interleaving of a small fleet) is proven of the ledger.
//!
//! The bound: a *try* is a claim that was granted. All but one of those that may have sent a copy are in `ambiguous`, the last
//! is the claim that stands; a claim is granted only while that is less than [`AMBIGUOUS_TRIES_MAX`] together. A try leaves the
//! sum only by its own worker's word that it surely sent nothing.
//!
//! Clocks: a claim ends by the clock of whoever looks. One that is ahead takes a living worker's claim for an abandoned one:
//! that costs one of the tries, and no more than the bound. One that was ahead when it claimed would hold the reply for as long:
//! so a claim that reaches further than any claim can is no claim. Pure: no I/O, no clock, cannot fail.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use serde::{Deserialize, Serialize};

/// Tries of one reply whose result is not known: each may have been a copy.
pub const AMBIGUOUS_TRIES_MAX: i32 = 2;
/// The longest that a claim holds; a sender's time-out is at most 600 s.
pub const HOLD_MAX: Duration = Duration::from_secs(3_600);

/// How far a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplyState {
    /// To be sent.
    Pending,
    /// A worker is sending it, or died while it did.
    Claimed,
    /// Accepted by the next hop.
    Sent,
    /// Refused for good by the next hop, or withdrawn; never sent.
    Refused,
    /// May have been sent, and is not tried any more.
    Uncertain,
    /// Not sent before the request was too old.
    Expired,
    /// Not sent because its files are more than its next hop or its recipient's provider takes.
    TooBig,
}

impl ReplyState {
    /// All of them.
    pub const ALL: [ReplyState; 7] = [
        ReplyState::Pending,
        ReplyState::Claimed,
        ReplyState::Sent,
        ReplyState::Refused,
        ReplyState::Uncertain,
        ReplyState::Expired,
        ReplyState::TooBig,
    ];

    /// Whether it stays so.
    pub fn is_terminal(self) -> bool {
        !matches!(self, ReplyState::Pending | ReplyState::Claimed)
    }

    /// The word for logs and the database.
    pub fn word(self) -> &'static str {
        match self {
            ReplyState::Pending => "pending",
            ReplyState::Claimed => "claimed",
            ReplyState::Sent => "sent",
            ReplyState::Refused => "refused",
            ReplyState::Uncertain => "uncertain",
            ReplyState::Expired => "expired",
            ReplyState::TooBig => "too_big",
        }
    }

    /// The state of that word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// One reply's row, as far as anything is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// How far it is.
    pub state: ReplyState,
    /// How often it was claimed.
    pub attempts: i32,
    /// How many of those tries may have sent a copy, without the claim that stands.
    pub ambiguous: i32,
    /// Until when it is claimed, by the claimer's clock; 1970 if it is not.
    pub held_until: UnixMillis,
    /// The number that the last claimer took for itself; 0 if there was none.
    pub holder: i64,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Send it, and record with this number what came of it.
    Granted(Attempt),
    /// There is nothing to send any more.
    Settled(ReplyState),
    /// Another worker has it until then.
    Held(UnixMillis),
}

/// Which try of a reply a claim is for. A record with an older one is too late: another worker has claimed it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    number: i32,
    holder: i64,
}

/// What came of a try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Try {
    /// Accepted.
    Sent,
    /// Refused for good.
    Refused,
    /// Surely not sent.
    NotSent,
    /// Not known.
    Ambiguous,
}

/// Why a reply is given up although nobody refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Withdrawn {
    /// Its response has gone, or the operator has switched it off.
    Refused,
    /// See [`ReplyState::TooBig`].
    TooBig,
    /// See [`ReplyState::Expired`].
    Expired,
}

impl Standing {
    /// A reply that nobody has touched.
    pub const NEW: Standing = Standing { state: ReplyState::Pending, attempts: 0, ambiguous: 0, held_until: UnixMillis(0), holder: 0 };

    /// Whether a worker may still be sending it, as far as a clock can tell.
    fn is_held(&self, now: UnixMillis) -> bool {
        self.state == ReplyState::Claimed && self.held_until > now && self.held_until <= now + HOLD_MAX
    }

    /// Whether a copy may have left, if nobody is sending it now.
    fn may_have_left(&self) -> bool {
        self.ambiguous > 0
    }

    /// The worker of a claim that has run out said nothing: that try may have sent a copy.
    fn count_abandoned(&mut self) {
        if self.state == ReplyState::Claimed {
            self.ambiguous += 1;
        }
    }

    fn end(&mut self, state: ReplyState) -> ReplyState {
        (self.state, self.held_until) = (state, UnixMillis(0));
        state
    }
}

/// Claims the reply until `now + hold` for the worker that took the number `holder` for this one claim.
pub fn claim(row: &mut Standing, now: UnixMillis, hold: Duration, holder: i64) -> Claim {
    if row.state.is_terminal() {
        return Claim::Settled(row.state);
    }
    if row.is_held(now) {
        return Claim::Held(row.held_until);
    }
    row.count_abandoned();
    if row.ambiguous >= AMBIGUOUS_TRIES_MAX {
        return Claim::Settled(row.end(ReplyState::Uncertain));
    }
    *row =
        Standing { state: ReplyState::Claimed, attempts: row.attempts + 1, ambiguous: row.ambiguous, held_until: now + hold.min(HOLD_MAX), holder };
    Claim::Granted(Attempt { number: row.attempts, holder })
}

/// The first claim of a reply, which a database may grant without asking here: to a row that equals [`Standing::NEW`].
pub fn first_attempt(holder: i64) -> Attempt {
    Attempt { number: 1, holder }
}

/// Records what came of a try, and returns where the reply stands. "Sent" is the truth whenever it comes. Anything else is
/// heard from the one that holds the claim, and once: what another has claimed since, or what has ended, is not its to say.
pub fn record(row: &mut Standing, attempt: Attempt, result: Try) -> ReplyState {
    if result == Try::Sent {
        return row.end(ReplyState::Sent);
    }
    if row.state != ReplyState::Claimed || (row.attempts, row.holder) != (attempt.number, attempt.holder) {
        return row.state;
    }
    row.ambiguous += i32::from(result == Try::Ambiguous);
    match result {
        // An earlier try may have sent it: "refused" would say that nobody got it.
        Try::Refused if !row.may_have_left() => row.end(ReplyState::Refused),
        Try::Refused => row.end(ReplyState::Uncertain),
        Try::Sent | Try::NotSent | Try::Ambiguous if row.ambiguous >= AMBIGUOUS_TRIES_MAX => row.end(ReplyState::Uncertain),
        Try::Sent | Try::NotSent | Try::Ambiguous => row.end(ReplyState::Pending),
    }
}

/// Takes back a claim whose answer never reached its claimer, who so surely sent nothing. Returns whether it stood.
pub fn disown(row: &mut Standing, holder: i64) -> bool {
    let is_ours = row.state == ReplyState::Claimed && row.holder == holder;
    if is_ours {
        row.end(ReplyState::Pending);
    }
    is_ours
}

/// Gives the reply up, and returns where it stands: what a worker holds stays its own, and what may have left is not said to
/// have been withheld.
pub fn give_up(row: &mut Standing, why: Withdrawn, now: UnixMillis) -> ReplyState {
    if row.state.is_terminal() || row.is_held(now) {
        return row.state;
    }
    row.count_abandoned();
    row.end(match why {
        _ if row.may_have_left() => ReplyState::Uncertain,
        Withdrawn::Refused => ReplyState::Refused,
        Withdrawn::TooBig => ReplyState::TooBig,
        Withdrawn::Expired => ReplyState::Expired,
    })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
