//! What is deployed, in the stories that docs/scaling.md tells: the recommended profile keeps its promises, and the tests would see it
//! if the template were changed for the worse.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use replyfleet_simulator::{
    plan::{Fault, FaultKind, Latency, Machine, Plan, Ses},
    run::{EventKind, Run},
    scaling::Scaling,
    simulation, stories,
    template::{DEPLOYED, PROFILE, Template},
    traffic::{Shape, Traffic},
};

const BOOT_S: u32 = 90;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

fn deployed(profile: &str) -> Scaling {
    let given: BTreeMap<String, String> = [(PROFILE.to_owned(), profile.to_owned()), ("WarmupSeconds".to_owned(), (BOOT_S + 120).to_string())].into();
    Template::parse(DEPLOYED).and_then(|template| template.scaling(&given)).expect("the deployed template is read")
}

fn surge(profile: &str, utilisation: f64, seed: u64) -> Run {
    let plan = stories::surge(deployed(profile), stories::slow_machine(), utilisation, Shape::Step, 20.0, BOOT_S, seed);
    simulation::run(&plan, &mut |_| {})
}

#[test]
fn twenty_times_the_mail_waits_under_a_minute_and_costs_no_more_machine_hours_than_the_faithful_profile() {
    for utilisation in [0.05, 0.1] {
        let (mut recommended_hours, mut faithful_hours) = (0.0, 0.0);
        for seed in SEEDS {
            let (recommended, faithful) = (surge("recommended", utilisation, seed), surge("faithful", utilisation, seed));
            assert!(recommended.wait.p99_ms < 60_000, "{utilisation}, seed {seed}: {:?} {:?}", recommended.wait, recommended.fleet);
            assert!(faithful.wait.p99_ms > 60_000, "there is something to be better than: {:?}", faithful.wait);
            assert_eq!((recommended.mail.lost, recommended.mail.duplicates, recommended.mail.parked), (0, 0, 0));
            recommended_hours += recommended.fleet.machine_hours;
            faithful_hours += faithful.fleet.machine_hours;
        }
        // The faithful profile's hours swing by half with the seed, so their sum is what is compared.
        assert!(recommended_hours <= faithful_hours, "{utilisation}: {recommended_hours} and {faithful_hours} machine-hours");
    }
}

#[test]
fn it_shrinks_by_one_machine_at_a_time_and_not_more_often_than_its_cooldown() {
    let plan = stories::surge(deployed("recommended"), stories::slow_machine(), 0.1, Shape::Tv, 20.0, BOOT_S, 1);
    let run = simulation::run(&plan, &mut |_| {});
    let downs: Vec<_> = run.events.iter().filter(|event| event.kind == EventKind::ScaleDown).collect();
    assert!(downs.len() >= 4, "it shrinks after the surge: {downs:?}");
    for down in &downs {
        let (before, after) = down.text.trim_start_matches("Down: ").split_once(" -> ").expect("from and to");
        let number = |text: &str| text.parse::<i32>().expect("a number");
        assert_eq!(number(before) - number(after), 1, "{}", down.text);
    }
    assert!(downs.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms >= 300_000), "{downs:?}");
}

#[test]
fn steady_load_of_any_utilisation_leaves_the_fleet_alone() {
    let slots_bind = Machine { slots: 4, latency: Latency::LogNormal { p50_ms: 300.0, p99_ms: 1_000.0 }, ..stories::slow_machine() };
    let cpu_binds = Machine { slots: 40, ..stories::slow_machine() };
    for (kind, machine) in [("slots", slots_bind), ("cpu", cpu_binds)] {
        for machines in [3, 8] {
            for percent in (5..=95).step_by(10) {
                let plan = stories::steady(deployed("recommended"), machine.clone(), f64::from(percent) / 100.0, machines, 1);
                let run = simulation::run(&plan, &mut |_| {});
                let said = format!("{percent} % of {machines} machines, {kind}: {:?} {:?}", run.fleet, run.wait);
                assert_eq!(run.fleet.scale_ups, 0, "it never needs what it gave away: {said}");
                assert!(run.wait.share_over_10s < 0.01, "{said}");
                // What remains is what it needs: one machine fewer would be over 80 % busy, or two are the minimum.
                let needed = f64::from(percent) / 100.0 * f64::from(machines);
                let left = f64::from(run.fleet.machines_at_end);
                assert!(left <= 2.0 || left - 1.0 <= needed / 0.7, "it keeps more than it needs: {said}");
            }
        }
    }
}

#[test]
fn a_bin_of_which_only_some_workers_have_told_calls_for_no_machines() {
    let machine = Machine { slots: 4, latency: Latency::LogNormal { p50_ms: 300.0, p99_ms: 1_000.0 }, ..stories::slow_machine() };
    for (machines, seed) in [(2, 1), (5, 2), (20, 3)] {
        // So late that an alarm by the minute sees a sixth of the minute, and each worker at a moment of its own.
        for lag_ms in [10_000, 60_000] {
            let mut plan = stories::steady(deployed("recommended"), machine.clone(), 0.95, machines, seed);
            (plan.metrics.high_resolution_lag_ms, plan.metrics.publish_jitter_ms) = (lag_ms, 9_000);
            let run = simulation::run(&plan, &mut |_| {});
            let ups: Vec<_> = run.events.iter().filter(|event| event.kind == EventKind::ScaleUp).collect();
            assert!(ups.is_empty(), "{machines} machines, seed {seed}, {lag_ms} ms late: {ups:?}");
        }
    }
}

#[test]
fn the_faithful_profile_swings_under_steady_load() {
    let mut reversals: f64 = 0.0;
    for percent in [45, 95] {
        let plan = stories::steady(deployed("faithful"), stories::slow_machine(), f64::from(percent) / 100.0, 10, 1);
        reversals = reversals.max(simulation::run(&plan, &mut |_| {}).fleet.reversals_per_hour);
    }
    assert!(reversals > 2.0, "the known fault that the recommended profile mends: {reversals}");
}

#[test]
fn the_minutes_alarm_takes_over_when_high_resolution_metrics_come_late() {
    let mut plan = stories::surge(deployed("recommended"), stories::slow_machine(), 0.1, Shape::Step, 20.0, BOOT_S, 1);
    plan.metrics.high_resolution_lag_ms = 60_000;
    let run = simulation::run(&plan, &mut |_| {});
    assert!(run.events.iter().any(|event| event.text == "PredictedWaitHighMinute: OK -> ALARM"), "{:?}", run.events);
    assert!(run.wait.p99_ms < 120_000, "later, but it comes: {:?}", run.wait);
}

#[test]
fn a_fleet_that_hangs_gets_machines_by_the_age_of_its_oldest_message() {
    let mut plan = stories::surge(deployed("recommended"), stories::slow_machine(), 0.1, Shape::Steady, 1.0, BOOT_S, 1);
    // Every mail takes an hour in hand: nothing is answered any more.
    plan.machine.latency = Latency::Constant(3_600_000.0);
    let run = simulation::run(&plan, &mut |_| {});
    assert!(run.events.iter().any(|event| event.text.starts_with("OldestAgeUp: 2 -> 4")), "{:?}", run.events);
}

/// The default machine, ten mails a second, `factor` times so many from the tenth minute on, for an hour: as `replyfleet simulate` does it.
fn an_hour(factor: f64) -> Plan {
    let traffic = Traffic { shape: Shape::Step, base: 10.0, factor, surge_at_s: 600, horizon_s: 3_600 };
    let mut plan = Plan::new(deployed("recommended"), traffic.rates(), 1);
    plan.machine.cpu_ms = 1_000.0 * plan.machine.cores / 40.0;
    plan
}

#[test]
fn a_pause_of_ses_multiplies_no_machines() {
    let mut plan = an_hour(1.0);
    plan.faults = vec![Fault { at_ms: 1_200_000, kind: FaultKind::SesPause { for_ms: 900_000 } }];
    let run = simulation::run(&plan, &mut |_| {});
    let ups: Vec<_> = run.events.iter().filter(|event| event.kind == EventKind::ScaleUp).collect();
    assert!(ups.iter().all(|up| up.at_ms >= 2_100_000), "none while SES is away: {ups:?}");
    assert!(run.events.iter().any(|event| event.text == "SesAway: OK -> ALARM"), "people are told: {:?}", run.events);
    assert_eq!((run.mail.lost, run.mail.parked), (0, 0));
}

#[test]
fn one_worker_that_cannot_send_neither_silences_a_surge_nor_calls_for_machines() {
    // Three of which two carry it: the third's age grows, and nobody needs a machine for that.
    let away = |factor: f64| {
        let mut plan = an_hour(factor);
        plan.scaling.group.desired = 3;
        plan.scaling.group.min = 3;
        plan.faults = vec![Fault { at_ms: 300_000, kind: FaultKind::WorkerAway { for_ms: 3_000_000 } }];
        simulation::run(&plan, &mut |_| {})
    };
    let calm = away(1.0);
    assert_eq!(calm.fleet.scale_ups, 0, "{:?}", calm.events);
    assert!(calm.events.iter().any(|event| event.text == "SesAway: OK -> ALARM"), "people are told: {:?}", calm.events);
    let surge = away(20.0);
    let up = surge.events.iter().find(|event| event.kind == EventKind::ScaleUp).expect("two workers carry 80 of 200 mails a second");
    assert!((600_000..660_000).contains(&up.at_ms), "as soon as with all three: {up:?}");
}

#[test]
fn a_rate_of_ses_that_is_too_low_multiplies_no_machines() {
    for burst in [1.0, 14.0] {
        let plan = Plan { ses: Ses { rate: Some(14.0), burst, ..Ses::default() }, ..an_hour(3.0) };
        let run = simulation::run(&plan, &mut |_| {});
        assert_eq!(run.fleet.machines_peak, 2, "more send no more: {:?}", run.events);
    }
}
