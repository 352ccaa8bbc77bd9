//! The search for the recommended policy (docs/scaling.md): tries candidates on the stories, and prints what each gives.
//!
//! `cargo run --release -p replyfleet-simulator --example search [SEED]`; the same seed prints the same tables.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod candidate;

use std::collections::BTreeMap;

use candidate::Choice;
use replyfleet_simulator::{
    run::Run,
    scaling::{AdjustmentType, Scaling},
    simulation, stories,
    template::{DEPLOYED, PROFILE, Template, TemplateError},
    traffic::Shape,
};

const UTILISATIONS: [f64; 3] = [0.05, 0.1, 0.2];
const BOOT_S: u32 = 90;
const ABSOLUTE: &[(u32, i32)] = &[(10, 4), (30, 8), (120, 20)];
const GENTLE: &[(u32, i32)] = &[(10, 50), (30, 100), (120, 200), (300, 400)];
const GRADED: &[(u32, i32)] = &[(10, 100), (30, 150), (60, 200), (120, 350), (300, 900)];
const STEEP: &[(u32, i32)] = &[(10, 100), (20, 200), (60, 400), (120, 900)];

fn deployed(profile: &str, boot_s: u32) -> Result<Scaling, TemplateError> {
    let given: BTreeMap<String, String> = [(PROFILE.to_owned(), profile.to_owned()), ("BootSeconds".to_owned(), boot_s.to_string())].into();
    Template::parse(DEPLOYED)?.scaling(&given)
}

/// Runs a policy through a surge.
fn surge(scaling: &Scaling, publish_every_s: u32, utilisation: f64, shape: Shape, seed: u64) -> Run {
    let mut plan = stories::surge(scaling.clone(), stories::slow_machine(), utilisation, shape, 20.0, BOOT_S, seed);
    plan.metrics.publish_every_s = publish_every_s;
    simulation::run(&plan, &mut |_| {})
}

fn row(name: &str, scaling: &Scaling, publish_every_s: u32, seed: u64) {
    print!("{name:<44}");
    for utilisation in UTILISATIONS {
        for shape in [Shape::Step, Shape::Tv] {
            let run = surge(scaling, publish_every_s, utilisation, shape, seed);
            print!(" | {:>4.0} {:>5.1} {:>2}", run.wait.p99_ms as f64 / 1_000.0, run.fleet.machine_hours, run.fleet.machines_peak);
        }
    }
    println!();
}

/// Steady loads: the worst over utilisations and sizes.
fn steady_row(name: &str, scaling: &Scaling, seed: u64) {
    let (mut reversals, mut ups, mut late, mut hours, mut worst) = (0.0, 0, 0.0_f64, 0.0, String::new());
    for machines in [3, 6, 10] {
        for percent in (5..=95).step_by(10) {
            for (kind, machine) in [("slots", slots_bind()), ("cpu", cpu_binds())] {
                let plan = stories::steady(scaling.clone(), machine, f64::from(percent) / 100.0, machines, seed);
                let run = simulation::run(&plan, &mut |_| {});
                if run.fleet.reversals_per_hour > reversals {
                    (reversals, worst) = (run.fleet.reversals_per_hour, format!("{percent} % of {machines}, {kind}"));
                }
                ups += run.fleet.scale_ups;
                late = late.max(run.wait.share_over_10s);
                hours += run.fleet.machine_hours;
            }
        }
    }
    println!("{name:<44} reversals/h {reversals:>4.1} ({worst}), ups {ups}, worst share over 10 s {:.1} %, machine-hours {hours:.0}", late * 100.0);
}

/// Latency fills the slots before the CPU is busy.
fn slots_bind() -> replyfleet_simulator::plan::Machine {
    let mut machine = stories::slow_machine();
    (machine.slots, machine.cpu_ms) = (4, 400.0);
    machine.latency = replyfleet_simulator::plan::Latency::LogNormal { p50_ms: 300.0, p99_ms: 1_000.0 };
    machine
}

/// The CPU is busy before the slots are.
fn cpu_binds() -> replyfleet_simulator::plan::Machine {
    let mut machine = stories::slow_machine();
    machine.slots = 40;
    machine
}

fn main() -> Result<(), TemplateError> {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}, boot {BOOT_S} s; p99 wait in s, machine-hours, most machines; surge of 20, by utilisation of two machines before\n");
    let heads: Vec<String> = UTILISATIONS.iter().flat_map(|u| [format!("{:.0} % step", u * 100.0), format!("{:.0} % tv", u * 100.0)]).collect();
    println!("{:<44} | {}", "", heads.iter().map(|head| format!("{head:<13}")).collect::<Vec<_>>().join(" | "));
    row("deployed faithful", &deployed("faithful", BOOT_S)?, 60, seed);
    row("deployed recommended", &deployed("recommended", BOOT_S)?, 60, seed);
    let base = Choice {
        period_s: 60,
        steps: GRADED,
        kind: AdjustmentType::Percent,
        has_processing_time: true,
        well_minutes: 10,
        cooldown_s: 300,
        busy_after: 80,
        has_cpu: true,
    };
    for period_s in [60, 10] {
        for (ladder, steps, kind) in [
            ("4/8/max", ABSOLUTE, AdjustmentType::Change),
            ("gentle", GENTLE, AdjustmentType::Percent),
            ("graded", GRADED, AdjustmentType::Percent),
            ("steep", STEEP, AdjustmentType::Percent),
        ] {
            for has_processing_time in [false, true] {
                let choice = Choice { period_s, steps, kind, has_processing_time, ..base.clone() };
                let name = format!("{period_s} s, {ladder}{}", if has_processing_time { ", and processing_time" } else { "" });
                row(&name, &choice.scaling(BOOT_S), period_s, seed);
            }
        }
    }
    println!("\nthe way down");
    for well_minutes in [3, 5, 10] {
        for cooldown_s in [60, 180, 300] {
            let choice = Choice { well_minutes, cooldown_s, has_processing_time: false, ..base.clone() };
            row(&format!("{well_minutes} min well, cooldown {cooldown_s} s"), &choice.scaling(BOOT_S), 60, seed);
        }
    }
    println!("\nsteady load");
    steady_row("deployed faithful", &deployed("faithful", BOOT_S)?, seed);
    steady_row("deployed recommended", &deployed("recommended", BOOT_S)?, seed);
    for has_cpu in [false, true] {
        for busy_after in [60, 70, 80, 90] {
            let choice = Choice { has_cpu, busy_after, well_minutes: 5, cooldown_s: 180, has_processing_time: false, ..base.clone() };
            steady_row(&format!("{busy_after} % after{}", if has_cpu { ", and CPU" } else { "" }), &choice.scaling(BOOT_S), seed);
        }
    }
    Ok(())
}
