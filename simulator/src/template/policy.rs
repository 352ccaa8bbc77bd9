//! `AWS::AutoScaling::ScalingPolicy`.

use super::{
    TemplateError,
    properties::Properties,
    resolve::{Resolved, Value},
};
use crate::scaling::{AdjustmentType, MetricQuery, Policy, Statistic, Step};

/// The policy, and whose group's it is.
///
/// # Errors
/// What is missing, wrong or not simulated.
pub(super) fn read(mut properties: Properties) -> Result<(Resolved, Policy), TemplateError> {
    let group = properties.take("AutoScalingGroupName").ok_or_else(|| properties.wrong("AutoScalingGroupName", "is missing".into()))?;
    if let Value::Unknown(why) = group.value {
        return Err(properties.wrong("AutoScalingGroupName", why));
    }
    let kind = properties.optional_text("PolicyType")?.unwrap_or_else(|| "SimpleScaling".into());
    let policy = match kind.as_str() {
        "SimpleScaling" => Policy::Simple {
            adjustment_type: adjustment_type(&mut properties)?,
            adjustment: properties.number("ScalingAdjustment")?,
            cooldown_s: properties.optional_number("Cooldown")?,
        },
        "StepScaling" => Policy::Step {
            adjustment_type: adjustment_type(&mut properties)?,
            steps: steps(&mut properties)?,
            warmup_s: properties.optional_number("EstimatedInstanceWarmup")?,
            magnitude_min: properties.optional_number("MinAdjustmentMagnitude")?,
        },
        "TargetTrackingScaling" => target_tracking(&mut properties)?,
        _ => return Err(properties.wrong("PolicyType", format!("{kind} is not simulated"))),
    };
    properties.finish(&["MetricAggregationType", "PolicyName"])?;
    Ok((group, policy))
}

fn adjustment_type(properties: &mut Properties) -> Result<AdjustmentType, TemplateError> {
    match properties.text("AdjustmentType")?.as_str() {
        "ChangeInCapacity" => Ok(AdjustmentType::Change),
        "ExactCapacity" => Ok(AdjustmentType::Exact),
        "PercentChangeInCapacity" => Ok(AdjustmentType::Percent),
        other => Err(properties.wrong("AdjustmentType", format!("{other} is none"))),
    }
}

fn steps(properties: &mut Properties) -> Result<Vec<Step>, TemplateError> {
    let mut steps = Vec::new();
    for (index, item) in properties.list("StepAdjustments")?.into_iter().enumerate() {
        let mut part = properties.part(&format!("StepAdjustments[{index}]"), item)?;
        steps.push(Step {
            lower: part.optional_number("MetricIntervalLowerBound")?,
            upper: part.optional_number("MetricIntervalUpperBound")?,
            adjustment: part.number("ScalingAdjustment")?,
        });
        part.finish(&[])?;
    }
    let mut sorted: Vec<(f64, f64)> =
        steps.iter().map(|step| (step.lower.unwrap_or(f64::NEG_INFINITY), step.upper.unwrap_or(f64::INFINITY))).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let is_closed = sorted.iter().all(|(lower, upper)| lower < upper) && sorted.windows(2).all(|pair| pair[0].1 == pair[1].0);
    match (steps.is_empty(), is_closed) {
        (true, _) => Err(properties.wrong("StepAdjustments", "is missing".into())),
        (_, false) => Err(properties.wrong("StepAdjustments", "the steps overlap or leave a gap, which EC2 Auto Scaling refuses".into())),
        _ => Ok(steps),
    }
}

fn target_tracking(properties: &mut Properties) -> Result<Policy, TemplateError> {
    let configuration =
        properties.take("TargetTrackingConfiguration").ok_or_else(|| properties.wrong("TargetTrackingConfiguration", "is missing".into()))?;
    let mut configuration = properties.part("TargetTrackingConfiguration", configuration)?;
    let metric = match (configuration.take("PredefinedMetricSpecification"), configuration.take("CustomizedMetricSpecification")) {
        (Some(predefined), None) => {
            let mut predefined = configuration.part("PredefinedMetricSpecification", predefined)?;
            let name = predefined.text("PredefinedMetricType")?;
            if name != "ASGAverageCPUUtilization" {
                return Err(predefined.wrong("PredefinedMetricType", format!("{name} is not simulated")));
            }
            predefined.finish(&[])?;
            MetricQuery {
                namespace: "AWS/EC2".into(),
                name: "CPUUtilization".into(),
                statistic: Statistic::Average,
                period_s: 60,
                dimensions: std::collections::BTreeMap::new(),
            }
        }
        (None, Some(customized)) => {
            let mut customized = configuration.part("CustomizedMetricSpecification", customized)?;
            let query = MetricQuery {
                namespace: customized.text("Namespace")?,
                name: customized.text("MetricName")?,
                dimensions: std::collections::BTreeMap::new(),
                statistic: super::alarm::statistic(&mut customized, "Statistic")?,
                period_s: customized.optional_number("Period")?.unwrap_or(60),
            };
            customized.finish(&["Dimensions"])?;
            query
        }
        _ => return Err(configuration.wrong("PredefinedMetricSpecification", "wants this or CustomizedMetricSpecification, and one of them".into())),
    };
    let policy = Policy::TargetTracking {
        metric,
        target: configuration.number("TargetValue")?,
        is_scale_in_disabled: configuration.is("DisableScaleIn", false)?,
        warmup_s: properties.optional_number("EstimatedInstanceWarmup")?,
    };
    configuration.finish(&[])?;
    Ok(policy)
}
