//! `AWS::CloudWatch::Alarm`.

use std::collections::BTreeMap;

use super::{
    TemplateError,
    properties::Properties,
    resolve::{Resolved, Value},
};
use crate::{
    math::Expression,
    metric::BREAKER,
    scaling::{Alarm, Comparison, Input, MetricQuery, MissingData, Policy, Statistic},
};

/// What is said about an alarm and changes nothing here.
const HARMLESS: [&str; 3] = ["AlarmDescription", "AlarmName", "Tags"];

/// The alarm; none if it calls no policy and looks at something else than the group.
///
/// # Errors
/// What is missing, wrong or not simulated in an alarm that calls a policy or looks at the group.
pub(super) fn read(
    mut properties: Properties,
    policies: &BTreeMap<String, Policy>,
    is_group: &impl Fn(&Value) -> bool,
) -> Result<Option<Alarm>, TemplateError> {
    let is_enabled = properties.is("ActionsEnabled", true)?;
    let mut actions = called(&mut properties, "AlarmActions", policies)?;
    for other in ["OKActions", "InsufficientDataActions"] {
        if !called(&mut properties, other, policies)?.is_empty() {
            return Err(properties.wrong(other, "calls a policy, which is simulated for AlarmActions only".into()));
        }
    }
    if !is_enabled {
        actions.clear();
    }
    let Some(input) = input(&mut properties, is_group, actions.is_empty())? else { return Ok(None) };
    let evaluation_periods: u32 = properties.number("EvaluationPeriods")?;
    let datapoints_to_alarm = properties.optional_number("DatapointsToAlarm")?.unwrap_or(evaluation_periods);
    if datapoints_to_alarm == 0 || datapoints_to_alarm > evaluation_periods {
        return Err(properties.wrong("DatapointsToAlarm", format!("{datapoints_to_alarm} of {evaluation_periods} periods")));
    }
    let alarm = Alarm {
        input,
        comparison: comparison(&mut properties)?,
        threshold: properties.number("Threshold")?,
        evaluation_periods,
        datapoints_to_alarm,
        missing: missing(&mut properties)?,
        actions,
    };
    properties.finish(&HARMLESS)?;
    Ok(Some(alarm))
}

/// The policies among the actions.
fn called(properties: &mut Properties, name: &str, policies: &BTreeMap<String, Policy>) -> Result<Vec<String>, TemplateError> {
    let actions = properties.list(name)?;
    let called = |action: Resolved| match action.value {
        Value::Resource(id) if policies.contains_key(&id) => Some(id),
        // A topic, of the template or given to it.
        _ => None,
    };
    Ok(actions.into_iter().filter_map(called).collect())
}

fn input(properties: &mut Properties, is_group: &impl Fn(&Value) -> bool, is_for_people: bool) -> Result<Option<Input>, TemplateError> {
    let entries = properties.list("Metrics")?;
    if entries.is_empty() {
        return Ok(metric(properties, is_group, is_for_people, "Statistic")?.map(Input::Metric));
    }
    let mut metrics = BTreeMap::new();
    let mut expression = None;
    let mut returned = None;
    for (index, entry) in entries.into_iter().enumerate() {
        let mut entry = properties.part(&format!("Metrics[{index}]"), entry)?;
        let id = entry.text("Id")?;
        let is_returned = entry.is("ReturnData", true)?;
        match (entry.take("MetricStat"), entry.optional_text("Expression")?) {
            (Some(stat), None) => {
                let mut stat = entry.part("MetricStat", stat)?;
                let Some(query) = stat_query(&mut stat, is_group, is_for_people)? else { return Ok(None) };
                stat.finish(&[])?;
                if is_returned {
                    returned = Some(query.clone());
                }
                metrics.insert(id, query);
            }
            (None, Some(text)) => {
                if expression.is_some() || !is_returned {
                    return Err(entry.wrong("Expression", "a second expression; only one over metrics is simulated".into()));
                }
                let read = Expression::parse(text.trim()).map_err(|error| entry.wrong("Expression", error.to_string()))?;
                expression = Some((text.trim().to_owned(), read, entry.wrong("Expression", String::new())));
            }
            _ => return Err(entry.wrong("Expression", "wants this or MetricStat, and one of them".into())),
        }
        // An expression's Period counts only if it has no metrics.
        entry.finish(&["Label", "Period"])?;
    }
    match (expression, returned) {
        (Some((text, read, place)), None) => {
            if let Some(unknown) = read.ids().into_iter().find(|id| !metrics.contains_key(*id)) {
                return Err(TemplateError { text: format!("{unknown} is no Id of Metrics"), ..place });
            }
            let mut periods = metrics.values().map(|query| query.period_s);
            let first = periods.next();
            if periods.any(|period| Some(period) != first) {
                return Err(TemplateError { text: "its metrics have different periods, which is not simulated".into(), ..place });
            }
            Ok(Some(Input::Expression { expression: text, metrics }))
        }
        (None, Some(query)) if metrics.len() == 1 => Ok(Some(Input::Metric(query))),
        _ => Err(properties.wrong("Metrics", "exactly one entry may have ReturnData, and is what the alarm looks at".into())),
    }
}

/// A `MetricStat`'s.
fn stat_query(stat: &mut Properties, is_group: &impl Fn(&Value) -> bool, is_for_people: bool) -> Result<Option<MetricQuery>, TemplateError> {
    let of = stat.take("Metric").ok_or_else(|| stat.wrong("Metric", "is missing".into()))?;
    let mut of = stat.part("Metric", of)?;
    let Some(dimensions) = dimensions(&mut of, is_group, is_for_people)? else { return Ok(None) };
    let (namespace, name) = (of.text("Namespace")?, of.text("MetricName")?);
    of.finish(&[])?;
    Ok(Some(MetricQuery { namespace, name, statistic: statistic(stat, "Stat")?, period_s: period(stat)?, dimensions }))
}

/// An alarm's own.
fn metric(
    properties: &mut Properties,
    is_group: &impl Fn(&Value) -> bool,
    is_for_people: bool,
    statistic_name: &str,
) -> Result<Option<MetricQuery>, TemplateError> {
    let Some(dimensions) = dimensions(properties, is_group, is_for_people)? else { return Ok(None) };
    let (namespace, name) = (properties.text("Namespace")?, properties.text("MetricName")?);
    let extended = properties.take("ExtendedStatistic");
    let statistic = match extended {
        Some(Resolved { value: Value::Text(text), .. }) => {
            statistic_of(&text).ok_or_else(|| properties.wrong("ExtendedStatistic", format!("{text} is not simulated; p0.1 to p99.9 are")))?
        }
        Some(_) => return Err(properties.wrong("ExtendedStatistic", "is no text".into())),
        None => statistic(properties, statistic_name)?,
    };
    Ok(Some(MetricQuery { namespace, name, statistic, period_s: period(properties)?, dimensions }))
}

/// The dimensions beside `AutoScalingGroupName`, which must be there: none, or a breaker's. A set of dimensions is part of a metric's name,
/// so with another an alarm looks at nothing. None if an alarm for people looks at something else.
fn dimensions(
    properties: &mut Properties,
    is_group: &impl Fn(&Value) -> bool,
    is_for_people: bool,
) -> Result<Option<BTreeMap<String, String>>, TemplateError> {
    let (mut is_of_group, mut is_known, mut more) = (false, true, BTreeMap::new());
    for (index, dimension) in properties.list("Dimensions")?.into_iter().enumerate() {
        let mut dimension = properties.part(&format!("Dimensions[{index}]"), dimension)?;
        let name = dimension.text("Name")?;
        match (name.as_str(), dimension.take("Value").map(|value| value.value)) {
            ("AutoScalingGroupName", Some(value)) if is_group(&value) => is_of_group = true,
            (BREAKER, Some(Value::Text(value))) => {
                more.insert(name, value);
            }
            _ => is_known = false,
        }
    }
    match (is_of_group && is_known, is_for_people) {
        (true, _) => Ok(Some(more)),
        (false, true) => Ok(None),
        (false, false) => {
            Err(properties
                .wrong("Dimensions", "must be AutoScalingGroupName of the scaled group, and no other (but Breaker, of breaker_open)".into()))
        }
    }
}

/// A statistic under `name`.
///
/// # Errors
/// It is missing, or none that is simulated.
pub(super) fn statistic(properties: &mut Properties, name: &str) -> Result<Statistic, TemplateError> {
    let text = properties.text(name)?;
    statistic_of(&text).ok_or_else(|| properties.wrong(name, format!("{text} is not simulated")))
}

fn statistic_of(text: &str) -> Option<Statistic> {
    Some(match text {
        "Average" => Statistic::Average,
        "Sum" => Statistic::Sum,
        "Minimum" => Statistic::Minimum,
        "Maximum" => Statistic::Maximum,
        "SampleCount" => Statistic::SampleCount,
        _ => {
            let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
            let tenths = (percent * 10.0).round();
            if !(1.0..=1_000.0).contains(&tenths) || (tenths - percent * 10.0).abs() > 1e-6 {
                return None;
            }
            Statistic::Percentile(tenths as u16)
        }
    })
}

fn period(properties: &mut Properties) -> Result<u32, TemplateError> {
    let seconds: u32 = properties.number("Period")?;
    if matches!(seconds, 10 | 20 | 30) || (seconds > 0 && seconds.is_multiple_of(60)) {
        Ok(seconds)
    } else {
        Err(properties.wrong("Period", format!("{seconds} s; CloudWatch takes 10, 20, 30 and multiples of 60")))
    }
}

fn comparison(properties: &mut Properties) -> Result<Comparison, TemplateError> {
    match properties.text("ComparisonOperator")?.as_str() {
        "GreaterThanThreshold" => Ok(Comparison::GreaterThanThreshold),
        "GreaterThanOrEqualToThreshold" => Ok(Comparison::GreaterThanOrEqualToThreshold),
        "LessThanThreshold" => Ok(Comparison::LessThanThreshold),
        "LessThanOrEqualToThreshold" => Ok(Comparison::LessThanOrEqualToThreshold),
        other => Err(properties.wrong("ComparisonOperator", format!("{other} is not simulated"))),
    }
}

fn missing(properties: &mut Properties) -> Result<MissingData, TemplateError> {
    match properties.optional_text("TreatMissingData")?.as_deref() {
        None | Some("missing") => Ok(MissingData::Missing),
        Some("breaching") => Ok(MissingData::Breaching),
        Some("notBreaching") => Ok(MissingData::NotBreaching),
        Some("ignore") => Ok(MissingData::Ignore),
        Some(other) => Err(properties.wrong("TreatMissingData", format!("{other:?} is none of breaching, notBreaching, ignore and missing"))),
    }
}
