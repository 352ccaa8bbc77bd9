//! Whether a machine may end, by one look after another at its mail queues. Pure.

use std::time::{Duration, Instant};

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Mail waits, or did a moment ago.
    Wait,
    /// Nothing has waited for long enough.
    Empty,
    /// The time is over.
    GiveUp,
}

/// The end of a machine.
pub(super) struct Drain {
    begun: Instant,
    quiet: Duration,
    longest: Duration,
    empty_since: Option<Instant>,
    flushed_at: Option<Instant>,
    told_at: Option<Instant>,
}

impl Drain {
    /// It begins now, waits until no mail has waited for `quiet`, and for `longest` at most.
    pub(super) fn new(now: Instant, quiet: Duration, longest: Duration) -> Self {
        Self { begun: now, quiet, longest, empty_since: None, flushed_at: None, told_at: None }
    }

    /// So many mails wait; `None` if that cannot be found out, and then it may be any.
    pub(super) fn look(&mut self, now: Instant, left: Option<u64>) -> Step {
        match left {
            Some(0) => _ = self.empty_since.get_or_insert(now),
            _ => self.empty_since = None,
        }
        if self.empty_since.is_some_and(|since| now.saturating_duration_since(since) >= self.quiet) {
            Step::Empty
        } else if now.saturating_duration_since(self.begun) >= self.longest {
            Step::GiveUp
        } else {
            Step::Wait
        }
    }

    /// Whether everything is to be tried: at once, and then so often.
    pub(super) fn is_flush_due(&mut self, now: Instant, every: Duration) -> bool {
        is_due(&mut self.flushed_at, now, every)
    }

    /// Whether the log is to be told what is waited for.
    pub(super) fn is_telling_due(&mut self, now: Instant, every: Duration) -> bool {
        is_due(&mut self.told_at, now, every)
    }
}

fn is_due(last: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let is_due = last.is_none_or(|at| now.saturating_duration_since(at) >= every);
    if is_due {
        *last = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_must_have_been_empty_for_a_while_in_a_row() {
        let start = Instant::now();
        let mut drain = Drain::new(start, QUIET, seconds(1_000));
        let looks = [(0, Some(2)), (1, Some(0)), (9, Some(0)), (10, Some(1)), (12, Some(0)), (20, None), (22, Some(0)), (31, Some(0)), (32, Some(0))];
        let steps = looks.map(|(after, left)| drain.look(start + seconds(after), left));
        assert_eq!(steps[..8], [Step::Wait; 8]);
        assert_eq!(steps[8], Step::Empty);
    }

    #[test]
    fn it_waits_no_longer_than_it_may_and_an_empty_queue_is_no_failure() {
        let start = Instant::now();
        let mut drain = Drain::new(start, QUIET, seconds(30));
        assert_eq!([29, 30].map(|after| drain.look(start + seconds(after), Some(1))), [Step::Wait, Step::GiveUp]);
        let mut unknown = Drain::new(start, QUIET, seconds(30));
        assert_eq!([29, 30].map(|after| unknown.look(start + seconds(after), None)), [Step::Wait, Step::GiveUp]);
        let mut late = Drain::new(start, QUIET, seconds(30));
        assert_eq!([20, 30].map(|after| late.look(start + seconds(after), Some(0))), [Step::Wait, Step::Empty]);
    }

    #[test]
    fn everything_is_tried_at_once_and_again_after_a_while() {
        let start = Instant::now();
        let mut drain = Drain::new(start, QUIET, seconds(30));
        let due = [0, 1, 299, 300, 301].map(|after| drain.is_flush_due(start + seconds(after), seconds(300)));
        assert_eq!(due, [true, false, false, true, false]);
    }
}
