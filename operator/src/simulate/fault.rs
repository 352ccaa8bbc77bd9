//! What breaks in a simulation, as people type it: `kill@20m`, `ses-pause@20m+5m`.

use replyfleet_simulator::{
    plan::{Fault, FaultKind},
    report::duration as spoken,
};

use crate::table::duration;

/// Share of the receives that SQS refuses when it is said to err.
const SQS_ERROR_SHARE: f64 = 0.5;

/// A fault from its text.
///
/// # Errors
/// With the forms that there are.
pub(super) fn parse(text: &str) -> Result<Fault, String> {
    let wrong = || {
        "wants kill@TIME, zone@TIME, ses-pause@TIME+FOR, worker-away@TIME+FOR, sqs-errors@TIME+FOR or metrics-lost@TIME+FOR, such as ses-pause@20m+5m"
            .to_owned()
    };
    let (word, when) = text.split_once('@').ok_or_else(wrong)?;
    let (at, how_long) = match when.split_once('+') {
        Some((at, how_long)) => (at, Some(duration(how_long)?.as_millis() as u64)),
        None => (when, None),
    };
    let kind = match (word, how_long) {
        ("kill", None) => FaultKind::KillMachine,
        ("zone", None) => FaultKind::LoseZone,
        ("ses-pause", Some(for_ms)) => FaultKind::SesPause { for_ms },
        ("worker-away", Some(for_ms)) => FaultKind::WorkerAway { for_ms },
        ("sqs-errors", Some(for_ms)) => FaultKind::SqsErrors { for_ms, share: SQS_ERROR_SHARE },
        ("metrics-lost", Some(for_ms)) => FaultKind::MetricsLost { for_ms },
        _ => return Err(wrong()),
    };
    Ok(Fault { at_ms: duration(at)?.as_millis() as u64, kind })
}

/// A fault in words.
pub(super) fn words(fault: &Fault) -> String {
    let what = match fault.kind {
        FaultKind::KillMachine => "a machine dies".into(),
        FaultKind::LoseZone => "a zone is lost".into(),
        FaultKind::SesPause { for_ms } => format!("SES refuses everything for {}", spoken(for_ms)),
        FaultKind::WorkerAway { for_ms } => format!("one worker's own breaker is open for {}", spoken(for_ms)),
        FaultKind::SqsErrors { for_ms, share } => format!("SQS refuses {:.0} % of the receives for {}", share * 100.0, spoken(for_ms)),
        FaultKind::MetricsLost { for_ms } => format!("metrics are lost for {}", spoken(for_ms)),
    };
    format!("{what}, at {}", spoken(fault.at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_people_type_them() {
        assert_eq!(parse("kill@20m"), Ok(Fault { at_ms: 1_200_000, kind: FaultKind::KillMachine }));
        assert_eq!(parse("ses-pause@90s+5m"), Ok(Fault { at_ms: 90_000, kind: FaultKind::SesPause { for_ms: 300_000 } }));
        assert_eq!(words(&parse("metrics-lost@1h+10m").expect("valid")), "metrics are lost for 10 min, at 60 min");
        assert_eq!(words(&parse("worker-away@90s+5m").expect("valid")), "one worker's own breaker is open for 5 min, at 90 s");
        for text in ["", "kill", "kill@", "kill@20", "kill@1h+1h", "zone@1h+5m", "ses-pause@1h", "ses-pause@1h+", "flood@1h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
