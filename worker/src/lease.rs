//! Keeps the leases of all messages in hand alive, from receipt to confirmed end.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use replyfleet::queue::{BATCH_MAX, Queue, QueueError, Receipt};

/// A lease is extended when this part of it has passed, so that two extensions may fail before it ends.
const EXTEND_AFTER: u32 = 3;

/// The messages in hand.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashSet<Receipt>>);

/// One message's lease. Dropped, however that comes about, it is extended no more.
pub(crate) struct Hold {
    leases: Arc<Leases>,
    receipt: Receipt,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.receipt);
    }
}

impl Leases {
    pub(crate) fn hold(self: &Arc<Self>, receipt: &Receipt) -> Hold {
        self.lock().insert(receipt.clone());
        Hold { leases: Arc::clone(self), receipt: receipt.clone() }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Extends for ever.
    pub(crate) async fn keep(self: Arc<Self>, queue: Arc<dyn Queue>) {
        let mut ticks = tokio::time::interval(queue.visibility() / EXTEND_AFTER);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await; // the first tick is at once
        loop {
            ticks.tick().await;
            let receipts: Vec<Receipt> = self.lock().iter().cloned().collect();
            // Side by side: with many slots and a slow queue, one after another would outlast the leases.
            let batches = receipts.chunks(BATCH_MAX).map(async |batch| (batch, queue.extend(batch).await));
            for (batch, results) in join_all(batches).await {
                for (receipt, extended) in batch.iter().zip(results) {
                    match extended {
                        Ok(()) => {}
                        // Settled meanwhile, or another worker's by now: the ledger keeps the two apart.
                        Err(QueueError::StaleReceipt) => drop(self.lock().remove(receipt)),
                        Err(error) => tracing::warn!(error = %error, "a lease cannot be extended"),
                    }
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Receipt>> {
        // Poisoned: a set of receipts is whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
