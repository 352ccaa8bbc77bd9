//! EC2 Auto Scaling: what a called policy makes of the desired capacity. Only arithmetic and waiting; who launches and ends machines is
//! the simulation, or a test's local fleet. The rules are those of the user guide: "Step and simple scaling policies", "Scaling cooldowns".

use crate::scaling::{AdjustmentType, Group, Policy, Step};

/// What the group knows of its machines when a policy is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Desired capacity.
    pub desired: u32,
    /// Machines of these that are launched and not warm.
    pub warming: u32,
    /// Machines that end, beyond the desired.
    pub terminating: u32,
    /// Is a machine being launched (until EC2 says *running*) or ended?
    pub is_activity: bool,
    /// When the last such activity ended, in milliseconds.
    pub activity_ended_ms: Option<u64>,
    /// The cooldown of the policy that began it, or the group's, in milliseconds.
    pub cooldown_ms: u64,
    /// The time, in milliseconds.
    pub now_ms: u64,
}

/// A call of a policy.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The newest data point of the alarm.
    pub value: f64,
    /// The alarm's threshold (for target tracking, the target).
    pub threshold: f64,
    /// Does the alarm ring above its threshold?
    pub is_above: bool,
}

/// The capacity that a call asks for, within the group's bounds; none if it must wait, or changes nothing.
pub fn asked(group: &Group, facts: &Facts, call: &Call<'_>) -> Option<u32> {
    let asked = match call.policy {
        Policy::Simple { adjustment_type, adjustment, .. } => {
            let is_cooling = facts.activity_ended_ms.is_some_and(|ended| facts.now_ms < ended + facts.cooldown_ms);
            if facts.is_activity || is_cooling {
                return None;
            }
            adjusted(*adjustment_type, *adjustment, facts.desired, None)
        }
        Policy::Step { adjustment_type, steps, magnitude_min, .. } => {
            let step = step(steps, call.value - call.threshold, call.is_above)?;
            let adjust = |capacity| adjusted(*adjustment_type, step.adjustment, capacity, *magnitude_min);
            toward(facts, adjust(facts.desired.saturating_sub(facts.warming)), adjust(facts.desired + facts.terminating))?
        }
        Policy::TargetTracking { is_scale_in_disabled, .. } => {
            let scaled = |capacity: u32| (f64::from(capacity) * call.value / call.threshold).ceil().clamp(0.0, 1e6) as u32;
            let grown = scaled(facts.desired.saturating_sub(facts.warming));
            if call.is_above {
                grown.max(facts.desired)
            } else if *is_scale_in_disabled || facts.warming > 0 || facts.terminating > 0 {
                return None;
            } else {
                scaled(facts.desired).min(facts.desired)
            }
        }
    };
    let asked = asked.clamp(group.min, group.max);
    (asked != facts.desired).then_some(asked)
}

/// The step in which the breach lies. Above the threshold the lower bound is in it, below the threshold the upper.
fn step(steps: &[Step], breach: f64, is_above: bool) -> Option<&Step> {
    steps.iter().find(|step| {
        let (lower, upper) = (step.lower.unwrap_or(f64::NEG_INFINITY), step.upper.unwrap_or(f64::INFINITY));
        if is_above { breach >= lower && breach < upper } else { breach > lower && breach <= upper }
    })
}

/// Step scaling: `grown` is by the warm capacity, so that machines that warm up are not asked for twice; `shrunk` counts those that
/// still end. Nothing shrinks while machines warm up.
fn toward(facts: &Facts, grown: u32, shrunk: u32) -> Option<u32> {
    if grown > facts.desired {
        return Some(grown);
    }
    (shrunk < facts.desired && facts.warming == 0).then_some(shrunk)
}

/// A capacity after an adjustment.
fn adjusted(kind: AdjustmentType, adjustment: i32, capacity: u32, magnitude_min: Option<u32>) -> u32 {
    let change = match kind {
        AdjustmentType::Exact => return adjustment.max(0) as u32,
        AdjustmentType::Change => i64::from(adjustment),
        AdjustmentType::Percent => {
            let exact = f64::from(capacity) * f64::from(adjustment) / 100.0;
            // Toward zero, but at least one machine.
            let whole = if exact == 0.0 || exact.abs() >= 1.0 { exact.trunc() } else { exact.signum() };
            let least = f64::from(magnitude_min.unwrap_or(0));
            (if whole == 0.0 { 0.0 } else { whole.signum() * whole.abs().max(least) }) as i64
        }
    };
    (i64::from(capacity) + change).clamp(0, i64::from(u32::MAX)) as u32
}

/// Of several calls at once the one that gives the largest capacity wins, for growing and for shrinking: its number and the capacity. Each
/// comes with its own facts, since warm-up differs by policy.
pub fn largest(group: &Group, calls: &[(Call<'_>, Facts)]) -> Option<(usize, u32)> {
    let asked = calls.iter().enumerate().filter_map(|(number, (call, facts))| asked(group, facts, call).map(|capacity| (number, capacity)));
    asked.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests;
