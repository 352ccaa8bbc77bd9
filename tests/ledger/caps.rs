//! Rule 26: what goes to one domain, one network, out of one address of ours, and in all.

use std::time::Duration;

use replyfleet::settings::Trust;
use replyfleet_worker::ledger::{Ledger, LedgerError, Verdict};

use crate::bed::{Ask, Bed, MANY, MIDNIGHT, OVER_CAP, T0, allowance, answered, at_once, at_once_by_their_clocks, promise, secret};

const SECOND: Duration = Duration::from_secs(1);

promises! {
    each_cap_lets_exactly_as_many_through_however_many_ask_at_once,
    each_cap_of_attachments_is_exact_and_the_others_get_small_answers,
    a_cap_counts_what_it_is_for_and_nothing_else,
    an_exempt_domain_has_no_cap_and_its_network_only_for_the_proven,
    without_an_address_of_the_client_no_network_is_counted,
    a_cap_slides_with_its_window,
    a_cap_reaches_over_midnight,
    workers_on_both_sides_of_midnight_keep_each_cap_exactly,
    a_list_of_exempt_domains_with_what_is_none_is_refused,
    where_nothing_small_is_left_a_cap_of_attachments_is_a_cap,
    what_is_refused_takes_nothing_from_any_cap,
    a_storm_of_mixed_senders_under_all_caps_ends_without_errors,
}

/// Each cap, with requests that have nothing in common but what it counts.
const CAPS: [&str; 4] = ["per_domain", "per_network", "per_address", "total"];

fn settings(cap: &str, answers: usize, attachments: usize) -> String {
    let defaults = [("per_domain", "null"), ("per_network", "null")].into_iter().filter(|(other, _)| *other != cap);
    let others: String = defaults.map(|(other, none)| format!(r#", "{other}": {none}"#)).collect();
    format!(r#""answers_per_sender": 100, "attachments_per_sender": 100, "{cap}": {{"answers": {answers}, "attachments": {attachments}}}{others}"#)
}

/// Request `number` of those that only this cap counts together; no other cap's request is the same.
fn under(cap: &str, number: usize) -> Ask {
    let mut ask = Ask::new(format!("{cap}{number}"), &format!("a{number}@domain{number}.org"));
    ask.client = format!("198.51.{number}.1");
    ask.responder = format!("get{number}@example.com");
    match cap {
        "per_domain" => ask.sender = format!("a{number}@domain.org"),
        "per_network" => ask.client = format!("192.0.2.{number}"),
        "per_address" => ask.responder = "get@example.com".into(),
        _ => {}
    }
    ask
}

async fn each_cap_lets_exactly_as_many_through_however_many_ask_at_once(bed: &Bed) {
    for (index, cap) in CAPS.into_iter().enumerate() {
        let workers = bed.workers(&settings(cap, 9, 9)).await;
        // Apart from each other by more than a window.
        let now = T0 + SECOND * 7_200 * u32::try_from(index).unwrap();
        let progress = at_once(&workers, (0..MANY).map(|number| under(cap, number)), now).await;
        assert_eq!(answered(&progress).0, 9, "{cap}");
        assert!(progress.iter().all(|one| one.verdict == Verdict::Answer || (one.verdict == OVER_CAP && one.replies.is_empty())));
    }
}

async fn each_cap_of_attachments_is_exact_and_the_others_get_small_answers(bed: &Bed) {
    for (index, cap) in CAPS.into_iter().enumerate() {
        let workers = bed.workers(&settings(cap, 20, 6)).await;
        let now = T0 + SECOND * 7_200 * u32::try_from(index).unwrap();
        let progress = at_once(&workers, (0..32).map(|number| under(cap, number)), now).await;
        assert_eq!(answered(&progress), (20, 6), "{cap}");
    }
}

async fn a_cap_counts_what_it_is_for_and_nothing_else(bed: &Bed) {
    for cap in ["per_domain", "per_network", "per_address"] {
        let ledger = bed.ledger(&settings(cap, 1, 1)).await;
        for number in 0..3 {
            let other = Ask { responder: format!("{cap}{number}@example.com"), ..under("none", number) };
            let ask = Ask { key: format!("{cap}{number}"), mail: format!("{cap}{number}"), identity: format!("{cap}{number}"), ..other };
            assert_eq!(ask.verdict(&ledger, T0).await, Verdict::Answer, "{cap} of another");
        }
    }
    let ledger = bed.ledger(&settings("per_domain", 1, 1)).await;
    let sub_domain = Ask { sender: "a@sub.domain0.org".into(), ..Ask::new("sub", "x@y.org") };
    assert_eq!(sub_domain.verdict(&ledger, T0).await, Verdict::Answer, "a sub-domain is a domain of its own");
}

async fn an_exempt_domain_has_no_cap_and_its_network_only_for_the_proven(bed: &Bed) {
    let cap = r#"{"answers": 1, "attachments": 1}"#;
    let both = format!(r#""per_domain": {cap}, "per_network": {cap}, "exempt_domains": ["Example.org"]"#);
    let ledger = bed.ledger(&both).await;
    let proven = |number: usize| Ask { is_proven: true, ..Ask::new(number, &format!("a{number}@mail.example.org")) };
    for number in 0..3 {
        assert_eq!(proven(number).verdict(&ledger, T0).await, Verdict::Answer);
    }
    let unproven = |number: usize| Ask { is_proven: false, ..proven(number) };
    assert_eq!(unproven(3).verdict(&ledger, T0).await, Verdict::Answer, "the first of its network that counts");
    assert_eq!(unproven(4).verdict(&ledger, T0).await, OVER_CAP);
    assert_eq!(Ask { client: "198.51.100.1".into(), ..unproven(5) }.verdict(&ledger, T0).await, Verdict::Answer, "another network");

    for spelling in ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"] {
        let ledger = bed.ledger(&both.replace("Example.org", spelling)).await;
        for sender in ["a@bücher.example", "b@xn--bcher-kva.example", "c@Mail.Bücher.example"] {
            let ask = Ask { is_proven: true, ..Ask::new(format!("{spelling}{sender}"), sender) };
            assert_eq!(ask.verdict(&ledger, T0).await, Verdict::Answer, "{sender} is of {spelling}");
        }
    }
}

async fn a_list_of_exempt_domains_with_what_is_none_is_refused(bed: &Bed) {
    bed.ledger("").await;
    for bad in ["@bigmail.example", "*.bigmail.example", "someone@bigmail.example", "example", "", "https://bigmail.example"] {
        let mut allowance = allowance("");
        allowance.exempt_domains.push(bad.into());
        for opened in [Ledger::open(&bed.url, secret(), allowance.clone()).await, Ledger::join(&bed.url, secret(), allowance.clone()).await] {
            let error = opened.err().expect(bad);
            assert!(matches!(&error, LedgerError::ExemptDomain(entry) if entry == bad), "{error}");
            assert!(error.to_string().starts_with(&format!("allowance.exempt_domains: {bad:?} is not a domain; write ")), "{error}");
        }
    }
}

async fn without_an_address_of_the_client_no_network_is_counted(bed: &Bed) {
    let ledger = bed.ledger(&settings("per_network", 1, 1)).await;
    for (number, client) in ["", "unknown", "", "unknown"].into_iter().enumerate() {
        let ask = Ask { client: client.into(), ..under("total", number) };
        assert_eq!(ask.verdict(&ledger, T0).await, Verdict::Answer);
    }
}

async fn a_cap_slides_with_its_window(bed: &Bed) {
    let text = format!(r#"{}, "cap_window_s": 60"#, settings("total", 2, 2));
    let ledger = bed.ledger(&text).await;
    let verdict = async |number: usize, second: u32| under("total", number).verdict(&ledger, T0 + SECOND * second).await;
    assert_eq!(verdict(0, 0).await, Verdict::Answer);
    assert_eq!(verdict(1, 30).await, Verdict::Answer);
    assert_eq!(verdict(2, 59).await, OVER_CAP);
    assert_eq!(verdict(3, 62).await, Verdict::Answer, "the first has left the window");
    assert_eq!(verdict(4, 89).await, OVER_CAP, "the second has not");
    assert_eq!(verdict(5, 92).await, Verdict::Answer);
}

async fn a_cap_reaches_over_midnight(bed: &Bed) {
    let ledger = bed.ledger(&settings("per_domain", 2, 2)).await;
    assert_eq!(under("per_domain", 0).verdict(&ledger, MIDNIGHT - SECOND).await, Verdict::Answer);
    assert_eq!(under("per_domain", 1).verdict(&ledger, MIDNIGHT + SECOND).await, Verdict::Answer);
    assert_eq!(under("per_domain", 2).verdict(&ledger, MIDNIGHT + SECOND).await, OVER_CAP);
    let other = bed.ledger(&settings("per_domain", 2, 2)).await;
    assert_eq!(under("per_domain", 3).verdict(&other, MIDNIGHT + SECOND * 3_000).await, OVER_CAP);
    assert_eq!(under("per_domain", 4).verdict(&other, MIDNIGHT + SECOND * 3_700).await, Verdict::Answer);
}

async fn workers_on_both_sides_of_midnight_keep_each_cap_exactly(bed: &Bed) {
    for cap in CAPS {
        let workers = bed.workers(&settings(cap, 9, 4)).await;
        let progress =
            at_once_by_their_clocks(&workers, (0..MANY).map(|number| under(cap, number)), &[MIDNIGHT - SECOND, MIDNIGHT + SECOND * 30]).await;
        assert_eq!(answered(&progress), (9, 4), "{cap}");
    }
}

async fn where_nothing_small_is_left_a_cap_of_attachments_is_a_cap(bed: &Bed) {
    let ledger = bed.ledger(&settings("total", 9, 1)).await;
    let ask = |number: usize| Ask { responses: vec![promise("full", Trust::Full)], ..under("total", number) };
    assert_eq!(ask(0).verdict(&ledger, T0).await, Verdict::Answer);
    let second = ask(1).admit(&ledger, T0).await;
    assert_eq!((second.verdict, second.granted), (OVER_CAP, Trust::None));
    assert_eq!(ask(1).admit(&ledger, T0).await, second, "a verdict stands");
}

async fn what_is_refused_takes_nothing_from_any_cap(bed: &Bed) {
    let text = r#""per_domain": {"answers": 1, "attachments": 1}, "per_network": null, "total": {"answers": 2, "attachments": 2}"#;
    let ledger = bed.ledger(text).await;
    assert_eq!(under("per_domain", 0).verdict(&ledger, T0).await, Verdict::Answer);
    for number in 1..5 {
        assert_eq!(under("per_domain", number).verdict(&ledger, T0).await, OVER_CAP);
    }
    assert_eq!(Ask::new("x", "a@elsewhere.org").verdict(&ledger, T0).await, Verdict::Answer, "one of the fleet's two is left");
}

async fn a_storm_of_mixed_senders_under_all_caps_ends_without_errors(bed: &Bed) {
    let cap = |answers: usize| format!(r#"{{"answers": {answers}, "attachments": {}}}"#, answers / 2);
    let text = format!(
        r#""answers_per_sender": 12, "attachments_per_sender": 12, "per_domain": {}, "per_network": {}, "per_address": {}, "total": {}"#,
        cap(40),
        cap(60),
        cap(100),
        cap(150)
    );
    let workers = bed.workers(&text).await;
    let asks = (0..240).map(|number| {
        let mut ask = Ask::new(number, &format!("a{}@domain{}.org", number % 24, number % 5));
        ask.client = format!("192.0.{}.1", number % 3);
        ask.responder = format!("get{}@example.com", number % 2);
        ask
    });
    let (answers, attachments) = answered(&at_once(&workers, asks, T0).await);
    assert_eq!((answers, attachments), (150, 75), "the cap that binds is the fleet's");
}
