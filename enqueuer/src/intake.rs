//! All sessions' mails on their way to the queue: gathered into batches, each put by one call.
//!
//! A mail that finds the queue idle is put at once. While a call is under way others gather, and those that come right
//! behind it, too: each waits for company for at most `enqueuer.linger_ms`, and all go when they are as many as the queue
//! takes at once, or when the first has waited so long and a call may be made. A queue is idle when its last call has ended
//! that long ago. So nobody waits for company that does not come, and the busier it is the larger the batches are.
//!
//! [`Intake::put`] returns when the queue has taken that very mail, or with its own error. Tries again and claim checks
//! are its caller's ([`enqueue_patiently`](crate::enqueue_patiently)), for each mail by itself. If the process dies,
//! Postfix was told nothing and delivers again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use replyfleet::{
    envelope::Envelope,
    queue::{PutPace, Queue, QueueError, Result},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use crate::{
    Put,
    pulse::{Pulse, Questions, pulse},
};

/// Mails that wait to be gathered: more wait at their sender, who holds the memory for them anyway.
const WAITING_MAX: usize = 1_024;

/// A mail that is to be put, and who waits for what comes of it.
struct Job {
    envelope: Envelope,
    done: oneshot::Sender<Result<()>>,
    arrived: Instant,
}

/// Where sessions give their mails. Its copies feed one gatherer, which ends when the last is gone.
#[derive(Clone)]
pub struct Intake {
    jobs: mpsc::Sender<Job>,
    pulse: Pulse,
}

impl Intake {
    /// Starts gathering for `queue`. A mail waits for others for at most `linger`.
    pub fn start(queue: Arc<dyn Queue>, linger: Duration) -> Self {
        let (jobs, receiver) = mpsc::channel(WAITING_MAX);
        let (pulse, questions) = pulse();
        let pace = queue.put_pace();
        tokio::spawn(Gatherer { queue, linger, pace, jobs: receiver, questions, waiting: Vec::new(), calls: JoinSet::new(), last_ended: None }.run());
        Self { jobs, pulse }
    }

    /// The gatherer's.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }
}

#[async_trait]
impl Put for Intake {
    async fn put(&self, envelope: &Envelope) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let job = Job { envelope: envelope.clone(), done, arrived: Instant::now() };
        let ended = || QueueError::Unavailable("the intake's task ended".into());
        self.jobs.send(job).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

struct Gatherer {
    queue: Arc<dyn Queue>,
    linger: Duration,
    pace: PutPace,
    jobs: mpsc::Receiver<Job>,
    questions: Questions,
    /// In the order of their arrival.
    waiting: Vec<Job>,
    calls: JoinSet<()>,
    /// When the last call ended.
    last_ended: Option<Instant>,
}

impl Gatherer {
    async fn run(mut self) {
        let mut is_open = true;
        while is_open || !self.waiting.is_empty() || !self.calls.is_empty() {
            let room = self.pace.messages_max.saturating_sub(self.waiting.len());
            let (lingers_until, has_place) = (self.lingers_until(), self.has_place());
            tokio::select! {
                // Each branch loses nothing if another is faster.
                count = self.jobs.recv_many(&mut self.waiting, room), if is_open && room > 0 => is_open = count > 0,
                _ = self.calls.join_next(), if !self.calls.is_empty() => self.last_ended = Some(Instant::now()),
                () = tokio::time::sleep_until(lingers_until), if !self.waiting.is_empty() && has_place => {}
                Some(answer) = self.questions.recv() => drop(answer.send(())),
            }
            // Their senders were told to come again, and their bytes hold memory.
            self.waiting.retain(|job| !job.done.is_closed());
            while self.is_due() {
                self.put_waiting();
            }
        }
    }

    fn lingers_until(&self) -> Instant {
        self.waiting.first().map_or_else(Instant::now, |job| job.arrived + self.linger)
    }

    fn has_place(&self) -> bool {
        self.calls.len() < self.pace.calls_max
    }

    /// Whether there is no call, and has been none for a while. Else more mail is likely to come in a moment, and goes with
    /// what is here for the price of one call.
    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.last_ended.is_none_or(|at| at.elapsed() >= self.linger)
    }

    fn is_due(&self) -> bool {
        let has_waited = || self.waiting.len() >= self.pace.messages_max || self.lingers_until() <= Instant::now();
        !self.waiting.is_empty() && (self.is_idle() || self.has_place() && has_waited())
    }

    /// Puts all that wait, at most as many as the queue takes at once.
    fn put_waiting(&mut self) {
        let count = self.waiting.len().min(self.pace.messages_max);
        let (envelopes, waiters): (Vec<_>, Vec<_>) = self.waiting.drain(..count).map(|job| (job.envelope, job.done)).unzip();
        let queue = Arc::clone(&self.queue);
        self.calls.spawn(async move {
            let results = queue.put_all(&envelopes).await;
            let failed = results.iter().filter(|result| result.is_err()).count();
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                tracing::warn!(error = %error, failed, of = envelopes.len(), "mails were not put");
            }
            for (waiter, result) in waiters.into_iter().zip(results) {
                let _ = waiter.send(result); // its session gave up: Postfix delivers again
            }
        });
    }
}

#[cfg(test)]
mod tests;
