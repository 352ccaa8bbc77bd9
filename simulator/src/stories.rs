//! The stories that docs/scaling.md tells, as plans: what its tables, its pictures and the tests of the deployed policy simulate.
//!
//! What decides is the utilisation of the smallest fleet, not how fast a machine is: a surge of twenty times is four times what two
//! machines carry if they were a fifth busy before, whether they carry ten mails a second or a thousand.

use crate::{
    plan::{Latency, Machine, Plan},
    scaling::Scaling,
    traffic::{Shape, Traffic},
};

/// When the surge begins, in seconds: half an hour in which the fleet settles.
pub const SURGE_AT_S: u32 = 1_800;
/// How long a story lasts, in seconds.
pub const STORY_S: u32 = 4 * 3_600;
/// The measured surge takes a day: it is told four times as fast.
const MEASURED_FASTER: usize = 4;

/// A machine as slow as the ancestor's: a process for each mail, 5 mails a second by its CPU.
pub fn slow_machine() -> Machine {
    Machine { slots: 20, cores: 2.0, cpu_ms: 400.0, latency: Latency::LogNormal { p50_ms: 300.0, p99_ms: 2_000.0 }, ..Machine::default() }
}

/// Mails a second that a machine carries without attachments: by its CPU.
pub fn rate(machine: &Machine) -> f64 {
    1_000.0 * machine.cores / machine.cpu_ms
}

/// A surge of `factor` times over a fleet whose two smallest machines are `utilisation` busy (0 to 1) before it, for four hours, with
/// machines that take `boot_s` seconds (and up to a sixth more) to boot.
pub fn surge(scaling: Scaling, machine: Machine, utilisation: f64, shape: Shape, factor: f64, boot_s: u32, seed: u64) -> Plan {
    let base = 2.0 * utilisation * rate(&machine);
    let (rates, surge_at_s) = if shape == Shape::Measured {
        let day = Traffic { shape, base, factor, surge_at_s: 0, horizon_s: STORY_S * MEASURED_FASTER as u32 };
        let rises_s = day.surge_s().unwrap_or(0) / MEASURED_FASTER as u32;
        (day.rates().into_iter().step_by(MEASURED_FASTER).collect(), rises_s)
    } else {
        (Traffic { shape, base, factor, surge_at_s: SURGE_AT_S, horizon_s: STORY_S }.rates(), SURGE_AT_S)
    };
    let machine = Machine { boot_ms: u64::from(boot_s) * 1_000, boot_jitter_ms: u64::from(boot_s) * 1_000 / 6, ..machine };
    Plan { machine, surge_at_ms: Some(u64::from(surge_at_s) * 1_000), ..Plan::new(scaling, rates, seed) }
}

/// Steady load for six hours, of `utilisation` (0 to 1) of `machines` machines, with which the fleet begins.
pub fn steady(mut scaling: Scaling, machine: Machine, utilisation: f64, machines: u32, seed: u64) -> Plan {
    let base = utilisation * f64::from(machines) * rate(&machine);
    scaling.group.desired = machines;
    Plan { machine, ..Plan::new(scaling, vec![base; 6 * 3_600], seed) }
}
