//! Publishes what was measured: at the end of every period one batch, by a task of its own that no message waits for.
//!
//! * **Periods** end at whole multiples of their length, on all machines at once, and a batch is stamped with the last
//!   millisecond of its own: so it lies in the period of which it tells, and an alarm sees it a minute earlier.
//! * **`busy_fraction`** is told once a minute whatever the period: an alarm counts the workers by its samples.
//! * **`reported_time`** goes with the counts: an alarm that looks when only some workers have told sees a rate of those all the same.
//! * **An outage** costs nothing but memory: batches that surely did not arrive wait, for 15 minutes, and go later with their
//!   own stamps. What may have arrived (no answer in time, a connection that broke, an error 500) is not sent again: a count
//!   that is too low for a minute is milder than one that is too high, which could call for machines.
//! * **At the end** the last part of a period is sent, within 2 s; without gauges, which half a period would falsify.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use replyfleet::{
    clock::{Clock, UnixMillis},
    settings::{QueueUrl, Settings},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    Metrics,
    cloudwatch::CloudWatch,
    data::{Parcel, Told, parcels},
    figures::Figures,
    host,
    table::HOST_NAMESPACE,
};
use crate::lifecycle::metadata::Metadata;

/// For how long batches wait that could not be sent.
const BACKLOG: Duration = Duration::from_secs(15 * 60);
/// How long sending may take at the end.
const STOP_TIME: Duration = Duration::from_secs(2);
/// How often it is told how busy the slots were.
const BUSY_EVERY: Duration = Duration::from_secs(60);
/// How often one may read in the log that it does not work.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// How often the instance is asked for its group before the log says that it does not tell, and the pauses until then and later.
const GROUP_TRIES: u32 = 5;
const GROUP_PAUSE: Duration = Duration::from_secs(10);
const GROUP_PAUSE_LATER: Duration = Duration::from_secs(60);

/// What came of a parcel that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It surely did not arrive.
    NotDone(String),
    /// It may have arrived.
    Uncertain(String),
    /// It will never be taken.
    Unfit(String),
}

/// Where parcels go: CloudWatch, but for tests.
#[async_trait]
pub(super) trait Sink: Send + Sync {
    /// Sends one, once.
    async fn put(&self, parcel: &Parcel) -> Result<(), Failure>;
}

/// Parcels that wait to be sent.
#[derive(Default)]
pub(super) struct Backlog {
    parcels: Mutex<VecDeque<Parcel>>,
    /// There will be no more.
    is_closed: AtomicBool,
    /// Told when there is one more, or will be none any more.
    changed: Notify,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        // Poisoned: a queue of whole parcels.
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; returns how many were given up because they are too old.
    fn push(&self, parcel: Parcel) -> usize {
        let mut parcels = self.lock();
        let before = parcels.len();
        parcels.retain(|waiting| parcel.at.since(waiting.at) < BACKLOG);
        let given_up = before - parcels.len();
        parcels.push_back(parcel);
        given_up
    }

    /// Adds all of a period, for [`send`] to send.
    pub(super) fn add(&self, made: impl IntoIterator<Item = Parcel>) {
        self.fill(made);
        self.changed.notify_one();
    }

    fn fill(&self, made: impl IntoIterator<Item = Parcel>) {
        let given_up: usize = made.into_iter().map(|parcel| self.push(parcel)).sum();
        if given_up > 0 {
            tracing::warn!(given_up, "metrics that could not be published for 15 minutes are given up");
        }
    }
}

/// What is published, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    namespace: String,
    period: Duration,
    busy_every: Duration,
    /// The file system of which is told how full it is, if the machine is to be told of.
    host: Option<PathBuf>,
}

/// The task that publishes.
pub(crate) struct Publisher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Begins to publish, if the settings say so. It asks who the group is by itself: nobody waits for that.
    pub(crate) fn start(settings: &Settings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Option<Self> {
        if !settings.publishes_metrics() {
            return None;
        }
        let plan = Plan {
            namespace: settings.metrics.namespace.as_str().to_owned(),
            period: settings.metrics.period_s.duration(),
            busy_every: BUSY_EVERY,
            host: settings.metrics.host.then(|| match &settings.queue.url {
                QueueUrl::Spool(dir) => dir.clone(),
                QueueUrl::Sqs(_) => "/".into(),
            }),
        };
        let (stop, mut stopped) = watch::channel(false);
        let settings = settings.clone();
        let task = tokio::spawn(async move {
            let opened = tokio::select! {
                opened = open(&settings) => opened,
                () = turned(&mut stopped) => return,
            };
            match opened {
                Ok((sink, group)) => publish(plan, Arc::new(sink), &group, metrics, clock, stopped).await,
                Err(error) => tracing::warn!(error, "metrics are not published to CloudWatch"),
            }
        });
        Some(Self { stop, task })
    }

    /// Sends what there still is, for two seconds at most.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_TIME, &mut self.task).await.is_err() {
            tracing::warn!("the last metrics are not published: CloudWatch does not answer in time");
            self.task.abort();
        }
    }
}

async fn turned(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error means that nobody wants us any more
}

/// CloudWatch, and the group, for which the instance is asked until it says: a worker that is not counted makes the fleet look small.
pub(super) async fn open(settings: &Settings) -> Result<(CloudWatch, String), String> {
    let mut tries = 1;
    let group = loop {
        match group(settings).await {
            Ok(group) => break group,
            Err(error) if tries == GROUP_TRIES => tracing::warn!(error, "metrics are not published to CloudWatch until the group is known"),
            Err(_) => {}
        }
        tokio::time::sleep(if tries < GROUP_TRIES { GROUP_PAUSE } else { GROUP_PAUSE_LATER }).await;
        tries += 1;
    };
    let sink = CloudWatch::open(&settings.aws, settings.metrics.period_s.duration()).await.map_err(|error| error.to_string())?;
    tracing::info!(group, namespace = settings.metrics.namespace.as_str(), "metrics are published to CloudWatch");
    Ok((sink, group))
}

/// The Auto Scaling group by the settings, else by the instance's tag.
async fn group(settings: &Settings) -> Result<String, String> {
    if let Some(group) = settings.metrics.auto_scaling_group.as_ref().or(settings.termination.group.as_ref()) {
        return Ok(group.clone());
    }
    let metadata = Metadata::open(&settings.aws).map_err(|error| error.to_string())?;
    metadata
        .group()
        .await
        .map_err(|error| format!("{error}; set metrics.auto_scaling_group, or show tags in the metadata; or set metrics.cloudwatch to false"))
}

/// Whether metrics could be published: the namespace and the group, or why none are. Nothing is published.
///
/// # Errors
/// What is wrong, and how to right it. A machine without a group is wrong only if the settings ask for metrics.
pub async fn check(settings: &Settings) -> Result<String, String> {
    if !settings.publishes_metrics() {
        return Ok("not published to CloudWatch".into());
    }
    let group = match group(settings).await {
        Ok(group) => group,
        Err(error) if settings.metrics.cloudwatch.is_none() => return Ok(format!("not published from here: {error}")),
        Err(error) => return Err(error),
    };
    let namespace = settings.metrics.namespace.as_str();
    let sink = CloudWatch::open(&settings.aws, settings.metrics.period_s.duration()).await.map_err(|error| error.to_string())?;
    sink.ask(namespace).await?;
    Ok(format!("namespace {namespace}, group {group}"))
}

/// Publishes until it is to stop.
async fn publish(plan: Plan, sink: Arc<dyn Sink>, group: &str, metrics: Arc<Metrics>, clock: Arc<dyn Clock>, mut stop: watch::Receiver<bool>) {
    let backlog = Arc::new(Backlog::default());
    let sender = Sending(tokio::spawn(send(Arc::clone(&backlog), sink)));
    let (mut told, mut told_at) = (Figures::default(), metrics.began());
    let mut busy = Busy { busy: Duration::ZERO, at: metrics.began(), next: period_end(clock.now(), plan.busy_every) };
    loop {
        let end = period_end(clock.now(), plan.period);
        let is_last = tokio::select! {
            () = tokio::time::sleep(end.since(clock.now())) => false,
            () = turned(&mut stop) => true,
        };
        let (figures, gauges, figures_at) = (metrics.figures(), metrics.gauges(), Instant::now());
        let period = figures.since(&told);
        let busy_fraction = busy.look(&figures, gauges.slots, clock.now(), plan.busy_every);
        let at = if is_last { clock.now() } else { stamp(end, clock.now(), plan.period) };
        let telling = Told {
            group,
            figures: &period,
            gauges: (!is_last).then_some(&gauges),
            busy_fraction,
            time: figures_at.saturating_duration_since(told_at),
            workers: gauges.workers,
            breakers: &metrics.breakers(),
        };
        let mut made = parcels(at, &plan.namespace, telling.data());
        if let Some(path) = plan.host.clone().filter(|_| !is_last) {
            let (memory, disk) = host::shares(path).await;
            made.extend(parcels(at, HOST_NAMESPACE, telling.host(memory, disk)));
        }
        (told, told_at) = (figures, figures_at);
        // In this order: who sends them may be awake, and must not take the batch before for the last.
        backlog.fill(made);
        backlog.is_closed.store(is_last, Ordering::SeqCst);
        backlog.changed.notify_one();
        if is_last {
            break;
        }
    }
    sender.join().await;
}

/// Since when it was not told how busy the slots were.
struct Busy {
    busy: Duration,
    at: Instant,
    next: UnixMillis,
}

impl Busy {
    /// The share of the slots that was taken since it was last told, if it is time.
    fn look(&mut self, figures: &Figures, slots: usize, now: UnixMillis, every: Duration) -> Option<f64> {
        // A clock that was set back must not silence it.
        if now < self.next && self.at.elapsed() < every * 2 {
            return None;
        }
        let at = Instant::now();
        let since = Figures { busy: figures.busy.saturating_sub(self.busy), ..Figures::default() };
        let share = since.busy_fraction(slots, at.saturating_duration_since(self.at));
        *self = Self { busy: figures.busy, at, next: period_end(now, every) };
        Some(share)
    }
}

/// The task that sends; it ends with who waits for it.
pub(super) struct Sending(pub(super) JoinHandle<()>);

impl Sending {
    async fn join(mut self) {
        let _ = (&mut self.0).await; // it panicked: there is nothing to wait for
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// When the period ends in which it is `now`.
pub(super) fn period_end(now: UnixMillis, period: Duration) -> UnixMillis {
    let millis = period_millis(period);
    UnixMillis((now.0 / millis + 1) * millis)
}

/// The stamp of a batch that was to be made at `end` and is made `now`: the last millisecond of the period that was over last.
/// A process that stood still for a while tells of all that time in one batch.
pub(super) fn stamp(end: UnixMillis, now: UnixMillis, period: Duration) -> UnixMillis {
    let over = UnixMillis(now.0 / period_millis(period) * period_millis(period));
    over.max(end) - Duration::from_millis(1)
}

fn period_millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Sends what waits, the oldest first, whenever something is added; after a failure the rest waits for the next period.
pub(super) async fn send(backlog: Arc<Backlog>, sink: Arc<dyn Sink>) {
    let mut said = Said::default();
    loop {
        backlog.changed.notified().await;
        let is_last = backlog.is_closed.load(Ordering::SeqCst);
        loop {
            let Some(parcel) = backlog.lock().pop_front() else { break };
            match sink.put(&parcel).await {
                Ok(()) => said.is_well(),
                Err(Failure::NotDone(error)) => {
                    backlog.lock().push_front(parcel);
                    said.is_ill(&error, "they are sent later");
                    break;
                }
                Err(Failure::Uncertain(error)) => {
                    said.is_ill(&error, "they may have arrived and are not sent again");
                    break;
                }
                Err(Failure::Unfit(error)) => said.is_ill(&error, "they are given up"),
            }
        }
        if is_last {
            return;
        }
    }
}

/// What the log was told.
#[derive(Default)]
struct Said {
    ill_at: Option<Instant>,
    is_ill: bool,
}

impl Said {
    fn is_ill(&mut self, error: &str, what: &str) {
        self.is_ill = true;
        if self.ill_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.ill_at = Some(Instant::now());
            tracing::warn!(error, what, "CloudWatch does not take metrics");
        }
    }

    fn is_well(&mut self) {
        if std::mem::take(&mut self.is_ill) {
            tracing::info!("CloudWatch takes metrics again");
        }
    }
}

#[cfg(test)]
mod tests;
