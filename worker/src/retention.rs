//! Whether what is kept is kept for long enough, and no limit of the queue is narrower than our own. Pure.
//!
//! A request must be remembered for longer than its message can come again, or a late replay answers it twice; a message must
//! live for longer than it may wait, or a request is lost without a word.

use std::time::Duration;

use replyfleet::{queue::Limits, settings::Settings};

/// What is wrong with the settings and what the queue says of itself: a sentence each, with the remedy.
pub fn faults(settings: &Settings, limits: &Limits) -> Vec<String> {
    let mut faults = Vec::new();
    let remembered = settings.database.retention_s.duration();
    let waits_for = settings.screen.age_max_s.duration();
    // Where the queue has no end of its own, a message ends with its age: its next receive gives it up.
    let queued = limits.retention.unwrap_or(waits_for);
    let parked = limits.parked_retention.unwrap_or_default();
    if remembered < queued + parked {
        faults.push(format!(
            "database.retention_s is {}, but a message can be in the queue for {} and parked for {}: replayed after that it is answered \
             twice; make database.retention_s longer",
            in_words(remembered),
            in_words(queued),
            in_words(parked)
        ));
    }
    if let Some(retention) = limits.retention.filter(|&retention| retention <= waits_for) {
        faults.push(format!(
            "the queue keeps a message for {}, and screen.age_max_s lets it wait for {}: it can vanish without a record; set the \
             queue's MessageRetentionPeriod to 14 days",
            in_words(retention),
            in_words(waits_for)
        ));
    }
    if let (Some(retention), Some(parked)) = (limits.retention, limits.parked_retention)
        && parked < retention
    {
        // What SQS itself moves keeps the time at which it was first sent (SQS Developer Guide, dead-letter queues).
        faults.push(format!(
            "the dead letters are kept for {}, shorter than the queue's {}: what SQS moves there may be gone at once; set the dead-letter \
             queue's MessageRetentionPeriod to 14 days",
            in_words(parked),
            in_words(retention)
        ));
    }
    let receives_max = settings.worker.receives_max.get();
    if let Some(queues_own) = limits.receives_max.filter(|&queues_own| queues_own as usize <= receives_max) {
        faults.push(format!(
            "the queue's maxReceiveCount is {queues_own}, and worker.receives_max {receives_max}: what only waits is parked; make \
             maxReceiveCount larger, 1000 is the most"
        ));
    }
    let bytes_max = settings.queue.message_bytes_max.get();
    if let Some(queues_own) = limits.message_bytes_max.filter(|&queues_own| queues_own < bytes_max) {
        faults.push(format!(
            "the queue's MaximumMessageSize is {queues_own} bytes, and queue.message_bytes_max {bytes_max}: larger mail is deferred; make \
             one the other"
        ));
    }
    faults
}

/// As people say it: days, where it is days.
fn in_words(duration: Duration) -> String {
    const DAY_S: u64 = 86_400;
    match duration.as_secs() {
        seconds if seconds >= DAY_S && seconds.is_multiple_of(DAY_S) => format!("{} days", seconds / DAY_S),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn settings(extra: &str) -> Settings {
        let text = include_str!("../../docs/replyfleet.toml").replace("# retention_s = 3456000", extra);
        Settings::parse(&text, "docs/replyfleet.toml", |_| None).expect("valid")
    }

    #[test]
    fn what_is_kept_too_shortly_is_found() {
        let good =
            Limits { retention: Some(14 * DAY), parked_retention: Some(14 * DAY), receives_max: Some(1_000), message_bytes_max: Some(262_144) };
        let spool = Limits { parked_retention: Some(14 * DAY), ..Limits::default() };
        for (extra, limits, want) in [
            ("", good, &[][..]),
            ("", spool, &[]),
            ("", Limits::default(), &[]),
            ("retention_s = 2419200", good, &[]),
            ("retention_s = 2419199", good, &["answered twice"]),
            ("retention_s = 1555199", spool, &["answered twice"]),
            ("", Limits { retention: Some(4 * DAY), ..good }, &["vanish without a record"]),
            ("", Limits { parked_retention: Some(13 * DAY), ..good }, &["gone at once"]),
            ("", Limits { receives_max: Some(150), ..good }, &["what only waits is parked"]),
            ("", Limits { receives_max: Some(151), ..good }, &[]),
            ("", Limits { message_bytes_max: Some(262_143), ..good }, &["larger mail is deferred"]),
            ("retention_s = 86400", Limits { retention: Some(DAY), receives_max: Some(3), ..good }, &["twice", "vanish", "parked"]),
        ] {
            let found = faults(&settings(extra), &limits);
            assert_eq!(found.len(), want.len(), "{limits:?}: {found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.contains(want), "{found}");
            }
        }
    }
}
