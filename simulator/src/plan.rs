//! What is simulated: the fleet as deployed, the traffic, the machines, SES, the metrics and what breaks. Only told here, with defaults
//! that are measured or documented; [`crate::simulation`] does it.

use crate::{
    metric::Metric,
    scaling::{MetricQuery, Policy, Scaling},
};

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is deployed.
    pub scaling: Scaling,
    /// Mails expected in each second from the start; after the last, none. Sampled as Poisson with the seed.
    pub traffic: Vec<f64>,
    /// When the surge begins, in milliseconds: from there the times to capacity count. None counts from the first scaling up.
    pub surge_at_ms: Option<u64>,
    /// What a machine can do.
    pub machine: Machine,
    /// What SES takes.
    pub ses: Ses,
    /// How metrics reach the alarms.
    pub metrics: Metrics,
    /// How SQS behaves.
    pub queue: QueueRules,
    /// What the worker gives up before the fleet grows.
    pub elasticity: Elasticity,
    /// What breaks, and when.
    pub faults: Vec<Fault>,
    /// How long is simulated, in milliseconds: at least the traffic, better with time to drain.
    pub horizon_ms: u64,
    /// The seed.
    pub seed: u64,
}

impl Plan {
    /// A plan with default machines, SES, metrics and queue, and nothing that breaks; the horizon is the traffic's end.
    pub fn new(scaling: Scaling, traffic: Vec<f64>, seed: u64) -> Plan {
        let horizon_ms = traffic.len() as u64 * 1_000;
        Plan {
            scaling,
            traffic,
            surge_at_ms: None,
            machine: Machine::default(),
            ses: Ses::default(),
            metrics: Metrics::default(),
            queue: QueueRules::default(),
            elasticity: Elasticity::default(),
            faults: Vec::new(),
            horizon_ms,
            seed,
        }
    }

    /// Whether everything that decides is simulated: the metrics of each alarm that calls a policy, and those that target tracking follows.
    /// Alarms that only tell people may look at anything.
    ///
    /// # Errors
    /// The first that is not: such an alarm never has data, and a run would tell of another fleet than the one that is deployed.
    pub fn check(&self) -> Result<(), PlanError> {
        let decide = self.scaling.alarms.iter().filter(|(_, alarm)| !alarm.actions.is_empty());
        let of_alarms = decide.flat_map(|(id, alarm)| alarm.input.queries().into_iter().map(move |query| (id, query)));
        let of_policies = self.scaling.policies.iter().filter_map(|(id, policy)| match policy {
            Policy::TargetTracking { metric, .. } => Some((id, metric)),
            Policy::Simple { .. } | Policy::Step { .. } => None,
        });
        match of_alarms.chain(of_policies).find(|(_, query)| Metric::find(query, &self.metrics.namespace).is_none()) {
            None => Ok(()),
            Some((id, query)) => Err(PlanError { id: id.clone(), metric: named(query), namespace: self.metrics.namespace.clone() }),
        }
    }
}

/// A metric that decides and is not simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id}: the metric {metric} is not simulated (replyfleet's own are in {namespace})")]
pub struct PlanError {
    /// The alarm, or the target tracking policy, by its logical id in the template.
    pub id: String,
    /// What it looks at: the name, with dimensions and namespace.
    pub metric: String,
    /// The namespace of replyfleet's own metrics in the plan.
    pub namespace: String,
}

fn named(query: &MetricQuery) -> String {
    let dimensions: String = query.dimensions.iter().map(|(name, value)| format!(" with {name} {value}")).collect();
    format!("{}{dimensions} of {}", query.name, query.namespace)
}

/// A machine with one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Mails that it answers at the same time.
    pub slots: u32,
    /// CPU seconds that it has a second: its cores.
    pub cores: f64,
    /// CPU that a mail costs, in milliseconds of one core. `1000 * cores / cpu_ms` mails a second is what the CPU carries.
    pub cpu_ms: f64,
    /// How the rest of a mail's time (the calls to SQS, S3, SES) is distributed; it takes a slot, but no CPU.
    pub latency: Latency,
    /// Share of the mails whose reply has attachments, 0 to 1.
    pub attachment_share: f64,
    /// CPU that an attachment costs more, in milliseconds of one core.
    pub attachment_cpu_ms: f64,
    /// Latency that an attachment costs more, in milliseconds.
    pub attachment_latency_ms: f64,
    /// From launch until the worker takes mail, in milliseconds.
    pub boot_ms: u64,
    /// How much longer a boot may take: uniform from 0 to so many milliseconds.
    pub boot_jitter_ms: u64,
    /// From launch until EC2 says *running* and the group *InService*, in milliseconds; the worker does not take mail yet.
    pub running_ms: u64,
    /// From a machine's death until the group notices and replaces it, in milliseconds.
    pub noticed_after_ms: u64,
    /// How long a machine that drains may work on what it has, in milliseconds; the group's hook is a second limit.
    pub drain_ms_max: u64,
    /// Memory in use by an idle machine, per cent.
    pub memory_idle: f64,
    /// Memory that full slots add, per cent.
    pub memory_slots: f64,
    /// Disk in use, per cent.
    pub disk: f64,
    /// CPU of an idle machine, per cent.
    pub cpu_idle: f64,
}

/// A distribution of latencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always so many milliseconds.
    Constant(f64),
    /// Exponential with so many milliseconds as its mean: for the closed forms.
    Exponential(f64),
    /// Log-normal.
    LogNormal {
        /// Half of the mails need at most so many milliseconds.
        p50_ms: f64,
        /// 99 of 100.
        p99_ms: f64,
    },
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            slots: 200,
            cores: 2.0,
            cpu_ms: 2.5,
            latency: Latency::LogNormal { p50_ms: 80.0, p99_ms: 500.0 },
            attachment_share: 0.0,
            attachment_cpu_ms: 0.0,
            attachment_latency_ms: 0.0,
            boot_ms: 90_000,
            boot_jitter_ms: 15_000,
            running_ms: 20_000,
            noticed_after_ms: 60_000,
            drain_ms_max: 120_000,
            memory_idle: 30.0,
            memory_slots: 20.0,
            disk: 30.0,
            cpu_idle: 2.0,
        }
    }
}

/// The account's SES.
#[derive(Clone, Debug, PartialEq)]
pub struct Ses {
    /// `MaxSendRate`: replies a second of the whole account; more get 429. None is no limit.
    pub rate: Option<f64>,
    /// Replies that it takes at once after a pause.
    pub burst: f64,
    /// Share of the rate that the workers use, divided by those who live.
    pub share: f64,
    /// How long a worker waits after a 429, in milliseconds (then twice, up to a minute).
    pub retry_ms: u64,
}

impl Default for Ses {
    fn default() -> Ses {
        Ses { rate: None, burst: 1.0, share: 0.9, retry_ms: 1_000 }
    }
}

/// How metrics reach the alarms.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Every worker publishes so often, in seconds: 60, or 10 for high resolution.
    pub publish_every_s: u32,
    /// Workers publish at different moments: each later by up to so many milliseconds.
    pub publish_jitter_ms: u64,
    /// From the publishing until an alarm sees it, in milliseconds: AWS's own metrics, and the worker's if it publishes each minute.
    pub ingest_lag_ms: u64,
    /// The same for the worker's metrics if it publishes more often than each minute, which is high resolution.
    pub high_resolution_lag_ms: u64,
    /// The namespace of replyfleet's own metrics.
    pub namespace: String,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            publish_every_s: 10,
            publish_jitter_ms: 5_000,
            ingest_lag_ms: 60_000,
            high_resolution_lag_ms: 10_000,
            namespace: "replyfleet".into(),
        }
    }
}

/// How SQS behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueRules {
    /// From a receive until the message shows again if nobody prolongs or deletes it, in milliseconds.
    pub visibility_ms: u64,
    /// Receives after which a message is parked in the dead-letter queue (`maxReceiveCount`).
    pub receives_max: u32,
    /// From a reply's acceptance to its message's delete, in milliseconds: a death in between answers twice.
    pub delete_lag_ms: u64,
}

impl Default for QueueRules {
    fn default() -> QueueRules {
        QueueRules { visibility_ms: 120_000, receives_max: 10, delete_lag_ms: 100 }
    }
}

/// What the worker gives up before the fleet grows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elasticity {
    /// Above this time in the queue, in milliseconds, a reply goes without its attachments. None: always with them.
    pub no_attachments_over_ms: Option<u64>,
}

/// Something that breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub kind: FaultKind,
}

/// What can break.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// One machine dies at once; the group replaces it.
    KillMachine,
    /// Every machine of one of the two zones dies at once.
    LoseZone,
    /// SES refuses everything.
    SesPause {
        /// For so many milliseconds.
        for_ms: u64,
    },
    /// What one worker sends through is away, of that worker only: its breaker is open, and it takes no mail.
    WorkerAway {
        /// For so many milliseconds.
        for_ms: u64,
    },
    /// SQS refuses a share of the receives.
    SqsErrors {
        /// For so many milliseconds.
        for_ms: u64,
        /// Share of the receives that fail, 0 to 1.
        share: f64,
    },
    /// What is published does not arrive.
    MetricsLost {
        /// For so many milliseconds.
        for_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::template::{DEPLOYED, Template};

    fn plan(from: &str, to: &str) -> Plan {
        assert!(DEPLOYED.contains(from), "{from}");
        let scaling = Template::parse(&DEPLOYED.replace(from, to)).and_then(|template| template.scaling(&BTreeMap::new()));
        Plan::new(scaling.expect("valid"), vec![1.0; 60], 1)
    }

    #[test]
    fn a_metric_that_decides_and_is_not_simulated_is_an_error() {
        assert_eq!(plan("queue_depth", "queue_depth").check(), Ok(()));
        for (from, to, wanted) in [
            ("queue_depth", "queue_length", "PredictedWaitHigh: the metric queue_length of replyfleet is not simulated"),
            ("MetricName: oldest_age", "MetricName: oldest", "AllIsWell: the metric oldest of replyfleet is not simulated"),
            ("Value: send.SES", "Value: dns", "OldestAgeHigh: the metric breaker_open with Breaker dns of replyfleet is not simulated"),
        ] {
            let error = plan(from, to).check().expect_err("no error").to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
        let mut elsewhere = plan("queue_depth", "queue_depth");
        elsewhere.metrics.namespace = "mine".into();
        let error = elsewhere.check().expect_err("no error").to_string();
        assert!(error.contains("of replyfleet is not simulated (replyfleet's own are in mine)"), "{error}");
    }

    #[test]
    fn alarms_for_people_may_look_at_what_is_not_simulated() {
        assert_eq!(plan("MetricName: DiskSpaceUtilization", "MetricName: DiskInodes").check(), Ok(()));
    }
}
