//! Keeps the lanes current: how many workers share a rate, and what the senders allow now. The metrics are told the number too. What
//! cannot be found out leaves the last state in force.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use replyfleet::clock::Clock;

use super::{Lane, Pace};
use crate::{
    catalogue::SendMethod,
    ledger::Ledger,
    metrics::Metrics,
    send::{Sender, Senders},
};

/// How often a sender is asked for its rate; one in this many looks.
const ASK_EVERY: u32 = 15;

/// How long the first answer is waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What is looked at.
pub(crate) struct PaceKeeper {
    pub(crate) pace: Arc<Pace>,
    pub(crate) senders: Senders,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

impl PaceKeeper {
    /// Asks for the first time: before a reply leaves. A sender that does not answer leaves its lane as it is.
    pub(crate) async fn begin(&self) {
        let _ = tokio::time::timeout(ASK_TIMEOUT, self.ask_senders()).await; // asked again later
    }

    /// Looks for ever, with this pause between looks.
    pub(crate) async fn keep_current(self, look_every: Duration) {
        let mut looks = 0_u32;
        loop {
            if looks.is_multiple_of(ASK_EVERY) && looks > 0 {
                self.ask_senders().await;
            }
            match self.ledger.workers(self.clock.now()).await {
                Ok(workers) => {
                    self.pace.set_workers(workers.len());
                    self.metrics.counted(workers.len());
                }
                Err(error) => tracing::warn!(error = %error, "the workers cannot be counted; rates are shared as before"),
            }
            looks = looks.wrapping_add(1);
            tokio::time::sleep(look_every).await;
        }
    }

    async fn ask_senders(&self) {
        // All at once: one that does not answer must not keep the others' rates back.
        let ask = async |(method, sender): (&SendMethod, &Arc<dyn Sender>)| {
            if let Some(rate) = sender.rate_max().await {
                self.pace.set_rate(Lane::Sender(*method), Some(rate));
            }
        };
        join_all(self.senders.iter().map(ask)).await;
    }
}
