//! Replies leave no faster than they may; what is over waits in the queue, and all are answered in the end.

use std::time::{Duration, Instant};

use replyfleet_tests::{dkim::Signer, dns::Dns};
use replyfleet_worker::outcome::{Outcome, Wait};

use crate::world::{Incoming, Plan, World, bare};

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for domain in ["signs.example", "slow.example"] {
            bare(zone, domain);
            signer.publish(zone, domain);
        }
    })
}

fn from(signer: &Signer, number: usize, domain: &str) -> Incoming {
    Incoming::of(&format!("a{number}@{domain}")).signed(signer, domain)
}

#[tokio::test]
async fn a_surge_over_the_rate_of_the_sending_domain_waits_and_all_are_answered() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let more = "rates.domains = { \"responder.test\" = \"5/s\" }\nallowance = { per_domain = { answers = 1000, attachments = 300 } }";
    let mut world = World::start(&dns, &Plan { more, ..Plan::default() }).await;
    let start = Instant::now();
    let mut keys = Vec::new();
    for number in 0..15 {
        keys.push(world.take(from(&signer, number, "signs.example")).await);
    }
    let (mut waited, mut answered) = (0, 0);
    while answered < keys.len() {
        match world.next_end().await {
            Outcome::Answered => answered += 1,
            Outcome::Retry(Wait::Pace(away)) => {
                assert!(away < Duration::from_secs(30), "{away:?}");
                waited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let took = start.elapsed();
    assert_eq!(world.sent(), (15, 15));
    // 30 replies; 6 may go at once, the others at 5 a second.
    assert!(took >= Duration::from_millis(4_800), "{took:?}");
    assert!(waited > 0);
    world.ends_empty().await;
}

#[tokio::test]
async fn a_providers_rate_holds_up_its_customers_only() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let more = "[[providers]]\nname = \"slow\"\nmx = [\"slow.example\"]\nrate = \"1/h\"";
    let mut world = World::start(&dns, &Plan { more, ..Plan::default() }).await;
    for number in 10..12 {
        assert_eq!(world.ask(from(&signer, number, "slow.example")).await, Outcome::Answered, "the slack: four replies");
    }
    let next = world.ask(from(&signer, 0, "slow.example")).await;
    assert!(matches!(next, Outcome::Retry(Wait::Pace(away)) if away > Duration::from_secs(600)), "{next:?}");
    for number in 1..=5 {
        assert_eq!(world.ask(from(&signer, number, "signs.example")).await, Outcome::Answered);
    }
    assert_eq!(world.sent(), (7, 7));
}
