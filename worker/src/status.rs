//! How the worker is, for a person who looks and for a machine that asks: it is put together here from the counts, the gauges, the
//! breakers, the last hours ([`history`]) and the last errors ([`errors`]), shown as a page ([`page`]) and as JSON ([`view`]), and
//! served on loopback ([`server`]).
//!
//! It is there before the worker is open, so that who asks hears what the start waits for. It only looks: no message waits
//! for it, and a page that cannot be served is said in the log and is no reason to stop.

mod chart;
pub mod errors;
pub mod history;
pub mod page;
pub mod server;
mod text;
pub mod view;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use replyfleet::clock::UnixMillis;
use tokio::sync::watch;

use self::{
    errors::Errors,
    history::{History, LOOK_EVERY},
    view::{BreakerView, CatalogueView, QueueView, State, View},
};
use crate::{
    Stage,
    metrics::{Metrics, gauges::Gauges},
    pulse::Pulse,
};

/// What there is to look at in a worker that is open.
#[derive(Clone)]
pub struct Watched {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Whether its loop moves.
    pub pulse: Arc<Pulse>,
    /// How far it has come.
    pub stage: watch::Receiver<Stage>,
    /// Whether nothing could be answered now.
    pub is_blocked: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// How a worker is, from its start on.
pub struct Status {
    begun: Instant,
    started: UnixMillis,
    stop: watch::Receiver<bool>,
    errors: Errors,
    phase: Mutex<Phase>,
}

/// How far it has come.
enum Phase {
    /// It opens what it needs; its start says how long a step may take, and what it waits for.
    Starting {
        pulse: Arc<Pulse>,
        waits_for: Option<&'static str>,
    },
    Open {
        watched: Watched,
        history: Box<History>,
    },
}

/// Whether a worker answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// What it does.
    pub state: State,
    /// What it waits for, while it starts.
    pub waits_for: Option<&'static str>,
}

impl Status {
    /// Of a worker that starts, as `pulse` says, and that ends once `stop` is true.
    pub fn new(pulse: Arc<Pulse>, stop: watch::Receiver<bool>, errors: Errors) -> Self {
        let phase = Mutex::new(Phase::Starting { pulse, waits_for: None });
        Self { begun: Instant::now(), started: UnixMillis::now(), stop, errors, phase }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // Poisoned: what is in it is only looked at.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The start waits for this.
    pub fn waits_for(&self, what: &'static str) {
        if let Phase::Starting { waits_for, .. } = &mut *self.phase() {
            *waits_for = Some(what);
        }
    }

    /// The worker is open.
    pub fn opened(&self, watched: Watched) {
        let history = History::new(watched.metrics.gauges().slots, self.begun.elapsed(), watched.metrics.figures());
        *self.phase() = Phase::Open { watched, history: Box::new(history) };
    }

    /// Looks at what is counted, for ever.
    pub async fn keep_looking(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Phase::Open { watched, history } = &mut *self.phase() {
                history.look(self.begun.elapsed(), UnixMillis::now(), &watched.metrics.figures(), &watched.metrics.gauges());
            }
        }
    }

    /// Whether its loop, or its start, moves.
    pub fn is_alive(&self) -> bool {
        match &*self.phase() {
            Phase::Starting { pulse, .. } => pulse.is_alive(),
            Phase::Open { watched, .. } => watched.pulse.is_alive(),
        }
    }

    /// Whether it answers requests, and if not, why.
    pub fn readiness(&self) -> Readiness {
        let ready = |state, waits_for| Readiness { state, waits_for };
        match &*self.phase() {
            _ if *self.stop.borrow() => ready(State::Stopping, None),
            Phase::Starting { waits_for, .. } => ready(State::Starting, *waits_for),
            Phase::Open { watched, .. } if *watched.stage.borrow() == Stage::Beginning => ready(State::Starting, Some("the database")),
            Phase::Open { watched, .. } if (watched.is_blocked)() => ready(State::Blocked, None),
            Phase::Open { .. } => ready(State::Answering, None),
        }
    }

    /// The counts and gauges, once the worker is open.
    pub fn metrics(&self) -> Option<Arc<Metrics>> {
        match &*self.phase() {
            Phase::Starting { .. } => None,
            Phase::Open { watched, .. } => Some(Arc::clone(&watched.metrics)),
        }
    }

    /// Everything that is shown.
    pub fn view(&self) -> View {
        let (now, at) = (UnixMillis::now(), self.begun.elapsed());
        let Readiness { state, waits_for } = self.readiness();
        let mut view = View {
            at_ms: now.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started.0,
            state,
            waits_for: waits_for.map(str::to_owned),
            is_alive: self.is_alive(),
            errors: self.errors.lines(),
            ..View::default()
        };
        if let Phase::Open { watched, history } = &*self.phase() {
            fill(&mut view, &watched.metrics, history, at, now);
        }
        view
    }
}

/// Puts what an open worker has into the view.
fn fill(view: &mut View, metrics: &Metrics, history: &History, at: Duration, now: UnixMillis) {
    let (figures, gauges, switched) = (metrics.figures(), metrics.gauges(), metrics.current_switches());
    view.queue = queue(&gauges);
    view.last_minute = history.last_minute(at, now, &figures, &gauges);
    let is_known = !gauges.catalogue_version.is_empty();
    view.catalogue = is_known.then_some(CatalogueView { version: gauges.catalogue_version, age_s: gauges.catalogue_age.as_secs() });
    (view.worker, view.slots, view.in_hand) = (gauges.worker, gauges.slots, gauges.in_hand);
    (view.switches, view.is_shedding) = (switched.settings, switched.is_shedding);
    let breaker =
        |open: &crate::metrics::OpenBreaker| BreakerView { name: open.name.to_owned(), reason: open.reason.to_owned(), since_ms: open.since.0 };
    view.breakers = metrics.breakers().iter().map(breaker).collect();
    view.totals = history::totals(&figures.ended, &figures.responses_sent);
    view.last_hour = history.last_hour(&figures);
    view.minutes = history.minutes();
}

fn queue(gauges: &Gauges) -> Option<QueueView> {
    let depth = gauges.depth?;
    let oldest_s = gauges.oldest_age.filter(|_| depth.visible > 0).map(|age| age.as_secs());
    Some(QueueView { visible: depth.visible, delayed: depth.delayed, in_flight: depth.in_flight, oldest_s })
}

#[cfg(test)]
mod tests;
