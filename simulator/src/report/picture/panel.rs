//! One panel: heading, legend, numbers, and the lines of its question.

use std::fmt::Write as _;

use super::{
    LABEL_WIDTH, LEFT, PANEL_HEIGHT, PANEL_WIDTH,
    scale::{Axis, clock, number},
};
use crate::{
    report::{Case, count, duration, escape},
    run::{EventKind, POINT_MS, Point},
};

/// Points of a line, at most: more than that no screen shows.
const POINTS_MAX: usize = 480;
/// The lower end of the waits, in seconds.
const WAIT_MIN: f64 = 0.1;

/// A question, with the same upright axis for all cases.
pub(super) struct Panel {
    question: Question,
    name: &'static str,
    unit: &'static str,
    /// Words of the legend, in the order of the styles `one` and `two`.
    legend: &'static [(&'static str, &'static str)],
    peak: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Question {
    Mail,
    Backlog,
    Machines,
    Wait,
}

/// Several points of the series as one of the picture.
struct Bin {
    at_ms: f64,
    arrived: f64,
    answered: f64,
    backlog: f64,
    in_service: f64,
    pending: f64,
    p50: Option<f64>,
    p99: Option<f64>,
}

/// All panels, with axes that hold every case.
pub(super) fn panels(cases: &[Case]) -> Vec<Panel> {
    let bins: Vec<Bin> = cases.iter().flat_map(|case| bins(&case.run.series)).collect();
    let peak = |of: fn(&Bin) -> f64| bins.iter().map(of).fold(0.0, f64::max);
    vec![
        Panel {
            question: Question::Mail,
            name: "Mail",
            unit: "mails a second",
            legend: &[("one", "arrives"), ("two", "answered")],
            peak: peak(|bin| bin.arrived.max(bin.answered)),
        },
        Panel {
            question: Question::Backlog,
            name: "Backlog",
            unit: "mails",
            legend: &[("one", "not yet answered, in the queue and in hand")],
            peak: peak(|bin| bin.backlog),
        },
        Panel {
            question: Question::Machines,
            name: "Machines",
            unit: "machines",
            legend: &[("one", "in service"), ("two", "booting, on top"), ("sign", "▲ scaled up ▼ down")],
            peak: peak(|bin| bin.in_service + bin.pending) * 1.15,
        },
        Panel {
            question: Question::Wait,
            name: "Wait for the reply",
            unit: "seconds (log scale)",
            legend: &[("one", "half of the mails"), ("two", "99 of 100")],
            // Both limits are always there.
            peak: peak(|bin| bin.p99.unwrap_or(0.0)).max(60.0),
        },
    ]
}

fn bins(series: &[Point]) -> Vec<Bin> {
    let size = series.len().div_ceil(POINTS_MAX).max(1);
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    series
        .chunks(size)
        .map(|points| {
            let span = seconds(POINT_MS * points.len() as u64);
            let last = &points[points.len() - 1];
            Bin {
                at_ms: points[0].at_ms as f64,
                arrived: points.iter().map(|point| f64::from(point.arrived)).sum::<f64>() / span,
                answered: points.iter().map(|point| f64::from(point.answered)).sum::<f64>() / span,
                backlog: points.iter().map(|point| point.backlog).max().unwrap_or(0) as f64,
                in_service: last.in_service.into(),
                pending: last.pending.into(),
                // The worst of what is drawn as one.
                p50: points.iter().filter_map(|point| point.wait_p50_ms).max().map(seconds),
                p99: points.iter().filter_map(|point| point.wait_p99_ms).max().map(seconds),
            }
        })
        .collect()
}

impl Panel {
    /// Draws a case's panel with its upper end at `top`.
    pub(super) fn draw(&self, svg: &mut String, case: &Case, time: &Axis, top: f64) {
        let bottom = top + PANEL_HEIGHT;
        let axis = match self.question {
            Question::Wait => Axis::logarithmic(WAIT_MIN, self.peak, bottom, top),
            _ => Axis::linear(self.peak, bottom, top),
        };
        self.heading(svg, time.from, top);
        for tick in &axis.ticks {
            let y = axis.at(*tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/><text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                time.from,
                time.to,
                time.from - 6.0,
                y + 4.5,
                number(*tick)
            );
        }
        for tick in &time.ticks {
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{:.1} {top:.1}V{bottom:.1}\"/>", time.at(*tick));
        }
        let bins = bins(&case.run.series);
        match self.question {
            Question::Mail => {
                area(svg, "one-area", &bins, time, bottom, |bin| axis.at(bin.arrived));
                line(svg, "one", &bins, time, |bin| Some(axis.at(bin.arrived)));
                line(svg, "two", &bins, time, |bin| Some(axis.at(bin.answered)));
            }
            Question::Backlog => {
                area(svg, "one-area", &bins, time, bottom, |bin| axis.at(bin.backlog));
                line(svg, "one", &bins, time, |bin| Some(axis.at(bin.backlog)));
                peak(svg, case, time, &axis);
            }
            Question::Machines => {
                area(svg, "two-area", &bins, time, bottom, |bin| axis.at(bin.in_service + bin.pending));
                area(svg, "one-area", &bins, time, bottom, |bin| axis.at(bin.in_service));
                line(svg, "two", &bins, time, |bin| Some(axis.at(bin.in_service + bin.pending)));
                line(svg, "one", &bins, time, |bin| Some(axis.at(bin.in_service)));
                actions(svg, case, time, top);
            }
            Question::Wait => {
                for (limit, name) in [(10.0, "10 s"), (60.0, "60 s")] {
                    let y = axis.at(limit);
                    let _ = writeln!(
                        svg,
                        "<path class=\"limit\" d=\"M{:.1} {y:.1}H{:.1}\"/><text class=\"limit-text\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                        time.from,
                        time.to,
                        time.to - 3.0,
                        y + 12.0
                    );
                }
                line(svg, "one", &bins, time, |bin| bin.p50.map(|seconds| axis.at(seconds)));
                line(svg, "two", &bins, time, |bin| bin.p99.map(|seconds| axis.at(seconds)));
            }
        }
        let _ = writeln!(svg, "<rect class=\"frame\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{PANEL_WIDTH}\" height=\"{PANEL_HEIGHT}\"/>", time.from);
    }

    fn heading(&self, svg: &mut String, left: f64, top: f64) {
        let y = top - 8.0;
        let _ = writeln!(svg, "<text class=\"name\" x=\"{left:.1}\" y=\"{y:.1}\">{}</text>", self.name);
        let middle = top + PANEL_HEIGHT / 2.0;
        let x = left - LEFT + 14.0;
        let _ = writeln!(
            svg,
            "<text class=\"faint\" transform=\"translate({x:.1} {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.unit
        );
        // Ends about at the right: how wide words are is known to the browser only.
        let width: f64 = self.legend.iter().map(|(style, words)| sample(style) + words.chars().count() as f64 * 6.9 + 14.0).sum();
        let mut x = left + PANEL_WIDTH - width + 14.0;
        for (style, words) in self.legend {
            let is_line = sample(style) > 0.0;
            if is_line {
                let _ = writeln!(svg, "<path class=\"{style}\" d=\"M{x:.1} {:.1}h26\"/>", y - 4.0);
            }
            x += sample(style);
            let class = if is_line { "legend" } else { "sign-text" };
            let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
            x += words.chars().count() as f64 * 6.9 + 14.0;
        }
    }
}

/// How much room a legend's piece of line takes, with what is free after it; signs have none.
fn sample(style: &str) -> f64 {
    if style == "sign" { 0.0 } else { 32.0 }
}

/// A line that breaks where there is no value.
fn line(svg: &mut String, style: &str, bins: &[Bin], time: &Axis, of: impl Fn(&Bin) -> Option<f64>) {
    let mut path = String::new();
    let mut is_down = false;
    for bin in bins {
        match of(bin) {
            Some(y) => {
                let _ = write!(path, "{}{:.1} {y:.1}", if is_down { 'L' } else { 'M' }, time.at(bin.at_ms));
                is_down = true;
            }
            None => is_down = false,
        }
    }
    if !path.is_empty() {
        let _ = writeln!(svg, "<path class=\"{style}\" d=\"{path}\"/>");
    }
}

/// What lies under a line.
fn area(svg: &mut String, style: &str, bins: &[Bin], time: &Axis, bottom: f64, of: impl Fn(&Bin) -> f64) {
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else { return };
    let mut path = format!("M{:.1} {bottom:.1}", time.at(first.at_ms));
    for bin in bins {
        let _ = write!(path, "L{:.1} {:.1}", time.at(bin.at_ms), of(bin));
    }
    let _ = writeln!(svg, "<path class=\"{style}\" d=\"{path}L{:.1} {bottom:.1}Z\"/>", time.at(last.at_ms));
}

/// The peak of the backlog, in words.
fn peak(svg: &mut String, case: &Case, time: &Axis, axis: &Axis) {
    let mail = &case.run.mail;
    if mail.peak_backlog == 0 {
        return;
    }
    let (x, y) = (time.at(mail.peak_backlog_at_ms as f64), axis.at(mail.peak_backlog as f64));
    let is_late = x > time.from + PANEL_WIDTH * 0.6;
    let (anchor, nudge) = if is_late { ("end", -8.0) } else { ("start", 8.0) };
    let drained = case.run.fleet.drain_ms.map_or_else(|| "not drained".into(), |ms| format!("drained in {}", duration(ms)));
    let _ = writeln!(
        svg,
        "<circle class=\"sign\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"/><text class=\"sign-text\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{} mails, {drained}</text>",
        x + nudge,
        y + 11.0,
        count(mail.peak_backlog),
    );
}

/// Who scaled when: a sign for each, words for those with room.
fn actions(svg: &mut String, case: &Case, time: &Axis, top: f64) {
    let mut free = f64::MIN;
    for event in &case.run.events {
        let shape = match event.kind {
            EventKind::ScaleUp => "l-4 7h8Z",
            EventKind::ScaleDown => "m-4 0h8l-4 7Z",
            _ => continue,
        };
        let x = time.at(event.at_ms as f64);
        let _ = writeln!(
            svg,
            "<path class=\"sign\" d=\"M{x:.1} {:.1}{shape}\"><title>{} {}</title></path>",
            top + 4.0,
            clock(event.at_ms),
            escape(&event.text)
        );
        // `Policy: 2 -> 6` has room for its numbers only.
        let words = event.text.rsplit(": ").next().unwrap_or_default().replace("->", "→");
        if event.kind == EventKind::ScaleUp && x >= free && x + LABEL_WIDTH < time.to {
            let _ = writeln!(svg, "<text class=\"sign-text\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 6.0, top + 22.0, escape(&words));
            free = x + LABEL_WIDTH;
        }
    }
}
