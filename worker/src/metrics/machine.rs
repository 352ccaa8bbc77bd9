//! Publishes what a machine is like, for one that runs no worker: how much of its memory and disk is used, and how much mail waits in its
//! Postfix. One batch a period, by a task of its own; in an outage of CloudWatch they wait as a worker's do.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use replyfleet::{
    clock::{Clock, SystemClock},
    settings::Settings,
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    data::{Told, parcels},
    figures::Figures,
    gauges::MailQueue,
    host,
    publisher::{Backlog, Sending, Sink, open, period_end, send, stamp},
    table::HOST_NAMESPACE,
};

/// What is known of a mail queue is told for so long; then it is no news.
const FRESH: Duration = Duration::from_secs(120);

/// The mail queue, and when it was looked at; none if nobody could.
pub type Seen = Option<(Instant, MailQueue)>;

/// What is published, and how.
struct Plan {
    namespace: String,
    period: Duration,
    disk: PathBuf,
}

/// The task that publishes; it ends with this.
pub struct MachineMetrics(JoinHandle<()>);

impl MachineMetrics {
    /// Begins to publish, if the settings say that metrics are published; of the disk that holds the path `disk`.
    pub fn start(settings: &Settings, disk: PathBuf, queue: watch::Receiver<Seen>) -> Option<Self> {
        if !settings.publishes_metrics() {
            return None;
        }
        let plan = Plan { namespace: settings.metrics.namespace.as_str().to_owned(), period: settings.metrics.period_s.duration(), disk };
        let settings = settings.clone();
        Some(Self(tokio::spawn(async move {
            match open(&settings).await {
                Ok((sink, group)) => publish(plan, Arc::new(sink), &group, &queue).await,
                Err(error) => tracing::warn!(error, "metrics are not published to CloudWatch"),
            }
        })))
    }
}

impl Drop for MachineMetrics {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn publish(plan: Plan, sink: Arc<dyn Sink>, group: &str, queue: &watch::Receiver<Seen>) {
    let (clock, figures) = (SystemClock, Figures::default());
    let backlog = Arc::new(Backlog::default());
    let _sender = Sending(tokio::spawn(send(Arc::clone(&backlog), sink)));
    loop {
        let end = period_end(clock.now(), plan.period);
        tokio::time::sleep(end.since(clock.now())).await;
        let at = stamp(end, clock.now(), plan.period);
        let telling = Told { group, figures: &figures, gauges: None, busy_fraction: None, time: plan.period, workers: None, breakers: &[] };
        let (memory, disk) = host::shares(plan.disk.clone()).await;
        let seen = *queue.borrow();
        let data = seen.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, queue)| telling.mail_queue(queue)).unwrap_or_default();
        let own = parcels(at, &plan.namespace, data);
        backlog.add(own.into_iter().chain(parcels(at, HOST_NAMESPACE, telling.host(memory, disk))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::metrics::{data::Parcel, publisher::Failure};

    #[derive(Default)]
    struct Kept(Mutex<Vec<Parcel>>);

    #[async_trait]
    impl Sink for Kept {
        async fn put(&self, parcel: &Parcel) -> Result<(), Failure> {
            self.0.lock().expect("whole").push(parcel.clone());
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_machine_tells_of_itself_and_of_a_queue_only_while_somebody_looks_at_it() {
        let sink = Arc::new(Kept::default());
        let (see, seen) = watch::channel(None);
        let plan = Plan { namespace: "replyfleet".into(), period: Duration::from_millis(20), disk: "/".into() };
        let publishing: Arc<dyn Sink> = Arc::clone(&sink) as Arc<dyn Sink>;
        let task = MachineMetrics(tokio::spawn(async move { publish(plan, publishing, "mxs", &seen).await }));
        let told = async |name: &str| loop {
            let parcels = sink.0.lock().expect("whole").clone();
            let found =
                parcels.iter().flat_map(|parcel| parcel.data.iter().map(move |datum| (parcel, datum))).find(|(_, datum)| datum.metric.name == name);
            if let Some((parcel, datum)) = found {
                return (parcel.namespace.clone(), datum.dimensions.clone(), datum.values[0].0);
            }
            tokio::task::yield_now().await;
        };
        let (namespace, dimensions, share) = told("MemoryUtilization").await;
        assert_eq!((namespace.as_str(), dimensions), ("System/Linux", vec![("AutoScalingGroupName", "mxs".to_owned())]));
        assert!(share > 0.0 && share <= 100.0);
        assert!(sink.0.lock().expect("whole").iter().all(|parcel| parcel.namespace == "System/Linux"), "nobody has looked at the queue");
        see.send_replace(Some((Instant::now(), MailQueue { depth: 3, oldest_age: Duration::from_secs(70) })));
        assert_eq!((told("mail_queue_depth").await.2, told("mail_queue_age").await.2), (3.0, 70.0));
        drop(task);
    }
}
