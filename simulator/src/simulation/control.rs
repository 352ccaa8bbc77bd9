//! What is measured and decided: workers publish, CloudWatch looks at alarms, the group obeys the policies that they call.

use std::collections::BTreeMap;

use super::{Event, World, machines::counts};
use crate::{
    alarm::{self, Watch},
    group::{self, Call, Facts},
    math::Expression,
    metric::{Metric, Stat, Tally},
    plan::Plan,
    random::Random,
    run::EventKind,
    scaling::{Alarm, Comparison, Input, MetricQuery, MissingData, Policy},
    worker::State,
};

/// AWS's own metrics (of EC2, SQS and the group) come each minute, in milliseconds.
const AWS_MS: u64 = 60_000;
/// Alarms with a period of a minute or more are looked at each minute, in milliseconds; others each ten seconds.
const LOOK_MS: u64 = 60_000;
const LOOK_OFTEN_MS: u64 = 10_000;
/// A worker that was not seen for so long is taken for gone by the others, in milliseconds.
const SEEN_MS: u64 = 120_000;
/// Target tracking scales out after so many periods above the target, and in after so many below this share of it.
const TRACK_HIGH: u32 = 3;
const TRACK_LOW: u32 = 15;
const TRACK_LOW_SHARE: f64 = 0.9;

/// A policy that an alarm calls: its name, itself, and the number that its steps are relative to (for target tracking, the target).
type Called<'a> = (&'a str, &'a Policy, f64);

/// An alarm that is looked at.
struct Watched<'a> {
    name: String,
    alarm: Alarm,
    expression: Option<Expression>,
    policies: Vec<Called<'a>>,
    first_look_ms: u64,
    watch: Watch,
}

/// All alarms, and the calls of this millisecond.
pub(super) struct Control<'a> {
    watched: Vec<Watched<'a>>,
    /// Alarm, policy, and the newest data point.
    calls: Vec<(u32, usize, f64)>,
}

impl<'a> Control<'a> {
    pub(super) fn new(plan: &'a Plan, random: &mut Random) -> Control<'a> {
        let policies = &plan.scaling.policies;
        let mut alarms: Vec<(String, Alarm, Vec<Called<'a>>)> = Vec::new();
        for (name, alarm) in &plan.scaling.alarms {
            let called = alarm.actions.iter().filter_map(|action| policies.get_key_value(action));
            let called = called.map(|(name, policy)| (name.as_str(), policy, alarm.threshold)).collect();
            alarms.push((name.clone(), alarm.clone(), called));
        }
        for (name, policy) in policies {
            for alarm in tracking(policy) {
                let side = if is_above(alarm.comparison) { "high" } else { "low" };
                let Policy::TargetTracking { target, .. } = policy else { continue };
                alarms.push((format!("{name} ({side})"), alarm, vec![(name.as_str(), policy, *target)]));
            }
        }
        let watched = alarms.into_iter().map(|(name, alarm, policies)| {
            let expression = match &alarm.input {
                Input::Expression { expression, .. } => Expression::parse(expression).ok(),
                Input::Metric(_) => None,
            };
            // CloudWatch spreads its looks over the minute.
            let first_look_ms = random.below(look_every_ms(&alarm));
            Watched { name, alarm, expression, policies, first_look_ms, watch: Watch::new() }
        });
        Control { watched: watched.collect(), calls: Vec::new() }
    }

    /// Every metric that an alarm looks at.
    pub(super) fn queries(&self) -> impl Iterator<Item = &MetricQuery> {
        self.watched.iter().flat_map(|watched| watched.alarm.input.queries())
    }

    /// When each alarm is looked at first.
    pub(super) fn first_looks(&self) -> Vec<(u32, u64)> {
        self.watched.iter().enumerate().map(|(number, watched)| (number as u32, watched.first_look_ms)).collect()
    }

    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }
}

fn look_every_ms(alarm: &Alarm) -> u64 {
    if alarm.input.period_s() < 60 { LOOK_OFTEN_MS } else { LOOK_MS }
}

fn is_above(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::GreaterThanThreshold | Comparison::GreaterThanOrEqualToThreshold)
}

/// The alarms that target tracking makes for itself.
fn tracking(policy: &Policy) -> Vec<Alarm> {
    let Policy::TargetTracking { metric, target, .. } = policy else { return Vec::new() };
    let alarm = |comparison, threshold, periods| Alarm {
        input: Input::Metric(metric.clone()),
        comparison,
        threshold,
        evaluation_periods: periods,
        datapoints_to_alarm: periods,
        missing: MissingData::Missing,
        actions: Vec::new(),
    };
    vec![alarm(Comparison::GreaterThanThreshold, *target, TRACK_HIGH), alarm(Comparison::LessThanThreshold, *target * TRACK_LOW_SHARE, TRACK_LOW)]
}

impl World<'_> {
    /// CloudWatch looks at an alarm: at the whole periods that ended, as far as they show.
    pub(super) fn look(&mut self, number: u32) {
        let now_ms = self.now_ms;
        self.pipe.show(now_ms);
        let watched = &mut self.control.watched[number as usize];
        let alarm = &watched.alarm;
        let period_ms = u64::from(alarm.input.period_s()) * 1_000;
        let end_ms = now_ms / period_ms * period_ms;
        let range = u64::from(alarm::range(alarm.evaluation_periods));
        let mut points = Vec::with_capacity(range as usize);
        for back in (1..=range).rev() {
            let point = end_ms.checked_sub(back * period_ms).and_then(|from_ms| match (&alarm.input, &watched.expression) {
                (Input::Metric(query), _) => self.pipe.point(query, from_ms),
                (Input::Expression { metrics, .. }, Some(expression)) => {
                    let values: BTreeMap<&str, Option<f64>> =
                        metrics.iter().map(|(id, query)| (id.as_str(), self.pipe.point(query, from_ms))).collect();
                    expression.eval(&values)
                }
                (Input::Expression { .. }, None) => None,
            });
            points.push(point);
        }
        let looked = watched.watch.look(alarm, &points, now_ms);
        if let Some(before) = looked.changed_from {
            let text = format!("{}: {before} -> {}", watched.name, watched.watch.state);
            self.recorder.event(now_ms, EventKind::Alarm, text);
        }
        if let Some(value) = looked.acts_on {
            self.control.calls.extend((0..watched.policies.len()).map(|policy| (number, policy, value)));
        }
        self.events.plan(now_ms + look_every_ms(alarm), Event::Look(number));
    }

    /// Obeys the calls of this millisecond.
    pub(super) fn scale(&mut self) {
        let calls = std::mem::take(&mut self.control.calls);
        let named = |number: u32, policy: usize| self.control.watched[number as usize].policies[policy];
        let called: Vec<(Call<'_>, Facts)> = calls
            .iter()
            .map(|&(number, policy, value)| {
                let is_above = is_above(self.control.watched[number as usize].alarm.comparison);
                let (_, policy, threshold) = named(number, policy);
                (Call { policy, value, threshold, is_above }, self.facts(policy))
            })
            .collect();
        let group = &self.plan.scaling.group;
        let Some((winner, capacity)) = group::largest(group, &called) else { return };
        let (number, policy, _) = calls[winner];
        let (name, policy, _) = named(number, policy);
        let (before, cooldown_s) = (self.fleet.desired, cooldown_s(policy, group.cooldown_s));
        let text = format!("{name}: {before} -> {capacity}");
        self.fleet.cooldown_ms = u64::from(cooldown_s) * 1_000;
        self.fleet.desired = capacity;
        self.recorder.scaled(self.now_ms, capacity > before, text);
        self.fit();
    }

    /// What the group knows of its machines, by a policy's warm-up.
    fn facts(&self, policy: &Policy) -> Facts {
        let group = &self.plan.scaling.group;
        let own_s = match policy {
            Policy::Simple { .. } => None,
            Policy::Step { warmup_s, .. } | Policy::TargetTracking { warmup_s, .. } => *warmup_s,
        };
        let warmup_ms = u64::from(own_s.or(group.warmup_s).unwrap_or(group.cooldown_s)) * 1_000;
        let mut facts = Facts {
            desired: self.fleet.desired,
            activity_ended_ms: self.fleet.activity_ended_ms,
            cooldown_ms: self.fleet.cooldown_ms,
            now_ms: self.now_ms,
            ..Facts::default()
        };
        for number in self.fleet.alive() {
            let worker = &self.workers[number as usize];
            facts.warming += u32::from(counts(worker.state) && worker.running_ms.is_some_and(|running| self.now_ms < running + warmup_ms));
            facts.terminating += u32::from(worker.state == State::Draining);
            facts.is_activity |= worker.state == State::Draining || worker.running_ms.is_some_and(|running| self.now_ms < running);
        }
        facts
    }

    /// Every worker publishes what it has gathered in the period that ends; each minute, AWS does.
    pub(super) fn publish(&mut self) {
        let (now_ms, every_ms) = (self.now_ms, u64::from(self.plan.metrics.publish_every_s) * 1_000);
        let telling: Vec<u32> = self.fleet.alive().into_iter().filter(|number| self.workers[*number as usize].state.works()).collect();
        telling.iter().for_each(|number| self.workers[*number as usize].seen_ms = Some(now_ms));
        let workers = self.workers_seen();
        telling.into_iter().for_each(|number| self.publish_of(number, workers, false));
        if now_ms % AWS_MS == 0 {
            let group = [
                (Metric::SqsSent, self.queue.sent() as f64),
                (Metric::SqsVisible, self.queue.depth() as f64),
                (Metric::SqsOldestAge, self.queue.oldest_ms(now_ms) as f64 / 1_000.0),
                (Metric::GroupInService, self.fleet.active.len() as f64),
                (Metric::GroupDesired, f64::from(self.fleet.desired)),
            ];
            let stats = group.map(|(metric, value)| (metric, Stat::of(value)));
            if !self.faults.loses_metrics(now_ms) {
                self.pipe.publish(now_ms - AWS_MS, now_ms + self.plan.metrics.ingest_lag_ms, stats);
            }
        }
        self.events.plan(now_ms + every_ms, Event::Publish);
    }

    /// How many workers each of them sees: also those that went a moment ago.
    pub(super) fn workers_seen(&self) -> usize {
        self.workers.iter().filter(|worker| worker.seen_ms.is_some_and(|seen_ms| seen_ms + SEEN_MS >= self.now_ms)).count()
    }

    /// A worker that sees so many publishes, in the bin of the period that ends now; each minute how busy it was, and the host's metrics. The
    /// last that it says is without gauges.
    pub(super) fn publish_of(&mut self, number: u32, workers: usize, is_last: bool) {
        let (now_ms, plan) = (self.now_ms, self.plan);
        let metrics = &plan.metrics;
        let worker = &mut self.workers[number as usize];
        let tally = std::mem::take(&mut worker.tally);
        let used = worker.used(now_ms);
        let in_hand = f64::from(worker.count());
        let (depth, is_away) = (self.queue.depth(), worker.state == State::Away);
        worker.stuck_since_ms = (is_away && depth > 0).then(|| worker.stuck_since_ms.unwrap_or(now_ms));
        let oldest_ms = self.queue.oldest_ms(now_ms).max(now_ms - worker.stuck_since_ms.unwrap_or(now_ms));
        let lag_ms = if metrics.publish_every_s < 60 { metrics.high_resolution_lag_ms } else { metrics.ingest_lag_ms };
        let shown_ms = now_ms + worker.publish_jitter_ms + lag_ms;
        let is_lost = self.faults.loses_metrics(now_ms);
        let reported_ms = now_ms - std::mem::replace(&mut worker.told_ms, now_ms);
        if now_ms % AWS_MS == 0 {
            let (slots, cpu) = used.shares_since(&worker.hosted, plan.machine.slots);
            worker.hosted = used;
            if !is_lost {
                self.pipe.publish(now_ms - AWS_MS, shown_ms, [(Metric::BusyFraction, Stat::of(slots))]);
                let host = [
                    (Metric::Cpu, plan.machine.cpu_idle + (100.0 - plan.machine.cpu_idle) * cpu),
                    (Metric::Memory, plan.machine.memory_idle + plan.machine.memory_slots * slots),
                    (Metric::Disk, plan.machine.disk),
                ];
                self.pipe.publish(now_ms - AWS_MS, now_ms + metrics.ingest_lag_ms, host.map(|(metric, value)| (metric, Stat::of(value))));
            }
        }
        if is_lost {
            return;
        }
        let begun_ms = now_ms.saturating_sub(1) / (u64::from(metrics.publish_every_s) * 1_000) * u64::from(metrics.publish_every_s) * 1_000;
        let reported_s = reported_ms as f64 / 1_000.0 / workers.max(1) as f64;
        self.pipe.publish(begun_ms, shown_ms, tallied(tally).into_iter().chain([(Metric::ReportedTime, Stat::of(reported_s))]));
        if is_last {
            return;
        }
        let gauges = [(Metric::OldestAge, oldest_ms as f64 / 1_000.0), (Metric::QueueDepth, depth as f64), (Metric::InHand, in_hand)];
        self.pipe.publish(begun_ms, shown_ms, gauges.map(|(metric, value)| (metric, Stat::of(value))));
        // Published only while it is open, like the worker does.
        if is_away || self.limiter.paused_until_ms(now_ms).is_some() {
            self.pipe.publish(begun_ms, shown_ms, [(Metric::BreakerOpen, Stat::of(1.0))]);
        }
    }
}

/// The cooldown that follows a policy's activity.
fn cooldown_s(policy: &Policy, of_group_s: u32) -> u32 {
    match policy {
        Policy::Simple { cooldown_s, .. } => cooldown_s.unwrap_or(of_group_s),
        Policy::Step { .. } | Policy::TargetTracking { .. } => of_group_s,
    }
}

/// A tally as metrics. Counts are published also when they are none.
fn tallied(tally: Tally) -> [(Metric, Stat); 8] {
    [
        (Metric::ProcessingTime, tally.processing),
        (Metric::ProcessingTimeStale, tally.stale),
        (Metric::HandlingTime, tally.handling),
        (Metric::QueueWait, tally.queue_wait),
        (Metric::SendWait, tally.send_wait),
        (Metric::ResponseSent, Stat::of(f64::from(tally.sent))),
        (Metric::MessageReceived, Stat::of(f64::from(tally.received))),
        (Metric::SesThrottled, Stat::of(f64::from(tally.throttled))),
    ]
}
