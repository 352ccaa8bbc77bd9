//! What is deployed, as the services of an emulator describe it, in the simulator's terms. A second reader: nothing of it is the simulator's
//! own.
//!
//! The emulator (ministack 1.5.33) does not keep a group's `DefaultInstanceWarmup` and refuses alarms with `Metrics`; `deploy.py` has
//! CloudFormation's functions in these resolved by the emulator, too, and hands them over as `told`.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use replyfleet_simulator::scaling::{AdjustmentType, Alarm, Comparison, Group, Input, MetricQuery, MissingData, Policy, Scaling, Statistic, Step};
use replyfleet_tests::{ministack::venv, repository};
use serde_json::{Value, json};

/// Deploys a template with these parameters, and reads back what there is.
pub(crate) fn deploy(endpoint: &str, stack: &str, template: &Path, parameters: &BTreeMap<String, String>) -> Scaling {
    let mut child = Command::new(venv().join("bin/python"))
        .arg(repository().join("tests/simulate/deploy.py"))
        .args([endpoint, stack])
        .arg(template)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(json!(parameters).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "deploy.py failed");
    scaling(&serde_json::from_slice(&output.stdout).unwrap())
}

fn scaling(described: &Value) -> Scaling {
    // Physical name to logical id: a policy's ARN, an alarm's name.
    let logical: BTreeMap<&str, &str> =
        described["resources"].as_object().unwrap().iter().map(|(id, physical)| (physical.as_str().unwrap(), id.as_str())).collect();
    let told = described["told"].as_object().unwrap();
    let [group] = list(&described["groups"]) else { panic!("one group") };
    let hooks = list(&described["hooks"]);
    for hook in hooks {
        assert_eq!(hook["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING");
        assert_eq!(hook["DefaultResult"], "CONTINUE");
    }
    let group = Group {
        min: whole(&group["MinSize"]).unwrap(),
        max: whole(&group["MaxSize"]).unwrap(),
        desired: whole(&group["DesiredCapacity"]).unwrap(),
        cooldown_s: whole(&group["DefaultCooldown"]).unwrap(),
        warmup_s: whole(&told["WorkersDefaultInstanceWarmup"]["DefaultInstanceWarmup"]),
        // A machine goes when all of them are done.
        termination_hook_s: hooks.iter().filter_map(|hook| whole(&hook["HeartbeatTimeout"])).max(),
    };
    let policies = list(&described["policies"]).iter().map(|one| (logical[text(&one["PolicyARN"])].to_owned(), policy(one))).collect();
    let is_policy = |action: &Value| logical.get(text(action)).map(|id| (*id).to_owned());
    let mut alarms: BTreeMap<String, Alarm> = list(&described["alarms"])
        .iter()
        .map(|one| (logical[text(&one["AlarmName"])].to_owned(), alarm(one, Input::Metric(metric(one, "Statistic", one)), &is_policy)))
        .collect();
    for (id, properties) in told.iter().filter(|(_, value)| value.get("Metrics").is_some()) {
        alarms.insert(id.clone(), alarm(properties, expression(&properties["Metrics"]), &is_policy));
    }
    Scaling { group, policies, alarms }
}

fn policy(one: &Value) -> Policy {
    let adjustment_type = match text(&one["AdjustmentType"]) {
        "ChangeInCapacity" => AdjustmentType::Change,
        "ExactCapacity" => AdjustmentType::Exact,
        _ => AdjustmentType::Percent,
    };
    match text(&one["PolicyType"]) {
        "SimpleScaling" => {
            Policy::Simple { adjustment_type, adjustment: one["ScalingAdjustment"].as_i64().unwrap() as i32, cooldown_s: whole(&one["Cooldown"]) }
        }
        "StepScaling" => Policy::Step {
            adjustment_type,
            steps: list(&one["StepAdjustments"])
                .iter()
                .map(|step| Step {
                    lower: step["MetricIntervalLowerBound"].as_f64(),
                    upper: step["MetricIntervalUpperBound"].as_f64(),
                    adjustment: step["ScalingAdjustment"].as_i64().unwrap() as i32,
                })
                .collect(),
            warmup_s: whole(&one["EstimatedInstanceWarmup"]),
            magnitude_min: whole(&one["MinAdjustmentMagnitude"]),
        },
        other => panic!("{other} is not compared yet"),
    }
}

fn alarm(one: &Value, input: Input, is_policy: &impl Fn(&Value) -> Option<String>) -> Alarm {
    let periods = whole(&one["EvaluationPeriods"]).unwrap();
    Alarm {
        input,
        comparison: match text(&one["ComparisonOperator"]) {
            "GreaterThanThreshold" => Comparison::GreaterThanThreshold,
            "GreaterThanOrEqualToThreshold" => Comparison::GreaterThanOrEqualToThreshold,
            "LessThanThreshold" => Comparison::LessThanThreshold,
            "LessThanOrEqualToThreshold" => Comparison::LessThanOrEqualToThreshold,
            other => panic!("{other} is not compared yet"),
        },
        threshold: number(&one["Threshold"]).unwrap(),
        evaluation_periods: periods,
        datapoints_to_alarm: whole(&one["DatapointsToAlarm"]).unwrap_or(periods),
        missing: match text(&one["TreatMissingData"]) {
            "breaching" => MissingData::Breaching,
            "notBreaching" => MissingData::NotBreaching,
            "ignore" => MissingData::Ignore,
            _ => MissingData::Missing,
        },
        actions: list(&one["AlarmActions"]).iter().filter_map(is_policy).collect(),
    }
}

fn expression(metrics: &Value) -> Input {
    let mut found = BTreeMap::new();
    let mut expressions = Vec::new();
    for entry in list(metrics) {
        match entry["Expression"].as_str() {
            Some(expression) => expressions.push(expression.to_owned()),
            None => {
                let stat = &entry["MetricStat"];
                assert_eq!(entry["ReturnData"], json!(false));
                found.insert(text(&entry["Id"]).to_owned(), metric(&stat["Metric"], "Stat", stat));
            }
        }
    }
    let [expression] = expressions.as_slice() else { panic!("one expression") };
    Input::Expression { expression: expression.clone(), metrics: found }
}

fn metric(metric: &Value, statistic: &str, stat: &Value) -> MetricQuery {
    let (group, more): (Vec<&Value>, Vec<&Value>) = list(&metric["Dimensions"]).iter().partition(|one| one["Name"] == "AutoScalingGroupName");
    assert_eq!(group.len(), 1, "of the group: {metric}");
    MetricQuery {
        namespace: text(&metric["Namespace"]).to_owned(),
        name: text(&metric["MetricName"]).to_owned(),
        dimensions: more.iter().map(|one| (text(&one["Name"]).to_owned(), text(&one["Value"]).to_owned())).collect(),
        statistic: match text(&stat[statistic]) {
            "Average" => Statistic::Average,
            "Sum" => Statistic::Sum,
            "Minimum" => Statistic::Minimum,
            "Maximum" => Statistic::Maximum,
            "SampleCount" => Statistic::SampleCount,
            percentile => Statistic::Percentile((percentile[1..].parse::<f64>().unwrap() * 10.0).round() as u16),
        },
        period_s: whole(&stat["Period"]).unwrap(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A number, which a parameter makes a text of digits.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn whole(value: &Value) -> Option<u32> {
    number(value).map(|number| number as u32)
}
