//! The picture of how cost grows: for each axis how many mails a second, and below it what a mail costs in CPU.
//!
//! It reads the JSON lines that `growth` prints; of several with one name and count it takes the median. Colours follow the
//! reader's choice of light or dark. A line that is none of ours is an error, with its text.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Context;

use crate::load::median;

/// A panel's place and size, in units of the picture.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 70.0;
const ACROSS: f64 = 370.0;
const DOWN: f64 = 240.0;
/// Lines across a panel.
const STEPS: usize = 4;

/// The axes: name in the figures, words below the panel.
const AXES: [(&str, &str); 3] = [("queued", "mails in the queue"), ("slots", "slots of one worker"), ("workers", "workers on one database")];
/// What is drawn of each.
const FIGURES: [(&str, &str); 2] = [("rate", "mails a second"), ("cpu", "CPU of workers and database for a mail, ms")];
/// The lines, in the order of their colours.
const SERIES: [(&str, &str); 5] =
    [("spool", "spool"), ("sqs", "SQS endpoint"), ("sqlite", "SQLite"), ("mariadb", "MariaDB"), ("postgres", "PostgreSQL")];

/// Values by name, then by count.
type Figures = BTreeMap<String, BTreeMap<u64, f64>>;

/// The picture of these figures, as SVG.
///
/// # Errors
/// A line that cannot be read.
pub(crate) fn draw(lines: &str) -> anyhow::Result<String> {
    let figures = read(lines)?;
    let mut svg = String::from(HEAD);
    for (row, (figure, title)) in FIGURES.iter().enumerate() {
        for (column, (axis, words)) in AXES.iter().enumerate() {
            let (left, top) = (LEFT + ACROSS * column as f64, TOP + DOWN * row as f64);
            panel(&mut svg, &figures, (axis, figure), (left, top));
            writeln!(svg, r#"  <text class="note" x="{}" y="{}" text-anchor="middle">{words}</text>"#, left + WIDTH / 2.0, top + HEIGHT + 34.0)?;
            if column == 0 {
                writeln!(svg, r#"  <text class="name" x="{left}" y="{}">{title}</text>"#, top - 10.0)?;
            }
        }
    }
    for (number, (_, words)) in SERIES.iter().enumerate() {
        let left = LEFT + 150.0 * number as f64;
        writeln!(svg, r#"  <path class="s{number}" d="M{left} 24h26"/><text class="name" x="{}" y="29">{words}</text>"#, left + 34.0)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn read(lines: &str) -> anyhow::Result<Figures> {
    let mut all: BTreeMap<(String, u64), Vec<f64>> = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let figure: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not a figure: {line}"))?;
        let name = figure["name"].as_str().with_context(|| format!("no name: {line}"))?;
        let (at, value) = figure["at"].as_u64().zip(figure["value"].as_f64()).with_context(|| format!("no numbers: {line}"))?;
        all.entry((name.to_owned(), at)).or_default().push(value);
    }
    let mut figures = Figures::new();
    for ((name, at), mut values) in all {
        // What the database does for a mail is part of the mail's cost.
        let name = name.replace("_database_cpu", "_cpu");
        *figures.entry(name).or_default().entry(at).or_default() += median(&mut values);
    }
    Ok(figures)
}

/// One panel: its frame, its scales, its lines.
fn panel(svg: &mut String, figures: &Figures, (axis, figure): (&str, &str), (left, top): (f64, f64)) {
    let series: Vec<(usize, &BTreeMap<u64, f64>)> =
        SERIES.iter().enumerate().filter_map(|(number, (word, _))| Some((number, figures.get(&format!("{axis}_{word}_{figure}"))?))).collect();
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let (at_max, value_max) = points().fold((1, 0.0_f64), |(at, value), point| (at.max(*point.0), value.max(*point.1)));
    let top_value = nice(value_max);
    let x = |at: u64| left + WIDTH * (at as f64).ln() / (at_max.max(2) as f64).ln();
    let y = |value: f64| top + HEIGHT * (1.0 - value / top_value);
    for step in 0..=STEPS {
        let value = top_value * step as f64 / STEPS as f64;
        let (height, label) = (y(value), short(value));
        let _ = writeln!(
            svg,
            r#"  <path class="grid" d="M{left} {height:.1}h{WIDTH}"/><text class="note" x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            left - 8.0,
            height + 4.0
        );
    }
    let mut counts: Vec<u64> = points().map(|(at, _)| *at).collect();
    counts.sort_unstable();
    counts.dedup();
    for at in counts {
        let label = short(at as f64);
        let _ = writeln!(svg, r#"  <text class="note" x="{:.1}" y="{}" text-anchor="middle">{label}</text>"#, x(at), top + HEIGHT + 16.0);
    }
    for (number, points) in series {
        let path: Vec<String> = points.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(svg, r#"  <path class="s{number}" d="M{}"/>"#, path.join("L"));
        for (at, value) in points {
            let _ = writeln!(svg, r#"  <circle class="s{number}" cx="{:.1}" cy="{:.1}" r="2.5"/>"#, x(*at), y(*value));
        }
    }
}

/// The next round number that divides into the steps well.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let rounds = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
    rounds.into_iter().map(|round| round * power).find(|round| *round >= value).unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", (value / 100.0).round() / 10.0),
        value => format!("{}", (value * 100.0).round() / 100.0),
    }
}

const HEAD: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1130 560" font-family="system-ui, sans-serif" font-size="14" role="img" aria-labelledby="t d">
  <title id="t">How the cost of a mail grows</title>
  <desc id="d">Six panels: mails a second, and CPU for a mail, along the mails in the queue, the slots of a worker, and the workers on one database. The numbers are in the tables beside this picture.</desc>
  <style>
    .name { fill: #16283a; font-weight: 600 } .note { fill: #46586a; font-size: 12px } .grid { stroke: #d5dde6; fill: none }
    path { fill: none; stroke-width: 2 } .grid { stroke-width: 1 }
    .s0 { stroke: #1f6fb2 } .s1 { stroke: #c2571a } .s2 { stroke: #2b7a3d } .s3 { stroke: #8a4fb0 } .s4 { stroke: #a38300 }
    circle.s0 { fill: #1f6fb2 } circle.s1 { fill: #c2571a } circle.s2 { fill: #2b7a3d } circle.s3 { fill: #8a4fb0 } circle.s4 { fill: #a38300 }
    @media (prefers-color-scheme: dark) {
      .name { fill: #eef3f8 } .note { fill: #b6c4d2 } .grid { stroke: #33424f }
      .s0 { stroke: #6fb3ea } .s1 { stroke: #f0925a } .s2 { stroke: #6fc483 } .s3 { stroke: #c79be6 } .s4 { stroke: #e0c24d }
      circle.s0 { fill: #6fb3ea } circle.s1 { fill: #f0925a } circle.s2 { fill: #6fc483 } circle.s3 { fill: #c79be6 } circle.s4 { fill: #e0c24d }
    }
  </style>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"name":"workers_mariadb_cpu","at":2,"value":0.5,"unit":"ms"}
{"name":"workers_mariadb_database_cpu","at":2,"value":0.25,"unit":"ms"}
{"name":"queued_spool_rate","at":1000,"value":900,"unit":"mails/s"}
{"name":"queued_spool_rate","at":1000,"value":1100,"unit":"mails/s"}
{"name":"queued_spool_rate","at":1000,"value":5000,"unit":"mails/s"}
"#;

    #[test]
    fn the_median_of_several_runs_is_drawn_and_a_databases_cpu_is_part_of_the_mails() {
        let figures = read(LINES).expect("figures");
        assert_eq!(figures["queued_spool_rate"][&1_000], 1_100.0);
        assert_eq!(figures["workers_mariadb_cpu"][&2], 0.75);
        let svg = draw(LINES).expect("drawn");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
    }

    #[test]
    fn what_is_no_figure_is_said() {
        let error = draw("{\"name\":\"x\"}").expect_err("no numbers");
        assert!(error.to_string().contains("no numbers"), "{error}");
        assert!(draw("nothing").is_err());
    }

    #[test]
    fn a_scale_ends_at_the_next_round_number() {
        for (value, end) in [(1_234.0, 1_600.0), (0.71, 0.8), (1_000.0, 1_000.0), (9.5, 10.0)] {
            assert!((nice(value) - end).abs() < 1e-9 * end, "{value}");
        }
    }
}
