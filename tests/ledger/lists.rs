//! Rules 7 and 28: the block, allow and suppression lists, and forgetting a person.

use std::time::Duration;

use replyfleet::settings::Trust;
use replyfleet_worker::ledger::{Forgotten, Ledger, ListEntry, ListKind, ListReason, Listed, Verdict};

use crate::bed::{Ask, Bed, OVER, T0, address};

const HOUR: Duration = Duration::from_secs(3_600);

promises! {
    an_entry_covers_all_spellings_of_an_address_and_all_sub_domains,
    only_the_from_address_can_be_allowed,
    an_entry_holds_until_it_is_removed_or_runs_out,
    an_entry_that_is_added_again_is_renewed,
    entries_are_counted_for_each_list,
    who_is_forgotten_starts_anew_but_stays_blocked,
}

fn entry(text: &str) -> ListEntry {
    ListEntry::parse(text).expect(text)
}

async fn add(ledger: &Ledger, kind: ListKind, text: &str) {
    ledger.list_add(kind, &entry(text), ListReason::Operator, None, T0).await.expect("added");
}

async fn listed(ledger: &Ledger, senders: &[&str]) -> Listed {
    let senders: Vec<_> = senders.iter().map(|sender| address(sender)).collect();
    ledger.listed(&senders.iter().collect::<Vec<_>>(), T0).await.expect("asked")
}

const NOTHING: Listed = Listed { is_blocked: false, is_suppressed: false, is_allowed: false };

async fn an_entry_covers_all_spellings_of_an_address_and_all_sub_domains(bed: &Bed) {
    let ledger = bed.ledger("").await;
    add(&ledger, ListKind::Block, "Some.One@gmail.com").await;
    add(&ledger, ListKind::Block, "Bücher.example").await;
    add(&ledger, ListKind::Suppress, "gone@example.org").await;
    for blocked in ["someone+tag@googlemail.com", "x@xn--bcher-kva.example", "y@mail.BÜCHER.example"] {
        assert_eq!(listed(&ledger, &[blocked]).await, Listed { is_blocked: true, ..NOTHING }, "{blocked}");
        assert!(listed(&ledger, &["fine@example.org", blocked]).await.is_blocked, "as MAIL FROM");
    }
    for fine in ["someone.else@gmail.com", "x@notxn--bcher-kva.example", "fine@example.org", "x@example"] {
        if let Some(fine) = replyfleet_worker::address::Address::parse(fine) {
            assert_eq!(ledger.listed(&[&fine], T0).await.expect("asked"), NOTHING);
        }
    }
    assert_eq!(listed(&ledger, &["gone@example.org"]).await, Listed { is_suppressed: true, ..NOTHING });
    assert_eq!(ledger.listed(&[], T0).await.expect("asked"), NOTHING);
}

async fn only_the_from_address_can_be_allowed(bed: &Bed) {
    let ledger = bed.ledger("").await;
    add(&ledger, ListKind::Allow, "example.org").await;
    add(&ledger, ListKind::Allow, "friend@example.net").await;
    assert!(listed(&ledger, &["a@mail.example.org", "b@bounces.example.com"]).await.is_allowed);
    assert!(listed(&ledger, &["friend@example.net"]).await.is_allowed);
    assert!(!listed(&ledger, &["a@example.com", "friend@example.net", "b@example.org"]).await.is_allowed, "MAIL FROM is anybody's");
}

async fn an_entry_holds_until_it_is_removed_or_runs_out(bed: &Bed) {
    let ledger = bed.ledger("").await;
    ledger.list_add(ListKind::Suppress, &entry("a@b.org"), ListReason::Bounce, Some(T0 + HOUR), T0).await.expect("added");
    let at = async |now| ledger.listed(&[&address("a@b.org")], now).await.expect("asked").is_suppressed;
    assert!(at(T0).await && !at(T0 + HOUR).await);
    assert_eq!(ledger.forget_old(T0).await.expect("forget"), 0);
    assert_eq!(ledger.forget_old(T0 + HOUR).await.expect("forget"), 1);
    add(&ledger, ListKind::Block, "b.org").await;
    assert!(!ledger.list_remove(ListKind::Allow, &entry("b.org")).await.expect("not there"), "another list's");
    assert!(ledger.list_remove(ListKind::Block, &entry("B.org")).await.expect("removed"));
    assert!(!ledger.list_remove(ListKind::Block, &entry("b.org")).await.expect("gone"));
    assert_eq!(listed(&ledger, &["a@b.org"]).await, NOTHING);
}

async fn an_entry_that_is_added_again_is_renewed(bed: &Bed) {
    let ledger = bed.ledger("").await;
    for expires in [Some(T0 + HOUR), None] {
        ledger.list_add(ListKind::Block, &entry("b.org"), ListReason::Operator, expires, T0).await.expect("added");
    }
    assert!(ledger.listed(&[&address("a@b.org")], T0 + HOUR * 2).await.expect("asked").is_blocked);
}

async fn entries_are_counted_for_each_list(bed: &Bed) {
    let ledger = bed.ledger("").await;
    add(&ledger, ListKind::Block, "b.org").await;
    add(&ledger, ListKind::Block, "a@b.org").await;
    add(&ledger, ListKind::Allow, "b.org").await;
    let counts = ledger.list_counts(T0).await.expect("counted");
    assert_eq!(counts, [(ListKind::Block, 2), (ListKind::Allow, 1), (ListKind::Suppress, 0)]);
}

async fn who_is_forgotten_starts_anew_but_stays_blocked(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 2, "attachments_per_sender": 1"#).await;
    // Of two days.
    let yesterday = T0 - HOUR * 20;
    Ask::new(1, "a@b.org").admit(&ledger, yesterday).await;
    Ask::new(2, "A+x@b.org").admit(&ledger, T0).await;
    Ask::new(3, "other@b.org").admit(&ledger, T0).await;
    assert_eq!(Ask::new(4, "a@b.org").verdict(&ledger, T0).await, OVER);
    for kind in ListKind::ALL {
        add(&ledger, kind, "a@b.org").await;
        add(&ledger, kind, "other@b.org").await;
    }
    let forgotten = ledger.forget(&address("a+y@B.org"), T0).await.expect("forgotten");
    assert_eq!(forgotten, Forgotten { requests: 3, entries: 2, is_blocked: true });
    assert_eq!(ledger.forget(&address("a@b.org"), T0).await.expect("again"), Forgotten { is_blocked: true, ..Forgotten::default() });
    assert_eq!(Ask { identity: "<2@id.example>".into(), ..Ask::new(5, "a@b.org") }.admit(&ledger, T0).await.granted, Trust::Full);
    assert_eq!(ledger.recall("k2").await.expect("recall").expect("known").verdict, Verdict::Answer, "a verdict stands");
    assert_eq!(listed(&ledger, &["a@b.org"]).await, Listed { is_blocked: true, ..NOTHING });
    assert_eq!(listed(&ledger, &["other@b.org"]).await, Listed { is_blocked: true, is_suppressed: true, is_allowed: true });
}
