//! Two responders that face each other, and one that answers everything: neither goes on for ever.

use replyfleet_tests::{dkim::Signer, dns::Dns};
use replyfleet_worker::{outcome::Outcome, reason::Reason};

use crate::world::{Incoming, Plan, World, bare};

/// More rounds than any test should need.
const ROUNDS_MAX: usize = 50;

/// A reply as its addressee's MX hands it over: signed for the responder's domain, as its relay does.
fn delivered(signer: &Signer, reply: &str, domain: &str, mail_from: &str, rcpt_to: &str) -> Incoming {
    let incoming = Incoming { mail_from: mail_from.into(), rcpt_to: rcpt_to.into(), mail: reply.into(), ..Incoming::of("nobody@nowhere.test") };
    incoming.signed(signer, domain)
}

/// Without these fields.
fn stripped(mail: &str, names: &[&str]) -> String {
    let is_kept = |line: &&str| !names.iter().any(|name| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name)));
    mail.split_inclusive('\n').filter(is_kept).collect()
}

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for domain in ["a.test", "b.test", "dumb.example"] {
            bare(zone, domain);
            signer.publish(zone, domain);
        }
    })
}

/// Someone writes to A in B's name, and B's domain vouches for it. B sees A's replies with MAIL FROM and fields as `sent`
/// leaves them; returns what B said to each.
async fn after_one_round(sent: impl Fn(&str) -> (String, &'static str)) -> Vec<Outcome> {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut a = World::start(&dns, &Plan { domain: "a.test", ..Plan::default() }).await;
    let mut b = World::start(&dns, &Plan { domain: "b.test", ..Plan::default() }).await;
    let forged = Incoming { rcpt_to: "get@a.test".into(), ..Incoming::of("get@b.test") }.signed(&signer, "b.test");
    assert_eq!(a.ask(forged).await, Outcome::Answered, "A cannot know that B is no person");
    let (links, files) = a.replies();
    let mut ends = Vec::new();
    for reply in links.iter().chain(&files) {
        let (mail, mail_from) = sent(reply);
        ends.push(b.ask(delivered(&signer, &mail, "a.test", mail_from, "get@b.test")).await);
    }
    assert_eq!((ends.len(), b.sent()), (2, (0, 0)), "B writes nothing");
    a.ends_empty().await;
    b.ends_empty().await;
    ends
}

#[tokio::test]
async fn two_responders_stop_after_one_round() {
    let ends = after_one_round(|reply| (reply.to_owned(), "bounces+0123456789abcdef01234567@a.test")).await;
    assert_eq!(ends, [Outcome::Ignored(Reason::RoleSender), Outcome::Ignored(Reason::RoleSender)], "the bounce address is enough");
}

#[tokio::test]
async fn two_responders_stop_after_one_round_where_a_relay_takes_marks_away() {
    // Amazon SES sets a MAIL FROM of its own; others lose fields that they do not know.
    let by = |names: &'static [&'static str]| move |reply: &str| (stripped(reply, names), "someone@a.test");
    let ignored = |reason| vec![Outcome::Ignored(reason); 2];
    assert_eq!(after_one_round(by(&[])).await, ignored(Reason::AutoSubmitted));
    assert_eq!(after_one_round(by(&["auto-submitted", "x-loop"])).await, ignored(Reason::ResponseSuppressed));
}

/// A robot that answers every mail with a new one: no mark in it says so, each has a Message-ID and a +tag of its own, and
/// its domain signs it. Only the allowance ends that.
#[tokio::test]
async fn a_robot_without_marks_gets_its_allowance_and_no_more() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut a = World::start(&dns, &Plan { domain: "a.test", ..Plan::default() }).await;
    let (mut round, mut answered) = (0, 0);
    let last = loop {
        round += 1;
        assert!(round < ROUNDS_MAX, "it goes on and on");
        let incoming = Incoming { rcpt_to: "get@a.test".into(), ..Incoming::of(&format!("Robot+{round}@dumb.example")) };
        match a.ask(incoming.signed(&signer, "dumb.example")).await {
            Outcome::Answered => answered += 1,
            other => break other,
        }
    };
    assert_eq!((answered, last), (3, Outcome::Ignored(Reason::OverAllowance)));
    assert_eq!(a.sent(), (3, 2), "of three answers, two have files");
    a.ends_empty().await;
}

/// Relays that take every mark away, in both directions: each side takes the other for a person, three times a day.
#[tokio::test]
async fn two_responders_without_any_marks_stop_at_their_allowance() {
    const MARKS: [&str; 6] = ["auto-submitted", "x-auto-response-suppress", "x-loop", "in-reply-to", "references", "message-id"];
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut sides = Vec::new();
    for domain in ["a.test", "b.test"] {
        sides.push((World::start(&dns, &Plan { domain, ..Plan::default() }).await, domain, Vec::new()));
    }
    let mut mails = vec![(0, Incoming { rcpt_to: "get@a.test".into(), ..Incoming::of("get@b.test") }.signed(&signer, "b.test"))];
    let mut taken = 0;
    while let Some((side, incoming)) = mails.pop() {
        taken += 1;
        assert!(taken < ROUNDS_MAX, "it goes on and on");
        let (world, domain, seen) = &mut sides[side];
        world.ask(incoming).await;
        let (links, files) = world.replies();
        for reply in links.into_iter().chain(files) {
            if !seen.contains(&reply) {
                let other = if side == 0 { "get@b.test" } else { "get@a.test" };
                // With a line of the relay's own: a body that came before, without an id, rule 27 would know again.
                let mail = format!("X-Round: {taken}\r\n{}relay {taken}\r\n", stripped(&reply, &MARKS));
                mails.push((1 - side, delivered(&signer, &mail, domain, &format!("get@{domain}"), other)));
                seen.push(reply);
            }
        }
    }
    println!("{taken} mails, then silence");
    for (world, domain, _) in sides {
        assert_eq!(world.sent(), (3, 2), "{domain}: three answers, two with files");
        world.ends_empty().await;
    }
}
