//! The figures and gauges as Prometheus reads them: its text format, version 0.0.4. Pure; who serves it is elsewhere.
//!
//! A distribution is a histogram with few and fixed bounds. Its values are rounded down by at most 1/32 ([`super::figures`]), so
//! a value just above a bound may count below it; its sum is exact. Counts grow since the worker's start.

use std::fmt::Write;

use super::{
    OpenBreaker,
    figures::{Distribution, Figures},
    gauges::Gauges,
    table::{self, EXPOSED, Kind, Metric},
};

/// What an answer with this text says of itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of all histograms, in milliseconds: from a local hand-over to the age from which a message is stale.
const BOUNDS: [u64; 16] = [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000, 3_600_000];

/// All metrics as text. What is not known is left out, and so is what has a label and no value yet.
pub fn render(figures: &Figures, gauges: &Gauges, breakers: &[OpenBreaker]) -> String {
    let mut text = String::with_capacity(16 << 10);
    for metric in EXPOSED {
        let page = Page { metric, name: metric.exposed_name() };
        page.head(&mut text);
        page.samples(&mut text, figures, gauges, breakers);
    }
    text
}

struct Page {
    metric: &'static Metric,
    name: String,
}

impl Page {
    fn head(&self, text: &mut String) {
        let kind = match self.metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Distribution => "histogram",
        };
        push(text, format_args!("# HELP {0} {1}.\n# TYPE {0} {kind}\n", self.name, self.metric.help));
    }

    fn samples(&self, text: &mut String, figures: &Figures, gauges: &Gauges, breakers: &[OpenBreaker]) {
        let metric = self.metric;
        let all = [
            (&table::PROCESSING_TIME, &figures.processing_time),
            (&table::PROCESSING_TIME_STALE, &figures.processing_time_stale),
            (&table::HANDLING_TIME, &figures.handling_time),
            (&table::QUEUE_WAIT, &figures.queue_wait),
            (&table::SEND_WAIT, &figures.send_wait),
            (&table::SEND_TIME, &figures.send_time),
        ];
        if let Some((_, times)) = all.into_iter().find(|(times, _)| *times == metric) {
            self.histogram(text, times);
        } else if *metric == table::RESPONSE_SENT {
            figures.responses_sent.iter().for_each(|(method, count)| self.sample(text, &[method], count));
        } else if *metric == table::SES_THROTTLED {
            figures.throttled.iter().for_each(|(method, count)| self.sample(text, &[method], count));
        } else if *metric == table::REQUEST {
            figures.requests.iter().for_each(|(address, count)| self.sample(text, &[address], count));
        } else if *metric == table::ENDED {
            figures.ended.iter().for_each(|((outcome, why), count)| self.sample(text, &[outcome, why], count));
        } else if *metric == table::BREAKER_OPEN {
            breakers.iter().for_each(|breaker| self.sample(text, &[breaker.name], 1));
        } else if *metric == table::INFO {
            self.sample(text, &[&gauges.worker, gauges.version, &gauges.catalogue_version], 1);
        } else if let Some(value) = single(metric, figures, gauges) {
            self.sample(text, &[], value);
        }
    }

    fn histogram(&self, text: &mut String, times: &Distribution) {
        let mut values = times.values().peekable();
        let mut count = 0;
        for bound in BOUNDS {
            while let Some((_, more)) = values.next_if(|(millis, _)| *millis <= bound) {
                count += more;
            }
            push(text, format_args!("{}_bucket{{le=\"{bound}\"}} {count}\n", self.name));
        }
        let count = times.count();
        push(text, format_args!("{0}_bucket{{le=\"+Inf\"}} {count}\n{0}_sum {1}\n{0}_count {count}\n", self.name, times.sum()));
    }

    fn sample(&self, text: &mut String, labels: &[&str], value: impl std::fmt::Display) {
        text.push_str(&self.name);
        for (index, (label, value)) in self.metric.labels.iter().zip(labels).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            push(text, format_args!("{before}{label}=\"{}\"", escaped(value)));
        }
        push(text, format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }
}

/// The value of a metric that has only one, if it is known.
fn single(metric: &Metric, figures: &Figures, gauges: &Gauges) -> Option<String> {
    let depth = gauges.depth;
    match *metric {
        table::MESSAGE_RECEIVED => Some(figures.received.to_string()),
        table::BUSY => Some(figures.busy.as_secs_f64().to_string()),
        table::BUSY_FRACTION => Some(gauges.busy_fraction.to_string()),
        table::IN_HAND => Some(gauges.in_hand.to_string()),
        table::SLOTS => Some(gauges.slots.to_string()),
        table::QUEUE_DEPTH => depth.map(|depth| depth.visible.to_string()),
        table::PARKED => depth?.parked.map(|parked| parked.to_string()),
        table::OLDEST_AGE => gauges.oldest_age.map(|age| age.as_secs_f64().to_string()),
        table::CATALOGUE_AGE => Some(gauges.catalogue_age.as_secs_f64().to_string()),
        _ => None,
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments); // writing to a String does not fail
}

/// A label's value: backslash, quote and line end are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use replyfleet::{clock::UnixMillis, queue::Depth};

    use super::*;

    fn something() -> String {
        let mut figures = Figures { received: 4, busy: Duration::from_millis(2_500), ..Figures::default() };
        for millis in [5, 10, 990, 4_000_000] {
            figures.processing_time.add(Duration::from_millis(millis));
        }
        figures.responses_sent.insert("SES", 3);
        figures.throttled.insert("SES", 1);
        figures.requests.insert("\"a\\b\"@example.com".into(), 2);
        figures.ended.extend([(("answered", ""), 3), (("ignored", "robot"), 1)]);
        let depth = Depth { visible: 12, parked: Some(2), ..Depth::default() };
        let gauges = Gauges {
            worker: "0123".into(),
            version: "0.1.0",
            slots: 32,
            in_hand: 1,
            busy_fraction: 0.125,
            depth: Some(depth),
            oldest_age: Some(Duration::from_millis(1_500)),
            catalogue_version: "v1".into(),
            ..Gauges::default()
        };
        render(&figures, &gauges, &[OpenBreaker { name: "send.SES", reason: "paused", since: UnixMillis(0) }])
    }

    /// A reader of the format by its own rules: each sample's value by name and labels; all that breaks a rule is a panic.
    fn read(text: &str) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n'));
        let mut samples = BTreeMap::new();
        let mut current = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help");
                assert!(!help.is_empty() && current.0 != name, "{line}");
                current = (name.to_owned(), String::new());
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(name == current.0 && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
                kind.clone_into(&mut current.1);
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{line}");
            let is_ours = match current.1.as_str() {
                "histogram" => name.strip_prefix(&current.0).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end)),
                _ => name == current.0,
            };
            assert!(is_ours, "{line} below {current:?}");
            let labels = &series[name.len()..];
            assert!(labels.is_empty() || (labels.starts_with('{') && labels.ends_with("\"}")), "{line}");
            assert!(samples.insert(series.to_owned(), value.parse().expect("a number")).is_none(), "{line} twice");
        }
        samples
    }

    #[test]
    fn every_metric_of_the_table_is_there_with_its_value() {
        let samples = read(&something());
        for (series, value) in [
            ("replyfleet_processing_time_milliseconds_bucket{le=\"10\"}", 2.0),
            ("replyfleet_processing_time_milliseconds_bucket{le=\"500\"}", 2.0),
            ("replyfleet_processing_time_milliseconds_bucket{le=\"1000\"}", 3.0),
            ("replyfleet_processing_time_milliseconds_bucket{le=\"3600000\"}", 3.0),
            ("replyfleet_processing_time_milliseconds_bucket{le=\"+Inf\"}", 4.0),
            ("replyfleet_processing_time_milliseconds_count", 4.0),
            ("replyfleet_processing_time_milliseconds_sum", 4_001_005.0),
            ("replyfleet_queue_wait_milliseconds_count", 0.0),
            ("replyfleet_response_sent_total{method=\"SES\"}", 3.0),
            ("replyfleet_ses_throttled_total{method=\"SES\"}", 1.0),
            ("replyfleet_message_received_total", 4.0),
            ("replyfleet_request_total{address=\"\\\"a\\\\b\\\"@example.com\"}", 2.0),
            ("replyfleet_ended_total{outcome=\"answered\",why=\"\"}", 3.0),
            ("replyfleet_ended_total{outcome=\"ignored\",why=\"robot\"}", 1.0),
            ("replyfleet_busy_seconds_total", 2.5),
            ("replyfleet_busy_fraction", 0.125),
            ("replyfleet_in_hand", 1.0),
            ("replyfleet_slots", 32.0),
            ("replyfleet_queue_depth", 12.0),
            ("replyfleet_oldest_age_seconds", 1.5),
            ("replyfleet_parked", 2.0),
            ("replyfleet_breaker_open{breaker=\"send.SES\"}", 1.0),
            ("replyfleet_catalogue_age_seconds", 0.0),
            ("replyfleet_info{worker=\"0123\",version=\"0.1.0\",catalogue=\"v1\"}", 1.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series}");
        }
        for metric in EXPOSED {
            let name = metric.exposed_name();
            assert!(samples.keys().any(|series| series.starts_with(&name)), "{name} has no sample");
        }
    }

    #[test]
    fn the_bounds_count_upwards_and_the_idle_worker_has_its_gauges() {
        let text = render(&Figures::default(), &Gauges::default(), &[]);
        let samples = read(&text);
        for series in
            ["replyfleet_busy_fraction", "replyfleet_in_hand", "replyfleet_message_received_total", "replyfleet_send_time_milliseconds_count"]
        {
            assert_eq!(samples.get(series), Some(&0.0), "{series}");
        }
        assert!(!samples.contains_key("replyfleet_queue_depth"), "nobody knows it yet");
        assert!(BOUNDS.is_sorted());
    }
}
