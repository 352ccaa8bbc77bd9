//! The search for the recommended policy (docs/scaling.md): tries candidates on the stories, and prints what each gives.
//!
//! `cargo run --release -p replyfleet-simulator --example search [SEED]`; the same seed prints the same tables.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod candidate;

use std::{collections::BTreeMap, error::Error};

use candidate::{Choice, Wait};
use replyfleet_simulator::{
    plan::{Latency, Machine, Plan},
    run::Run,
    scaling::{AdjustmentType, Scaling},
    simulation, stories,
    template::{DEPLOYED, PROFILE, Template},
    traffic::Shape,
};

const UTILISATIONS: [f64; 3] = [0.05, 0.1, 0.2];
const BOOT_S: u32 = 90;
const SEEDS: u64 = 5;
const ABSOLUTE: &[(u32, i32)] = &[(10, 4), (30, 8), (120, 20)];
const GRADED: &[(u32, i32)] = &[(10, 100), (30, 150), (60, 200), (120, 350), (300, 900)];
const FLAT: &[(u32, i32)] = &[(10, 300)];
const TWO: &[(u32, i32)] = &[(10, 300), (150, 900)];
const TWO_LATE: &[(u32, i32)] = &[(10, 300), (240, 900)];
const DEMAND: &[(u32, i32)] = &[(90, 100), (130, 150), (180, 250), (250, 400), (400, 900)];

fn deployed(profile: &str, boot_s: u32) -> Result<Scaling, Box<dyn Error>> {
    let given: BTreeMap<String, String> = [(PROFILE.to_owned(), profile.to_owned()), ("WarmupSeconds".to_owned(), (boot_s + 120).to_string())].into();
    let scaling = Template::parse(DEPLOYED)?.scaling(&given)?;
    Plan::new(scaling.clone(), Vec::new(), 0).check()?;
    Ok(scaling)
}

/// How the worker's metrics come: published each so many seconds, and shown so many later. AWS's own come a minute late.
#[derive(Clone, Copy)]
struct Pipe(u32, u64);

impl Pipe {
    fn of(self, plan: &mut Plan) {
        plan.metrics.publish_every_s = self.0;
        (plan.metrics.high_resolution_lag_ms, plan.metrics.ingest_lag_ms) = (self.1 * 1_000, 60_000);
        if self.0 == 60 {
            plan.metrics.ingest_lag_ms = self.1 * 1_000;
        }
    }
}

/// Runs a policy through a surge.
fn surge(scaling: &Scaling, pipe: Pipe, utilisation: f64, shape: Shape, seed: u64) -> Run {
    let mut plan = stories::surge(scaling.clone(), stories::slow_machine(), utilisation, shape, 20.0, BOOT_S, seed);
    pipe.of(&mut plan);
    simulation::run(&plan, &mut |_| {})
}

/// For each story the mean and the worst p99 over some seeds, and the mean of the others.
fn row(name: &str, scaling: &Scaling, pipe: Pipe, seed: u64) {
    print!("{name:<44}");
    for utilisation in UTILISATIONS {
        for shape in [Shape::Step, Shape::Tv] {
            let runs: Vec<Run> = (0..SEEDS).map(|more| surge(scaling, pipe, utilisation, shape, seed + more)).collect();
            let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
            let worst = runs.iter().map(|run| run.wait.p99_ms).max().unwrap_or(0);
            let p99 = mean(|run| run.wait.p99_ms as f64 / 1_000.0);
            let (hours, peak) = (mean(|run| run.fleet.machine_hours), mean(|run| f64::from(run.fleet.machines_peak)));
            print!(" | {p99:>3.0} {:>3.0} {hours:>4.1} {peak:>2.0}", worst as f64 / 1_000.0);
        }
    }
    println!();
}

/// Steady loads: the worst over utilisations and sizes.
fn steady_row(name: &str, scaling: &Scaling, seed: u64) {
    let (mut reversals, mut ups, mut late, mut hours, mut worst) = (0.0, 0, 0.0_f64, 0.0, String::new());
    for machines in [3, 6, 10] {
        for percent in [1].into_iter().chain((5..=95).step_by(10)) {
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
fn slots_bind() -> Machine {
    let mut machine = stories::slow_machine();
    (machine.slots, machine.cpu_ms) = (4, 400.0);
    machine.latency = Latency::LogNormal { p50_ms: 300.0, p99_ms: 1_000.0 };
    machine
}

/// The CPU is busy before the slots are.
fn cpu_binds() -> Machine {
    let mut machine = stories::slow_machine();
    machine.slots = 40;
    machine
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seeds {seed} to {}, boot {BOOT_S} s, surge of 20; by utilisation of two machines before it:", seed + SEEDS - 1);
    println!("p99 wait in s (mean, worst seed), machine-hours, most machines\n");
    let heads: Vec<String> = UTILISATIONS.iter().flat_map(|u| [format!("{:.0} % step", u * 100.0), format!("{:.0} % tv", u * 100.0)]).collect();
    println!("{:<44} | {}", "", heads.iter().map(|head| format!("{head:<15}")).collect::<Vec<_>>().join(" | "));
    let (minutes, prompt, often) = (Pipe(60, 60), Pipe(60, 10), Pipe(10, 10));
    row("deployed faithful", &deployed("faithful", BOOT_S)?, minutes, seed);
    row("deployed faithful, 10 s", &deployed("faithful", BOOT_S)?, often, seed);
    row("deployed recommended", &deployed("recommended", BOOT_S)?, minutes, seed);
    row("deployed recommended, 10 s", &deployed("recommended", BOOT_S)?, often, seed);
    let base =
        Choice { wait: None, demand: None, settle_s: 0, has_processing_time: false, well_minutes: 5, cooldown_s: 60, busy_after: 80, has_cpu: true };
    println!("\nthe way up");
    let percent = AdjustmentType::Percent;
    for (pipe_name, pipe, periods_s) in
        [("60 s, lag 60 s", minutes, &[60][..]), ("60 s, lag 10 s", prompt, &[60]), ("10 s, lag 10 s", often, &[10, 60])]
    {
        let wait = |steps, kind| Some(Wait { periods_s, steps, kind });
        for settle_s in [0, 120] {
            for (name, wait, demand) in [
                ("4/8/max", wait(ABSOLUTE, AdjustmentType::Change), None),
                ("graded", wait(GRADED, percent), None),
                ("300 %", wait(FLAT, percent), None),
                ("300/900 % from 150 s", wait(TWO, percent), None),
                ("300/900 % from 240 s", wait(TWO_LATE, percent), None),
                ("by demand", None, Some(DEMAND)),
            ] {
                let choice = Choice { wait, demand, settle_s, ..base.clone() };
                row(&format!("{pipe_name}: {name}, settle {settle_s} s"), &choice.scaling(BOOT_S), pipe, seed);
            }
        }
    }
    println!("\nthe way down");
    let wait = Some(Wait { periods_s: &[10, 60], steps: TWO_LATE, kind: percent });
    let base = Choice { wait, settle_s: 120, ..base };
    for well_minutes in [5, 10] {
        for cooldown_s in [60, 120, 180, 300] {
            let choice = Choice { well_minutes, cooldown_s, ..base.clone() };
            row(&format!("{well_minutes} min well, cooldown {cooldown_s} s"), &choice.scaling(BOOT_S), often, seed);
        }
    }
    println!("\nsteady load");
    steady_row("deployed faithful", &deployed("faithful", BOOT_S)?, seed);
    steady_row("deployed recommended", &deployed("recommended", BOOT_S)?, seed);
    for has_cpu in [false, true] {
        for busy_after in [60, 70, 80, 90] {
            let choice = Choice { has_cpu, busy_after, ..base.clone() };
            steady_row(&format!("{busy_after} % after{}", if has_cpu { ", and CPU" } else { "" }), &choice.scaling(BOOT_S), seed);
        }
    }
    Ok(())
}
