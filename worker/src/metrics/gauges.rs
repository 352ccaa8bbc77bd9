//! What is so now, beside what was counted ([`super::figures`]): who this worker is, how full the queue is, how old its oldest
//! message and the catalogue are. Kept by the sampler; what cannot be found out is `None`, and nothing fails.

use std::time::{Duration, Instant};

use replyfleet::{clock::UnixMillis, queue::Depth};

/// What is so now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// A random word for the process, as the database's list of workers has it.
    pub worker: String,
    /// The program's version.
    pub version: &'static str,
    /// Since when it runs.
    pub started: UnixMillis,
    /// Workers of the fleet, this one too, when they were last counted; none before that.
    pub workers: Option<usize>,
    /// Messages that it can have in hand.
    pub slots: usize,
    /// Messages that it has in hand.
    pub in_hand: usize,
    /// The share of its slots that was taken in the last minute, from 0 to 1.
    pub busy_fraction: f64,
    /// How full the queue was when it was last asked; none if it did not answer then.
    pub depth: Option<Depth>,
    /// How long the oldest message has waited that nobody received yet, as far as that is known; none before the first look.
    pub oldest_age: Option<Duration>,
    /// The version of the catalogue in force; empty before the first look.
    pub catalogue_version: String,
    /// For how long the store has not said that this is its own.
    pub catalogue_age: Duration,
}

/// What waits in the mail queue of a machine's Postfix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailQueue {
    /// How many mails, wherever in its queues.
    pub depth: u64,
    /// How long ago the oldest of them came; zero if there is none.
    pub oldest_age: Duration,
}

/// The gauges as they were at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sampled {
    pub(super) gauges: Gauges,
    /// When the catalogue's age was looked at.
    pub(super) catalogue_at: Option<Instant>,
}

impl Sampled {
    /// The gauges now: the catalogue grows older between two looks.
    pub(super) fn now(&self, in_hand: usize) -> Gauges {
        let mut gauges = self.gauges.clone();
        gauges.in_hand = in_hand;
        gauges.catalogue_age += self.catalogue_at.map(|at| at.elapsed()).unwrap_or_default();
        gauges
    }
}
