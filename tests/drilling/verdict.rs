//! The table at the end of a drill: each row is a number, and whether it is as it must be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    far::Far,
    oracle::{COPIES_MAX, Class, Findings},
    schedule::Schedule,
};

/// How many of the things that are wrong are told one by one.
const TOLD_MAX: usize = 40;

/// The time since the drill's start, as the log has it.
pub(crate) fn time(start: Instant) -> String {
    format!("t = {:5.1} s ", start.elapsed().as_secs_f64())
}

struct Row {
    name: &'static str,
    value: String,
    is_good: bool,
}

/// The table.
pub(crate) struct Table {
    rows: Vec<Row>,
    faults: Vec<String>,
}

impl Table {
    pub(crate) fn new(findings: &Findings, far: &Far, schedule: &Schedule, is_drained: bool, restarts: usize, took: Duration) -> Self {
        let of = |class| findings.classes.get(&class).copied().unwrap_or_default();
        let sum: usize = findings.classes.values().sum();
        let copies =
            |is_meant: fn(usize) -> bool| findings.copies.iter().filter(|(count, _)| is_meant(**count)).map(|(_, replies)| replies).sum::<usize>();
        let more = copies(|count| count > COPIES_MAX);
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        schedule.events.iter().for_each(|event| *kinds.entry(event.trouble.kind().into()).or_default() += 1);
        let mut calls = far.ses.faults().happened();
        calls.extend(far.sink.faults().happened());
        calls.extend(far.sqs.iter().flat_map(|sqs| sqs.faults().happened()));
        let hits: u64 = calls.values().sum();
        let queue_left = findings.left_in_postfix + findings.left_in_queue;
        let row = |name, value: String, is_good| Row { name, value, is_good };
        let rows = vec![
            row(
                "accepted",
                format!(
                    "{} mails, {} requests ({} mails unknown, {} tries refused)",
                    findings.mails, findings.requests, findings.unknown, findings.tries
                ),
                true,
            ),
            row("answered", of(Class::Answered).to_string(), true),
            row("terminal records", of(Class::Recorded).to_string(), !findings.is_strict || of(Class::Recorded) == 0),
            row("refused with a verdict", of(Class::Refused).to_string(), true),
            row("silent, as they must be", of(Class::Silent).to_string(), true),
            row("lost", of(Class::Lost).to_string(), of(Class::Lost) == 0),
            row("sum of these = requests", sum.to_string(), sum == findings.requests),
            row("replies by state", list(&findings.states), true),
            row("dead letters by reason", list(&findings.parked), !findings.is_strict || findings.parked.is_empty()),
            row(
                "replies that came 0 / 1 / 2 / more times",
                format!("{} / {} / {} / {more}", copies(|count| count == 0), copies(|count| count == 1), copies(|count| count == 2)),
                more == 0,
            ),
            row(
                "ledger's requests, not explained",
                format!("{}, {}", findings.rows, findings.unexplained_rows),
                findings.unexplained_rows <= 2 * findings.unknown,
            ),
            row("strangers mailed", findings.strangers.to_string(), findings.strangers == 0),
            row("mailed by Postfix itself", findings.bounced.to_string(), findings.bounced == 0),
            row("left in Postfix and queue", queue_left.to_string(), is_drained && queue_left == 0),
            row("left claim checks", findings.claim_checks.to_string(), findings.claim_checks == 0),
            row("anything else that is wrong", findings.faults.len().to_string(), findings.faults.is_empty()),
            row("faults by kind", list(&kinds), true),
            row("calls that were hit, starts again", format!("{hits}, {restarts}"), true),
            row("duration", format!("{:.0} s", took.as_secs_f64()), true),
        ];
        Self { rows, faults: findings.faults.clone() }
    }

    /// Whether every row is as it must be.
    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.is_good)
    }

    pub(crate) fn print(&self, seed: u64) {
        self.faults.iter().take(TOLD_MAX).for_each(|fault| println!("WRONG {fault}"));
        println!("\nseed {seed}");
        for row in &self.rows {
            println!("{:4} {:42} {}", if row.is_good { "ok" } else { "FAIL" }, row.name, row.value);
        }
        println!("{}", if self.is_good() { "passed" } else { "FAILED" });
    }
}

fn list<V: std::fmt::Display>(counts: &BTreeMap<String, V>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}
