//! What the status page shows, as `/status.json` says it: plain values, so that a page, a terminal and a test see the same.
//!
//! Numbers, words from closed lists, addresses of our own, and lines of our own log: nothing of a requester. Whoever reads it
//! leaves out what he does not know, and does without what is missing.

use serde::{Deserialize, Serialize};

/// What the worker is doing, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for what it needs, or opens it.
    #[default]
    Starting,
    /// It answers requests.
    Answering,
    /// Nothing could be answered now: what everything needs is away.
    Blocked,
    /// It finishes what it has in hand.
    Stopping,
}

/// A worker at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// The moment, in milliseconds since 1970. So are all whose name ends so.
    pub at_ms: u64,
    /// A random word for the process; empty before it is open.
    pub worker: String,
    /// The program's version.
    pub version: String,
    /// Since when it runs.
    pub started_ms: u64,
    /// What it does.
    pub state: State,
    /// What it waits for, while it starts.
    pub waits_for: Option<String>,
    /// Whether its loop moves.
    pub is_alive: bool,
    /// Messages that it can have in hand.
    pub slots: usize,
    /// Messages that it has in hand.
    pub in_hand: usize,
    /// How full the queue is, which is the fleet's; none if that is not known.
    pub queue: Option<QueueView>,
    /// The catalogue in force.
    pub catalogue: Option<CatalogueView>,
    /// The switches that are not as if nobody had set them, as `name=value`.
    pub switches: Vec<String>,
    /// Whether attachments are given up because the queue is long.
    pub is_shedding: bool,
    /// What is away.
    pub breakers: Vec<BreakerView>,
    /// Counts since the start.
    pub totals: Totals,
    /// Counts of the last hour, or since the start.
    pub last_hour: Totals,
    /// The last sixty seconds, or since the start.
    pub last_minute: Minute,
    /// The minutes before, newest last, at most [`super::history::MINUTES_MAX`].
    pub minutes: Vec<Minute>,
    /// The last warnings and errors, newest first.
    pub errors: Vec<ErrorView>,
}

/// How full the queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueView {
    /// Messages that wait.
    pub visible: u64,
    /// Messages that wait for a time.
    pub delayed: u64,
    /// Messages that some worker has.
    pub in_flight: u64,
    /// How many seconds the oldest has waited; none if that is not known.
    pub oldest_s: Option<u64>,
}

/// The catalogue in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogueView {
    /// Its version.
    pub version: String,
    /// For how many seconds the store has not said that this is its own.
    pub age_s: u64,
}

/// Something that is away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerView {
    /// What: `ledger`, `dns`, `store`, `send.SES`, `send.SMTP`.
    pub name: String,
    /// A word for why.
    pub reason: String,
    /// Since when.
    pub since_ms: u64,
}

/// Counts of a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Receipts that ended, the most frequent end first.
    pub ended: Vec<EndedView>,
    /// Replies that a next hop accepted.
    pub response_sent: Vec<SentView>,
}

/// How often messages ended in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedView {
    /// The outcome's word.
    pub outcome: String,
    /// The word for why, or the empty text.
    pub why: String,
    /// How often.
    pub count: u64,
}

/// How many replies left by one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SentView {
    /// The method's word.
    pub method: String,
    /// How many.
    pub count: u64,
}

/// A minute, or what there is of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Minute {
    /// Its end.
    pub at_ms: u64,
    /// How long it was, in seconds: a machine that stood still makes long ones.
    pub seconds: f64,
    /// Messages that were received for the first time.
    pub received: u64,
    /// Messages that were answered.
    pub answered: u64,
    /// Replies that a next hop accepted.
    pub sent: u64,
    /// The share of the slots that was taken, from 0 to 1.
    pub busy_fraction: f64,
    /// From when the MX took the mail to the acceptance of its last reply, in milliseconds.
    pub processing_time: Percentiles,
    /// From when the MX took the mail to its first receipt, in milliseconds.
    pub queue_wait: Percentiles,
    /// How many seconds the oldest message had waited at its end.
    pub oldest_s: Option<u64>,
    /// Messages that waited at its end, for a time or not.
    pub depth: Option<u64>,
}

impl Minute {
    /// So many of this minute, as so many a minute.
    pub fn per_minute(&self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
        let count = count as f64;
        if self.seconds > 0.0 { count * 60.0 / self.seconds } else { 0.0 }
    }
}

/// How lengths of time are distributed, in milliseconds. The percentiles are none where nothing was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Percentiles {
    pub count: u64,
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
}

/// A line of the log that somebody should know of, and how often it came in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorView {
    /// When it last came.
    pub at_ms: u64,
    /// When it first came.
    pub first_ms: u64,
    /// How often.
    pub count: u64,
    /// `ERROR` or `WARN`.
    pub level: String,
    /// What it says.
    pub text: String,
}
