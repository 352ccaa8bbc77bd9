//! One worker as it sees itself, from its own `/status.json`. Everything there may be absent: a worker of another version
//! is shown as far as it is understood.

use std::fmt::{self, Write};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Page,
    fetch::{PageUrl, fetch},
    hours::{Span, course, percent, rate, table},
};
use crate::table::{age, millis, table_for};

/// The newest minutes that have a line each.
const ROWS_MAX: usize = 12;
/// Outcomes and errors that are shown.
const OUTCOMES_MAX: usize = 12;
const ERRORS_MAX: usize = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    at_ms: u64,
    worker: String,
    version: String,
    started_ms: Option<u64>,
    slots: Option<u64>,
    in_hand: Option<u64>,
    queue: Option<Queue>,
    catalogue: Option<Catalogue>,
    switches: Vec<String>,
    is_shedding: bool,
    breakers: Vec<Breaker>,
    totals: Totals,
    minutes: Vec<Minute>,
    errors: Vec<Mistake>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queue {
    visible: u64,
    delayed: u64,
    in_flight: u64,
    oldest_s: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Catalogue {
    version: String,
    age_s: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Breaker {
    name: String,
    reason: String,
    since_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Totals {
    ended: Vec<EndedCount>,
    response_sent: Vec<SentCount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EndedCount {
    outcome: String,
    why: Option<String>,
    count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SentCount {
    method: String,
    count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Minute {
    at_ms: u64,
    received: Option<f64>,
    answered: Option<f64>,
    sent: Option<f64>,
    busy_fraction: Option<f64>,
    processing_time: Option<Times>,
    oldest_s: Option<f64>,
    depth: Option<f64>,
}

/// In milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Times {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// Something that went wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mistake {
    at_ms: u64,
    text: String,
}

/// What a worker told.
pub(super) struct WorkerPage {
    raw: Value,
    told: Told,
}

/// # Errors
/// It cannot be asked, or what it answers is not understood.
pub(super) async fn look(url: &PageUrl) -> anyhow::Result<WorkerPage> {
    WorkerPage::read(&fetch(url).await?)
}

impl WorkerPage {
    fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let raw: Value = serde_json::from_slice(bytes).context("the page is no JSON: is it a worker's?")?;
        ensure!(raw.is_object(), "the page is not a worker's status, or one of another version");
        let told = Told::deserialize(plain(raw.clone())).context("the page is not a worker's status, or one of another version")?;
        Ok(Self { raw, told })
    }

    fn write(&self, text: &mut String, width: Option<u16>) -> fmt::Result {
        let told = &self.told;
        let since = |at_ms: u64| age(told.at_ms.saturating_sub(at_ms) / 1_000);
        let runs = told.started_ms.map(|started| format!(", runs for {}", since(started))).unwrap_or_default();
        writeln!(text, "worker    {}, version {}{runs}", told.worker.get(..8).unwrap_or(&told.worker), told.version)?;
        if let (Some(in_hand), Some(slots)) = (told.in_hand, told.slots) {
            writeln!(text, "slots     {in_hand} of {slots} in use")?;
        }
        if let Some(queue) = &told.queue {
            let oldest = queue.oldest_s.map(|seconds| format!(", oldest {}", millis(seconds * 1_000.0))).unwrap_or_default();
            writeln!(text, "queue     {} waiting, {} delayed, {} in flight{oldest}", queue.visible, queue.delayed, queue.in_flight)?;
        }
        if let Some(catalogue) = &told.catalogue {
            let seen = catalogue.age_s.map(|seconds| format!(", looked at {} ago", millis(seconds * 1_000.0))).unwrap_or_default();
            writeln!(text, "catalogue {}{seen}", catalogue.version)?;
        }
        let shedding = if told.is_shedding { "; attachments are given up" } else { "" };
        let switches = if told.switches.is_empty() { "all on".to_owned() } else { told.switches.join(", ") };
        writeln!(text, "switches  {switches}{shedding}")?;
        let open = told.breakers.iter().map(|breaker| {
            let since = breaker.since_ms.map(|since_ms| format!(" for {}", since(since_ms))).unwrap_or_default();
            format!("{} open{since} ({})", breaker.name, breaker.reason)
        });
        let open: Vec<_> = open.collect();
        writeln!(text, "breakers  {}", if open.is_empty() { "all closed".to_owned() } else { open.join(", ") })?;
        let sent: Vec<_> = told.totals.response_sent.iter().map(|sent| format!("{} {}", sent.method, sent.count)).collect();
        writeln!(text, "replies   {}\n", if sent.is_empty() { "none yet".to_owned() } else { sent.join(", ") })?;
        self.write_hours(text, width)?;
        self.write_outcomes(text, width)?;
        for (index, mistake) in told.errors.iter().rev().take(ERRORS_MAX).enumerate() {
            writeln!(text, "{:<9} {} ago: {}", if index == 0 { "errors" } else { "" }, since(mistake.at_ms), mistake.text)?;
        }
        Ok(())
    }

    fn write_hours(&self, text: &mut String, width: Option<u16>) -> fmt::Result {
        let minutes = &self.told.minutes;
        if minutes.is_empty() {
            return Ok(());
        }
        let spans: Vec<_> = minutes.iter().map(|minute| span(minute, self.told.at_ms)).collect();
        let series = |of: fn(&Span) -> Option<f64>| spans.iter().map(of).collect::<Vec<_>>();
        text.push_str(&course("answered", &series(|span| span.answered), width, |value| format!("{}/min", rate(value))));
        text.push_str(&course("p95", &series(|span| span.percentiles[1]), width, millis));
        text.push_str(&course("busy", &series(|span| span.busy), width, percent));
        let newest: Vec<_> = spans.into_iter().rev().take(ROWS_MAX).collect();
        writeln!(text, "\n{}", table(&newest, width))
    }

    fn write_outcomes(&self, text: &mut String, width: Option<u16>) -> fmt::Result {
        let mut ended: Vec<_> = self.told.totals.ended.iter().collect();
        if ended.is_empty() {
            return Ok(());
        }
        ended.sort_by_key(|ended| std::cmp::Reverse(ended.count));
        let mut rows = table_for(width, &["ended", "why", "since its start"]);
        for ended in ended.iter().take(OUTCOMES_MAX) {
            rows.add_row([ended.outcome.clone(), ended.why.clone().unwrap_or_default(), ended.count.to_string()]);
        }
        writeln!(text, "{rows}\n")
    }
}

impl Page for WorkerPage {
    fn text(&self, width: Option<u16>) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = self.write(&mut text, width);
        text
    }

    fn json(&self) -> Value {
        self.raw.clone()
    }
}

/// Without control characters, which a terminal would obey.
fn plain(value: Value) -> Value {
    let safe = |text: String| text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
    match value {
        Value::String(text) => Value::String(safe(text)),
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        other => other,
    }
}

fn span(minute: &Minute, now_ms: u64) -> Span {
    let times = minute.processing_time.as_ref();
    Span {
        at_s: minute.at_ms / 1_000,
        is_open: minute.at_ms + 60_000 > now_ms,
        received: minute.received,
        answered: minute.answered,
        sent: minute.sent,
        percentiles: [times.and_then(|times| times.p50), times.and_then(|times| times.p95), times.and_then(|times| times.p99)],
        busy: minute.busy_fraction,
        oldest_s: minute.oldest_s,
        depth: minute.depth,
        workers: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    const PAGE: &str = r#"{
        "at_ms": 1790000220000, "worker": "0123456789abcdef", "version": "0.1.0", "started_ms": 1789989420000, "slots": 32, "in_hand": 5,
        "queue": {"visible": 12, "delayed": 1, "in_flight": 5, "oldest_s": 3}, "catalogue": {"version": "c1", "age_s": 12},
        "switches": ["attachments=off"], "is_shedding": true,
        "breakers": [{"name": "send.SES", "reason": "paused", "since_ms": 1790000040000}],
        "totals": {"ended": [{"outcome": "ignored", "why": "loop", "count": 3}, {"outcome": "answered", "why": "", "count": 120}],
            "response_sent": [{"method": "SES", "count": 120}]},
        "minutes": [
            {"at_ms": 1790000100000, "received": 60, "answered": 58, "sent": 58, "busy_fraction": 0.25, "oldest_s": 1, "depth": 4,
             "processing_time": {"count": 58, "p50": 80, "p95": 900, "p99": 1200}, "queue_wait": {"count": 58}},
            {"at_ms": 1790000160000, "received": 2, "answered": 0, "sent": 0, "busy_fraction": 0.5, "processing_time": null}],
        "errors": [{"at_ms": 1790000100000, "text": "older"}, {"at_ms": 1790000160000, "text": "newer"}], "new_in_a_later_version": 1}"#;

    #[test]
    fn all_that_a_worker_tells_is_shown() {
        let page = WorkerPage::read(PAGE.as_bytes()).unwrap();
        let text = page.text(Some(100));
        for line in [
            "worker    01234567, version 0.1.0, runs for 3 h",
            "slots     5 of 32 in use",
            "queue     12 waiting, 1 delayed, 5 in flight, oldest 3.0 s",
            "catalogue c1, looked at 12 s ago",
            "switches  attachments=off; attachments are given up",
            "breakers  send.SES open for 3 min (paused)",
            "replies   SES 120",
            "answered  █▁ up to 58/min",
            "p95       █  up to 900 ms",
            "errors    60 s ago: newer",
            "          2 min ago: older",
        ] {
            assert!(text.lines().any(|found| found.trim_end() == line), "{line}\n{text}");
        }
        let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for row in
            ["14:16 2.0 0 0 50 %".into(), "14:15 60 58 58 80 ms 900 ms 1.2 s 25 % 1 s 4".into(), "answered 120".into(), "ignored loop 3".into()]
        {
            assert!(words.contains(&row), "{row}\n{text}");
        }
        assert_eq!(page.json()["new_in_a_later_version"], 1, "programs get all of it");
    }

    #[test]
    fn a_page_cannot_give_the_terminal_orders() {
        let page = WorkerPage::read(br#"{"errors": [{"at_ms": 0, "text": "a\u001b[2Jb\u009b1mc\nd"}]}"#).unwrap();
        assert!(page.text(None).contains("a\u{fffd}[2Jb\u{fffd}1mc\u{fffd}d\n"), "{}", page.text(None));
        assert_eq!(page.json()["errors"][0]["text"], "a\u{1b}[2Jb\u{9b}1mc\nd", "programs read what was said");
    }

    #[test]
    fn a_worker_that_tells_little_is_shown_as_far_as_it_goes() {
        let text = WorkerPage::read(b"{}").unwrap().text(None);
        assert!(text.contains("breakers  all closed") && text.contains("switches  all on") && text.contains("none yet"), "{text}");
        for (bytes, wanted) in [(&b"<html>"[..], "no JSON"), (b"{\"minutes\": 1}", "another version"), (b"[]", "another version")] {
            let Err(error) = WorkerPage::read(bytes) else { panic!("{wanted}") };
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
