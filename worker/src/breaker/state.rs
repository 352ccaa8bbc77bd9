//! One breaker: closed, asked about, open, or closed on trial. Times are the caller's; nothing is done here but counting.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row, without a success in between, after which something is taken for away or asked whether it is there.
pub(crate) const FAILURES_MAX: u32 = 5;
/// The pause before the first probe of what did not say that it is away.
const PROBE_AFTER_MIN: Duration = Duration::from_secs(1);
/// A trial that nobody ended in this time is begun anew.
const TRIAL_MAX: Duration = Duration::from_secs(600);
/// The word for what failed without a word.
const NO_ANSWER: &str = "no_answer";

/// What became of a breaker, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// A probe is due.
    Asks,
    Opened(&'static str),
    /// After how long.
    Closed(Duration),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    /// It failed so often that it is asked.
    Asked,
    Open,
    /// A probe was good, and the first message decides. Whoever goes first has it since then.
    Trial(Option<Instant>),
}

/// The state of one breaker.
#[derive(Debug, Default)]
pub(super) struct State {
    phase: Phase,
    failures: u32,
    /// Whose failure was the first in the row, and whether others' came after it.
    first_failed: Option<String>,
    has_others: bool,
    opened: Option<Instant>,
    probe_at: Option<Instant>,
    /// The pause before the next probe; nothing before it first opened.
    pause: Duration,
}

impl State {
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Asked)
    }

    /// Since when it has been open, if it is.
    pub(super) fn open_since(&self) -> Option<Instant> {
        self.opened.filter(|_| self.phase == Phase::Open)
    }

    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// Takes leave to send: whether it is the first on trial. None if there is none.
    pub(super) fn take(&mut self, now: Instant) -> Option<bool> {
        match &mut self.phase {
            Phase::Closed | Phase::Asked => Some(false),
            Phase::Open => None,
            Phase::Trial(Some(since)) if now.duration_since(*since) < TRIAL_MAX => None,
            Phase::Trial(taken) => {
                *taken = Some(now);
                Some(true)
            }
        }
    }

    /// The first on trial ended without a word.
    pub(super) fn give_back(&mut self) {
        if let Phase::Trial(taken) = &mut self.phase {
            *taken = None;
        }
    }

    pub(super) fn succeeded(&mut self) -> Change {
        (self.failures, self.first_failed, self.has_others) = (0, None, false);
        match self.phase {
            Phase::Closed | Phase::Open => {}
            Phase::Asked => (self.phase, self.probe_at) = (Phase::Closed, None),
            Phase::Trial(_) => (self.phase, self.opened, self.pause) = (Phase::Closed, None, Duration::ZERO),
        }
        Change::None
    }

    pub(super) fn failed(&mut self, request_key: &str, is_asked_first: bool, has_trial: bool, now: Instant, probe_every: Duration) -> Change {
        match self.phase {
            Phase::Asked | Phase::Open => return Change::None,
            Phase::Trial(_) if has_trial => return self.open(NO_ANSWER, now, probe_every),
            Phase::Closed | Phase::Trial(_) => {}
        }
        self.failures += 1;
        match &self.first_failed {
            None => self.first_failed = Some(request_key.to_owned()),
            Some(first) => self.has_others |= first != request_key,
        }
        if self.failures < FAILURES_MAX {
            return Change::None;
        }
        if is_asked_first {
            (self.phase, self.probe_at) = (Phase::Asked, Some(now));
            return Change::Asks;
        }
        // One message that fails and fails is perhaps one that nobody could work on.
        if self.has_others { self.open(NO_ANSWER, now, probe_every) } else { Change::None }
    }

    pub(super) fn open(&mut self, reason: &'static str, now: Instant, probe_every: Duration) -> Change {
        if self.phase == Phase::Open {
            return Change::None;
        }
        self.pause = match self.phase {
            // Since the last success it was open before: rarer and rarer.
            Phase::Trial(_) => (self.pause * 2).max(PROBE_AFTER_MIN),
            _ if reason == NO_ANSWER => PROBE_AFTER_MIN,
            _ => probe_every,
        }
        .min(probe_every);
        (self.phase, self.probe_at) = (Phase::Open, Some(now + self.pause));
        self.opened = self.opened.or(Some(now));
        Change::Opened(reason)
    }

    /// What a probe said; the error is the word for why not.
    pub(super) fn probed(&mut self, answer: Result<(), &'static str>, has_trial: bool, now: Instant, probe_every: Duration) -> Change {
        match (self.phase, answer) {
            (Phase::Asked, Ok(())) => {
                (self.phase, self.probe_at) = (Phase::Closed, None);
                self.succeeded()
            }
            (Phase::Asked, Err(reason)) => self.open(reason, now, probe_every),
            (Phase::Open, Ok(())) => {
                let away = self.opened.map(|opened| now.duration_since(opened)).unwrap_or_default();
                (self.phase, self.probe_at, self.failures) = (Phase::Trial(None), None, 0);
                if !has_trial {
                    self.succeeded();
                }
                Change::Closed(away)
            }
            (Phase::Open, Err(_)) => {
                self.pause = (self.pause * 2).clamp(PROBE_AFTER_MIN, probe_every.max(PROBE_AFTER_MIN));
                self.probe_at = Some(now + self.pause);
                Change::None
            }
            (Phase::Closed | Phase::Trial(_), _) => Change::None,
        }
    }
}
