//! What keeps a message that kills its worker from taking others with it: it is noted as being in hand while it is worked on
//! ([`crate::journal`]), and after a death what was in hand is worked on alone ([`crate::quarantine`]).
//!
//! A worker inside another program (the demo, tests) has neither: there is nobody who would start it again.
//! If the ledger does not answer, dead workers' journals stay, and nothing is received before they are noted. If no journal can be
//! written, that is said, and a message that kills this worker is not found out by it; those that are known are still worked on alone.

use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt;
use replyfleet::{clock::Clock, envelope::Envelope, queue::Delivery};
use tokio::sync::watch;

use crate::{
    drain::{Respond, Slot},
    journal::{self, Journal},
    lease::Hold,
    ledger::Ledger,
    outcome::{Outcome, Park, Wait},
    pulse::Pulse,
    quarantine::{Quarantine, TimeMax},
    respond::Account,
};

/// How often the journals of workers that died meanwhile are looked for, sooner than their messages come again, and the list of
/// suspects is read.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that noting one message, or reading the list, takes: far more than the ledger's own limit.
const TAKE_MAX: Duration = Duration::from_secs(120);

/// How messages are kept from each other.
#[derive(Clone, Default)]
pub(crate) struct Isolation(Option<Arc<Parts>>);

struct Parts {
    /// None: it could not be written.
    journal: Option<Arc<Journal>>,
    quarantine: Quarantine,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    cache_dir: PathBuf,
}

/// What isolation needs to know.
pub(crate) struct Plan {
    /// The file of settings, for processes of single messages.
    pub(crate) config: PathBuf,
    /// Where the journals lie.
    pub(crate) cache_dir: PathBuf,
    /// How many messages are in hand at a time.
    pub(crate) slots: usize,
    /// How long a process may work on its one message.
    pub(crate) time_max: TimeMax,
    /// How often a message may come.
    pub(crate) receives_max: u32,
}

impl Isolation {
    /// Begins this worker's journal, if that can be written.
    pub(crate) fn open(plan: Plan, ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        let Plan { config, cache_dir, slots, time_max, receives_max } = plan;
        let journal = Journal::open(&cache_dir, slots)
            .inspect_err(|error| {
                tracing::error!(error = %error, "no journal can be written in worker.cache_dir; a message that kills this worker is not found out");
            })
            .ok();
        let quarantine = Quarantine::new(config, ledger.clone(), time_max, receives_max, slots);
        Self(Some(Arc::new(Parts { journal, quarantine, ledger, clock, cache_dir })))
    }

    /// Answers a delivery, alone if it may have killed a worker. A panic ends it, and nothing else. `slot` is the place that the
    /// message takes: in the lane it is another than a worker's slot.
    pub(crate) async fn answer(
        &self,
        responder: &dyn Respond,
        delivery: &Delivery,
        envelope: Option<&Envelope>,
        hold: &Hold,
        account: &mut Account,
        slot: &mut Slot,
    ) -> Outcome {
        let mut in_hand = None;
        if let (Some(parts), Some(envelope)) = (&self.0, envelope) {
            let key = &envelope.facts.request_key;
            match parts.quarantine.is_suspect(key, delivery.receive_count).await {
                Ok(false) => in_hand = parts.journal.as_ref().map(|journal| journal.enter(key)),
                Ok(true) => {
                    let _sending = hold.sending(); // its process may be, and is not cut short
                    let (outcome, told) = parts.quarantine.work(delivery, key, hold, slot).await;
                    *account = told;
                    return outcome;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the ledger does not say whether a message is a suspect");
                    return Outcome::Retry(Wait::Ledger);
                }
            }
        }
        let answering = responder.respond(delivery.receive_count, envelope, hold, account);
        let outcome = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(Outcome::Parked(Park::Panicked));
        drop(in_hand);
        outcome
    }

    /// Notes what dead workers had in hand, and reads the list, before anything is received; returns once it is done, or at `stop`.
    pub(crate) async fn begin(&self, stop: &mut watch::Receiver<bool>, pulse: &Pulse) {
        let Some(parts) = &self.0 else { return };
        while !*stop.borrow() && !parts.take_up(Some(pulse)).await {
            pulse.beat(LOOK_EVERY + TAKE_MAX);
            let _ = tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await;
        }
    }

    /// Notes what workers beside this one had in hand when they died, and reads the list again, for ever.
    pub(crate) async fn keep(self) {
        let Some(parts) = self.0 else { return };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            parts.take_up(None).await;
        }
    }

    /// Nothing more begins in the lane; returns when nothing is in it.
    pub(crate) async fn finish(&self) {
        if let Some(parts) = &self.0 {
            parts.quarantine.stop();
            parts.quarantine.finished().await;
        }
    }

    /// All that was in hand has ended.
    pub(crate) fn close(&self) {
        if let Some(journal) = self.0.as_ref().and_then(|parts| parts.journal.as_ref()) {
            journal.close();
        }
    }
}

impl Parts {
    /// Returns whether nothing is left to be noted, and the list was read. `pulse` beats at each step: a slow database with
    /// many to be noted is no reason to end this worker.
    async fn take_up(&self, pulse: Option<&Pulse>) -> bool {
        let beat = || {
            if let Some(pulse) = pulse {
                pulse.beat(TAKE_MAX);
            }
        };
        if !self.note_left(&beat).await {
            return false;
        }
        beat();
        match self.quarantine.look().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %error, "the list of suspects cannot be read yet");
                false
            }
        }
    }

    /// Returns whether nothing is left to be noted.
    async fn note_left(&self, beat: &(dyn Fn() + Send + Sync)) -> bool {
        let dir = self.cache_dir.clone();
        let left = match tokio::task::spawn_blocking(move || journal::left_behind(&dir)).await {
            Ok(Ok(left)) => left,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "worker.cache_dir cannot be looked through for the journals of dead workers");
                return true;
            }
            Err(_) => return true,
        };
        for one in left {
            for key in &one.request_keys {
                beat();
                if let Err(error) = self.ledger.suspect(std::slice::from_ref(key), self.clock.now()).await {
                    tracing::warn!(error = %error, "what a dead worker had in hand cannot be noted yet");
                    return false;
                }
            }
            if !one.request_keys.is_empty() {
                tracing::error!(in_hand = one.request_keys.len(), "a worker has died; what it had in hand is worked on alone");
            }
            if let Err(error) = one.remove() {
                tracing::warn!(error = %error, "a dead worker's journal cannot be removed");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
