use super::*;
use crate::scaling::{Input, MetricQuery, Statistic};

/// `0` does not breach, `X` does, `-` is missing; the newest is on the right.
fn points(text: &str) -> Vec<Option<bool>> {
    text.split_whitespace()
        .map(|point| match point {
            "0" => Some(false),
            "X" => Some(true),
            "-" => None,
            other => panic!("{other} is no data point"),
        })
        .collect()
}

const OK: Option<AlarmState> = Some(AlarmState::Ok);
const ALARM: Option<AlarmState> = Some(AlarmState::Alarm);
const INSUFFICIENT: Option<AlarmState> = Some(AlarmState::InsufficientData);
const RETAIN: Option<AlarmState> = None;

/// Each row as published: data points, and the states for missing, ignore, breaching, notBreaching.
fn check(datapoints_to_alarm: u32, rows: [(&str, [Option<AlarmState>; 4]); 5]) {
    let modes = [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching];
    for (text, states) in rows {
        for (mode, expected) in modes.into_iter().zip(states) {
            for current in [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData] {
                let found = evaluate(&points(text), 3, datapoints_to_alarm, mode, current);
                assert_eq!(found, expected.unwrap_or(current), "{text}, {datapoints_to_alarm} of 3, {mode:?}, from {current}");
            }
        }
    }
}

#[test]
fn three_of_three_is_as_the_user_guide_has_it() {
    check(
        3,
        [
            ("0 - X - X", [OK, OK, OK, OK]),
            ("0 - - - -", [OK, OK, OK, OK]),
            ("- - - - -", [INSUFFICIENT, RETAIN, ALARM, OK]),
            ("0 X X - X", [ALARM, ALARM, ALARM, ALARM]),
            ("- - X - -", [ALARM, RETAIN, ALARM, OK]),
        ],
    );
}

#[test]
fn two_of_three_is_as_the_user_guide_has_it() {
    check(
        2,
        [
            ("0 - X - X", [ALARM, ALARM, ALARM, ALARM]),
            ("0 0 X 0 X", [ALARM, ALARM, ALARM, ALARM]),
            ("0 - X - -", [OK, OK, ALARM, OK]),
            ("- - - - 0", [OK, OK, ALARM, OK]),
            ("- - - X -", [ALARM, RETAIN, ALARM, OK]),
        ],
    );
}

#[test]
fn one_breach_alone_is_premature_as_the_user_guide_says() {
    for text in ["- - - - X", "- - - X -"] {
        assert_eq!(evaluate(&points(text), 3, 3, MissingData::Missing, AlarmState::Ok), AlarmState::Ok, "{text}");
    }
}

fn alarm(evaluation_periods: u32) -> Alarm {
    Alarm {
        input: Input::Metric(MetricQuery {
            namespace: "n".into(),
            name: "m".into(),
            statistic: Statistic::Average,
            period_s: 60,
            dimensions: std::collections::BTreeMap::new(),
        }),
        comparison: Comparison::GreaterThanThreshold,
        threshold: 10.0,
        evaluation_periods,
        datapoints_to_alarm: evaluation_periods,
        missing: MissingData::NotBreaching,
        actions: vec![],
    }
}

#[test]
fn actions_are_called_at_the_change_and_each_minute_while_it_lasts() {
    let alarm = alarm(1);
    let mut watch = Watch::new();
    let mut called = Vec::new();
    for (second, value) in [(0, 5.0), (10, 11.0), (20, 12.0), (69, 13.0), (70, 14.0), (80, 9.0), (90, 15.0)] {
        if let Some(value) = watch.look(&alarm, &[Some(value)], second * 1_000).acts_on {
            called.push((second, value));
        }
    }
    assert_eq!(called, [(10, 11.0), (70, 14.0), (90, 15.0)]);
}

#[test]
fn a_change_is_told_once_with_the_state_before() {
    let alarm = alarm(1);
    let mut watch = Watch::new();
    assert_eq!(watch.look(&alarm, &[Some(11.0)], 0).changed_from, Some(AlarmState::InsufficientData));
    assert_eq!(watch.look(&alarm, &[Some(11.0)], 60_000).changed_from, None);
    assert_eq!(watch.look(&alarm, &[Some(1.0)], 120_000).changed_from, Some(AlarmState::Alarm));
}

#[test]
fn the_threshold_itself_breaches_only_where_the_operator_says_so() {
    let at = |comparison| breaches(comparison, 10.0, 10.0);
    assert!(!at(Comparison::GreaterThanThreshold) && at(Comparison::GreaterThanOrEqualToThreshold));
    assert!(!at(Comparison::LessThanThreshold) && at(Comparison::LessThanOrEqualToThreshold));
}
