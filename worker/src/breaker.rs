//! Breakers: what is away is left alone until a probe finds it back, so that no message is received, tried and put back for
//! nothing. There is one for the ledger, the name server, the store, and each send method.
//!
//! * A send method that says so itself (paused, suspended, over its quota) opens at once. Everything else opens by failures in a
//!   row: the ledger's own after five, of different messages; of the others a probe is asked first, because a
//!   message may fail for its own sake (a requester's dead name server, a file that is missing).
//! * While one is open, what needs it is not tried: no claim, no count. Where nothing could be answered at all, nothing is
//!   received ([`Breakers::admit`]); else only those replies wait ([`Breakers::wait`]).
//! * A good probe closes it on trial: one message, or one reply, goes first. If that fails it is open again.
//!
//! Left to others: what a failure is (`outcome`, `send`), and how to ask ([`probe`]). Nothing here fails.

pub(crate) mod probe;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use replyfleet::clock::Clock;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use self::state::{Change, State};
use crate::{
    catalogue::{Catalogue, SendMethod},
    metrics::{Metrics, OpenBreaker},
    outcome::{Outcome, Wait},
    timer::Timer,
};

/// The least that a message is put back for when what it needs is away. It waits as long again as the thing has been away.
const WAIT_MIN: Duration = Duration::from_secs(60);
/// The most.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How often an open breaker is told of in the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What may be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Ledger,
    Dns,
    Store,
    Sender(SendMethod),
}

impl Part {
    /// The name for logs and metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Part::Ledger => "ledger",
            Part::Dns => "dns",
            Part::Store => "store",
            Part::Sender(SendMethod::Ses) => "send.SES",
            Part::Sender(SendMethod::Smtp) => "send.SMTP",
        }
    }

    /// Whether failures only make us ask it.
    fn is_asked_first(self) -> bool {
        self != Part::Ledger
    }

    /// Whether one message goes first after a good probe. A requester's name server, or a file, may fail for its own sake.
    fn has_trial(self) -> bool {
        matches!(self, Part::Ledger | Part::Sender(_))
    }
}

/// Whether messages may be received now.
#[derive(Debug)]
pub(crate) enum Admission {
    /// As many as there are slots.
    All,
    /// One, which goes first: what is needed has just come back. It is over when the permit is dropped.
    One(OwnedSemaphorePermit),
    /// None: nothing could be answered.
    Nobody,
}

/// The breakers of a worker.
pub(crate) struct Breakers {
    parts: HashMap<Part, Mutex<State>>,
    /// The longest pause between probes.
    probe_every: Duration,
    first: Arc<Semaphore>,
    /// A probe is due sooner than before.
    due: Notify,
    /// Something may be received that could not be before.
    admits: Notify,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
}

impl Breakers {
    /// Closed ones for these parts; others never open. An open one is probed every `probe_every` at the least.
    pub(crate) fn new(
        parts: impl IntoIterator<Item = Part>,
        probe_every: Duration,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        timer: Arc<dyn Timer>,
    ) -> Self {
        let parts = parts.into_iter().map(|part| (part, Mutex::default())).collect();
        Self { parts, probe_every, first: Arc::new(Semaphore::new(1)), due: Notify::new(), admits: Notify::new(), metrics, clock, timer }
    }

    /// The time by which things are away.
    pub(crate) fn timer(&self) -> &dyn Timer {
        self.timer.as_ref()
    }

    /// Whether messages may be received. `ways` gives those by which replies of the catalogue may leave ([`ways`]).
    pub(crate) fn admit(&self, ways: impl FnOnce() -> Vec<Vec<SendMethod>>) -> Admission {
        if self.parts.keys().all(|part| self.is_closed(*part)) {
            return Admission::All;
        }
        let ways = ways();
        if self.blocking(|| ways.clone()).is_some() {
            return Admission::Nobody;
        }
        let is_way_on_trial = |way: &Vec<SendMethod>| !way.iter().any(|method| self.is_closed(Part::Sender(*method)));
        let is_on_trial = !self.is_closed(Part::Ledger) || (!ways.is_empty() && ways.iter().all(is_way_on_trial));
        if !is_on_trial {
            return Admission::All;
        }
        Arc::clone(&self.first).try_acquire_owned().map_or(Admission::Nobody, Admission::One)
    }

    /// Waits until more may perhaps be received; for the one loop that receives.
    pub(crate) async fn admits(&self) {
        self.admits.notified().await;
    }

    /// The message that goes first with this permit, until it is dropped.
    pub(crate) fn going_first(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> First {
        First { breakers: Arc::clone(self), permit: Some(permit) }
    }

    /// What everything waits for, if there is something.
    pub(crate) fn blocking(&self, ways: impl FnOnce() -> Vec<Vec<SendMethod>>) -> Option<Wait> {
        for part in [Part::Ledger, Part::Dns] {
            if let Some(wait) = self.wait(part) {
                return Some(wait);
            }
        }
        if !self.parts.keys().any(|part| matches!(part, Part::Sender(_)) && !self.is_closed(*part)) {
            return None;
        }
        let waits = ways().iter().map(|way| self.wait_for_any(way)).collect::<Option<Vec<Wait>>>()?;
        waits.into_iter().next()
    }

    /// How long what needs `part` waits, if it is open.
    pub(crate) fn wait(&self, part: Part) -> Option<Wait> {
        let since = self.state(part)?.open_since()?;
        Some(self.wait_since(since))
    }

    fn wait_since(&self, since: Instant) -> Wait {
        let away = self.timer.now().duration_since(since).clamp(WAIT_MIN.min(self.probe_every), WAIT_MAX);
        Wait::Breaker(away)
    }

    fn wait_for_any(&self, way: &[SendMethod]) -> Option<Wait> {
        let waits = way.iter().map(|method| self.wait(Part::Sender(*method))).collect::<Option<Vec<Wait>>>()?;
        waits.into_iter().next()
    }

    /// Leave to send by `method`; none while it is open, or on trial with another reply.
    ///
    /// # Errors
    /// What the reply waits for.
    pub(crate) fn pass(self: &Arc<Self>, method: SendMethod) -> Result<Pass, Wait> {
        let part = Part::Sender(method);
        let is_first = match self.state(part) {
            None => false,
            Some(mut state) => {
                let now = self.timer.now();
                state.take(now).ok_or_else(|| self.wait_since(state.open_since().unwrap_or(now)))?
            }
        };
        Ok(Pass { breakers: Arc::clone(self), part, is_first })
    }

    /// What a message's end says of ledger and name server. Who asks the store says itself how that went.
    pub(crate) fn learn(&self, outcome: &Outcome, request_key: &str, is_proof_known: bool) {
        let failed = match outcome {
            Outcome::Retry(Wait::Stopping | Wait::Breaker(_) | Wait::Lease) | Outcome::Parked(_) => return,
            Outcome::Retry(Wait::Ledger) => Some(Part::Ledger),
            Outcome::Retry(Wait::Dns) => Some(Part::Dns),
            _ => None,
        };
        if failed != Some(Part::Ledger) {
            self.succeeded(Part::Ledger);
        }
        match failed {
            Some(part) => self.failed(part, request_key),
            None if is_proof_known => self.succeeded(Part::Dns),
            None => {}
        }
    }

    /// It worked.
    pub(crate) fn succeeded(&self, part: Part) {
        self.change(part, |state| state.succeeded());
    }

    /// It failed, in a way that may be the message's own fault.
    pub(crate) fn failed(&self, part: Part, request_key: &str) {
        let (now, every) = (self.timer.now(), self.probe_every);
        self.change(part, |state| state.failed(request_key, part.is_asked_first(), part.has_trial(), now, every));
    }

    /// It says itself that it is away, with this word.
    pub(crate) fn say_away(&self, part: Part, reason: &'static str) {
        let (now, every) = (self.timer.now(), self.probe_every);
        self.change(part, |state| state.open(reason, now, every));
    }

    fn probed(&self, part: Part, answer: Result<(), &'static str>) {
        let (now, every) = (self.timer.now(), self.probe_every);
        self.change(part, |state| state.probed(answer, part.has_trial(), now, every));
    }

    /// The parts whose probe is due.
    fn due(&self, now: Instant) -> Vec<Part> {
        let is_due = |part: &Part| self.state(*part).is_some_and(|state| state.probe_at().is_some_and(|at| at <= now));
        self.parts.keys().copied().filter(is_due).collect()
    }

    fn next_probe(&self) -> Option<Instant> {
        self.parts.keys().filter_map(|part| self.state(*part)?.probe_at()).min()
    }

    fn is_closed(&self, part: Part) -> bool {
        self.state(part).is_none_or(|state| state.is_closed())
    }

    fn state(&self, part: Part) -> Option<MutexGuard<'_, State>> {
        // Poisoned: every state is a valid one.
        self.parts.get(&part).map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, part: Part, change: impl FnOnce(&mut State) -> Change) {
        let Some(mut state) = self.state(part) else { return };
        let changed = change(&mut state);
        let since = state.open_since().map(|since| self.timer.now().duration_since(since)).unwrap_or_default();
        drop(state);
        match changed {
            Change::None => {}
            Change::Asks => self.due.notify_one(),
            Change::Opened(reason) => {
                let since = self.clock.now() - since;
                self.metrics.breaker_opened(OpenBreaker { name: part.word(), reason, since });
                tracing::error!(part = part.word(), reason, "a breaker is open: what needs this waits, and it is asked again and again");
                self.due.notify_one();
            }
            Change::Closed(was_open) => {
                self.metrics.breaker_closed(part.word());
                tracing::info!(part = part.word(), away_s = was_open.as_secs(), "a breaker is closed: this answers again");
                self.admits.notify_one();
            }
        }
    }

    /// Tells of the open ones.
    fn tell(&self) {
        for open in self.metrics.breakers() {
            let away_s = self.clock.now().since(open.since).as_secs();
            tracing::error!(part = open.name, reason = open.reason, away_s, "a breaker is still open");
        }
    }
}

/// A message that goes first. Dropped, others may come.
pub(crate) struct First {
    breakers: Arc<Breakers>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for First {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.breakers.admits.notify_one();
    }
}

/// Leave to send one reply. Dropped without a word, it says nothing of the sender.
pub(crate) struct Pass {
    breakers: Arc<Breakers>,
    part: Part,
    is_first: bool,
}

impl Pass {
    /// The next hop answered.
    pub(crate) fn succeeded(self) {
        self.breakers.succeeded(self.part);
    }

    /// It did not take the reply, perhaps for the reply's own sake.
    pub(crate) fn failed(self, request_key: &str) {
        self.breakers.failed(self.part, request_key);
    }

    /// It says that it takes none now.
    pub(crate) fn say_away(self, reason: &'static str) {
        self.breakers.say_away(self.part, reason);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_first
            && let Some(mut state) = self.breakers.state(self.part)
        {
            state.give_back();
        }
    }
}

/// The ways of a catalogue's replies: for each method that it uses, the senders that would do.
pub(crate) fn ways(catalogue: &Catalogue, fallbacks: &HashMap<SendMethod, SendMethod>) -> Vec<Vec<SendMethod>> {
    let mut ways: Vec<Vec<SendMethod>> = Vec::new();
    for response in catalogue.responses() {
        if !ways.iter().any(|way| way.first() == Some(&response.send_method)) {
            ways.push([response.send_method].into_iter().chain(fallbacks.get(&response.send_method).copied()).collect());
        }
    }
    ways
}

#[cfg(test)]
mod tests;
