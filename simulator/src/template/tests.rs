use proptest::prelude::*;

use super::*;
use crate::scaling::{AdjustmentType, Alarm, Comparison, Input, MetricQuery, MissingData, Policy, Statistic, Step};

fn given(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn deployed(values: &[(&str, &str)]) -> Result<Scaling, TemplateError> {
    Template::parse(DEPLOYED)?.scaling(&given(values))
}

/// A group with one policy and one alarm, and `change` made to the text.
fn small(change: impl FnOnce(String) -> String) -> Result<Scaling, TemplateError> {
    let text = "\
Parameters:
  Size: {Type: Number, Default: 3, MaxValue: 9}
  Topic: {Type: String}
Conditions:
  IsSmall: !Equals [!Ref Size, 3]
  IsRing: !Not [!Condition IsRing]
Resources:
  Group:
    Type: AWS::AutoScaling::AutoScalingGroup
    Properties:
      MinSize: '1'
      MaxSize: !Ref Size
  Up:
    Type: AWS::AutoScaling::ScalingPolicy
    Properties:
      AutoScalingGroupName: !Ref Group
      AdjustmentType: ChangeInCapacity
      ScalingAdjustment: 2
  High:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: replyfleet
      MetricName: processing_time
      Dimensions: [{Name: AutoScalingGroupName, Value: !Ref Group}]
      Statistic: Average
      Period: 60
      EvaluationPeriods: 3
      ComparisonOperator: GreaterThanThreshold
      Threshold: 1.5e3
      AlarmActions: [!Ref Up, !Ref Topic]
";
    Template::parse(&change(text.to_owned()))?.scaling(&BTreeMap::new())
}

fn replaced(from: &str, to: &str) -> Result<Scaling, TemplateError> {
    small(|text| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[track_caller]
fn fails(result: Result<Scaling, TemplateError>, line: usize, place: &str, part: &str) {
    let error = result.expect_err("no error");
    assert_eq!((error.line, error.place.as_str()), (line, place), "{error}");
    assert!(error.text.contains(part), "{error}");
}

#[test]
fn the_faithful_profile_is_the_ancestors() {
    let scaling = deployed(&[(PROFILE, "faithful")]).expect("valid");
    let group = Group { min: 1, max: 10, desired: 1, cooldown_s: 300, warmup_s: None, termination_hook_s: Some(600) };
    assert_eq!(scaling.group, group);
    let simple = |adjustment| Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment, cooldown_s: Some(300) };
    assert_eq!(scaling.policies, BTreeMap::from([("FaithfulUp".into(), simple(4)), ("FaithfulDown".into(), simple(-1))]));
    let alarms: Vec<(&str, &str, Comparison, f64, &str)> = scaling
        .alarms
        .values()
        .map(|alarm| {
            let Input::Metric(MetricQuery { namespace, name, statistic: Statistic::Average, period_s: 60, .. }) = &alarm.input else {
                panic!("{alarm:?}")
            };
            assert_eq!((alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.missing), (2, 2, MissingData::Missing));
            assert_eq!(alarm.actions.len(), 1);
            (namespace.as_str(), name.as_str(), alarm.comparison, alarm.threshold, alarm.actions[0].as_str())
        })
        .collect();
    let (above, below) = (Comparison::GreaterThanThreshold, Comparison::LessThanThreshold);
    assert_eq!(
        alarms,
        [
            ("AWS/EC2", "CPUUtilization", above, 70.0, "FaithfulUp"),
            ("AWS/EC2", "CPUUtilization", below, 40.0, "FaithfulDown"),
            ("System/Linux", "DiskSpaceUtilization", above, 80.0, "FaithfulUp"),
            ("System/Linux", "DiskSpaceUtilization", below, 50.0, "FaithfulDown"),
            ("System/Linux", "MemoryUtilization", above, 80.0, "FaithfulUp"),
            ("System/Linux", "MemoryUtilization", below, 50.0, "FaithfulDown"),
            ("replyfleet", "processing_time", above, 10_000.0, "FaithfulUp"),
            ("replyfleet", "processing_time", below, 5_000.0, "FaithfulDown"),
        ]
    );
}

#[test]
fn the_recommended_profile_goes_up_by_steps_and_down_by_one_alarm() {
    let scaling = deployed(&[("WorkersMax", "33"), ("WarmupSeconds", "77"), ("MetricNamespace", "mine")]).expect("valid");
    assert_eq!((scaling.group.max, scaling.group.warmup_s), (33, Some(77)));
    let Policy::Step { steps, adjustment_type, .. } = &scaling.policies["PredictedWaitUp"] else { panic!("no steps") };
    assert_eq!(*adjustment_type, AdjustmentType::Percent);
    assert_eq!(steps.iter().map(|step| (step.lower, step.adjustment)).collect::<Vec<_>>(), [(Some(0.0), 300), (Some(230.0), 900)]);
    let callers = |policy: &str| scaling.alarms.values().filter(|alarm| alarm.actions.iter().any(|action| action == policy)).count();
    assert_eq!(callers("PredictedWaitUp"), 2, "by ten seconds, and by the minute");
    assert_eq!(scaling.alarms["ProcessingTimeHigh"].actions, Vec::<String>::new(), "what senders feel is for people");
    assert_eq!(scaling.alarms["DiskFull"].actions, Vec::<String>::new(), "a disk is for people");
    let downs: Vec<&Alarm> = scaling.alarms.values().filter(|alarm| alarm.actions.iter().any(|action| action == "Down")).collect();
    assert_eq!(downs.len(), 1, "several would be an OR");
    let Input::Expression { metrics, .. } = &downs[0].input else { panic!("no expression") };
    assert!(metrics.iter().all(|(id, query)| query.namespace == if id == "cpu" { "AWS/EC2" } else { "mine" }));
    assert!(scaling.alarms.values().all(|alarm| alarm.missing == MissingData::NotBreaching));
}

#[test]
fn one_worker_fewer_needs_all_signs_and_news_of_this_minute() {
    let scaling = deployed(&[]).expect("valid");
    let Input::Expression { expression, .. } = &scaling.alarms["AllIsWell"].input else { panic!("no expression") };
    let expression = crate::math::Expression::parse(expression).expect("valid");
    let with_cpu = |busy: Option<f64>, cpu: Option<f64>, workers: Option<f64>, processing: Option<f64>, oldest: Option<f64>| {
        expression.eval(&BTreeMap::from([("busy", busy), ("cpu", cpu), ("workers", workers), ("processing", processing), ("oldest", oldest)]))
    };
    let is_well = |busy: Option<f64>, workers, processing, oldest| with_cpu(busy, busy.map(|_| 20.0), workers, processing, oldest);
    assert_eq!(with_cpu(Some(0.1), Some(60.0), Some(3.0), Some(900.0), Some(1.0)), Some(0.0), "two would have a CPU busy for 0.9");
    assert_eq!(with_cpu(Some(0.3), None, Some(3.0), Some(900.0), Some(1.0)), None, "EC2 tells of its CPU later: not an idle one");
    assert_eq!(is_well(Some(0.3), Some(3.0), Some(900.0), Some(1.0)), Some(1.0));
    assert_eq!(is_well(Some(0.0), Some(2.0), None, None), Some(1.0), "a quiet minute");
    assert_eq!(is_well(Some(0.6), Some(3.0), Some(900.0), Some(1.0)), Some(0.0), "two would be busy for 0.9");
    assert_eq!(is_well(Some(0.0), Some(1.0), None, None), Some(0.0), "the last one stays");
    assert_eq!(is_well(Some(0.3), Some(3.0), Some(5_000.0), Some(1.0)), Some(0.0));
    assert_eq!(is_well(Some(0.3), Some(3.0), Some(900.0), Some(10.0)), Some(0.0));
    assert_eq!(is_well(None, None, Some(900.0), Some(1.0)), None, "a minute that is not reported yet is neither good nor bad");
}

/// The value of a deployed alarm's expression where its metrics have these values, and the others none.
fn value_of(alarm: &str, known: &[(&str, f64)]) -> Option<f64> {
    let scaling = deployed(&[]).expect("valid");
    let Input::Expression { expression, metrics } = &scaling.alarms[alarm].input else { panic!("no expression") };
    assert!(known.iter().all(|(id, _)| metrics.contains_key(*id)), "{known:?}");
    let values = metrics.keys().map(|id| (id.as_str(), known.iter().find(|(known, _)| known == id).map(|(_, value)| *value))).collect();
    crate::math::Expression::parse(expression).expect("valid").eval(&values)
}

#[test]
fn trouble_with_ses_calls_for_no_machines() {
    for (alarm, waits, period_s) in
        [("PredictedWaitHigh", "waiting", 10.0), ("PredictedWaitHighMinute", "waiting", 60.0), ("OldestAgeHigh", "oldest", 0.0)]
    {
        let with = |more: &[(&str, f64)]| value_of(alarm, &[&[(waits, 900.0), ("throttled", 0.0), ("ended", 100.0), ("told", 4.0)], more].concat());
        let wanted = if waits == "waiting" { 900.0 * period_s / 100.0 } else { 900.0 };
        assert_eq!(with(&[]), Some(wanted), "{alarm}");
        assert_eq!(with(&[("put_back", 50.0)]), Some(wanted), "{alarm}: a half of them");
        assert_eq!(with(&[("put_back", 51.0)]), Some(0.0), "{alarm}: SES's rate is full");
        assert_eq!(with(&[("away", 2.0)]), Some(wanted), "{alarm}: for two of four workers, and the others need help");
        assert_eq!(with(&[("away", 3.0)]), Some(0.0), "{alarm}: SES is away for most");
        assert_eq!(value_of(alarm, &[(waits, 900.0), ("throttled", 1.0), ("ended", 100.0)]), Some(0.0), "{alarm}: SES refuses");
        assert_eq!(value_of(alarm, &[(waits, 900.0), ("throttled", 1.0)]), Some(0.0), "{alarm}: and nothing ended");
    }
}

#[test]
fn a_period_in_which_nothing_ended_is_not_well_but_unknown() {
    for alarm in ["PredictedWaitHigh", "PredictedWaitHighMinute"] {
        assert_eq!(value_of(alarm, &[("waiting", 900.0), ("throttled", 0.0)]), None, "{alarm}");
        assert_eq!(value_of(alarm, &[("waiting", 20.0), ("throttled", 0.0)]), Some(0.0), "{alarm}: nothing waits");
        assert_eq!(value_of(alarm, &[]), None, "{alarm}");
        assert_eq!(value_of(alarm, &[("throttled", 0.0), ("ended", 9.0)]), None, "{alarm}: SQS did not say how many wait");
    }
    assert_eq!(value_of("OldestAgeHigh", &[("oldest", 61.0), ("throttled", 0.0)]), Some(61.0), "a fleet that hangs");
    assert_eq!(value_of("OldestAgeHigh", &[]), None);
}

#[test]
fn a_period_that_some_workers_have_not_told_of_yet_shows_the_same_wait() {
    for (alarm, period_s) in [("PredictedWaitHigh", 10.0), ("PredictedWaitHighMinute", 60.0)] {
        // Eight workers end five a second each; so many have told, the last for a part of the period only.
        for share in [1.0, 0.125, 0.5, 0.02] {
            let known = [("waiting", 120.0), ("throttled", 0.0), ("ended", share * 40.0 * period_s), ("reported", share * period_s)];
            let wait = value_of(alarm, &known).expect("known");
            assert!((wait - 3.0).abs() < 1e-9, "{alarm}, {share}: {wait}");
        }
        let nobody_counts = value_of(alarm, &[("waiting", 120.0), ("throttled", 0.0), ("ended", 40.0 * period_s)]);
        assert_eq!(nobody_counts, Some(3.0), "{alarm}: without the database all are taken to have told");
    }
}

#[test]
fn people_are_told_of_ses_and_machines_are_not() {
    let scaling = deployed(&[]).expect("valid");
    for (alarm, name, breaker) in [("SesThrottles", "ses_throttled", None), ("SesAway", "breaker_open", Some("send.SES"))] {
        let alarm = &scaling.alarms[alarm];
        let Input::Metric(query) = &alarm.input else { panic!("{alarm:?}") };
        assert_eq!((query.name.as_str(), query.dimensions.get("Breaker").map(String::as_str)), (name, breaker));
        assert!(alarm.actions.is_empty(), "{alarm:?}");
    }
}

#[test]
fn a_small_template_is_read_with_its_defaults() {
    let scaling = small(|text| text).expect("valid");
    assert_eq!((scaling.group.min, scaling.group.max, scaling.group.desired, scaling.group.cooldown_s), (1, 3, 1, 300));
    assert_eq!(scaling.policies["Up"], Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment: 2, cooldown_s: None });
    let alarm = &scaling.alarms["High"];
    assert_eq!((alarm.threshold, alarm.datapoints_to_alarm, alarm.missing), (1_500.0, 3, MissingData::Missing));
    assert_eq!(alarm.actions, ["Up"], "the topic is for people");
}

#[test]
fn json_is_read_like_yaml() {
    let text = r#"{"Resources": {"Group": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": {"MinSize": 2, "MaxSize": {"Fn::If": ["IsIt", 5, 6]}}}},
        "Conditions": {"IsIt": {"Fn::And": [{"Fn::Equals": ["a", "a"]}, {"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Fn::Equals": ["b", "b"]}]}]}}}"#;
    assert_eq!(Template::parse(text).expect("valid").scaling(&BTreeMap::new()).expect("valid").group.max, 5);
}

#[test]
fn texts_are_put_together() {
    let with_name = |name: &str| {
        let scaling = replaced("Namespace: replyfleet", &format!("Namespace: {name}")).expect("valid");
        let Input::Metric(query) = &scaling.alarms["High"].input else { panic!("no metric") };
        query.namespace.clone()
    };
    assert_eq!(with_name("!Sub 'a-${Size}-${!Size}'"), "a-3-${Size}");
    assert_eq!(with_name("!Sub ['${Own}${Size}', {Own: !Ref Size}]"), "33");
    assert_eq!(with_name("!Join ['/', [a, !Ref Size]]"), "a/3");
    assert_eq!(with_name("!If [IsSmall, small, large]"), "small");
    fails(replaced("Namespace: replyfleet", "Namespace: !Sub '${AWS::StackName}-x'"), 22, "High.Namespace", "only when the stack is made");
    fails(replaced("Namespace: replyfleet", "Namespace: !ImportValue x"), 22, "High.Namespace", "Fn::ImportValue is not simulated");
    assert!(replaced("Value: !Ref Group", "Value: !Sub '${Group}'").is_ok());
}

#[test]
fn what_would_change_the_scaling_is_not_passed_over() {
    for (from, to, line, place, part) in [
        ("      MinSize: '1'", "      MinSize: '1'\n      CapacityRebalance: true", 12, "Group.CapacityRebalance", "not simulated"),
        ("      MinSize: '1'", "      Size: 1", 9, "Group.MinSize", "missing"),
        ("MinSize: '1'", "MinSize: '4'", 11, "Group.MinSize", "4 to 3"),
        ("MinSize: '1'", "MinSize: many", 11, "Group.MinSize", "\"many\" is no number"),
        ("ScalingAdjustment: 2", "ScalingAdjustment: 2\n      MinAdjustmentMagnitude: 2", 19, "Up.MinAdjustmentMagnitude", "not simulated"),
        ("ScalingAdjustment: 2", "ScalingAdjustment: 2\n      PolicyType: PredictiveScaling", 19, "Up.PolicyType", "PredictiveScaling"),
        ("Statistic: Average", "ExtendedStatistic: tm90", 25, "High.ExtendedStatistic", "tm90"),
        ("Period: 60", "Period: 45", 26, "High.Period", "45 s"),
        ("EvaluationPeriods: 3", "EvaluationPeriods: 3\n      DatapointsToAlarm: 4", 28, "High.DatapointsToAlarm", "4 of 3"),
        ("GreaterThanThreshold", "GreaterThanUpperThreshold", 28, "High.ComparisonOperator", "not simulated"),
        ("Threshold: 1.5e3", "Threshold: 5\n      Unit: Milliseconds", 30, "High.Unit", "not simulated"),
        ("[{Name: AutoScalingGroupName, Value: !Ref Group}]", "[{Name: QueueName, Value: x}]", 24, "High.Dimensions", "AutoScalingGroupName"),
        ("AlarmActions: [!Ref Up, !Ref Topic]", "AlarmActions: []\n      OKActions: [!Ref Up]", 31, "High.OKActions", "AlarmActions only"),
        ("MaxSize: !Ref Size", "MaxSize: !Ref Sizes", 12, "Group.MaxSize", "neither a parameter nor"),
        ("MaxSize: !Ref Size", "MaxSize: !Ref Topic", 12, "Group.MaxSize", "no default"),
        ("MaxSize: !Ref Size", "MaxSize: !If [IsRing, 1, 2]", 6, "IsRing", "itself"),
        ("MaxSize: !Ref Size", "MaxSize: !If [IsNone, 1, 2]", 12, "IsNone", "no condition"),
        ("  Up:\n", "  Up:\n    Condition: IsLarge\n", 14, "IsLarge", "no condition"),
        ("Type: AWS::CloudWatch::Alarm", "Type: AWS::AutoScaling::ScheduledAction", 20, "High", "not simulated"),
        ("  High:\n", "  Fn::ForEach::High:\n", 20, "Fn::ForEach::High", "write the resources out"),
        ("Default: 3", "Default: 12", 2, "Size", "outside"),
        ("Default: 3", "Default: three", 2, "Size", "no number"),
        ("Size: {", "Size: [", 3, "", "no YAML"),
        ("MinSize: '1'", "MaxSize: '1'", 12, "", "twice"),
        ("MinSize: '1'", "MinSize: &a 1", 11, "", ""),
    ] {
        let result = replaced(from, to);
        if part.is_empty() {
            assert!(result.is_ok(), "an anchor that nobody uses changes nothing: {result:?}");
        } else {
            fails(result, line, place, part);
        }
    }
    fails(replaced("MaxSize: !Ref Size", "MaxSize: *a"), 12, "", "");
}

#[test]
fn a_machines_end_waits_for_the_longest_of_its_hooks() {
    let drain = |values: &[(&str, &str)]| deployed(values).expect("valid").group.termination_hook_s;
    assert_eq!(drain(&[("MailQueueHook", "yes"), ("DrainSecondsMax", "901")]), Some(901));
    let hook = |id: &str, seconds: u32, result: &str| {
        format!(
            "  {id}:\n    Type: AWS::AutoScaling::LifecycleHook\n    Properties:\n      AutoScalingGroupName: !Ref Group\n      HeartbeatTimeout: {seconds}\n      \
             LifecycleTransition: autoscaling:EC2_INSTANCE_TERMINATING\n{result}"
        )
    };
    let with = |hooks: &[String]| small(|text| hooks.iter().fold(text, |text, hook| text + hook));
    const CONTINUE: &str = "      DefaultResult: CONTINUE\n";
    let both = with(&[hook("A", 500, CONTINUE), hook("B", 40, CONTINUE)]).expect("valid");
    assert_eq!(both.group.termination_hook_s, Some(500));
    assert_eq!(with(&[hook("A", 500, "")]).expect("alone it may").group.termination_hook_s, Some(500));
    for wrong in ["", "      DefaultResult: ABANDON\n"] {
        let error = with(&[hook("A", 500, CONTINUE), hook("B", 40, wrong)]).expect_err("it ends the other's wait");
        assert_eq!(error.place, "B.DefaultResult");
        assert!(error.text.contains("CONTINUE"), "{error}");
    }
}

#[test]
fn a_policy_that_is_not_made_cannot_be_called() {
    let result = small(|text| {
        text.replace("  Up:\n", "  Up:\n    Condition: IsLarge\n").replace("Resources:", "  IsLarge: !Not [!Condition IsSmall]\nResources:")
    });
    fails(result, 32, "High.AlarmActions", "Up is not made");
}

#[test]
fn alarms_for_people_may_look_at_anything() {
    let scaling = small(|text| {
        text + "  Parked:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      Metrics: [{Id: m, MetricStat: {Metric: {Namespace: AWS/SQS, MetricName: x, \
                Dimensions: [{Name: QueueName, Value: !GetAtt Q.QueueName}]}, Period: 60, Stat: tm9}}]\n      AlarmActions: [!Ref Topic]\n"
    });
    assert_eq!(scaling.expect("valid").alarms.len(), 1);
}

#[test]
fn expressions_are_checked_against_their_metrics() {
    let with = |metrics: &str| {
        small(|text| {
            let start = text.find("      Namespace: replyfleet").expect("valid");
            let end = text.find("      EvaluationPeriods").expect("valid");
            format!("{}{metrics}{}", &text[..start], &text[end..])
        })
    };
    let metric = |id: &str, period: u32| {
        format!(
            "        - {{Id: {id}, ReturnData: false, MetricStat: {{Metric: {{Namespace: n, MetricName: x, Dimensions: [{{Name: AutoScalingGroupName, Value: !Ref Group}}]}}, \
         Period: {period}, Stat: p99.5}}}}\n"
        )
    };
    let expression = |text: &str| format!("      Metrics:\n        - {{Id: e, Expression: '{text}'}}\n");
    let scaling = with(&(expression("a / 2") + &metric("a", 60))).expect("valid");
    let query =
        MetricQuery { namespace: "n".into(), name: "x".into(), statistic: Statistic::Percentile(995), period_s: 60, dimensions: BTreeMap::new() };
    assert_eq!(scaling.alarms["High"].input, Input::Expression { expression: "a / 2".into(), metrics: BTreeMap::from([("a".into(), query)]) });
    fails(with(&(expression("a +") + &metric("a", 60))), 23, "High.Metrics[0].Expression", "at character 4");
    fails(with(&(expression("a + b") + &metric("a", 60))), 23, "High.Metrics[0].Expression", "b is no Id");
    fails(with(&(expression("a + b") + &metric("a", 60) + &metric("b", 120))), 23, "High.Metrics[0].Expression", "different periods");
    fails(with(&format!("      Metrics:\n{}", metric("a", 60))), 23, "High.Metrics", "exactly one");
}

#[test]
fn steps_must_meet() {
    let with = |steps: &str| {
        replaced(
            "      ScalingAdjustment: 2",
            &format!("      PolicyType: StepScaling\n      EstimatedInstanceWarmup: 60\n      StepAdjustments: [{steps}]"),
        )
    };
    let steps =
        "{MetricIntervalLowerBound: 10, ScalingAdjustment: 4}, {MetricIntervalLowerBound: 0, MetricIntervalUpperBound: 10, ScalingAdjustment: 1}";
    let Policy::Step { steps, warmup_s, .. } = &with(steps).expect("valid").policies["Up"] else { panic!("no steps") };
    assert_eq!(*warmup_s, Some(60));
    assert_eq!(steps[1], Step { lower: Some(0.0), upper: Some(10.0), adjustment: 1 });
    let gap =
        "{MetricIntervalLowerBound: 11, ScalingAdjustment: 4}, {MetricIntervalLowerBound: 0, MetricIntervalUpperBound: 10, ScalingAdjustment: 1}";
    fails(with(gap), 20, "Up.StepAdjustments", "gap");
    fails(with(""), 20, "Up.StepAdjustments", "missing");
}

#[test]
fn target_tracking_is_read() {
    let with = |configuration: &str| {
        replaced(
            "      AdjustmentType: ChangeInCapacity\n      ScalingAdjustment: 2",
            &format!("      PolicyType: TargetTrackingScaling\n      TargetTrackingConfiguration: {{TargetValue: 60, {configuration}}}"),
        )
    };
    let scaling = with("PredefinedMetricSpecification: {PredefinedMetricType: ASGAverageCPUUtilization}, DisableScaleIn: true").expect("valid");
    let Policy::TargetTracking { metric, target, is_scale_in_disabled, .. } = &scaling.policies["Up"] else { panic!("no target") };
    assert_eq!((metric.name.as_str(), *target, *is_scale_in_disabled), ("CPUUtilization", 60.0, true));
    let network = with("PredefinedMetricSpecification: {PredefinedMetricType: ASGAverageNetworkIn}");
    fails(network, 18, "Up.TargetTrackingConfiguration.PredefinedMetricSpecification.PredefinedMetricType", "ASGAverageNetworkIn");
}

#[test]
fn parameters_are_checked() {
    fails(deployed(&[(PROFILE, "frugal")]), 13, PROFILE, "recommended, faithful");
    let error = deployed(&[("WorkerMax", "5")]).expect_err("no such parameter");
    assert!(error.text.contains("no parameter WorkerMax; it has AlertTopicArn, DrainSecondsMax"), "{error}");
    assert_eq!(Template::parse(DEPLOYED).expect("valid").allowed(PROFILE), ["recommended", "faithful"]);
}

#[test]
fn a_parameter_is_what_is_given_or_else_its_default() {
    let template = Template::parse(DEPLOYED).expect("valid");
    for (name, values, wanted) in [
        ("MetricNamespace", &[][..], Some("replyfleet")),
        ("MetricNamespace", &[("MetricNamespace", "mine")], Some("mine")),
        ("LaunchTemplateId", &[], None),
        ("NoSuch", &[("NoSuch", "x")], None),
    ] {
        assert_eq!(template.parameter(name, &given(values)), wanted, "{name}");
    }
}

#[test]
fn hostile_texts_are_errors() {
    let deep = "[".repeat(100_000);
    assert!(Template::parse(&deep).is_err());
    for text in ["", "a", "Resources", "Resources: {}\n---\nResources: {}", "? [a]\n: b", "Resources: *x"] {
        assert!(Template::parse(text).is_err(), "{text}");
    }
    assert!(Template::parse("Resources: {}").expect("valid").scaling(&BTreeMap::new()).is_err(), "no group");
}

proptest! {
    /// A line of the deployed template is lost, or doubled: an error or another policy, but no panic.
    #[test]
    fn no_damage_makes_it_panic(line in 0_usize..400, is_doubled: bool) {
        let lines = DEPLOYED.lines().enumerate().flat_map(|(index, text)| std::iter::repeat_n(text, if index != line { 1 } else if is_doubled { 2 } else { 0 }));
        let text = lines.collect::<Vec<_>>().join("\n");
        for profile in ["faithful", "recommended"] {
            let _ = Template::parse(&text).and_then(|template| template.scaling(&given(&[(PROFILE, profile)])));
        }
    }
}
