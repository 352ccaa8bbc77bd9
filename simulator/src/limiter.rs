//! SES of one account: a token bucket that refuses what is more than the rate (HTTP 429), and everything while sending is paused. How
//! the workers share the rate is their matter ([`Pace`]): each takes an equal part, so that refusals are rare.

use crate::plan::Ses;

/// The account's bucket.
pub(crate) struct Limiter {
    /// Tokens a millisecond; none without a limit.
    per_ms: Option<f64>,
    burst: f64,
    tokens: f64,
    filled_ms: u64,
    paused_until_ms: u64,
}

impl Limiter {
    /// A full bucket.
    pub(crate) fn new(ses: &Ses) -> Limiter {
        let burst = ses.burst.max(1.0);
        Limiter { per_ms: ses.rate.map(|rate| rate.max(0.0) / 1_000.0), burst, tokens: burst, filled_ms: 0, paused_until_ms: 0 }
    }

    /// Refuses everything until then.
    pub(crate) fn pause(&mut self, until_ms: u64) {
        self.paused_until_ms = self.paused_until_ms.max(until_ms);
    }

    /// When the pause ends, if there is one now.
    pub(crate) fn paused_until_ms(&self, now_ms: u64) -> Option<u64> {
        (now_ms < self.paused_until_ms).then_some(self.paused_until_ms)
    }

    /// Does SES take a reply now? Times must not fall.
    pub(crate) fn accepts(&mut self, now_ms: u64) -> bool {
        if now_ms < self.paused_until_ms {
            return false;
        }
        let Some(per_ms) = self.per_ms else { return true };
        self.tokens = (self.tokens + (now_ms - self.filled_ms) as f64 * per_ms).min(self.burst);
        self.filled_ms = now_ms;
        let is_accepted = self.tokens >= 1.0;
        if is_accepted {
            self.tokens -= 1.0;
        }
        is_accepted
    }
}

/// A worker's part of the rate, in microseconds of simulated time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    next_us: u64,
}

impl Pace {
    /// The first moment from `now_ms` on, in milliseconds, at which this worker may send, and takes it. `live` workers share the rate.
    pub(crate) fn turn(&mut self, now_ms: u64, ses: &Ses, live: usize) -> u64 {
        let Some(rate) = ses.rate else { return now_ms };
        let gap_us = (1e6 * live.max(1) as f64 / (rate * ses.share).max(1e-6)).min(1e15) as u64;
        let at_us = self.next_us.max(now_ms * 1_000);
        self.next_us = at_us + gap_us;
        at_us.div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_and_one_burst_is_accepted() {
        let mut limiter = Limiter::new(&Ses { rate: Some(50.0), burst: 5.0, ..Ses::default() });
        let accepted = (0..10_000).filter(|ms| limiter.accepts(*ms)).count();
        assert!((499..=505).contains(&accepted), "{accepted} in 10 s at 50/s");
    }

    #[test]
    fn a_pause_refuses_everything_and_ends() {
        let mut limiter = Limiter::new(&Ses::default());
        assert!(limiter.accepts(0));
        limiter.pause(100);
        assert!(!limiter.accepts(99));
        assert!(limiter.accepts(100));
    }

    #[test]
    fn two_workers_that_share_stay_within_the_rate() {
        let ses = Ses { rate: Some(100.0), share: 0.9, ..Ses::default() };
        let mut limiter = Limiter::new(&ses);
        let mut workers = [Pace::default(); 2];
        let mut turns: Vec<u64> = (0..1_000).map(|turn| workers[turn % 2].turn(0, &ses, 2)).collect();
        turns.sort_unstable();
        assert_eq!(*turns.last().expect("turns") / 1_000, 11, "1,000 at 90/s");
        let refused = turns.iter().filter(|at| !limiter.accepts(**at)).count();
        assert!(refused <= 500, "two at the same millisecond need a burst of two: {refused}");
        let mut limiter = Limiter::new(&Ses { burst: 2.0, ..ses });
        assert_eq!(turns.iter().filter(|at| !limiter.accepts(**at)).count(), 0);
    }
}
