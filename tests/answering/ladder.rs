//! The ladder of trust, from the zone to the Maildir: who is proven in full gets all, who is proven a little gets links,
//! nobody else gets anything, and who cannot be proven now is asked about later.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use replyfleet_tests::{
    dkim::Signer,
    dns::{Dns, Fault},
};
use replyfleet_worker::{
    ledger::{ListEntry, ListKind, ListReason},
    outcome::{Outcome, Wait},
    reason::Reason,
};

use crate::world::{Incoming, KNOWN_CLIENT, Plan, World, bare, guarded};

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        bare(zone, "signs.example");
        signer.publish(zone, "signs.example");
        guarded(zone, "spf.example", "");
        guarded(zone, "dmarc.example", "p=none");
        bare(zone, "bare.example");
    })
}

/// From the client that SPF records name.
fn from_known(from: &str) -> Incoming {
    Incoming { client: KNOWN_CLIENT, ..Incoming::of(from) }
}

#[tokio::test]
async fn each_level_of_trust_gets_what_it_may() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan::default()).await;
    let cases = [
        ("a signature", Incoming::of("a@signs.example").signed(&signer, "signs.example"), Outcome::Answered, (1, 1)),
        ("SPF and DMARC", from_known("a@dmarc.example"), Outcome::Answered, (1, 1)),
        ("SPF alone", from_known("a@spf.example"), Outcome::Answered, (1, 0)),
        ("nothing", Incoming::of("a@bare.example"), Outcome::Ignored(Reason::Unproven), (0, 0)),
        ("SPF for another client", Incoming::of("b@spf.example"), Outcome::Ignored(Reason::Unproven), (0, 0)),
    ];
    let mut sent = (0, 0);
    for (what, incoming, outcome, (links, files)) in cases {
        assert_eq!(world.ask(incoming).await, outcome, "{what}");
        sent = (sent.0 + links, sent.1 + files);
        assert_eq!(world.sent(), sent, "{what}");
    }
    let only_files = Incoming { rcpt_to: "files@responder.test".into(), ..from_known("b@spf.example") };
    assert_eq!(world.ask(only_files).await, Outcome::Ignored(Reason::Unproven), "an address that has nothing without attachments");
    world.ends_empty().await;
}

#[tokio::test]
async fn who_must_answer_the_unproven_gives_them_links_only() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan { authentication: ", unproven = \"small\"", ..Plan::default() }).await;
    assert_eq!(world.ask(Incoming::of("a@bare.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 0));
    assert_eq!(world.ask(Incoming::of("a@signs.example").signed(&signer, "signs.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (2, 1));
    world.ends_empty().await;
}

#[tokio::test]
async fn spf_alone_buys_what_the_settings_say() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    for (spf_only, outcome, sent) in [("none", Outcome::Ignored(Reason::Unproven), (0, 0)), ("full", Outcome::Answered, (1, 1))] {
        let mut world = World::start(&dns, &Plan { authentication: &format!(", spf_only = \"{spf_only}\""), ..Plan::default() }).await;
        assert_eq!(world.ask(from_known("a@spf.example")).await, outcome, "{spf_only}");
        assert_eq!(world.sent(), sent, "{spf_only}");
        world.ends_empty().await;
    }
}

/// What a name server does when it is in trouble, and where; each time the mail waits, and is answered in full once the
/// server is well. A request that waited has lost nothing.
async fn waits_for_dns(name: &str, fault: Fault) {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    dns.change(|zone| {
        zone.remove(name).fault(name, fault);
    });
    let mut world = World::start(&dns, &Plan::default()).await;
    let key = world.take(Incoming::of("a@signs.example").signed(&signer, "signs.example")).await;
    assert_eq!(world.end_of(&key).await, Outcome::Retry(Wait::Dns), "{name} {fault:?}");
    assert_eq!(world.sent(), (0, 0));
    dns.change(|zone| {
        zone.remove("signs.example").remove("s._domainkey.signs.example");
        bare(zone, "signs.example");
        signer.publish(zone, "signs.example");
    });
    assert_eq!(world.end_of(&key).await, Outcome::Answered, "{name} {fault:?}");
    assert_eq!(world.sent(), (1, 1));
    world.ends_empty().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_had_now_delays_the_answer() {
    tokio::join!(waits_for_dns("s._domainkey.signs.example", Fault::Failure), waits_for_dns("s._domainkey.signs.example", Fault::Silence));
}

#[tokio::test]
async fn a_domain_that_cannot_be_asked_now_delays_the_answer() {
    tokio::join!(waits_for_dns("signs.example", Fault::Failure), waits_for_dns("signs.example", Fault::Silence));
}

#[tokio::test]
async fn who_is_proven_a_little_waits_a_quarter_of_an_hour_for_more() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    dns.change(|zone| {
        zone.fault("s._domainkey.spf.example", Fault::Failure);
    });
    let mut world = World::start(&dns, &Plan::default()).await;
    let signed = || from_known("a@spf.example").signed(&signer, "spf.example");
    let key = world.take(signed()).await;
    assert_eq!(world.end_of(&key).await, Outcome::Retry(Wait::Dns), "the key may yet prove more than SPF");
    let long_ago = UnixMillis::now() - Duration::from_secs(16 * 60);
    let late = world.take(Incoming { arrived: long_ago, ..signed() }).await;
    assert_eq!(world.end_of(&late).await, Outcome::Retry(Wait::Dns), "one that waited in a long queue is asked about twice as well");
    assert_eq!(world.end_of(&late).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 0), "links, after a wait");
    dns.change(|zone| {
        zone.remove("s._domainkey.spf.example");
        signer.publish(zone, "spf.example");
    });
    assert_eq!(world.end_of(&key).await, Outcome::Answered);
    assert_eq!(world.sent(), (2, 1), "all, once the key is there");
    world.ends_empty().await;
}

#[tokio::test]
async fn a_key_that_would_decide_is_waited_for_longer_than_one_that_would_add() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    dns.change(|zone| {
        zone.fault("s._domainkey.spf.example", Fault::Failure);
    });
    let mut world = World::start(&dns, &Plan::default()).await;
    let long_ago = UnixMillis::now() - Duration::from_secs(16 * 60);
    let signed = from_known("a@spf.example").signed(&signer, "spf.example");
    let key = world.take(Incoming { arrived: long_ago, rcpt_to: "files@responder.test".into(), ..signed }).await;
    for _ in 0..2 {
        assert_eq!(world.end_of(&key).await, Outcome::Retry(Wait::Dns), "SPF alone would get nothing of this address");
    }
    dns.change(|zone| {
        zone.remove("s._domainkey.spf.example");
        signer.publish(zone, "spf.example");
    });
    assert_eq!(world.end_of(&key).await, Outcome::Answered);
    assert_eq!(world.sent(), (0, 1));
    world.ends_empty().await;
}

#[tokio::test]
async fn the_allow_list_lifts_the_allowance_of_those_who_are_proven_and_of_nobody_else() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan { more: "allowance = { answers_per_sender = 1 }", ..Plan::default() }).await;
    for domain in ["signs.example", "spf.example"] {
        let entry = ListEntry::parse(domain).unwrap();
        world.ledger().await.list_add(ListKind::Allow, &entry, ListReason::Operator, None, UnixMillis::now()).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(world.ask(Incoming::of("a@signs.example").signed(&signer, "signs.example")).await, Outcome::Answered);
    }
    assert_eq!(world.ask(from_known("a@spf.example")).await, Outcome::Answered);
    assert_eq!(world.ask(from_known("a@spf.example")).await, Outcome::Ignored(Reason::OverAllowance), "any tenant of its host could say so");
    world.ends_empty().await;
}
