//! A policy that the search tries: the choices that make it, and what would be deployed.

use std::collections::BTreeMap;

use replyfleet_simulator::scaling::{AdjustmentType, Alarm, Comparison, Group, Input, MetricQuery, MissingData, Policy, Scaling, Statistic, Step};

/// What can be chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Growth by predicted wait.
    pub(crate) wait: Option<Wait>,
    /// Growth by demand, arrivals over answers in per cent, while the predicted wait is long: from so much, so many per cent more.
    pub(crate) demand: Option<&'static [(u32, i32)]>,
    /// Machines count as warm so many seconds after their boot.
    pub(crate) settle_s: u32,
    /// Is there an alarm on processing_time beside it?
    pub(crate) has_processing_time: bool,
    /// So many minutes must all be well before a machine goes.
    pub(crate) well_minutes: u32,
    /// The cooldown after a machine went, in seconds.
    pub(crate) cooldown_s: u32,
    /// Those who stay would be less busy than so many per cent.
    pub(crate) busy_after: u32,
    /// Does the CPU count as busy, beside slots?
    pub(crate) has_cpu: bool,
}

/// Growth by predicted wait.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wait {
    /// The alarms' periods, in seconds; each calls the same policy.
    pub(crate) periods_s: &'static [u32],
    /// From so many seconds of it, so many per cent (or machines) more.
    pub(crate) steps: &'static [(u32, i32)],
    /// What the steps' numbers are.
    pub(crate) kind: AdjustmentType,
}

/// Bounds of the group.
pub(crate) const MIN: u32 = 2;
pub(crate) const MAX: u32 = 20;
/// Fewer waiting messages are none: SQS counts about, and a few are always on their way.
const WAITING_MIN: u32 = 20;
const NAMESPACE: &str = "replyfleet";

fn own(name: &str, statistic: Statistic, period_s: u32) -> MetricQuery {
    MetricQuery { namespace: NAMESPACE.into(), name: name.into(), statistic, period_s, dimensions: BTreeMap::new() }
}

fn alarm(input: Input, comparison: Comparison, threshold: f64, periods: u32, action: &str) -> Alarm {
    Alarm {
        input,
        comparison,
        threshold,
        evaluation_periods: periods,
        datapoints_to_alarm: periods,
        missing: MissingData::NotBreaching,
        actions: vec![action.into()],
    }
}

fn ladder(steps: &[(u32, i32)], kind: AdjustmentType, unit: f64) -> Policy {
    let from = steps[0].0;
    let bound = |at: u32| f64::from(at - from) * unit;
    let made = steps.iter().enumerate().map(|(number, (at, adjustment))| Step {
        lower: Some(bound(*at)),
        upper: steps.get(number + 1).map(|next| bound(next.0)),
        adjustment: *adjustment,
    });
    Policy::Step { adjustment_type: kind, steps: made.collect(), warmup_s: None, magnitude_min: None }
}

impl Choice {
    /// What would be deployed, with machines that take `boot_s` seconds to boot.
    pub(crate) fn scaling(&self, boot_s: u32) -> Scaling {
        let group =
            Group { min: MIN, max: MAX, desired: MIN, cooldown_s: 300, warmup_s: Some(boot_s + self.settle_s), termination_hook_s: Some(600) };
        let (mut policies, mut alarms) = (BTreeMap::new(), BTreeMap::new());
        let mut add = |policy: &str, made: Policy, name: &str, made_alarm: Alarm| {
            policies.insert(policy.to_owned(), made);
            alarms.insert(name.to_owned(), made_alarm);
        };
        let above = Comparison::GreaterThanThreshold;
        if let Some(Wait { periods_s, steps, kind }) = &self.wait {
            let from = f64::from(steps[0].0);
            for period_s in *periods_s {
                let predicted = Input::Expression {
                    expression: format!("IF(waiting > {WAITING_MIN}, waiting * {period_s} / answered, 0)"),
                    metrics: [
                        ("waiting".to_owned(), own("queue_depth", Statistic::Maximum, *period_s)),
                        ("answered".to_owned(), own("processing_time", Statistic::SampleCount, *period_s)),
                    ]
                    .into(),
                };
                let name = format!("PredictedWaitHigh{period_s}");
                add("PredictedWaitUp", ladder(steps, *kind, 1.0), &name, alarm(predicted, above, from, 1, "PredictedWaitUp"));
            }
            if self.has_processing_time {
                let input = Input::Metric(own("processing_time", Statistic::Average, 60));
                let slow = alarm(input, above, from * 1_000.0, 1, "ProcessingTimeUp");
                add("ProcessingTimeUp", ladder(steps, *kind, 1_000.0), "ProcessingTimeHigh", slow);
            }
        }
        if let Some(steps) = self.demand {
            let sent = MetricQuery {
                namespace: "AWS/SQS".into(),
                name: "NumberOfMessagesSent".into(),
                statistic: Statistic::Sum,
                period_s: 60,
                dimensions: BTreeMap::new(),
            };
            let demand = Input::Expression {
                expression: "IF(waiting * 60 > 10 * answered, 100 * sent / answered, 0)".into(),
                metrics: [
                    ("waiting".to_owned(), own("queue_depth", Statistic::Maximum, 60)),
                    ("answered".to_owned(), own("processing_time", Statistic::SampleCount, 60)),
                    ("sent".to_owned(), sent),
                ]
                .into(),
            };
            let short = alarm(demand, above, f64::from(steps[0].0), 1, "DemandUp");
            add("DemandUp", ladder(steps, AdjustmentType::Percent, 1.0), "DemandHigh", short);
        }
        let hangs = Policy::Step {
            adjustment_type: AdjustmentType::Percent,
            steps: vec![Step { lower: Some(0.0), upper: None, adjustment: 100 }],
            warmup_s: None,
            magnitude_min: None,
        };
        let oldest = Input::Metric(own("oldest_age", Statistic::Maximum, 60));
        add("OldestAgeUp", hangs, "OldestAgeHigh", alarm(oldest, above, 60.0, 1, "OldestAgeUp"));
        let down = Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment: -1, cooldown_s: Some(self.cooldown_s) };
        let well = "IF(FILL(processing, 0) < 5000 AND FILL(oldest, 0) < 10, 1, 0)";
        let well = match self.has_cpu {
            true => format!("IF(cpu * workers < {} * (workers - 1), {well}, 0)", self.busy_after),
            false => well.to_owned(),
        };
        let mut metrics: BTreeMap<String, MetricQuery> = [
            ("busy".to_owned(), own("busy_fraction", Statistic::Average, 60)),
            ("workers".to_owned(), own("busy_fraction", Statistic::SampleCount, 60)),
            ("processing".to_owned(), own("processing_time", Statistic::Average, 60)),
            ("oldest".to_owned(), own("oldest_age", Statistic::Maximum, 60)),
        ]
        .into();
        if self.has_cpu {
            let cpu = MetricQuery {
                namespace: "AWS/EC2".into(),
                name: "CPUUtilization".into(),
                statistic: Statistic::Average,
                period_s: 60,
                dimensions: BTreeMap::new(),
            };
            metrics.insert("cpu".into(), cpu);
        }
        let expression = format!("IF(busy * workers * 100 < {} * (workers - 1), {well}, 0)", self.busy_after);
        add("Down", down, "AllIsWell", alarm(Input::Expression { expression, metrics }, above, 0.5, self.well_minutes, "Down"));
        Scaling { group, policies, alarms }
    }
}
