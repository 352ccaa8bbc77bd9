//! The fleet's last hours from CloudWatch: what its workers published, as one. CloudWatch makes percentiles of all
//! samples of a span, so those of the table are true ones; its newest minutes are some minutes behind.

use std::fmt::{self, Write};

use anyhow::bail;
use replyfleet::{clock::UnixMillis, settings::AwsSettings};
use serde_json::{Value, json};

use super::{
    Page,
    hours::{Span, course, percent, rate, table},
};
use crate::{
    cloudwatch::{CloudWatch, Dimension, Figures, Points, Query, READ_TIMEOUT_S, Statistic, Window},
    metrics::Place,
    table::{age, millis},
};

/// Lines of the table.
const ROWS: u32 = 12;
/// The breakers of a worker.
const BREAKERS: [&str; 5] = ["ledger", "dns", "store", "send.SES", "send.SMTP"];
/// How far back the newest figure of a gauge may lie: CloudWatch's delay, and a minute that is lost.
const NEWEST_S: u64 = 420;

/// Where a fleet's figures are.
pub(super) struct FleetSource {
    cloudwatch: CloudWatch,
    place: Place,
    hours: u32,
}

/// The series, in the order in which they are asked for.
struct Lines {
    /// By span: the three percentiles, how many samples, replies, busy, workers, oldest, depth.
    spans: Vec<Points>,
    /// By minute or five: answered, p95, busy, workers, oldest, depth; then the breakers.
    course: Vec<Points>,
}

/// What is shown.
pub(super) struct Fleet {
    now_s: u64,
    group: String,
    /// Seconds of a span, and of a step of the courses.
    span_s: u32,
    step_s: u32,
    window: Window,
    lines: Lines,
}

/// The steps of the courses: minutes as long as there are not too many of them.
fn step_s(hours: u32) -> u32 {
    if hours <= 3 { 60 } else { 300 }
}

impl FleetSource {
    /// # Errors
    /// Nobody knows the group, or the region.
    pub(super) async fn open(aws: &AwsSettings, place: Place, hours: u32) -> anyhow::Result<Self> {
        // Asked now, so that a group that nobody named is said at once.
        place.metric("processing_time", &[])?;
        Ok(Self { cloudwatch: CloudWatch::open(aws, READ_TIMEOUT_S).await?, place, hours })
    }

    /// # Errors
    /// CloudWatch does not answer, or knows nothing of this fleet.
    pub(super) async fn look(&self) -> anyhow::Result<Fleet> {
        look(&self.cloudwatch, &self.place, self.hours, UnixMillis::now().0 / 1_000).await
    }
}

async fn look(figures: &impl Figures, place: &Place, hours: u32, now_s: u64) -> anyhow::Result<Fleet> {
    let (span_s, step_s) = (hours * 3_600 / ROWS, step_s(hours));
    let span = u64::from(span_s);
    let to_s = now_s - now_s % span + span;
    let window = Window { from_s: to_s - u64::from(ROWS) * span, to_s };
    let query = |name: &str, statistic: Statistic, period_s: u32| anyhow::Ok(Query { metric: place.metric(name, &[])?, statistic, period_s });
    let percentile = |text: &str| Statistic::Percentile(text.to_owned());
    let mut queries = vec![
        query("processing_time", percentile("p50"), span_s)?,
        query("processing_time", percentile("p95"), span_s)?,
        query("processing_time", percentile("p99"), span_s)?,
        query("processing_time", Statistic::SampleCount, span_s)?,
        query("response_sent", Statistic::Sum, span_s)?,
        query("busy_fraction", Statistic::Average, span_s)?,
        query("busy_fraction", Statistic::SampleCount, span_s)?,
        query("oldest_age", Statistic::Maximum, span_s)?,
        query("queue_depth", Statistic::Maximum, span_s)?,
    ];
    let spans = queries.len();
    queries.extend([
        query("processing_time", Statistic::SampleCount, step_s)?,
        query("processing_time", percentile("p95"), step_s)?,
        query("busy_fraction", Statistic::Average, step_s)?,
        query("busy_fraction", Statistic::SampleCount, step_s)?,
        query("oldest_age", Statistic::Maximum, step_s)?,
        query("queue_depth", Statistic::Maximum, step_s)?,
    ]);
    for breaker in BREAKERS {
        let metric = place.metric("breaker_open", &[Dimension { name: "Breaker".into(), value: breaker.into() }])?;
        queries.push(Query { metric, statistic: Statistic::Maximum, period_s: step_s });
    }
    let mut points = figures.read(&queries, window).await?;
    if points.iter().all(Points::is_empty) {
        bail!(
            "CloudWatch knows nothing of a fleet {} in {} in the last {hours} h: are --group, --namespace and the region right?",
            place.group(),
            place.namespace
        );
    }
    let course = points.split_off(spans);
    Ok(Fleet { now_s, group: place.group().to_owned(), span_s, step_s, window, lines: Lines { spans: points, course } })
}

impl Fleet {
    /// How many minutes of the span or step that begins there are over.
    #[expect(clippy::cast_precision_loss, reason = "less than a day of seconds")]
    fn minutes(&self, at_s: u64, length_s: u32) -> f64 {
        (self.now_s.saturating_sub(at_s).min(length_s.into()).max(1) as f64 / 60.0).max(1.0)
    }

    /// Newest first; spans in which nothing was published are left out.
    fn spans(&self) -> Vec<Span> {
        let starts = (self.window.from_s..self.window.to_s).step_by(self.span_s as usize);
        let spans = starts.map(|at_s| {
            let of = |index: usize| self.lines.spans[index].get(&at_s).copied();
            let minutes = self.minutes(at_s, self.span_s);
            Span {
                at_s,
                is_open: at_s + u64::from(self.span_s) > self.now_s,
                received: None,
                answered: of(3).map(|count| count / minutes),
                sent: of(4).map(|count| count / minutes),
                percentiles: [of(0), of(1), of(2)],
                busy: of(5),
                // Each publishes it once a minute.
                workers: of(6).map(|count| count / minutes),
                oldest_s: of(7),
                depth: of(8),
            }
        });
        let mut spans: Vec<_> = spans.filter(|span| self.lines.spans.iter().any(|points| points.contains_key(&span.at_s))).collect();
        spans.reverse();
        spans
    }

    fn course(&self, index: usize, of: impl Fn(u64, f64) -> f64) -> Vec<Option<f64>> {
        let starts = (self.window.from_s..self.now_s).step_by(self.step_s as usize);
        starts.map(|at_s| self.lines.course[index].get(&at_s).map(|value| of(at_s, *value))).collect()
    }

    /// The newest figure of a series, unless it is too old to be about now.
    fn newest(&self, index: usize) -> Option<(u64, f64)> {
        let (at_s, value) = self.lines.course[index].last_key_value()?;
        (at_s + u64::from(self.step_s) + NEWEST_S > self.now_s).then_some((*at_s, *value))
    }

    /// Of the last whole step: the newest may have been heard of in part.
    fn workers(&self) -> Option<f64> {
        let whole = self.lines.course[3].iter().rev().find(|(at_s, _)| **at_s + u64::from(self.step_s) + 60 <= self.now_s)?;
        (whole.0 + u64::from(self.step_s) + NEWEST_S > self.now_s).then_some(whole.1 / (f64::from(self.step_s) / 60.0))
    }

    fn open_breakers(&self) -> Vec<&'static str> {
        let is_open = |index: usize| self.newest(6 + index).is_some_and(|(_, value)| value > 0.0);
        BREAKERS.iter().enumerate().filter(|(index, _)| is_open(*index)).map(|(_, name)| *name).collect()
    }

    fn write(&self, text: &mut String, width: Option<u16>) -> fmt::Result {
        writeln!(text, "fleet     {}, by CloudWatch", self.group)?;
        let workers = self.workers().map_or_else(|| "none heard of in the last minutes".to_owned(), |workers| format!("{workers:.0}"));
        writeln!(text, "workers   {workers}")?;
        let depth = self.newest(5).map_or_else(|| "not known".to_owned(), |(_, depth)| format!("{depth:.0} waiting"));
        let oldest = self.newest(4).map(|(_, seconds)| format!(", oldest {}", millis(seconds * 1_000.0))).unwrap_or_default();
        writeln!(text, "queue     {depth}{oldest}")?;
        let open = self.open_breakers();
        writeln!(text, "breakers  {}", if open.is_empty() { "all closed".to_owned() } else { format!("open: {}", open.join(", ")) })?;
        let newest = self.lines.course.iter().filter_map(|points| points.last_key_value()).map(|(at_s, _)| *at_s).max();
        if let Some(newest) = newest.map(|at_s| self.now_s.saturating_sub(at_s)) {
            writeln!(text, "newest    figures of {} ago", age(newest))?;
        }
        writeln!(text)?;
        let answered = self.course(0, |at_s, count| count / self.minutes(at_s, self.step_s));
        text.push_str(&course("answered", &answered, width, |value| format!("{}/min", rate(value))));
        text.push_str(&course("p95", &self.course(1, |_, value| value), width, millis));
        text.push_str(&course("busy", &self.course(2, |_, value| value), width, percent));
        let workers = self.course(3, |at_s, count| count / self.minutes(at_s, self.step_s));
        text.push_str(&course("workers", &workers, width, |value| format!("{value:.0}")));
        writeln!(text, "\n{}", table(&self.spans(), width).trim_end())
    }
}

impl Page for Fleet {
    fn text(&self, width: Option<u16>) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = self.write(&mut text, width);
        text
    }

    fn json(&self) -> Value {
        let spans = self.spans();
        let spans: Vec<_> = spans
            .iter()
            .map(|span| {
                let [p50, p95, p99] = span.percentiles;
                json!({
                    "at_s": span.at_s, "is_open": span.is_open, "answered_per_minute": span.answered, "sent_per_minute": span.sent,
                    "processing_time_ms": { "p50": p50, "p95": p95, "p99": p99 },
                    "busy_fraction": span.busy, "workers": span.workers, "oldest_s": span.oldest_s, "depth": span.depth,
                })
            })
            .collect();
        json!({
            "at_s": self.now_s, "group": self.group, "workers": self.workers(), "open_breakers": self.open_breakers(),
            "oldest_s": self.newest(4).map(|(_, value)| value), "depth": self.newest(5).map(|(_, value)| value),
            "span_s": self.span_s, "spans": spans,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;
    use crate::metrics::FleetArguments;

    /// Ten minutes into a span of a quarter of an hour.
    const NOW_S: u64 = 1_790_000_100 + 600;

    /// A fleet of two workers that answers 60 mails a minute, and published last a minute ago.
    struct Steady {
        is_silent: bool,
    }

    impl Figures for Steady {
        async fn read(&self, queries: &[Query], window: Window) -> anyhow::Result<Vec<Points>> {
            let points = |query: &Query| {
                let is_breaker = query.metric.dimensions.iter().any(|dimension| dimension.name == "Breaker" && dimension.value == "dns");
                let a_minute = match (query.metric.name.as_str(), &query.statistic) {
                    _ if self.is_silent => return Points::new(),
                    ("processing_time", Statistic::SampleCount) | ("response_sent", Statistic::Sum) => 60.0,
                    ("busy_fraction", Statistic::SampleCount) => 2.0,
                    _ => 0.0,
                };
                let fixed = match (query.metric.name.as_str(), &query.statistic) {
                    ("processing_time", Statistic::Percentile(text)) => text[1..].parse::<f64>().unwrap() * 10.0,
                    ("busy_fraction", Statistic::Average) => 0.4,
                    ("oldest_age", _) => 7.0,
                    ("queue_depth", _) => 42.0,
                    ("breaker_open", _) if is_breaker => 1.0,
                    _ => 0.0,
                };
                let starts = (window.from_s..NOW_S - 60).step_by(query.period_s as usize);
                let minutes = |at_s: u64| f64::from(u32::try_from((NOW_S - at_s).min(query.period_s.into())).unwrap()) / 60.0;
                starts.map(|at_s| (at_s, a_minute * minutes(at_s) + fixed)).collect()
            };
            Ok(queries.iter().map(points).collect())
        }
    }

    fn place() -> Place {
        FleetArguments::of(None, Some("fleet")).place(None)
    }

    #[tokio::test]
    async fn a_fleet_is_shown_as_one_and_the_span_that_goes_on_counts_its_own_minutes() {
        let fleet = look(&Steady { is_silent: false }, &place(), 3, NOW_S).await.unwrap();
        let json = fleet.json();
        assert_eq!(
            (&json["workers"], &json["oldest_s"], &json["depth"], &json["open_breakers"]),
            (&json!(2.0), &json!(7.0), &json!(42.0), &json!(["dns"]))
        );
        let spans = json["spans"].as_array().unwrap();
        assert_eq!((spans.len(), &spans[0]["is_open"], &spans[1]["is_open"]), (12, &json!(true), &json!(false)));
        for span in spans {
            assert_eq!(
                (&span["answered_per_minute"], &span["workers"], &span["processing_time_ms"]["p99"]),
                (&json!(60.0), &json!(2.0), &json!(990.0))
            );
        }
        let text = fleet.text(Some(100));
        for wanted in [
            "fleet     fleet, by CloudWatch",
            "workers   2\n",
            "queue     42 waiting, oldest 7.0 s",
            "breakers  open: dns",
            "figures of 120 s ago",
            "up to 60/min",
            "950 ms",
        ] {
            assert!(text.contains(&wanted.replace("120 s", "2 min")), "{wanted}\n{text}");
        }
    }

    #[tokio::test]
    async fn a_fleet_that_nobody_heard_of_is_an_error_that_says_what_to_look_at() {
        let Err(error) = look(&Steady { is_silent: true }, &place(), 3, NOW_S).await else { panic!("it knows something") };
        assert!(error.to_string().contains("knows nothing of a fleet fleet in replyfleet") && error.to_string().contains("--group"), "{error}");
    }
}
