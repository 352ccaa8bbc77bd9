//! A spoof flood: one client writes in the names of 10,000 people, in every way that forgers have. None of them gets a
//! byte from us, and the person who asks meanwhile is answered.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use replyfleet_tests::{
    dkim::Signer,
    dns::{Dns, Zone},
    eventually,
};
use replyfleet_worker::outcome::Outcome;

use crate::world::{CLIENT, Incoming, Plan, World, bare, guarded};

const VICTIMS: usize = 10_000;
/// Victims share their domains with this many others less one.
const PER_DOMAIN: usize = 10;
/// What a flood may take; unoptimised it is some twenty seconds on two cores beside other tests.
const FLOOD_TIME_MAX: Duration = Duration::from_secs(240);

/// How a mail is forged, and the word of the reason that it has to end with.
type Forgery = (&'static str, fn(&Forger, usize) -> Incoming, &'static str);

const FORGERIES: [Forgery; 14] = [
    ("DMARC says reject, and the client is not theirs", |_, n| Incoming::of(&guarded_victim(n)), "unproven"),
    ("SPF covers others, and there is no DMARC record", |_, n| Incoming::of(&soft_victim(n)), "unproven"),
    ("a domain without any record", |_, n| Incoming::of(&bare_victim(n)), "unproven"),
    ("results that claim a pass, in our name and others", |_, n| forged_results(n), "unproven"),
    ("a good signature of the forger's own domain", |forger, n| Incoming::of(&guarded_victim(n)).signed(&forger.signer, "attacker.net"), "unproven"),
    ("SPF passes for the forger's own envelope", |_, n| from_attacker(n, Incoming::of(&soft_victim(n))), "unproven"),
    (
        "the victim's domain as d=, the forger's key",
        |forger, n| Incoming::of(&guarded_victim(n)).signed(&forger.signer, &domain(n, "guarded.example")),
        "unproven",
    ),
    ("a domain with the victim's within it", |forger, n| lookalike(forger, n), "unproven"),
    ("a neighbour below a public suffix", |forger, n| neighbour(forger, n), "unproven"),
    ("a mail that the victim's domain did sign, with another From", |forger, n| replayed(forger, n), "unproven"),
    ("Sender, Reply-To and Return-Path of the forger's, signed", |forger, n| other_senders(forger, n), "unproven"),
    ("a second From, signed", |forger, n| second_from(forger, n), "unclear_from"),
    ("a bounce that never was", |_, n| Incoming { mail_from: String::new(), ..Incoming::of(&bare_victim(n)) }, "null_sender"),
    ("a domain that is not", |_, n| Incoming::of(&format!("victim{n}@{}", domain(n, "nowhere.example"))), "cannot_take_mail"),
];

/// What a forger has: a domain, a client that may send for it, and its key.
struct Forger {
    signer: Signer,
    /// The key of the victims' domains, with which they signed mail of their own.
    theirs: Signer,
}

fn domain(n: usize, below: &str) -> String {
    format!("d{}.{below}", n / PER_DOMAIN)
}

fn guarded_victim(n: usize) -> String {
    format!("victim{n}@{}", domain(n, "guarded.example"))
}

fn soft_victim(n: usize) -> String {
    format!("victim{n}@{}", domain(n, "soft.example"))
}

fn bare_victim(n: usize) -> String {
    format!("victim{n}@{}", domain(n, "bare.example"))
}

fn from_attacker(n: usize, incoming: Incoming) -> Incoming {
    Incoming { mail_from: format!("victim{n}@attacker.net"), helo: "attacker.net", ..incoming }
}

fn forged_results(n: usize) -> Incoming {
    let (victim, domain) = (bare_victim(n), domain(n, "bare.example"));
    Incoming::of(&victim).with_fields(&format!(
        "Authentication-Results: mx.responder.test; dmarc=pass header.from={domain};\r\n dkim=pass header.d={domain}; spf=pass smtp.mailfrom={victim}\r\n\
         Received-SPF: pass (mx.responder.test: domain of {victim} designates {CLIENT})\r\n\
         ARC-Authentication-Results: i=1; mx.google.com; dmarc=pass header.from={domain}\r\n\
         X-Spam-Status: No\r\n"
    ))
}

fn lookalike(forger: &Forger, n: usize) -> Incoming {
    let incoming = Incoming::of(&guarded_victim(n)).signed(&forger.signer, "guarded.example.attacker.net");
    Incoming { mail_from: format!("x@{}.attacker.net", domain(n, "guarded.example")), ..incoming }
}

fn neighbour(forger: &Forger, n: usize) -> Incoming {
    let incoming = Incoming::of(&format!("victim{n}@{}", domain(n, "github.io"))).signed(&forger.signer, "attacker.github.io");
    Incoming { mail_from: "x@attacker.github.io".into(), ..incoming }
}

fn replayed(forger: &Forger, n: usize) -> Incoming {
    let (victim, domain) = (soft_victim(n), domain(n, "soft.example"));
    let own = Incoming::of(&format!("colleague@{domain}")).signed(&forger.theirs, &domain);
    let mail = String::from_utf8(own.mail).unwrap().replace(&format!("colleague@{domain}"), &victim);
    Incoming { mail: mail.into(), mail_from: victim, ..own }
}

fn other_senders(forger: &Forger, n: usize) -> Incoming {
    let fields = "Return-Path: <x@attacker.net>\r\nSender: x@attacker.net\r\nReply-To: x@attacker.net\r\nResent-From: x@attacker.net\r\n";
    from_attacker(n, Incoming::of(&soft_victim(n)).with_fields(fields).signed(&forger.signer, "attacker.net"))
}

fn second_from(forger: &Forger, n: usize) -> Incoming {
    let incoming = Incoming::of("x@attacker.net").signed(&forger.signer, "attacker.net");
    from_attacker(n, incoming.with_fields(&format!("From: {}\r\n", bare_victim(n))))
}

fn fill(zone: &mut Zone, forger: &Forger) {
    for n in (0..VICTIMS).step_by(PER_DOMAIN) {
        guarded(zone, &domain(n, "guarded.example"), "p=reject");
        guarded(zone, &domain(n, "soft.example"), "");
        forger.theirs.publish(zone, &domain(n, "soft.example"));
        bare(zone, &domain(n, "bare.example"));
        bare(zone, &domain(n, "github.io"));
    }
    for own in ["attacker.net", "guarded.example.attacker.net", "attacker.github.io"] {
        bare(zone, own);
        zone.txt(own, format!("v=spf1 ip4:{CLIENT} -all")).txt(&format!("_dmarc.{own}"), "v=DMARC1; p=reject");
        forger.signer.publish(zone, own);
    }
    bare(zone, "person.example");
    forger.theirs.publish(zone, "person.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_forged_victims_get_nothing() {
    let forger = Forger { signer: Signer::new("a"), theirs: Signer::new("v") };
    let dns = Dns::start(|zone| fill(zone, &forger));
    let mut world = World::start(&dns, &Plan::default()).await;
    let start = Instant::now();
    let mut wanted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for n in 0..VICTIMS {
        let (_, forge, reason) = FORGERIES[n % FORGERIES.len()];
        world.take(forge(&forger, n)).await;
        *wanted.entry(("ignored", reason)).or_default() += 1;
    }
    println!("taken after {:?}", start.elapsed());
    eventually("the flood to end", FLOOD_TIME_MAX, async || (world.metrics.figures().ended.values().sum::<u64>() >= VICTIMS as u64).then_some(()))
        .await;
    println!("{VICTIMS} forged mails ended after {:?}, {} questions to DNS: {wanted:?}", start.elapsed(), dns.asked_in_all());
    assert_eq!(world.metrics.figures().ended, wanted, "every message ended once, with the reason of its forgery");
    assert_eq!(world.replies(), (vec![], vec![]), "0 bytes to victims");

    world.pass_over_the_ends_so_far();
    // The same worker, zones and client answer whom they should: the flood's silence was no accident.
    let person = Incoming::of("someone@person.example").signed(&forger.theirs, "person.example");
    assert_eq!(world.ask(person).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 1));
    world.ends_empty().await;
}

/// Each forgery alone, so that a failure names it.
#[tokio::test]
async fn every_forgery_ends_with_its_reason() {
    let forger = Forger { signer: Signer::new("a"), theirs: Signer::new("v") };
    let dns = Dns::start(|zone| fill(zone, &forger));
    let mut world = World::start(&dns, &Plan::default()).await;
    for (what, forge, reason) in FORGERIES {
        let Outcome::Ignored(found) = world.ask(forge(&forger, 0)).await else { panic!("{what} was not ignored") };
        assert_eq!(found.word(), reason, "{what}");
    }
    assert_eq!(world.sent(), (0, 0));
    world.ends_empty().await;
}
