//! Rule 29 and the fleet: switches, the workers that show themselves, the census.

use std::time::Duration;

use replyfleet_worker::{
    ledger::{Claim, Try, WorkerRow},
    reason::Reason,
    switches::{Setting, Shedding, State, Switches},
};

use crate::bed::{Ask, Bed, T0, address};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

promises! {
    a_switch_that_one_worker_sets_is_seen_by_all,
    a_switch_that_is_back_where_it_was_leaves_no_trace_after_a_day,
    a_worker_is_seen_for_two_minutes_and_then_gone,
    the_census_counts_verdicts_and_states_of_an_hour_and_a_day,
}

async fn a_switch_that_one_worker_sets_is_seen_by_all(bed: &Bed) {
    let (one, other) = (bed.ledger("").await, bed.ledger("").await);
    assert_eq!(other.switches().await.expect("read"), Switches::default());
    for (name, value) in [
        ("all", "hold"),
        ("attachments", "off"),
        ("address:get@example.com", "off"),
        ("address:Gét@example.com", "hold"),
        ("provider:example.org", "hold"),
        ("shedding", "600"),
    ] {
        let before = other.switches().await.expect("read").version;
        one.set_switch(&Setting::parse(name, value).expect(name), T0).await.expect("set");
        assert_ne!(other.switches().await.expect("read").version, before, "{name}");
    }
    let switches = other.switches().await.expect("read");
    assert_eq!((switches.all, switches.has_attachments, switches.addresses.len()), (State::Hold, false, 2));
    assert_eq!(switches.shedding, Some(Shedding::After(Duration::from_secs(600))));
    assert_eq!(switches.address(&address("get+x@example.com")), State::Off);
    one.set_switch(&Setting::All(State::On), T0 + MINUTE).await.expect("set");
    assert_eq!(other.switches().await.expect("read").all, State::On);
}

async fn a_switch_that_is_back_where_it_was_leaves_no_trace_after_a_day(bed: &Bed) {
    let ledger = bed.ledger("").await;
    for setting in [Setting::All(State::On), Setting::Shedding(None), Setting::Provider("example.org".into(), State::Off)] {
        ledger.set_switch(&setting, T0).await.expect("set");
    }
    assert_eq!(ledger.forget_old(T0 + DAY).await.expect("forget"), 0);
    assert_eq!(ledger.forget_old(T0 + DAY + MINUTE).await.expect("forget"), 2);
    assert_eq!(ledger.switches().await.expect("read").providers.len(), 1);
}

async fn a_worker_is_seen_for_two_minutes_and_then_gone(bed: &Bed) {
    let ledger = bed.ledger("").await;
    let worker = |id: &str, started, seen| WorkerRow {
        id: id.into(),
        started,
        seen,
        switches: "0123456789abcdef".into(),
        is_shedding: false,
        catalogue: "c".into(),
    };
    ledger.beat(&worker("old", T0, T0)).await.expect("beat");
    ledger.beat(&worker("new", T0 + MINUTE, T0 + MINUTE)).await.expect("beat");
    let again = WorkerRow { is_shedding: true, ..worker("new", T0 + MINUTE, T0 + MINUTE * 2) };
    ledger.beat(&again).await.expect("beat");
    assert_eq!(ledger.workers(T0 + MINUTE * 2).await.expect("seen"), [worker("old", T0, T0), again.clone()]);
    assert_eq!(ledger.workers(T0 + MINUTE * 3).await.expect("seen"), [again]);
    assert_eq!(ledger.forget_old(T0 + DAY + MINUTE).await.expect("forget"), 1);
}

async fn the_census_counts_verdicts_and_states_of_an_hour_and_a_day(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1"#).await;
    let now = T0 + Duration::from_secs(7_200);
    Ask::new(1, "a@b.org").admit(&ledger, T0).await;
    Ask::new(2, "a@b.org").admit(&ledger, now).await;
    Ask::new(3, "c@b.org").admit(&ledger, now).await;
    ledger.ignore("k4", Reason::Report, now).await.expect("noted");
    let Claim::Granted(attempt) = ledger.claim("k1", 0, T0, MINUTE).await.expect("claim") else { panic!("not granted") };
    ledger.record("k1", 0, attempt, Try::Sent).await.expect("record");
    let census = ledger.census(now).await.expect("counted");
    assert_eq!(census.hour.requests.into_iter().collect::<Vec<_>>(), [("answer", 1), ("over_allowance", 1), ("report", 1)]);
    assert_eq!(census.hour.replies.into_iter().collect::<Vec<_>>(), [("pending", 2)]);
    assert_eq!(census.day.requests.into_iter().collect::<Vec<_>>(), [("answer", 2), ("over_allowance", 1), ("report", 1)]);
    assert_eq!(census.day.replies.into_iter().collect::<Vec<_>>(), [("pending", 3), ("sent", 1)]);
}
