//! What one run of a program costs: CPU of the child by getrusage(2), and wall time.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// The cost of one run, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    cpu: f64,
    wall: f64,
}

/// The costs of many runs of one program.
#[derive(Debug, Default)]
pub(crate) struct Costs(Vec<Cost>);

impl Costs {
    pub(crate) fn push(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// Adds the costs of more runs.
    #[allow(dead_code, reason = "not every bench gathers its costs in rounds")]
    pub(crate) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    #[allow(dead_code, reason = "not every bench has runs that may be missing")]
    pub(crate) fn extend(&mut self, cost: Option<Cost>) {
        self.0.extend(cost);
    }

    #[allow(dead_code, reason = "not every bench asks")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn cpu_ms(&self) -> f64 {
        median(&mut self.0.iter().map(|cost| cost.cpu).collect::<Vec<_>>())
    }

    #[allow(dead_code, reason = "not every bench asks")]
    pub(crate) fn wall_ms(&self) -> f64 {
        median(&mut self.0.iter().map(|cost| cost.wall).collect::<Vec<_>>())
    }
}

/// The median; of none, "not a number".
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs `command` with `input` and takes its cost. Nothing else of this process may have children meanwhile.
pub(crate) fn cost_of(command: &mut Command, input: &[u8]) -> anyhow::Result<Cost> {
    let (cpu_before, start) = (children_cpu_ms()?, Instant::now());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
    // A pipe holds 64 KB: the mail fits, and the child need not be waited for.
    child.stdin.take().context("a piped input")?.write_all(input)?;
    let status = child.wait()?;
    let (cpu, wall) = (children_cpu_ms()? - cpu_before, start.elapsed().as_secs_f64() * 1e3);
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(Cost { cpu, wall })
}

/// User and system time of all children that were waited for. The kernel counts both together to the nanosecond.
fn children_cpu_ms() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}
