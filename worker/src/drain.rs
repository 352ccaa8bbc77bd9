//! The loop that drains the queue: receive no more than there are free slots, keep every message's lease alive from its
//! receipt to its confirmed end, settle in one place.
//!
//! * A slot is taken before a message is received and given back after it was settled, so nothing waits in a local
//!   buffer while its lease runs.
//! * A message that kills its worker is kept from the others in [`crate::isolation`]; a panic parks its message there.
//! * On stop, the receive in flight is awaited: dropped, it could hide its messages for a whole time-out. What it
//!   brings is released at once; what is in hand is finished, or given back when the time for it is over, unless it is
//!   just being sent: that reply is finished, and no other begins. A message in the lane counts as being sent.
//! * While nothing could be answered, nothing is received ([`crate::breaker`]).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::Clock,
    envelope::{DecodeError, Envelope, Mail},
    queue::{BATCH_MAX, Delivery, Queue},
    store::Store,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::{
    breaker::{Admission, Breakers, First},
    catalogue::SendMethod,
    isolation::Isolation,
    lease::{Hold, Leases},
    metrics::{Metrics, Story},
    outcome::{Outcome, Park, Wait},
    pace::Pace,
    pulse::Pulse,
    respond::Account,
    settle::{Ended, Settler},
};

/// How long a queue that does not answer is left alone, at first and at most.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// How long nothing is received while too much waits for its turn.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether something can be answered again, if nobody says so.
const AWAY_PAUSE: Duration = Duration::from_secs(5);
/// How long giving back may take at the end.
const RELEASE_TIME: Duration = Duration::from_secs(5);
/// The longest that all slots may be taken: several replies, each with the longest time that the settings allow.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(1_800);
/// How much longer than it says a step of the loop may take before the loop counts as stuck.
const STEP_GRACE: Duration = Duration::from_secs(60);

/// Who answers deliveries: the responder, but for tests.
#[async_trait]
pub(crate) trait Respond: Send + Sync {
    /// Answers a message, or finds out why not. `receive_count` is how often it was received, this time included, `envelope` what
    /// is in it, if it could be read, and `hold` its lease. `account` is where what the log tells is left.
    async fn respond(&self, receive_count: u32, envelope: Option<&Envelope>, hold: &Hold, account: &mut Account) -> Outcome;

    /// The ways by which replies may leave now ([`crate::breaker::ways`]).
    fn ways(&self) -> Vec<Vec<SendMethod>>;

    /// A message had waited for so long when it was received for the first time, or will have when it comes for its turn: what the
    /// queue's age is judged by.
    fn waited(&self, _wait: Duration) {}

    /// The address of ours that a mail to `rcpt_to` asks, without its tag, if the catalogue has that.
    fn asked(&self, _rcpt_to: &str) -> Option<String> {
        None
    }
}

/// Reads an envelope.
pub(crate) type Decode = fn(&Bytes) -> Result<Envelope, DecodeError>;

/// What a message takes while it is worked on.
pub(crate) struct Slot {
    permit: OwnedSemaphorePermit,
    /// It goes first, and the others wait for it.
    first: Option<First>,
}

impl Slot {
    /// This slot; the message goes first if there is a `first`.
    pub(crate) fn new(permit: OwnedSemaphorePermit, first: Option<First>) -> Self {
        Self { permit, first }
    }

    /// Gives the slot back and takes this place instead. Who has another place than the others goes before none of them.
    pub(crate) fn exchange(&mut self, place: OwnedSemaphorePermit) {
        (self.permit, self.first) = (place, None);
    }
}

/// What the loop works with.
pub(crate) struct Drain {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) responder: Arc<dyn Respond>,
    /// [`Envelope::decode`], but for a test.
    pub(crate) decode: Decode,
    pub(crate) isolation: Isolation,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) slots: usize,
    pub(crate) long_poll: Duration,
    pub(crate) stop_timeout: Duration,
}

impl Drain {
    /// Runs until `stop` turns true and the messages in hand are finished or given back. Returns whether they all were.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> bool {
        let slots = Arc::new(Semaphore::new(self.slots));
        let leases = Arc::new(Leases::new(self.queue.visibility()));
        let keeper = tokio::spawn(Arc::clone(&leases).keep(Arc::clone(&self.queue)));
        let (ended, ended_receiver) = mpsc::channel(self.slots);
        let settler = tokio::spawn(Settler::new(Arc::clone(&self.queue), Arc::clone(&self.store)).run(ended_receiver));
        let this = Arc::new(self);
        let (hurry, is_hurried) = watch::channel(false);
        let last_call = tokio::spawn(last_call(stop.clone(), this.stop_timeout, hurry));

        let mut back_off = BACK_OFF_MIN;
        while !*stop.borrow() {
            this.pulse.beat(SLOT_WAIT_MAX);
            let Some(mut free) = free_slots(&slots, &mut stop).await else { break };
            this.pulse.beat(this.long_poll + BACK_OFF_MAX + STEP_GRACE);
            let mut first = match this.breakers.admit(|| this.responder.ways()) {
                Admission::All => None,
                Admission::One(permit) => Some(this.breakers.going_first(permit)),
                Admission::Nobody => {
                    tokio::select! {
                        () = this.breakers.admits() => {}
                        () = this.pause(AWAY_PAUSE, &mut stop) => {}
                    }
                    continue;
                }
            };
            if first.is_some() {
                free.truncate(1);
            }
            if this.pace.is_full(Instant::now()) {
                tracing::warn!("so many replies wait for their turn that nothing more is received for now");
                this.pause(FULL_PAUSE, &mut stop).await;
                continue;
            }
            let received = this.queue.receive(free.len(), this.long_poll).await;
            match received {
                Ok(deliveries) => {
                    back_off = BACK_OFF_MIN;
                    let is_stopping = *stop.borrow();
                    for (delivery, slot) in deliveries.into_iter().zip(free) {
                        let hold = leases.hold(&delivery.receipt);
                        let slot = Slot::new(slot, first.take());
                        tokio::spawn(Arc::clone(&this).work(delivery, hold, slot, ended.clone(), is_stopping, is_hurried.clone()));
                    }
                }
                Err(error) => {
                    // Once per try, and the tries get rarer.
                    tracing::error!(error = %error, next_try_s = back_off.as_secs(), "the queue cannot be read");
                    this.pause(back_off, &mut stop).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            }
        }
        this.pulse.beat(this.stop_timeout + RELEASE_TIME + STEP_GRACE);
        drop(ended);
        let all = u32::try_from(this.slots).unwrap_or(u32::MAX);
        let finishing = async { tokio::join!(slots.acquire_many(all), this.isolation.finish()).0.is_ok() };
        let is_finished = tokio::select! {
            biased;
            is_finished = finishing => is_finished,
            _ = last_call => false,
        };
        if is_finished {
            let _ = settler.await; // it ends when the last message's sender is dropped
        } else {
            tracing::error!(in_hand = leases.count(), "messages in hand are not finished in time; their leases run out");
        }
        keeper.abort();
        is_finished
    }

    /// Waits, but not when it is time to stop.
    async fn pause(&self, time: Duration, stop: &mut watch::Receiver<bool>) {
        tokio::select! {
            () = self.breakers.timer().wait(time) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// For how long the queue has kept a message. Nobody knows it of one that was replayed: how long it lay among the dead letters
    /// says nothing about the queue.
    fn queue_wait(&self, delivery: &Delivery, envelope: &Envelope) -> Option<Duration> {
        (!delivery.is_replayed).then(|| self.clock.now().since(envelope.facts.arrived))
    }

    /// One message, from its receipt to the settler.
    async fn work(
        self: Arc<Self>,
        delivery: Delivery,
        hold: Hold,
        mut slot: Slot,
        ended: mpsc::Sender<Ended>,
        is_stopping: bool,
        mut is_hurried: watch::Receiver<bool>,
    ) {
        let start = Instant::now();
        let in_hand = self.metrics.begin();
        // A panic in it would leave the message to its lease, and to the next who reads it.
        let (envelope, panicked) = match catch_unwind(AssertUnwindSafe(|| (self.decode)(&delivery.wire))) {
            Ok(Ok(envelope)) => (Some(envelope), None),
            Ok(Err(error)) => {
                tracing::error!(error = %error, bytes = delivery.wire.len(), "a message is no envelope");
                (None, None)
            }
            Err(_) => (None, Some(Outcome::Parked(Park::Panicked))),
        };
        if let (1, Some(envelope)) = (delivery.receive_count, &envelope) {
            let wait = self.queue_wait(&delivery, envelope);
            self.metrics.received(wait);
            wait.into_iter().for_each(|wait| self.responder.waited(wait));
        }
        let mut account = Account::default();
        let outcome = if let Some(panicked) = panicked {
            panicked
        } else if is_stopping {
            Outcome::Retry(Wait::Stopping)
        } else if let Some(wait) = self.breakers.blocking(|| self.responder.ways()) {
            Outcome::Retry(wait)
        } else {
            let answering = self.isolation.answer(&*self.responder, &delivery, envelope.as_ref(), &hold, &mut account, &mut slot);
            tokio::pin!(answering);
            tokio::select! {
                biased;
                outcome = &mut answering => outcome,
                () = hurried(&mut is_hurried) => match hold.is_sending() {
                    true => {
                        hold.begin_nothing();
                        match answering.await {
                            Outcome::Retry(Wait::Lease) => Outcome::Retry(Wait::Stopping),
                            outcome => outcome,
                        }
                    }
                    false => Outcome::Retry(Wait::Stopping),
                },
            }
        };
        if let (Outcome::Retry(Wait::Pace(away)), Some(envelope)) = (&outcome, &envelope)
            && let Some(wait) = self.queue_wait(&delivery, envelope)
        {
            self.responder.waited(wait + *away);
        }
        let request_key = envelope.as_ref().map(|envelope| envelope.facts.request_key.as_str()).unwrap_or_default();
        self.breakers.learn(&outcome, request_key, !account.proof.is_empty());
        let row = outcome.row(account.tries.unwrap_or(delivery.receive_count));
        let story = Story {
            facts: envelope.as_ref().map(|envelope| &envelope.facts),
            asked: envelope.as_ref().and_then(|envelope| self.responder.asked(&envelope.facts.rcpt_to)),
            receive_count: delivery.receive_count,
            is_replayed: delivery.is_replayed,
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
        let Slot { permit: slot, first } = slot;
        let _ = ended.send(Ended { delivery, settlement: row.settlement, claim, hold, slot }).await;
        drop((first, in_hand));
    }
}

/// Ends when the time for what is in hand is over.
async fn hurried(is_hurried: &mut watch::Receiver<bool>) {
    let _ = is_hurried.wait_for(|is_hurried| *is_hurried).await; // an error means that all is over
}

/// Says when the time for what is in hand is over, and ends when the time for giving back is.
async fn last_call(mut stop: watch::Receiver<bool>, stop_timeout: Duration, hurry: watch::Sender<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error means that nobody can stop us any more
    tokio::time::sleep(stop_timeout).await;
    hurry.send_replace(true);
    tokio::time::sleep(RELEASE_TIME).await;
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
