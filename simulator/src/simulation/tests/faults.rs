//! What breaks: nothing is lost, whatever breaks when.

use proptest::prelude::*;

use super::*;
use crate::{
    plan::{Fault, FaultKind, QueueRules, Ses},
    run::EventKind,
    scaling::{AdjustmentType, Alarm, Comparison, Input, MetricQuery, MissingData, Policy, Statistic, Step},
};

fn at(at_s: u64, kind: FaultKind) -> Fault {
    Fault { at_ms: at_s * 1_000, kind }
}

#[test]
fn a_machines_death_loses_nothing_and_is_made_good() {
    let faults = vec![at(300, FaultKind::KillMachine)];
    let plan = Plan { machine: slots(10, Latency::Constant(500.0)), faults, ..Plan::new(fixed(2), vec![18.0; 1_800], 3) };
    let run = simulate(&plan);
    assert_conserved(&run);
    assert_eq!((run.fleet.killed, run.fleet.launches, run.fleet.machines_at_end), (1, 1, 2));
    assert!(run.wait.max_ms >= plan.queue.visibility_ms / 2, "what it had in hand shows when the lease ends: {:?}", run.wait);
    assert_eq!(run.mail.waiting, run.series.last().expect("points").backlog);
    let died = run.events.iter().find(|event| event.text.starts_with("a machine died")).expect("told");
    assert_eq!((died.at_ms, died.kind), (300_000, EventKind::Terminated));
}

#[test]
fn who_dies_between_the_acceptance_and_the_delete_answers_twice() {
    let dying = |delete_lag_ms| {
        let faults = (1..=20).map(|turn| at(turn * 200, FaultKind::KillMachine)).collect();
        let queue = QueueRules { delete_lag_ms, ..QueueRules::default() };
        let plan = Plan { machine: slots(10, Latency::Constant(200.0)), faults, queue, ..Plan::new(fixed(2), vec![20.0; 4_500], 3) };
        let run = simulate(&plan);
        assert_conserved(&run);
        run.mail.duplicates
    };
    assert_eq!(dying(0), 0);
    let duplicates = dying(1_000);
    // 20 deaths, each of a machine that answered 10 a second.
    assert!((100..=300).contains(&duplicates), "{duplicates}");
}

#[test]
fn a_lost_zone_takes_half_and_the_other_takes_over() {
    let plan = Plan {
        machine: slots(10, Latency::Constant(500.0)),
        faults: vec![at(300, FaultKind::LoseZone)],
        ..Plan::new(fixed(6), vec![10.0; 1_800], 3)
    };
    let run = simulate(&plan);
    assert_conserved(&run);
    assert_eq!((run.fleet.killed, run.fleet.launches, run.fleet.machines_at_end), (3, 3, 6));
}

#[test]
fn ses_paused_stops_answers_and_loses_none() {
    let faults = vec![at(300, FaultKind::SesPause { for_ms: 300_000 })];
    let plan = Plan { machine: slots(10, Latency::Constant(500.0)), faults, ..Plan::new(fixed(2), vec![5.0; 1_800], 3) };
    let run = simulate(&plan);
    assert_conserved(&run);
    assert!(run.mail.throttled > 0);
    let answered_in_pause: u32 = run.series.iter().filter(|point| (310_000..600_000).contains(&point.at_ms)).map(|point| point.answered).sum();
    assert_eq!(answered_in_pause, 0);
    assert_eq!(run.series.last().map(|point| point.backlog < 20), Some(true), "it catches up");
}

#[test]
fn a_worker_whose_own_breaker_is_open_takes_nothing_and_comes_back() {
    let faults = vec![at(300, FaultKind::WorkerAway { for_ms: 300_000 })];
    let plan = Plan { machine: slots(10, Latency::Constant(500.0)), faults, ..Plan::new(fixed(2), vec![30.0; 1_800], 3) };
    let run = simulate(&plan);
    assert_conserved(&run);
    let answered = |from_ms: u64| {
        let points = run.series.iter().filter(|point| (from_ms..from_ms + 250_000).contains(&point.at_ms));
        points.map(|point| f64::from(point.answered)).sum::<f64>() / 250.0
    };
    // One of two answers 20 a second, both together 40.
    for (from_ms, wanted) in [(10_000, 30.0), (320_000, 20.0), (610_000, 35.0), (1_500_000, 30.0)] {
        assert!((answered(from_ms) - wanted).abs() < 6.0, "{from_ms}: {}", answered(from_ms));
    }
    assert_eq!((run.fleet.launches, run.fleet.machines_at_end), (0, 2), "the machine is well");
}

#[test]
fn the_accounts_rate_binds_the_fleet_whatever_its_size() {
    let ses = Ses { rate: Some(14.0), burst: 14.0, ..Ses::default() };
    let answered = |machines| {
        let plan = Plan { machine: slots(10, Latency::Constant(500.0)), ses: ses.clone(), ..Plan::new(fixed(machines), vec![30.0; 1_800], 3) };
        let run = simulate(&plan);
        assert_conserved(&run);
        assert_eq!(run.mail.throttled, 0, "they share the rate");
        run.mail.answered as f64 / 1_800.0
    };
    for machines in [1, 4] {
        let rate = answered(machines);
        assert!((rate - 12.6).abs() < 0.2, "90 % of 14 a second, not {rate} with {machines}");
    }
}

#[test]
fn sqs_errors_delay_and_end() {
    let faults = vec![at(300, FaultKind::SqsErrors { for_ms: 120_000, share: 1.0 })];
    let plan = Plan { machine: slots(10, Latency::Constant(100.0)), faults, ..Plan::new(fixed(2), vec![5.0; 900], 3) };
    let run = simulate(&plan);
    assert_conserved(&run);
    assert!((100_000..125_000).contains(&run.wait.max_ms), "{:?}", run.wait);
    assert!(run.mail.waiting < 20);
}

fn policy() -> impl Strategy<Value = Policy> {
    let kind = prop_oneof![Just(AdjustmentType::Change), Just(AdjustmentType::Percent), Just(AdjustmentType::Exact)];
    let simple = (kind.clone(), -3..8i32, proptest::option::of(0..400u32)).prop_map(|(adjustment_type, adjustment, cooldown_s)| Policy::Simple {
        adjustment_type,
        adjustment,
        cooldown_s,
    });
    let step = (kind, -3..8i32, proptest::option::of(0..200u32)).prop_map(|(adjustment_type, adjustment, warmup_s)| Policy::Step {
        adjustment_type,
        steps: vec![Step { lower: None, upper: Some(0.0), adjustment: -adjustment }, Step { lower: Some(0.0), upper: None, adjustment }],
        warmup_s,
        magnitude_min: None,
    });
    prop_oneof![simple, step]
}

fn alarm() -> impl Strategy<Value = Alarm> {
    let name = prop_oneof![Just("processing_time"), Just("busy_fraction"), Just("queue_depth"), Just("oldest_age")];
    let comparison = prop_oneof![Just(Comparison::GreaterThanThreshold), Just(Comparison::LessThanThreshold)];
    let missing = prop_oneof![Just(MissingData::Breaching), Just(MissingData::NotBreaching), Just(MissingData::Ignore), Just(MissingData::Missing)];
    (name, comparison, missing, 1..4u32, 0.0..20.0).prop_map(|(name, comparison, missing, evaluation_periods, threshold)| Alarm {
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
        datapoints_to_alarm: 1,
        missing,
        actions: vec!["P".into()],
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let kind = prop_oneof![
        3 => Just(FaultKind::KillMachine),
        1 => Just(FaultKind::LoseZone),
        1 => (1_000..200_000u64).prop_map(|for_ms| FaultKind::SesPause { for_ms }),
        1 => (1_000..200_000u64, 0.0..1.0).prop_map(|(for_ms, share)| FaultKind::SqsErrors { for_ms, share }),
        1 => (1_000..200_000u64).prop_map(|for_ms| FaultKind::MetricsLost { for_ms }),
    ];
    (0..1_500_000u64, kind).prop_map(|(at_ms, kind)| Fault { at_ms, kind })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_arrived_is_answered_waits_or_is_parked_whatever_breaks(
        policies in proptest::collection::vec((policy(), alarm()), 0..4),
        faults in proptest::collection::vec(fault(), 0..8),
        rates in proptest::collection::vec(0.0..60.0, 1..6),
        machines in 1..6u32,
        receives_max in 1..4u32,
        rate in proptest::option::of(1.0..40.0),
        drain_ms_max in 0..3_000u64,
        seed: u64,
    ) {
        let mut scaling = fixed(machines);
        for (number, (policy, alarm)) in policies.into_iter().enumerate() {
            let name = format!("P{number}");
            scaling.alarms.insert(format!("A{number}"), Alarm { actions: vec![name.clone()], ..alarm });
            scaling.policies.insert(name, policy);
        }
        let traffic: Vec<f64> = rates.iter().flat_map(|rate| vec![*rate; 300]).collect();
        let machine = Machine { drain_ms_max, ..slots(8, Latency::LogNormal { p50_ms: 300.0, p99_ms: 3_000.0 }) };
        let queue = QueueRules { receives_max, ..QueueRules::default() };
        let ses = Ses { rate, ..Ses::default() };
        let (low, high) = (scaling.group.min, scaling.group.max);
        let plan = Plan { machine, queue, ses, faults, ..Plan::new(scaling, traffic, seed) };
        let found = simulate(&plan);
        assert_conserved(&found);
        prop_assert!(found.series.iter().all(|point| (low..=high).contains(&point.desired)), "within the group's bounds");
        prop_assert_eq!(found, simulate(&plan), "the same plan and seed give the same run");
    }
}
