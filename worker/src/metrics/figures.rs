//! What a worker counts, as sums since its start. Who wants to know of a time (CloudWatch's minute, the status page's) takes
//! two and subtracts: [`Figures::since`]. Nothing here tells of a requester: words from closed lists, and our own addresses.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::catalogue::SendMethod;

/// One part in so many is the least difference between two lengths of time that are told apart.
const PRECISION: u64 = 32;

/// Lengths of time, in whole milliseconds, each rounded down to the nearest of values that lie 1/32 of it apart: small enough to be
/// published whole, exact enough for any percentile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    counts: BTreeMap<u64, u64>,
    sum: u64,
}

impl Distribution {
    /// Takes one in.
    pub fn add(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        *self.counts.entry(rounded(millis)).or_default() += 1;
        self.sum = self.sum.saturating_add(millis);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Their exact sum, in milliseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Each value in milliseconds, and how many there are of it, the smallest first.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().map(|(&millis, &count)| (millis, count))
    }

    /// The value, in milliseconds, that so many of a thousand do not exceed (nearest rank); none if there are no values.
    pub fn per_mille(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(&millis, &count)| {
            seen += count;
            (seen >= rank).then_some(millis)
        })
    }

    /// What came in after `earlier`, which this one was once.
    pub fn since(&self, earlier: &Self) -> Self {
        Self { counts: difference(&self.counts, &earlier.counts), sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// Both together.
    pub fn merge(&mut self, other: &Self) {
        for (&millis, &count) in &other.counts {
            *self.counts.entry(millis).or_default() += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// The largest of the values apart by [`PRECISION`] that is not above `millis`.
fn rounded(millis: u64) -> u64 {
    let shift = millis.max(1).ilog2().saturating_sub(PRECISION.ilog2());
    millis >> shift << shift
}

/// Sums since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// From when the MX took the mail to the acceptance of its last reply, for each answered message.
    pub processing_time: Distribution,
    /// The same for messages that were replayed from the dead letters or are older than an hour: one replay is no surge.
    pub processing_time_stale: Distribution,
    /// How long this worker had a message in hand, for each receipt.
    pub handling_time: Distribution,
    /// From when the MX took the mail to its first receipt.
    pub queue_wait: Distribution,
    /// For how long replies were put back because of a rate, each time.
    pub send_wait: Distribution,
    /// How long a next hop took for a reply, whatever came of it.
    pub send_time: Distribution,
    /// Messages that were received for the first time.
    pub received: u64,
    /// Replies that a next hop accepted, by the method's word.
    pub responses_sent: BTreeMap<&'static str, u64>,
    /// Times that a next hop said we send too fast, by the method's word.
    pub throttled: BTreeMap<&'static str, u64>,
    /// Requests that ended, by the address of ours that they asked; `other` for one that the catalogue does not have.
    pub requests: BTreeMap<String, u64>,
    /// Receipts that ended, by outcome and why.
    pub ended: BTreeMap<(&'static str, &'static str), u64>,
    /// The time that slots were taken, added up over all slots.
    pub busy: Duration,
}

impl Figures {
    /// What was counted after `earlier`, which these figures once were.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            processing_time: self.processing_time.since(&earlier.processing_time),
            processing_time_stale: self.processing_time_stale.since(&earlier.processing_time_stale),
            handling_time: self.handling_time.since(&earlier.handling_time),
            queue_wait: self.queue_wait.since(&earlier.queue_wait),
            send_wait: self.send_wait.since(&earlier.send_wait),
            send_time: self.send_time.since(&earlier.send_time),
            received: self.received.saturating_sub(earlier.received),
            responses_sent: difference(&self.responses_sent, &earlier.responses_sent),
            throttled: difference(&self.throttled, &earlier.throttled),
            requests: difference(&self.requests, &earlier.requests),
            ended: difference(&self.ended, &earlier.ended),
            busy: self.busy.saturating_sub(earlier.busy),
        }
    }

    /// The share of `slots` that was taken during `time`, from 0 to 1.
    pub fn busy_fraction(&self, slots: usize, time: Duration) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand slots")]
        let all = time.as_secs_f64() * slots as f64;
        if all > 0.0 { (self.busy.as_secs_f64() / all).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The part of the figures that replies make on their way out: what the process of a single message tells its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sends {
    send_wait: Distribution,
    send_time: Distribution,
    responses_sent: BTreeMap<String, u64>,
    throttled: BTreeMap<String, u64>,
}

impl Sends {
    /// Those of a process that has counted `figures`.
    pub(crate) fn of(figures: &Figures) -> Self {
        let owned = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(&word, &count)| (word.to_owned(), count)).collect();
        Self {
            send_wait: figures.send_wait.clone(),
            send_time: figures.send_time.clone(),
            responses_sent: owned(&figures.responses_sent),
            throttled: owned(&figures.throttled),
        }
    }

    /// Adds them to a worker's. A word that is no method's is left out.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        figures.send_wait.merge(&self.send_wait);
        figures.send_time.merge(&self.send_time);
        for method in [SendMethod::Ses, SendMethod::Smtp] {
            for (counts, more) in [(&mut figures.responses_sent, &self.responses_sent), (&mut figures.throttled, &self.throttled)] {
                if let Some(more) = more.get(method.word()) {
                    *counts.entry(method.word()).or_default() += more;
                }
            }
        }
    }
}

/// Each count less what it was; what did not grow is left out.
fn difference<K: Ord + Clone>(now: &BTreeMap<K, u64>, then: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let grown = now.iter().map(|(key, &count)| (key.clone(), count.saturating_sub(then.get(key).copied().unwrap_or_default())));
    grown.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_rounded_by_at_most_a_thirty_second_part() {
        for millis in (0..200).chain([999, 1_000, 59_999, 3_600_000, 86_400_000 * 14, u64::MAX]) {
            let value = rounded(millis);
            assert!(value <= millis && millis - value <= millis / PRECISION, "{millis} became {value}");
            assert_eq!(rounded(value), value, "{millis}");
        }
        assert_eq!((rounded(63), rounded(64), rounded(65)), (63, 64, 64), "whole milliseconds up to 64");
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut times = Distribution::default();
        assert_eq!(times.per_mille(500), None);
        for millis in 1..=60 {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!([0, 1, 500, 950, 990, 1_000].map(|share| times.per_mille(share)), [1, 1, 30, 57, 60, 60].map(Some));
        assert_eq!((times.count(), times.sum()), (60, 60 * 61 / 2));
    }

    #[test]
    fn what_came_since_is_what_is_more() {
        let mut figures = Figures::default();
        figures.processing_time.add(Duration::from_millis(10));
        figures.responses_sent.insert("SES", 3);
        let earlier = figures.clone();
        assert_eq!(figures.since(&earlier), Figures::default());
        figures.processing_time.add(Duration::from_millis(20));
        figures.responses_sent.insert("SES", 5);
        figures.busy = Duration::from_secs(30);
        let since = figures.since(&earlier);
        assert_eq!((since.processing_time.count(), since.processing_time.sum(), since.responses_sent["SES"]), (1, 20, 2));
        assert!((since.busy_fraction(2, Duration::from_secs(60)) - 0.25).abs() < 1e-9);
        let mut merged = earlier.processing_time.clone();
        merged.merge(&since.processing_time);
        assert_eq!(merged, figures.processing_time);
    }
}
