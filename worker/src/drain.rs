//! The loop that drains the queue: receive no more than there are free slots, keep every message's lease alive from its
//! receipt to its confirmed end, settle in one place.
//!
//! * A slot is taken before a message is received and given back after it was settled, so nothing waits in a local
//!   buffer while its lease runs.
//! * A panic in one message is caught here, counted, and parks that message.
//! * On stop, the receive in flight is awaited: dropped, it could hide its messages for a whole time-out. What it
//!   brings is released at once; what is in hand is finished.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use replyfleet::{
    clock::Clock,
    envelope::{Envelope, Mail},
    queue::{BATCH_MAX, Delivery, Queue},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::{
    lease::{Hold, Leases},
    metrics::{Metrics, Story},
    outcome::{Outcome, Park, Wait},
    pace::Pace,
    respond::{Account, Responder},
    settle::{Ended, Settler},
};

/// How long a queue that does not answer is left alone, at first and at most.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// How long nothing is received while too much waits for its turn.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// What the loop works with.
pub(crate) struct Drain {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) responder: Arc<Responder>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) slots: usize,
    pub(crate) long_poll: Duration,
    pub(crate) stop_timeout: Duration,
}

impl Drain {
    /// Runs until `stop` turns true and the messages in hand are finished. Returns whether they all were.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> bool {
        let slots = Arc::new(Semaphore::new(self.slots));
        let leases = Arc::new(Leases::default());
        let keeper = tokio::spawn(Arc::clone(&leases).keep(Arc::clone(&self.queue)));
        let (ended, ended_receiver) = mpsc::channel(self.slots);
        let settler = tokio::spawn(Settler::new(Arc::clone(&self.queue), Arc::clone(&self.responder.store)).run(ended_receiver));
        let this = Arc::new(self);

        let mut back_off = BACK_OFF_MIN;
        while !*stop.borrow() {
            let Some(free) = free_slots(&slots, &mut stop).await else { break };
            if this.pace.is_full(Instant::now()) {
                tracing::warn!("so many replies wait for their turn that nothing more is received for now");
                let _ = tokio::time::timeout(FULL_PAUSE, stop.wait_for(|stop| *stop)).await;
                continue;
            }
            let received = this.queue.receive(free.len(), this.long_poll).await;
            match received {
                Ok(deliveries) => {
                    back_off = BACK_OFF_MIN;
                    let is_stopping = *stop.borrow();
                    for (delivery, slot) in deliveries.into_iter().zip(free) {
                        let hold = leases.hold(&delivery.receipt);
                        tokio::spawn(Arc::clone(&this).work(delivery, hold, slot, ended.clone(), is_stopping));
                    }
                }
                Err(error) => {
                    // Once per try, and the tries get rarer.
                    tracing::error!(error = %error, next_try_s = back_off.as_secs(), "the queue cannot be read");
                    let _ = tokio::time::timeout(back_off, stop.wait_for(|stop| *stop)).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            }
        }
        drop(ended);
        let all = u32::try_from(this.slots).unwrap_or(u32::MAX);
        let is_finished = tokio::time::timeout(this.stop_timeout, slots.acquire_many(all)).await.is_ok();
        if is_finished {
            let _ = settler.await; // it ends when the last message's sender is dropped
        } else {
            tracing::error!(in_hand = leases.count(), "messages in hand are not finished in time; their leases run out");
        }
        keeper.abort();
        is_finished
    }

    /// One message, from its receipt to the settler.
    async fn work(self: Arc<Self>, delivery: Delivery, hold: Hold, slot: OwnedSemaphorePermit, ended: mpsc::Sender<Ended>, is_stopping: bool) {
        let start = Instant::now();
        let envelope = match Envelope::decode(&delivery.wire) {
            Ok(envelope) => Some(envelope),
            Err(error) => {
                tracing::error!(error = %error, bytes = delivery.wire.len(), "a message is no envelope");
                None
            }
        };
        let mut account = Account::default();
        let outcome = if is_stopping {
            Outcome::Retry(Wait::Stopping)
        } else {
            let respond = self.responder.respond(&delivery, envelope.as_ref(), &mut account);
            AssertUnwindSafe(respond).catch_unwind().await.unwrap_or(Outcome::Parked(Park::Panicked))
        };
        let row = outcome.row(account.tries.unwrap_or(delivery.receive_count));
        let story = Story {
            facts: envelope.as_ref().map(|envelope| &envelope.facts),
            receive_count: delivery.receive_count,
            account: &account,
            handling_time: start.elapsed(),
            now: self.clock.now(),
        };
        self.metrics.ended(&outcome, &row, &story);
        let claim = envelope.and_then(|envelope| match envelope.mail {
            Mail::Stored(claim) => Some(claim.object),
            Mail::Inline(_) => None,
        });
        // An error means that the settler has gone: the lease runs out and the message comes again.
        let _ = ended.send(Ended { delivery, settlement: row.settlement, claim, hold, slot }).await;
    }
}

/// Waits for a free slot and takes up to ten; `None` when it is time to stop.
async fn free_slots(slots: &Arc<Semaphore>, stop: &mut watch::Receiver<bool>) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        slot = Arc::clone(slots).acquire_owned() => slot.ok()?,
        _ = stop.wait_for(|stop| *stop) => return None,
    };
    let more = std::iter::from_fn(|| Arc::clone(slots).try_acquire_owned().ok());
    Some(std::iter::once(first).chain(more.take(BATCH_MAX - 1)).collect())
}

#[cfg(test)]
mod tests;
