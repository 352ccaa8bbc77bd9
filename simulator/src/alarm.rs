//! A CloudWatch alarm: from the data points of its evaluation range to its state, and when its actions are called. The rules for missing
//! data are those of the user guide ("How alarm state is evaluated when data is missing"), whose two tables are the tests.

use std::fmt;

use crate::scaling::{Alarm, Comparison, MissingData};

/// How many periods CloudWatch looks at beyond the evaluation periods. It says only that they are more; in its examples it is two.
pub(crate) const RANGE_BEYOND: u32 = 2;

/// Auto Scaling actions are called again so often while the alarm stays in ALARM, in milliseconds.
pub(crate) const REPEAT_MS: u64 = 60_000;

/// An alarm's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl fmt::Display for AlarmState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
        })
    }
}

/// Does a data point breach?
pub(crate) fn breaches(comparison: Comparison, value: f64, threshold: f64) -> bool {
    match comparison {
        Comparison::GreaterThanThreshold => value > threshold,
        Comparison::GreaterThanOrEqualToThreshold => value >= threshold,
        Comparison::LessThanThreshold => value < threshold,
        Comparison::LessThanOrEqualToThreshold => value <= threshold,
    }
}

/// How many periods the evaluation range has.
pub(crate) fn range(evaluation_periods: u32) -> u32 {
    evaluation_periods + RANGE_BEYOND
}

/// The state after looking at the evaluation range (the newest data point last; none is missing). N is `evaluation_periods`, M is
/// `datapoints_to_alarm`.
pub(crate) fn evaluate(
    points: &[Option<bool>],
    evaluation_periods: u32,
    datapoints_to_alarm: u32,
    missing: MissingData,
    current: AlarmState,
) -> AlarmState {
    let (needed, to_alarm) = (evaluation_periods as usize, datapoints_to_alarm as usize);
    // Real points come first, from farther back if need be; only what still lacks is filled.
    let real: Vec<bool> = points.iter().rev().copied().flatten().take(needed).collect();
    let lacking = needed - real.len();
    let breaching = real.iter().filter(|is_breaching| **is_breaching).count();
    let by = |count: usize| if count >= to_alarm { AlarmState::Alarm } else { AlarmState::Ok };
    if lacking == 0 {
        return by(breaching);
    }
    match missing {
        MissingData::Breaching => by(breaching + lacking),
        MissingData::NotBreaching => by(breaching),
        MissingData::Missing if real.is_empty() => AlarmState::InsufficientData,
        MissingData::Ignore if real.is_empty() => current,
        _ if breaching >= to_alarm => AlarmState::Alarm,
        _ if breaching < real.len() => AlarmState::Ok,
        MissingData::Ignore => current,
        // All that is there breaches, but it is too little: ALARM if the oldest is old enough that it would have been confirmed by
        // now, had more come ("premature alarm state").
        MissingData::Missing => {
            let oldest = points.iter().rev().rposition(Option::is_some).map_or(0, |back| back + 1);
            if oldest >= to_alarm { AlarmState::Alarm } else { current }
        }
    }
}

/// An alarm with its state.
pub(crate) struct Watch {
    pub(crate) state: AlarmState,
    acted_ms: Option<u64>,
}

/// What a look at an alarm said.
pub(crate) struct Looked {
    /// The state before, if it changed.
    pub(crate) changed_from: Option<AlarmState>,
    /// The newest real data point, if the actions are to be called.
    pub(crate) acts_on: Option<f64>,
}

impl Watch {
    /// A new alarm.
    pub(crate) fn new() -> Watch {
        Watch { state: AlarmState::InsufficientData, acted_ms: None }
    }

    /// Looks at the data points of the evaluation range, the newest last. Actions are called when the state becomes ALARM, and each
    /// minute while it stays.
    pub(crate) fn look(&mut self, alarm: &Alarm, points: &[Option<f64>], now_ms: u64) -> Looked {
        let breaching: Vec<Option<bool>> = points.iter().map(|point| point.map(|value| breaches(alarm.comparison, value, alarm.threshold))).collect();
        let before = self.state;
        self.state = evaluate(&breaching, alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.missing, before);
        let is_new = self.state != before;
        if self.state != AlarmState::Alarm {
            self.acted_ms = None;
        }
        let is_due = self.state == AlarmState::Alarm && self.acted_ms.is_none_or(|acted| now_ms >= acted + REPEAT_MS);
        if is_due {
            self.acted_ms = Some(now_ms);
        }
        // Data that is treated as breaching has no value: then the threshold itself, as the smallest breach.
        let value = || points.iter().rev().copied().flatten().next().unwrap_or(alarm.threshold);
        Looked { changed_from: is_new.then_some(before), acts_on: is_due.then(value) }
    }
}

#[cfg(test)]
mod tests;
