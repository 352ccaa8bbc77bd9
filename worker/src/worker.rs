//! A worker: opens what the settings name, and runs the drain loop beside what keeps itself current. Opening is one try;
//! [`crate::startup`] tries again while something is away.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use replyfleet::{
    clock::{Clock, SystemClock},
    durable,
    envelope::{CLAIM_CHECK_PREFIX, Envelope},
    ground::{Ground, GroundError},
    queue::QueueError,
    settings::{AuthenticationMode, QueueUrl, Settings, SettingsError},
    store::{ObjectName, Store},
};
use tokio::sync::watch;

use crate::{
    alone,
    breaker::{
        Breakers, Part,
        probe::{self, DnsProbe, LedgerProbe, Probe, Probes, SenderProbe, StoreProbe},
    },
    catalogue::{
        Catalogue,
        keeper::{CatalogueKeeper, KeeperError},
    },
    composer::Composer,
    crypto,
    drain::{Drain, Respond as _},
    isolation::{Isolation, Plan},
    judge::Judge,
    ledger::{ANSWER_TIMEOUT, Ledger, LedgerError},
    metrics::{Metrics, Publisher, sampler::Sampler},
    pace::{Lane, Pace, keeper::PaceKeeper},
    pulse::Pulse,
    respond::{LargeMails, Responder},
    retention,
    send::{self, Senders},
    status::Watched,
    switches::keeper::{LOOK_EVERY, SwitchKeeper},
    timer::MachineTimer,
    upkeep::Upkeep,
};

/// What a send may take beside its own time limit: a disk that hangs, the claim and the record.
const SEND_GRACE: Duration = Duration::from_secs(5 + 2 * ANSWER_TIMEOUT.as_secs());
/// How often the ledger forgets what is old.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// How long a claim-check object is kept: as long as a message can be in queue and dead letters together. SQS ends each
/// after 14 days; on a spool, a message that waited longer is too old to be answered anyway.
const CLAIM_CHECK_FOR: Duration = Duration::from_secs(29 * 86_400);
/// The longest long poll of SQS: the fewest calls of an idle worker.
const SQS_LONG_POLL: Duration = Duration::from_secs(20);
/// A spool is looked at by this process itself; a short wait stops fast.
const SPOOL_LONG_POLL: Duration = Duration::from_secs(1);

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Ground(#[from] GroundError),
    #[error(transparent)]
    Catalogue(#[from] KeeperError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Value(String),
}

/// How long a worker that is open may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(120);

/// How far [`Worker::run`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It receives nothing before the database knows what dead workers had in hand.
    Beginning,
    /// It receives messages.
    Receiving,
    /// Nothing is in hand any more, or the time for it is over; the last metrics may still be on their way.
    Drained,
}

/// A worker that is ready to run.
pub struct Worker {
    drain: Drain,
    responder: Arc<Responder>,
    probes: Probes,
    catalogue: Arc<CatalogueKeeper>,
    switches: Arc<SwitchKeeper>,
    paces: PaceKeeper,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    refresh: Duration,
    /// How often the switches are looked at.
    pub(crate) look_every: Duration,
    claim_check_bucket: String,
    settings: Settings,
    stage: watch::Sender<Stage>,
}

impl Worker {
    /// Opens queue, store, catalogue, database and senders.
    ///
    /// # Errors
    /// [`OpenError`], with the settings' key where one is to blame.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        crypto::install();
        let ground = Ground::open(settings, send::needs_aws(settings)).await?;
        let senders = send::open(settings, ground.aws.as_deref()).map_err(OpenError::Value)?;
        match ground.queue.depth().await {
            Ok(_) => {}
            Err(error @ QueueError::Unavailable(_)) => return Err(GroundError::Queue(error).into()),
            // The worker can do nothing about it but try, rarely; it may be only this question that it may not ask.
            Err(error) => tracing::error!(error = %error, "the queue does not say how full it is; see `replyfleet check`"),
        }
        Self::assemble(settings, ground, senders).await
    }

    /// The part of [`Worker::open`] that does not ask where replies go.
    pub(crate) async fn assemble(settings: &Settings, ground: Ground, senders: Senders) -> Result<Self, OpenError> {
        let secret = settings.secret()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::default());
        let cache_dir = cache_dir(settings)?;
        let judge = Arc::new(Judge::open(settings).map_err(OpenError::Value)?);
        let object = catalogue_object(settings)?;
        let catalogue = Arc::new(CatalogueKeeper::open(Arc::clone(&ground.store), object, send::available(settings), cache_dir).await?);
        let ledger = Ledger::open(settings.database_url()?, secret.clone(), settings.allowance.clone()).await?;
        let ledger = ledger.keeping(settings.database.retention_s.duration());
        let refresh = settings.catalogue.refresh_s.duration();
        let attachments_after = settings.shedding.attachments_after_s.map(|after| after.duration());
        let switches = Arc::new(SwitchKeeper::open(ledger.clone(), Arc::clone(&clock), attachments_after).await?);
        metrics.named(&switches.row().id, switches.row().started, settings.worker.slots.get());

        let pace = Arc::new(Pace::new(rates(settings)));
        let paces = PaceKeeper {
            pace: Arc::clone(&pace),
            senders: senders.clone(),
            ledger: ledger.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        };

        let mut probes = Probes::from([
            (Part::Ledger, Arc::new(LedgerProbe(ledger.clone())) as Arc<dyn Probe>),
            (Part::Store, Arc::new(StoreProbe(Arc::clone(&catalogue)))),
        ]);
        if settings.authentication.mode == AuthenticationMode::On {
            probes.insert(Part::Dns, Arc::new(DnsProbe(Arc::clone(&judge))));
        }
        probes.extend(senders.iter().map(|(method, sender)| (Part::Sender(*method), Arc::new(SenderProbe(Arc::clone(sender))) as Arc<dyn Probe>)));
        let probe_every = settings.worker.probe_s.duration();
        let timer = Arc::new(MachineTimer);
        let breakers = Arc::new(Breakers::new(probes.keys().copied(), probe_every, Arc::clone(&metrics), Arc::clone(&clock), timer));
        let responder = Arc::new(Responder {
            store: Arc::clone(&ground.store),
            clock: Arc::clone(&clock),
            catalogue: Arc::clone(&catalogue),
            composer: Composer::open(settings, Arc::clone(&ground.store), cache_dir).map_err(OpenError::Value)?,
            pace: Arc::clone(&pace),
            ledger: ledger.clone(),
            senders: senders.clone(),
            fallbacks: send::fallbacks(settings),
            with_smtputf8: send::with_smtputf8(settings),
            breakers: Arc::clone(&breakers),
            judge,
            switches: Arc::clone(&switches),
            metrics: Arc::clone(&metrics),
            mail_bytes_max: settings.screen.mail_bytes_max.get(),
            large_mails: LargeMails::default(),
            age_max: settings.screen.age_max_s.duration(),
            receives_max: u32::try_from(settings.worker.receives_max.get()).unwrap_or(u32::MAX),
        });
        let drain = Drain {
            queue: ground.queue,
            pace,
            store: ground.store,
            responder: Arc::clone(&responder) as _,
            decode: Envelope::decode,
            isolation: Isolation::default(),
            breakers,
            pulse: Arc::new(Pulse::new(BEGIN_MAX)),
            metrics: Arc::clone(&metrics),
            clock,
            slots: settings.worker.slots.get(),
            long_poll: match settings.queue.url {
                QueueUrl::Sqs(_) => SQS_LONG_POLL,
                QueueUrl::Spool(_) => SPOOL_LONG_POLL,
            },
            stop_timeout: settings.worker.stop_timeout_s.duration(),
        };
        match drain.queue.limits().await {
            Ok(limits) => retention::faults(settings, &limits).iter().for_each(|fault| tracing::warn!(fault, "a limit is too narrow")),
            Err(error) => tracing::warn!(error = %error, "the queue does not say for how long it keeps messages"),
        }
        if settings.authentication.mode == AuthenticationMode::Off {
            tracing::warn!(
                unproven = settings.authentication.unproven.word(),
                "senders are not authenticated: whoever forges a From address makes us mail it"
            );
        }
        Ok(Self {
            drain,
            responder,
            probes,
            catalogue,
            switches,
            paces,
            ledger,
            metrics,
            refresh,
            look_every: LOOK_EVERY,
            claim_check_bucket: settings.store.claim_check_bucket.clone(),
            settings: settings.clone(),
            stage: watch::Sender::new(Stage::Beginning),
        })
    }

    /// Has messages that were in hand when a worker died worked on in processes of their own: this program, started with
    /// `config` and `--alone` ([`Worker::answer_alone`]). For a worker that is a program by itself.
    pub fn isolate(mut self, settings: &Settings, config: &Path) -> Self {
        let (catalogue, responder) = (Arc::clone(&self.catalogue), Arc::clone(&self.responder));
        let by_itself = settings.worker.quarantine_timeout_s.duration();
        let time_max = move || {
            let slowest = responder.senders.values().map(|sender| sender.timeout()).max().unwrap_or_default();
            by_itself + sends_time_max(&catalogue.current(), slowest)
        };
        let plan = Plan {
            config: config.to_owned(),
            cache_dir: settings.worker.cache_dir.clone(),
            slots: settings.worker.slots.get(),
            time_max: Arc::new(time_max),
            receives_max: self.responder.receives_max,
        };
        self.drain.isolation = Isolation::open(plan, self.ledger.clone(), Arc::clone(&self.drain.clock));
        self
    }

    /// Answers the one message on standard input, tells on standard output how it ended, and receives none.
    ///
    /// # Errors
    /// The system's: the worker that has the message is gone.
    pub async fn answer_alone(&self) -> std::io::Result<()> {
        alone::answer(&*self.responder, &self.ledger, &self.metrics).await
    }

    /// What this worker counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Whether its loop moves.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.drain.pulse)
    }

    /// What the status page looks at.
    pub fn watched(&self) -> Watched {
        let (breakers, responder) = (Arc::clone(&self.drain.breakers), Arc::clone(&self.responder));
        let is_blocked = Arc::new(move || breakers.blocking(|| responder.ways()).is_some());
        Watched { metrics: self.metrics(), pulse: self.pulse(), stage: self.stage(), is_blocked }
    }

    /// How far it has come, from now on.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Works until `stop` turns true; returns whether every message in hand was finished or given back.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> bool {
        let sampler = Sampler {
            metrics: Arc::clone(&self.metrics),
            queue: Arc::clone(&self.drain.queue),
            catalogue: Arc::clone(&self.catalogue),
            clock: Arc::clone(&self.drain.clock),
            every: self.settings.metrics.sample_s.duration(),
        };
        let sampler = tokio::spawn(sampler.keep());
        let publisher = Publisher::start(&self.settings, Arc::clone(&self.metrics), Arc::clone(&self.drain.clock));
        // What is told of this worker does not wait for the database, as this does.
        let isolation = self.drain.isolation.clone();
        isolation.begin(&mut stop, &self.drain.pulse).await;
        let (switches, catalogue) = (self.switches, Arc::clone(&self.catalogue));
        let switcher = tokio::spawn(async move { switches.keep_current(&catalogue, &self.metrics, self.look_every).await });
        self.paces.begin().await;
        let pacer = tokio::spawn(self.paces.keep_current(self.look_every));
        let refresher = tokio::spawn(async move { self.catalogue.keep_current(self.refresh).await });
        let prober = tokio::spawn(probe::keep_asking(Arc::clone(&self.drain.breakers), self.probes));
        let upkeep = Upkeep { responder: self.responder, look_every: self.refresh };
        let caretaker = tokio::spawn(upkeep.keep());
        let clock = Arc::clone(&self.drain.clock);
        let forgetter = tokio::spawn(forget_old(self.ledger, clock, Arc::clone(&self.drain.store), self.claim_check_bucket));
        let watcher = tokio::spawn(isolation.clone().keep());
        if !*stop.borrow() {
            self.stage.send_replace(Stage::Receiving);
        }
        let is_finished = self.drain.run(stop).await;
        self.stage.send_replace(Stage::Drained);
        prober.abort();
        watcher.abort();
        if is_finished {
            isolation.close();
        }
        switcher.abort();
        pacer.abort();
        refresher.abort();
        caretaker.abort();
        forgetter.abort();
        sampler.abort();
        if let Some(publisher) = publisher {
            publisher.finish().await;
        }
        is_finished
    }
}

/// The longest that all sends of one message may take, each by a sender of which the slowest takes so long: a slow next hop, or a
/// slow database, must not look like a message that hangs.
fn sends_time_max(catalogue: &Catalogue, slowest: Duration) -> Duration {
    let mut replies: HashMap<&str, u32> = HashMap::new();
    for response in catalogue.responses() {
        *replies.entry(&response.address).or_default() += 1;
    }
    (slowest + SEND_GRACE) * replies.into_values().max().unwrap_or(1)
}

/// The rates of domains and providers, per second of the whole fleet. A sender is asked for its own.
fn rates(settings: &Settings) -> Vec<(Lane, f64)> {
    let domains = settings.rates.domains.iter().map(|(domain, rate)| (Lane::Domain(domain.clone()), rate.per_second()));
    let providers = settings.providers.iter().filter_map(|provider| Some((Lane::Provider(provider.name.clone()), provider.rate?.per_second())));
    domains.chain(providers).collect()
}

/// Where the catalogue lies.
///
/// # Errors
/// [`SettingsError`] with the key.
pub fn catalogue_object(settings: &Settings) -> Result<ObjectName, SettingsError> {
    ObjectName::new(&settings.catalogue.bucket, &settings.catalogue.key)
        .map_err(|text| SettingsError::value("catalogue.bucket and catalogue.key", &text))
}

fn cache_dir(settings: &Settings) -> Result<&Path, OpenError> {
    let dir = settings.worker.cache_dir.as_path();
    durable::create_dir(dir).map_err(|error| OpenError::Value(format!("worker.cache_dir: cannot create {}: {error}", dir.display())))?;
    Ok(dir)
}

/// Forgets what is old, for ever: the ledger's requests, and claim-check objects to which no message can point any more.
async fn forget_old(ledger: Ledger, clock: Arc<dyn Clock>, store: Arc<dyn Store>, claim_check_bucket: String) {
    loop {
        match ledger.forget_old(clock.now()).await {
            Ok(0) => {}
            Ok(rows) => {
                tracing::info!(rows, "what is old is forgotten");
                continue; // there may be more
            }
            Err(error) => tracing::warn!(error = %error, "what is old cannot be forgotten yet"),
        }
        match store.expire(&claim_check_bucket, CLAIM_CHECK_PREFIX, CLAIM_CHECK_FOR).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "old claim-check objects are removed"),
            Err(error) => tracing::warn!(error = %error, "old claim-check objects cannot be removed yet"),
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::SendMethod;

    #[test]
    fn a_process_has_the_time_for_all_sends_of_a_message_with_a_slow_database() {
        let entry = |address: &str| format!(r#"{{"email_addr": "{address}@example.com", "body": "{address}", "send_method": "SES"}}"#);
        let text = format!("[{}]", ["one", "two", "two"].map(entry).join(","));
        let text = text.replacen(r#""body": "two""#, r#""body": "first""#, 1);
        let catalogue = Catalogue::parse(&text, &[SendMethod::Ses]).expect("valid");
        let slowest = Duration::from_secs(60);
        assert!(sends_time_max(&catalogue, slowest) >= (slowest + ANSWER_TIMEOUT * 2) * 2);
    }
}
