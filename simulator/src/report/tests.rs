use super::*;
use crate::run::{Event, EventKind, Point};

/// A run of an hour with a hump of `peak` mails, which one may look at.
fn run(peak: u64) -> Run {
    let series = (0..360_u32)
        .map(|index| Point {
            at_ms: u64::from(index) * POINT_MS,
            arrived: if (60..120).contains(&index) { 1_000 } else { 50 },
            answered: if index == 5 { 0 } else { 200 },
            backlog: if index == 100 { peak } else { 10 },
            in_service: 2 + index / 120,
            pending: u32::from(index == 70) * 4,
            wait_p50_ms: (index != 5).then_some(800),
            wait_p99_ms: (index != 5).then_some(45_000),
            ..Point::default()
        })
        .collect();
    let event = |at_ms, kind, text: &str| Event { at_ms, kind, text: text.into() };
    let events = vec![
        event(700_000, EventKind::ScaleUp, "Up: 2 -> 6"),
        event(710_000, EventKind::Fault, "a machine dies & <nobody> minds"),
        event(3_000_000, EventKind::ScaleDown, "Down: 6 -> 5"),
    ];
    let mut run = Run { seed: 7, horizon_ms: 3_600_000, series, events, ..Run::default() };
    run.mail.arrived = 1_234_567;
    run.mail.peak_backlog = peak;
    run.mail.peak_backlog_at_ms = 1_000_000;
    run.wait.p99_ms = 45_000;
    run.wait.share_over_10s = 0.0004;
    run.fleet.first_capacity_ms = Some(200_000);
    run
}

fn report() -> Report {
    Report {
        title: "Twenty times & more".into(),
        facts: vec![("seed".into(), "7".into()), ("boot".into(), "90 s".into())],
        surge_at_ms: Some(600_000),
        cases: vec![Case { name: "faithful, the \"seed's\"".into(), run: run(49_500) }, Case { name: "recommended".into(), run: run(900) }],
    }
}

#[test]
fn times_counts_and_shares_read_well() {
    for (ms, text) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_040, "1.0 s"),
        (41_249, "41.2 s"),
        (119_949, "119.9 s"),
        (119_950, "2 min"),
        (121_000, "2 min 01 s"),
        (200_000, "3 min 20 s"),
        (7_199_499, "119 min 59 s"),
        (7_200_000, "2 h"),
        (7_500_000, "2 h 05 min"),
    ] {
        assert_eq!(duration(ms), text);
    }
    assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([percent(0.0), percent(0.0004), percent(0.0321), percent(1.0)], ["0 %", "< 0.1 %", "3.2 %", "100.0 %"]);
}

#[test]
fn the_table_has_a_figure_for_each_case() {
    let rows = report().rows();
    let row = |label: &str| rows.iter().find(|row| row.0 == label).map(|row| row.1.join(" | ")).expect("valid");
    assert_eq!(row("Mails arrived"), "1,234,567 | 1,234,567");
    assert_eq!(row("Peak backlog"), "49,500 (at 16 min 40 s) | 900 (at 16 min 40 s)");
    assert_eq!(row("Waited over 10 s"), "< 0.1 % | < 0.1 %");
    assert_eq!(row("To the first new machine"), "3 min 20 s | 3 min 20 s");
    assert_eq!(row("From the peak to no wait over 10 s"), "never | never");
}

#[test]
fn csv_has_a_line_for_each_case_and_point() {
    let csv = report().csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 360);
    let columns = lines[0].split(',').count();
    assert!(lines[361..].iter().all(|line| line.split(',').count() == columns));
    assert_eq!(lines[1], "\"faithful, the \"\"seed's\"\"\",0,5,20,10,2,0,0,0,0,0.8,45,0.0000,0");
    assert_eq!(lines[366], "recommended,50,5,0,10,2,0,0,0,0,,,0.0000,0", "nobody was answered, so nobody waited");
}

#[test]
fn json_has_what_is_needed_to_make_it_again() {
    let json: serde_json::Value = serde_json::from_str(&report().json().expect("valid")).expect("valid");
    assert_eq!(json["facts"][0][1], "7");
    assert_eq!(json["cases"][0]["run"]["seed"], 7);
    assert_eq!(json["cases"][1]["run"]["series"][5]["wait_p50_ms"], serde_json::Value::Null);
    assert_eq!(json["cases"][0]["run"]["events"][0]["kind"], "scale_up");
}

#[test]
fn the_picture_says_everything_in_words() {
    let svg = report().svg();
    for words in [
        "Twenty times &amp; more",
        "seed 7 · boot 90 s",
        "recommended",
        "wait p99 45 s · peak backlog 49,500",
        "mails a second",
        "seconds (log scale)",
        "arrives",
        "booting, on top",
        "99 of 100",
        "surge begins",
        "a machine dies &amp; &lt;nobody&gt; minds",
        "2 → 6",
        "49,500 mails, not drained",
        "time since the start",
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "a number that is none");
    assert!(!svg.contains("http://") || svg.matches("http://").count() == 1, "nothing from outside but the name of SVG");
}

#[test]
fn both_columns_have_the_same_scale() {
    let svg = report().svg();
    assert_eq!(svg.matches(">50,000</text>").count(), 2);
}

#[test]
fn a_line_breaks_where_nothing_was_answered() {
    let mut report = report();
    report.cases.truncate(1);
    let svg = report.svg();
    let waits = svg.rsplit("<path class=\"one\" d=\"M").next().expect("valid");
    assert!(waits.split("\"/>").next().expect("valid").contains('M'), "two parts of a line");
}

#[test]
fn an_empty_run_is_a_picture_too() {
    let empty = Report { title: String::new(), facts: Vec::new(), surge_at_ms: None, cases: vec![Case { name: "x".into(), run: Run::default() }] };
    for text in [empty.svg(), empty.html(), Report { cases: Vec::new(), ..empty }.svg()] {
        assert!(!text.contains("NaN") && text.contains("</svg>"));
    }
}

#[test]
fn the_page_has_picture_table_and_facts() {
    let html = report().html();
    for words in ["<svg ", "<th scope=\"row\">Peak backlog</th><td>49,500", "<dt>boot</dt><dd>90 s</dd>", "<th scope=\"col\">recommended</th>"] {
        assert!(html.contains(words), "{words}");
    }
}
