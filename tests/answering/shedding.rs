//! A long queue: attachments are given up first, and come back when the queue is short again.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use replyfleet_tests::{dkim::Signer, dns::Dns};
use replyfleet_worker::{outcome::Outcome, reason::Reason, switches::Setting};

use crate::world::{Incoming, Plan, World, bare};

const SHEDDING: &str = "shedding = { attachments_after_s = 60 }";

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        bare(zone, "signs.example");
        signer.publish(zone, "signs.example");
    })
}

/// A request of a new sender that waited so long.
fn after(signer: &Signer, wait: Duration, number: usize) -> Incoming {
    let incoming = Incoming { arrived: UnixMillis::now() - wait, ..Incoming::of(&format!("a{number}@signs.example")) };
    incoming.signed(signer, "signs.example")
}

#[tokio::test]
async fn a_long_queue_gives_up_attachments_and_nothing_else() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan { more: SHEDDING, ..Plan::default() }).await;
    let (long, short) = (Duration::from_secs(600), Duration::ZERO);
    assert_eq!(world.ask(after(&signer, short, 0)).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 1), "the queue is short");
    for number in 1..=3 {
        assert_eq!(world.ask(after(&signer, long, number)).await, Outcome::Answered);
    }
    let shed = world.sent();
    assert_eq!(shed, (4, 1), "links for all, and files for nobody any more");
    let only_files = Incoming { rcpt_to: "files@responder.test".into(), ..after(&signer, long, 4) };
    assert_eq!(world.ask(only_files).await, Outcome::Ignored(Reason::SwitchedOff));
    assert_eq!(world.sent(), shed);
    // The median is that of a minute: once most were taken fresh, attachments are back.
    for number in 5..=12 {
        assert_eq!(world.ask(after(&signer, short, number)).await, Outcome::Answered);
    }
    let (links, files) = world.sent();
    assert!(links == 12 && files > shed.1, "{files} of {links} with files");
    world.ends_empty().await;
}

#[tokio::test]
async fn the_operators_switch_overrides_the_settings() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    for (more, value, files) in [(SHEDDING, "off", 1), ("", "60", 0), ("", "3600", 1)] {
        let prepared = World::prepare(&dns, &Plan { more, ..Plan::default() });
        prepared.ledger().await.set_switch(&Setting::parse("shedding", value).unwrap(), UnixMillis::now()).await.unwrap();
        let mut world = prepared.start().await;
        assert_eq!(world.ask(after(&signer, Duration::from_secs(600), 0)).await, Outcome::Answered);
        assert_eq!(world.sent(), (1, files), "shedding {value}");
        world.ends_empty().await;
    }
}
