//! What is deployed to scale the fleet, in the terms of CloudWatch and EC2 Auto Scaling: the group, its policies, and the alarms that
//! call them. Only what the simulation obeys; read from the template by who calls it.

use std::collections::BTreeMap;

/// The group of workers with everything that changes its size.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// The group.
    pub group: Group,
    /// Its policies, by their logical id in the template.
    pub policies: BTreeMap<String, Policy>,
    /// The alarms, by their logical id in the template. Those without actions only tell people.
    pub alarms: BTreeMap<String, Alarm>,
}

/// An `AWS::AutoScaling::AutoScalingGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `MinSize`.
    pub min: u32,
    /// `MaxSize`.
    pub max: u32,
    /// `DesiredCapacity` at the start; `MinSize` if the template has none.
    pub desired: u32,
    /// `Cooldown`, in seconds, for simple policies without one of their own.
    pub cooldown_s: u32,
    /// `DefaultInstanceWarmup`, in seconds.
    pub warmup_s: Option<u32>,
    /// The longest that a machine's termination waits for its hook (`HeartbeatTimeout`), in seconds.
    pub termination_hook_s: Option<u32>,
}

/// An `AWS::AutoScaling::ScalingPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// `SimpleScaling`: one adjustment, then nothing until the activity and the cooldown are over.
    Simple {
        /// What `ScalingAdjustment` means.
        adjustment_type: AdjustmentType,
        /// `ScalingAdjustment`.
        adjustment: i32,
        /// `Cooldown`, in seconds; else the group's.
        cooldown_s: Option<u32>,
    },
    /// `StepScaling`: an adjustment by how far the alarm's threshold is breached.
    Step {
        /// What the steps' adjustments mean.
        adjustment_type: AdjustmentType,
        /// The steps, in the template's order.
        steps: Vec<Step>,
        /// `EstimatedInstanceWarmup`, in seconds; else the group's.
        warmup_s: Option<u32>,
        /// `MinAdjustmentMagnitude`, for percents.
        magnitude_min: Option<u32>,
    },
    /// `TargetTrackingScaling` on a metric, which makes its own alarms (3 of 3 minutes above, 15 of 15 below 90 %).
    TargetTracking {
        /// What is kept at the target.
        metric: MetricQuery,
        /// `TargetValue`.
        target: f64,
        /// `DisableScaleIn`.
        is_scale_in_disabled: bool,
        /// `EstimatedInstanceWarmup`, in seconds; else the group's.
        warmup_s: Option<u32>,
    },
}

/// `AdjustmentType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustmentType {
    /// `ChangeInCapacity`.
    Change,
    /// `ExactCapacity`.
    Exact,
    /// `PercentChangeInCapacity`.
    Percent,
}

/// A `StepAdjustment`: bounds are relative to the alarm's threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// `MetricIntervalLowerBound`; none is minus infinity.
    pub lower: Option<f64>,
    /// `MetricIntervalUpperBound`; none is infinity.
    pub upper: Option<f64>,
    /// `ScalingAdjustment`.
    pub adjustment: i32,
}

/// An `AWS::CloudWatch::Alarm`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// What is compared.
    pub input: Input,
    /// `ComparisonOperator`.
    pub comparison: Comparison,
    /// `Threshold`.
    pub threshold: f64,
    /// `EvaluationPeriods`.
    pub evaluation_periods: u32,
    /// `DatapointsToAlarm`; all of the evaluation periods if the template has none.
    pub datapoints_to_alarm: u32,
    /// `TreatMissingData`.
    pub missing: MissingData,
    /// The policies among `AlarmActions`, by their logical ids.
    pub actions: Vec<String>,
}

/// What an alarm looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// One metric.
    Metric(MetricQuery),
    /// Metric math: `expression` over the metrics by their ids. Every period is the same.
    Expression {
        /// The expression of the entry that returns data.
        expression: String,
        /// Its metrics.
        metrics: BTreeMap<String, MetricQuery>,
    },
}

impl Input {
    /// The period of its data points, in seconds.
    pub fn period_s(&self) -> u32 {
        match self {
            Input::Metric(query) => query.period_s,
            Input::Expression { metrics, .. } => metrics.values().map(|query| query.period_s).max().unwrap_or(60),
        }
    }

    /// Every metric in it.
    pub fn queries(&self) -> Vec<&MetricQuery> {
        match self {
            Input::Metric(query) => vec![query],
            Input::Expression { metrics, .. } => metrics.values().collect(),
        }
    }
}

/// A metric's statistic over periods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricQuery {
    /// `Namespace`, with the template's references resolved.
    pub namespace: String,
    /// `MetricName`.
    pub name: String,
    /// `Dimensions` beside `AutoScalingGroupName`, which every metric has.
    pub dimensions: BTreeMap<String, String>,
    /// `Statistic` or `ExtendedStatistic`.
    pub statistic: Statistic,
    /// `Period`, in seconds: 10, 30 or a multiple of 60.
    pub period_s: u32,
}

/// How a period's samples become one data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// Their mean.
    Average,
    /// Their sum.
    Sum,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
    /// How many they are.
    SampleCount,
    /// `pNN.N`, in tenths of a per cent.
    Percentile(u16),
}

/// `ComparisonOperator`, the data point on the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    GreaterThanThreshold,
    GreaterThanOrEqualToThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
}

/// `TreatMissingData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MissingData {
    Breaching,
    NotBreaching,
    Ignore,
    Missing,
}
