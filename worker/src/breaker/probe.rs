//! How what is away is asked whether it is back, and the task that asks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use replyfleet::store::StoreError;

use super::{Breakers, Part, TELL_EVERY};
use crate::{
    catalogue::keeper::CatalogueKeeper,
    judge::Judge,
    ledger::Ledger,
    send::{SendError, Sender},
};

/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Something that can be asked whether it is there.
#[async_trait]
pub(crate) trait Probe: Send + Sync {
    /// Asks.
    ///
    /// # Errors
    /// A word from a closed list for why not.
    async fn ask(&self) -> Result<(), &'static str>;
}

/// Who is asked for which part.
pub(crate) type Probes = HashMap<Part, Arc<dyn Probe>>;

/// The database: a cheap read.
pub(crate) struct LedgerProbe(pub(crate) Ledger);

#[async_trait]
impl Probe for LedgerProbe {
    async fn ask(&self) -> Result<(), &'static str> {
        self.0.ping().await.map_err(|_| "no_answer")
    }
}

/// The name server: who takes mail for our own bounce domain, past the cache.
pub(crate) struct DnsProbe(pub(crate) Arc<Judge>);

#[async_trait]
impl Probe for DnsProbe {
    async fn ask(&self) -> Result<(), &'static str> {
        let domain = self.0.policy().bounce().ascii_domain();
        if self.0.is_dns_there(&domain).await { Ok(()) } else { Err("no_answer") }
    }
}

/// The store: the catalogue, unless it is the one we have.
pub(crate) struct StoreProbe(pub(crate) Arc<CatalogueKeeper>);

#[async_trait]
impl Probe for StoreProbe {
    async fn ask(&self) -> Result<(), &'static str> {
        match self.0.ask_store().await {
            // It answers, whatever it says of the catalogue.
            Ok(_) | Err(StoreError::Missing(_) | StoreError::TooBig(_) | StoreError::Full(_)) => Ok(()),
            Err(StoreError::Unavailable(_)) => Err("no_answer"),
            Err(StoreError::Refused(_)) => Err("refused"),
        }
    }
}

/// A next hop: whether it would take replies.
pub(crate) struct SenderProbe(pub(crate) Arc<dyn Sender>);

#[async_trait]
impl Probe for SenderProbe {
    async fn ask(&self) -> Result<(), &'static str> {
        self.0.probe().await.map_err(|error| match error {
            SendError::Away(reason) => reason,
            _ => "no_answer",
        })
    }
}

/// Asks what is away, for ever, and tells of it each minute.
pub(crate) async fn keep_asking(breakers: Arc<Breakers>, probes: Probes) {
    let timer = breakers.timer();
    let mut tell_at = timer.now() + TELL_EVERY;
    loop {
        let next = breakers.next_probe().map_or(tell_at, |at| at.min(tell_at));
        tokio::select! {
            () = timer.wait(next.saturating_duration_since(timer.now())) => {}
            () = breakers.due.notified() => {}
        }
        let asking = breakers.due(timer.now()).into_iter().map(async |part| {
            let answer = match probes.get(&part) {
                // Nobody can be asked: a message will show.
                None => Ok(()),
                Some(probe) => tokio::time::timeout(ANSWER_MAX, probe.ask()).await.unwrap_or(Err("no_answer")),
            };
            breakers.probed(part, answer);
        });
        join_all(asking).await;
        if timer.now() >= tell_at {
            breakers.tell();
            tell_at = timer.now() + TELL_EVERY;
        }
    }
}
