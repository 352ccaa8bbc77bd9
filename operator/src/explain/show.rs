//! What `replyfleet explain` prints: tables for people, JSON for programs.

use std::collections::BTreeMap;

use replyfleet_worker::judge::End;
use serde_json::json;

use super::Explained;
use crate::table::{table, verdict};

/// All rules for one mail.
pub(super) fn one(explained: &Explained, is_json: bool) {
    let facts = &explained.facts;
    if is_json {
        let steps: Vec<_> = explained
            .steps
            .iter()
            .map(|step| json!({ "rule": step.number, "looks_for": step.looks_for, "verdict": step.end.map_or("passes", word), "saw": step.saw }))
            .collect();
        // Without a judgement (a mail that cannot be read) both are null.
        let trust = explained.judgement.as_ref().map(|judgement| judgement.trust.word());
        let proof = explained.judgement.as_ref().map(|judgement| judgement.proof);
        let end = explained.word();
        println!("{}", json!({ "end": end, "trust": trust, "proof": proof, "replies": explained.replies, "bytes": explained.bytes, "rules": steps }));
        return;
    }
    let client = if facts.client_address.is_empty() { "no --client-address, so no SPF" } else { &facts.client_address };
    println!("MAIL FROM:<{}>  RCPT TO:<{}>  {} bytes  ({client})", facts.mail_from, facts.rcpt_to, explained.bytes);
    let mut rows = table(&["rule", "looks for", "verdict", "saw"]);
    for step in &explained.steps {
        let cell = step.end.map_or_else(|| verdict(true, "passes"), |end| verdict(false, word(end)));
        rows.add_row([step.number.to_string().into(), step.looks_for.into(), cell, step.saw.to_string().into()]);
    }
    println!("{rows}");
    match explained.end() {
        Some(End::Ignore(reason)) => println!("ignored: {}", reason.word()),
        Some(End::Later(wait)) => println!("comes again later: {}", wait.word()),
        None => println!("answered with {} replies", explained.replies),
    }
}

fn word(end: End) -> &'static str {
    match end {
        End::Ignore(reason) => reason.word(),
        End::Later(wait) => wait.word(),
    }
}

/// How many mails ended how.
pub(super) fn many(ends: &[(String, &'static str)], has_each: bool, is_json: bool) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, end) in ends {
        *counts.entry(end).or_default() += 1;
    }
    if is_json {
        let mut all = json!({ "mails": ends.len(), "ends": counts });
        if has_each {
            all["each"] = ends.iter().map(|(name, end)| json!({ "mail": name, "end": end })).collect();
        }
        println!("{all}");
        return;
    }
    if has_each {
        for (name, end) in ends {
            println!("{end:<20} {name}");
        }
        println!();
    }
    let mut rows = table(&["end", "mails", "share"]);
    let mut by_count: Vec<_> = counts.into_iter().collect();
    by_count.sort_by_key(|&(end, count)| (end != "answered", std::cmp::Reverse(count), end));
    for (end, count) in by_count {
        let share = format!("{:.1} %", 100.0 * count as f64 / ends.len() as f64);
        rows.add_row([verdict(end == "answered", end), count.to_string().into(), share.into()]);
    }
    println!("{rows}\n{} mails", ends.len());
}
