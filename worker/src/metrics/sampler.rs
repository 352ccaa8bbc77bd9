//! Looks now and then at what is so now: how full the queue is, how old its oldest message and the catalogue are. Once a minute
//! the log is told the figures. A queue that does not answer changes nothing and stops nothing: no message waits for this.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use replyfleet::{
    clock::{Clock, UnixMillis},
    queue::{Depth, Queue, Unreceived},
};
use tokio::task::JoinHandle;

use super::{Metrics, figures::Figures, gauges::Gauges};
use crate::catalogue::keeper::CatalogueKeeper;

/// How long the queue may take to say how full it is.
const ASK_MAX: Duration = Duration::from_secs(5);
/// The pause between two looks is at least so many times as long as a look: a spool with a million files is not read all the
/// time.
const PAUSE_TIMES: u32 = 20;
/// How long what was seen of late is of late.
pub(super) const OF_LATE: Duration = Duration::from_secs(60);
/// How often the log is told the figures, and how often if nothing happens.
const LOG_EVERY: Duration = Duration::from_secs(60);
const LOG_IDLE_EVERY: Duration = Duration::from_secs(600);

/// What is looked at.
pub(crate) struct Sampler {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) catalogue: Arc<CatalogueKeeper>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) every: Duration,
}

impl Sampler {
    /// Looks for ever.
    pub(crate) async fn keep(self) {
        let (mut oldest, mut busy, mut log) = (OldestAge::default(), Busy::default(), Log::new(Instant::now()));
        let mut asking: Option<JoinHandle<Option<Depth>>> = None;
        loop {
            let start = Instant::now();
            // Where a disk hangs, one question waits for it, and not one more thread each time.
            let mut question = asking.take().unwrap_or_else(|| tokio::spawn(ask(Arc::clone(&self.queue))));
            let depth = match tokio::time::timeout(ASK_MAX, &mut question).await {
                Ok(answer) => answer.ok().flatten(),
                Err(_) => {
                    asking = Some(question);
                    None
                }
            };
            let now = Instant::now();
            let receipts = self.metrics.receipts(now);
            let oldest_age = oldest.look(now, self.clock.now(), depth, receipts);
            let (total, slots) = (self.metrics.figures(), self.metrics.gauges().slots);
            let busy_fraction = busy.look(now, &total, slots, self.metrics.began());
            let (version, age) = (self.catalogue.current().version().to_owned(), self.catalogue.age());
            self.metrics.sampled_now(now, |gauges| {
                (gauges.depth, gauges.oldest_age, gauges.busy_fraction) = (depth, Some(oldest_age), busy_fraction);
                (gauges.catalogue_version, gauges.catalogue_age) = (version, age);
            });
            log.tell(now, total, &self.metrics.gauges());
            tokio::time::sleep(self.every.max(start.elapsed() * PAUSE_TIMES)).await;
        }
    }
}

/// How full the queue is; `None` if it does not say.
async fn ask(queue: Arc<dyn Queue>) -> Option<Depth> {
    queue.depth().await.ok()
}

/// What this worker received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipts {
    /// How often it received a message.
    pub(super) count: u64,
    /// The longest that a message had waited which was received for the first time in the last minute.
    pub(super) wait_max: Option<Duration>,
}

/// How long the oldest message has waited that nobody received yet, by what the queue tells. A spool tells it. SQS does not: there
/// it is the longest wait of those that were received for the first time in the last minute. And wherever messages
/// could be received and none is, it is at least as long as that has been so: a fleet that is stuck shows an age that grows.
#[derive(Default)]
pub(super) struct OldestAge {
    /// Since when messages could be received and none is.
    stuck_since: Option<Instant>,
    receipts: u64,
}

impl OldestAge {
    fn look(&mut self, now: Instant, time: UnixMillis, depth: Option<Depth>, receipts: Receipts) -> Duration {
        let has_received = receipts.count != std::mem::replace(&mut self.receipts, receipts.count);
        match depth {
            _ if has_received => self.stuck_since = None,
            Some(depth) if depth.visible == 0 => self.stuck_since = None,
            Some(_) => _ = self.stuck_since.get_or_insert(now),
            None => {} // it may be as before
        }
        let stuck = self.stuck_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        let waited = match depth.map(|depth| depth.unreceived).unwrap_or_default() {
            Unreceived::Since(put) => time.since(put),
            Unreceived::Nobody => Duration::ZERO,
            Unreceived::Unknown => receipts.wait_max.unwrap_or_default(),
        };
        stuck.max(waited)
    }
}

/// The share of the slots that was taken in the last minute.
#[derive(Default)]
struct Busy(VecDeque<(Instant, Duration)>);

impl Busy {
    fn look(&mut self, now: Instant, total: &Figures, slots: usize, began: Instant) -> f64 {
        if self.0.is_empty() {
            self.0.push_back((began, Duration::ZERO));
        }
        // One is kept that is older than a minute: the minute begins there.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= OF_LATE) {
            self.0.pop_front();
        }
        let (at, busy) = self.0.front().copied().unwrap_or((began, Duration::ZERO));
        self.0.push_back((now, total.busy));
        let since = Figures { busy: total.busy.saturating_sub(busy), ..Figures::default() };
        since.busy_fraction(slots, now.saturating_duration_since(at))
    }
}

/// What the log was told.
struct Log {
    told: Figures,
    told_at: Instant,
}

impl Log {
    fn new(now: Instant) -> Self {
        Self { told: Figures::default(), told_at: now }
    }

    /// Tells the figures if it is time for that; returns whether.
    fn tell(&mut self, now: Instant, total: Figures, gauges: &Gauges) -> bool {
        let passed = now.saturating_duration_since(self.told_at);
        let figures = total.since(&self.told);
        let is_idle = figures.ended.is_empty() && figures.received == 0 && gauges.in_hand == 0;
        if passed < if is_idle { LOG_IDLE_EVERY } else { LOG_EVERY } {
            return false;
        }
        let ended = |word: &str| figures.ended.iter().filter(|((outcome, _), _)| *outcome == word).map(|(_, count)| count).sum::<u64>();
        tracing::info!(
            over_s = passed.as_secs(),
            received = figures.received,
            answered = ended("answered"),
            ignored = ended("ignored"),
            retry = ended("retry"),
            parked = ended("parked"),
            responses = figures.responses_sent.values().sum::<u64>(),
            in_hand = gauges.in_hand,
            busy_fraction = figures.busy_fraction(gauges.slots, passed),
            processing_time_p50_ms = figures.processing_time.per_mille(500),
            processing_time_p99_ms = figures.processing_time.per_mille(990),
            queue_wait_p99_ms = figures.queue_wait.per_mille(990),
            oldest_age_s = gauges.oldest_age.map(|age| age.as_secs()),
            queue_depth = gauges.depth.map(|depth| depth.visible),
            catalogue_age_s = gauges.catalogue_age.as_secs(),
            "figures"
        );
        (self.told, self.told_at) = (total, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: UnixMillis = UnixMillis(1_790_000_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn sqs(visible: u64) -> Option<Depth> {
        Some(Depth { visible, ..Depth::default() })
    }

    fn spool(visible: u64, unreceived: Unreceived) -> Option<Depth> {
        Some(Depth { visible, unreceived, ..Depth::default() })
    }

    #[test]
    fn a_spool_tells_the_age_and_messages_that_wait_for_a_second_receipt_do_not_count() {
        let (mut oldest, now) = (OldestAge::default(), Instant::now());
        let waited = Receipts { wait_max: Some(seconds(50)), ..Receipts::default() };
        assert_eq!(oldest.look(now, TIME, spool(1, Unreceived::Since(TIME - seconds(7))), waited), seconds(7));
        assert_eq!(oldest.look(now, TIME, spool(0, Unreceived::Nobody), waited), Duration::ZERO);
    }

    #[test]
    fn where_the_queue_does_not_tell_it_is_the_longest_first_wait_of_late() {
        let (mut oldest, now) = (OldestAge::default(), Instant::now());
        let receipts = Receipts { count: 9, wait_max: Some(seconds(42)) };
        assert_eq!(oldest.look(now, TIME, sqs(1_000), receipts), seconds(42));
        assert_eq!(oldest.look(now, TIME, None, Receipts { count: 10, ..receipts }), seconds(42), "the queue did not answer");
        assert_eq!(oldest.look(now, TIME, sqs(0), Receipts { count: 10, wait_max: None }), Duration::ZERO);
    }

    #[test]
    fn a_worker_that_receives_nothing_although_there_are_messages_shows_an_age_that_grows() {
        for depth in [sqs(3), spool(3, Unreceived::Nobody)] {
            let (mut oldest, start) = (OldestAge::default(), Instant::now());
            let mut look = |after, depth, count| oldest.look(start + seconds(after), TIME, depth, Receipts { count, ..Receipts::default() });
            assert_eq!([look(0, depth, 5), look(10, depth, 5), look(20, depth, 5), look(400, depth, 5)], [0, 0, 10, 390].map(seconds));
            assert_eq!(look(410, None, 5), seconds(400), "no answer is no reason to hope");
            assert_eq!(look(420, depth, 6), Duration::ZERO, "it moves again");
            assert_eq!([look(430, depth, 6), look(440, depth, 6)], [0, 10].map(seconds));
            assert_eq!(look(450, sqs(0), 6), Duration::ZERO, "there is none");
        }
    }

    #[test]
    fn the_busy_fraction_is_that_of_the_last_minute_and_of_a_shorter_life_all_of_it() {
        let (mut busy, began) = (Busy::default(), Instant::now());
        let mut look = |after, taken| {
            let total = Figures { busy: seconds(taken), ..Figures::default() };
            busy.look(began + seconds(after), &total, 2, began)
        };
        assert!((look(10, 10) - 0.5).abs() < 1e-9);
        assert!((look(20, 30) - 0.75).abs() < 1e-9);
        for after in (30..=60).step_by(10) {
            look(after, 30);
        }
        assert!((look(70, 30) - 20.0 / 120.0).abs() < 1e-9, "since the tenth second");
        assert!(look(200, 30).abs() < 1e-9, "nothing for a minute");
    }

    #[test]
    fn the_log_is_told_once_a_minute_and_rarely_if_nothing_happens() {
        let start = Instant::now();
        let (mut log, mut total) = (Log::new(start), Figures::default());
        total.received = 1;
        let idle = Gauges::default();
        let told: Vec<bool> = [10, 59, 60, 61, 120, 659, 660, 661].map(|after| log.tell(start + seconds(after), total.clone(), &idle)).to_vec();
        assert_eq!(told, [false, false, true, false, false, false, true, false]);
        let busy = Gauges { in_hand: 1, ..idle };
        assert!(log.tell(start + seconds(720), total, &busy), "a message that hangs is something");
    }
}
