//! The one place where messages leave the queue: in batches, each answer looked at, the failed ones tried again.
//!
//! If the worker dies before a delete is done, the message comes again and the ledger ends it as a duplicate. The
//! claim-check object goes after its message: a crash between the two leaves an object that expires by itself.

use std::{sync::Arc, time::Duration};

use replyfleet::{
    queue::{BATCH_MAX, Delivery, Queue, QueueError, Settlement},
    store::{ObjectName, Store},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::lease::Hold;

/// How long the first message of a batch waits for others. Short: its slot waits with it.
const LINGER: Duration = Duration::from_millis(5);
/// Tries of one message before it is left to its lease.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A message that ended, with the slot that it gives back.
pub(crate) struct Ended {
    pub(crate) delivery: Delivery,
    pub(crate) settlement: Settlement,
    pub(crate) claim: Option<ObjectName>,
    pub(crate) hold: Hold,
    pub(crate) slot: OwnedSemaphorePermit,
}

#[derive(Clone)]
pub(crate) struct Settler {
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
}

impl Settler {
    pub(crate) fn new(queue: Arc<dyn Queue>, store: Arc<dyn Store>) -> Self {
        Self { queue, store }
    }

    /// Settles until no message can come any more. Batches run side by side; there are never more messages than slots.
    pub(crate) async fn run(self, mut ended: mpsc::Receiver<Ended>) {
        let mut batches = JoinSet::new();
        while let Some(first) = ended.recv().await {
            let mut batch = vec![first];
            let deadline = Instant::now() + LINGER;
            while batch.len() < BATCH_MAX
                && let Ok(Some(next)) = timeout_at(deadline, ended.recv()).await
            {
                batch.push(next);
            }
            batches.spawn(self.clone().settle(batch));
            while batches.try_join_next().is_some() {}
        }
        while batches.join_next().await.is_some() {}
    }

    async fn settle(self, mut batch: Vec<Ended>) {
        for tries in 1..=TRIES_MAX {
            let settlements: Vec<_> = batch.iter().map(|ended| (ended.delivery.clone(), ended.settlement)).collect();
            let results = self.queue.settle(&settlements).await;
            let mut failed = Vec::new();
            for (ended, result) in batch.into_iter().zip(results) {
                match result {
                    Ok(()) => self.finish(ended).await,
                    Err(QueueError::StaleReceipt) => {
                        tracing::warn!("a message's lease ended before it was settled; another worker finds it done");
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, tries, "a message cannot be settled yet");
                        failed.push(ended);
                    }
                }
            }
            if failed.is_empty() {
                return;
            }
            batch = failed;
            if tries < TRIES_MAX {
                tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
            }
        }
        tracing::error!(messages = batch.len(), "messages cannot be settled; they come again when their leases have run out");
    }

    async fn finish(&self, ended: Ended) {
        drop(ended.hold);
        if let (Settlement::Delete, Some(object)) = (ended.settlement, &ended.claim)
            && let Err(error) = self.store.delete(object).await
        {
            tracing::warn!(error = %error, "a claim-check object cannot be deleted; it expires by itself");
        }
        drop(ended.slot);
    }
}
