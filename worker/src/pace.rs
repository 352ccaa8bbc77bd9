//! How fast replies leave: never over a sender's, a sending domain's or a provider's rate. What is over it waits in the
//! queue, and is told when to come back.
//!
//! A rate is the whole fleet's; each worker takes its share by the number of workers that the ledger sees. A lane is a
//! leaky bucket (GCRA: it only remembers when the next reply is due) with [`BURST`] of slack. A reply that finds it full
//! gets a place behind those that were sent away before: so each comes back about once, when there is room, and who comes
//! new does not overtake them. A next hop that says "too fast" halves its lane at once; it recovers a little each second.

pub(crate) mod keeper;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::catalogue::SendMethod;

/// How far ahead of its rate a lane may run.
const BURST: Duration = Duration::from_secs(1);
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

/// The lanes of this worker.
pub(crate) struct Pace(Mutex<Lanes>);

struct Lanes {
    lanes: HashMap<Lane, Bucket>,
    workers: u32,
}

struct Bucket {
    /// Replies per second of the whole fleet.
    rate: f64,
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
        Self { rate, factor: 1.0, factor_at: None, due: None, booked: None }
    }

    fn interval(&self, workers: u32) -> Duration {
        Duration::try_from_secs_f64(f64::from(workers) / (self.rate * self.factor)).unwrap_or(AWAY_MAX)
    }

    fn recover(&mut self, now: Instant) {
        if let Some(at) = self.factor_at {
            self.factor = (self.factor + RECOVERY_PER_S * now.saturating_duration_since(at).as_secs_f64()).min(1.0);
            self.factor_at = (self.factor < 1.0).then_some(now);
        }
    }

    /// From when on there is room.
    fn room_at(&self, now: Instant) -> Instant {
        self.due.map_or(now, |due| due.checked_sub(BURST).unwrap_or(now).max(now))
    }

    fn has_room(&self, is_new: bool, now: Instant) -> bool {
        let is_overtaking = is_new && self.booked.is_some_and(|booked| booked > now);
        !is_overtaking && self.room_at(now) <= now
    }

    /// A place, and how long it is until then.
    fn book(&mut self, workers: u32, now: Instant) -> Duration {
        let place = self.booked.map_or(now, |booked| booked.max(now)).max(self.room_at(now)) + self.interval(workers);
        let place = place.min(now + AWAY_MAX);
        self.booked = Some(place);
        place.saturating_duration_since(now)
    }
}

impl Pace {
    /// Lanes with these rates, in replies per second of the whole fleet.
    pub(crate) fn new(rates: impl IntoIterator<Item = (Lane, f64)>) -> Self {
        let lanes = rates.into_iter().map(|(lane, rate)| (lane, Bucket::new(rate))).collect();
        Self(Mutex::new(Lanes { lanes, workers: 1 }))
    }

    /// Whether a reply may leave now, by all of `lanes`; else after how long it is to come again. `is_new` says that it was
    /// not sent away before. A lane without a rate has room.
    ///
    /// # Errors
    /// The time to wait.
    pub(crate) fn take(&self, lanes: &[Lane], is_new: bool, now: Instant) -> Result<(), Duration> {
        self.with(|all| {
            let Lanes { lanes: buckets, workers } = all;
            let mut away: Option<Duration> = None;
            for lane in lanes {
                let Some(bucket) = buckets.get_mut(lane) else { continue };
                bucket.recover(now);
                if !bucket.has_room(is_new, now) {
                    away = away.max(Some(bucket.book(*workers, now)));
                }
            }
            if let Some(away) = away {
                return Err(away);
            }
            for lane in lanes {
                if let Some(bucket) = buckets.get_mut(lane) {
                    let interval = bucket.interval(*workers);
                    bucket.due = Some(bucket.due.map_or(now, |due| due.max(now)) + interval);
                }
            }
            Ok(())
        })
    }

    /// The next hop of a lane said "too fast".
    pub(crate) fn throttled(&self, lane: &Lane, now: Instant) {
        self.with(|all| {
            let Some(bucket) = all.lanes.get_mut(lane) else { return };
            if bucket.factor_at.is_some_and(|at| now.saturating_duration_since(at) < ONE_COMPLAINT) {
                return;
            }
            bucket.recover(now);
            bucket.factor = (bucket.factor / 2.0).max(FACTOR_MIN);
            bucket.factor_at = Some(now);
            tracing::warn!(?lane, factor = bucket.factor, "the next hop says that we send too fast");
        });
    }

    /// The rate of a lane is another by now, or there is none.
    pub(crate) fn set_rate(&self, lane: Lane, rate: Option<f64>) {
        self.with(|all| match rate.filter(|rate| *rate > 0.0) {
            None => drop(all.lanes.remove(&lane)),
            Some(rate) => all.lanes.entry(lane).or_insert_with(|| Bucket::new(rate)).rate = rate,
        });
    }

    /// How many workers share the rates.
    pub(crate) fn set_workers(&self, workers: usize) {
        self.with(|all| all.workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Lanes) -> T) -> T {
        // Poisoned: every state of a bucket is a valid one.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
