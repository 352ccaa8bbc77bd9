use super::*;

fn group(min: u32, max: u32) -> Group {
    Group { min, max, desired: min, cooldown_s: 300, warmup_s: Some(90), termination_hook_s: None }
}

fn step_policy(adjustment_type: AdjustmentType, steps: &[(Option<f64>, Option<f64>, i32)]) -> Policy {
    let steps = steps.iter().map(|&(lower, upper, adjustment)| Step { lower, upper, adjustment }).collect();
    Policy::Step { adjustment_type, steps, warmup_s: None, magnitude_min: None }
}

/// The user guide's example: 10 machines, thresholds of 60 and 40 per cent as breaches of 50.
fn guide() -> (Policy, Policy) {
    let out = [(Some(0.0), Some(10.0), 0), (Some(10.0), Some(20.0), 10), (Some(20.0), None, 30)];
    let into = [(Some(-10.0), Some(0.0), 0), (Some(-20.0), Some(-10.0), -10), (None, Some(-20.0), -30)];
    (step_policy(AdjustmentType::Percent, &out), step_policy(AdjustmentType::Percent, &into))
}

fn call(policy: &Policy, value: f64, is_above: bool) -> Call<'_> {
    Call { policy, value, threshold: 50.0, is_above }
}

fn warm(desired: u32) -> Facts {
    Facts { desired, ..Facts::default() }
}

#[test]
fn steps_are_as_in_the_user_guides_example() {
    let ((out, into), group) = (guide(), group(1, 100));
    let grow = |desired, value| asked(&group, &warm(desired), &call(&out, value, true));
    let shrink = |desired, value| asked(&group, &warm(desired), &call(&into, value, false));
    assert_eq!([55.0, 60.0, 69.9].map(|value| grow(10, value)), [None, Some(11), Some(11)]);
    assert_eq!(grow(11, 70.0), Some(14), "30 % of 11 are 3.3, rounded down");
    assert_eq!([45.0, 40.1, 40.0].map(|value| shrink(14, value)), [None, None, Some(13)]);
    assert_eq!(shrink(13, 30.0), Some(10), "30 % of 13 are 3.9, rounded down");
}

#[test]
fn machines_that_warm_up_count_as_added_as_in_the_user_guides_example() {
    let ((out, _), group) = (guide(), group(1, 100));
    let facts = Facts { desired: 11, warming: 1, ..Facts::default() };
    assert_eq!(asked(&group, &facts, &call(&out, 62.0, true)), None, "the same step again adds nothing");
    assert_eq!(asked(&group, &facts, &call(&out, 70.0, true)), Some(13), "30 % of the 10 warm ones, less the one that comes: two more");
}

#[test]
fn a_percentage_is_rounded_as_documented_and_has_its_least_magnitude() {
    let change = |capacity, percent, least| i64::from(adjusted(AdjustmentType::Percent, percent, capacity, least)) - i64::from(capacity);
    assert_eq!([change(10, 127, None), change(10, 6, None), change(10, -6, None), change(100, -7, None)], [12, 1, -1, -7]);
    assert_eq!(change(4, 25, Some(2)), 2, "25 % of 4 is 1, but at least 2");
}

#[test]
fn step_scaling_shrinks_neither_while_machines_warm_up_nor_twice_while_one_ends() {
    let group = group(1, 100);
    let down = step_policy(AdjustmentType::Change, &[(None, Some(0.0), -1)]);
    let ask = |facts| asked(&group, &facts, &call(&down, 40.0, false));
    assert_eq!(ask(warm(5)), Some(4));
    assert_eq!(ask(Facts { desired: 5, warming: 1, ..Facts::default() }), None);
    assert_eq!(ask(Facts { desired: 4, terminating: 1, ..Facts::default() }), None, "the one that ends is the one less");
}

#[test]
fn a_simple_policy_waits_for_the_activity_and_then_for_the_cooldown() {
    let group = group(1, 10);
    let up = Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment: 4, cooldown_s: None };
    let ask = |is_activity, activity_ended_ms, now_ms| {
        let facts = Facts { desired: 5, is_activity, activity_ended_ms, cooldown_ms: 300_000, now_ms, ..Facts::default() };
        asked(&group, &facts, &call(&up, 60.0, true))
    };
    assert_eq!(ask(false, None, 0), Some(9));
    assert_eq!(ask(true, None, 0), None, "an activity is going on");
    assert_eq!(ask(false, Some(1_000), 300_999), None, "the cooldown counts from the activity's end");
    assert_eq!(ask(false, Some(1_000), 301_000), Some(9));
}

#[test]
fn step_scaling_does_not_wait_for_a_cooldown() {
    let up = step_policy(AdjustmentType::Change, &[(Some(0.0), None, 2)]);
    let facts = Facts { desired: 3, is_activity: true, activity_ended_ms: Some(0), cooldown_ms: 300_000, now_ms: 1, ..Facts::default() };
    assert_eq!(asked(&group(1, 10), &facts, &call(&up, 60.0, true)), Some(5));
}

#[test]
fn nothing_leaves_the_bounds_and_a_change_of_nothing_is_none() {
    let group = group(2, 10);
    let simple = |adjustment| Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment, cooldown_s: None };
    assert_eq!(asked(&group, &warm(8), &call(&simple(4), 60.0, true)), Some(10));
    assert_eq!(asked(&group, &warm(10), &call(&simple(4), 60.0, true)), None);
    assert_eq!(asked(&group, &warm(2), &call(&simple(-1), 40.0, false)), None);
    let exact = step_policy(AdjustmentType::Exact, &[(Some(0.0), None, 7)]);
    assert_eq!(asked(&group, &warm(3), &call(&exact, 60.0, true)), Some(7));
}

#[test]
fn of_several_calls_the_largest_capacity_wins() {
    let group = group(1, 20);
    let simple = |adjustment| Policy::Simple { adjustment_type: AdjustmentType::Change, adjustment, cooldown_s: None };
    let (down, some, many) = (simple(-1), simple(4), simple(8));
    let calls = [call(&down, 40.0, false), call(&many, 60.0, true), call(&some, 60.0, true)].map(|call| (call, warm(5)));
    assert_eq!(largest(&group, &calls), Some((1, 13)));
    assert_eq!(largest(&group, &calls[..1]), Some((0, 4)));
    assert_eq!(largest(&group, &[]), None);
}

#[test]
fn target_tracking_keeps_the_ratio_and_shrinks_only_when_all_are_warm() {
    let group = group(1, 20);
    let metric = crate::scaling::MetricQuery {
        dimensions: std::collections::BTreeMap::new(),
        namespace: "AWS/EC2".into(),
        name: "CPUUtilization".into(),
        statistic: crate::scaling::Statistic::Average,
        period_s: 60,
    };
    let policy = Policy::TargetTracking { metric, target: 50.0, is_scale_in_disabled: false, warmup_s: None };
    assert_eq!(asked(&group, &warm(4), &call(&policy, 80.0, true)), Some(7), "4 * 80 / 50 = 6.4");
    assert_eq!(asked(&group, &Facts { desired: 7, warming: 3, ..Facts::default() }, &call(&policy, 80.0, true)), None);
    assert_eq!(asked(&group, &warm(8), &call(&policy, 25.0, false)), Some(4));
    assert_eq!(asked(&group, &Facts { desired: 8, warming: 1, ..Facts::default() }, &call(&policy, 25.0, false)), None);
}
