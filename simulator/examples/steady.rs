//! Steady load on the recommended profile, over many seeds (docs/scaling.md): prints which runs called for machines, and how many did.
//!
//! `cargo run --release -p replyfleet-simulator --example steady [SEED] [SEEDS] [LEAST]`: so many seeds, each load from LEAST per
//! cent on. The same seeds print the same.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{collections::BTreeMap, error::Error};

use replyfleet_simulator::{
    plan::{Latency, Machine, Plan},
    run::EventKind,
    simulation, stories,
    template::{DEPLOYED, Template},
};

const SIZES: [u32; 5] = [2, 3, 5, 8, 20];
/// Every worker's metrics: published each so many seconds, and shown so many milliseconds later.
const PIPES: [(u32, u64); 3] = [(10, 10_000), (10, 60_000), (60, 60_000)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed: u64 = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let seeds: u64 = arguments.next().map_or(Ok(5), |seeds| seeds.parse())?;
    let least: usize = arguments.next().map_or(Ok(5), |least| least.parse())?;
    let scaling = Template::parse(DEPLOYED)?.scaling(&BTreeMap::new())?;
    Plan::new(scaling.clone(), Vec::new(), 0).check()?;
    let slots_bind = Machine { slots: 4, latency: Latency::LogNormal { p50_ms: 300.0, p99_ms: 1_000.0 }, ..stories::slow_machine() };
    let cpu_binds = Machine { slots: 40, ..stories::slow_machine() };
    println!("Seeds {seed} to {}, six hours each; sizes {SIZES:?}, {least} to 95 % by tens, whether slots or the CPU bind.\n", seed + seeds - 1);
    println!("| metrics | runs | called for machines | worst share over 10 s, % | most reversals/h |");
    println!("|---|---:|---:|---:|---:|");
    let mut told = Vec::new();
    for (every_s, lag_ms) in PIPES {
        let (mut runs, mut called, mut late, mut reversals) = (0, 0, 0.0_f64, 0.0_f64);
        for (kind, machine) in [("slots", &slots_bind), ("cpu", &cpu_binds)] {
            for machines in SIZES {
                for percent in (least..=95).step_by(10) {
                    for seed in seed..seed + seeds {
                        let mut plan = stories::steady(scaling.clone(), machine.clone(), percent as f64 / 100.0, machines, seed);
                        plan.metrics.publish_every_s = every_s;
                        plan.metrics.high_resolution_lag_ms = lag_ms;
                        let run = simulation::run(&plan, &mut |_| {});
                        runs += 1;
                        called += u32::from(run.fleet.scale_ups > 0);
                        late = late.max(run.wait.share_over_10s);
                        reversals = reversals.max(run.fleet.reversals_per_hour);
                        let ups = run.events.iter().filter(|event| event.kind == EventKind::ScaleUp);
                        told.extend(ups.map(|up| {
                            format!("each {every_s} s: {percent} % of {machines}, {kind}, seed {seed}: at {} s {}", up.at_ms / 1_000, up.text)
                        }));
                    }
                }
            }
        }
        println!("| each {every_s} s, {} s late | {runs} | {called} | {:.2} | {reversals:.1} |", lag_ms / 1_000, late * 100.0);
    }
    println!();
    told.iter().for_each(|line| println!("{line}"));
    Ok(())
}
