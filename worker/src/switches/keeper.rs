//! Keeps the switches current: read from the ledger's database every [`LOOK_EVERY`], and with each look the worker says that
//! it lives and what it follows. A database that does not answer leaves the last state in force.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use replyfleet::{clock::Clock, keyed::hex};

use super::Switches;
use crate::{
    catalogue::keeper::CatalogueKeeper,
    ledger::{Ledger, LedgerError, WorkerRow},
    metrics::Metrics,
    queue_age::QueueAge,
};

/// How often a worker looks: three looks within the minute that an operator is promised.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The switches in force, and who says so.
pub(crate) struct SwitchKeeper {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    row: WorkerRow,
    current: RwLock<Arc<Switches>>,
    /// From the settings: how long mail may wait before attachments are given up.
    attachments_after: Option<Duration>,
    queue_age: QueueAge,
}

impl SwitchKeeper {
    /// Reads the switches for the first time: a worker that does not know what is off must not answer.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(crate) async fn open(ledger: Ledger, clock: Arc<dyn Clock>, attachments_after: Option<Duration>) -> Result<Self, LedgerError> {
        let current = RwLock::new(Arc::new(ledger.switches().await?));
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| LedgerError::Random)?;
        let now = clock.now();
        let row = WorkerRow { id: hex(&random), started: now, seen: now, switches: String::new(), is_shedding: false, catalogue: String::new() };
        Ok(Self { ledger, clock, row, current, attachments_after, queue_age: QueueAge::default() })
    }

    /// The switches in force.
    pub(crate) fn current(&self) -> Arc<Switches> {
        // Poisoned: whoever panicked held the lock for a single assignment, and the value is whole.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This worker, as the database's list of workers has it.
    pub(crate) fn row(&self) -> &WorkerRow {
        &self.row
    }

    /// A message was received for the first time, and had waited so long in the queue, or will have when it comes for its turn.
    pub(crate) fn received(&self, wait: Duration) {
        self.queue_age.received(Instant::now(), wait);
    }

    /// Whether attachments are given up because the queue is long.
    pub(crate) fn is_shedding(&self) -> bool {
        let after = self.current().attachments_after(self.attachments_after);
        after.is_some_and(|after| self.queue_age.median(Instant::now()) > after)
    }

    /// Looks for ever, with this pause between looks.
    pub(crate) async fn keep_current(&self, catalogue: &CatalogueKeeper, metrics: &Metrics, look_every: Duration) {
        loop {
            if let Err(error) = self.look(catalogue, metrics).await {
                tracing::warn!(error = %error, "the switches cannot be read; the last ones stay in force");
            }
            tokio::time::sleep(look_every).await;
        }
    }

    async fn look(&self, catalogue: &CatalogueKeeper, metrics: &Metrics) -> Result<(), LedgerError> {
        let found = Arc::new(self.ledger.switches().await?);
        let is_shedding = self.is_shedding();
        metrics.switched(&found, is_shedding);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&found);
        let row = WorkerRow {
            seen: self.clock.now(),
            switches: found.version.clone(),
            is_shedding,
            catalogue: catalogue.current().version().to_owned(),
            ..self.row.clone()
        };
        self.ledger.beat(&row).await
    }
}
