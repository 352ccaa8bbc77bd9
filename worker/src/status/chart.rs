//! Line charts of the last hours as inline SVG: titles, axes with units, labels beside the lines, and a description in words.
//!
//! A line is told from the others by how it is drawn and by its name at its end; colour only helps. Where there is no value
//! the line is broken, and a value without neighbours is a dot. Nothing here fails: no values make an empty chart that says so.

use super::{
    text::{self, escape},
    view::Minute,
};

/// The size of a drawing, in its own units; about as many pixels on a phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// What is free on the right, and what each letter of the longest name takes besides, whatever the font.
const RIGHT: f64 = 16.0;
const LETTER_WIDTH: f64 = 7.4;
/// The least distance of two names.
const NAME_HEIGHT: f64 = 13.0;
/// How long the time on a chart may be, how far apart its times stand, and how much of it makes a point, in minutes: more points
/// than two a pixel are a blur.
const WINDOWS: [(u64, u64, u64); 5] = [(30, 5, 1), (60, 10, 1), (120, 20, 2), (180, 30, 5), (360, 60, 5)];
const MINUTE_MS: u64 = 60_000;
/// Where lines of a chart for lengths of time stand, in milliseconds.
const SPAN_TICKS: [f64; 10] = [1.0, 10.0, 100.0, 1e3, 1e4, 6e4, 6e5, 3.6e6, 3.6e7, 3.6e8];
/// The same where the scale begins with zero.
const STEPS_MS: [f64; 14] = [1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 1.2e5, 3e5, 6e5, 1.2e6, 1.8e6, 3.6e6, 1.08e7];

/// What the values are, and so how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Counts, or rates, from zero.
    Count,
    /// Shares, from 0 to 1.
    Share,
    /// Milliseconds, from zero.
    Span,
    /// Milliseconds, each line ten times the one below, more or less.
    SpanByTens,
}

/// A line.
pub(super) struct Series {
    /// Its name; empty if it is the only one.
    pub(super) name: &'static str,
    /// How it is drawn: a class of the style sheet.
    pub(super) class: &'static str,
    /// Times in milliseconds, ascending, and values.
    pub(super) points: Vec<(u64, Option<f64>)>,
}

/// A chart.
pub(super) struct Chart {
    /// A word for the page's own references.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the values are, in a few words with their unit.
    pub(super) unit: &'static str,
    pub(super) scale: Scale,
    pub(super) series: Vec<Series>,
    /// The times at its left and right.
    pub(super) window: Window,
}

/// A stretch of time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Between two times on the axis.
    step: u64,
    /// What a point stands for.
    point: u64,
}

/// How minutes become a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    Mean,
    Highest,
}

impl Window {
    /// The shortest of the usual ones that reaches from `oldest` to `now`.
    pub(super) fn reaching(oldest: u64, now: u64) -> Self {
        let minutes = now.saturating_sub(oldest) / MINUTE_MS;
        let window = WINDOWS.into_iter().find(|(length, ..)| minutes <= *length);
        let (length, step, point) = window.unwrap_or(WINDOWS[WINDOWS.len() - 1]);
        Self { from: now.saturating_sub(length * MINUTE_MS), to: now, step: step * MINUTE_MS, point: point * MINUTE_MS }
    }

    /// In words.
    pub(super) fn words(self) -> String {
        match (self.to - self.from) / MINUTE_MS {
            60 => "the last hour".into(),
            minutes @ 0..60 => format!("the last {minutes} minutes"),
            minutes => format!("the last {} hours", minutes / 60),
        }
    }

    /// What a point stands for, in words.
    pub(super) fn point_words(self) -> String {
        match self.point / MINUTE_MS {
            1 => "by the minute".into(),
            minutes => format!("each {minutes} minutes; rates are their mean, times and levels their highest"),
        }
    }

    /// The points of a line: these minutes' values, joined.
    pub(super) fn points(self, minutes: &[Minute], join: Join, value: impl Fn(&Minute) -> Option<f64>) -> Vec<(u64, Option<f64>)> {
        let groups = minutes.chunk_by(|one, next| one.at_ms / self.point == next.at_ms / self.point);
        let point = |group: &[Minute]| {
            let values: Vec<f64> = group.iter().filter_map(&value).collect();
            #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
            let joined = match join {
                Join::Mean => values.iter().sum::<f64>() / values.len() as f64,
                Join::Highest => values.iter().copied().fold(0.0, f64::max),
            };
            Some((group.last()?.at_ms, (!values.is_empty()).then_some(joined)))
        };
        groups.filter_map(point).filter(|(at_ms, _)| *at_ms >= self.from).collect()
    }
}

impl Scale {
    /// The values at which lines stand, for values from `min` to `max`; at least two.
    fn ticks(self, min: f64, max: f64) -> Vec<f64> {
        match self {
            Scale::Share => vec![0.0, 0.25, 0.5, 0.75, 1.0],
            Scale::Count => steps(max, &|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)).to_vec()),
            Scale::Span => {
                let step = STEPS_MS.into_iter().find(|step| step * 4.0 >= max).unwrap_or((max / 4.0 / 3.6e6).ceil() * 3.6e6);
                multiples(step, max)
            }
            Scale::SpanByTens => {
                let low = SPAN_TICKS.iter().rposition(|tick| *tick <= min).unwrap_or(0);
                let high = SPAN_TICKS.iter().position(|tick| *tick >= max).unwrap_or(SPAN_TICKS.len() - 1).max(low + 1);
                SPAN_TICKS[low.min(SPAN_TICKS.len() - 2)..=high.min(SPAN_TICKS.len() - 1)].to_vec()
            }
        }
    }

    /// The same where there are no values.
    fn usual_ticks(self) -> Vec<f64> {
        match self {
            Scale::Share | Scale::Count => self.ticks(0.0, 4.0),
            Scale::Span => self.ticks(0.0, 4e3),
            Scale::SpanByTens => self.ticks(100.0, 1e4),
        }
    }

    /// Where a value lies between the least and the greatest of `ticks`, from 0 to 1.
    fn place(self, value: f64, ticks: &[f64]) -> f64 {
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        let share = match self {
            Scale::SpanByTens => (value.max(low).ln() - low.ln()) / (high.ln() - low.ln()),
            _ => (value - low) / (high - low),
        };
        share.clamp(0.0, 1.0)
    }

    fn word(self, value: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no value is negative")]
        match self {
            Scale::Count if value >= 10_000.0 => format!("{}k", text::count((value / 1_000.0).round() as u64)),
            Scale::Count => text::rate(value).replace(".0", ""),
            Scale::Share => format!("{:.0} %", value * 100.0),
            Scale::Span | Scale::SpanByTens if value == 0.0 => "0 s".into(),
            Scale::Span | Scale::SpanByTens => text::span(value.round() as u64).replace(".0 s", " s"),
        }
    }

    /// A value beside its line: in one unit, for there is little room.
    fn label(self, tick: f64) -> String {
        let is_span = matches!(self, Scale::Span | Scale::SpanByTens);
        let unit = [(3.6e6, "h"), (6e4, "min"), (1e3, "s")].into_iter().find(|(unit, _)| is_span && tick > 0.0 && tick % unit == 0.0);
        unit.map_or_else(|| self.word(tick), |(unit, word)| format!("{:.0} {word}", tick / unit))
    }
}

/// Multiples of the least of the round numbers that needs four of them at most.
fn steps(max: f64, of_power: &dyn Fn(i32) -> Vec<f64>) -> Vec<f64> {
    let step = (0..18).flat_map(of_power).find(|step| step * 4.0 >= max).unwrap_or(max);
    multiples(step, max)
}

fn multiples(step: f64, max: f64) -> Vec<f64> {
    let mut ticks = vec![0.0];
    while ticks[ticks.len() - 1] < max || ticks.len() < 3 {
        ticks.push(ticks[ticks.len() - 1] + step);
    }
    ticks
}

impl Chart {
    /// The chart as a `figure`.
    pub(super) fn render(&self) -> String {
        let Self { id, title, unit, .. } = self;
        let (title, unit) = (escape(title), escape(unit));
        format!(
            "<figure class=\"chart\">\n<figcaption><h3>{title}</h3> <span class=\"quiet\">{unit}</span></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-words\">\
             <title id=\"{id}-title\">{title}, {unit}</title><desc id=\"{id}-words\">{}</desc>\n{}</svg>\n</figure>\n",
            escape(&self.words()),
            self.drawing()
        )
    }

    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.series.iter().flat_map(|series| series.points.iter().filter_map(|(_, value)| *value))
    }

    /// What there is to see, for those who do not.
    fn words(&self) -> String {
        let lines = self.series.iter().filter_map(|series| {
            let values: Vec<f64> = series.points.iter().filter_map(|(_, value)| *value).collect();
            let (last, max) = (values.last()?, values.iter().copied().fold(0.0, f64::max));
            let name = if series.name.is_empty() { String::new() } else { format!("{}: ", series.name) };
            Some(format!("{name}now {}, at most {}", self.scale.word(*last), self.scale.word(max)))
        });
        let lines: Vec<_> = lines.collect();
        match lines.is_empty() {
            true => format!("In {} there was nothing to draw.", self.window.words()),
            false => format!("In {}: {}.", self.window.words(), lines.join("; ")),
        }
    }

    fn right(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let letters = self.series.iter().map(|series| series.name.len()).max().unwrap_or(0) as f64;
        WIDTH - RIGHT - letters * LETTER_WIDTH
    }

    fn x(&self, time: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few hours in milliseconds")]
        let share = time.saturating_sub(self.window.from) as f64 / (self.window.to - self.window.from).max(1) as f64;
        LEFT + share * (self.right() - LEFT)
    }

    fn drawing(&self) -> String {
        let (min, max) = self.values().fold((f64::MAX, 0.0_f64), |(min, max), value| (min.min(value), max.max(value)));
        let is_empty = min > max;
        let ticks = if is_empty { self.scale.usual_ticks() } else { self.scale.ticks(min, max) };
        let y = |value: f64| HEIGHT - BOTTOM - self.scale.place(value, &ticks) * (HEIGHT - BOTTOM - TOP);
        let mut svg = String::new();
        let mut draw = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        for tick in &ticks {
            let at = y(*tick);
            let base = if tick == &ticks[0] { "base" } else { "grid" };
            draw(format!("<path class=\"{base}\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", self.right()));
            draw(format!("<text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{}</text>", LEFT - 6.0, at + 4.0, self.scale.label(*tick)));
        }
        let first = self.window.from.next_multiple_of(self.window.step);
        for time in (first..=self.window.to).step_by(usize::try_from(self.window.step).unwrap_or(usize::MAX)) {
            let (at, base) = (self.x(time), HEIGHT - BOTTOM);
            draw(format!("<path class=\"base\" d=\"M{at:.1} {base:.1}v4\"/>"));
            draw(format!("<text x=\"{at:.1}\" y=\"{:.1}\" class=\"middle\">{}</text>", base + 17.0, text::hours(time)));
        }
        if is_empty {
            let middle = (LEFT + self.right()) / 2.0;
            draw(format!("<text x=\"{middle:.1}\" y=\"{:.1}\" class=\"middle none\">nothing yet</text>", HEIGHT / 2.0));
            return svg;
        }
        for series in &self.series {
            if let Some(lines) = self.lines(series, &y) {
                draw(lines);
            }
        }
        self.names(&y).into_iter().for_each(draw);
        svg
    }

    /// The line, broken where it has no values.
    fn lines(&self, series: &Series, y: &dyn Fn(f64) -> f64) -> Option<String> {
        let (mut path, mut before) = (String::new(), None);
        for (time, value) in series.points.iter().filter_map(|(time, value)| Some((*time, (*value)?))) {
            let is_joined = before.is_some_and(|before| time - before <= self.window.point * 5 / 2);
            // A line of no length has round ends: a dot.
            let start = if is_joined { "L" } else { "h0M" };
            path.push_str(&format!("{start}{:.1} {:.1}", self.x(time), y(value)));
            before = Some(time);
        }
        let path = path.strip_prefix("h0")?;
        Some(format!("<path class=\"line {}\" d=\"{path}h0\"/>", series.class))
    }

    /// The names beside the ends of their lines, none above another.
    fn names(&self, y: &dyn Fn(f64) -> f64) -> Vec<String> {
        let ends = self.series.iter().filter(|series| !series.name.is_empty());
        let ends = ends.filter_map(|series| Some((series, y(series.points.iter().rev().find_map(|(_, value)| *value)?))));
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|one, other| one.1.total_cmp(&other.1));
        let mut lowest = f64::MIN;
        for (_, at) in &mut ends {
            *at = at.max(lowest + NAME_HEIGHT);
            lowest = *at;
        }
        // Pushed out below: all move up.
        let over = (lowest - (HEIGHT - BOTTOM)).max(0.0);
        let name = |(series, at): (&Series, f64)| {
            let at = at - over + 4.0;
            format!("<text x=\"{:.1}\" y=\"{at:.1}\" class=\"name {}\">{}</text>", self.right() + 5.0, series.class, escape(series.name))
        };
        ends.into_iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, series: Vec<Series>) -> Chart {
        Chart { id: "x", title: "Title & more", unit: "a minute", scale, series, window: Window::reaching(0, 3_600_000) }
    }

    fn series(name: &'static str, values: &[Option<f64>]) -> Series {
        Series { name, class: "one", points: (1..).map(|minute: u64| minute * MINUTE_MS).zip(values.iter().copied()).collect() }
    }

    #[test]
    fn the_window_is_the_shortest_that_reaches_back_far_enough() {
        for (minutes, wanted) in [(0, "the last 30 minutes"), (31, "the last hour"), (100, "the last 2 hours"), (360, "the last 6 hours")] {
            let window = Window::reaching(1_000_000_000 - minutes * MINUTE_MS, 1_000_000_000);
            assert_eq!(window.words(), wanted);
            assert!(window.from <= 1_000_000_000 - minutes * MINUTE_MS);
        }
        assert_eq!(Window::reaching(0, 10 * 3_600_000).words(), "the last 6 hours");
    }

    #[test]
    fn many_minutes_become_points_of_a_few() {
        let minute = |number: u64| Minute { at_ms: number * MINUTE_MS, depth: Some(number % 5).filter(|depth| *depth != 4), ..Minute::default() };
        let minutes: Vec<Minute> = (0..360).map(minute).collect();
        let depth = |minute: &Minute| minute.depth.map(|depth| f64::from(u32::try_from(depth).expect("small")));
        let window = Window::reaching(0, 360 * MINUTE_MS);
        let points = window.points(&minutes, Join::Highest, depth);
        assert_eq!((points.len(), points[1]), (72, (9 * MINUTE_MS, Some(3.0))));
        assert_eq!(window.points(&minutes, Join::Mean, depth)[1].1, Some(1.5), "of those that have one");
        assert_eq!(window.points(&minutes, Join::Mean, |_| None)[1].1, None);
        let window = Window::reaching(330 * MINUTE_MS, 360 * MINUTE_MS);
        assert_eq!(window.points(&minutes, Join::Highest, depth).len(), 30, "those that are shown");
        assert!(window.point_words().contains("by the minute"));
    }

    #[test]
    fn lines_of_a_scale_stand_at_round_values_and_hold_every_value() {
        for scale in [Scale::Count, Scale::Span, Scale::SpanByTens] {
            for max in [0.0, 1.0, 3.0, 7.0, 99.0, 101.0, 12_345.0, 5e7, 9e9] {
                let ticks = scale.ticks(max / 3.0, max);
                assert!((2..=10).contains(&ticks.len()) && ticks.is_sorted(), "{scale:?} {max}: {ticks:?}");
                assert!(ticks[ticks.len() - 1] >= max || scale == Scale::SpanByTens, "{scale:?} {max}: {ticks:?}");
                assert!((0.0..=1.0).contains(&scale.place(max, &ticks)));
            }
        }
        assert_eq!(Scale::Count.ticks(0.0, 7.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(
            Scale::SpanByTens.ticks(20.0, 900.0).into_iter().map(|tick| Scale::SpanByTens.word(tick)).collect::<Vec<_>>(),
            ["10 ms", "100 ms", "1 s"]
        );
        assert_eq!(
            Scale::Span.ticks(0.0, 65_000.0).into_iter().map(|tick| Scale::Span.label(tick)).collect::<Vec<_>>(),
            ["0 s", "20 s", "40 s", "1 min", "80 s"]
        );
    }

    #[test]
    fn a_line_is_broken_where_there_is_nothing_and_a_lone_value_is_a_dot() {
        let values = [Some(1.0), Some(2.0), None, None, Some(3.0), None, None, Some(4.0)];
        let svg = chart(Scale::Count, vec![series("", &values)]).render();
        let path = svg.split("class=\"line one\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        assert_eq!((path.matches('M').count(), path.matches('L').count(), path.matches("h0").count()), (3, 1, 3), "{path}");
    }

    #[test]
    fn names_stand_apart_and_inside() {
        let all = ["p50", "p95", "p99"].map(|name| series(name, &[Some(5.0)]));
        let svg = chart(Scale::Count, all.into()).render();
        let mut places = svg.split("class=\"name").map(|before| before.rsplit("y=\"").next().and_then(|y| y.split('"').next()?.parse::<f64>().ok()));
        let places: Vec<f64> = places.by_ref().take(3).flatten().collect();
        assert!(places.len() == 3 && places.windows(2).all(|pair| pair[1] - pair[0] >= NAME_HEIGHT), "{places:?}");
        assert!(places.iter().all(|y| (0.0..HEIGHT).contains(y)), "{places:?}");
    }

    #[test]
    fn what_is_drawn_is_said_in_words_and_nothing_is_said_too() {
        let svg = chart(Scale::Count, vec![series("answered", &[Some(1.0), Some(20.0), Some(7.0)])]).render();
        assert!(svg.contains("In the last hour: answered: now 7, at most 20."), "{svg}");
        assert!(svg.contains("<h3>Title &amp; more</h3>") && svg.contains("role=\"img\""), "{svg}");
        let svg = chart(Scale::SpanByTens, vec![series("p50", &[None, None])]).render();
        assert!(svg.contains("nothing yet") && svg.contains("there was nothing to draw") && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains(">100 ms<") && svg.contains(">10 s<"), "{svg}");
    }
}
