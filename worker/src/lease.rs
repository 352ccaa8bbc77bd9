//! Keeps the leases of all messages in hand alive, from receipt to confirmed end.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use replyfleet::queue::{Queue, QueueError, Receipt};

/// A lease is extended when this part of it has passed, so that two extensions may fail before it ends.
const EXTEND_AFTER: u32 = 3;

/// The messages in hand.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashSet<Receipt>>);

impl Leases {
    pub(crate) fn hold(&self, receipt: &Receipt) {
        self.lock().insert(receipt.clone());
    }

    pub(crate) fn let_go(&self, receipt: &Receipt) {
        self.lock().remove(receipt);
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
            for (receipt, extended) in receipts.iter().zip(queue.extend(&receipts).await) {
                match extended {
                    Ok(()) => {}
                    // Settled meanwhile, or another worker's by now: the ledger keeps the two apart.
                    Err(QueueError::StaleReceipt) => self.let_go(receipt),
                    Err(error) => tracing::warn!(error = %error, "a lease cannot be extended"),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Receipt>> {
        // Poisoned: a set of receipts is whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
