//! The table at the end of a drill: each row is a number, and whether it is as it must be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use replyfleet::queue::BATCH_MAX;

use super::{
    Arguments,
    far::Far,
    injector::CLIENTS,
    oracle::{COPIES_MAX, Class, Findings},
    schedule::{Schedule, Trouble},
};

/// Of so many requests one may end with a record in the place of a reply, which two tries whose end was not seen explain: no
/// fault here lasts long, and what is uncertain has mostly arrived.
const RECORDED_EVERY: usize = 100;
/// In a small drill, where faults lie close together and on a busy machine last longer, more: so many for each fault.
const RECORDED_A_FAULT: usize = 1;
/// States of a reply that none of the faults here may bring about.
const NEVER: [&str; 3] = ["refused", "expired", "too_big"];
/// Caps that are set and charged for each answer: its domain's, its network's, and the asked address's.
const CAPS: u64 = 3;
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

/// How the drill went.
pub(crate) struct Course<'a> {
    pub(crate) schedule: &'a Schedule,
    /// Whether each of its faults took effect.
    pub(crate) effects: Vec<bool>,
    pub(crate) is_drained: bool,
    pub(crate) restarts: usize,
    pub(crate) took: Duration,
}

impl Course<'_> {
    /// How many faults of some kinds took effect.
    fn took_effect(&self, is_meant: impl Fn(&Trouble) -> bool) -> usize {
        self.schedule.events.iter().zip(&self.effects).filter(|(event, is_done)| **is_done && is_meant(&event.trouble)).count()
    }
}

/// The table.
pub(crate) struct Table {
    rows: Vec<Row>,
    faults: Vec<String>,
}

impl Table {
    pub(crate) fn new(arguments: &Arguments, findings: &Findings, far: &Far, course: &Course<'_>) -> Self {
        let of = |class| findings.classes.get(&class).copied().unwrap_or_default();
        let sum: usize = findings.classes.values().sum();
        let copies =
            |is_meant: fn(usize) -> bool| findings.copies.iter().filter(|(count, _)| is_meant(**count)).map(|(_, replies)| replies).sum::<usize>();
        let more = copies(|count| count > COPIES_MAX);
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        course.schedule.events.iter().for_each(|event| *kinds.entry(event.trouble.kind().into()).or_default() += 1);
        let mut calls = far.ses.faults().happened();
        calls.extend(far.sink.faults().happened());
        calls.extend(far.sqs.iter().flat_map(|sqs| sqs.faults().happened()));
        let hits: u64 = calls.values().sum();
        let (in_effect, unknown_max) =
            (course.took_effect(|_| true), CLIENTS * course.took_effect(|trouble| matches!(trouble, Trouble::KillPostfix)));
        let recorded_max = if findings.is_strict { 0 } else { (findings.requests / RECORDED_EVERY).max(arguments.faults * RECORDED_A_FAULT) };
        // Each kill may come between the end of a batch of messages and that of their mails.
        let orphans_max = BATCH_MAX * course.took_effect(|trouble| matches!(trouble, Trouble::KillWorker(_) | Trouble::KillAllWorkers));
        let queue_left = findings.left_in_postfix + findings.left_in_queue;
        let row = |name, value: String, is_good| Row { name, value, is_good };
        let rows = vec![
            row(
                "accepted",
                format!(
                    "{} mails, {} requests ({} mails unknown, {} tries refused)",
                    findings.mails, findings.requests, findings.unknown, findings.tries
                ),
                findings.mails + findings.unknown == arguments.mails && findings.unknown <= unknown_max,
            ),
            row("answered", of(Class::Answered).to_string(), true),
            row("terminal records", of(Class::Recorded).to_string(), of(Class::Recorded) <= recorded_max),
            row("refused with a verdict", of(Class::Refused).to_string(), true),
            row("silent, as they must be", of(Class::Silent).to_string(), true),
            row("lost", of(Class::Lost).to_string(), of(Class::Lost) == 0),
            row("sum of these = requests", sum.to_string(), sum == findings.requests),
            row("replies by state", list(&findings.states), NEVER.iter().all(|state| !findings.states.contains_key(*state))),
            row("dead letters by reason", list(&findings.parked), findings.parked.is_empty()),
            row(
                "answers, charges of the caps",
                format!("{}, {}", findings.answer_rows, findings.charged),
                findings.charged == CAPS * findings.answer_rows,
            ),
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
            row("left in Postfix and queue", queue_left.to_string(), course.is_drained && queue_left == 0),
            row("left claim checks", findings.claim_checks.to_string(), findings.claim_checks <= orphans_max),
            row("anything else that is wrong", findings.faults.len().to_string(), findings.faults.is_empty()),
            row("faults scheduled, by kind", list(&kinds), true),
            row("faults that took effect", format!("{in_effect} of {}", course.effects.len()), in_effect >= arguments.faults),
            row("calls that were hit, starts again", format!("{hits}, {}", course.restarts), true),
            row("duration", format!("{:.0} s", course.took.as_secs_f64()), true),
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
