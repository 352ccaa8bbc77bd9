//! States of a worker with six hours behind it, made by arithmetic: a quiet day, a surge, and a way out that is closed. What a real
//! worker serves has the same type; this is for the pictures, which cannot wait six hours.

use replyfleet_tests::faults::Random;
use replyfleet_worker::status::{
    history::MINUTES_MAX,
    view::{BreakerView, CatalogueView, EndedView, ErrorView, Minute, Percentiles, QueueView, SentView, State, Totals, View},
};

/// 2026-11-21 18:42:07 UTC.
const NOW: u64 = 1_795_286_527_000;
const MINUTE_MS: u64 = 60_000;
const SLOTS: usize = 32;

/// What a minute was like.
struct Weather {
    received: u64,
    answered: u64,
    busy: f64,
    /// Half of the answers were out within so many milliseconds ...
    p50: u64,
    /// ... and 95 and 99 of a hundred within so many tenths of that.
    tails: (u64, u64),
    depth: u64,
    oldest_s: Option<u64>,
}

fn minute(at_ms: u64, weather: &Weather, random: &mut Random) -> Minute {
    let &Weather { received, answered, busy, p50, tails, depth, oldest_s } = weather;
    let tail = |times: u64, random: &mut Random| (answered > 0).then(|| p50 * times / 10 + random.below(p50 * times / 40 + 1));
    let times = |random: &mut Random| Percentiles { count: answered, p50: tail(10, random), p95: tail(tails.0, random), p99: tail(tails.1, random) };
    Minute {
        at_ms,
        seconds: 60.0,
        received,
        answered,
        sent: answered * 2,
        busy_fraction: busy,
        processing_time: times(random),
        queue_wait: times(random),
        oldest_s,
        depth: Some(depth),
    }
}

/// So many hours of such weather, by minutes since their beginning, the newest last.
fn minutes(weather: impl Fn(u64, &mut Random) -> Weather) -> Vec<Minute> {
    let (all, mut random) = (MINUTES_MAX as u64, Random::new(6));
    (0..all)
        .map(|index| {
            let weather = weather(index, &mut random);
            minute(NOW - 20_000 - (all - 1 - index) * MINUTE_MS, &weather, &mut random)
        })
        .collect()
}

fn quiet(random: &mut Random) -> Weather {
    let received = random.below(9) + if random.below(4) == 0 { 6 } else { 0 };
    Weather {
        received,
        answered: received,
        busy: 0.004 * received as f64,
        p50: 260 + random.below(120),
        tails: (31, 62),
        depth: 0,
        oldest_s: Some(0),
    }
}

fn ended(counts: &[(&str, &str, u64)]) -> Vec<EndedView> {
    counts.iter().map(|(outcome, why, count)| EndedView { outcome: (*outcome).into(), why: (*why).into(), count: *count }).collect()
}

fn sent(counts: &[(&str, u64)]) -> Vec<SentView> {
    counts.iter().map(|(method, count)| SentView { method: (*method).into(), count: *count }).collect()
}

fn error(minutes_ago: u64, count: u64, level: &str, text: &str) -> ErrorView {
    let at_ms = NOW - minutes_ago * MINUTE_MS - 9_000;
    ErrorView { at_ms, first_ms: at_ms.saturating_sub(count * 31_000), count, level: level.into(), text: text.into() }
}

/// Hardly anybody asks, and everything works.
pub(crate) fn idle() -> View {
    let minutes = minutes(|_, random| quiet(random));
    View {
        at_ms: NOW,
        worker: "5f2c81d07ab94e63".into(),
        version: "0.1.0".into(),
        started_ms: NOW - 11 * 86_400_000 - 4_000_000,
        state: State::Answering,
        waits_for: None,
        is_alive: true,
        slots: SLOTS,
        in_hand: 0,
        queue: Some(QueueView::default()),
        catalogue: Some(CatalogueView { version: "9c1be0f25d44a7e8".into(), age_s: 41 }),
        switches: Vec::new(),
        is_shedding: false,
        breakers: Vec::new(),
        totals: Totals {
            ended: ended(&[
                ("answered", "", 61_204),
                ("ignored", "auto_submitted", 8_120),
                ("ignored", "over_allowance", 3_377),
                ("ignored", "unproven", 1_946),
                ("ignored", "mailing_list", 411),
                ("duplicate", "", 17),
            ]),
            response_sent: sent(&[("SES", 98_310), ("SMTP", 24_098)]),
        },
        last_hour: Totals {
            ended: ended(&[("answered", "", 263), ("ignored", "auto_submitted", 31), ("ignored", "over_allowance", 12), ("ignored", "unproven", 9)]),
            response_sent: sent(&[("SES", 411), ("SMTP", 115)]),
        },
        last_minute: minutes[minutes.len() - 1].clone(),
        minutes,
        errors: Vec::new(),
    }
}

/// For a quarter of an hour hundreds of times as many have asked as before; other workers have come, and the queue grows shorter.
pub(crate) fn surge() -> View {
    const BEGIN: u64 = 344;
    let minutes = minutes(|index, random| {
        let Some(since) = index.checked_sub(BEGIN) else { return quiet(random) };
        let came = (since * 900).min(1_840) + random.below(120);
        let depth = [0, 900, 3_100, 5_200, 6_900, 7_800, 8_050, 7_700, 7_100, 6_350, 5_600, 4_800, 4_050, 3_350, 2_700, 2_113][since as usize];
        let (answered, oldest_s) = (came - came / 6, depth / 140);
        let busy = (0.5 * since as f64).clamp(0.2, 0.98) + random.below(20) as f64 / 1_000.0;
        Weather { received: came, answered, busy, p50: 400 + oldest_s * 790, tails: (12, 14), depth, oldest_s: Some(oldest_s) }
    });
    let queue = QueueView { visible: 2_113, delayed: 64, in_flight: 256, oldest_s: Some(15) };
    View {
        in_hand: SLOTS,
        queue: Some(queue),
        is_shedding: true,
        switches: vec!["shedding=10".into()],
        totals: Totals {
            ended: ended(&[
                ("answered", "", 83_611),
                ("ignored", "over_allowance", 6_842),
                ("ignored", "auto_submitted", 8_344),
                ("ignored", "unproven", 4_105),
                ("retry", "pace", 418),
                ("ignored", "mailing_list", 411),
                ("duplicate", "", 17),
            ]),
            response_sent: sent(&[("SES", 139_857), ("SMTP", 27_365)]),
        },
        last_hour: Totals {
            ended: ended(&[
                ("answered", "", 22_407),
                ("ignored", "over_allowance", 3_465),
                ("ignored", "unproven", 559),
                ("retry", "pace", 418),
                ("ignored", "auto_submitted", 224),
            ]),
            response_sent: sent(&[("SES", 41_547), ("SMTP", 3_267)]),
        },
        last_minute: minutes[minutes.len() - 1].clone(),
        minutes,
        errors: vec![
            error(1, 418, "WARN", "a reply was not accepted; error: throttled: Maximum sending rate exceeded"),
            error(9, 1, "WARN", "what is switched has changed"),
        ],
        ..idle()
    }
}

/// SES has paused the account; what leaves by the relay goes on.
pub(crate) fn breaker_open() -> View {
    const BEGIN: u64 = 336;
    let minutes = minutes(|index, random| {
        let calm = quiet(random);
        match index.checked_sub(BEGIN) {
            None => calm,
            Some(since) => Weather { answered: calm.received / 4, depth: since * 4 + random.below(4), oldest_s: Some(random.below(50)), ..calm },
        }
    });
    View {
        in_hand: 1,
        queue: Some(QueueView { visible: 3, delayed: 95, in_flight: 1, oldest_s: Some(14) }),
        breakers: vec![BreakerView { name: "send.SES".into(), reason: "paused".into(), since_ms: NOW - 1_400_000 }],
        switches: vec!["address:get@responder.example=hold".into(), "attachments=off".into()],
        last_minute: minutes[minutes.len() - 1].clone(),
        minutes,
        errors: vec![
            error(0, 23, "ERROR", "a breaker is open; part: send.SES; reason: paused"),
            error(4, 3, "WARN", "message ended; outcome: retry; why: sender"),
            error(23, 4, "WARN", "a reply was not accepted; error: SES has paused sending for this account: AccountSuspendedException"),
            error(
                190,
                1,
                "ERROR",
                "the last good catalogue stays in force; error: catalogue catalogue/catalogue.json: line 211, column 9: address \"get@responder.example\": send_method \"FAX\" is not one of SES, SMTP",
            ),
        ],
        ..idle()
    }
}
