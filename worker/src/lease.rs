//! Keeps the leases of all messages in hand alive, from receipt to confirmed end, and knows of each until when it is sure.
//!
//! A lease that could not be extended in time is not a message's end: what is under way goes on, and its end is settled if
//! that is still possible. But nothing new begins for it ([`Hold::is_sure`]): another worker may have it by now.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use replyfleet::queue::{BATCH_MAX, Queue, QueueError, Receipt};
use tokio::time::Instant;

/// A lease is extended when this part of it has passed, so that two extensions may fail before it ends.
const EXTEND_AFTER: u32 = 3;

/// The messages in hand, each with the time until which it surely is nobody else's.
pub(crate) struct Leases {
    visibility: Duration,
    sure: Mutex<HashMap<Receipt, Instant>>,
}

/// One message's lease. Dropped, however that comes about, it is extended no more.
pub(crate) struct Hold {
    leases: Arc<Leases>,
    receipt: Receipt,
    is_sending: AtomicBool,
    begins_nothing: AtomicBool,
}

/// As long as this lives, the message's replies are between claim and record.
pub(crate) struct Sending<'h>(&'h AtomicBool);

impl Hold {
    /// Whether something new may begin: no other receiver can have the message now, and nobody has said that nothing shall.
    pub(crate) fn is_sure(&self) -> bool {
        !self.begins_nothing.load(Ordering::SeqCst) && self.leases.lock().get(&self.receipt).is_some_and(|until| Instant::now() < *until)
    }

    /// What is under way is finished, and nothing new begins: this worker is about to end.
    pub(crate) fn begin_nothing(&self) {
        self.begins_nothing.store(true, Ordering::SeqCst);
    }

    /// A reply is claimed from now on, and what comes of it will be recorded: not to be cut short.
    pub(crate) fn sending(&self) -> Sending<'_> {
        self.is_sending.store(true, Ordering::SeqCst);
        Sending(&self.is_sending)
    }

    /// Whether a reply is claimed.
    pub(crate) fn is_sending(&self) -> bool {
        self.is_sending.load(Ordering::SeqCst)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.receipt);
    }
}

impl Leases {
    /// None yet; each will last for `visibility` from its receipt, and from each extension.
    pub(crate) fn new(visibility: Duration) -> Self {
        Self { visibility, sure: Mutex::default() }
    }

    /// A message that was received just now.
    pub(crate) fn hold(self: &Arc<Self>, receipt: &Receipt) -> Hold {
        self.lock().insert(receipt.clone(), Instant::now() + self.visibility);
        Hold { leases: Arc::clone(self), receipt: receipt.clone(), is_sending: AtomicBool::new(false), begins_nothing: AtomicBool::new(false) }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Extends for ever.
    pub(crate) async fn keep(self: Arc<Self>, queue: Arc<dyn Queue>) {
        let mut ticks = tokio::time::interval(self.visibility / EXTEND_AFTER);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await; // the first tick is at once
        loop {
            ticks.tick().await;
            let receipts: Vec<Receipt> = self.lock().keys().cloned().collect();
            // From before the call: when the queue did it is not known.
            let until = Instant::now() + self.visibility;
            // Side by side: with many slots and a slow queue, one after another would outlast the leases.
            let batches = receipts.chunks(BATCH_MAX).map(async |batch| (batch, queue.extend(batch).await));
            for (batch, results) in join_all(batches).await {
                for (receipt, extended) in batch.iter().zip(results) {
                    match extended {
                        Ok(()) => drop(self.lock().get_mut(receipt).map(|sure| *sure = until)),
                        // Settled meanwhile, or another worker's by now: the ledger keeps the two apart.
                        Err(QueueError::StaleReceipt) => drop(self.lock().remove(receipt)),
                        Err(error) => tracing::warn!(error = %error, "a lease cannot be extended"),
                    }
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Receipt, Instant>> {
        // Poisoned: a map of receipts is whole whatever panicked.
        self.sure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
