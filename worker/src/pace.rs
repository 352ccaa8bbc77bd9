//! How fast replies leave: never over a sender's, a sending domain's or a provider's rate. What is over it waits in the
//! queue, and is told when to come back.
//!
//! A rate is the whole fleet's; each worker takes its share by the number of workers that the ledger sees. A lane is a
//! leaky bucket (GCRA: it only remembers when the next reply is due) with some slack. A reply that finds it full gets a
//! place behind those that this worker sent away before: so each comes back when there is likely to be room, and who comes
//! new does not overtake them. A next hop that says "too fast" halves its lane at once; it recovers a little each second.

pub(crate) mod keeper;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::catalogue::SendMethod;

/// How far ahead of its rate a lane may run: at least so long ...
const BURST_MIN: Duration = Duration::from_secs(1);
/// ... and so many replies. Who comes back does not come to the moment, nor to the worker that sent it away: without slack
/// a share of a few replies a minute would go half unused.
const BURST_REPLIES: u32 = 3;
/// Messages that all workers together send away at a time. SQS has at most 120,000 in flight; beyond, it gives out nothing
/// more, whatever it is.
const AWAY_COUNT_MAX: usize = 100_000;
/// The longest that a reply is sent away for. SQS hides a message for 12 hours at most.
const AWAY_MAX: Duration = Duration::from_secs(3_600);
/// The least of its rate that a lane is brought down to.
const FACTOR_MIN: f64 = 0.05;
/// What a lane gets back of its rate in a second.
const RECOVERY_PER_S: f64 = 0.02;
/// Several answers "too fast" within this time are one.
const ONE_COMPLAINT: Duration = Duration::from_secs(1);

/// What has a rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// All that leaves by one of the settings' senders.
    Sender(SendMethod),
    /// All that leaves for a domain of From.
    Domain(String),
    /// All that goes to a provider, by its name.
    Provider(String),
}

/// What is known of the message of a reply that asks for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It was not received before.
    New,
    /// It has come back.
    Back,
    /// It waits already, for another of its replies: it takes no second place.
    Waiting,
}

/// The lanes of this worker.
pub(crate) struct Pace(Mutex<Lanes>);

struct Lanes {
    lanes: HashMap<Lane, Bucket>,
    workers: u32,
    /// When those that were sent away are to come back.
    away: BinaryHeap<Reverse<Instant>>,
}

struct Bucket {
    /// Replies per second of the whole fleet; without a bound until a next hop complains.
    rate: f64,
    /// Whether the rate is only what left when a next hop complained.
    is_guess: bool,
    /// Replies that left within the second that began then.
    recent: (Option<Instant>, u32),
    /// What of it may be used now: 1, unless the next hop complained.
    factor: f64,
    factor_at: Option<Instant>,
    /// When the next reply would be due if all came evenly.
    due: Option<Instant>,
    /// The last place that was given to a reply that was sent away.
    booked: Option<Instant>,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        Self { rate, is_guess: false, recent: (None, 0), factor: 1.0, factor_at: None, due: None, booked: None }
    }

    fn interval(&self, workers: u32, factor: f64) -> Duration {
        Duration::try_from_secs_f64(f64::from(workers) / (self.rate * factor)).unwrap_or(AWAY_MAX)
    }

    fn recover(&mut self, now: Instant) {
        if let Some(at) = self.factor_at {
            self.factor = (self.factor + RECOVERY_PER_S * now.saturating_duration_since(at).as_secs_f64()).min(1.0);
            self.factor_at = (self.factor < 1.0).then_some(now);
        }
        if self.is_guess && self.factor_at.is_none() {
            (self.rate, self.is_guess) = (f64::INFINITY, false);
        }
    }

    /// From when on there is room.
    fn room_at(&self, workers: u32, now: Instant) -> Instant {
        let burst = BURST_MIN.max(self.interval(workers, self.factor).saturating_mul(BURST_REPLIES));
        self.due.and_then(|due| due.checked_sub(burst)).map_or(now, |room_at| room_at.max(now))
    }

    fn has_room(&self, workers: u32, is_new: bool, now: Instant) -> bool {
        let is_overtaking = is_new && self.booked.is_some_and(|booked| booked > now);
        !is_overtaking && self.room_at(workers, now) <= now
    }

    /// A place, and how long it is until then. Complaints pass: the line is as long as it is without them.
    fn book(&mut self, workers: u32, now: Instant) -> Duration {
        let behind = self.booked.filter(|booked| *booked > now).map(|booked| booked + self.interval(workers, 1.0));
        let place = self.room_at(workers, now).max(behind.unwrap_or(now)).min(now + AWAY_MAX);
        self.booked = Some(place);
        place.saturating_duration_since(now)
    }

    fn leave(&mut self, workers: u32, now: Instant) {
        let interval = self.interval(workers, self.factor);
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + interval);
        match &mut self.recent {
            (Some(start), count) if now.saturating_duration_since(*start) < ONE_COMPLAINT => *count += 1,
            recent => *recent = (Some(now), 1),
        }
    }
}

impl Pace {
    /// Lanes with these rates, in replies per second of the whole fleet.
    pub(crate) fn new(rates: impl IntoIterator<Item = (Lane, f64)>) -> Self {
        let lanes = rates.into_iter().map(|(lane, rate)| (lane, Bucket::new(rate))).collect();
        Self(Mutex::new(Lanes { lanes, workers: 1, away: BinaryHeap::new() }))
    }

    /// Whether a reply may leave now, by all of `lanes`; else after how long it is to come again.
    ///
    /// # Errors
    /// The time to wait; nothing for [`Turn::Waiting`], whose message has a place already.
    pub(crate) fn take(&self, lanes: &[Lane], turn: Turn, now: Instant) -> Result<(), Duration> {
        self.with(|all| {
            let Lanes { lanes: buckets, workers, away: all_away } = all;
            let mut away: Option<Duration> = None;
            for lane in lanes {
                let bucket = buckets.entry(lane.clone()).or_insert_with(|| Bucket::new(f64::INFINITY));
                bucket.recover(now);
                if !bucket.has_room(*workers, turn == Turn::New, now) {
                    let place = if turn == Turn::Waiting { Duration::ZERO } else { bucket.book(*workers, now) };
                    away = away.max(Some(place));
                }
            }
            match away {
                None => {
                    for lane in lanes {
                        if let Some(bucket) = buckets.get_mut(lane) {
                            bucket.leave(*workers, now);
                        }
                    }
                    Ok(())
                }
                Some(away) => {
                    if turn != Turn::Waiting {
                        all_away.push(Reverse(now + away));
                    }
                    Err(away)
                }
            }
        })
    }

    /// Whether so many messages are sent away that no other is to be received.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.with(|all| {
            while all.away.peek().is_some_and(|Reverse(due)| *due <= now) {
                all.away.pop();
            }
            all.away.len() >= AWAY_COUNT_MAX / usize::try_from(all.workers).unwrap_or(usize::MAX)
        })
    }

    /// The next hop of a lane said "too fast". A lane without a rate has one from now on: what left within a second, until
    /// it has recovered.
    pub(crate) fn throttled(&self, lane: &Lane, now: Instant) {
        self.with(|all| {
            let workers = f64::from(all.workers);
            let Some(bucket) = all.lanes.get_mut(lane) else { return };
            if bucket.factor_at.is_some_and(|at| now.saturating_duration_since(at) < ONE_COMPLAINT) {
                return;
            }
            bucket.recover(now);
            if bucket.rate.is_infinite() {
                (bucket.rate, bucket.is_guess) = (f64::from(bucket.recent.1).max(1.0) * workers, true);
            }
            bucket.factor = (bucket.factor / 2.0).max(FACTOR_MIN);
            bucket.factor_at = Some(now);
            tracing::warn!(?lane, factor = bucket.factor, "the next hop says that we send too fast");
        });
    }

    /// The rate of a lane is another by now, or there is none.
    pub(crate) fn set_rate(&self, lane: Lane, rate: Option<f64>) {
        self.with(|all| match rate.filter(|rate| *rate > 0.0) {
            None => drop(all.lanes.remove(&lane)),
            Some(rate) => {
                let bucket = all.lanes.entry(lane).or_insert_with(|| Bucket::new(rate));
                (bucket.rate, bucket.is_guess) = (rate, false);
            }
        });
    }

    /// How many workers share the rates.
    pub(crate) fn set_workers(&self, workers: usize) {
        self.with(|all| all.workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1));
    }

    #[cfg(test)]
    fn away_count(&self) -> usize {
        self.with(|all| all.away.len())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Lanes) -> T) -> T {
        // Poisoned: every state of a bucket is a valid one.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
