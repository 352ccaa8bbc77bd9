//! How long one mail may take: waiting for a connection, going over it, and the answer to its dot.
//!
//! Arithmetic only. Whoever keeps these limits says what follows where one is over.

use std::time::Duration;

use tokio::time::Instant;

/// How long a mail waits for a free connection, as a part of what it may then take.
const SLOT_WAIT_DIVISOR: u32 = 4;

/// What is left of a mail's time for the answer to its dot, at most.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The same where time is short, as a part of it.
const ANSWER_TIME_DIVISOR: u32 = 10;

/// How long one mail may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// When it is given up.
    pub(super) end: Instant,
    /// When its dot has to be on its way: an answer that comes after [`Limits::end`] leaves us uncertain, which is worse than
    /// to begin anew.
    pub(super) dot_by: Instant,
}

impl Limits {
    /// For a mail that may take so long from `now`.
    pub(super) fn of(time: Duration, now: Instant) -> Self {
        let end = now + time;
        Self { end, dot_by: end - ANSWER_TIME.min(time / ANSWER_TIME_DIVISOR) }
    }
}

/// How long a mail that may then take `time` waits for a free connection.
pub(super) fn slot_wait(time: Duration) -> Duration {
    time / SLOT_WAIT_DIVISOR
}

#[cfg(test)]
mod tests;
