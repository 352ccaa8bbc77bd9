//! The last hours as people look at them: a line for each series that shows its course, and a table of the newest times.
//! Pure: figures in, text out. What nobody measured is a blank, never a zero; a terminal that is too narrow for all columns
//! gets those that matter most.

use comfy_table::CellAlignment;

use crate::table::{age, millis, table_for, time_of_day};

/// Cells of a course at most: more tell nothing more.
const COURSE_MAX: usize = 60;
/// Cells of a course where nobody knows how wide the terminal is.
const COURSE_CELLS: usize = 40;
/// What the line of a course needs beside it: its name, and its largest.
const BESIDE: usize = 32;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A time of the table: a minute of a worker, some minutes of a fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Span {
    /// Its first second, since 1970.
    pub(super) at_s: u64,
    /// Whether it goes on.
    pub(super) is_open: bool,
    /// A minute.
    pub(super) received: Option<f64>,
    /// A minute.
    pub(super) answered: Option<f64>,
    /// Replies a minute.
    pub(super) sent: Option<f64>,
    /// Of `processing_time`, in milliseconds.
    pub(super) percentiles: [Option<f64>; 3],
    /// 0 to 1.
    pub(super) busy: Option<f64>,
    /// The oldest waiting message's age, in seconds.
    pub(super) oldest_s: Option<f64>,
    /// Waiting messages.
    pub(super) depth: Option<f64>,
    pub(super) workers: Option<f64>,
}

/// One column: its head, its rank (1 is kept longest), its cell.
type Column = (&'static str, u8, fn(&Span) -> Option<String>);

const COLUMNS: [Column; 11] = [
    ("UTC", 1, |span| Some(format!("{}{}", time_of_day(span.at_s), if span.is_open { "…" } else { "" }))),
    ("received/min", 9, |span| span.received.map(rate)),
    ("answered/min", 2, |span| span.answered.map(rate)),
    ("sent/min", 10, |span| span.sent.map(rate)),
    ("p50", 5, |span| span.percentiles[0].map(millis)),
    ("p95", 3, |span| span.percentiles[1].map(millis)),
    ("p99", 6, |span| span.percentiles[2].map(millis)),
    ("busy", 4, |span| span.busy.map(percent)),
    ("oldest", 7, |span| span.oldest_s.map(|seconds| age(whole(seconds)))),
    ("waiting", 8, |span| span.depth.map(|depth| format!("{depth:.0}"))),
    ("workers", 11, |span| span.workers.map(|workers| format!("{workers:.0}"))),
];

/// A number a minute.
pub(super) fn rate(value: f64) -> String {
    if value > 0.0 && value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A fraction.
pub(super) fn percent(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds that people read: below zero is zero, too much is the most")]
fn whole(seconds: f64) -> u64 {
    seconds.round() as u64
}

/// The table of these times, in their order; columns of which nothing is known, or for which there is no room, are left out.
pub(super) fn table(spans: &[Span], width: Option<u16>) -> String {
    let mut chosen: Vec<(usize, Vec<String>)> = Vec::new();
    let mut by_rank: Vec<usize> = (0..COLUMNS.len()).collect();
    by_rank.sort_by_key(|index| COLUMNS[*index].1);
    let mut room = usize::from(width.unwrap_or(u16::MAX));
    for index in by_rank {
        let (head, _, cell) = COLUMNS[index];
        let cells: Vec<Option<String>> = spans.iter().map(cell).collect();
        let cells_max = cells.iter().flatten().map(|cell| cell.chars().count()).max();
        let Some(cells_max) = cells_max else { continue };
        // A blank at each side, and the line between.
        let needs = cells_max.max(head.len()) + 3;
        if needs > room {
            break;
        }
        room -= needs;
        chosen.push((index, cells.into_iter().map(Option::unwrap_or_default).collect()));
    }
    chosen.sort_by_key(|(index, _)| *index);
    let heads: Vec<_> = chosen.iter().map(|(index, _)| COLUMNS[*index].0).collect();
    let mut rows = table_for(width, &heads);
    for row in 0..spans.len() {
        rows.add_row(chosen.iter().map(|(_, cells)| cells[row].clone()));
    }
    for column in rows.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{rows}\n")
}

/// A line that shows a series' course, oldest first, against its largest, which `say` says. Empty if nothing is known.
pub(super) fn course(name: &str, values: &[Option<f64>], width: Option<u16>, say: impl Fn(f64) -> String) -> String {
    let Some(largest) = values.iter().flatten().copied().reduce(f64::max) else { return String::new() };
    let cells = width.map_or(COURSE_CELLS, |width| usize::from(width).saturating_sub(BESIDE)).clamp(8, COURSE_MAX);
    let each = values.len().div_ceil(cells);
    let bar = |some: &[Option<f64>]| {
        let Some(value) = some.iter().flatten().copied().reduce(f64::max) else { return ' ' };
        let step = BARS.iter().zip(1_u8..).find(|(_, number)| largest <= 0.0 || value <= largest * f64::from(*number) / 8.0);
        step.map_or('█', |(bar, _)| *bar)
    };
    let bars: String = values.chunks(each).map(bar).collect();
    format!("{name:<9} {bars} up to {}\n", say(largest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    fn span() -> Span {
        Span {
            at_s: 1_790_000_100,
            answered: Some(1_234.0),
            percentiles: [Some(80.0), Some(900.0), Some(12_000.0)],
            busy: Some(0.456),
            oldest_s: Some(3.2),
            depth: Some(17.0),
            ..Span::default()
        }
    }

    fn heads(width: Option<u16>) -> Vec<String> {
        table(&[span(), Span { is_open: true, ..Span::default() }], width).lines().next().unwrap().split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn what_nobody_measured_has_no_column_and_what_is_blank_is_no_zero() {
        assert_eq!(heads(None), ["UTC", "answered/min", "p50", "p95", "p99", "busy", "oldest", "waiting"]);
        let text = table(&[span(), Span { is_open: true, ..Span::default() }], None);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[2..], ["14:15 1234 80 ms 900 ms 12 s 46 % 3 s 17", "00:00…"]);
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most_and_no_line_is_longer() {
        assert_eq!(heads(Some(40)), ["UTC", "answered/min", "p95", "busy"]);
        assert_eq!(heads(Some(24)), ["UTC", "answered/min"]);
        for width in 8..120 {
            for line in table(&[span(), span()], Some(width)).lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn a_course_rises_with_its_figures_and_leaves_gaps_open() {
        let values = [Some(0.0), Some(1.0), None, Some(8.0), Some(4.0)];
        assert_eq!(course("answered", &values, None, rate), "answered  ▁▁ █▄ up to 8.0\n");
        assert_eq!(course("answered", &[None, None], None, rate), "");
        assert_eq!(course("busy", &[Some(0.0)], None, percent), "busy      ▁ up to 0 %\n");
        let many: Vec<_> = (0..360).map(|number| Some(f64::from(number))).collect();
        for width in [40, 80, 200] {
            let line = course("answered", &many, Some(width), rate);
            assert!(line.trim_end().chars().count() <= usize::from(width) && line.contains('▁') && line.contains('█'), "{line}");
        }
    }
}
