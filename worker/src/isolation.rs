//! What keeps a message that kills its worker from taking others with it: it is noted as being in hand while it is worked on
//! ([`crate::journal`]), and after a death what was in hand is worked on alone ([`crate::quarantine`]).
//!
//! A worker inside another program (the demo, tests) has neither: there is nobody who would start it again.
//! If the ledger does not answer, dead workers' journals stay, and nothing is received before they are noted.

use std::{io, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt;
use replyfleet::{clock::Clock, envelope::Envelope, queue::Delivery};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{
    drain::Respond,
    journal::{self, Journal},
    lease::Hold,
    ledger::Ledger,
    outcome::{Outcome, Park, Wait},
    pulse::Pulse,
    quarantine::Quarantine,
    respond::Account,
};

/// How often the journals of workers that died meanwhile are looked for: sooner than their messages come again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that noting takes; the ledger's own limit of time is for each journal.
const TAKE_MAX: Duration = Duration::from_secs(120);

/// How messages are kept from each other.
#[derive(Clone, Default)]
pub(crate) struct Isolation(Option<Arc<Parts>>);

struct Parts {
    journal: Arc<Journal>,
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
    pub(crate) time_max: Duration,
}

impl Isolation {
    /// Begins this worker's journal.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(plan: Plan, ledger: Ledger, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let Plan { config, cache_dir, slots, time_max } = plan;
        let journal = Journal::open(&cache_dir, slots)?;
        let quarantine = Quarantine::new(config, ledger.clone(), time_max, slots);
        Ok(Self(Some(Arc::new(Parts { journal, quarantine, ledger, clock, cache_dir }))))
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
        slot: &mut OwnedSemaphorePermit,
    ) -> Outcome {
        let mut in_hand = None;
        if let (Some(parts), Some(envelope)) = (&self.0, envelope) {
            let key = &envelope.facts.request_key;
            match parts.quarantine.deaths(key, delivery.receive_count).await {
                Ok(None) => in_hand = Some(parts.journal.enter(key)),
                Ok(Some(deaths)) => {
                    let _sending = hold.sending(); // its process may be, and is not cut short
                    let (outcome, told) = parts.quarantine.work(delivery, key, deaths, slot).await;
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

    /// Notes what dead workers had in hand, before anything is received; returns once it is done, or at `stop`.
    pub(crate) async fn begin(&self, stop: &mut watch::Receiver<bool>, pulse: &Pulse) {
        let Some(parts) = &self.0 else { return };
        while !*stop.borrow() && !parts.take_up().await {
            pulse.beat(LOOK_EVERY + TAKE_MAX);
            let _ = tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await;
        }
    }

    /// Notes what workers beside this one had in hand when they died, for ever.
    pub(crate) async fn keep(self) {
        let Some(parts) = self.0 else { return };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            parts.take_up().await;
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
        if let Some(parts) = &self.0 {
            parts.journal.close();
        }
    }
}

impl Parts {
    /// Returns whether nothing is left to be noted.
    async fn take_up(&self) -> bool {
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
            if let Err(error) = self.ledger.suspect(&one.request_keys, self.clock.now()).await {
                tracing::warn!(error = %error, "what a dead worker had in hand cannot be noted yet");
                return false;
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
