//! What a worker did in the last hours, minute by minute, in memory: a start begins it anew.
//!
//! It is given the sums since the start every few seconds ([`LOOK_EVERY`]) and subtracts. All is bounded: [`MINUTES_MAX`] small
//! records, the distributions of the last hour, and the sums of the last minute. Nothing here fails or reads a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use replyfleet::{clock::UnixMillis, queue::Depth};

use super::view::{EndedView, Minute, Percentiles, SentView, Totals};
use crate::{
    metrics::{
        figures::{Distribution, Figures},
        gauges::Gauges,
    },
    outcome::Outcome,
};

/// How often it is to be given the sums.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Six hours.
pub const MINUTES_MAX: usize = 360;
/// The minutes of which the ends are kept by their reasons.
const ENDS_MINUTES_MAX: usize = 60;
/// A minute.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts of ends, by outcome and why.
type Ends = BTreeMap<(&'static str, &'static str), u64>;

/// The sums at a moment.
#[derive(Clone, Debug)]
struct Sums {
    /// Since the start of the process, by a clock that nobody sets.
    at: Duration,
    figures: Figures,
}

/// The minutes that are over, and the one that runs.
#[derive(Debug)]
pub struct History {
    slots: usize,
    minutes: VecDeque<Minute>,
    /// Ends of the last hour's minutes, and what was sent.
    ends: VecDeque<(Ends, BTreeMap<&'static str, u64>)>,
    /// When the minute that runs began.
    began: Sums,
    /// Looks of the last sixty seconds, the oldest first.
    looks: VecDeque<Sums>,
}

impl History {
    /// Begins with these sums `at` a time since the start of the process.
    pub fn new(slots: usize, at: Duration, figures: Figures) -> Self {
        let began = Sums { at, figures };
        Self { slots, minutes: VecDeque::new(), ends: VecDeque::new(), looks: VecDeque::from([began.clone()]), began }
    }

    /// Takes the sums and gauges of a moment in.
    pub fn look(&mut self, at: Duration, now: UnixMillis, figures: &Figures, gauges: &Gauges) {
        let sums = Sums { at, figures: figures.clone() };
        if at.saturating_sub(self.began.at) >= MINUTE {
            let since = figures.since(&self.began.figures);
            self.minutes.push_back(self.minute(&self.began, &sums, now, gauges));
            self.ends.push_back((since.ended, since.responses_sent));
            self.minutes.drain(..self.minutes.len().saturating_sub(MINUTES_MAX));
            self.ends.drain(..self.ends.len().saturating_sub(ENDS_MINUTES_MAX));
            self.began = sums.clone();
        }
        self.looks.push_back(sums);
        // One that is a minute old stays: from it to now is the last minute.
        while self.looks.get(1).is_some_and(|second| at.saturating_sub(second.at) >= MINUTE) {
            self.looks.pop_front();
        }
    }

    /// The minutes that are over, the newest last.
    pub fn minutes(&self) -> Vec<Minute> {
        self.minutes.iter().cloned().collect()
    }

    /// The last sixty seconds, or five more, or since the start.
    pub fn last_minute(&self, at: Duration, now: UnixMillis, figures: &Figures, gauges: &Gauges) -> Minute {
        let then = self.looks.front().unwrap_or(&self.began);
        self.minute(then, &Sums { at, figures: figures.clone() }, now, gauges)
    }

    /// The counts of the last hour, or since the start.
    pub fn last_hour(&self, figures: &Figures) -> Totals {
        let running = figures.since(&self.began.figures);
        let (mut ended, mut sent) = (running.ended, running.responses_sent);
        for (ends, sends) in self.ends.iter().rev().take(ENDS_MINUTES_MAX - 1) {
            ends.iter().for_each(|(key, count)| *ended.entry(*key).or_default() += count);
            sends.iter().for_each(|(key, count)| *sent.entry(*key).or_default() += count);
        }
        totals(&ended, &sent)
    }

    fn minute(&self, then: &Sums, sums: &Sums, now: UnixMillis, gauges: &Gauges) -> Minute {
        let (since, time) = (sums.figures.since(&then.figures), sums.at.saturating_sub(then.at));
        let answered = Outcome::Answered.row(1).word;
        Minute {
            at_ms: now.0,
            seconds: time.as_secs_f64(),
            received: since.received,
            answered: since.ended.iter().filter(|((outcome, _), _)| *outcome == answered).map(|(_, count)| count).sum(),
            sent: since.responses_sent.values().sum(),
            busy_fraction: since.busy_fraction(self.slots, time),
            processing_time: percentiles(&since.processing_time),
            queue_wait: percentiles(&since.queue_wait),
            oldest_s: gauges.oldest_age.map(|age| age.as_secs()),
            depth: gauges.depth.map(waiting),
        }
    }
}

/// Counts by their words, the largest first.
pub(super) fn totals(ended: &Ends, sent: &BTreeMap<&'static str, u64>) -> Totals {
    let ended = ended.iter().map(|((outcome, why), count)| EndedView { outcome: (*outcome).into(), why: (*why).into(), count: *count });
    let mut ended: Vec<_> = ended.collect();
    ended.sort_by_key(|end| std::cmp::Reverse(end.count));
    let response_sent = sent.iter().map(|(method, count)| SentView { method: (*method).into(), count: *count });
    Totals { ended, response_sent: response_sent.collect() }
}

fn waiting(depth: Depth) -> u64 {
    depth.visible + depth.delayed
}

fn percentiles(times: &Distribution) -> Percentiles {
    Percentiles { count: times.count(), p50: times.per_mille(500), p95: times.per_mille(950), p99: times.per_mille(990) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERED: (&str, &str) = ("answered", "");

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Gives it the sums every five seconds from `from` on, until `to`; each second one message is answered in as many
    /// milliseconds as the process is seconds old.
    fn run(history: &mut History, figures: &mut Figures, from: u64, to: u64) {
        for second in from + 1..=to {
            *figures.ended.entry(ANSWERED).or_default() += 1;
            figures.received += 2;
            figures.processing_time.add(Duration::from_millis(second));
            figures.busy += seconds(1);
            if second % LOOK_EVERY.as_secs() == 0 {
                history.look(seconds(second), UnixMillis(second * 1_000), figures, &Gauges::default());
            }
        }
    }

    #[test]
    fn a_minute_is_what_came_in_it() {
        let (mut history, mut figures) = (History::new(2, Duration::ZERO, Figures::default()), Figures::default());
        run(&mut history, &mut figures, 0, 125);
        let minutes = history.minutes();
        let counts: Vec<_> = minutes.iter().map(|minute| (minute.at_ms, minute.answered, minute.received, minute.processing_time.count)).collect();
        assert_eq!(counts, [(60_000, 60, 120, 60), (120_000, 60, 120, 60)]);
        assert_eq!(minutes[0].processing_time.p99, Some(60));
        assert!((minutes[1].busy_fraction - 0.5).abs() < 1e-9, "one of two slots");
        assert!((minutes[1].per_minute(minutes[1].answered) - 60.0).abs() < 1e-9);
    }

    #[test]
    fn the_last_sixty_seconds_are_so_long_at_any_moment() {
        let (mut history, mut figures) = (History::new(1, Duration::ZERO, Figures::default()), Figures::default());
        let last = |history: &History, figures: &Figures, second: u64| {
            history.last_minute(seconds(second), UnixMillis(second * 1_000), figures, &Gauges::default())
        };
        run(&mut history, &mut figures, 0, 20);
        assert_eq!(last(&history, &figures, 20).answered, 20, "since the start");
        run(&mut history, &mut figures, 20, 400);
        for second in 400..405 {
            let minute = last(&history, &figures, second);
            assert!((60.0..=65.0).contains(&minute.seconds), "{minute:?}");
        }
        assert_eq!(last(&history, &figures, 400).answered, 60);
    }

    #[test]
    fn it_stays_as_large_as_it_is_after_six_hours() {
        let (mut history, mut figures) = (History::new(1, Duration::ZERO, Figures::default()), Figures::default());
        run(&mut history, &mut figures, 0, 7 * 3_600);
        assert_eq!((history.minutes().len(), history.ends.len()), (MINUTES_MAX, ENDS_MINUTES_MAX));
        assert!(history.looks.len() <= 14, "{}", history.looks.len());
        assert_eq!(history.minutes().last().map(|minute| minute.at_ms), Some(7 * 3_600_000));
    }

    #[test]
    fn the_last_hour_is_an_hour_at_most() {
        let (mut history, mut figures) = (History::new(1, Duration::ZERO, Figures::default()), Figures::default());
        run(&mut history, &mut figures, 0, 600);
        assert_eq!(history.last_hour(&figures).ended[0].count, 600, "since the start");
        run(&mut history, &mut figures, 600, 3 * 3_600 + 30);
        assert_eq!(history.last_hour(&figures).ended[0].count, 59 * 60 + 30);
        let totals = totals(&BTreeMap::from([(("ignored", "loop"), 3), (ANSWERED, 9)]), &BTreeMap::from([("SES", 4)]));
        assert_eq!(totals.ended.iter().map(|end| (end.why.as_str(), end.count)).collect::<Vec<_>>(), [("", 9), ("loop", 3)]);
        assert_eq!(totals.response_sent, [SentView { method: "SES".into(), count: 4 }]);
    }

    #[test]
    fn a_machine_that_stood_still_makes_a_long_minute_and_no_high_rate() {
        let (mut history, mut figures) = (History::new(1, Duration::ZERO, Figures::default()), Figures::default());
        figures.ended.insert(ANSWERED, 600);
        history.look(seconds(600), UnixMillis(600_000), &figures, &Gauges::default());
        let minutes = history.minutes();
        assert_eq!((minutes.len(), minutes[0].answered), (1, 600));
        assert!((minutes[0].per_minute(600) - 60.0).abs() < 1e-9, "{minutes:?}");
        history.look(seconds(590), UnixMillis(0), &figures, &Gauges::default());
        assert_eq!(history.minutes().len(), 1, "a clock that goes back adds nothing");
    }
}
