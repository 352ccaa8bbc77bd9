//! What is told of a message: one log line, its counts ([`figures`], beside [`gauges`]), one line in the feed. Telling never fails the message.
//!
//! Every field is a number, a word from a closed list, or a keyed hash. The feed is for those in the same process who
//! want to watch, as the demo does; one who does not read in time loses the oldest lines.

mod cloudwatch;
mod data;
pub mod figures;
pub mod gauges;
mod host;
pub mod machine;
pub mod prometheus;
mod publisher;
pub(crate) mod sampler;
pub mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use replyfleet::{clock::UnixMillis, envelope::Facts};
use tokio::sync::broadcast;

pub(crate) use self::publisher::Publisher;
pub use self::publisher::check;
use self::{
    figures::Figures,
    gauges::{Gauges, Sampled},
    sampler::{OF_LATE, Receipts},
};
use crate::{
    ledger::ReplyState,
    outcome::{Outcome, Row},
    respond::Account,
    send::SendError,
    switches::Switches,
};

/// Lines that a slow reader of the feed may lag behind.
const FEED_LINES_MAX: usize = 1_024;
/// Characters of a request key that are logged: enough to tell requests apart.
const KEY_CHARS: usize = 16;
/// A message that is older when it is answered says nothing about how fast the fleet is now.
const STALE_AFTER: Duration = Duration::from_secs(3_600);
/// What stands for an address that the catalogue does not have: a sender could name as many as he likes.
const OTHER_ADDRESS: &str = "other";

/// How one message ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The request key, or empty if the envelope could not be read.
    pub request_key: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Where its replies stand.
    pub replies: Vec<ReplyState>,
    /// From when the enqueuer took it to now.
    pub processing_time: Duration,
}

/// What the operator has switched, as this worker follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switched {
    /// The switches that are not as if nobody had set them, as `name=value`.
    pub settings: Vec<String>,
    /// Whether attachments are given up because the queue is long.
    pub is_shedding: bool,
}

/// Something that is away, as an alarm shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBreaker {
    /// `ledger`, `dns`, `store`, `send.SES` or `send.SMTP`.
    pub name: &'static str,
    /// A word for why: `no_answer`, `refused`, `paused`, `suspended`, `quota`.
    pub reason: &'static str,
    /// Since when.
    pub since: UnixMillis,
}

/// Counts, gauges, and the feed.
pub struct Metrics {
    began: Instant,
    breakers: Mutex<BTreeMap<&'static str, OpenBreaker>>,
    switched: Mutex<Switched>,
    tally: Mutex<Tally>,
    sampled: Mutex<Sampled>,
    feed: broadcast::Sender<Ended>,
}

/// What is counted, and what is needed to add up the time that slots are taken.
struct Tally {
    figures: Figures,
    in_hand: usize,
    /// When `figures.busy` was last brought up to date.
    at: Instant,
    /// How often a message was received.
    receipts: u64,
    /// The longest wait at a first receipt, for each second of the last minute that had one.
    waits: VecDeque<(Instant, Duration)>,
}

impl Tally {
    fn catch_up(&mut self) {
        let now = Instant::now();
        self.figures.busy += now.saturating_duration_since(self.at) * u32::try_from(self.in_hand).unwrap_or(u32::MAX);
        self.at = now;
    }

    fn waited(&mut self, now: Instant, wait: Duration) {
        match self.waits.back_mut() {
            Some((at, longest)) if now.saturating_duration_since(*at) < Duration::from_secs(1) => *longest = wait.max(*longest),
            _ => {
                self.forget_waits(now);
                self.waits.push_back((now, wait));
            }
        }
    }

    fn forget_waits(&mut self, now: Instant) {
        while self.waits.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > OF_LATE) {
            self.waits.pop_front();
        }
    }
}

/// A message is in hand for as long as this lives.
pub(crate) struct InHand(Arc<Metrics>);

impl Drop for InHand {
    fn drop(&mut self) {
        let mut tally = self.0.tally();
        tally.catch_up();
        tally.in_hand -= 1;
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let began = Instant::now();
        let tally = Tally { figures: Figures::default(), in_hand: 0, at: began, receipts: 0, waits: VecDeque::new() };
        Self {
            began,
            breakers: Mutex::default(),
            switched: Mutex::default(),
            tally: Mutex::new(tally),
            sampled: Mutex::default(),
            feed: broadcast::Sender::new(FEED_LINES_MAX),
        }
    }
}

/// What is known of a message when it ends.
pub struct Story<'a> {
    /// Its envelope, if it could be read.
    pub facts: Option<&'a Facts>,
    /// The address of ours that it asked, without its tag, if the catalogue has that.
    pub asked: Option<String>,
    /// How often it was received.
    pub receive_count: u32,
    /// Whether an operator brought it back from the dead letters.
    pub is_replayed: bool,
    /// What there is to tell of it besides.
    pub(crate) account: &'a Account,
    /// How long this worker had it.
    pub handling_time: Duration,
    /// The time.
    pub now: UnixMillis,
}

impl Metrics {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Poisoned: sums are sums whatever panicked.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message takes a slot.
    pub(crate) fn begin(self: &Arc<Self>) -> InHand {
        let mut tally = self.tally();
        tally.catch_up();
        tally.in_hand += 1;
        tally.receipts += 1;
        InHand(Arc::clone(self))
    }

    /// A message was received for the first time, and had waited so long. How long one lay among the dead letters before it was
    /// replayed says nothing about the queue, and is not given.
    pub(crate) fn received(&self, queue_wait: Option<Duration>) {
        let mut tally = self.tally();
        tally.figures.received += 1;
        if let Some(wait) = queue_wait {
            tally.figures.queue_wait.add(wait);
            tally.waited(Instant::now(), wait);
        }
    }

    /// What was received so far, and of late.
    fn receipts(&self, now: Instant) -> Receipts {
        let mut tally = self.tally();
        tally.forget_waits(now);
        Receipts { count: tally.receipts, wait_max: tally.waits.iter().map(|(_, wait)| *wait).max() }
    }

    /// Since when it is counted.
    fn began(&self) -> Instant {
        self.began
    }

    /// A reply is put back for so long because of a rate.
    pub(crate) fn sent_away(&self, away: Duration) {
        self.tally().figures.send_wait.add(away);
    }

    /// Everything that was counted since the start, up to now.
    pub fn figures(&self) -> Figures {
        let mut tally = self.tally();
        tally.catch_up();
        tally.figures.clone()
    }

    /// Messages in hand now.
    pub fn in_hand(&self) -> usize {
        self.tally().in_hand
    }

    /// What is so now, as far as it was looked at.
    pub fn gauges(&self) -> Gauges {
        let in_hand = self.in_hand();
        self.sampled().now(in_hand)
    }

    fn sampled(&self) -> MutexGuard<'_, Sampled> {
        // Poisoned: each of its values is whole.
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was looked at what is so now.
    fn sampled_now(&self, now: Instant, set: impl FnOnce(&mut Gauges)) {
        let mut sampled = self.sampled();
        set(&mut sampled.gauges);
        sampled.catalogue_at = Some(now);
    }

    /// This worker is this one.
    pub(crate) fn named(&self, worker: &str, started: UnixMillis, slots: usize) {
        let gauges = &mut self.sampled().gauges;
        (gauges.worker, gauges.started, gauges.slots, gauges.version) = (worker.to_owned(), started, slots, env!("CARGO_PKG_VERSION"));
    }

    /// So many workers share the queue.
    pub(crate) fn counted(&self, workers: usize) {
        self.sampled().gauges.workers = Some(workers);
    }

    /// A message ended.
    pub fn ended(&self, outcome: &Outcome, row: &Row, story: &Story<'_>) {
        let processing_time = story.facts.map(|facts| story.now.since(facts.arrived)).unwrap_or_default();
        let request_key = story.facts.map(|facts| facts.request_key.as_str()).unwrap_or_default();
        let Account { replies: states, proof, granted, without_files, .. } = story.account;
        let replies = states.iter().map(|state| state.word()).collect::<Vec<_>>().join(",");
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    outcome = row.word,
                    why = row.why,
                    request = request_key.get(..KEY_CHARS).unwrap_or_default(),
                    queue_id = story.facts.map(|facts| facts.queue_id.as_str()).unwrap_or_default(),
                    mx = story.facts.map(|facts| facts.host.as_str()).unwrap_or_default(),
                    replies,
                    proof = proof.as_ref(),
                    granted = granted.as_ref(),
                    without_files,
                    receive_count = story.receive_count,
                    processing_time_ms = millis(processing_time),
                    handling_time_ms = millis(story.handling_time),
                    "message ended"
                )
            };
        }
        match row.level {
            tracing::Level::ERROR => line!(tracing::Level::ERROR),
            tracing::Level::WARN => line!(tracing::Level::WARN),
            _ => line!(tracing::Level::INFO),
        }
        self.count_end(outcome, row, story, processing_time);
        let ended = Ended { request_key: request_key.to_owned(), outcome: outcome.clone(), replies: states.clone(), processing_time };
        let _ = self.feed.send(ended); // an error means that nobody watches
    }

    fn count_end(&self, outcome: &Outcome, row: &Row, story: &Story<'_>, processing_time: Duration) {
        let mut tally = self.tally();
        let figures = &mut tally.figures;
        *figures.ended.entry((row.word, row.why)).or_default() += 1;
        figures.handling_time.add(story.handling_time);
        story.account.sent_alone.add_to(figures);
        if matches!(outcome, Outcome::Answered) {
            let times = match story.is_replayed || processing_time > STALE_AFTER {
                true => &mut figures.processing_time_stale,
                false => &mut figures.processing_time,
            };
            times.add(processing_time);
        }
        if matches!(outcome, Outcome::Answered | Outcome::Unanswered | Outcome::Ignored(_)) {
            let asked = story.asked.as_deref().unwrap_or(OTHER_ADDRESS);
            match figures.requests.get_mut(asked) {
                Some(count) => *count += 1,
                None => drop(figures.requests.insert(asked.to_owned(), 1)),
            }
        }
    }

    /// A reply was tried; a failure is said aloud, with its class and code.
    pub fn tried(&self, request_key: &str, index: usize, method: &'static str, error: Option<&SendError>, send_time: Duration) {
        let request = request_key.get(..KEY_CHARS).unwrap_or_default();
        let send_time_ms = millis(send_time);
        {
            let mut tally = self.tally();
            tally.figures.send_time.add(send_time);
            match error {
                None => *tally.figures.responses_sent.entry(method).or_default() += 1,
                Some(SendError::Throttled(_)) => *tally.figures.throttled.entry(method).or_default() += 1,
                Some(_) => {}
            }
        }
        match error {
            None => tracing::debug!(request, reply = index, method, send_time_ms, "a reply was accepted"),
            Some(error) => tracing::warn!(request, reply = index, method, send_time_ms, error = %error, "a reply was not accepted"),
        }
    }

    /// Something is away.
    pub(crate) fn breaker_opened(&self, open: OpenBreaker) {
        // Poisoned: a map of copies is whole whatever panicked. So below.
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner).insert(open.name, open);
    }

    /// It is back.
    pub(crate) fn breaker_closed(&self, name: &'static str) {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// What is away, by its name.
    pub fn breakers(&self) -> Vec<OpenBreaker> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// What is switched, and whether attachments are given up; a change is said in the log.
    pub(crate) fn switched(&self, switches: &Switches, is_shedding: bool) {
        let settings = switches.settings().map(|setting| format!("{}={}", setting.name(), setting.value())).collect();
        let now = Switched { settings, is_shedding };
        // Poisoned: it is assigned whole.
        let mut current = self.switched.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != now {
            tracing::warn!(switches = now.settings.join(" "), is_shedding, "what is switched has changed");
            *current = now;
        }
    }

    /// What is switched, as this worker last saw it.
    pub fn current_switches(&self) -> Switched {
        self.switched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, every message that ends.
    pub fn watch(&self) -> broadcast::Receiver<Ended> {
        self.feed.subscribe()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
