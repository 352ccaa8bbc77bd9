//! The simulation against what is known: closed forms, queueing theory, conservation, and its own determinism.

mod faults;
mod fleet;
mod theory;

use std::collections::BTreeMap;

use crate::{
    plan::{Latency, Machine, Plan},
    run::Run,
    scaling::{Group, Scaling},
    simulation::run,
};

/// A group that nothing scales.
fn fixed(machines: u32) -> Scaling {
    let group = Group { min: 1, max: machines.max(10), desired: machines, cooldown_s: 300, warmup_s: Some(90), termination_hook_s: Some(600) };
    Scaling { group, policies: BTreeMap::new(), alarms: BTreeMap::new() }
}

/// A machine whose slots each take `latency`, without CPU.
fn slots(slots: u32, latency: Latency) -> Machine {
    Machine { slots, cpu_ms: 0.0, latency, boot_jitter_ms: 0, ..Machine::default() }
}

fn simulate(plan: &Plan) -> Run {
    run(plan, &mut |_| {})
}

/// Everything that arrived is somewhere.
#[track_caller]
fn assert_conserved(run: &Run) {
    let mail = &run.mail;
    assert_eq!(mail.lost, 0, "{mail:?}");
    assert_eq!(mail.arrived, mail.answered + mail.parked + mail.waiting, "{mail:?}");
    assert_eq!(run.wait_histogram.count(), mail.answered + mail.waiting, "every mail's wait is counted");
    let (arrived, answered) = run.series.iter().fold((0, 0), |sum, point| (sum.0 + u64::from(point.arrived), sum.1 + u64::from(point.answered)));
    assert!(arrived <= mail.arrived && answered <= mail.answered, "the series has no more than there was");
}
