//! The figures of a run, in the order of the table.

use super::words::{count, duration, percent};
use crate::run::Run;

/// A line of the table.
pub(super) struct Figure {
    pub(super) label: &'static str,
    pub(super) of: fn(&Run) -> String,
}

const fn figure(label: &'static str, of: fn(&Run) -> String) -> Figure {
    Figure { label, of }
}

/// A time that may never have come.
fn optional(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".into(), duration)
}

pub(super) const FIGURES: [Figure; 26] = [
    figure("Mails arrived", |run| count(run.mail.arrived)),
    figure("Answered", |run| count(run.mail.answered)),
    figure("Lost", |run| count(run.mail.lost)),
    figure("Answered twice", |run| count(run.mail.duplicates)),
    figure("Parked", |run| count(run.mail.parked)),
    figure("Unanswered at the end", |run| count(run.mail.waiting)),
    figure("Answered without attachments", |run| count(run.mail.without_attachments)),
    figure("Peak backlog", |run| format!("{} (at {})", count(run.mail.peak_backlog), duration(run.mail.peak_backlog_at_ms))),
    figure("Wait, half of the mails", |run| duration(run.wait.p50_ms)),
    figure("Wait, 95 of 100", |run| duration(run.wait.p95_ms)),
    figure("Wait, 99 of 100", |run| duration(run.wait.p99_ms)),
    figure("Wait, longest", |run| duration(run.wait.max_ms)),
    figure("Waited over 10 s", |run| percent(run.wait.share_over_10s)),
    figure("Waited over 60 s", |run| percent(run.wait.share_over_60s)),
    figure("Time with a wait over 10 s", |run| percent(run.wait.time_over_10s)),
    figure("To the first new machine", |run| optional(run.fleet.first_capacity_ms)),
    figure("To the most machines", |run| optional(run.fleet.peak_capacity_ms)),
    figure("From the peak to no wait over 10 s", |run| optional(run.fleet.drain_ms)),
    figure("Machines: start, most, end", |run| {
        format!("{}, {}, {}", run.fleet.machines_at_start, run.fleet.machines_peak, run.fleet.machines_at_end)
    }),
    figure("Machine-hours", |run| format!("{:.1}", run.fleet.machine_hours)),
    figure("Idle share of them", |run| percent(run.fleet.idle_share)),
    figure("Scaled up", |run| count(run.fleet.scale_ups.into())),
    figure("Scaled down", |run| count(run.fleet.scale_downs.into())),
    figure("Reversals an hour", |run| format!("{:.1}", run.fleet.reversals_per_hour)),
    figure("Refused by SES (429, paused)", |run| count(run.mail.throttled)),
    figure("Machines killed", |run| count(run.fleet.killed.into())),
];
