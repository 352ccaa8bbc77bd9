//! Gathers what a run finds, and makes the [`Run`] of it at the end.

use crate::{
    histogram::Histogram,
    plan::Plan,
    run::{Event, EventKind, Fleet, Mail, POINT_MS, Point, Run, Wait},
};

/// More waiting than this is bad: what the report counts, in milliseconds.
const LONG_MS: u64 = 10_000;
/// And more than this is very bad.
const VERY_LONG_MS: u64 = 60_000;
const HOUR_MS: f64 = 3_600_000.0;

/// What was found until now.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) mail: Mail,
    pub(crate) waits: Histogram,
    pub(crate) queue_waits: Histogram,
    /// The waits of this point of the series.
    point_waits: Histogram,
    point: Point,
    series: Vec<Point>,
    events: Vec<Event>,
    fleet: Fleet,
    /// Directions of the scalings, up is true.
    directions: Vec<bool>,
    first_up_ms: Option<u64>,
    /// Times at which machines came into service, with how many there were then, and whether it is a new one.
    arrivals: Vec<(u64, u32)>,
    /// Machine-milliseconds in service, and those of them in which it worked.
    in_service_ms: f64,
    worked_ms: f64,
}

/// The gauges at a point's end.
pub(crate) struct Gauges {
    pub(crate) backlog: u64,
    pub(crate) in_service: u32,
    pub(crate) pending: u32,
    pub(crate) draining: u32,
    pub(crate) desired: u32,
    pub(crate) oldest_ms: u64,
    /// Sum over machines of the shares of the point that they were in service, and that they worked.
    pub(crate) machines: f64,
    pub(crate) worked: f64,
}

impl Recorder {
    /// A run that begins with so many machines in service.
    pub(crate) fn new(machines: u32) -> Recorder {
        let fleet = Fleet { machines_at_start: machines, machines_peak: machines, ..Fleet::default() };
        Recorder { fleet, ..Recorder::default() }
    }

    /// Mails that arrived and are neither answered nor parked.
    pub(crate) fn backlog(&self) -> u64 {
        self.mail.arrived - self.mail.answered - self.mail.parked
    }

    pub(crate) fn arrived(&mut self, now_ms: u64) {
        self.mail.arrived += 1;
        self.point.arrived += 1;
        let backlog = self.backlog();
        if backlog > self.mail.peak_backlog {
            (self.mail.peak_backlog, self.mail.peak_backlog_at_ms) = (backlog, now_ms);
        }
    }

    pub(crate) fn answered(&mut self, wait_ms: u64) {
        self.mail.answered += 1;
        self.point.answered += 1;
        self.waits.add(wait_ms);
        self.point_waits.add(wait_ms);
    }

    pub(crate) fn throttled(&mut self) {
        self.mail.throttled += 1;
        self.point.throttled += 1;
    }

    pub(crate) fn event(&mut self, at_ms: u64, kind: EventKind, text: String) {
        self.events.push(Event { at_ms, kind, text });
    }

    /// The desired capacity changed by a policy.
    pub(crate) fn scaled(&mut self, now_ms: u64, is_up: bool, text: String) {
        self.directions.push(is_up);
        if is_up {
            self.fleet.scale_ups += 1;
            self.first_up_ms.get_or_insert(now_ms);
        } else {
            self.fleet.scale_downs += 1;
        }
        self.event(now_ms, if is_up { EventKind::ScaleUp } else { EventKind::ScaleDown }, text);
    }

    pub(crate) fn launched(&mut self) {
        self.fleet.launches += 1;
    }

    pub(crate) fn killed(&mut self) {
        self.fleet.killed += 1;
    }

    /// A machine came into service; now there are `in_service`.
    pub(crate) fn in_service(&mut self, now_ms: u64, in_service: u32) {
        self.fleet.machines_peak = self.fleet.machines_peak.max(in_service);
        self.arrivals.push((now_ms, in_service));
        self.event(now_ms, EventKind::InService, format!("a machine takes mail: {in_service} in service"));
    }

    /// Ends a point of the series at `now_ms`.
    pub(crate) fn end_point(&mut self, now_ms: u64, gauges: &Gauges) {
        let (in_service_ms, worked_ms) = (gauges.machines * POINT_MS as f64, gauges.worked * POINT_MS as f64);
        self.in_service_ms += in_service_ms;
        self.worked_ms += worked_ms;
        self.series.push(Point {
            at_ms: now_ms.saturating_sub(POINT_MS),
            backlog: gauges.backlog,
            in_service: gauges.in_service,
            pending: gauges.pending,
            draining: gauges.draining,
            desired: gauges.desired,
            oldest_ms: gauges.oldest_ms,
            wait_p50_ms: self.point_waits.quantile(0.5),
            wait_p99_ms: self.point_waits.quantile(0.99),
            busy: if in_service_ms > 0.0 { worked_ms / in_service_ms } else { 0.0 },
            ..self.point
        });
        self.point = Point::default();
        self.point_waits.clear();
    }

    /// The run. `unanswered` are the ages of the mails that are there and have no answer; `billed_ms` are machine-milliseconds.
    pub(crate) fn finish(mut self, plan: &Plan, unanswered: impl Iterator<Item = u64>, billed_ms: f64) -> Run {
        for age_ms in unanswered {
            self.mail.waiting += 1;
            self.waits.add(age_ms);
        }
        self.mail.lost = self.backlog() - self.mail.waiting.min(self.backlog());
        let base_ms = plan.surge_at_ms.or(self.first_up_ms);
        let after = |at_ms: u64| base_ms.and_then(|base| at_ms.checked_sub(base));
        self.fleet.first_capacity_ms = self.arrivals.iter().find_map(|(at_ms, _)| after(*at_ms));
        let peak = self.fleet.machines_peak;
        self.fleet.peak_capacity_ms = if peak > self.fleet.machines_at_start {
            self.arrivals.iter().find_map(|(at_ms, count)| (*count == peak).then(|| after(*at_ms))).flatten()
        } else {
            None
        };
        self.fleet.drain_ms = self
            .series
            .iter()
            .find(|point| point.at_ms + POINT_MS >= self.mail.peak_backlog_at_ms && point.oldest_ms <= LONG_MS)
            .map(|point| (point.at_ms + POINT_MS).saturating_sub(self.mail.peak_backlog_at_ms));
        self.fleet.machines_at_end = self.series.last().map_or(self.fleet.machines_at_start, |point| point.in_service);
        self.fleet.machine_hours = billed_ms / HOUR_MS;
        self.fleet.idle_share = if self.in_service_ms > 0.0 { 1.0 - self.worked_ms / self.in_service_ms } else { 0.0 };
        let reversals = self.directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
        self.fleet.reversals_per_hour = reversals as f64 * HOUR_MS / plan.horizon_ms.max(1) as f64;
        let with_mail = self.series.iter().filter(|point| point.answered > 0 || point.backlog > 0).count();
        let late = self.series.iter().filter(|point| point.oldest_ms > LONG_MS).count();
        let quantile = |share| self.waits.quantile(share).unwrap_or(0);
        let wait = Wait {
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: self.waits.max(),
            mean_ms: self.waits.mean(),
            share_over_10s: self.waits.share_over(LONG_MS),
            share_over_60s: self.waits.share_over(VERY_LONG_MS),
            time_over_10s: if with_mail == 0 { 0.0 } else { late as f64 / with_mail as f64 },
        };
        Run {
            seed: plan.seed,
            horizon_ms: plan.horizon_ms,
            mail: self.mail,
            wait,
            fleet: self.fleet,
            series: self.series,
            events: self.events,
            wait_histogram: self.waits,
            queue_wait_histogram: self.queue_waits,
        }
    }
}
