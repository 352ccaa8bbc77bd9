//! The picture: for each case a column, for each question a panel (how much came, what waited, who worked, how long senders waited), all
//! over the same time and with the same scales across, so that two columns can be compared by eye.
//!
//! Written by hand, because it must explain itself in a file of its own: light and dark by the reader's preference, light on paper,
//! lines that differ without colour. Positions are in the SVG's own units.

mod panel;
mod scale;

use std::fmt::Write as _;

use super::{Case, Report, count, duration, escape};
use crate::run::EventKind;
use panel::{Panel, panels};
use scale::{Axis, clock};

/// Left of a column's panels: the numbers and the unit.
const LEFT: f64 = 74.0;
const PANEL_WIDTH: f64 = 480.0;
/// A column with the room to its right.
const COLUMN: f64 = LEFT + PANEL_WIDTH + 22.0;
const PANEL_HEIGHT: f64 = 128.0;
/// From a panel's top to the next one's: with the heading and the legend between.
const PANEL_STEP: f64 = PANEL_HEIGHT + 54.0;
/// Above the first panel: title, facts, the column's head.
const TOP: f64 = 148.0;
/// Of it, the title's.
const TITLE_HEIGHT: f64 = 34.0;
/// Under the last panel: the time's numbers and name.
const BOTTOM: f64 = 58.0;
/// Rows of words for the lines through the panels; with more the words would hide what they mark.
const MARK_ROWS: usize = 3;
/// Marks nearer to each other than this share their label's place: only the first has one.
const LABEL_WIDTH: f64 = 46.0;

const STYLE: &str = "
.surge { --paper: #ffffff; --ink: #1b1f24; --faint: #5b6470; --grid: #dfe3e8; --one: #1a5fa8; --one-soft: #cfe0f3; --two: #b34700; --two-soft: #f7dcc6;
  --mark: #7a1f7a; font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 13px; }
@media (prefers-color-scheme: dark) { .surge { --paper: #14181d; --ink: #e4e8ee; --faint: #a4aeba; --grid: #2e353d; --one: #7ab8ff; --one-soft: #1f3a57;
  --two: #ffab66; --two-soft: #553318; --mark: #e3a0e3; } }
@media print { .surge { --paper: #ffffff; --ink: #000000; --faint: #444444; --grid: #cccccc; --one: #1a5fa8; --one-soft: #cfe0f3; --two: #b34700; --two-soft: #f7dcc6;
  --mark: #7a1f7a; print-color-adjust: exact; } }
.surge .paper { fill: var(--paper); }
.surge text { fill: var(--ink); }
.surge .title { font-size: 18px; font-weight: 600; }
.surge .head { font-size: 16px; font-weight: 600; }
.surge .faint { fill: var(--faint); }
.surge .name { font-weight: 600; }
.surge .grid { stroke: var(--grid); stroke-width: 1; fill: none; }
.surge .frame { stroke: var(--faint); stroke-width: 1; fill: none; }
.surge .one, .surge .two { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.surge .one { stroke: var(--one); }
.surge .two { stroke: var(--two); stroke-dasharray: 5 3; }
.surge .one-area { fill: var(--one-soft); stroke: none; }
.surge .two-area { fill: var(--two-soft); stroke: none; }
.surge .limit { stroke: var(--faint); stroke-width: 1.2; stroke-dasharray: 2 4; fill: none; }
.surge .mark { stroke: var(--mark); stroke-width: 1.4; stroke-dasharray: 7 3 2 3; fill: none; }
.surge .sign { fill: var(--mark); }
.surge .sign-text { fill: var(--mark); font-size: 11.5px; }
.surge .limit-text { fill: var(--faint); font-size: 11.5px; }
.surge .sign-text, .surge .limit-text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
";

/// The whole picture; without its title in a page that has one.
pub(super) fn svg(report: &Report, has_title: bool) -> String {
    let panels = panels(&report.cases);
    let columns = report.cases.len().max(1) as f64;
    let (width, height) = (COLUMN * columns + 6.0, TOP + PANEL_STEP * panels.len() as f64 - 54.0 + BOTTOM);
    let description: Vec<String> = report.cases.iter().map(|case| format!("{}: {}", case.name, summary(case).join(", "))).collect();
    // In a page the title is the page's own, and the picture begins under it.
    let start = if has_title { 0.0 } else { TITLE_HEIGHT };
    let title = escape(&report.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"surge\" viewBox=\"0 {start} {width:.0} {:.0}\" width=\"100%\" style=\"max-width:{width:.0}px\" role=\"img\" \
         aria-labelledby=\"surge-title surge-desc\">\n<title id=\"surge-title\">{title}</title>\n<desc id=\"surge-desc\">{}.</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n",
        height - start,
        escape(&description.join(". ")),
    );
    if has_title {
        let _ = writeln!(svg, "<text class=\"title\" x=\"10\" y=\"28\">{title}</text>");
    }
    let facts: Vec<String> = report.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    for (index, line) in lines(&facts, (width / 6.6) as usize).into_iter().take(2).enumerate() {
        let _ = writeln!(svg, "<text class=\"faint\" x=\"10\" y=\"{}\">{}</text>", 50 + 17 * index, escape(&line));
    }
    for (index, case) in report.cases.iter().enumerate() {
        column(&mut svg, report, case, &panels, COLUMN * index as f64 + LEFT);
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a column's head says: the figures by which one chooses.
fn summary(case: &Case) -> [String; 4] {
    let run = &case.run;
    [
        format!("wait p99 {}", duration(run.wait.p99_ms)),
        format!("peak backlog {}", count(run.mail.peak_backlog)),
        format!("{:.1} machine-hours", run.fleet.machine_hours),
        format!("{} lost", count(run.mail.lost)),
    ]
}

fn column(svg: &mut String, report: &Report, case: &Case, panels: &[Panel], left: f64) {
    let horizon = report.cases.iter().map(|case| case.run.horizon_ms).max().unwrap_or(1).max(1);
    let time = Axis::time(horizon, left, left + PANEL_WIDTH);
    let _ = writeln!(
        svg,
        "<g>\n<text class=\"head\" x=\"{left}\" y=\"96\">{}</text>\n<text x=\"{left}\" y=\"114\">{}</text>",
        escape(&case.name),
        summary(case).join(" · ")
    );
    for (index, panel) in panels.iter().enumerate() {
        let top = TOP + PANEL_STEP * index as f64;
        panel.draw(svg, case, &time, top);
        for at in &time.ticks {
            // The first stands beside the upright axis's 0.
            let (x, anchor) = (time.at(*at), if *at == 0.0 { "start" } else { "middle" });
            let y = top + PANEL_HEIGHT + 16.0;
            let _ = writeln!(svg, "<text class=\"faint\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", clock(*at as u64));
        }
    }
    let bottom = TOP + PANEL_STEP * (panels.len() - 1) as f64 + PANEL_HEIGHT;
    let _ = writeln!(
        svg,
        "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">time since the start, hours:minutes</text>",
        left + PANEL_WIDTH / 2.0,
        bottom + 36.0
    );
    marks(svg, report, case, panels.len(), &time);
    svg.push_str("</g>\n");
}

/// The surge's begin and the faults, in all panels; their words in the first.
fn marks(svg: &mut String, report: &Report, case: &Case, panels: usize, time: &Axis) {
    let faults = case.run.events.iter().filter(|event| event.kind == EventKind::Fault).map(|event| (event.at_ms, event.text.as_str()));
    let mut marks: Vec<(u64, &str)> = report.surge_at_ms.map(|at| (at, "surge begins")).into_iter().chain(faults).collect();
    marks.sort_by_key(|mark| mark.0);
    // From where each row of words is free.
    let mut free = [0.0; MARK_ROWS];
    for (at, text) in marks {
        let x = time.at(at as f64);
        let path: String = (0..panels).map(|panel| TOP + PANEL_STEP * panel as f64).map(|top| format!("M{x:.1} {top:.1}v{PANEL_HEIGHT}")).collect();
        let _ = writeln!(svg, "<path class=\"mark\" d=\"{path}\"><title>{} {}</title></path>", clock(at), escape(text));
        // Near the right end the words stand to the left of their line.
        let length = text.chars().count() as f64 * 6.6;
        let is_late = x + length > time.to;
        let begin = if is_late { x - length - 4.0 } else { x + 4.0 };
        let Some(row) = free.iter().position(|free| *free <= begin) else { continue };
        free[row] = begin + length + 8.0;
        let (anchor, x) = if is_late { ("end", x - 4.0) } else { ("start", x + 4.0) };
        let y = TOP + 13.0 + 14.0 * row as f64;
        let _ = writeln!(svg, "<text class=\"sign-text\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
    }
}

/// Facts in lines of at most so many characters, with a dot between.
fn lines(facts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + fact.chars().count() + 3 <= width => {
                line.push_str(" · ");
                line.push_str(fact);
            }
            _ => lines.push(fact.clone()),
        }
    }
    lines
}
