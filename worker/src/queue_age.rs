//! How long mail waits in the queue, as this worker sees it: the median wait of what it received for the first time within
//! the last minute. Mail that comes again, after a name server was away for instance, says nothing about the queue.
//!
//! Once that is longer than the operator allows, attachments are given up (rule 29). Neither SQS nor a spool has to be
//! asked for it, and a worker that receives nothing sheds nothing.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Receives that are remembered.
const SAMPLES_MAX: usize = 101;
/// How long.
const SAMPLE_FRESH: Duration = Duration::from_secs(60);

/// The waits of late.
#[derive(Debug, Default)]
pub(crate) struct QueueAge(Mutex<VecDeque<(Instant, Duration)>>);

impl QueueAge {
    /// A message was received for the first time, and had waited so long.
    pub(crate) fn received(&self, now: Instant, wait: Duration) {
        // Poisoned: a queue of samples is whole whatever panicked.
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((now, wait));
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    /// The median wait; zero if nothing was received of late.
    pub(crate) fn median(&self, now: Instant) -> Duration {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waits: Vec<Duration> =
            samples.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= SAMPLE_FRESH).map(|&(_, wait)| wait).collect();
        drop(samples);
        waits.sort_unstable();
        waits.get(waits.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_minute_counts() {
        let (age, start) = (QueueAge::default(), Instant::now());
        assert_eq!(age.median(start), Duration::ZERO);
        for seconds in [900, 1, 2] {
            age.received(start, Duration::from_secs(seconds));
        }
        assert_eq!(age.median(start), Duration::from_secs(2), "one that waited long is no long queue");
        let later = start + Duration::from_secs(61);
        assert_eq!(age.median(later), Duration::ZERO, "nothing was received of late");
        for _ in 0..SAMPLES_MAX {
            age.received(later, Duration::from_secs(700));
        }
        assert_eq!(age.median(later), Duration::from_secs(700));
    }
}
