//! The metrics that alarms may look at, and what a worker gathers of them between two publications.

use crate::{
    histogram::Histogram,
    scaling::{MetricQuery, Statistic},
};

/// One part in so many is the least difference between two lengths of time that a worker publishes apart.
const PRECISION: u64 = 32;

/// The dimension of `breaker_open` beside the group, and its value for SES.
pub(crate) const BREAKER: &str = "Breaker";
const SES_BREAKER: &str = "send.SES";

/// A metric that the simulation has. Names and units are those that workers publish, or AWS for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    ProcessingTime,
    ProcessingTimeStale,
    HandlingTime,
    QueueWait,
    SendWait,
    ResponseSent,
    MessageReceived,
    SesThrottled,
    BusyFraction,
    ReportedTime,
    OldestAge,
    QueueDepth,
    InHand,
    /// Of SES only: `Breaker` is [`SES_BREAKER`].
    BreakerOpen,
    Cpu,
    Memory,
    Disk,
    SqsSent,
    SqsVisible,
    SqsOldestAge,
    GroupInService,
    GroupDesired,
}

impl Metric {
    /// How many there are.
    pub(crate) const COUNT: usize = Metric::GroupDesired as usize + 1;

    /// The metric that a query names, if the simulation has it. The host's are found in whatever namespace the agent was told.
    pub(crate) fn find(query: &MetricQuery, own_namespace: &str) -> Option<Metric> {
        // A set of dimensions is a part of a metric's name: with another it is another metric.
        let dimensions: Vec<(&str, &str)> = query.dimensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match dimensions.as_slice() {
            [] => {}
            [(BREAKER, SES_BREAKER)] if (query.namespace.as_str(), query.name.as_str()) == (own_namespace, "breaker_open") => {
                return Some(Metric::BreakerOpen);
            }
            _ => return None,
        }
        let metric = match (query.namespace.as_str(), query.name.as_str()) {
            ("AWS/EC2", "CPUUtilization") => Metric::Cpu,
            ("AWS/SQS", "NumberOfMessagesSent") => Metric::SqsSent,
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible") => Metric::SqsVisible,
            ("AWS/SQS", "ApproximateAgeOfOldestMessage") => Metric::SqsOldestAge,
            ("AWS/AutoScaling", "GroupInServiceInstances") => Metric::GroupInService,
            ("AWS/AutoScaling", "GroupDesiredCapacity") => Metric::GroupDesired,
            (_, "MemoryUtilization") => Metric::Memory,
            (_, "DiskSpaceUtilization") => Metric::Disk,
            (namespace, name) if namespace == own_namespace => match name {
                "processing_time" => Metric::ProcessingTime,
                "processing_time_stale" => Metric::ProcessingTimeStale,
                "handling_time" => Metric::HandlingTime,
                "queue_wait" => Metric::QueueWait,
                "send_wait" => Metric::SendWait,
                "response_sent" => Metric::ResponseSent,
                "message_received" => Metric::MessageReceived,
                "ses_throttled" => Metric::SesThrottled,
                "busy_fraction" => Metric::BusyFraction,
                "reported_time" => Metric::ReportedTime,
                "oldest_age" => Metric::OldestAge,
                "queue_depth" => Metric::QueueDepth,
                "in_hand" => Metric::InHand,
                _ => return None,
            },
            _ => return None,
        };
        Some(metric)
    }
}

/// A statistic set, and the values if a percentile is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stat {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    values: Option<Histogram>,
}

impl Stat {
    /// One value.
    pub(crate) fn of(value: f64) -> Stat {
        Stat { count: 1, sum: value, min: value, max: value, values: None }
    }

    fn include(&mut self, count: u64, sum: f64, min: f64, max: f64) {
        if self.count == 0 {
            (self.min, self.max) = (min, max);
        } else {
            (self.min, self.max) = (self.min.min(min), self.max.max(max));
        }
        self.count += count;
        self.sum += sum;
    }

    /// Adds a length of time in milliseconds, rounded as workers round it. `is_kept` keeps the value for percentiles.
    pub(crate) fn add_ms(&mut self, ms: u64, is_kept: bool) {
        let shift = ms.max(1).ilog2().saturating_sub(PRECISION.ilog2());
        let rounded = ms >> shift << shift;
        self.include(1, rounded as f64, rounded as f64, rounded as f64);
        if is_kept {
            self.values.get_or_insert_default().add(rounded);
        }
    }

    /// Adds another's.
    pub(crate) fn merge(&mut self, other: &Stat) {
        if other.count == 0 {
            return;
        }
        self.include(other.count, other.sum, other.min, other.max);
        if let Some(values) = &other.values {
            self.values.get_or_insert_default().merge(values);
        }
    }

    /// The statistic; none without a value. A percentile of values that were not kept is none too.
    pub(crate) fn statistic(&self, statistic: Statistic) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        match statistic {
            Statistic::Average => Some(self.sum / self.count as f64),
            Statistic::Sum => Some(self.sum),
            Statistic::Minimum => Some(self.min),
            Statistic::Maximum => Some(self.max),
            Statistic::SampleCount => Some(self.count as f64),
            Statistic::Percentile(per_mille) => self.values.as_ref()?.quantile(f64::from(per_mille) / 1_000.0).map(|value| value as f64),
        }
    }
}

/// What a worker has gathered since it last published: times in milliseconds, and counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) processing: Stat,
    pub(crate) stale: Stat,
    pub(crate) handling: Stat,
    pub(crate) queue_wait: Stat,
    pub(crate) send_wait: Stat,
    pub(crate) sent: u32,
    pub(crate) received: u32,
    pub(crate) throttled: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_the_values_as_workers_round_them() {
        let mut stat = Stat::default();
        for ms in [10, 20, 1_001] {
            stat.add_ms(ms, true);
        }
        let mut other = Stat::default();
        other.add_ms(4, true);
        stat.merge(&other);
        let all = [Statistic::Average, Statistic::Sum, Statistic::Minimum, Statistic::Maximum, Statistic::SampleCount, Statistic::Percentile(500)];
        let found = all.map(|statistic| stat.statistic(statistic));
        assert_eq!(found, [1_026.0 / 4.0, 1_026.0, 4.0, 992.0, 4.0, 10.0].map(Some), "1,001 ms are published as 992");
        assert_eq!(Stat::default().statistic(Statistic::Sum), None, "no data is no zero");
    }

    #[test]
    fn a_metric_is_found_by_its_namespace_and_name() {
        let query = |namespace: &str, name: &str| MetricQuery {
            namespace: namespace.into(),
            name: name.into(),
            statistic: Statistic::Average,
            period_s: 60,
            dimensions: std::collections::BTreeMap::new(),
        };
        assert_eq!(Metric::find(&query("fleet", "processing_time"), "fleet"), Some(Metric::ProcessingTime));
        assert_eq!(Metric::find(&query("other", "processing_time"), "fleet"), None);
        assert_eq!(Metric::find(&query("System/Linux", "MemoryUtilization"), "fleet"), Some(Metric::Memory));
        assert_eq!(Metric::find(&query("AWS/EC2", "NetworkIn"), "fleet"), None);
        let of_breaker = |name: &str, breaker: &str| MetricQuery { dimensions: [("Breaker".into(), breaker.into())].into(), ..query("fleet", name) };
        assert_eq!(Metric::find(&of_breaker("breaker_open", "send.SES"), "fleet"), Some(Metric::BreakerOpen));
        for other in [of_breaker("breaker_open", "dns"), of_breaker("oldest_age", "send.SES"), query("fleet", "breaker_open")] {
            assert_eq!(Metric::find(&other, "fleet"), None, "{other:?}");
        }
    }
}
