//! The way from a metric to a machine, in time.

use super::*;
use crate::scaling::{AdjustmentType, Alarm, Comparison, Input, MetricQuery, MissingData, Policy, Statistic, Step};

fn alarm(name: &str, comparison: Comparison, threshold: f64, evaluation_periods: u32, action: &str) -> Alarm {
    Alarm {
        input: Input::Metric(MetricQuery {
            namespace: "replyfleet".into(),
            name: name.into(),
            statistic: Statistic::Average,
            period_s: 60,
            dimensions: std::collections::BTreeMap::new(),
        }),
        comparison,
        threshold,
        evaluation_periods,
        datapoints_to_alarm: evaluation_periods,
        missing: MissingData::NotBreaching,
        actions: vec![action.into()],
    }
}

fn simple(adjustment: i32) -> Policy {
    Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment, cooldown_s: None }
}

fn scaling(min: u32, max: u32, policies: &[(&str, Policy, Alarm)]) -> Scaling {
    let mut scaling = fixed(min);
    (scaling.group.min, scaling.group.max) = (min, max);
    for (name, policy, alarm) in policies {
        scaling.policies.insert((*name).into(), policy.clone());
        scaling.alarms.insert(format!("{name}Alarm"), alarm.clone());
    }
    scaling
}

/// Quiet for ten minutes, then `rate`.
fn surge(rate: f64, seconds: usize) -> Vec<f64> {
    let mut traffic = vec![1.0; 600];
    traffic.resize(600 + seconds, rate);
    traffic
}

/// The times in seconds at which the desired capacity changed, and to what.
fn steps(run: &Run) -> Vec<(u64, u32)> {
    let mut steps: Vec<(u64, u32)> = Vec::new();
    for point in &run.series {
        if steps.last().is_none_or(|(_, desired)| *desired != point.desired) {
            steps.push((point.at_ms / 1_000, point.desired));
        }
    }
    steps
}

#[test]
fn simple_scaling_takes_a_cooldown_between_two_steps() {
    let up = ("Up", simple(4), alarm("processing_time", Comparison::GreaterThanThreshold, 10_000.0, 2, "Up"));
    let machine = Machine { boot_jitter_ms: 0, ..slots(1, Latency::Constant(200.0)) };
    let mut plan = Plan { machine, surge_at_ms: Some(600_000), ..Plan::new(scaling(1, 10, &[up]), surge(100.0, 1_800), 1) };
    plan.metrics.publish_every_s = 60;
    let run = simulate(&plan);
    assert_conserved(&run);
    let steps = steps(&run);
    assert_eq!(steps.iter().map(|step| step.1).collect::<Vec<_>>(), [1, 5, 9, 10]);
    // Two periods must breach, the data comes a minute late, and CloudWatch looks once a minute: three to five minutes.
    assert!((170..=300).contains(&(steps[1].0 - 600)), "{steps:?}");
    for pair in steps[1..].windows(2) {
        // The launch (20 s until EC2 says running) and the cooldown, and up to a minute until the alarm calls again.
        assert!((310..=390).contains(&(pair[1].0 - pair[0].0)), "{steps:?}");
    }
    assert_eq!(run.fleet.machines_peak, 10);
    let first = run.fleet.first_capacity_ms.expect("a machine came");
    assert!((first / 1_000).abs_diff(steps[1].0 - 600 + 90) <= 20, "90 s after the launch: {first}, {steps:?}");
}

#[test]
fn graded_steps_grow_at_once_and_repeats_add_nothing_until_machines_are_warm() {
    let policy = Policy::Step {
        adjustment_type: AdjustmentType::Change,
        steps: vec![Step { lower: Some(0.0), upper: Some(1e9), adjustment: 4 }, Step { lower: Some(1e9), upper: None, adjustment: 8 }],
        warmup_s: Some(280),
        magnitude_min: None,
    };
    let up = ("Up", policy, alarm("processing_time", Comparison::GreaterThanThreshold, 10_000.0, 1, "Up"));
    let plan = Plan { machine: slots(1, Latency::Constant(200.0)), ..Plan::new(scaling(1, 100, &[up]), surge(100.0, 1_800), 1) };
    let steps = steps(&simulate(&plan));
    let size: Vec<u32> = steps.iter().map(|step| step.1).collect();
    assert_eq!(size[..4], [1, 5, 9, 13], "+4 each time, though the alarm calls each minute");
    // Until running (20 s) and warm (280 s): 300 s, and up to a minute until the next call.
    assert!(steps[1..4].windows(2).all(|pair| (290..=370).contains(&(pair[1].0 - pair[0].0))), "{steps:?}");
}

#[test]
fn a_machine_that_is_no_longer_needed_drains_and_loses_nothing() {
    let down = ("Down", simple(-1), alarm("busy_fraction", Comparison::LessThanThreshold, 0.5, 2, "Down"));
    let mut scaling = scaling(1, 10, &[down]);
    scaling.group.desired = 4;
    let plan = Plan { machine: slots(10, Latency::Constant(20_000.0)), ..Plan::new(scaling, vec![0.1; 3_600], 1) };
    let run = simulate(&plan);
    assert_conserved(&run);
    assert_eq!(steps(&run).iter().map(|step| step.1).collect::<Vec<_>>(), [4, 3, 2, 1], "one at a time");
    assert_eq!(run.wait.max_ms, 20_000, "whoever was in hand is answered by the machine that drains");
    assert_eq!((run.fleet.scale_downs, run.mail.duplicates), (3, 0));
}

#[test]
fn a_percentile_and_a_high_resolution_alarm_see_what_they_should() {
    let mut alarm = alarm("queue_wait", Comparison::GreaterThanThreshold, 3_000.0, 1, "Up");
    alarm.input = Input::Metric(MetricQuery {
        namespace: "replyfleet".into(),
        name: "queue_wait".into(),
        statistic: Statistic::Percentile(900),
        period_s: 10,
        dimensions: std::collections::BTreeMap::new(),
    });
    let plan_of = |publish_every_s, lag_ms| {
        let mut plan = Plan {
            machine: slots(1, Latency::Constant(200.0)),
            ..Plan::new(scaling(1, 10, &[("Up", simple(4), alarm.clone())]), surge(100.0, 600), 1)
        };
        (plan.metrics.publish_every_s, plan.metrics.publish_jitter_ms, plan.metrics.ingest_lag_ms) = (publish_every_s, 0, lag_ms);
        plan
    };
    let quick = steps(&simulate(&plan_of(10, 5_000)));
    assert!((610..=640).contains(&quick[1].0), "within half a minute: {quick:?}");
}

#[test]
fn metric_math_decides_as_metrics_do() {
    let mut alarm = alarm("unused", Comparison::GreaterThanThreshold, 0.5, 1, "Up");
    let query = |name: &str, statistic| MetricQuery {
        namespace: "replyfleet".into(),
        name: name.into(),
        statistic,
        period_s: 60,
        dimensions: std::collections::BTreeMap::new(),
    };
    alarm.input = Input::Expression {
        expression: "IF(depth > 100 AND workers < 3, 1, 0)".into(),
        metrics: [("depth".into(), query("queue_depth", Statistic::Maximum)), ("workers".into(), query("busy_fraction", Statistic::SampleCount))]
            .into(),
    };
    let plan = Plan { machine: slots(1, Latency::Constant(200.0)), ..Plan::new(scaling(1, 10, &[("Up", simple(2), alarm)]), surge(100.0, 1_800), 1) };
    let steps = steps(&simulate(&plan));
    assert_eq!(steps.iter().map(|step| step.1).collect::<Vec<_>>(), [1, 3], "three workers are no longer fewer than three");
}

#[test]
fn attachments_are_given_up_while_the_queue_is_old() {
    let machine = Machine { attachment_share: 1.0, attachment_latency_ms: 900.0, ..slots(10, Latency::Constant(100.0)) };
    let mut plan = Plan { machine, ..Plan::new(fixed(1), surge(50.0, 900), 1) };
    let with = simulate(&plan);
    plan.elasticity.no_attachments_over_ms = Some(5_000);
    let without = simulate(&plan);
    assert_eq!(with.mail.without_attachments, 0);
    assert!(without.mail.without_attachments > 10_000, "{:?}", without.mail);
    assert!(with.wait.p99_ms > 600_000 && without.wait.p99_ms < 10_000, "{:?} {:?}", with.wait, without.wait);
}
