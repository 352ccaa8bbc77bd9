//! The table and the pictures of docs/scaling.md: both profiles, each surge, each boot.
//!
//! `cargo run --release -p replyfleet-simulator --example table [SEED] [FOLDER]` prints the table, and writes the pictures into the
//! folder if one is given. The same seed gives the same.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{collections::BTreeMap, error::Error, path::Path};

use replyfleet_simulator::{
    plan::{Machine, Plan},
    report::{Case, Report},
    run::Run,
    scaling::Scaling,
    simulation, stories,
    template::{DEPLOYED, PROFILE, Template},
    traffic::Shape,
};

const PROFILES: [&str; 2] = ["faithful", "recommended"];
const SURGES: [(&str, Shape, f64); 5] = [
    ("10 times, stays", Shape::Step, 10.0),
    ("20 times, stays", Shape::Step, 20.0),
    ("TV, 20 times", Shape::Tv, 20.0),
    ("retry storm, 20 times", Shape::RetryStorm, 20.0),
    ("measured, 27.7 times", Shape::Measured, 27.7),
];
const BOOTS_S: [u32; 3] = [60, 90, 180];
const SEEDS: u64 = 3;

fn deployed(profile: &str, boot_s: u32) -> Result<Scaling, Box<dyn Error>> {
    let given: BTreeMap<String, String> = [(PROFILE.to_owned(), profile.to_owned()), ("WarmupSeconds".to_owned(), (boot_s + 120).to_string())].into();
    let scaling = Template::parse(DEPLOYED)?.scaling(&given)?;
    Plan::new(scaling.clone(), Vec::new(), 0).check()?;
    Ok(scaling)
}

fn run(plan: &Plan) -> Run {
    simulation::run(plan, &mut |_| {})
}

/// Prints the means over some plans.
fn row(name: &str, plans: &[Plan]) {
    let runs: Vec<Run> = plans.iter().map(run).collect();
    let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    println!(
        "| {name} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} |",
        mean(|run| run.wait.p99_ms as f64 / 1_000.0),
        mean(|run| run.wait.max_ms as f64 / 1_000.0),
        100.0 * mean(|run| run.wait.share_over_10s),
        mean(|run| run.mail.peak_backlog as f64),
        mean(|run| f64::from(run.fleet.machines_peak)),
        mean(|run| run.fleet.machine_hours),
        mean(|run| run.fleet.reversals_per_hour),
    );
}

fn head(first: &str) {
    println!("| {first} | p99 wait, s | longest, s | over 10 s, % | peak backlog | most machines | machine-hours | reversals/h |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
}

fn picture(folder: &Path, name: &str, title: &str, machine: &Machine, utilisation: f64, shape: Shape, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut cases = Vec::new();
    let mut surge_at_ms = None;
    for profile in PROFILES {
        let plan =
            stories::surge(deployed(profile, 90)?, machine.clone(), utilisation, shape, if shape == Shape::Measured { 27.7 } else { 20.0 }, 90, seed);
        surge_at_ms = plan.surge_at_ms;
        cases.push(Case { name: profile.to_owned(), run: run(&plan) });
    }
    let facts = vec![
        ("seed".to_owned(), seed.to_string()),
        ("boot".to_owned(), "90 s".to_owned()),
        ("before the surge".to_owned(), format!("{:.0} % of two machines", utilisation * 100.0)),
        ("one machine carries".to_owned(), format!("{:.0} mails a second", stories::rate(machine))),
    ];
    let report = Report { title: title.to_owned(), facts, surge_at_ms, cases };
    std::fs::write(folder.join(name), report.svg())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed: u64 = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let slow = stories::slow_machine();
    println!("Seeds {seed} to {}; two machines 10 % busy before; one carries 5 mails a second.\n", seed + SEEDS - 1);
    head("surge; boot; profile");
    for (name, shape, factor) in SURGES {
        for boot_s in BOOTS_S {
            for profile in PROFILES {
                let scaling = deployed(profile, boot_s)?;
                let plan = |more| stories::surge(scaling.clone(), slow.clone(), 0.1, shape, factor, boot_s, seed + more);
                row(&format!("{name}; {boot_s} s; {profile}"), &(0..SEEDS).map(plan).collect::<Vec<_>>());
            }
        }
    }
    println!("\nSeed {seed}; one machine carries 800 mails a second; 20 times, stays; boot 90 s.\n");
    head("before the surge; profile");
    for base in [20.0, 40.0, 80.0] {
        for profile in PROFILES {
            let machine = Machine::default();
            let utilisation = base / 2.0 / stories::rate(&machine);
            let plan = stories::surge(deployed(profile, 90)?, machine, utilisation, Shape::Step, 20.0, 90, seed);
            row(&format!("{base:.0} a second; {profile}"), &[plan]);
        }
    }
    if let Some(folder) = arguments.next() {
        let folder = Path::new(&folder);
        picture(folder, "surge-step.svg", "Twenty times the mail within a second, and it stays", &slow, 0.1, Shape::Step, seed)?;
        picture(folder, "surge-tv.svg", "Twenty times the mail within a minute, half of it gone every ten minutes", &slow, 0.1, Shape::Tv, seed)?;
        picture(folder, "surge-measured.svg", "The measured day, four times as fast", &slow, 0.05, Shape::Measured, seed)?;
    }
    Ok(())
}
