//! What a run of the simulation found: plain numbers, a series over time, and what happened when. Only told here; [`crate::simulation`]
//! fills it, the report draws it.
//!
//! Times are milliseconds from the start of the traffic. A mail's *wait* is what its sender waits: from the second our MX took it to the
//! reply's acceptance by SES, as in `processing_time`. Mail that is unanswered at the horizon counts with its age then, which is a lower
//! bound: a fleet that never catches up must not look better for it.

use serde::Serialize;

use crate::histogram::Histogram;

/// How long one [`Point`] of the series lasts, in milliseconds.
pub const POINT_MS: u64 = 10_000;

/// Everything that one run found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// The seed of the plan: the same plan and seed give the same run.
    pub seed: u64,
    /// How long was simulated, in milliseconds.
    pub horizon_ms: u64,
    /// What became of the mail.
    pub mail: Mail,
    /// How long the senders waited.
    pub wait: Wait,
    /// What the fleet did and cost.
    pub fleet: Fleet,
    /// One point per [`POINT_MS`], from 0 to the horizon.
    pub series: Vec<Point>,
    /// What happened, by time.
    pub events: Vec<Event>,
    /// Every mail's wait in milliseconds, for other percentiles.
    #[serde(skip)]
    pub wait_histogram: Histogram,
    /// Every mail's time in the queue until a worker first took it, in milliseconds.
    #[serde(skip)]
    pub queue_wait_histogram: Histogram,
}

/// What became of the mail. `arrived = answered + parked + waiting + lost`, and lost is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// Mails that our MX took.
    pub arrived: u64,
    /// Mails with at least one reply that SES accepted.
    pub answered: u64,
    /// Replies beyond the first of a mail (a machine died between the acceptance and the delete).
    pub duplicates: u64,
    /// Mails in the dead-letter queue: received too often.
    pub parked: u64,
    /// Mails in the queue or in hand at the horizon.
    pub waiting: u64,
    /// Mails that are nowhere. More than none is an error of the design, or of the simulation.
    pub lost: u64,
    /// Mails answered without their attachments, because the queue was long.
    pub without_attachments: u64,
    /// The largest number of unanswered mails, in the queue and in hand.
    pub peak_backlog: u64,
    /// When that was, in milliseconds.
    pub peak_backlog_at_ms: u64,
    /// Refusals of SES: more than its rate (HTTP 429), or a pause.
    pub throttled: u64,
}

/// How long the senders waited, in milliseconds; unanswered mail with its age at the horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Wait {
    /// Half of the mails waited at most so long.
    pub p50_ms: u64,
    /// 95 of 100.
    pub p95_ms: u64,
    /// 99 of 100.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// The mean.
    pub mean_ms: f64,
    /// Share of the mails that waited over 10 s, 0 to 1.
    pub share_over_10s: f64,
    /// Share of the mails that waited over 60 s, 0 to 1.
    pub share_over_60s: f64,
    /// Share of the points of the series (of those in which mail was answered or waited) at whose end the oldest waiting mail was over 10 s
    /// old, 0 to 1.
    pub time_over_10s: f64,
}

/// What the fleet did and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fleet {
    /// Machines in service at the start.
    pub machines_at_start: u32,
    /// The most machines in service at one time.
    pub machines_peak: u32,
    /// Machines in service at the horizon.
    pub machines_at_end: u32,
    /// From the surge's begin (see [`crate::plan::Plan::surge_at_ms`]; else the first scaling up) to the first new machine in service.
    pub first_capacity_ms: Option<u64>,
    /// From there to the most machines in service for the first time.
    pub peak_capacity_ms: Option<u64>,
    /// From the peak backlog to the first time when no mail has waited longer than 10 s; none if that never came.
    pub drain_ms: Option<u64>,
    /// Machine-hours that are billed: from launch (pending) to the end of termination.
    pub machine_hours: f64,
    /// Share of the machines' time in service in which they had nothing to do, 0 to 1: slots, or CPU if that is what binds.
    pub idle_share: f64,
    /// Changes of the desired capacity upwards by a policy.
    pub scale_ups: u32,
    /// Changes of the desired capacity downwards by a policy.
    pub scale_downs: u32,
    /// Changes of direction among them, an hour.
    pub reversals_per_hour: f64,
    /// Machines launched beyond those of the start, for whatever reason.
    pub launches: u32,
    /// Machines that a fault killed.
    pub killed: u32,
}

/// Ten seconds of the run: counts and sums of them, gauges at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// When it begins, in milliseconds.
    pub at_ms: u64,
    /// Mails that arrived.
    pub arrived: u32,
    /// Mails answered.
    pub answered: u32,
    /// Unanswered mails (in the queue and in hand) at the end.
    pub backlog: u64,
    /// Machines in service at the end.
    pub in_service: u32,
    /// Machines that boot, at the end.
    pub pending: u32,
    /// Machines that drain, at the end.
    pub draining: u32,
    /// Desired capacity of the group at the end.
    pub desired: u32,
    /// Age of the oldest mail in the queue at the end, in milliseconds.
    pub oldest_ms: u64,
    /// Half of the mails answered in it waited at most so long, in milliseconds; none if none was answered.
    pub wait_p50_ms: Option<u64>,
    /// 99 of 100.
    pub wait_p99_ms: Option<u64>,
    /// Share of the machines' capacity that worked, 0 to 1.
    pub busy: f64,
    /// Refusals of SES.
    pub throttled: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// Of what kind, for a picture's marks.
    pub kind: EventKind,
    /// What, in words: `ProcessingTimeHigh: OK -> ALARM`, `StepUp: 2 -> 6`.
    pub text: String,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An alarm changed its state.
    Alarm,
    /// A policy raised the desired capacity.
    ScaleUp,
    /// A policy lowered it.
    ScaleDown,
    /// A machine came into service.
    InService,
    /// A machine left, drained or killed.
    Terminated,
    /// A fault of the plan began or ended.
    Fault,
}
